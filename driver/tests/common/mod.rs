//! A small machine and a reactor without readiness, to turn a hub by hand.

pub mod lines;

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use adit_core::io::{
    Arena, Completion, Datagrams, Direction, Effect, Forwards, LinkId, Onward, PipeId, Read, Run, SocketId,
    SocketKind, To, Transmit, Write,
};
use adit_core::time::{Deadline, UnixTime, Why};
use adit_driver::{Hub, Machine, Notice, Pipes, Reactor, SocketIo, SourceId};

/// Answers each datagram from the socket that it came to, by forwarding or by a transmit of its own.
#[derive(Default)]
pub struct Echo {
    sockets: Arena<SocketId, ()>,
    pub forward: bool,
    pub prefix: Option<[u8; 4]>,
    pub strip: usize,
    replies: VecDeque<(Transmit, Vec<u8>)>,
    events: VecDeque<Event>,
    pub batches: Vec<usize>,
    pub clock: Option<UnixTime>,
    pub completions: Vec<Completion>,
    pub deadline: Option<Instant>,
    pub pipe: VecDeque<u8>,
    pub finished: bool,
    pub closed: usize,
}

pub enum Event {
    Effect(Effect),
    News(u32),
}

impl Echo {
    pub fn bind(&mut self, addr: &str, kind: SocketKind) -> SocketId {
        let socket = self.sockets.insert(());
        self.ask(Effect::Bind { socket, addr: addr.parse().unwrap(), kind });
        socket
    }

    pub fn ask(&mut self, effect: Effect) {
        self.events.push_back(Event::Effect(effect));
    }

    pub fn tell(&mut self, news: u32) {
        self.events.push_back(Event::News(news));
    }

    pub fn send(&mut self, socket: SocketId, to: SocketAddr, stride: usize, bytes: Vec<u8>) {
        let to = To::Udp { socket, to };
        self.replies.push_back((Transmit { to, from: None, ecn: None, stride, whole: false }, bytes));
    }

    pub fn bound(&self, socket: SocketId) -> Result<SocketAddr, ErrorKind> {
        let answer = self.completions.iter().find_map(|done| match done {
            Completion::Bound { socket: id, result } if *id == socket => Some(*result),
            _ => None,
        });
        answer.expect("the bind was answered")
    }
}

impl Machine for Echo {
    type Event = Event;
    type Guest = std::convert::Infallible;

    fn handle_datagrams(&mut self, _now: Instant, batch: Datagrams<'_>, out: &mut Forwards) {
        self.batches.push(batch.len());
        if !self.forward {
            let (socket, stride) = (batch.socket, batch.stride);
            self.send(socket, batch.remote, stride, batch.payload.to_vec());
            return;
        }
        for index in 0..batch.len() {
            let onward = Onward::Send { socket: batch.socket, to: batch.remote, from: None, whole: false };
            let len = batch.segment(index).len() - self.strip;
            let (ecn, strip, prefix) = (batch.ecn, self.strip, self.prefix);
            out.push(Run { onward, ecn, strip, len, prefix, segments: index..index + 1 });
        }
    }

    fn handle_bytes(&mut self, _now: Instant, _link: LinkId, _bytes: &[u8]) {}

    fn handle_completion(&mut self, _now: Instant, done: Completion) {
        self.completions.push(done);
    }

    fn handle_clock(&mut self, _now: Instant, unix: UnixTime) {
        self.clock = Some(unix);
    }

    fn handle_timeout(&mut self, _now: Instant) {
        if self.deadline.take().is_some() {
            self.tell(99);
        }
    }

    fn poll_transmit(&mut self, _: Instant, _: NonZeroUsize, out: &mut Vec<u8>) -> Option<Transmit> {
        assert!(out.is_empty());
        let (transmit, bytes) = self.replies.pop_front()?;
        out.extend(bytes);
        Some(transmit)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        self.deadline.map(|at| Deadline { at, why: Why::Retry })
    }

    fn effect(event: Event) -> Result<Effect, Event> {
        match event {
            Event::Effect(effect) => Ok(effect),
            news => Err(news),
        }
    }
}

