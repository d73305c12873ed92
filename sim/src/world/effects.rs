//! Carries out what machines ask for: sockets, names, connections to targets, and the pumping of woken pipes.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use adit_core::io::{Completion, Effect, PipeId};

use super::{Happening, World};
use crate::machine::Driven;
use crate::network::HostIndex;
use crate::party::{Party, Stream};

impl World {
    /// Carries out what the machine of `host` wants until it wants nothing more.
    pub(super) fn settle(&mut self, host: HostIndex) {
        let Some(mut machine) = self.hosts[host].machine.take() else { return };
        let now = self.now();
        let mut bytes = std::mem::take(&mut self.scratch);
        loop {
            bytes.clear();
            if let Some(transmit) = machine.poll_transmit(now, Self::SEGMENTS, &mut bytes) {
                self.transmit(host, transmit, &bytes);
            } else if let Some(effect) = machine.poll_effect() {
                self.carry_out(host, effect);
            } else if let Some(pipe) = self.hosts[host].woken.pop_front() {
                self.pump(host, &mut *machine, pipe);
            } else {
                break;
            }
        }
        self.scratch = bytes;
        let here = &mut self.hosts[host];
        here.deadline = machine.poll_timeout();
        here.machine = Some(machine);
        self.schedule(host);
    }

    fn carry_out(&mut self, host: HostIndex, effect: Effect) {
        match effect {
            Effect::Bind { socket, addr, .. } => {
                let result = self.hosts[host].bind(socket, addr);
                self.complete(host, Self::SYSTEM_CALL, Completion::Bound { socket, result });
            }
            Effect::Unbind { socket } => {
                self.unlisten(host, socket);
                self.hosts[host].sockets.unbind(socket);
            }
            Effect::Resolve { query, host: name } => {
                let result = self.directory.resolve(&name);
                self.complete(host, Self::RESOLVING, Completion::Resolved { query, result });
            }
            Effect::Dial { pipe, to, timeout } => self.dial(host, pipe, to, timeout),
            Effect::Listen { listener, addr, .. } => self.listen(host, listener, addr),
            Effect::OpenLink { link, to, from, timeout } => self.open_link(host, link, (to, from), timeout),
            Effect::PipeLink { link } => self.pipe_link(host, link),
            Effect::FinishLink { link } => self.finish_link(host, link),
            Effect::CloseLink { link, how } => self.close_link(host, link, how),
            Effect::ReadLink { link, read } => self.read_link(host, link, read),
            Effect::Wake { pipe, .. } => {
                let woken = &mut self.hosts[host].woken;
                if woken.back() != Some(&pipe) {
                    woken.push_back(pipe);
                }
            }
        }
    }

    pub(super) fn complete(&mut self, host: HostIndex, after: Duration, done: Completion) {
        let life = self.hosts[host].life;
        self.queue.plan(self.now() + after, Happening::Completes { host, life, done });
    }

    fn dial(&mut self, host: HostIndex, pipe: PipeId, to: SocketAddr, timeout: Duration) {
        self.dials.push((host, to));
        let (after, result) = self.directory.target(to).answer(timeout);
        let life = self.hosts[host].life;
        let connects = Happening::Connects { host, life, pipe, to, result };
        self.queue.plan(self.now() + after, connects);
    }

    pub(super) fn connect(
        &mut self,
        host: HostIndex,
        pipe: PipeId,
        to: SocketAddr,
        result: Result<(), ErrorKind>,
    ) {
        if result.is_ok() {
            let party = self.directory.target(to).party(self.now());
            let stream = self.seat(host, pipe, party);
            let life = self.hosts[host].life;
            self.connections.insert((host, pipe, life), stream);
        }
        let result = result.map(|()| to);
        self.hosts[host].woken.push_back(pipe);
        self.input(host, |machine, now| machine.handle_completion(now, Completion::Dialled { pipe, result }));
    }

    pub(super) fn seat(&mut self, host: HostIndex, pipe: PipeId, party: Party) -> Stream {
        let stream = Stream(self.parties.len());
        self.parties.push(party);
        self.seats.push((host, pipe));
        self.open += 1;
        self.hosts[host].pipes.insert(pipe, stream);
        stream
    }

    fn pump(&mut self, host: HostIndex, machine: &mut dyn Driven, pipe: PipeId) {
        let Some(&stream) = self.hosts[host].pipes.get(&pipe) else { return };
        let party = &mut self.parties[stream.0];
        party.pump(self.present.now(), machine, pipe);
        if let Some(at) = party.resumes() {
            let life = self.hosts[host].life;
            self.queue.plan(at, Happening::Resumes { host, life, pipe });
        }
        if party.is_over() {
            self.hosts[host].pipes.remove(&pipe);
            self.open -= 1;
        }
    }
}
