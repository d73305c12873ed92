//! TCP: listeners, and the links that came by them or were opened from here.
//!
//! 1. A connection that has come is offered to the machine, which names it or refuses it. One that is opened from here
//!    has its name already, and is `Opening` until the kernel says how that went.
//! 2. Open, it is read in turns with everything else that is readable, and holds at most one piece that is yet to be
//!    sent. The machine hears `Writable` when the kernel has taken it.
//! 3. The end comes from the other side or by an error, of which the machine hears, or from the machine. What was handed
//!    over before the end is sent by a link that is `Finishing`, which has no name in the machine any more.
//! 4. A link that the machine has made a pipe is half over when the other side has finished, and the other way round.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use adit_core::io::{Close, Completion, LinkId, ListenerKind, SocketId};
use adit_core::time::DeadlineQueue;

use super::shards::Luggage;
use super::table::Table;
use super::{Budget, Hub};
use crate::link::{self, Incoming, Link, Listener, State};
use crate::machine::Machine;
use crate::reactor::{Interest, Reactor, SocketIo, SourceId};

/// How much is read from a link before others have their turn, in bytes.
const READ: usize = 64 * 1024;
/// How many connections are accepted before others have their turn.
const ACCEPTS: usize = 4;
/// What a connection costs of a turn's budget when it is accepted, and each time when it is read, in batches of datagrams:
/// a crowd of them ends the turn early, so that nobody's datagram waits until all are served.
const ACCEPT_COST: usize = 16;
const READ_COST: usize = 4;
/// How long a listener rests when the system had no descriptor for a connection.
const REST: Duration = Duration::from_millis(100);
/// How long a link may take to its end after the machine has finished with it.
const FINISHING: Duration = Duration::from_secs(5);
/// How many may do so at once; more are reset.
const MAX_FINISHING: usize = 1024;

/// The TCP sockets of a hub.
pub(super) struct Links<S> {
    listeners: Table<SocketId, Listener<S>>,
    links: Table<LinkId, Link<S>>,
    /// In the machine their slots may have been given to others.
    finishing: BTreeMap<LinkId, Link<S>>,
    timers: DeadlineQueue<Timer>,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    /// A listener has rested.
    Accept(SocketId),
    /// A link should have opened, or finished.
    Link(LinkId),
}

impl<S> Default for Links<S> {
    fn default() -> Self {
        Self {
            listeners: Table::default(),
            links: Table::default(),
            finishing: BTreeMap::new(),
            timers: DeadlineQueue::default(),
            buffer: Vec::new(),
        }
    }
}

impl<S> Links<S> {
    fn get_mut(&mut self, id: LinkId) -> Option<&mut Link<S>> {
        match self.links.get_mut(id) {
            Some(link) => Some(link),
            None => self.finishing.get_mut(&id),
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }
}

impl<S: SocketIo> Links<S> {
    /// Notes that a listener may hold a connection. Whether it is to be queued for reading.
    pub(super) fn listener_is_readable(&mut self, id: SocketId) -> bool {
        let listener = self.listeners.get_mut(id).filter(|listener| !listener.resting);
        listener.is_some_and(|listener| !std::mem::replace(&mut listener.readable, true))
    }

    /// Notes that a link may hold something. Whether it is to be queued for reading.
    pub(super) fn is_readable(&mut self, id: LinkId) -> bool {
        let link = self.get_mut(id).filter(|link| link.interest().read);
        link.is_some_and(|link| !std::mem::replace(&mut link.readable, true))
    }

    /// Whether the hub waits for the link to take something.
    pub(super) fn awaits_writing(&mut self, id: LinkId) -> bool {
        self.get_mut(id).is_some_and(|link| link.interest().write)
    }

    /// All sockets with what is awaited of each.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (SourceId, &S, Interest)> {
        let listeners = self.listeners.iter().map(|(id, listener)| {
            let interest = Interest { read: !listener.resting, write: false };
            (SourceId::Socket(id), &listener.io, interest)
        });
        let finishing = self.finishing.iter().map(|(&id, link)| (id, link));
        let links = self.links.iter().chain(finishing);
        listeners.chain(links.map(|(id, link)| (SourceId::Link(id), &link.io, link.interest())))
    }
}

