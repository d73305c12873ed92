//! The relay's data path: runs of received segments go out again with another header.

use adit_core::io::{Datagrams, Onward, Run, SocketId};

use super::Hub;
use crate::machine::Machine;
use crate::reactor::Reactor;
use crate::socket::Head;

impl<M: Machine, R: Reactor> Hub<M, R> {
    /// Sends what the machine has just asked to forward of `batch`.
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
        let head = Head { to, from, ecn: run.ecn, stride: stride.max(1), whole };
        if run.prefix.is_none() && run.segments.len() == 1 {
            self.send_from(socket, head, run.body(batch, run.segments.start));
            return;
        }
        let mut assembly = std::mem::take(&mut self.assembly);
        assembly.clear();
        for index in run.segments.clone() {
            assembly.extend_from_slice(run.prefix.as_ref().map_or(&[], |prefix| prefix.as_slice()));
            assembly.extend_from_slice(run.body(batch, index));
        }
        self.send_from(socket, head, &assembly);
        self.assembly = assembly;
    }

    /// Sends from one of the sockets, and notes when that is full now.
    pub(super) fn send_from(&mut self, id: SocketId, head: Head, bytes: &[u8]) {
        let Some(entry) = self.sockets.get_mut(id) else {
            self.counters.dropped_unbound += 1;
            return;
        };
        let was_blocked = entry.socket.is_blocked();
        entry.socket.send(head, bytes, &mut self.counters);
        if entry.socket.is_blocked() && !was_blocked {
            self.blocked += usize::from(entry.halts);
            self.reactor.want_writable(id.into(), &mut entry.socket.io, true);
        }
    }
}
