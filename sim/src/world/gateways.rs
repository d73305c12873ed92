//! Gateways of a world.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use adit_core::gateway::{Config, Event, Gateway, RelayConfig, TargetPolicy};
use adit_core::pki::{Certified, Name, Role, tls};
use adit_core::relay::Relay;
use adit_core::time::{UnixTime, WallCell};
use adit_core::tunnel::ALPN;
use adit_core::turn::credentials::Credentials;

use super::fleet::{Behind, CREDENTIALS_EXPIRE, Kind, ORGANISATION, SECRET, first_connectors};
use super::{Handle, World, relays};
use crate::firewall::Firewall;
use crate::pki::{Validity, Vouching, expected, name};

/// A gateway that is about to be made.
pub struct GatewayBuilder<'a> {
    world: &'a mut World,
    name: String,
    behind: Option<Behind>,
    firewall: Option<Firewall>,
    allowed: Vec<String>,
    vouching: Vouching,
    validity: Validity,
    secret: Vec<u8>,
    permitted: u16,
    adjust: Box<dyn Fn(&mut Config)>,
}

impl World {
    /// A gateway that allows `tcp://echo:7` and `tcp://sink:9`.
    pub fn gateway(&mut self, name: &str) -> GatewayBuilder<'_> {
        self.place_usual_targets();
        GatewayBuilder {
            world: self,
            name: name.to_owned(),
            behind: None,
            firewall: None,
            allowed: vec!["tcp://echo:7".to_owned(), "tcp://sink:9".to_owned()],
            vouching: Vouching::of(ORGANISATION),
            validity: Validity::default(),
            secret: SECRET.to_vec(),
            permitted: 8,
            adjust: Box::new(|_| {}),
        }
    }

    /// The relayed addresses that a gateway has told last, best first; none while it does not run.
    pub fn addresses(&self, of: Handle<Gateway>) -> &[SocketAddr] {
        if !self.is_running(of) {
            return &[];
        }
        let told = |event: &Event| matches!(event, Event::Addresses(_));
        match self.news(of).iter().rfind(|event| told(event)) {
            Some(Event::Addresses(addresses)) => addresses,
            _ => &[],
        }
    }

    /// Runs until a gateway has a relayed address.
    ///
    /// # Panics
    /// After five minutes.
    pub fn await_gateway(&mut self, gateway: Handle<Gateway>) {
        let ready = self.run_until(Duration::from_secs(300), |world| !world.addresses(gateway).is_empty());
        assert!(ready, "the gateway got no allocation: {:?}", self.news(gateway));
    }
}

impl GatewayBuilder<'_> {
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

    /// Allows a target, or several by a network.
    pub fn allowing(mut self, rule: &str) -> Self {
        self.allowed.push(rule.to_owned());
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

    /// Gives it a secret for its relay credentials that may be the wrong one.
    pub fn with_secret(mut self, secret: &[u8]) -> Self {
        self.secret = secret.to_vec();
        self
    }

    /// Permits the first that many connectors and homes of the world, instead of the first eight.
    pub fn permitting(mut self, count: u16) -> Self {
        self.permitted = count;
        self
    }

    /// Changes its configuration, the same way after each restart.
    pub fn configured(mut self, adjust: impl Fn(&mut Config) + 'static) -> Self {
        self.adjust = Box::new(adjust);
        self
    }

    /// Starts it with an allocation on each of `relays`.
    pub fn on(self, relays: impl AsRef<[Handle<Relay>]>) -> Handle<Gateway> {
        let Self {
            world,
            name: own_name,
            behind,
            firewall,
            allowed,
            vouching,
            validity,
            secret,
            permitted,
            adjust,
        } = self;
        let (handle, _) = world.settle_down(&own_name, Kind::Gateway, behind);
        world.set_firewall(handle, firewall);
        let role = Role::Gateway { gateway: name(&own_name), instance: Name::zero() };
        let own = world.fleet.pki.issue(&vouching, role, None, validity);
        let credentials = Credentials::time_limited(&secret, UnixTime(CREDENTIALS_EXPIRE), &own_name);
        let relays = relays.as_ref().iter().map(|relay| world.relay_config(*relay, &credentials)).collect();
        world.fleet.gateway_names.insert(handle.host, own_name);
        let plan =
            Rc::new(Plan { own, relays, allowed, organisation: vouching.organisation, permitted, adjust });
        world.make(handle, move |world| {
            let config = plan.config(world);
            world.start(handle, |clock, now, seed| {
                Gateway::new(config, clock, now, seed).expect("the TLS configuration is ours")
            });
        });
        handle
    }
}

/// What a gateway is made from, each time anew.
struct Plan {
    own: Certified,
    relays: Vec<RelayConfig>,
    allowed: Vec<String>,
    organisation: String,
    permitted: u16,
    adjust: Box<dyn Fn(&mut Config)>,
}

impl Plan {
    fn config(&self, world: &mut World) -> Config {
        let wall = WallCell::default();
        let anchors = world.fleet.pki.connector_anchors(&self.organisation);
        let tls = tls::server_config(&self.own, anchors, expected(&self.organisation), &[ALPN], wall.clone())
            .expect("the key belongs to the certificate");
        let rules = self.allowed.iter().map(|rule| rule.parse().expect("a scenario's rules are rules"));
        let mut config = Config {
            relays: self.relays.clone(),
            permit: first_connectors(world.fleet.families, self.permitted),
            targets: TargetPolicy::new(rules.collect()),
            ..Config::new(tls, wall)
        };
        (self.adjust)(&mut config);
        config
    }
}

impl World {
    fn relay_config(&self, relay: Handle<Relay>, credentials: &Credentials) -> RelayConfig {
        RelayConfig {
            host: self.hosts[relay.host].addresses[0].to_string(),
            port: relays::PORT,
            credentials: credentials.clone(),
            families: self.fleet.families,
        }
    }
}
