//! What a relay has done, in numbers.

use crate::time::UnixTime;
use crate::turn::credentials::Refused;

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
    dropped: [u64; Drop::ALL.len()],
    failures: [u64; AuthFailure::ALL.len()],
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

    /// What has come since it was `before`.
    pub(super) fn since(self, before: Self) -> Self {
        Self { packets: self.packets - before.packets, bytes: self.bytes - before.bytes }
    }

    /// Adds what has come.
    pub(super) fn gain(&mut self, more: Self) {
        self.packets += more.packets;
        self.bytes += more.bytes;
    }
}

macro_rules! reasons {
    ($(#[$head:meta])* $kind:ident: $($(#[$doc:meta])* $name:ident,)*) => {
        $(#[$head])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $kind {
            $($(#[$doc])* $name,)*
        }

        impl $kind {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

reasons! {
    /// Why a datagram was dropped, or a request left without an answer.
    Drop:
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
    /// The user has used up the bytes that may be relayed for them now.
    OverRate,
    /// The source has used up its replies before authentication.
    OverBudget,
    /// A reply before authentication would have been too large for its request.
    Amplifying,
    /// It arrived on a socket that has been given up.
    UnknownSocket,
    /// Bytes of a link; there are none yet.
    UnknownLink,
}

reasons! {
    /// Why a request that was signed was not taken for its user's.
    AuthFailure:
    /// There is no such user.
    UnknownUser,
    /// It was signed with another password, or for another realm.
    WrongPassword,
    /// Its time-limited credentials have run out.
    Expired,
    /// The policy in its username is malformed, or of an unknown version.
    BadPolicy,
    /// It lacks what must go with a signature, or has it in a form that can't be read.
    Malformed,
    /// Its nonce is no longer good. That happens to every client from time to time.
    StaleNonce,
}

impl AuthFailure {
    /// What `refused` counts as; nothing where the request was not signed, as no first request is.
    pub(super) fn of(refused: Refused) -> Option<Self> {
        Some(match refused {
            Refused::Unsigned => return None,
            Refused::Incomplete | Refused::BadAlgorithm | Refused::TooLong => Self::Malformed,
            Refused::UnknownUser => Self::UnknownUser,
            Refused::Expired => Self::Expired,
            Refused::UnknownPolicy | Refused::MalformedPolicy => Self::BadPolicy,
            Refused::WrongPassword => Self::WrongPassword,
        })
    }
}

impl Counters {
    /// How many signed requests were refused for `reason`.
    pub fn auth_failures(&self, reason: AuthFailure) -> u64 {
        self.failures[reason as usize]
    }

    /// How many signed requests came with credentials that are not good here. A stale nonce is none of those.
    pub fn auth_failures_in_all(&self) -> u64 {
        self.failures.iter().sum::<u64>() - self.auth_failures(AuthFailure::StaleNonce)
    }

    pub(super) fn fail(&mut self, reason: AuthFailure) {
        self.failures[reason as usize] += 1;
    }

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
