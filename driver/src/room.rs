//! How much room the kernel gives a socket for bursts, of what was asked for.

use std::io;

use socket2::{Domain, Protocol, Socket, Type};

use crate::socket::{FOR_ALL, enlarge};

/// Room in the kernel, at a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// For what arrives, until it is read.
    pub receive: Space,
    /// For what is sent, until it has left.
    pub send: Space,
}

/// Room one way, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// What was asked for.
    pub wanted: usize,
    /// What there is.
    pub given: usize,
}

impl Room {
    /// The room that a listening socket gets on this machine, now. Linux gives no more than `net.core.rmem_max` and
    /// `net.core.wmem_max` (socket(7)), except for who may administer the network.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn of_listening() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        enlarge(&socket, FOR_ALL);
        // The kernel counts twice what was asked for, for its own books.
        Ok(Self {
            receive: Space { wanted: FOR_ALL.receive, given: socket.recv_buffer_size()? / 2 },
            send: Space { wanted: FOR_ALL.send, given: socket.send_buffer_size()? / 2 },
        })
    }
}

impl Space {
    /// Whether it is less than was asked for.
    pub fn is_short(&self) -> bool {
        self.given < self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_some_room_and_never_more_than_was_asked_for() {
        let room = Room::of_listening().unwrap();
        for space in [room.receive, room.send] {
            assert!(space.given > 0 && space.given <= space.wanted, "{room:?}");
        }
        assert!(!Space { wanted: 2, given: 2 }.is_short());
        assert!(Space { wanted: 2, given: 1 }.is_short());
    }
}