/// Listeners.
impl<M: Machine, R: Reactor> Hub<M, R> {
    pub(super) fn listen(
        &mut self,
        id: SocketId,
        addr: SocketAddr,
        kind: ListenerKind,
    ) -> io::Result<SocketAddr> {
        let socket = link::listen(addr, kind, self.sharing)?;
        let local = link::local_addr(&socket)?;
        let io = self.reactor.register(id.into(), socket)?;
        if let Some((old, listener)) = self.links.listeners.insert(id, Listener::new(io)) {
            self.release_listener(old, listener);
        }
        self.mark_readable(id);
        Ok(local)
    }

    pub(super) fn close_listener(&mut self, id: SocketId) {
        if let Some(listener) = self.links.listeners.remove(id) {
            self.release_listener(id, listener);
        }
    }

    fn release_listener(&mut self, id: SocketId, listener: Listener<R::Socket>) {
        self.links.timers.cancel(Timer::Accept(id));
        self.reactor.deregister(id.into(), listener.io);
    }

    /// Accepts what has come to a listener, and puts it back in the queue while it may hold more.
    pub(super) fn accept(&mut self, now: Instant, id: SocketId, budget: &mut Budget) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.links.listeners.get_mut(id) else { return };
            match listener.accept() {
                Ok(Some(incoming)) => self.offer(now, id, incoming),
                Ok(None) => self.counters.accept_errors += 1,
                Err(error) => {
                    listener.readable = false;
                    if error.kind() != ErrorKind::WouldBlock {
                        listener.resting = true;
                        self.counters.accept_errors += 1;
                        self.links.timers.set(Timer::Accept(id), now + REST);
                    }
                    return;
                }
            }
            budget.batches = budget.batches.saturating_sub(ACCEPT_COST);
        }
        self.readable.add_connection(id.into());
    }

    fn offer(&mut self, now: Instant, listener: SocketId, incoming: Incoming) {
        let Incoming { socket, local, remote } = incoming;
        let Some(id) = self.machine.accept(now, listener, local, remote) else {
            self.counters.links_refused += 1;
            link::reset_on_close(socket);
            return;
        };
        self.counters.links_accepted += 1;
        match self.reactor.register(id.into(), socket) {
            Ok(io) => {
                self.store(id, Link::new(io, State::Open));
                self.mark_readable(id);
            }
            Err(error) => self.link_closed(now, id, Err(error.kind())),
        }
    }
}

/// Links that go from one hub to another.
impl<M: Machine, R: Reactor> Hub<M, R> {
    /// Takes a link out that the machine has given away, with what the kernel has not taken yet of its last piece.
    pub(super) fn pack_link(&mut self, id: LinkId) -> Option<Luggage> {
        let mut link = self.links.links.remove(id)?;
        self.links.timers.cancel(Timer::Link(id));
        let (socket, waiting) = (link.io.as_fd().try_clone_to_owned(), link.take_waiting());
        self.reactor.deregister(id.into(), link.io);
        Some(Luggage { socket: socket.ok()?, waiting })
    }

    /// Puts a link in, for which the machine has an identifier or no room.
    pub(super) fn unpack_link(&mut self, now: Instant, id: Option<LinkId>, luggage: Luggage) {
        let Some(id) = id else { return link::reset_on_close(luggage.socket) };
        match self.reactor.register(id.into(), luggage.socket) {
            Ok(io) => {
                let blocked = !luggage.waiting.is_empty();
                self.store(id, Link::with(io, luggage.waiting));
                if blocked {
                    self.want_link_writable(id, true);
                }
                // What has come meanwhile shows no edge, and there may be room already.
                self.mark_readable(id);
                self.mark_writable(id);
            }
            Err(error) => self.link_closed(now, id, Err(error.kind())),
        }
    }
}

/// Links.
impl<M: Machine, R: Reactor> Hub<M, R> {
    pub(super) fn open_link(
        &mut self,
        now: Instant,
        id: LinkId,
        (to, from): (SocketAddr, Option<SocketAddr>),
        timeout: Duration,
    ) {
        let socket = link::connect(to, from);
        match socket.and_then(|socket| self.reactor.register(id.into(), socket)) {
            Ok(io) => {
                self.store(id, Link::new(io, State::Opening));
                self.links.timers.set(Timer::Link(id), now + timeout);
                self.want_link_writable(id, true);
            }
            Err(error) => self.link_closed(now, id, Err(error.kind())),
        }
    }

