//! Sockets that are connected to one client each, beside the one that listens for all: the kernel prefers them, so that a
//! client whose datagrams would go to another shard is heard here (see `hand_over`).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::table::{Socket, Table};
use crate::io::SocketId;

/// How many clients may be heard so, for each shard. Kernels before Linux 6.13 look at all of them for each datagram.
const MOST: usize = 1024;

/// The ears of a shard.
#[derive(Debug, Default)]
pub(super) struct Ears {
    /// By listening socket and client.
    by_client: BTreeMap<(SocketId, SocketAddr), SocketId>,
    /// Those that are to be unbound.
    closed: Vec<SocketId>,
}

impl Ears {
    pub(super) fn is_full(&self) -> bool {
        self.by_client.len() >= MOST
    }

    pub(super) fn has(&self, listening: SocketId, client: SocketAddr) -> bool {
        self.by_client.contains_key(&(listening, client))
    }

    pub(super) fn add(&mut self, listening: SocketId, client: SocketAddr, ear: SocketId) {
        self.by_client.insert((listening, client), ear);
    }

    /// Takes an ear away, which is to be unbound. Most clients have none.
    pub(super) fn remove(&mut self, listening: SocketId, client: SocketAddr) -> Option<SocketId> {
        let ear = self.by_client.remove(&(listening, client))?;
        self.closed.push(ear);
        Some(ear)
    }

    /// The next one that is to be unbound.
    pub(super) fn pop_closed(&mut self) -> Option<SocketId> {
        self.closed.pop()
    }

    /// All of them, with the listening socket that each is beside.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketId, SocketAddr, SocketId)> {
        self.by_client.iter().map(|(&(listening, client), &ear)| (listening, client, ear))
    }
}

/// Clients that would be heard by another shard.
impl Table {
    /// A socket beside a listening one, to be connected to a client that has none. `None` when there are too many.
    pub(super) fn open_ear(&mut self, listening: SocketId, client: SocketAddr) -> Option<SocketId> {
        debug_assert!(!self.has_ear(listening, client));
        if self.ears.is_full() {
            return None;
        }
        let ear = self.sockets.insert(Socket::Ear(listening));
        self.ears.add(listening, client, ear);
        Some(ear)
    }

    pub(super) fn has_ear(&self, listening: SocketId, client: SocketAddr) -> bool {
        self.ears.has(listening, client)
    }

    /// Nothing is expected of a client any more.
    pub(super) fn close_ear(&mut self, listening: SocketId, client: SocketAddr) {
        if let Some(ear) = self.ears.remove(listening, client) {
            self.sockets.remove(ear);
        }
    }

    /// The next socket that is to be unbound.
    pub(super) fn closed_ear(&mut self) -> Option<SocketId> {
        self.ears.pop_closed()
    }
}
