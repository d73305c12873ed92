//! What ICMP says about datagrams that have left: the kernel fails a later call, and has the rest in a queue.

use std::time::Instant;

use adit_core::io::{Completion, SocketId};

use super::Hub;
use crate::error_queue::TransportError;
use crate::machine::Machine;
use crate::reactor::Reactor;

/// How much is read of one socket at a time. What is left is read when the next call fails; the kernel keeps no more than
/// fits the socket's buffer.
const MOST: usize = 64;

impl<M: Machine, R: Reactor> Hub<M, R> {
    /// Tells the machine why calls to some sockets have failed, where that was the fault of earlier datagrams.
    pub(super) fn tell_transport_errors(&mut self, now: Instant) {
        while let Some(id) = self.failed.pop() {
            self.tell_of(now, id);
        }
    }

    fn tell_of(&mut self, now: Instant, socket: SocketId) {
        for _ in 0..MOST {
            let Some(entry) = self.sockets.get_mut(socket) else { return };
            let Some(error) = entry.socket.transport_error() else { return };
            self.counters.transport_errors += 1;
            let TransportError { peer, kind, mtu } = error;
            self.machine.handle_completion(now, Completion::TransportError { socket, peer, kind, mtu });
        }
    }
}
