//! What agents keep on their disks: a certificate and credentials, each good for a while; and the platform's part in
//! it, which is to issue them, and to issue others in time.

use std::sync::Arc;
use std::time::Duration;

use adit_core::connector::Connector;
use adit_core::gateway::Gateway;
use adit_core::pki::{Certified, Role, tls};
use adit_core::relay::Relay;
use adit_core::time::{UnixTime, WallCell};
use adit_core::tunnel::ALPN;
use adit_core::turn::credentials::Credentials;
use rustls::{ClientConfig, ServerConfig};

use super::{Handle, World};
use crate::clock::UNIX_START;
use crate::machine::Machine;
use crate::network::HostIndex;
use crate::pki::{KeyNumber, Validity, Vouching, expected, name};

/// What an agent has from its platform. It outlives a crash, but not the disk that it is on.
pub(super) struct Papers {
    pub(super) certified: Certified,
    pub(super) credentials: Option<Credentials>,
    key: KeyNumber,
    /// How often the agent was installed before.
    installed: u32,
}

/// Who an agent is to the platform, and what it is given.
pub(super) struct Member {
    pub(super) role: Role,
    pub(super) targets: Option<Vec<String>>,
    pub(super) vouching: Vouching,
    pub(super) validity: Validity,
    pub(super) relaying: Option<Relaying>,
    pub(super) renewing: bool,
}

/// By what an agent may use relays.
pub(super) struct Relaying {
    pub(super) relays: Vec<Handle<Relay>>,
    pub(super) secret: Vec<u8>,
    pub(super) id: String,
    pub(super) life: Duration,
}

/// A machine that has papers: a [`Gateway`] or a [`Connector`].
pub trait Agent: Machine + Sized + private::Sealed {
    /// Shows the running machine the papers that it has now.
    #[doc(hidden)]
    fn show(world: &mut World, on: Handle<Self>);
}

mod private {
    pub trait Sealed {}
    impl Sealed for adit_core::gateway::Gateway {}
    impl Sealed for adit_core::connector::Connector {}
}

impl World {
    /// Issues another certificate for the same key, and other credentials, from now on for as long as the first ones
    /// were good. A machine that runs learns them at once; one that does not finds them when it is started.
    pub fn renew<A: Agent>(&mut self, on: Handle<A>) {
        let Papers { key, installed, .. } = self.fleet.papers[&on.host];
        self.issue(on.host, key, installed);
        if self.runs(on) {
            A::show(self, on);
        }
    }

    /// Starts the machine of a host anew after all was lost that it had kept: it enrols again, as another instance with
    /// another key. Compare [`restart`](Self::restart), after which it has the papers that it had.
    pub fn reinstall<A: Agent>(&mut self, on: Handle<A>) {
        let installed = self.fleet.papers[&on.host].installed + 1;
        self.kill(on);
        self.install(on.host, installed);
        self.restart(on);
    }

    /// The certificate that an agent has now.
    pub fn certificate<A: Agent>(&self, of: Handle<A>) -> &Certified {
        &self.fleet.papers[&of.host].certified
    }

    /// Makes an agent known and gives it its first papers, before its machine starts.
    pub(super) fn enrol<A: Agent>(&mut self, on: Handle<A>, member: Member) {
        self.fleet.members.insert(on.host, member.into());
        self.install(on.host, 0);
        self.plan_renewal(on);
    }

    fn install(&mut self, host: HostIndex, installed: u32) {
        let key = self.fleet.pki.new_key();
        self.issue(host, key, installed);
    }

    fn issue(&mut self, host: HostIndex, key: KeyNumber, installed: u32) {
        let member = self.fleet.members[&host].clone();
        let role = match &member.role {
            Role::Gateway { gateway, .. } => {
                Role::Gateway { gateway: gateway.clone(), instance: name(&installed.to_string()) }
            }
            other => other.clone(),
        };
        let now = self.unix();
        let targets = member.targets.as_deref();
        let certified = self.fleet.pki.issue(now, key, &member.vouching, role, targets, member.validity);
        let credentials = member.relaying.as_ref().map(|Relaying { secret, id, life, .. }| {
            Credentials::time_limited(secret, UnixTime(now.0.saturating_add(life.as_secs())), id)
        });
        self.fleet.papers.insert(host, Papers { certified, credentials, key, installed });
    }

