//! The hub: one machine, its sockets, and the turn that moves everything between them.

mod clock;
mod effects;
mod errors;
mod forward;
mod links;
mod readable;
mod shards;
mod table;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use adit_core::io::{
    Completion, Datagrams, Direction, Ecn, Forwards, PipeId, QueryId, SocketId, To, Transmit,
};
use quinn_udp::RecvMeta;

use crate::buffer::ReceiveBuffer;
use crate::counters::Counters;
use crate::events::{Events, Notice};
use crate::machine::Machine;
use crate::reactor::{Interest, Reactor, SourceId};
use crate::sharing::Sharing;
use crate::socket::{Head, Socket};
use clock::ClockWatch;
use forward::Gathered;
use links::Links;
use readable::Readable;
pub use shards::Departure;
use table::{Entry, Table};

/// How many batches one turn receives or sends before it lets others run.
const TURN_BATCHES: usize = 128;
/// How many events one turn carries out before it lets others run.
const TURN_EVENTS: usize = 4096;
/// How many failed calls in a row end the reading of a socket until it is ready again.
const RECEIVE_ERRORS: usize = 8;
/// The most datagrams that a machine is asked for at once: below 64 KiB with QUIC's usual sizes.
const TRANSMIT_SEGMENTS: NonZeroUsize = NonZeroUsize::new(40).expect("not zero");

/// A machine with its sockets. Synchronous, and never blocks.
pub struct Hub<M: Machine, R: Reactor> {
    machine: M,
    reactor: R,
    sockets: Table<SocketId, Entry<R::Socket>>,
    links: Links<R::Socket>,
    /// Sockets and connections that may hold something.
    readable: Readable,
    writable: Vec<SourceId>,
    /// How many sockets that machines transmit from wait to be writable.
    blocked: usize,
    /// Sockets that have failed for what may be told of an earlier datagram.
    failed: Vec<SocketId>,
    buffer: ReceiveBuffer,
    forwards: Forwards,
    /// What is forwarded, until there is no more that goes the same way.
    gathered: Gathered,
    out: Vec<u8>,
    clock: ClockWatch,
    requests: Vec<Request>,
    sharing: Sharing,
    departures: Vec<Departure<M::Guest>>,
    events: Events<M::Event>,
    waiting: HashMap<PipeId, Waiting>,
    /// Who waits for the end.
    mourners: Vec<Waker>,
    wakers: Vec<Waker>,
    counters: Counters,
    closed: bool,
}

/// Who waits for a pipe, by direction.
#[derive(Debug, Default)]
struct Waiting {
    read: Option<Waker>,
    write: Option<Waker>,
}

/// What a turn leaves to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// When the next turn is due, if nothing happens before.
    pub deadline: Option<Instant>,
    /// The budget was used up: another turn is due as soon as others have had theirs.
    pub more: bool,
}

/// An effect that the runtime carries out. The answer goes to [`Hub::complete`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Answered by `Completion::Resolved`.
    Resolve {
        /// The identifier to answer under.
        query: QueryId,
        /// A host name, or an address in text form.
        host: String,
    },
    /// Answered by `Completion::Dialled`; then bytes move between the connection and the pipe.
    Dial {
        /// The pipe that the connection serves.
        pipe: PipeId,
        /// The target's address.
        to: std::net::SocketAddr,
        /// When to give up.
        timeout: Duration,
    },
}

/// How much a turn may still do.
struct Budget {
    batches: usize,
    events: usize,
}

impl<M: Machine, R: Reactor> Hub<M, R> {
    /// A hub for `machine`, which was made with the clock of `now`.
    pub fn new(machine: M, reactor: R, now: Instant) -> Self {
        Self {
            machine,
            reactor,
            sockets: Table::default(),
            links: Links::default(),
            readable: Readable::default(),
            writable: Vec::new(),
            blocked: 0,
            failed: Vec::new(),
            buffer: ReceiveBuffer::new(),
            forwards: Forwards::default(),
            gathered: Gathered::default(),
            out: Vec::new(),
            clock: ClockWatch::new(now, crate::world::unix()),
            requests: Vec::new(),
            sharing: Sharing::default(),
            departures: Vec::new(),
            events: Events::default(),
            waiting: HashMap::new(),
            mourners: Vec::new(),
            wakers: Vec::new(),
            counters: Counters::default(),
            closed: false,
        }
    }

    /// Does what is to be done at `now`, within a budget: timers, what waits to be sent, what has arrived, and
    /// all that follows from it.
    pub fn turn(&mut self, now: Instant) -> Turn {
        if self.closed {
            return Turn { deadline: None, more: false };
        }
        let mut budget = Budget { batches: TURN_BATCHES, events: TURN_EVENTS };
        if self.clock.is_due(now) {
            self.compare_clocks(now, crate::world::unix());
        }
        self.expire(now);
        self.flush(now);
        self.drain(now, &mut budget);
        while budget.batches > 0 {
            let Some(source) = self.readable.pop() else { break };
            self.read(now, source, &mut budget);
            self.drain(now, &mut budget);
        }
        let spent = budget.batches == 0 || budget.events == 0;
        let deadline = self.machine.poll_timeout().map(|deadline| deadline.at);
        let deadline = deadline.into_iter().chain(self.links.deadline()).min();
        Turn { deadline, more: spent || !self.readable.is_empty() || !self.writable.is_empty() }
    }

