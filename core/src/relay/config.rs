//! What a relay is told when it starts.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::budget::ReplyBudget;
use super::dtls::SessionLimits;
use super::links::LinkLimits;
use super::listen::Listen;
use super::shard::Shard;
use super::tcp::ConnectionLimits;
use crate::secure::{dtls, tls};
use crate::turn::address_policy::Policy;
use crate::turn::channel_data;
use crate::turn::credentials::Authenticator;

/// The first port that is no well-known one.
const LOWEST_PORT: u16 = 1024;

/// The configuration of a [`Relay`](super::Relay). `Config { listen, ..Config::new(authenticator) }` is the usual way
/// to make one.
#[derive(Debug, Clone)]
pub struct Config {
    /// The addresses on which clients are served, and over what. Prefer concrete ones: a socket that is bound to all addresses
    /// sends relayed data from whichever the system chooses, and which addresses are the relay's own must then be
    /// told by [`own_addresses`](Self::own_addresses).
    pub listen: Vec<Listen>,
    /// Where relayed addresses of IPv4 come from; `None` answers 440 to those who ask for one.
    pub ipv4: Option<RelayAddress>,
    /// The same for IPv6.
    pub ipv6: Option<RelayAddress>,
    /// The ports of relayed addresses (RFC 8656 §7.2 recommends 49152 to 65535). Those below 1024 are never given out:
    /// [`relayed_ports`](Self::relayed_ports) says what is left of the range, which may be nothing.
    pub ports: RangeInclusive<u16>,
    /// Who may allocate, and under which realm: better a short one, since it is in every reply to strangers, which is at
    /// most three times as large as what they have sent. From 57 bytes on the answer to the shortest Allocate has no
    /// room for password algorithms, and from 69 bytes on there is none.
    pub authenticator: Authenticator,
    /// Which peers may be reached.
    pub policy: Policy,
    /// Whether relayed addresses of this relay may be peers: two clients of one relay then reach each other.
    pub allow_relayed_peers: bool,
    /// Addresses of this machine besides those in `listen`, `ipv4` and `ipv6`: the listening ports are not reachable
    /// there either.
    pub own_addresses: Vec<IpAddr>,
    /// Allocations per user; `None` is no limit. More answer 486.
    pub user_quota: Option<u32>,
    /// Allocations in all; `None` is no limit. More answer 508.
    pub total_quota: Option<u32>,
    /// Bytes a second that are relayed for one user, each way, without headers; `None` is no limit. What may pass in a
    /// second may pass at once. More is dropped, and counted as [`Drop::OverRate`](super::Drop::OverRate).
    pub max_rate: Option<NonZeroU64>,
    /// Permissions per allocation. More answer 508.
    pub max_permissions: usize,
    /// Channels per allocation. More answer 508.
    pub max_channels: usize,
    /// The lifetime of an allocation that asks for none, or for less (RFC 8656 §7.2).
    pub default_lifetime: Duration,
    /// The longest lifetime that is granted.
    pub max_lifetime: Duration,
    /// How long a nonce is good.
    pub nonce_lifetime: Duration,
    /// How many replies a source gets before it has authenticated itself.
    pub reply_budget: ReplyBudget,
    /// Whether clients get tickets by which they keep an allocation when their address changes (RFC 8016). Those who ask
    /// for one are answered 405 otherwise.
    pub mobility: bool,
    /// What clients that come by TCP may cost.
    pub links: LinkLimits,
    /// What TCP connections with peers may cost (RFC 6062).
    pub connections: ConnectionLimits,
    /// What clients that come by DTLS may cost.
    pub sessions: SessionLimits,
    /// What is shown to clients that speak TLS, on every address that is served by TCP; `None` refuses them.
    pub tls: Option<tls::ServerConfig>,
    /// What is shown to clients that speak DTLS, on every address that is served by UDP; `None` ignores them.
    pub dtls: Option<dtls::ServerConfig>,
    /// Accept channel numbers up to 0x7FFF, as RFC 5766 §11 had it: for clients older than RFC 8656, coturn's
    /// `turnutils_uclient` before 4.17 among them.
    pub rfc5766_channels: bool,
    /// Which part of a relay this is, where several machines are one. What may be had in all is had by all of them
    /// together: quotas and rates count in one [`Ledger`](super::Ledger), and each has an exact share of the links and
    /// sessions that there may be.
    pub shard: Shard,
}

/// The address of relayed addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayAddress {
    /// What sockets are bound to.
    pub bind: IpAddr,
    /// What clients are told: another one where a NAT maps it one to one, ports included.
    pub advertised: IpAddr,
}

impl RelayAddress {
    /// An address that needs no translation.
    pub fn direct(address: IpAddr) -> Self {
        Self { bind: address, advertised: address }
    }
}

impl Config {
    /// The defaults: no listening address and no relayed address yet, special peers denied.
    pub fn new(authenticator: Authenticator) -> Self {
        Self {
            listen: Vec::new(),
            ipv4: None,
            ipv6: None,
            ports: 49152..=65535,
            authenticator,
            policy: Policy::default_deny(),
            allow_relayed_peers: false,
            own_addresses: Vec::new(),
            user_quota: None,
            total_quota: None,
            max_rate: None,
            max_permissions: 128,
            max_channels: 128,
            default_lifetime: Duration::from_secs(600),
            max_lifetime: Duration::from_secs(3600),
            nonce_lifetime: Duration::from_secs(600),
            reply_budget: ReplyBudget::default(),
            mobility: true,
            links: LinkLimits::default(),
            sessions: SessionLimits::default(),
            connections: ConnectionLimits::default(),
            tls: None,
            dtls: None,
            rfc5766_channels: false,
            shard: Shard::default(),
        }
    }

    /// The ports that are given out: [`ports`](Self::ports) without the well-known ones, by which a program may be
    /// trusted that is no client's (RFC 8656 §7.2). Where the range is empty, every Allocate is answered 508.
    pub fn relayed_ports(&self) -> RangeInclusive<u16> {
        LOWEST_PORT.max(*self.ports.start())..=*self.ports.end()
    }

    pub(super) fn relay_address(&self, version: IpVersion) -> Option<RelayAddress> {
        match version {
            IpVersion::V4 => self.ipv4,
            IpVersion::V6 => self.ipv6,
        }
    }

    /// The channel numbers that may be bound.
    pub(super) fn channels(&self) -> RangeInclusive<u16> {
        if self.rfc5766_channels { channel_data::RFC5766_NUMBERS } else { channel_data::NUMBERS }
    }
}

/// The two versions of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum IpVersion {
    V4,
    V6,
}

impl IpVersion {
    pub(super) fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}
