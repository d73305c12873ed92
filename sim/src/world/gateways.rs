//! Gateways of a world.

use std::net::SocketAddr;
use std::time::Duration;

use adit_core::gateway::{Config, Event, Gateway, RelayConfig, RelayWay, TargetPolicy};
use adit_core::pki::{Name, Role};
use adit_core::relay::Relay;
use adit_core::time::WallCell;
use adit_core::turn::credentials::Credentials;

use super::fleet::{Behind, Kind, ORGANISATION, SECRET, first_connectors};
use super::papers::{Member, Relaying};
use super::{Handle, World, relays};
use crate::firewall::Firewall;
use crate::pki::{Validity, Vouching, name};

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
    credentials: Duration,
    renewing: bool,
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
            credentials: Duration::from_secs(30 * 86_400),
            renewing: false,
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

    /// Gives it credentials for relays that run out after that time, instead of thirty days.
    pub fn credentials_for(mut self, life: Duration) -> Self {
        self.credentials = life;
        self
    }

    /// Gives it another certificate and other credentials each time that two thirds of the life of the last ones are
    /// over, of whichever is shorter.
    pub fn renewing(mut self) -> Self {
        self.renewing = true;
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
        let Self { world, name: own_name, vouching, secret, .. } = self;
        let (handle, _) = world.settle_down(&own_name, Kind::Gateway, self.behind);
        world.set_firewall(handle, self.firewall);
        world.fleet.gateway_names.insert(handle.host, own_name.clone());
        let role = Role::Gateway { gateway: name(&own_name), instance: Name::zero() };
        let relays = relays.as_ref().to_vec();
        let relaying = Relaying { relays, secret, id: own_name, life: self.credentials };
        let (validity, renewing) = (self.validity, self.renewing);
        let member = Member { role, targets: None, vouching, validity, relaying: Some(relaying), renewing };
        world.enrol(handle, member);
        let plan = Plan { allowed: self.allowed, permitted: self.permitted, adjust: self.adjust };
        world.make(handle, move |world| {
            let config = plan.config(world, handle);
            world.start(handle, |clock, now, seed| {
                Gateway::new(config, clock, now, seed).expect("the TLS configuration is ours")
            });
        });
        handle
    }
}

/// What a gateway is made from, each time anew, besides its papers.
struct Plan {
    allowed: Vec<String>,
    permitted: u16,
    adjust: Box<dyn Fn(&mut Config)>,
}

impl Plan {
    fn config(&self, world: &mut World, of: Handle<Gateway>) -> Config {
        let wall = WallCell::default();
        let tls = world.server_tls(of, wall.clone());
        let rules = self.allowed.iter().map(|rule| rule.parse().expect("a scenario's rules are rules"));
        let mut config = Config {
            relays: world.relay_configs(of),
            permit: first_connectors(world.fleet.families, self.permitted),
            targets: TargetPolicy::new(rules.collect()),
            ..Config::new(tls, wall)
        };
        (self.adjust)(&mut config);
        config
    }
}

impl World {
    /// The relays that a gateway uses, with the credentials that it has now.
    fn relay_configs(&self, of: Handle<Gateway>) -> Vec<RelayConfig> {
        let relaying = self.fleet.members[&of.host].relaying.as_ref();
        let credentials = self.fleet.papers[&of.host].credentials.as_ref();
        let (relaying, credentials) = relaying.zip(credentials).expect("gateways use relays");
        relaying.relays.iter().map(|&relay| self.relay_config(relay, credentials)).collect()
    }

    fn relay_config(&self, relay: Handle<Relay>, credentials: &Credentials) -> RelayConfig {
        RelayConfig {
            ways: vec![RelayWay::udp(self.hosts[relay.host].addresses[0].to_string(), relays::PORT)],
            credentials: credentials.clone(),
            families: self.fleet.families,
        }
    }
}
