//! Sockets under tokio's readiness.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::Context;

use adit_core::io::SocketId;
use adit_driver::{Hub, Machine, Reactor, UdpIo};
use tokio::io::Interest;
use tokio::runtime::Handle;

/// Registers sockets with one runtime.
#[derive(Debug)]
pub struct TokioReactor {
    runtime: Handle,
    ready: Vec<(SocketId, Ready)>,
}

/// A registered socket.
#[derive(Debug)]
pub struct TokioSocket(tokio::net::UdpSocket);

#[derive(Debug, Clone, Copy)]
enum Ready {
    Read,
    Write,
}

impl TokioReactor {
    /// For the runtime that the caller is in.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub(crate) fn current() -> Self {
        Self { runtime: Handle::current(), ready: Vec::new() }
    }
}

impl Reactor for TokioReactor {
    type Socket = TokioSocket;

    fn register(&mut self, _id: SocketId, socket: UdpSocket) -> io::Result<TokioSocket> {
        // A handle may be dropped, and the last turn taken, outside of the runtime.
        let _inside = self.runtime.enter();
        tokio::net::UdpSocket::from_std(socket).map(TokioSocket)
    }

    /// The driver asks every blocked socket before each turn.
    fn want_writable(&mut self, _id: SocketId, _socket: &mut TokioSocket, _want: bool) {}

    fn deregister(&mut self, _id: SocketId, _socket: TokioSocket) {}
}

impl UdpIo for TokioSocket {
    fn try_read<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.0.try_io(Interest::READABLE, attempt)
    }

    fn try_write<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.0.try_io(Interest::WRITABLE, attempt)
    }
}

impl AsFd for TokioSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Marks the sockets that are ready, and has the task of `cx` woken for the others. An endpoint has a handful
/// of sockets, so asking each is cheaper than a list of those that changed.
pub(crate) fn mark_ready<M: Machine>(hub: &mut Hub<M, TokioReactor>, cx: &mut Context<'_>) {
    let mut ready = std::mem::take(&mut hub.reactor_mut().ready);
    for (id, socket, blocked) in hub.sockets() {
        // An error is found again, and counted, by the read that follows.
        if socket.0.poll_recv_ready(cx).is_ready() {
            ready.push((id, Ready::Read));
        }
        if blocked && socket.0.poll_send_ready(cx).is_ready() {
            ready.push((id, Ready::Write));
        }
    }
    for (id, way) in ready.drain(..) {
        match way {
            Ready::Read => hub.mark_readable(id),
            Ready::Write => hub.mark_writable(id),
        }
    }
    hub.reactor_mut().ready = ready;
}
