//! What a client tells its owner.

use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::io::Effect;
use crate::secure::Failure;
use crate::stun::Icmp;

/// News of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something for the driver to do.
    Effect(Effect),
    /// There is an allocation. Peers reach the owner at these addresses.
    Allocated {
        /// The relayed addresses, IPv4 first.
        relayed: Vec<SocketAddr>,
        /// Where the relay sees this client.
        mapped: Option<SocketAddr>,
        /// How long it lives without a refresh.
        lifetime: Duration,
    },
    /// The relay has not answered the first request for a while; it is still being asked.
    Unanswered {
        /// For how long.
        since: Duration,
    },
    /// The allocation is gone with all its channels, or could not be had. A new attempt follows by itself.
    Lost {
        /// Why.
        reason: Lost,
        /// When the new attempt begins.
        retry_in: Duration,
    },
    /// Data for the peer now goes through a channel.
    ChannelBound {
        /// The peer.
        peer: SocketAddr,
    },
    /// The relay refused the channel; data goes in Send indications, where the permission holds.
    ChannelRefused {
        /// The peer.
        peer: SocketAddr,
        /// The relay's code.
        code: u16,
        /// The relay's sentence.
        reason: String,
    },
    /// The relay does not let this peer in. It is asked again when there is a new allocation.
    PermissionDenied {
        /// The peer.
        peer: IpAddr,
        /// The relay's code: 403 where its policy forbids the peer, 443 where no relayed address has the family.
        code: u16,
        /// The relay's sentence.
        reason: String,
    },
    /// ICMP has said of a datagram to this peer that it did not arrive. Anybody may have made it up: it is a hint
    /// (RFC 8656 §11.6).
    Undelivered {
        /// The peer; port 0 where the relay does not know it.
        peer: SocketAddr,
        /// What was said.
        icmp: Icmp,
    },
    /// `close` is done.
    Closed,
}

/// Why there is no allocation (any more). `Display` says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// The relay answers nothing.
    Unreachable,
    /// The relay answers nothing that is signed with the password; only such as somebody else has signed, or nobody.
    Unverified,
    /// ICMP says that nobody listens there, or that there is no way there.
    Rejected {
        /// What ICMP said.
        kind: ErrorKind,
    },
    /// Wrong user, wrong password, or credentials that have expired: 401, 441.
    Unauthorized {
        /// The relay's code.
        code: u16,
        /// The relay's sentence.
        reason: String,
    },
    /// The relay has forgotten the allocation: it was restarted, or the address of this client has changed. Or it has
    /// another one for that address (437).
    Forgotten,
    /// The relay is full, or the user's quota is: 486, 508, 500.
    Busy {
        /// The relay's code.
        code: u16,
        /// The relay's sentence.
        reason: String,
    },
    /// The connection to the relay has ended: of TCP, TLS or DTLS.
    Disconnected {
        /// Why; `None` when the relay has ended it in order.
        kind: Option<ErrorKind>,
    },
    /// The way to the relay could not be secured, or is not any more.
    Insecure(Failure),
    /// The relay wants to be left alone: 300.
    Elsewhere {
        /// Whom to ask instead.
        server: Option<SocketAddr>,
    },
    /// The relay does not do what was asked of it: any other code.
    Refused {
        /// The relay's code.
        code: u16,
        /// The relay's sentence.
        reason: String,
    },
    /// The relay's answer makes no sense.
    Nonsense,
    /// No socket could be bound.
    NoSocket {
        /// Why not.
        kind: ErrorKind,
    },
}

impl Lost {
    /// What will not change by itself is not asked for every second.
    pub(super) fn least_backoff(&self) -> Duration {
        match self {
            Self::Unauthorized { .. } | Self::Refused { .. } | Self::Elsewhere { .. } => {
                Duration::from_secs(10)
            }
            Self::Insecure(Failure::Certificate(_) | Failure::Incompatible) => Duration::from_secs(10),
            _ => Duration::ZERO,
        }
    }

