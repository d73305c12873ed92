//! What a hub holds, by the slot of its identifier.

use adit_core::io::Id;

use crate::socket::Socket;

/// One look-up per datagram run: an index and a comparison.
pub(super) struct Table<I, T> {
    slots: Vec<Option<(I, T)>>,
}

/// A UDP socket.
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

impl<I, T> Default for Table<I, T> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<I: Id, T> Table<I, T> {
    /// Stores a value, and returns the one that its slot held.
    pub(super) fn insert(&mut self, id: I, value: T) -> Option<(I, T)> {
        let index = id.index() as usize;
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        self.slots[index].replace((id, value))
    }

    pub(super) fn get_mut(&mut self, id: I) -> Option<&mut T> {
        match self.slots.get_mut(id.index() as usize)? {
            Some((known, value)) if *known == id => Some(value),
            _ => None,
        }
    }

    pub(super) fn remove(&mut self, id: I) -> Option<T> {
        self.get_mut(id)?;
        self.slots[id.index() as usize].take().map(|(_, value)| value)
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (I, T)> + use<I, T> {
        std::mem::take(&mut self.slots).into_iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (I, &mut T)> {
        self.slots.iter_mut().flatten().map(|(id, value)| (*id, value))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (I, &T)> {
        self.slots.iter().flatten().map(|(id, value)| (*id, value))
    }
}
