//! Bytes between a client's link and that of its peer: as they are, both ways, as fast as the slower end takes them.
//!
//! What waits for an end is bounded: when it is much, the other end is not read any more, so that the kernel holds its
//! sender back, until it is less. The same happens where more was relayed for the user than may be. Each way ends by
//! itself, behind what was said; when both have, the connection is over.

use std::time::Instant;

use super::super::Relay;
use super::super::counters::{ConnectionEnd, Flow};
use super::super::quota::Way;
use super::connections::Number;
use crate::io::{Effect, LINK_PIECE, LinkId};

/// How much waits for an end when the other one is not read any more, and how much when it is read again; in bytes.
const MUCH: usize = 2 * LINK_PIECE;
const LITTLE: usize = LINK_PIECE;

/// What may wait for an end if the driver does not stop reading the other one, in bytes.
pub(super) const MOST: usize = 16 * LINK_PIECE;

const WAYS: [Way; 2] = [Way::ToPeers, Way::ToClients];

impl Relay {
    /// Bytes of a link that is an end of a connection.
    pub(in super::super) fn relay_bytes(&mut self, now: Instant, number: Number, way: Way, bytes: &[u8]) {
        let Some(connection) = self.connections.get_mut(number) else { return };
        if connection.streams[way as usize].ended || bytes.is_empty() {
            return;
        }
        let id = connection.allocation;
        let Some((_, to)) = connection.links(way) else {
            if connection.early.len() + bytes.len() > MOST {
                return self.end_connection(number, ConnectionEnd::Overflown);
            }
            return connection.early.extend_from_slice(bytes);
        };
        if !self.links.pipe(to, MOST, bytes) {
            return self.end_connection(number, ConnectionEnd::Overflown);
        }
        connection.moved = now;
        connection.streams[way as usize].bytes += bytes.len() as u64;
        let flow = Flow { packets: 0, bytes: bytes.len() as u64 };
        match way {
            Way::ToPeers => self.counters.to_peers.gain(flow),
            Way::ToClients => self.counters.to_clients.gain(flow),
        }
        self.table.count(id, way, flow);
        if let Some(until) = self.table.charge(now, id, way, bytes.len()) {
            self.connections.rest(number, way, until);
        }
        self.tend(number);
    }

    /// Looks after a connection: which end is read, and which has heard everything.
    pub(super) fn tend(&mut self, number: Number) {
        for way in WAYS {
            let Some(connection) = self.connections.get_mut(number) else { return };
            let Some((from, to)) = connection.links(way) else { return };
            let stream = &mut connection.streams[way as usize];
            if stream.ended && !stream.finished && self.links.end_pipe(to) {
                stream.finished = true;
                self.events.push_back(super::super::Event::Effect(Effect::FinishLink { link: to }));
            }
            let most = if stream.reading { MUCH } else { LITTLE };
            let read = !stream.ended && !stream.rests && self.links.queued(to) < most;
            if std::mem::replace(&mut stream.reading, read) != read && !stream.ended {
                self.effect(Effect::ReadLink { link: from, read });
            }
        }
        let over = |number| Some(self.connections.get(number)?.streams.iter().all(|stream| stream.finished));
        if over(number) == Some(true) {
            self.end_connection(number, ConnectionEnd::Closed);
        }
    }

    /// Something was handed over for a link.
    pub(in super::super) fn handed_over(&mut self, link: LinkId) {
        if let Some((number, _)) = self.links.end_of(link) {
            self.tend(number);
        }
    }

    /// The other end of a link has finished.
    pub(in super::super) fn link_finished(&mut self, now: Instant, link: LinkId) {
        let Some((number, way)) = self.links.end_of(link) else { return };
        if self.links.is_secured(link) {
            // Without TLS's own goodbye nobody knows whether that was all (RFC 8446 §6.1).
            let said = self.connections.get(number).is_some_and(|it| it.streams[way as usize].ended);
            if !said {
                return self.end_connection(number, ConnectionEnd::Broken);
            }
        }
        self.stream_ended(now, number, way);
    }

    /// The source of one way has said everything.
    pub(in super::super) fn stream_ended(&mut self, now: Instant, number: Number, way: Way) {
        if self.connections.end(now, number, way) {
            self.tend(number);
        }
    }

    /// Nobody rests any more: the rate is another one.
    pub(in super::super) fn rest_no_more(&mut self) {
        let resting: Vec<Number> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.streams.iter().any(|stream| stream.rests))
            .map(|(number, _)| number)
            .collect();
        for number in resting {
            WAYS.into_iter().for_each(|way| self.connections.rested(number, way));
            self.tend(number);
        }
    }

    pub(super) fn has_rested(&mut self, number: Number, way: Way) {
        self.connections.rested(number, way);
        self.tend(number);
    }
}
