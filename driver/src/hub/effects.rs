//! What the machine asks of the world.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use adit_core::io::{Completion, Direction, Effect, PipeId, SocketId, SocketKind};

use super::table::Entry;
use super::{Budget, Hub, Request};
use crate::machine::Machine;
use crate::reactor::Reactor;
use crate::socket::{self, Socket};

impl<M: Machine, R: Reactor> Hub<M, R> {
    /// Carries effects out and keeps events for the application. Whether there was any.
    pub(super) fn carry_out_events(&mut self, now: Instant, budget: &mut Budget) -> bool {
        let mut any = false;
        while budget.events > 0 {
            let Some(event) = self.machine.poll_event() else { break };
            budget.events -= 1;
            any = true;
            match M::effect(event) {
                Ok(effect) => self.carry_out(now, effect),
                Err(event) => match self.machine.depart(event) {
                    Ok(leaving) => self.depart(leaving),
                    Err(event) => self.tell(event),
                },
            }
        }
        any
    }

    fn tell(&mut self, event: M::Event) {
        let (lost, waker) = self.events.push(event);
        self.counters.events_lost += u64::from(lost);
        self.wakers.extend(waker);
    }

    fn carry_out(&mut self, now: Instant, effect: Effect) {
        match effect {
            Effect::Bind { socket, addr, kind } => {
                let result = self.bind(socket, addr, kind).map_err(|error| error.kind());
                self.machine.handle_completion(now, Completion::Bound { socket, result });
            }
            Effect::Unbind { socket } => self.unbind(socket),
            Effect::Resolve { query, host } => self.requests.push(Request::Resolve { query, host }),
            Effect::Dial { pipe, to, timeout } => self.requests.push(Request::Dial { pipe, to, timeout }),
            Effect::Wake { pipe, direction } => self.wake(pipe, direction),
            Effect::Listen { listener, addr, kind } => {
                let result = self.listen(listener, addr, kind).map_err(|error| error.kind());
                self.machine.handle_completion(now, Completion::Bound { socket: listener, result });
            }
            Effect::OpenLink { link, to, from, timeout } => self.open_link(now, link, (to, from), timeout),
            Effect::PipeLink { link } => self.pipe_link(link),
            Effect::FinishLink { link } => self.finish_link(link),
            Effect::CloseLink { link, how } => self.close_link(now, link, how),
            Effect::ReadLink { link, read } => self.read_link(link, read),
        }
    }

    fn bind(&mut self, id: SocketId, addr: SocketAddr, kind: SocketKind) -> io::Result<SocketAddr> {
        let (socket, state) = socket::bind(addr, kind, self.sharing)?;
        let local = socket.local_addr()?;
        let io = self.reactor.register(id.into(), socket.into())?;
        let socket = Socket::new(io, state, local, kind);
        let entry = Entry { socket, readable: false, errors: 0, halts: kind != SocketKind::Relayed };
        if let Some((old, entry)) = self.sockets.insert(id, entry) {
            self.release(old, entry);
        }
        // What arrived before the registration shows no edge.
        self.mark_readable(id);
        Ok(local)
    }

    fn unbind(&mut self, id: SocketId) {
        match self.sockets.remove(id) {
            Some(entry) => self.release(id, entry),
            None => self.close_listener(id),
        }
    }

    fn release(&mut self, id: SocketId, entry: Entry<R::Socket>) {
        self.blocked -= usize::from(entry.halts && entry.socket.is_blocked());
        self.reactor.deregister(id.into(), entry.socket.io);
    }

    fn wake(&mut self, pipe: PipeId, direction: Direction) {
        let waiting = self.waiting.get_mut(&pipe);
        self.wakers.extend(waiting.and_then(|waiting| waiting.of(direction).take()));
    }
}
