//! How much room the kernel gives a socket for bursts, of what was asked for.

use std::io;

use socket2::{Domain, Protocol, Socket, Type};

use crate::socket::{BIG_BUFFER, enlarge};

/// Room in the kernel for what arrives at a listening socket until it is read, and for what is sent from it until it has
/// left; in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What each was to be.
    pub wanted: usize,
    /// What there is for what arrives.
    pub receive: usize,
    /// What there is for what is sent.
    pub send: usize,
}

impl Room {
    /// The room that a listening socket gets on this machine, now. Linux gives no more than `net.core.rmem_max` and
    /// `net.core.wmem_max` (socket(7)), except for who may administer the network.
    ///
    /// # Errors
    /// When there is no socket to be had.
    pub fn of_listening() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        enlarge(&socket, BIG_BUFFER);
        // The kernel counts twice what was asked for, for its own books.
        let [receive, send] = [socket.recv_buffer_size()?, socket.send_buffer_size()?].map(|size| size / 2);
        Ok(Self { wanted: BIG_BUFFER, receive, send })
    }

    /// Whether it is less than was asked for.
    pub fn is_short(&self) -> bool {
        self.receive < self.wanted || self.send < self.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_some_room_and_never_more_than_was_asked_for() {
        let room = Room::of_listening().unwrap();
        assert!(room.receive > 0 && room.receive <= room.wanted, "{room:?}");
        assert!(room.send > 0 && room.send <= room.wanted, "{room:?}");
        assert_eq!(room.is_short(), room.receive.min(room.send) < room.wanted);
        assert!(Room { send: room.wanted - 1, receive: room.wanted, ..room }.is_short());
        assert!(!Room { send: room.wanted, receive: room.wanted, ..room }.is_short());
    }
}