    /// Tells the machine when the wall clock and the instants have parted by over a second.
    pub fn compare_clocks(&mut self, now: Instant, unix: Duration) {
        if let Some(unix) = self.clock.compare(now, unix) {
            self.counters.clock_steps += 1;
            self.machine.handle_clock(now, unix);
        }
    }

    /// The socket may hold something. Identifiers of closed sockets are ignored.
    pub fn mark_readable(&mut self, id: impl Into<SourceId>) {
        let id = id.into();
        if let SourceId::Socket(socket) = id
            && let Some(entry) = self.sockets.get_mut(socket)
        {
            if !std::mem::replace(&mut entry.readable, true) {
                self.readable.add_datagrams(socket);
            }
            return;
        }
        let news = match id {
            SourceId::Socket(listener) => self.links.listener_is_readable(listener),
            SourceId::Link(link) => self.links.is_readable(link),
        };
        if news {
            self.readable.add_connection(id);
        }
    }

    /// The socket may take something. Identifiers of closed sockets are ignored.
    pub fn mark_writable(&mut self, id: impl Into<SourceId>) {
        let id = id.into();
        let awaited = match id {
            SourceId::Socket(id) => self.sockets.get_mut(id).is_some_and(|entry| entry.socket.is_blocked()),
            SourceId::Link(id) => self.links.awaits_writing(id),
        };
        if awaited {
            self.writable.push(id);
        }
    }

    /// All sockets, and what is awaited of each: for runtimes that ask each for its readiness.
    pub fn sockets(&self) -> impl Iterator<Item = (SourceId, &R::Socket, Interest)> {
        let udp = self.sockets.iter().map(|(id, entry)| {
            let interest = Interest { read: true, write: entry.socket.is_blocked() };
            (SourceId::Socket(id), &entry.socket.io, interest)
        });
        udp.chain(self.links.sockets())
    }

    /// Whether a turn has something to do although no deadline has come.
    pub fn is_ready(&self) -> bool {
        !self.readable.is_empty() || !self.writable.is_empty()
    }

    /// The world's answer to a [`Request`]. A turn must follow.
    pub fn complete(&mut self, now: Instant, done: Completion) {
        self.machine.handle_completion(now, done);
    }