    fn store(&mut self, id: LinkId, link: Link<R::Socket>) {
        if let Some((old, link)) = self.links.links.insert(id, link) {
            self.release_link(old, link, Close::Reset);
        }
    }

    fn want_link_writable(&mut self, id: LinkId, want: bool) {
        if let Some(link) = self.links.get_mut(id) {
            self.reactor.want_writable(id.into(), &mut link.io, want);
        }
    }

    /// Tells the machine of the end of a link that it had.
    fn link_closed(&mut self, now: Instant, link: LinkId, result: Result<(), ErrorKind>) {
        self.counters.links_broken += u64::from(result.is_err());
        self.machine.handle_completion(now, Completion::LinkClosed { link, result });
    }

    /// Closes the descriptor.
    fn release_link(&mut self, id: LinkId, link: Link<R::Socket>, how: Close) {
        self.links.timers.cancel(Timer::Link(id));
        if how == Close::Reset {
            link::reset_on_close(&link.io);
        }
        self.reactor.deregister(id.into(), link.io);
    }

    pub(super) fn close_link(&mut self, now: Instant, id: LinkId, how: Close) {
        let Some(link) = self.links.links.remove(id) else { return };
        if how == Close::Finish && link.state == State::Open && link.ended && !link.is_blocked() {
            self.release_link(id, link, Close::Finish);
        } else if how == Close::Finish && link.state == State::Open {
            self.finish(now, id, link);
        } else {
            self.release_link(id, link, Close::Reset);
        }
    }

    /// Lets a link that the machine has forgotten come to its end.
    fn finish(&mut self, now: Instant, id: LinkId, mut link: Link<R::Socket>) {
        if self.links.finishing.len() >= MAX_FINISHING {
            return self.release_link(id, link, Close::Reset);
        }
        link.state = State::Finishing;
        // The end may be waiting to be read by a machine that had no wish to read.
        link.reading = !link.ended;
        if !link.is_blocked() {
            link.shut_down();
        }
        self.links.finishing.insert(id, link);
        self.links.timers.set(Timer::Link(id), now + FINISHING);
        self.mark_readable(id);
    }

    /// From now on the two ways of a link end each by itself.
    pub(super) fn pipe_link(&mut self, id: LinkId) {
        if let Some(link) = self.links.links.get_mut(id) {
            link.is_pipe = true;
        }
    }

    /// Ends one way of a link, behind what waits.
    pub(super) fn finish_link(&mut self, id: LinkId) {
        if let Some(link) = self.links.links.get_mut(id).filter(|link| link.state == State::Open) {
            link.finish();
        }
    }

    pub(super) fn read_link(&mut self, id: LinkId, read: bool) {
        let Some(link) = self.links.links.get_mut(id) else { return };
        link.reading = read;
        if read {
            // What arrived meanwhile shows no further edge.
            self.mark_readable(id);
        }
    }

