//! Over what a client comes, and its replies go back.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

use super::Relay;
use super::dtls::SessionId;
use super::listen::Transport;
use crate::io::{LinkId, SocketId};

/// Over what a client comes, as far as its messages are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hop {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// DTLS over UDP.
    Dtls,
}

/// What carries TURN between a client and the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Via {
    /// Datagrams to and from a listening socket.
    Udp(SocketId),
    /// A connection: messages one behind the other, plain or under TLS.
    Link(LinkId),
    /// A DTLS session on a listening socket, which is one five-tuple for as long as it stands.
    Session(SessionId),
}

impl Via {
    /// The transport of the five-tuple (RFC 8656 §3).
    pub(super) fn transport(self) -> Transport {
        match self {
            Self::Udp(_) | Self::Session(_) => Transport::Udp,
            Self::Link(_) => Transport::Tcp,
        }
    }
}

/// What names an allocation on the wire (RFC 8656 §3): the client's address and transport, and the server's. A listening
/// socket stands for the last two, and so does a link, which is one five-tuple for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FiveTuple {
    pub(super) client: SocketAddr,
    pub(super) via: Via,
}

/// The client's address and port as one word for the hash function, which is called for each batch on the data path.
/// Clients that differ in the rest only are few.
impl Hash for FiveTuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ip = match self.client.ip() {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        state.write_u128(ip.rotate_left(16) ^ u128::from(self.client.port()));
    }
}

/// The way that a request came, and that its reply goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) via: Via,
    pub(super) client: SocketAddr,
    /// The address of ours that the client sent to, where the listening socket is bound to all.
    pub(super) local: Option<IpAddr>,
}

impl Path {
    pub(super) fn five_tuple(&self) -> FiveTuple {
        FiveTuple { client: self.client, via: self.via }
    }

    /// Whether the client has shown that it receives what is sent to its address, so that it can't have forged that.
    pub(super) fn is_proven(&self) -> bool {
        match self.via {
            Via::Udp(_) => false,
            Via::Link(_) | Via::Session(_) => true,
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Dtls => "DTLS",
        })
    }
}

impl Relay {
    /// Over what somebody comes whose message is being handled.
    pub(super) fn hop(&self, via: Via) -> Hop {
        match via {
            Via::Udp(_) => Hop::Udp,
            Via::Session(_) => Hop::Dtls,
            Via::Link(link) if self.links.is_secured(link) => Hop::Tls,
            Via::Link(_) => Hop::Tcp,
        }
    }
}
