//! What a relay has done, in numbers.

use crate::time::UnixTime;

/// How a relay is doing, for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// When it started, by its clock of that time.
    pub since: UnixTime,
    /// Allocations at present.
    pub allocations: usize,
    /// Data of clients that was sent on to peers, since the start.
    pub to_peers: Flow,
    /// Data of peers that was sent on to clients, since the start.
    pub to_clients: Flow,
    /// Datagrams that were dropped since the start, for whatever reason.
    pub dropped: u64,
    /// Signed requests since the start whose credentials are not good here.
    pub auth_failures: u64,
}

/// What a relay holds at present. All but `sockets`, which counts those it listens on too, is nothing when nobody uses
/// the relay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Allocations, those included whose sockets are being bound.
    pub allocations: usize,
    /// Permissions of all allocations.
    pub permissions: usize,
    /// Channels of all allocations.
    pub channels: usize,
    /// Ports that wait for their allocation (RFC 8656 §7.2).
    pub reservations: usize,
    /// Relayed ports, reserved ones included, of both versions of IP.
    pub ports: usize,
    /// Sockets, listening ones included.
    pub sockets: usize,
    /// Deadlines.
    pub timers: usize,
    /// Replies and Data indications that wait for `poll_transmit`; at most 4,096.
    pub waiting: usize,
}

/// Totals since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Data of clients that was sent on to peers.
    pub to_peers: Flow,
    /// Data of peers that was sent on to clients.
    pub to_clients: Flow,
    /// ICMP errors on relayed sockets.
    pub transport_errors: u64,
    /// Requests that were signed, but with no credentials that are good here.
    pub auth_failures: u64,
    dropped: [u64; Drop::ALL.len()],
}

/// Datagrams, and the bytes of their payload without any header of TURN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Datagrams.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Flow {
    pub(super) fn add(&mut self, len: usize) {
        self.packets += 1;
        self.bytes += len as u64;
    }
}

macro_rules! drops {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Why a datagram was dropped, or a request left without an answer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Drop {
            $($(#[$doc])* $name,)*
        }

        impl Drop {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

drops! {
    /// It is no message of STUN or TURN, or a malformed one.
    Malformed,
    /// A method or an indication that no client sends to a relay, or a response.
    Unexpected,
    /// An indication holds an attribute that must be understood and is not (RFC 8489 §6.3.2).
    UnknownAttribute,
    /// Data from a client without an allocation.
    NoAllocation,
    /// Data on a channel that is not bound.
    NoChannel,
    /// Data to or from a peer that has no permission.
    NoPermission,
    /// Data to a peer whose version of IP the allocation does not have.
    NoFamily,
    /// Data to one of the relay's own ports.
    OwnPort,
    /// Data of a peer that does not fit a datagram with TURN's header in front.
    TooLong,
    /// The queue of what is to be sent was full.
    QueueFull,
    /// The source has used up its replies before authentication.
    OverBudget,
    /// A reply before authentication would have been too large for its request.
    Amplifying,
    /// It arrived on a socket that has been given up.
    UnknownSocket,
    /// Bytes of a link; there are none yet.
    UnknownLink,
}

impl Counters {
    /// How many datagrams were dropped for `reason`.
    pub fn dropped(&self, reason: Drop) -> u64 {
        self.dropped[reason as usize]
    }

    /// How many datagrams were dropped in all.
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    pub(super) fn drop(&mut self, reason: Drop) {
        self.dropped[reason as usize] += 1;
    }
}