    /// The right time, which the platform has.
    fn unix(&self) -> UnixTime {
        UnixTime((UNIX_START + self.elapsed()).as_secs())
    }
}

/// Renewal in time.
impl World {
    /// How long an agent that can't be reached waits for the next attempt to renew its papers.
    const AGAIN: Duration = Duration::from_secs(10);

    fn plan_renewal<A: Agent>(&mut self, on: Handle<A>) {
        let member = &self.fleet.members[&on.host];
        if let Some(life) = member.life().filter(|_| member.renewing) {
            self.plan_renewal_after(on, life * 2 / 3);
        }
    }

    fn plan_renewal_after<A: Agent>(&mut self, on: Handle<A>, time: Duration) {
        self.after(time, move |world| world.renew_in_time(on));
    }

    /// An agent that is dead or asleep asks for nothing; it does as soon as it can.
    fn renew_in_time<A: Agent>(&mut self, on: Handle<A>) {
        if self.runs(on) && self.hosts[on.host].asleep.is_none() {
            self.renew(on);
            self.plan_renewal(on);
        } else {
            self.plan_renewal_after(on, Self::AGAIN);
        }
    }
}

impl Member {
    /// For how long everything is good that is issued together.
    fn life(&self) -> Option<Duration> {
        let Validity::For(certificate) = self.validity else { return None };
        Some(self.relaying.as_ref().map_or(certificate, |relaying| relaying.life.min(certificate)))
    }
}

impl Agent for Gateway {
    fn show(world: &mut World, on: Handle<Self>) {
        let credentials = world.fleet.papers[&on.host].credentials.clone().expect("gateways use relays");
        let wall = world.machine(on).wall().clone();
        let tls = world.server_tls(on, wall);
        let relays = world.machine(on).relays().len();
        world.call(on, |gateway, now| {
            gateway.set_tls(now, tls).expect("it is as usable as the one before");
            (0..relays).for_each(|relay| gateway.set_credentials(now, relay, credentials.clone()));
        });
    }
}

impl Agent for Connector {
    fn show(world: &mut World, on: Handle<Self>) {
        let life = world.hosts[on.host].life;
        let known = world.fleet.keys.range((on.host, life, 0)..=(on.host, life, HostIndex::MAX));
        let known: Vec<_> = known.map(|(&(_, _, gateway), &key)| (gateway, key)).collect();
        for (gateway, key) in known {
            let tls = world.client_tls(on.host, gateway);
            world.call(on, |connector, now| connector.set_tls(now, key, tls));
        }
    }
}

/// TLS, with the papers of the moment.
impl World {
    pub(super) fn server_tls(&mut self, of: Handle<Gateway>, wall: WallCell) -> Arc<ServerConfig> {
        let own = self.fleet.papers[&of.host].certified.clone();
        let organisation = own.identity().organisation.as_str();
        let anchors = self.fleet.pki.connector_anchors(organisation);
        tls::server_config(&own, anchors, expected(organisation), &[ALPN], wall)
            .expect("the key belongs to the certificate")
    }

    /// The gateway as it is announced: with the name that it goes by, of the organisation that the connector is of.
    pub(super) fn client_tls(&mut self, from: HostIndex, gateway: HostIndex) -> Arc<ClientConfig> {
        let own = self.fleet.papers[&from].certified.clone();
        let organisation = own.identity().organisation.as_str();
        let anchors = self.fleet.pki.gateway_anchors(organisation);
        let (announced, wall) = (&self.fleet.gateway_names[&gateway], self.fleet.walls[&from].clone());
        tls::client_config(&own, anchors, expected(organisation), name(announced), &[ALPN], wall)
            .expect("the key belongs to the certificate")
    }
}
