//! Which peers a client may reach: addresses by policy, ports so that the relay never talks to itself.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::config::{Config, IpVersion};
use crate::turn::address_policy::Policy;

/// More addresses than a machine has; it may own a whole prefix of IPv6, though.
const MOST_OWN: usize = 1024;

/// A peer may not be reached; 403 on the wire (RFC 8656 §10.2, §12.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forbidden;

/// Judges peers.
#[derive(Debug)]
pub(super) struct Reach {
    policy: Policy,
    /// All addresses that are known to be this machine's.
    own: BTreeSet<IpAddr>,
    relay: BTreeSet<IpAddr>,
    listening: BTreeSet<u16>,
    allow_relayed: bool,
}

impl Reach {
    pub(super) fn new(config: &Config) -> Self {
        let relay: BTreeSet<IpAddr> = [config.ipv4, config.ipv6]
            .into_iter()
            .flatten()
            .flat_map(|address| [address.bind, address.advertised])
            .collect();
        let listen = config.listen.iter().map(|listen| listen.addr.ip());
        let own = relay.iter().copied().chain(config.own_addresses.iter().copied()).chain(listen).collect();
        Self {
            policy: config.policy.clone(),
            own,
            relay,
            listening: config.listen.iter().map(|listen| listen.addr.port()).collect(),
            allow_relayed: config.allow_relayed_peers,
        }
    }

    /// Judges by another policy from now on.
    pub(super) fn set_policy(&mut self, policy: Policy, allow_relayed: bool) {
        self.policy = policy;
        self.allow_relayed = allow_relayed;
    }

    /// Notes an address that the relay listens on.
    pub(super) fn listens(&mut self, local: SocketAddr) {
        self.own.insert(local.ip());
        self.listening.insert(local.port());
    }

    /// Notes an address of this machine by which a user has reached it: where the relay listens on all addresses,
    /// that is how it comes to know them.
    pub(super) fn learn(&mut self, local: Option<IpAddr>) {
        let known = |ip: &IpAddr| ip.is_loopback() || self.own.contains(ip);
        if let Some(local) = local.filter(|ip| self.own.len() < MOST_OWN && !known(ip)) {
            self.own.insert(local);
        }
    }

    /// Whether a permission for `peer` may be installed.
    pub(super) fn address(&self, peer: IpAddr) -> Result<(), Forbidden> {
        self.policy.judge(peer).map_err(|_| Forbidden)
    }

    /// Whether data may go to `peer`, whose address has a permission: never to a listening port of the relay, not
    /// even where its address is named in the policy, and to relayed ports only where that is configured. `relayed`
    /// says which ports those are at present: other sockets of this machine may have ports of the same range. On
    /// the data path: allocates nothing.
    pub(super) fn port(
        &self,
        peer: SocketAddr,
        relayed: impl FnOnce(IpVersion, u16) -> bool,
    ) -> Result<(), Forbidden> {
        let address = peer.ip().to_canonical();
        let listening = self.listening.contains(&peer.port()) && self.is_own(address);
        let relayed =
            !self.allow_relayed && self.is_relay(address) && relayed(IpVersion::of(address), peer.port());
        if listening || relayed { Err(Forbidden) } else { Ok(()) }
    }

    /// Whether relayed sockets of this relay may be reached at `address`.
    pub(super) fn is_here(&self, address: IpAddr) -> bool {
        self.is_relay(address.to_canonical())
    }

    fn is_own(&self, address: IpAddr) -> bool {
        // All of 127.0.0.0/8 reaches this machine, and so does the unspecified address.
        address.is_loopback() || address.is_unspecified() || self.own.contains(&address)
    }

    /// Whether relayed sockets may be reached at `address`. One that is bound to all addresses is reached at each.
    fn is_relay(&self, address: IpAddr) -> bool {
        let bound_to_all = self.relay.iter().any(IpAddr::is_unspecified);
        self.relay.contains(&address) || (bound_to_all && self.is_own(address))
    }
}
