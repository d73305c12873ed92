//! The sockets of a hub, by the slot of their identifier.

use adit_core::io::{Id, SocketId};

use crate::socket::Socket;

/// One look-up per datagram run: an index and a comparison.
pub(super) struct Table<S> {
    slots: Vec<Option<(SocketId, Entry<S>)>>,
}

pub(super) struct Entry<S> {
    pub(super) socket: Socket<S>,
    /// It stands in the queue of sockets to read.
    pub(super) readable: bool,
    /// Calls to receive that have failed in a row.
    pub(super) errors: usize,
    /// The machine transmits from it, and stops while it is blocked. Sockets that only forward drop instead:
    /// else one allocation could silence all others.
    pub(super) halts: bool,
}

impl<S> Default for Table<S> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<S> Table<S> {
    /// Stores a socket, and returns the one that its slot held.
    pub(super) fn insert(&mut self, id: SocketId, entry: Entry<S>) -> Option<(SocketId, Entry<S>)> {
        let index = id.index() as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index].replace((id, entry))
    }

    pub(super) fn get_mut(&mut self, id: SocketId) -> Option<&mut Entry<S>> {
        match self.slots.get_mut(id.index() as usize)? {
            Some((known, entry)) if *known == id => Some(entry),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, id: SocketId) -> Option<Entry<S>> {
        self.get_mut(id)?;
        self.slots[id.index() as usize].take().map(|(_, entry)| entry)
    }

    /// Takes all sockets out.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (SocketId, Entry<S>)> {
        std::mem::take(&mut self.slots).into_iter().flatten()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketId, &Entry<S>)> {
        self.slots.iter().flatten().map(|(id, entry)| (*id, entry))
    }
}
