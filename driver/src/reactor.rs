//! What a runtime does for the sockets of a hub.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use adit_core::io::{LinkId, SocketId};

/// What a socket is registered under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceId {
    /// A UDP socket, or a listener for TCP connections.
    Socket(SocketId),
    /// A TCP connection.
    Link(LinkId),
}

impl From<SocketId> for SourceId {
    fn from(id: SocketId) -> Self {
        Self::Socket(id)
    }
}

impl From<LinkId> for SourceId {
    fn from(id: LinkId) -> Self {
        Self::Link(id)
    }
}

/// What the hub waits for at a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interest {
    /// That it holds something; not so for a link that isn't read for the moment.
    pub read: bool,
    /// That it takes something.
    pub write: bool,
}

/// Where a runtime registers sockets so that it learns when they are ready. It tells the hub by
/// [`mark_readable`](crate::Hub::mark_readable) and [`mark_writable`](crate::Hub::mark_writable), once per edge.
pub trait Reactor {
    /// A registered socket.
    type Socket: SocketIo;

    /// Registers a non-blocking socket for reading.
    ///
    /// # Errors
    /// Whatever prevents it; the machine is told so instead of an address.
    fn register(&mut self, id: SourceId, socket: OwnedFd) -> io::Result<Self::Socket>;

    /// The hub waits until `socket` can be written to, or no longer does.
    fn want_writable(&mut self, id: SourceId, socket: &mut Self::Socket, want: bool);

    /// Ends the registration.
    fn deregister(&mut self, id: SourceId, socket: Self::Socket);
}

/// One registered socket. Each attempt goes through the runtime, which may clear its own readiness on
/// `WouldBlock`.
pub trait SocketIo: AsFd {
    /// Tries to read.
    ///
    /// # Errors
    /// What `attempt` returned, or `WouldBlock` where the runtime knows already that it would.
    fn try_read<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T>;

    /// Tries to write.
    ///
    /// # Errors
    /// What `attempt` returned, or `WouldBlock` where the runtime knows already that it would.
    fn try_write<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T>;
}
