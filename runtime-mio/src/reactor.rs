//! Sockets under a mio poll: edge-triggered, and registered for writing only while something waits to be written.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd};

use adit_core::io::{Id, SocketId};
use adit_driver::{Reactor, UdpIo};
use mio::{Interest, Registry, Token};

/// The token that no socket has.
pub(crate) const WAKE: Token = Token(usize::MAX);

const _: () = assert!(usize::BITS >= 64, "a token holds the slot and the life of a socket");

/// Registers sockets with one poll.
#[derive(Debug)]
pub struct MioReactor {
    registry: Registry,
}

/// A registered socket.
#[derive(Debug)]
pub struct MioSocket(mio::net::UdpSocket);

impl MioReactor {
    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry }
    }
}

impl Reactor for MioReactor {
    type Socket = MioSocket;

    fn register(&mut self, id: SocketId, socket: UdpSocket) -> io::Result<MioSocket> {
        let mut socket = mio::net::UdpSocket::from_std(socket);
        self.registry.register(&mut socket, token(id), Interest::READABLE)?;
        Ok(MioSocket(socket))
    }

    fn want_writable(&mut self, id: SocketId, socket: &mut MioSocket, want: bool) {
        let interest = if want { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        // A registered descriptor can only be refused for want of kernel memory; what waits is then sent with
        // the next change of interest.
        let _ = self.registry.reregister(&mut socket.0, token(id), interest);
    }

    fn deregister(&mut self, _id: SocketId, mut socket: MioSocket) {
        // Closing the descriptor, which follows, ends the registration anyway.
        let _ = self.registry.deregister(&mut socket.0);
    }
}

impl UdpIo for MioSocket {
    fn try_read<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.0.try_io(attempt)
    }

    fn try_write<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.0.try_io(attempt)
    }
}

impl AsFd for MioSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn token(id: SocketId) -> Token {
    Token(((id.generation() as usize) << 32) | id.index() as usize)
}

/// The socket that `token` stands for.
pub(crate) fn socket(token: Token) -> SocketId {
    SocketId::new(token.0 as u32, (token.0 >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_slot_and_life() {
        for id in [SocketId::new(0, 0), SocketId::new(7, 9), SocketId::new(u32::MAX, 3)] {
            assert_eq!(socket(token(id)), id);
        }
    }
}
