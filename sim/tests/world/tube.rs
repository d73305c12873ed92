//! The small machine of these tests: `Tube` sends back what it gets, and has one pipe that leads to the target that it
//! dialled.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Instant;

use adit_core::io::{
    Arena, Completion, Datagrams, Direction, Effect, Forwards, Onward, PipeId, Read, Run, SocketId,
    SocketKind, To, Transmit, Write,
};
use adit_core::time::{Deadline, UnixTime, Why};
use adit_sim::{Handle, Machine, Nat, World, secs};

#[derive(Debug)]
pub(crate) enum Event {
    Effect(Effect),
    Bound(Result<SocketAddr, std::io::ErrorKind>),
    Resolved(Result<Vec<IpAddr>, std::io::ErrorKind>),
    Dialled(Result<SocketAddr, std::io::ErrorKind>),
    Got(SocketAddr, Vec<u8>),
    Clock(UnixTime),
    Rang(Instant),
}

/// Sends back whatever arrives with an `!` in front, through `Forwards`; keeps what arrives with a `?`.
pub(crate) struct Tube {
    pub(crate) sockets: Arena<SocketId, ()>,
    pub(crate) pipes: Arena<PipeId, ()>,
    pub(crate) outgoing: VecDeque<(Transmit, Vec<u8>)>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) alarm: Option<Instant>,
    pub(crate) pipe: Pipe,
}

/// What was written comes back in the reading direction of nobody: both halves are kept apart.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(crate) to_target: VecDeque<u8>,
    pub(crate) from_target: Vec<u8>,
    pub(crate) finished: bool,
    pub(crate) closed: bool,
}

impl Tube {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        let mut sockets = Arena::default();
        let socket = sockets.insert(());
        let bind = Effect::Bind { socket, addr, kind: SocketKind::Client };
        Self {
            sockets,
            pipes: Arena::default(),
            outgoing: VecDeque::new(),
            events: VecDeque::from([Event::Effect(bind)]),
            alarm: None,
            pipe: Pipe::default(),
        }
    }

    fn socket(&self) -> SocketId {
        self.sockets.iter().next().unwrap().0
    }

    pub(crate) fn send(&mut self, to: SocketAddr, stride: usize, bytes: &[u8]) {
        let to = To::Udp { socket: self.socket(), to };
        self.outgoing
            .push_back((Transmit { to, from: None, ecn: None, stride, whole: false }, bytes.to_vec()));
    }

    pub(crate) fn dial(&mut self, to: SocketAddr) -> PipeId {
        let pipe = self.pipes.insert(());
        self.events.push_back(Event::Effect(Effect::Dial { pipe, to, timeout: secs(5) }));
        pipe
    }

    pub(crate) fn wake(&mut self, pipe: PipeId) {
        self.events.push_back(Event::Effect(Effect::Wake { pipe, direction: Direction::Read }));
    }
}

impl Machine for Tube {
    type Event = Event;

    fn effect(event: Event) -> Result<Effect, Event> {
        if let Event::Effect(effect) = event { Ok(effect) } else { Err(event) }
    }

    fn handle_datagrams(&mut self, _: Instant, batch: Datagrams<'_>, out: &mut Forwards) {
        for index in 0..batch.len() {
            let bytes = batch.segment(index);
            if bytes.first() == Some(&b'?') {
                self.events.push_back(Event::Got(batch.remote, bytes.to_vec()));
                continue;
            }
            let onward = Onward::Send { socket: batch.socket, to: batch.remote, from: None, whole: false };
            let (strip, len, prefix) = (1, bytes.len() - 1, Some(*b"?...")); // `!x` becomes `?...x`
            out.push(Run { onward, ecn: batch.ecn, strip, len, prefix, segments: index..index + 1 });
        }
    }

    fn handle_completion(&mut self, _: Instant, done: Completion) {
        self.events.push_back(match done {
            Completion::Bound { result, .. } => Event::Bound(result),
            Completion::Resolved { result, .. } => Event::Resolved(result),
            Completion::Dialled { result, .. } => Event::Dialled(result),
            other => panic!("{other:?}"),
        });
    }

    fn handle_clock(&mut self, _: Instant, unix: UnixTime) {
        self.events.push_back(Event::Clock(unix));
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.alarm.is_some_and(|at| at <= now) {
            self.alarm = None;
            self.events.push_back(Event::Rang(now));
        }
    }

    fn poll_transmit(&mut self, _: Instant, _: NonZeroUsize, out: &mut Vec<u8>) -> Option<Transmit> {
        let (transmit, bytes) = self.outgoing.pop_front()?;
        out.extend_from_slice(&bytes);
        Some(transmit)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        Some(Deadline { at: self.alarm?, why: Why::Retry })
    }

    fn pipe_read(&mut self, _: Instant, _: PipeId, buf: &mut [u8]) -> Read {
        let len = buf.len().min(self.pipe.to_target.len()).min(1000);
        if len == 0 {
            return if self.pipe.finished { Read::Finished } else { Read::Blocked };
        }
        buf.iter_mut().zip(self.pipe.to_target.drain(..len)).for_each(|(slot, byte)| *slot = byte);
        Read::Bytes(len)
    }

    fn pipe_write(&mut self, _: Instant, _: PipeId, bytes: &[u8]) -> Write {
        let len = bytes.len().min(700);
        self.pipe.from_target.extend_from_slice(&bytes[..len]);
        Write::Accepted(len)
    }

    fn pipe_close(&mut self, _: Instant, _: PipeId) {
        self.pipe.closed = true;
    }
}

pub(crate) fn host(world: &mut World, name: &str, addr: &str, nat: Option<(Nat, &[IpAddr])>) -> Handle<Tube> {
    let addr: SocketAddr = addr.parse().unwrap();
    let handle = world.host(name, &[addr.ip()], nat);
    world.start(handle, |_, _, _| Tube::new(addr));
    handle
}

pub(crate) fn say(world: &mut World, from: Handle<Tube>, to: &str, stride: usize, bytes: &[u8]) {
    world.call(from, |tube, _| tube.send(to.parse().unwrap(), stride, bytes));
}

pub(crate) fn got(world: &World, at: Handle<Tube>) -> Vec<Vec<u8>> {
    let bytes = |event: &Event| if let Event::Got(_, bytes) = event { Some(bytes.clone()) } else { None };
    world.news(at).iter().filter_map(bytes).collect()
}
