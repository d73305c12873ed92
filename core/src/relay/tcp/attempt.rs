//! A peer connects to the relayed address: its client is told by a ConnectionAttempt indication (RFC 6062 §5.3).

use std::net::SocketAddr;
use std::time::Instant;

use super::super::Relay;
use super::super::allocation::{Allocation, AllocationId};
use super::super::counters::ConnectionEnd;
use super::super::listen::Transport;
use super::connections::Phase;
use crate::io::LinkId;
use crate::stun::{Builder, Class, Method};

impl Relay {
    /// A connection to a relayed address. `None` refuses it.
    pub(in super::super) fn accept_peer(
        &mut self,
        now: Instant,
        id: AllocationId,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Option<LinkId> {
        if let Err(reason) = self.judge_attempt(now, id, peer) {
            self.counters.end_connection(reason);
            return None;
        }
        let (number, link) = self.begin_connection(now, id, (local, peer), Phase::Waiting);
        self.hold(number);
        self.tell_connected(number);
        let indication =
            Builder::new(Class::Indication, Method::CONNECTION_ATTEMPT, self.rng.bytes()).peer_address(peer);
        if let Some(path) = self.table.get(id).map(Allocation::path) {
            self.reply(path, indication.connection_id(number).finish().into_boxed_slice());
        }
        Some(link)
    }

    /// Whether a peer may connect: by a permission, as data of UDP does.
    fn judge_attempt(&self, now: Instant, id: AllocationId, peer: SocketAddr) -> Result<(), ConnectionEnd> {
        let allocation = self.table.get(id).filter(|it| it.is_live() && it.relays == Transport::Tcp);
        let permitted = allocation.is_some_and(|it| it.permissions.allow(now, peer.ip()));
        if !permitted || peer.port() == 0 {
            return Err(ConnectionEnd::NoPermission);
        }
        self.connections.judge(id, peer)
    }
}
