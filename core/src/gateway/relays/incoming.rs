//! What comes in through the relays: TURN's own for the clients, and the datagrams of peers for QUIC.

use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};

use super::{IN_USE, Relays, way};
use crate::client::Readiness;
use crate::gateway::Step;
use crate::io::{Completion, Datagrams, Ecn, LinkId, Onward, Run, SocketId};
use crate::quic::Way;

impl Relays {
    /// Datagrams on the socket of a client: TURN's own, or those of peers.
    pub(in crate::gateway) fn handle_datagrams(&mut self, step: &mut Step<'_>, batch: Datagrams<'_>) {
        let Some(&super::Owned { line, own }) = self.sockets.get(batch.socket) else {
            step.counters.unknown_socket += batch.len() as u64;
            return;
        };
        let mut forwards = std::mem::take(&mut self.forwards);
        let Some(client) = self.line_mut(line).and_then(|line| line.client.as_mut()) else { return };
        let Datagrams { remote, local, ecn, stride, payload, .. } = batch;
        let inner = Datagrams { socket: own, remote, local, ecn, stride, payload: &mut *payload };
        client.handle_datagrams(step.now, inner, &mut forwards);
        if !forwards.is_empty() {
            // One copy of the batch; each datagram is a slice of it.
            let batch = Datagrams { socket: own, remote, local, ecn, stride, payload };
            let (mut bytes, mut at) = (BytesMut::from(&*batch.payload), 0);
            for run in forwards.drain() {
                self.hand_over(step, line, &batch, &run, (&mut bytes, &mut at));
            }
        }
        self.forwards = forwards;
        self.take_received(step, line);
    }

    /// Gives QUIC what one peer has sent.
    fn hand_over(
        &mut self,
        step: &mut Step<'_>,
        line: usize,
        batch: &Datagrams<'_>,
        run: &Run,
        (bytes, at): (&mut BytesMut, &mut usize),
    ) {
        let Onward::Owner { peer } = run.onward else { return };
        // A relay may keep a permission for minutes after it was given up.
        if !step.permits.listens_to(peer.ip()) {
            step.counters.unpermitted += run.segments.len() as u64;
            return;
        }
        let mut connected = false;
        for index in run.segments.clone() {
            let range = run.body_range(batch, index);
            bytes.advance(range.start - *at);
            *at = range.end;
            connected |= step.quic.handle(step.now, way(line, peer), run.ecn, bytes.split_to(range.len()));
        }
        if connected {
            self.want_channel(step, line, peer);
        }
    }

    /// Bytes on the link of a client.
    pub(in crate::gateway) fn handle_bytes(&mut self, step: &mut Step<'_>, link: LinkId, bytes: &[u8]) {
        let Some(&super::Owned { line, own }) = self.links.get(link) else {
            step.counters.unknown_link += bytes.len() as u64;
            return;
        };
        if let Some(client) = self.line_mut(line).and_then(|line| line.client.as_mut()) {
            client.handle_bytes(step.now, own, bytes);
        }
        self.take_received(step, line);
    }

    pub(super) fn take_all_received(&mut self, step: &mut Step<'_>) {
        for line in 0..self.lines.len() {
            self.take_received(step, line);
        }
    }

    /// What came in a hop other than plain UDP.
    fn take_received(&mut self, step: &mut Step<'_>, line: usize) {
        const ECN: Option<Ecn> = None;
        while let Some((peer, datagram)) =
            self.line_mut(line).and_then(|line| line.client.as_mut()?.poll_received())
        {
            if !step.permits.listens_to(peer.ip()) {
                step.counters.unpermitted += 1;
            } else if step.quic.handle(step.now, way(line, peer), ECN, datagram) {
                self.want_channel(step, line, peer);
            }
        }
    }

    /// Only who has a connection gets a channel; noise from many ports would take them all. Where none can be had, Send
    /// indications do its work.
    fn want_channel(&mut self, step: &mut Step<'_>, line: usize, peer: SocketAddr) {
        let Some(client) = self.line_mut(line).and_then(|line| line.client.as_mut()) else { return };
        if client.readiness(peer) == Readiness::Absent && client.bind_channel(step.now, peer).is_ok() {
            self.channels.set(way(line, peer), step.now + IN_USE);
        }
    }

    /// Gives up the channel to a peer that has no connection any more; a permitted peer could otherwise use up all
    /// channel numbers.
    pub(super) fn review_channel(&mut self, step: &mut Step<'_>, way: Way) {
        if step.quic.uses(way) {
            self.channels.set(way, step.now + IN_USE);
        } else if let Some(client) = self.line_mut(way.via as usize).and_then(|line| line.client.as_mut()) {
            client.release_channel(way.remote);
        }
    }

    /// News of a client's socket or link.
    pub(in crate::gateway) fn handle_completion(&mut self, step: &mut Step<'_>, done: Completion) {
        let Some((line, done)) = self.addressed(done) else { return };
        if let Some(client) = self.line_mut(line).and_then(|line| line.client.as_mut()) {
            client.handle_completion(step.now, done);
        }
        self.take_received(step, line);
    }

    /// Whose it is, and the same under the client's own number.
    fn addressed(&self, done: Completion) -> Option<(usize, Completion)> {
        let socket = |socket: SocketId| self.sockets.get(socket).copied();
        let link = |link: LinkId| self.links.get(link).copied();
        Some(match done {
            Completion::Bound { socket: id, result } => {
                let owned = socket(id)?;
                (owned.line, Completion::Bound { socket: owned.own, result })
            }
            Completion::TransportError { socket: id, peer, kind, mtu } => {
                let owned = socket(id)?;
                (owned.line, Completion::TransportError { socket: owned.own, peer, kind, mtu })
            }
            Completion::LinkOpened { link: id, local, remote } => {
                let owned = link(id)?;
                (owned.line, Completion::LinkOpened { link: owned.own, local, remote })
            }
            Completion::LinkClosed { link: id, result } => {
                let owned = link(id)?;
                (owned.line, Completion::LinkClosed { link: owned.own, result })
            }
            Completion::Writable { link: id } => {
                let owned = link(id)?;
                (owned.line, Completion::Writable { link: owned.own })
            }
            // No link to a relay is a pipe.
            Completion::LinkFinished { .. } | Completion::Resolved { .. } | Completion::Dialled { .. } => {
                return None;
            }
        })
    }
}
