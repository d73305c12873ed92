//! QUIC over routes: quinn-proto over virtual addresses.
//!
//! A QUIC client drops packets from a new server address, and a QUIC server takes a new client address for a
//! migration. Relays change both. So quinn-proto sees one constant *virtual* address per connection, and the
//! [`Endpoint`] maps it to the [`Way`] that its datagrams really travel:
//!
//! 1. A datagram arrives on some way. Its destination connection ID tells the connection: either it is one that
//!    `cid` minted, which hides the connection's slot, or it is a client's first one, which `route` remembers.
//!    Neither: a client's first Initial, whose virtual address is a keyed hash of its way.
//! 2. quinn-proto handles it as coming from the virtual address of that connection.
//! 3. If it came by another way than the last ones and turned out to be authentic, the way has changed: a NAT has
//!    forgotten the client's old port, or the relay gave a new one. QUIC itself never notices.
//!
//! The rest is the usual contract: [`Endpoint::handle`], [`Endpoint::handle_timeout`], then
//! [`Endpoint::poll_transmit`] until nothing is left, then [`Endpoint::poll_event`], then
//! [`Endpoint::poll_timeout`].

mod cid;
mod close;
mod config;
mod connection;
mod crypto;
mod endpoint;
mod route;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

pub use close::CloseReason;
pub use config::{Config, UnusableTls};
pub use endpoint::{ConnectError, Counters, Endpoint};
pub use quinn_proto::StreamId;

pub use crate::io::ConnId;
use crate::io::Ecn;

/// How a datagram really travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// Which relay client or socket of the owner; the owner numbers them.
    pub via: u32,
    /// The other end's real address.
    pub remote: SocketAddr,
}

/// What [`Endpoint::poll_transmit`] says about the datagrams that it wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outgoing {
    /// The connection that sends them; `None` for an answer that belongs to no connection (Retry, version
    /// negotiation, refusal).
    pub conn: Option<ConnId>,
    /// How they are to travel.
    pub way: Way,
    /// The ECN codepoint to send them with.
    pub ecn: Option<Ecn>,
    /// The length of every datagram but the last, in bytes; the whole buffer when there is only one.
    pub stride: usize,
}

/// News of the connections of an [`Endpoint`].
///
/// The last event of each connection is `Closed`; it may be the only one, for an attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The connection can be used. On a server: the client's certificate was verified. On a client: the server has
    /// confirmed the handshake, so it has accepted the client's certificate too (RFC 9001 §4.1.2).
    Connected {
        /// The connection.
        conn: ConnId,
    },
    /// The connection has ended. What was received before can still be read for a moment.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// The peer opened a bidirectional stream; there may be something to read on it already, and no `Readable`
    /// says so.
    StreamOpened {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
    },
    /// There is something to read, or the end of it.
    Readable {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
    },
    /// A stream that was blocked takes bytes again.
    Writable {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
    },
    /// The peer wants no more bytes (STOP_SENDING). Peers cancel with FIN followed by this.
    Stopped {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
        /// The peer's application error code.
        code: u64,
    },
    /// Everything that was written before `finish` has been acknowledged.
    Finished {
        /// The connection.
        conn: ConnId,
        /// The stream.
        stream: StreamId,
    },
    /// [`Endpoint::open`] may succeed again.
    StreamsAvailable {
        /// The connection.
        conn: ConnId,
    },
}

/// What one connection has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// Bytes that the application wrote to streams.
    pub stream_bytes_sent: u64,
    /// Bytes that the application read from streams.
    pub stream_bytes_received: u64,
    /// Bytes of UDP payload sent.
    pub udp_bytes_sent: u64,
    /// Bytes of UDP payload received.
    pub udp_bytes_received: u64,
    /// Packets sent on the present way.
    pub packets_sent: u64,
    /// Packets lost on the present way.
    pub packets_lost: u64,
    /// The congestion window in bytes.
    pub congestion_window: u64,
    /// The largest UDP payload that the path is known to carry, in bytes.
    pub mtu: u16,
}
