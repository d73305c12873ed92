//! What may hold something to read, in the order in which it is read.

use std::collections::VecDeque;

use adit_core::io::SocketId;

use crate::reactor::SourceId;

/// Two queues that take turns: that of the sockets for datagrams, and that of connections and those who listen for them. So
/// nobody's datagram waits for a crowd of connections, nor they for a flood of datagrams. Nothing stands in it twice, which
/// whoever adds something sees to.
#[derive(Debug, Default)]
pub(super) struct Readable {
    datagrams: VecDeque<SocketId>,
    connections: VecDeque<SourceId>,
    /// A socket for datagrams came last.
    datagrams_had_theirs: bool,
}

impl Readable {
    pub(super) fn add_datagrams(&mut self, socket: SocketId) {
        self.datagrams.push_back(socket);
    }

    pub(super) fn add_connection(&mut self, source: SourceId) {
        self.connections.push_back(source);
    }

    pub(super) fn pop(&mut self) -> Option<SourceId> {
        let connection = match self.datagrams_had_theirs || self.datagrams.is_empty() {
            true => self.connections.pop_front(),
            false => None,
        };
        self.datagrams_had_theirs = connection.is_none();
        connection.or_else(|| self.datagrams.pop_front().map(SourceId::Socket))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty() && self.connections.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use adit_core::io::{Id as _, LinkId};

    use super::*;

    #[test]
    fn each_kind_keeps_its_order_and_they_take_turns() {
        let socket = |index| SocketId::new(index, 0);
        let link = |index| SourceId::Link(LinkId::new(index, 0));
        let mut readable = Readable::default();
        (0..4).for_each(|index| readable.add_connection(link(index)));
        assert_eq!(readable.pop(), Some(link(0)));
        (0..2).for_each(|index| readable.add_datagrams(socket(index)));
        let rest: Vec<_> = std::iter::from_fn(|| readable.pop()).collect();
        assert_eq!(rest, [socket(0).into(), link(1), socket(1).into(), link(2), link(3)]);
        assert!(readable.is_empty());
        (0..3).for_each(|index| readable.add_datagrams(socket(index)));
        let rest: Vec<_> = std::iter::from_fn(|| readable.pop()).collect();
        assert_eq!(rest, [0, 1, 2].map(|index| socket(index).into()));
    }
}
