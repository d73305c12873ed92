//! The certificates of one organisation. The same keys, serials and dates in every run.

use std::sync::Arc;
use std::time::Duration;

use adit_core::pki::tls::{client_config, server_config};
use adit_core::pki::{
    Anchors, Authority, Certified, Expected, Identity, Key, Name, Office, Role, Serial, Terms, TrustDomain,
};
use adit_core::time::{UnixTime, WallCell};
use adit_core::tunnel::ALPN;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// The serial number of all who connect.
pub(crate) const SERIAL: Serial = Serial::new(5);

/// A member of the organisation, as in `platform/a`.
pub(crate) fn identity(role: &str) -> Identity {
    format!("spiffe://{}/org/acme/{role}", TrustDomain::default()).parse().unwrap()
}

pub(crate) struct Pki {
    gateways: Authority,
    connectors: Authority,
}

impl Pki {
    pub(crate) fn new(now: UnixTime) -> Self {
        let key = |index| Key::ed25519([index; 32]);
        let terms = |index| Terms::new(Serial::new(index), now, YEAR);
        let root = Authority::root(name("acme"), TrustDomain::default(), &key(1), terms(1)).unwrap();
        Self {
            gateways: root.intermediate(Office::Gateway, &key(2), terms(2)).unwrap(),
            connectors: root.intermediate(Office::Connector, &key(3), terms(3)).unwrap(),
        }
    }

    /// The TLS configuration of the gateway, and the cell that it reads the time from.
    pub(crate) fn gateway(&self, now: UnixTime, life: Duration) -> (WallCell, Arc<rustls::ServerConfig>) {
        let role = Role::Gateway { gateway: name("gw"), instance: Name::zero() };
        let own = certified(&self.gateways, role, None, Terms::new(Serial::new(4), now, life));
        let wall = WallCell::new(now);
        let config = server_config(&own, anchors(&self.connectors), expected(), &[ALPN], wall.clone());
        (wall, config.unwrap())
    }

    /// The TLS configuration of a gateway that trusts nobody whom this organisation knows.
    pub(crate) fn distrustful(&self, wall: WallCell, now: UnixTime) -> Arc<rustls::ServerConfig> {
        let role = Role::Gateway { gateway: name("gw"), instance: Name::zero() };
        let own = certified(&self.gateways, role, None, Terms::new(Serial::new(6), now, YEAR));
        server_config(&own, anchors(&self.gateways), expected(), &[ALPN], wall).unwrap()
    }

    /// The TLS configuration of somebody who connects, as in `platform/a`.
    pub(crate) fn connector(
        &self,
        now: UnixTime,
        life: Duration,
        role: &str,
        targets: Option<&[String]>,
        wall: WallCell,
    ) -> Arc<rustls::ClientConfig> {
        let role = identity(role).role;
        let own = certified(&self.connectors, role, targets, Terms::new(SERIAL, now, life));
        client_config(&own, anchors(&self.gateways), expected(), name("gw"), &[ALPN], wall).unwrap()
    }
}

fn certified(by: &Authority, role: Role, targets: Option<&[String]>, terms: Terms) -> Certified {
    let key = Key::ed25519([if role.connects() { 11 } else { 10 }; 32]);
    let leaf = by.issue(role, targets, &key.public(), terms).unwrap();
    Certified::new(vec![leaf], key).unwrap()
}

fn anchors(authority: &Authority) -> Anchors {
    Anchors::new(&[authority.certificate().clone()]).unwrap()
}

fn expected() -> Expected {
    Expected { organisation: name("acme"), trust_domain: TrustDomain::default() }
}

fn name(name: &str) -> Name {
    name.parse().unwrap()
}
