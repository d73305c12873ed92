//! Sockets under a mio poll: edge-triggered, and registered for writing only while something waits to be written.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use adit_core::io::{Id, LinkId, SocketId};
use adit_driver::{Reactor, SocketIo, SourceId};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

/// The token that no socket has.
pub(crate) const WAKE: Token = Token(usize::MAX);

/// Marks the slot of a link in a token.
const LINK: u32 = 1 << 31;

const _: () = assert!(usize::BITS >= 64, "a token holds the slot and the life of a socket");

/// Registers sockets with one poll.
#[derive(Debug)]
pub struct MioReactor {
    registry: Registry,
}

/// A registered socket.
#[derive(Debug)]
pub struct MioSocket(OwnedFd);

impl MioReactor {
    pub(crate) fn new(registry: Registry) -> Self {
        Self { registry }
    }
}

impl Reactor for MioReactor {
    type Socket = MioSocket;

    fn register(&mut self, id: SourceId, socket: OwnedFd) -> io::Result<MioSocket> {
        self.registry.register(&mut SourceFd(&socket.as_raw_fd()), token(id), Interest::READABLE)?;
        Ok(MioSocket(socket))
    }

    fn want_writable(&mut self, id: SourceId, socket: &mut MioSocket, want: bool) {
        let interest = if want { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        // A registered descriptor can only be refused for want of kernel memory; what waits is then sent with
        // the next change of interest.
        let _ = self.registry.reregister(&mut SourceFd(&socket.0.as_raw_fd()), token(id), interest);
    }

    fn deregister(&mut self, _id: SourceId, socket: MioSocket) {
        // Closing the descriptor, which follows, ends the registration anyway.
        let _ = self.registry.deregister(&mut SourceFd(&socket.0.as_raw_fd()));
    }
}

impl SocketIo for MioSocket {
    fn try_read<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        attempt()
    }

    fn try_write<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        attempt()
    }
}

impl AsFd for MioSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The life in the upper half, the slot in the lower, whose highest bit says that it is a link's: nobody has that many.
fn token(id: SourceId) -> Token {
    let (life, slot) = match id {
        SourceId::Socket(id) => (id.generation(), id.index()),
        SourceId::Link(id) => (id.generation(), id.index() | LINK),
    };
    Token(((life as usize) << 32) | slot as usize)
}

/// The socket that `token` stands for.
pub(crate) fn source(token: Token) -> SourceId {
    let (life, slot) = ((token.0 >> 32) as u32, token.0 as u32);
    if slot & LINK == 0 { SocketId::new(slot, life).into() } else { LinkId::new(slot & !LINK, life).into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_keeps_slot_and_life() {
        for (slot, life) in [(0, 0), (7, 9), (LINK - 1, u32::MAX - 1)] {
            for id in [SourceId::from(SocketId::new(slot, life)), LinkId::new(slot, life).into()] {
                assert_eq!(source(token(id)), id);
                assert_ne!(token(id), WAKE);
            }
        }
    }
}
