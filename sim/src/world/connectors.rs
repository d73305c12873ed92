//! Connectors of a world, and the streams that they open.

use std::rc::Rc;

use adit_core::connector::{Config, Connector, GatewayConfig, GatewayKey};
use adit_core::gateway::Gateway;
use adit_core::pki::{Certified, Role, tls};
use adit_core::time::WallCell;
use adit_core::tunnel::ALPN;

use super::fleet::{Behind, Kind, ORGANISATION};
use super::{Handle, World};
use crate::firewall::Firewall;
use crate::party::Stream;
use crate::pki::{Validity, Vouching, expected, name};

/// A connector that is about to be made.
pub struct ConnectorBuilder<'a> {
    world: &'a mut World,
    behind: Option<Behind>,
    firewall: Option<Firewall>,
    role: Role,
    targets: Option<Vec<String>>,
    vouching: Vouching,
    validity: Validity,
    adjust: Box<dyn Fn(&mut Config)>,
}

impl World {
    /// A connector of the usual organisation.
    pub fn connector(&mut self) -> ConnectorBuilder<'_> {
        ConnectorBuilder {
            world: self,
            behind: None,
            firewall: None,
            role: Role::Connector { id: name("connector") },
            targets: None,
            vouching: Vouching::of(ORGANISATION),
            validity: Validity::default(),
            adjust: Box::new(|_| {}),
        }
    }

    /// Opens a stream through `gateway`, after it has a relayed address.
    pub fn open(&mut self, from: Handle<Connector>, through: Handle<Gateway>, target: &str) -> Stream {
        self.await_gateway(through);
        let key = self.gateway_key(from, through);
        let target = target.parse().expect("a scenario's targets are targets");
        let pipe =
            self.call(from, |connector, now| connector.open(now, key, &target)).expect("there is room");
        self.attend(from, pipe)
    }

    /// The gateway as the connector knows it, with the addresses that it has now.
    pub fn gateway_key(&mut self, from: Handle<Connector>, through: Handle<Gateway>) -> GatewayKey {
        let addresses = self.addresses(through).to_vec();
        let life = self.hosts[from.host].life;
        let known = (from.host, life, through.host);
        if let Some(&key) = self.fleet.keys.get(&known) {
            self.call(from, |connector, now| connector.set_addresses(now, key, addresses));
            return key;
        }
        let make = self.fleet.dialling[&from.host].clone();
        let config = make.gateway(self, through, addresses);
        let key = self.call(from, |connector, _| connector.add_gateway(config));
        self.fleet.keys.insert(known, key);
        key
    }
}

impl ConnectorBuilder<'_> {
    /// Puts it behind a NAT of its own, or in a [home](World::home) that others share.
    pub fn behind(mut self, what: impl Into<Behind>) -> Self {
        self.behind = Some(what.into());
        self
    }

    /// Puts a firewall in front of it.
    pub fn firewalled(mut self, firewall: Firewall) -> Self {
        self.firewall = Some(firewall);
        self
    }

    /// Gives it a certificate of another role.
    pub fn as_role(mut self, role: Role) -> Self {
        self.role = role;
        self
    }

    /// Gives it a certificate that restricts it to these targets.
    pub fn restricted_to(mut self, targets: &[&str]) -> Self {
        self.targets = Some(targets.iter().map(|&target| target.to_owned()).collect());
        self
    }

    /// Makes it belong to another organisation.
    pub fn of(mut self, organisation: &str) -> Self {
        self.vouching.organisation = organisation.to_owned();
        self
    }

    /// Gives it a certificate of an authority that only claims to be the organisation's.
    pub fn vouched_by_a_stranger(mut self) -> Self {
        self.vouching.forged = true;
        self
    }

    /// Gives it a certificate of that validity.
    pub fn valid(mut self, validity: Validity) -> Self {
        self.validity = validity;
        self
    }

    /// Changes its configuration, the same way after each restart.
    pub fn configured(mut self, adjust: impl Fn(&mut Config) + 'static) -> Self {
        self.adjust = Box::new(adjust);
        self
    }

    /// Starts it, and opens a stream.
    pub fn open(self, through: Handle<Gateway>, target: &str) -> Stream {
        let (world, handle) = self.begin();
        world.open(handle, through, target)
    }

    /// Starts it.
    pub fn start(self) -> Handle<Connector> {
        self.begin().1
    }
}

impl<'a> ConnectorBuilder<'a> {
    fn begin(self) -> (&'a mut World, Handle<Connector>) {
        let Self { world, behind, firewall, role, targets, vouching, validity, adjust } = self;
        let (handle, _) = world.settle_down("connector", Kind::Connector, behind);
        world.set_firewall(handle, firewall);
        let own = world.fleet.pki.issue(&vouching, role, targets.as_deref(), validity);
        let wall = WallCell::default();
        let dialling = Dialling { own, wall: wall.clone() };
        world.fleet.dialling.insert(handle.host, Rc::new(dialling));
        world.make(handle, move |world| {
            let mut config = Config::new(wall.clone());
            adjust(&mut config);
            world.start(handle, |clock, now, seed| Connector::new(config, clock, now, seed));
        });
        (world, handle)
    }
}

/// With what a connector dials gateways.
pub(super) struct Dialling {
    own: Certified,
    wall: WallCell,
}

impl Dialling {
    /// The gateway as it is announced: with the name that it goes by, of the organisation that the connector is of.
    fn gateway(
        &self,
        world: &mut World,
        gateway: Handle<Gateway>,
        addresses: Vec<std::net::SocketAddr>,
    ) -> GatewayConfig {
        let organisation = self.own.identity().organisation.as_str();
        let anchors = world.fleet.pki.gateway_anchors(organisation);
        let own_name = &world.fleet.gateway_names[&gateway.host];
        let tls = tls::client_config(
            &self.own,
            anchors,
            expected(organisation),
            name(own_name),
            &[ALPN],
            self.wall.clone(),
        );
        let tls = tls.expect("the key belongs to the certificate");
        GatewayConfig { tls, server_name: own_name.clone(), addresses }
    }
}
