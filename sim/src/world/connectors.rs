//! Connectors of a world, and the streams that they open.

use adit_core::connector::{Config, Connector, GatewayConfig, GatewayKey};
use adit_core::gateway::Gateway;
use adit_core::pki::Role;
use adit_core::time::WallCell;

use super::fleet::{Behind, Kind, ORGANISATION};
use super::papers::Member;
use super::{Handle, World};
use crate::firewall::Firewall;
use crate::party::Stream;
use crate::pki::{Validity, Vouching, name};

/// A connector that is about to be made.
pub struct ConnectorBuilder<'a> {
    world: &'a mut World,
    behind: Option<Behind>,
    firewall: Option<Firewall>,
    role: Role,
    targets: Option<Vec<String>>,
    vouching: Vouching,
    validity: Validity,
    renewing: bool,
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
            renewing: false,
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
        let tls = self.client_tls(from.host, through.host);
        let server_name = self.fleet.gateway_names[&through.host].clone();
        let config = GatewayConfig { tls, server_name, addresses };
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

    /// Gives it another certificate each time that two thirds of the life of the last one are over.
    pub fn renewing(mut self) -> Self {
        self.renewing = true;
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
        let Self { world, behind, firewall, role, targets, vouching, validity, renewing, adjust } = self;
        let (handle, _) = world.settle_down("connector", Kind::Connector, behind);
        world.set_firewall(handle, firewall);
        let wall = WallCell::default();
        world.fleet.walls.insert(handle.host, wall.clone());
        world.enrol(handle, Member { role, targets, vouching, validity, relaying: None, renewing });
        world.make(handle, move |world| {
            let mut config = Config::new(wall.clone());
            adjust(&mut config);
            world.start(handle, |clock, now, seed| Connector::new(config, clock, now, seed));
        });
        (world, handle)
    }
}
