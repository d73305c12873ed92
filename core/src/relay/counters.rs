//! What a relay has done, in numbers.

use std::ops::AddAssign;

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
    /// Replies and data that wait for `poll_transmit`, those for links not included.
    pub waiting: usize,
    /// Links: TCP connections of clients.
    pub links: usize,
    /// Bytes that wait for links.
    pub link_bytes: usize,
    /// DTLS sessions.
    pub sessions: usize,
    /// TCP connections with peers (RFC 6062), those included that are being opened.
    pub connections: usize,
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
    /// Links that were accepted: TCP connections of clients.
    pub links: u64,
    /// Those of them that have finished a handshake of TLS.
    pub tls: u64,
    /// DTLS sessions that have finished their handshake.
    pub sessions: u64,
    /// TCP connections with peers that were made (RFC 6062).
    pub connections: u64,
    /// Clients, and datagrams sent after them, that were handed over to other shards.
    pub handed_over: u64,
    /// The same from other shards.
    pub taken_in: u64,
    dropped: [u64; Drop::ALL.len()],
    failures: [u64; AuthFailure::ALL.len()],
    links_ended: [u64; LinkEnd::ALL.len()],
    sessions_ended: [u64; SessionEnd::ALL.len()],
    connections_ended: [u64; ConnectionEnd::ALL.len()],
}

/// Datagrams, and the bytes of their payload without any header of TURN. What goes by TCP connections with peers adds to
/// the bytes only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Datagrams.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Flow {
    /// Adds so many datagrams of `len` bytes each.
    pub(super) fn add(&mut self, count: usize, len: usize) {
        self.packets += count as u64;
        self.bytes += (count * len) as u64;
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
    /// Why a datagram or a message was dropped, or a request left without an answer.
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
    /// A Send indication for an allocation of TCP, whose data goes by connections (RFC 6062).
    NotUdp,
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
    /// It came or was to go by a link that has been given up.
    UnknownLink,
    /// Data for a client whose link takes too little.
    LinkFull,
    /// Data for a client whose link or session has ended, and that may come back by another one (RFC 8016).
    Away,
    /// Another shard has sent it after a client of which nothing is known here any more.
    Misdirected,
    /// DTLS from somebody without a session, which is not the beginning of one.
    NoHello,
    /// DTLS from somebody for whom there is no room: too many have not finished their handshake, in all or of the source.
    TooManySessions,
}

reasons! {
    /// Why a link, which is a TCP connection of a client, was refused or has ended.
    LinkEnd:
    /// Refused: there are as many as there may be.
    TooMany,
    /// Refused: its source has as many as it may have.
    TooManyOfSource,
    /// Refused: too many have not said anything yet.
    TooManyOpening,
    /// The client has closed it.
    Closed,
    /// It has failed: the client has reset it, or the way to it is lost.
    Broken,
    /// The client sent what is no message of STUN or TURN.
    Garbage,
    /// The client sent no message in time.
    NeverSpoke,
    /// The client had no allocation and sent nothing any more.
    Idle,
    /// The client did not take what was sent to it.
    TakesNothing,
    /// TLS has failed: in its handshake, or because something was spoilt on the way.
    Tls,
    /// It was bound to the connection of a peer, which has ended (RFC 6062).
    Bound,
}

reasons! {
    /// Why a TCP connection with a peer was refused, could not be made, or has ended (RFC 6062).
    ConnectionEnd:
    /// Refused: there is one with this peer already.
    Exists,
    /// Refused: there are as many as there may be, in all, or of the allocation, or that wait.
    TooMany,
    /// Refused: the peer that has connected has no permission.
    NoPermission,
    /// The peer could not be reached, or not in time.
    Failed,
    /// No client has bound it in time.
    NeverBound,
    /// Both ends have finished.
    Closed,
    /// One end has broken it, and so the other one was reset.
    Broken,
    /// One end has finished, and for too long the other one had nothing to say.
    HalfClosed,
    /// Its peer may not be reached any more.
    Denied,
    /// Its allocation has ended, or has given up the relayed address.
    Released,
    /// More than can be kept has come for an end that takes nothing.
    Overflown,
}

reasons! {
    /// Why a DTLS session of a client has ended.
    SessionEnd:
    /// The client has closed it.
    Closed,
    /// It has failed: in its handshake, or because the client broke the protocol.
    Failed,
    /// The client has begun another one from the same port.
    Replaced,
    /// The handshake was not done in time.
    TooSlow,
    /// The client had no allocation and sent nothing any more.
    Idle,
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

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        let Self {
            to_peers,
            to_clients,
            transport_errors,
            links,
            tls,
            sessions,
            connections,
            handed_over,
            taken_in,
            ..
        } = other;
        self.to_peers.gain(to_peers);
        self.to_clients.gain(to_clients);
        self.transport_errors += transport_errors;
        self.links += links;
        self.tls += tls;
        self.sessions += sessions;
        self.connections += connections;
        self.handed_over += handed_over;
        self.taken_in += taken_in;
        add(&mut self.dropped, &other.dropped);
        add(&mut self.failures, &other.failures);
        add(&mut self.links_ended, &other.links_ended);
        add(&mut self.sessions_ended, &other.sessions_ended);
        add(&mut self.connections_ended, &other.connections_ended);
    }
}

fn add(mine: &mut [u64], theirs: &[u64]) {
    mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
}

impl AddAssign for Holdings {
    fn add_assign(&mut self, other: Self) {
        let Self {
            allocations,
            permissions,
            channels,
            reservations,
            ports,
            sockets,
            timers,
            waiting,
            links,
            link_bytes,
            sessions,
            connections,
        } = other;
        self.allocations += allocations;
        self.permissions += permissions;
        self.channels += channels;
        self.reservations += reservations;
        self.ports += ports;
        self.sockets += sockets;
        self.timers += timers;
        self.waiting += waiting;
        self.links += links;
        self.link_bytes += link_bytes;
        self.sessions += sessions;
        self.connections += connections;
    }
}

impl Status {
    /// That of this shard and another one together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.since = self.since.min(other.since);
        self.allocations += other.allocations;
        self.to_peers.gain(other.to_peers);
        self.to_clients.gain(other.to_clients);
        self.dropped += other.dropped;
        self.auth_failures += other.auth_failures;
        self
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

    /// How many links were refused or have ended for `reason`.
    pub fn links_ended(&self, reason: LinkEnd) -> u64 {
        self.links_ended[reason as usize]
    }

    /// How many DTLS sessions have ended for `reason`.
    pub fn sessions_ended(&self, reason: SessionEnd) -> u64 {
        self.sessions_ended[reason as usize]
    }

    /// How many TCP connections with peers were refused, failed or have ended for `reason`.
    pub fn connections_ended(&self, reason: ConnectionEnd) -> u64 {
        self.connections_ended[reason as usize]
    }

    pub(super) fn end_connection(&mut self, reason: ConnectionEnd) {
        self.connections_ended[reason as usize] += 1;
    }

    pub(super) fn end_session(&mut self, reason: SessionEnd) {
        self.sessions_ended[reason as usize] += 1;
    }

    pub(super) fn end_link(&mut self, reason: LinkEnd) {
        self.links_ended[reason as usize] += 1;
    }

    pub(super) fn drop(&mut self, reason: Drop) {
        self.dropped[reason as usize] += 1;
    }
}
