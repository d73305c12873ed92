//! Effects: what a machine asks of the world. Completions: what the world answers.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{LinkId, PipeId, QueryId, SocketId};

/// What a machine asks its driver to do. It arrives as an event; where the table names one, a [`Completion`]
/// answers it.
///
/// | effect | completion |
/// | --- | --- |
/// | `Bind` | `Bound` |
/// | `Resolve` | `Resolved` |
/// | `Dial` | `Dialled` |
/// | `Listen` | `Bound`; then each connection is offered by a call of `accept` |
/// | `OpenLink` | `LinkOpened`, or `LinkClosed` |
/// | `PipeLink` | `LinkFinished`, once the other end has finished |
/// | `Unbind`, `Wake`, `FinishLink`, `CloseLink`, `ReadLink` | none |
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Bind a UDP socket to `addr` (port 0: any) and deliver what arrives on it under `socket`.
    Bind {
        /// The identifier to deliver its datagrams under.
        socket: SocketId,
        /// The address to bind; IPv6 sockets are v6-only.
        addr: SocketAddr,
        /// What the socket is for.
        kind: SocketKind,
    },
    /// Close the socket, which may be a listener. Completions and datagrams that are still on their way are dropped,
    /// links that came by a listener stay.
    Unbind {
        /// The socket.
        socket: SocketId,
    },
    /// Listen for TCP connections on `addr` (port 0: any); IPv6 listeners are v6-only. Each is offered to the machine,
    /// which gives it an identifier or refuses it.
    Listen {
        /// The identifier to offer connections under.
        listener: SocketId,
        /// The address to bind.
        addr: SocketAddr,
        /// What it is for.
        kind: ListenerKind,
    },
    /// Open a TCP connection whose bytes are the machine's own: a link.
    OpenLink {
        /// The identifier of the link.
        link: LinkId,
        /// The other end.
        to: SocketAddr,
        /// The local address, where it matters. It may be that of a listener of [`ListenerKind::Relayed`].
        from: Option<SocketAddr>,
        /// When to give up.
        timeout: Duration,
    },
    /// Let the two ways of a link end each by itself, as those of a pipe do: when the other end has finished (FIN), that is
    /// told by `LinkFinished`, and the link goes on until the machine closes it, or it breaks.
    PipeLink {
        /// The link.
        link: LinkId,
    },
    /// Send FIN behind what was handed over; nothing more is handed over for the link, which is still read.
    FinishLink {
        /// The link.
        link: LinkId,
    },
    /// End a link. Nothing more is heard of it.
    CloseLink {
        /// The link.
        link: LinkId,
        /// Whether what was handed over still goes out.
        how: Close,
    },
    /// Stop reading from a link, or go on: what is not read holds the other end back.
    ReadLink {
        /// The link.
        link: LinkId,
        /// Whether to read.
        read: bool,
    },
    /// Look `host` up.
    Resolve {
        /// The identifier to answer under.
        query: QueryId,
        /// A host name, or an address in text form.
        host: String,
    },
    /// Open a TCP connection and move bytes between it and the pipe until both ends have finished.
    Dial {
        /// The pipe that the connection serves.
        pipe: PipeId,
        /// The target's address.
        to: SocketAddr,
        /// When to give up.
        timeout: Duration,
    },
    /// Wake whoever waits to read from the pipe or to write to it.
    Wake {
        /// The pipe.
        pipe: PipeId,
        /// Which of the two.
        direction: Direction,
    },
}

/// What a UDP socket is for; it decides about its options and buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketKind {
    /// A relay listens on it for clients, or a connector sends from it.
    Listening,
    /// The relayed address of one allocation: DF is clear, and ICMP errors are reported.
    Relayed,
    /// A client's own end towards a relay or a gateway: path MTU probing stays on.
    Client,
    /// For one client of a relay with several shards: beside the sockets that listen on the address, and connected to the
    /// client, so that the kernel prefers it.
    Connected {
        /// The client.
        to: SocketAddr,
    },
}

/// What a listener is for; it decides about its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListenerKind {
    /// A relay listens on it for clients.
    Clients,
    /// The relayed address of one allocation (RFC 6062): links are opened from its very address and port too.
    Relayed,
}

/// How a link ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// What was handed over is sent first, for a few seconds at the most; then comes FIN.
    Finish,
    /// At once, with RST.
    Reset,
}

/// The two directions of a pipe, seen from the side of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// There is something to read, or reading has come to an end.
    Read,
    /// There is room to write, or writing has come to an end.
    Write,
}

/// The world's answer to an [`Effect`], or news of a socket. One that names a past life of its identifier is
/// ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completion {
    /// A `Bind` or `Listen` has ended: with the address that was bound, or with what prevented it.
    Bound {
        /// The socket.
        socket: SocketId,
        /// The local address, or the kind of error.
        result: Result<SocketAddr, ErrorKind>,
    },
    /// A `Resolve` has ended. An empty list is answered as `NotFound`.
    Resolved {
        /// The query.
        query: QueryId,
        /// The addresses in the resolver's order, or the kind of error.
        result: Result<Vec<IpAddr>, ErrorKind>,
    },
    /// A `Dial` has ended: with the address that was reached, or with what prevented it.
    Dialled {
        /// The pipe.
        pipe: PipeId,
        /// The target's address, or the kind of error.
        result: Result<SocketAddr, ErrorKind>,
    },
    /// An `OpenLink` has succeeded.
    LinkOpened {
        /// The link.
        link: LinkId,
        /// This end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
    /// A link has ended, or could not be opened. Its identifier is of no use any more.
    LinkClosed {
        /// The link.
        link: LinkId,
        /// The other end has finished (FIN), or the kind of error.
        result: Result<(), ErrorKind>,
    },
    /// The other end of a link that is a pipe has finished (FIN); the link still takes what is sent.
    LinkFinished {
        /// The link.
        link: LinkId,
    },
    /// ICMP said that a datagram did not arrive (RFC 8656 §11.5).
    TransportError {
        /// The socket that it was sent from.
        socket: SocketId,
        /// Whom it was sent to.
        peer: SocketAddr,
        /// The kind of error, as the kernel tells it.
        kind: ErrorKind,
        /// The largest packet that the path would have taken, in bytes, where ICMP told.
        mtu: Option<u16>,
    },
    /// All bytes that were handed over for the link have been taken: the next may follow.
    Writable {
        /// The link.
        link: LinkId,
    },
}
