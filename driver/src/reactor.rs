//! What a runtime does for the sockets of a hub.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;

use adit_core::io::SocketId;

/// Where a runtime registers sockets so that it learns when they are ready. It tells the hub by
/// [`mark_readable`](crate::Hub::mark_readable) and [`mark_writable`](crate::Hub::mark_writable), once per edge.
pub trait Reactor {
    /// A registered socket.
    type Socket: UdpIo;

    /// Registers a non-blocking socket for reading.
    ///
    /// # Errors
    /// Whatever prevents it; the machine is told so instead of an address.
    fn register(&mut self, id: SocketId, socket: UdpSocket) -> io::Result<Self::Socket>;

    /// The hub waits until `socket` can be written to, or no longer does.
    fn want_writable(&mut self, id: SocketId, socket: &mut Self::Socket, want: bool);

    /// Ends the registration.
    fn deregister(&mut self, id: SocketId, socket: Self::Socket);
}

/// One registered socket. Each attempt goes through the runtime, which may clear its own readiness on
/// `WouldBlock`.
pub trait UdpIo: AsFd {
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
