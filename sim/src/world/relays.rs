//! Relays of a world.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use adit_core::relay::{Config, Listen, Relay, RelayAddress};
use adit_core::turn::credentials::Authenticator;

use super::fleet::{Kind, SECRET};
use super::{Handle, World};

/// The port of TURN (RFC 8656 §15).
pub(super) const PORT: u16 = 3478;

impl World {
    /// Starts a relay.
    pub fn relay(&mut self, name: &str) -> Handle<Relay> {
        self.relay_with(name, |_| {})
    }

    /// Starts a relay whose configuration is changed by `adjust`, the same way after each restart.
    pub fn relay_with(&mut self, name: &str, adjust: impl Fn(&mut Config) + 'static) -> Handle<Relay> {
        let (handle, addresses) = self.settle_down(name, Kind::Relay, None);
        let adjust = Rc::new(adjust);
        self.make(handle, move |world| {
            let mut config = config(&addresses.public);
            adjust(&mut config);
            world.start(handle, |clock, now, seed| Relay::new(config, clock, now, seed));
        });
        handle
    }
}

fn config(addresses: &[IpAddr]) -> Config {
    let of = |v4: bool| addresses.iter().find(|ip| ip.is_ipv4() == v4).map(|&ip| RelayAddress::direct(ip));
    Config {
        listen: addresses.iter().map(|&ip| Listen::udp(SocketAddr::new(ip, PORT))).collect(),
        ipv4: of(true),
        ipv6: of(false),
        ..Config::new(Authenticator::new("adit").with_secret(SECRET))
    }
}