    /// The machine, for calls of its own interface. A turn must follow.
    pub fn machine_mut(&mut self) -> &mut M {
        &mut self.machine
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// The reactor.
    pub fn reactor_mut(&mut self) -> &mut R {
        &mut self.reactor
    }

    /// What was moved and what was dropped.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Takes what the runtime is asked to do.
    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// Takes the wakers of those whose wait has ended; they are to be woken outside of any lock.
    pub fn take_wakers(&mut self) -> Vec<Waker> {
        self.machine.take_wakers(self.closed, &mut self.wakers);
        std::mem::take(&mut self.wakers)
    }

    /// The next event for the application, without waiting.
    pub fn pop_event(&mut self) -> Option<Notice<M::Event>> {
        self.events.pop()
    }

    /// The next event for the application; `None` after [`close`](Self::close).
    pub fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Option<Notice<M::Event>>> {
        self.events.poll(cx)
    }

    /// Wakes `waker` at the next `Effect::Wake` for that pipe and direction.
    pub fn wait_for(&mut self, pipe: PipeId, direction: Direction, waker: &Waker) {
        let slot = self.waiting.entry(pipe).or_default().of(direction);
        match slot {
            Some(known) if known.will_wake(waker) => {}
            _ => *slot = Some(waker.clone()),
        }
    }

    /// Nobody waits for the pipe any more.
    pub fn forget(&mut self, pipe: PipeId) {
        self.waiting.remove(&pipe);
    }

    /// The end: every socket is closed, every wait ends, and no event follows. Turns do nothing from now on.
    pub fn close(&mut self) {
        self.closed = true;
        for (id, entry) in self.sockets.take() {
            self.reactor.deregister(id.into(), entry.socket.io);
        }
        self.close_links();
        self.blocked = 0;
        let ended = self.waiting.drain().flat_map(|(_, waiting)| [waiting.read, waiting.write]);
        self.wakers.extend(ended.flatten());
        self.wakers.extend(self.events.close());
        self.wakers.append(&mut self.mourners);
    }

    /// Ready when the hub was closed. For one or two tasks that live as long as the hub: none is forgotten before.
    pub(crate) fn poll_closed(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.closed {
            return Poll::Ready(());
        }
        if !self.mourners.iter().any(|known| known.will_wake(cx.waker())) {
            self.mourners.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether the hub was closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn expire(&mut self, now: Instant) {
        if self.machine.poll_timeout().is_some_and(|deadline| deadline.at <= now) {
            self.machine.handle_timeout(now);
        }
        self.expire_links(now);
    }

    /// Sends what waits for the sockets that have become writable.
    fn flush(&mut self, now: Instant) {
        while let Some(id) = self.writable.pop() {
            match id {
                SourceId::Socket(id) => self.flush_socket(id),
                SourceId::Link(id) => self.flush_link(now, id),
            }
        }
    }

    fn flush_socket(&mut self, id: SocketId) {
        let Some(entry) = self.sockets.get_mut(id) else { return };
        if entry.socket.is_blocked() && entry.socket.flush(&mut self.counters) {
            self.blocked -= usize::from(entry.halts);
            self.reactor.want_writable(id.into(), &mut entry.socket.io, false);
        }
    }

    /// Everything that an input has led to: transmits, then events, until there is neither.
    fn drain(&mut self, now: Instant, budget: &mut Budget) {
        loop {
            // What the machine makes of an error is to be sent too.
            self.tell_transport_errors(now);
            self.transmit(now, budget);
            let quiet = !self.carry_out_events(now, budget) && self.failed.is_empty();
            if quiet || budget.batches == 0 || budget.events == 0 {
                return;
            }
        }
    }

    /// Sends what the machine has, unless a socket is full: QUIC had better wait than lose.
    fn transmit(&mut self, now: Instant, budget: &mut Budget) {
        while self.blocked == 0 && budget.batches > 0 {
            self.out.clear();
            let Some(transmit) = self.machine.poll_transmit(now, TRANSMIT_SEGMENTS, &mut self.out) else {
                return;
            };
            budget.batches -= 1;
            let out = std::mem::take(&mut self.out);
            self.send(now, transmit, &out);
            self.out = out;
        }
    }

    fn send(&mut self, now: Instant, transmit: Transmit, bytes: &[u8]) {
        let Transmit { to, from, ecn, stride, whole } = transmit;
        match to {
            To::Udp { socket, to } => {
                let head = Head { to, from, ecn, stride: stride.max(1), whole };
                self.send_from(socket, head, bytes);
            }
            To::Link(link) => self.send_link(now, link, bytes),
        }
    }

    fn read(&mut self, now: Instant, source: SourceId, budget: &mut Budget) {
        match source {
            SourceId::Socket(id) if self.sockets.get_mut(id).is_some() => self.receive(now, id, budget),
            SourceId::Socket(id) => self.accept(now, id, budget),
            SourceId::Link(id) => self.receive_bytes(now, id, budget),
        }
    }

    /// Reads one socket once, and puts it back in the queue while it may hold more.
    fn receive(&mut self, now: Instant, id: SocketId, budget: &mut Budget) {
        let Some(entry) = self.sockets.get_mut(id) else { return };
        self.counters.receive_calls += 1;
        let more = match entry.socket.receive(&mut self.buffer) {
            Ok(count) => {
                entry.errors = 0;
                budget.batches = budget.batches.saturating_sub(count.max(1));
                self.feed(now, id, count);
                Socket::<R::Socket>::may_hold_more(count)
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            Err(_) => {
                self.counters.receive_errors += 1;
                self.failed.push(id);
                entry.errors += 1;
                budget.batches -= 1;
                entry.errors < RECEIVE_ERRORS
            }
        };
        let Some(entry) = self.sockets.get_mut(id) else { return };
        entry.readable = more;
        if more {
            self.readable.add_datagrams(id);
        }
    }

    /// Gives the received batches to the machine and sends on what it forwards.
    fn feed(&mut self, now: Instant, id: SocketId, count: usize) {
        let mut buffer = std::mem::replace(&mut self.buffer, ReceiveBuffer::empty());
        for (meta, payload) in buffer.batches(count) {
            let mut batch = datagrams(id, &meta, payload);
            self.counters.received += batch.len() as u64;
            if meta.addr.port() == 0 {
                // Nobody can answer it.
                self.counters.dropped_unsendable += batch.len() as u64;
                continue;
            }
            self.machine.handle_datagrams(now, reborrow(&mut batch), &mut self.forwards);
            self.forward(&batch);
        }
        self.send_gathered();
        self.buffer = buffer;
    }
}

impl Waiting {
    fn of(&mut self, direction: Direction) -> &mut Option<Waker> {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

fn datagrams<'a>(socket: SocketId, meta: &RecvMeta, payload: &'a mut [u8]) -> Datagrams<'a> {
    Datagrams {
        socket,
        remote: meta.addr,
        local: meta.dst_ip,
        ecn: meta.ecn.and_then(|ecn| Ecn::from_bits(ecn as u8)),
        stride: meta.stride.max(1),
        payload,
    }
}

fn reborrow<'a>(batch: &'a mut Datagrams<'_>) -> Datagrams<'a> {
    Datagrams { payload: batch.payload, ..*batch }
}