/// One pipe that is a loop of eight bytes.
impl Pipes for Echo {
    fn pipe_read(&mut self, _now: Instant, _pipe: PipeId, buffer: &mut [u8]) -> Read {
        let count = buffer.len().min(self.pipe.len());
        if count == 0 {
            return if self.finished { Read::Finished } else { Read::Blocked };
        }
        buffer.iter_mut().zip(self.pipe.drain(..count)).for_each(|(to, from)| *to = from);
        Read::Bytes(count)
    }

    fn pipe_write(&mut self, _now: Instant, pipe: PipeId, bytes: &[u8]) -> Write {
        let count = bytes.len().min(8 - self.pipe.len());
        if count == 0 {
            return Write::Blocked;
        }
        self.pipe.extend(&bytes[..count]);
        self.ask(Effect::Wake { pipe, direction: Direction::Read });
        Write::Accepted(count)
    }

    fn pipe_finish(&mut self, _now: Instant, pipe: PipeId) {
        self.finished = true;
        self.ask(Effect::Wake { pipe, direction: Direction::Read });
    }

    fn pipe_close(&mut self, _now: Instant, _pipe: PipeId) {
        self.closed += 1;
    }
}

/// Sockets that are asked without being told; a switch makes all of them full.
#[derive(Clone, Default)]
pub struct Direct {
    pub full: Rc<Cell<bool>>,
    pub wanted: Rc<Cell<usize>>,
    pub registered: Rc<Cell<usize>>,
    /// Nothing more can be registered.
    pub broken: Rc<Cell<bool>>,
}

pub struct DirectSocket {
    socket: OwnedFd,
    full: Rc<Cell<bool>>,
}

impl Reactor for Direct {
    type Socket = DirectSocket;

    fn register(&mut self, _id: SourceId, socket: OwnedFd) -> io::Result<DirectSocket> {
        if self.broken.get() {
            return Err(ErrorKind::OutOfMemory.into());
        }
        self.registered.set(self.registered.get() + 1);
        Ok(DirectSocket { socket, full: Rc::clone(&self.full) })
    }

    fn want_writable(&mut self, _id: SourceId, _socket: &mut DirectSocket, want: bool) {
        self.wanted.set(if want { self.wanted.get() + 1 } else { self.wanted.get() - 1 });
    }

    fn deregister(&mut self, _id: SourceId, _socket: DirectSocket) {
        self.registered.set(self.registered.get() - 1);
    }
}

impl SocketIo for DirectSocket {
    fn try_read<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        attempt()
    }

    fn try_write<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if self.full.get() { Err(ErrorKind::WouldBlock.into()) } else { attempt() }
    }
}

impl AsFd for DirectSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A hub around an echo that listens on `addr`, and where.
pub fn echo(addr: &str, kind: SocketKind) -> (Hub<Echo, Direct>, Direct, SocketId, SocketAddr) {
    let now = Instant::now();
    let reactor = Direct::default();
    let mut hub = Hub::new(Echo::default(), reactor.clone(), now);
    let socket = hub.machine_mut().bind(addr, kind);
    hub.turn(now);
    let local = hub.machine().bound(socket).unwrap();
    (hub, reactor, socket, local)
}

/// How long a test waits for what loopback does at once; far more than a busy machine takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Turns the hub with all of its sockets marked, until `done` or for as long as [`PATIENCE`].
pub fn turn_until(hub: &mut Hub<Echo, Direct>, mut done: impl FnMut(&mut Hub<Echo, Direct>) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done(hub) {
        assert!(Instant::now() < end, "{PATIENCE:?} are over");
        turn_marked(hub);
    }
}

/// One turn with all sockets marked.
pub fn turn_marked(hub: &mut Hub<Echo, Direct>) {
    let all: Vec<_> = hub.sockets().map(|(id, _, _)| id).collect();
    for id in all {
        hub.mark_readable(id);
        hub.mark_writable(id);
    }
    hub.turn(Instant::now());
}

pub fn news(hub: &mut Hub<Echo, Direct>) -> Option<Notice<u32>> {
    hub.pop_event().map(|notice| match notice {
        Notice::Event(Event::News(news)) => Notice::Event(news),
        Notice::Lost(lost) => Notice::Lost(lost),
        Notice::Event(Event::Effect(_)) => panic!("an effect reached the application"),
    })
}
