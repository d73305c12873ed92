//! The relay's data path: runs of received segments go out again with another header.
//!
//! What goes the same way is gathered, also across batches of one call to receive, and sent with one call: the kernel
//! cuts it into datagrams again (GSO). So senders that do not send in bursts cost little more than those that do.

use adit_core::io::{Datagrams, Onward, Run, SocketId};

use super::Hub;
use crate::machine::Machine;
use crate::reactor::Reactor;
use crate::socket::{Head, MAX_CALL, MAX_SEGMENT};

/// Datagrams that go one way, one behind the other. All have the same length but the last, which may be shorter.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    way: Option<(SocketId, Head)>,
    bytes: Vec<u8>,
    /// The last one is shorter.
    is_closed: bool,
}

impl Gathered {
    /// Whether a run of `count` datagrams can be added.
    fn takes(&self, socket: SocketId, head: Head, count: usize) -> bool {
        let Some((known, first)) = self.way else { return false };
        let is_last = head.stride < first.stride && count == 1;
        let fits = first.stride <= MAX_SEGMENT && (head.stride == first.stride || is_last);
        let is_same_way = known == socket && Head { stride: first.stride, ..head } == first;
        fits && is_same_way && !self.is_closed && self.bytes.len() + count * head.stride <= MAX_CALL
    }

    fn add(&mut self, socket: SocketId, head: Head, batch: &Datagrams<'_>, run: &Run) {
        let (_, first) = *self.way.get_or_insert((socket, head));
        self.is_closed = head.stride < first.stride;
        for index in run.segments.clone() {
            self.bytes.extend_from_slice(run.prefix.as_ref().map_or(&[], |prefix| prefix.as_slice()));
            self.bytes.extend_from_slice(run.body(batch, index));
        }
    }
}

impl<M: Machine, R: Reactor> Hub<M, R> {
    /// Gathers what the machine has just asked to forward of `batch`, and sends what it does not go with.
    pub(super) fn forward(&mut self, batch: &Datagrams<'_>) {
        let mut forwards = std::mem::take(&mut self.forwards);
        for run in forwards.drain() {
            self.forward_run(batch, &run);
        }
        self.forwards = forwards;
    }

    fn forward_run(&mut self, batch: &Datagrams<'_>, run: &Run) {
        let Onward::Send { socket, to, from, whole } = run.onward else {
            debug_assert!(false, "only a machine's parent takes Onward::Owner");
            return;
        };
        let stride = run.len + run.prefix.map_or(0, |prefix| prefix.len());
        let head = Head { to, from, ecn: run.ecn, stride, whole };
        if stride == 0 {
            // Nothing can be cut into empty datagrams.
            self.send_gathered();
            run.segments.clone().for_each(|_| self.send_from(socket, Head { stride: 1, ..head }, &[]));
            return;
        }
        if !self.gathered.takes(socket, head, run.segments.len()) {
            self.send_gathered();
        }
        self.gathered.add(socket, head, batch, run);
    }

    /// Sends what was gathered.
    pub(super) fn send_gathered(&mut self) {
        let Some((socket, head)) = self.gathered.way.take() else { return };
        let mut bytes = std::mem::take(&mut self.gathered.bytes);
        self.send_from(socket, head, &bytes);
        bytes.clear();
        self.gathered = Gathered { bytes, ..Gathered::default() };
    }

    /// Sends from one of the sockets, and notes when that is full now.
    pub(super) fn send_from(&mut self, id: SocketId, head: Head, bytes: &[u8]) {
        let Some(entry) = self.sockets.get_mut(id) else {
            self.counters.dropped_unbound += 1;
            return;
        };
        let was_blocked = entry.socket.is_blocked();
        entry.socket.send(head, bytes, &mut self.counters);
        if entry.socket.has_failed() {
            self.failed.push(id);
        }
        if entry.socket.is_blocked() && !was_blocked {
            self.blocked += usize::from(entry.halts);
            self.reactor.want_writable(id.into(), &mut entry.socket.io, true);
        }
    }
}
