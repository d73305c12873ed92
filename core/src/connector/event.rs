//! What a connector tells, and what it counts.

use std::net::SocketAddr;
use std::time::Duration;

use super::{ConnectError, DiscoverError, Failure};
use crate::io::{Effect, GatewayKey, PipeId};
use crate::quic::CloseReason;

/// News from a connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something that the driver is to do.
    Effect(Effect),
    /// A connection stands, and the gateway has accepted our certificate. Where there was one already, this one takes
    /// the new pipes from now on, and the other ends with its last pipe, without a word.
    Connected {
        /// The gateway.
        gateway: GatewayKey,
        /// The relayed address that it was reached by.
        address: SocketAddr,
    },
    /// No address of the gateway led to a connection. It is tried again for the next pipe.
    ConnectFailed {
        /// The gateway.
        gateway: GatewayKey,
        /// How the last attempt ended.
        error: ConnectError,
    },
    /// The present connection goes on, but no other came about that was to replace it: for a new certificate of ours,
    /// or since the gateway's runs out. It is tried again in a while.
    RenewFailed {
        /// The gateway.
        gateway: GatewayKey,
        /// How the last attempt ended.
        error: ConnectError,
    },
    /// The present connection has ended. The next pipe makes a new one.
    Disconnected {
        /// The gateway.
        gateway: GatewayKey,
        /// Why.
        reason: CloseReason,
    },
    /// The target is open; bytes may flow.
    Opened {
        /// The pipe.
        pipe: PipeId,
        /// The address that the gateway dialled.
        address: SocketAddr,
    },
    /// The pipe was not opened, and is gone.
    Failed {
        /// The pipe.
        pipe: PipeId,
        /// Why.
        failure: Failure,
    },
    /// The gateway tells by which relayed addresses it can now be reached, best first. New connections use them.
    Paths {
        /// The gateway.
        gateway: GatewayKey,
        /// Its relayed addresses.
        addresses: Vec<SocketAddr>,
    },
    /// The gateway is about to leave: it takes no new pipes.
    Draining {
        /// The gateway.
        gateway: GatewayKey,
    },
    /// The answer to [`Connector::ping`](super::Connector::ping), and to the sign of life that every connection begins
    /// with.
    Pong {
        /// The gateway.
        gateway: GatewayKey,
        /// The time between the two, at the level of the tunnel.
        rtt: Duration,
    },
    /// The answer to [`Connector::discover`](super::Connector::discover).
    Mapped {
        /// The relay that was asked.
        relay: SocketAddr,
        /// The address of our own socket of that family, as the relay sees it.
        address: SocketAddr,
    },
    /// There is no answer to [`Connector::discover`](super::Connector::discover).
    NotMapped {
        /// The relay that was asked.
        relay: SocketAddr,
        /// Why.
        error: DiscoverError,
    },
}

/// What a connector holds at present.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Connections of QUIC, those included that are being made or are ending.
    pub connections: usize,
    /// Pipes, those included that are not open yet.
    pub pipes: usize,
}

/// What a connector has dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams for a socket that does not exist (any more).
    pub unknown_socket: u64,
    /// Bytes of a link that does not exist.
    pub unknown_link: u64,
    /// Datagrams to send to a family that has no socket.
    pub no_socket: u64,
    /// Datagrams that are not QUIC's, nor the answer to a question of ours.
    pub unexpected: u64,
}
