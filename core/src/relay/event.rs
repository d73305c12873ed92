//! What a relay tells its application.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::counters::{ConnectionEnd, Flow};
use super::hand_over::HandOver;
use super::listen::Transport;
use super::via::Hop;
use crate::io::{Effect, SocketId};

/// News of a relay. Names of users and addresses are in it: do not log them above DEBUG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The driver is to do something.
    Effect(Effect),
    /// Clients are served.
    Listening {
        /// The socket.
        socket: SocketId,
        /// The address that it is bound to.
        local: SocketAddr,
        /// Over what.
        transport: Transport,
    },
    /// A listening address could not be bound.
    ListenFailed {
        /// The address.
        addr: SocketAddr,
        /// Over what.
        transport: Transport,
        /// What prevented it.
        kind: ErrorKind,
    },
    /// An allocation was made.
    Allocated {
        /// The client, as the relay sees it.
        client: SocketAddr,
        /// Over what it comes.
        hop: Hop,
        /// The username that it came with.
        username: Arc<str>,
        /// Its relayed addresses, as the client was told them.
        relayed: Vec<SocketAddr>,
        /// What is relayed: datagrams, or TCP connections (RFC 6062).
        relays: Transport,
    },
    /// An allocation has ended.
    Released {
        /// The client.
        client: SocketAddr,
        /// Over what it came, the last time that it was heard of.
        hop: Hop,
        /// The username that it came with.
        username: Arc<str>,
        /// Its relayed addresses, as the client was told them.
        relayed: Vec<SocketAddr>,
        /// Why it has ended.
        reason: Released,
        /// What it was used for.
        usage: Usage,
    },
    /// The client of an allocation is somewhere else now (RFC 8016).
    Moved {
        /// Where it was.
        from: SocketAddr,
        /// Where it is.
        to: SocketAddr,
        /// The username that it came with now.
        username: Arc<str>,
    },
    /// An allocation has got a TCP connection with a peer (RFC 6062).
    Connected {
        /// The client.
        client: SocketAddr,
        /// Over what it comes.
        hop: Hop,
        /// The username that it came with.
        username: Arc<str>,
        /// The peer.
        peer: SocketAddr,
    },
    /// Such a connection has ended.
    Disconnected {
        /// The client.
        client: SocketAddr,
        /// Over what it comes.
        hop: Hop,
        /// The username that it came with.
        username: Arc<str>,
        /// The peer.
        peer: SocketAddr,
        /// Why it has ended.
        reason: ConnectionEnd,
        /// Bytes of the client that were sent on to the peer.
        to_peer: u64,
        /// Bytes of the peer that were sent on to the client.
        to_client: u64,
    },
    /// An allocation was refused to a user. What strangers are answered is counted only.
    Refused {
        /// The client.
        client: SocketAddr,
        /// Over what it comes.
        hop: Hop,
        /// The username that it came with.
        username: Arc<str>,
        /// The error code (RFC 8656 §7.2, §19).
        code: u16,
    },
    /// A client is to be handed over to another shard.
    HandOver(HandOver),
    /// The relay is being drained, and has no allocation any more.
    Drained,
}

/// What an allocation was used for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How long it has lived.
    pub lasted: Duration,
    /// Data of its client that was sent on to peers.
    pub to_peers: Flow,
    /// Data of peers that was sent on to its client.
    pub to_clients: Flow,
}

/// Why an allocation has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// Its client asked for it: a Refresh with lifetime 0 (RFC 8656 §8.2).
    Closed,
    /// It was not refreshed in time.
    Expired,
    /// Its user was revoked.
    Revoked,
    /// The link that its client came by has ended: it was of that five-tuple (RFC 8656 §3).
    Disconnected,
    /// The relay ends, and its client has not moved in time.
    CutOff,
}
