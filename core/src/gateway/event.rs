//! What a gateway tells its owner.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::client;
use crate::io::Effect;
use crate::pki::Identity;
use crate::quic::CloseReason;
use crate::tunnel::{Code, RejectCode, Target};

/// News from a gateway. A relay is named by its place in [`Config::relays`](super::Config::relays), or by that which
/// [`Gateway::add_relay`](super::Gateway::add_relay) has returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something that the driver is to do.
    Effect(Effect),
    /// A relay has given an allocation.
    Allocated {
        /// The relay's place.
        relay: usize,
        /// The relayed addresses, at most one per family.
        relayed: Vec<SocketAddr>,
    },
    /// There is no allocation on a relay, or no more; it is tried again by itself.
    RelayLost {
        /// The relay's place.
        relay: usize,
        /// Why.
        reason: RelayLost,
        /// When the next attempt begins.
        retry_in: Duration,
    },
    /// A relay has not answered the first request for a while, and there is no other way to it left to try; it is still
    /// being asked.
    RelaySilent {
        /// The relay's place.
        relay: usize,
        /// For how long.
        since: Duration,
    },
    /// A relay does not let a peer through that is permitted.
    PermissionDenied {
        /// The relay's place.
        relay: usize,
        /// The peer.
        peer: IpAddr,
        /// The relay's code: 403 where its policy forbids the peer, 443 where no relayed address has the family.
        code: u16,
        /// The relay's sentence.
        reason: String,
    },
    /// The relayed addresses have changed: all of them, best first. Empty while there is none.
    Addresses(Vec<SocketAddr>),
    /// A connector has connected; its certificate was verified.
    Connected {
        /// Who it is.
        peer: Identity,
    },
    /// A connector was turned away during its handshake.
    Refused {
        /// Why.
        reason: CloseReason,
    },
    /// A connector was turned away right after its handshake, although its certificate is good.
    TurnedAway {
        /// Who it is.
        peer: Identity,
        /// Why.
        cause: Cause,
    },
    /// The connection of a connector has ended.
    Disconnected {
        /// Who it was.
        peer: Identity,
        /// Why.
        reason: CloseReason,
        /// Why the gateway has ended it, where it was the gateway: [`Cause::Revoked`] says that by a revocation.
        cause: Option<Cause>,
    },
    /// An instance of the platform has asked for peers, which are permitted now.
    Permitted {
        /// Which instance.
        peer: Identity,
        /// The peers.
        addresses: Vec<IpAddr>,
    },
    /// A connector has asked for peers that may not. Its connection ends by that.
    PermitRefused {
        /// Who it is.
        peer: Identity,
    },
    /// A target was opened for a connector.
    Opened {
        /// Who asked for it.
        peer: Identity,
        /// What was asked for.
        target: Target,
        /// The address that was dialled.
        address: SocketAddr,
    },
    /// A connector did not get what it asked for.
    Rejected {
        /// Who asked.
        peer: Identity,
        /// What was asked for, where that could be read.
        target: Option<Target>,
        /// Why, for programs.
        code: RejectCode,
        /// Why, for people: what the connector was told.
        sentence: String,
    },
    /// A stream has reached [`Config::max_stream_age`](super::Config::max_stream_age) and was reset.
    TooOld {
        /// Who has asked for it.
        peer: Identity,
        /// What it led to.
        target: Target,
    },
    /// Closing is complete; the gateway is of no further use.
    Closed,
}

/// Why a gateway has ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The gateway is closed.
    Closing,
    /// The connector broke the protocol.
    Protocol,
    /// The connector has asked for peers and may not.
    PermitRefused,
    /// The certificate, or its holder, was revoked.
    Revoked,
    /// The address that it came from is not permitted, or no longer.
    NotPermitted,
    /// The certificate of a person has run out too long ago.
    Expired,
}

impl Cause {
    /// The code that the connector is told.
    pub(super) fn code(self) -> u32 {
        let code = match self {
            Self::Closing => Code::Done,
            Self::Protocol => Code::Protocol,
            Self::PermitRefused => Code::PermitRefused,
            Self::Revoked => Code::Revoked,
            Self::NotPermitted => Code::NotPermitted,
            Self::Expired => Code::Expired,
        };
        code as u32
    }

    /// The words that the connector is told.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Closing => "",
            Self::Protocol => "protocol error",
            Self::PermitRefused => "permit refused",
            Self::Revoked => "revoked",
            Self::NotPermitted => "address not permitted",
            Self::Expired => "certificate expired",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Closing => "the gateway is closed",
            Self::Protocol => "the connector broke the protocol",
            Self::PermitRefused => "it asked for peers, which only the platform may",
            Self::Revoked => "revoked",
            Self::NotPermitted => "the address that it came from is not permitted",
            Self::Expired => "its certificate ran out too long ago",
        })
    }
}

/// Why there is no allocation on a relay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayLost {
    /// The name of the relay can't be resolved.
    #[error("the name of the relay can't be resolved ({0}): check the name, and this machine's DNS")]
    Unresolved(std::io::ErrorKind),
    /// The TURN client says why.
    #[error("{0}")]
    Client(client::Lost),
}

/// What a gateway holds at present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Connections of QUIC, those included that are being made or are ending.
    pub connections: usize,
    /// Streams that have no pipe yet, or that lead to one.
    pub streams: usize,
    /// Pipes to targets.
    pub pipes: usize,
    /// Names that are being looked up.
    pub queries: usize,
    /// Sockets, one for each relay with a client.
    pub sockets: usize,
    /// Bytes that wait for channels; at most 256 KiB for each relay.
    pub parked: usize,
}

/// What a gateway has done, and what it has dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams for a socket that does not exist (any more).
    pub unknown_socket: u64,
    /// Bytes of a link that does not exist.
    pub unknown_link: u64,
    /// Datagrams from addresses that are not permitted any more.
    pub unpermitted: u64,
    /// Peers that an instance of the platform asked for when there was no room for more.
    pub no_permit_room: u64,
    /// Datagrams that waited for a channel which did not come, or that found no room to wait.
    pub no_channel: u64,
    /// Targets that were opened.
    pub opened: u64,
    /// Bytes of connectors for targets, as far as they were taken out of pipes.
    pub to_targets: u64,
    /// Bytes of targets for connectors, as far as they were put into pipes.
    pub from_targets: u64,
    rejected: [u64; RejectCode::ALL.len()],
}

impl Counters {
    /// How many targets were not opened, for this reason.
    pub fn rejected(&self, code: RejectCode) -> u64 {
        RejectCode::ALL.iter().zip(self.rejected).filter(|(of, _)| **of == code).map(|(_, count)| count).sum()
    }

    pub(super) fn reject(&mut self, code: RejectCode) {
        let mut counts = RejectCode::ALL.iter().zip(&mut self.rejected);
        if let Some((_, count)) = counts.find(|(of, _)| **of == code) {
            *count += 1;
        }
    }
}