    /// Reads a link once, and puts it back in the queue: only the kernel's word that it is empty takes it out, since
    /// the end of a stream that was read short shows no further edge.
    pub(super) fn receive_bytes(&mut self, now: Instant, id: LinkId, budget: &mut Budget) {
        let Some(link) = self.links.get_mut(id) else { return };
        link.readable = false;
        if !link.interest().read {
            return;
        }
        budget.batches = budget.batches.saturating_sub(READ_COST);
        let finishing = link.state == State::Finishing;
        let mut buffer = std::mem::take(&mut self.links.buffer);
        buffer.resize(READ, 0);
        let read = self.links.get_mut(id).map_or(Ok(0), |link| link.read(&mut buffer));
        match read {
            Ok(0) => self.link_ended(now, id),
            Ok(count) => {
                self.counters.link_received += count as u64;
                if !finishing {
                    self.machine.handle_bytes(now, id, &buffer[..count]);
                }
                self.mark_readable(id);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => self.link_failed(now, id, error.kind()),
        }
        self.links.buffer = buffer;
    }

    /// The other end has finished.
    fn link_ended(&mut self, now: Instant, id: LinkId) {
        if let Some(link) = self.links.links.get_mut(id).filter(|link| link.is_pipe) {
            link.ended = true;
            return self.machine.handle_completion(now, Completion::LinkFinished { link: id });
        }
        if let Some(link) = self.links.links.remove(id) {
            if link.is_blocked() {
                self.finish(now, id, link);
                // Its end has been read; what is left is to send.
                self.links.finishing.entry(id).and_modify(|link| link.reading = false);
            } else {
                self.release_link(id, link, Close::Finish);
            }
            return self.link_closed(now, id, Ok(()));
        }
        match self.links.finishing.get_mut(&id) {
            Some(link) if link.is_blocked() => link.reading = false,
            _ => self.forget_finishing(id, Close::Finish),
        }
    }

    fn link_failed(&mut self, now: Instant, id: LinkId, kind: ErrorKind) {
        if let Some(link) = self.links.links.remove(id) {
            self.release_link(id, link, Close::Reset);
            self.link_closed(now, id, Err(kind));
        } else {
            self.forget_finishing(id, Close::Reset);
        }
    }

    fn forget_finishing(&mut self, id: LinkId, how: Close) {
        if let Some(link) = self.links.finishing.remove(&id) {
            self.release_link(id, link, how);
        }
    }

    /// Sends a piece that the machine has handed over.
    pub(super) fn send_link(&mut self, now: Instant, id: LinkId, piece: &[u8]) {
        let Some(link) = self.links.links.get_mut(id) else {
            self.counters.dropped_unbound += 1;
            return;
        };
        if link.state != State::Open || link.is_blocked() {
            debug_assert!(false, "a machine waits for LinkOpened, and for Writable");
            return self.link_failed(now, id, ErrorKind::InvalidInput);
        }
        match link.send(piece) {
            Ok(count) => {
                self.counters.link_sent += count as u64;
                if link.is_blocked() {
                    self.want_link_writable(id, true);
                } else {
                    self.machine.handle_completion(now, Completion::Writable { link: id });
                }
            }
            Err(error) => self.link_failed(now, id, error.kind()),
        }
    }

    /// A link may have opened, or takes something again.
    pub(super) fn flush_link(&mut self, now: Instant, id: LinkId) {
        match self.links.get_mut(id) {
            Some(link) if link.state == State::Opening => self.check_opening(now, id),
            Some(link) if link.is_blocked() => match link.flush() {
                Ok(count) => {
                    self.counters.link_sent += count as u64;
                    self.flushed(now, id);
                }
                Err(error) => self.link_failed(now, id, error.kind()),
            },
            _ => {}
        }
    }

    fn flushed(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get_mut(id).filter(|link| !link.is_blocked()) else { return };
        let (state, ended) = (link.state, !link.reading);
        self.want_link_writable(id, false);
        match state {
            State::Opening | State::Open => {
                if let Some(link) = self.links.get_mut(id) {
                    link.end_if_spent();
                }
                self.machine.handle_completion(now, Completion::Writable { link: id });
            }
            State::Finishing if ended => self.forget_finishing(id, Close::Finish),
            State::Finishing => {
                if let Some(link) = self.links.finishing.get(&id) {
                    link.shut_down();
                }
            }
        }
    }

    fn check_opening(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.links.get_mut(id) else { return };
        match link.opened() {
            Ok((local, remote)) => {
                link.state = State::Open;
                self.counters.links_opened += 1;
                self.links.timers.cancel(Timer::Link(id));
                self.want_link_writable(id, false);
                self.machine.handle_completion(now, Completion::LinkOpened { link: id, local, remote });
                self.mark_readable(id);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => self.link_failed(now, id, error.kind()),
        }
    }

    /// What was due.
    pub(super) fn expire_links(&mut self, now: Instant) {
        while let Some(timer) = self.links.timers.pop_due(now) {
            match timer {
                Timer::Accept(id) => {
                    if let Some(listener) = self.links.listeners.get_mut(id) {
                        listener.resting = false;
                        self.mark_readable(id);
                    }
                }
                Timer::Link(id) => self.link_failed(now, id, ErrorKind::TimedOut),
            }
        }
    }

    /// Closes everything at once.
    pub(super) fn close_links(&mut self) {
        for (id, listener) in self.links.listeners.take() {
            self.release_listener(id, listener);
        }
        for (id, link) in self.links.links.take() {
            self.release_link(id, link, Close::Finish);
        }
        for (id, link) in std::mem::take(&mut self.links.finishing) {
            self.release_link(id, link, Close::Finish);
        }
    }
}