    /// Whether another way to the same relay may do better. Of credentials, and of what a relay grants, all of its ways
    /// think the same.
    pub fn is_about_the_way(&self) -> bool {
        match self {
            Self::Unreachable
            | Self::Rejected { .. }
            | Self::Disconnected { .. }
            | Self::Insecure(_)
            | Self::Nonsense
            | Self::NoSocket { .. } => true,
            Self::Unauthorized { .. }
            | Self::Forgotten
            | Self::Busy { .. }
            | Self::Elsewhere { .. }
            | Self::Refused { .. }
            | Self::Unverified => false,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str(
                "the relay does not answer: check its address and port, and that UDP is let out to it",
            ),
            Self::Unverified => f.write_str(
                "the relay's answers are not signed with the password: somebody on the way changes or forges them, or \
                 it is not the relay that it should be",
            ),
            Self::Rejected { kind } => {
                write!(f, "the relay can't be reached ({kind}): check its address and port, and that it runs")
            }
            Self::Unauthorized { code, reason } => write!(
                f,
                "the relay does not accept the credentials ({code} {}): check the username and password, or the \
                 shared secret, and the clocks of both machines",
                Quoted(reason)
            ),
            Self::Forgotten => f.write_str(
                "the relay knows another allocation of this address, or none (437): it was restarted, or a NAT in \
                 between was",
            ),
            Self::Busy { code, reason } => write!(
                f,
                "the relay has no room ({code} {}): wait, or raise its quota or its range of ports",
                Quoted(reason)
            ),
            Self::Disconnected { kind: None } => f.write_str("the relay has ended the connection"),
            Self::Disconnected { kind: Some(kind) } => {
                write!(f, "the connection to the relay is broken ({kind})")
            }
            Self::Insecure(failure) => write!(f, "the way to the relay is not secure: {failure}"),
            Self::Elsewhere { server: Some(server) } => {
                write!(f, "the relay is being drained and points to {server} (300): use that one")
            }
            Self::Elsewhere { server: None } => {
                f.write_str("the relay is being drained (300): use another one")
            }
            Self::Refused { code, reason } => write!(
                f,
                "the relay refuses the request ({code} {}): check that it relays UDP in the families asked for, \
                 and that this user may allocate",
                Quoted(reason)
            ),
            Self::Nonsense => {
                f.write_str("the relay's answer makes no sense: check that it is a TURN server")
            }
            Self::NoSocket { kind } => {
                write!(f, "no UDP socket could be bound ({kind}): check the local address")
            }
        }
    }
}

/// A sentence from the network, fit for a log: short, and without control characters.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.0.chars().filter(|c| !c.is_control()).take(80).collect();
        write!(f, "{shown:?}")
    }
}

/// What a client has counted since it was made; in datagrams unless it says otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Dropped: from somebody else than the relay, or for a socket that is gone.
    pub foreign: u64,
    /// Dropped: neither a STUN message nor ChannelData.
    pub malformed: u64,
    /// Dropped: ChannelData on a channel that was not bound.
    pub unknown_channel: u64,
    /// Dropped: Data indication from a peer that was not permitted.
    pub unpermitted: u64,
    /// Dropped: a response to no request that waits, or a message that a client does not get.
    pub unexpected: u64,
    /// A response whose integrity is missing or wrong. It was dropped, or counted only when nothing better came.
    pub unsigned: u64,
    /// Dropped: news of ICMP, when the owner had not fetched many others.
    pub unread: u64,
    /// Not sent: data for a peer without channel and permission.
    pub not_ready: u64,
    /// Not sent: data, or a request, that found no room to wait for the link, or no session to be sealed in.
    pub no_room: u64,
    /// Dropped: data of peers that the owner did not take.
    pub not_taken: u64,
    /// Requests that were sent again.
    pub retransmitted: u64,
    /// ICMP errors about the relay.
    pub transport_errors: u64,
}
