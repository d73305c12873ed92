//! Clients that come by DTLS: their sessions on the listening sockets, from the first datagram to the end.
//!
//! 1. A datagram of DTLS from somebody without a session must look like a first ClientHello ([`hello`]), and its source
//!    must have replies left; then it gets a session, if there are not too many that have not got far: in all, and per
//!    source. What follows in there is a cookie: only who receives what is sent to their address makes us sign anything.
//!    Until it has come back, each datagram of theirs is a ClientHello, costs them one of their replies, and is answered at
//!    most once; nothing is repeated of itself.
//! 2. Once the handshake is done, each record holds a message, which is treated as a datagram is, but that what is sent to
//!    peers is a copy. What is sent to the client is sealed at once, and queued.
//! 3. Who does not finish a handshake in time, or is silent without an allocation, is forgotten. An allocation ends with
//!    its session.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Relay;
use super::counters::{Drop, SessionEnd};
use super::outbox::Doorstep;
use super::shard::Shard;
use super::source::{Shares, Source};
use super::via::{Path, Via};
use crate::io::{Arena, Datagrams, Ecn, SocketId, id};
use crate::secure::Failure;
use crate::secure::dtls::{Dtls, Output, ServerConfig};
use crate::secure::hello::{self, NoHello};
use crate::time::{Deadline, DeadlineQueue, Why};

/// Content types of records (RFC 5246 §6.2.1), and the type of a ClientHello (§7.4).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// The length of the headers of record and message in front of a ClientHello (RFC 6347 §4.1, §4.2.2).
const HELLO_HEADERS: usize = 13 + 12;

/// What an alert says (RFC 5246 §7.2).
const FATAL: u8 = 2;
const PROTOCOL_VERSION: u8 = 70;

/// The most that a record holds, in bytes (RFC 5246 §6.2.1).
const MAX_RECORD: usize = 1 << 14;

/// Limits of the sessions of clients that come by DTLS. A shard of a relay has an exact share of those in all, and a share
/// that is rounded up of those per source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions in all.
    pub total: usize,
    /// Sessions whose handshake is not done.
    pub opening: usize,
    /// The same per source: an IPv4 address, or an IPv6 /64.
    pub opening_per_source: usize,
    /// How long a client has for its handshake.
    pub handshake: Duration,
    /// How long a client without an allocation has between messages.
    pub idle: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            total: 16_384,
            opening: 1024,
            opening_per_source: 8,
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(15),
        }
    }
}

impl SessionLimits {
    /// What one shard of a relay may have of it.
    pub(super) fn share(self, shard: &Shard) -> Self {
        Self {
            total: shard.share(self.total),
            opening: shard.share(self.opening),
            opening_per_source: shard.share_of_source(self.opening_per_source),
            ..self
        }
    }
}

id! {
    /// Names a session; generational, like a socket's.
    pub(super) SessionId
}

#[derive(Debug)]
struct Session {
    doorstep: Doorstep,
    dtls: Box<Dtls>,
    is_opening: bool,
}

impl Session {
    fn source(&self) -> Source {
        Source::of(self.doorstep.client.ip())
    }
}

/// All sessions.
#[derive(Debug)]
pub(super) struct Sessions {
    sessions: Arena<SessionId, Session>,
    by_address: HashMap<(SocketId, SocketAddr), SessionId>,
    /// Of those whose handshake is not done.
    shares: Shares,
    opening: usize,
    timers: DeadlineQueue<Timer>,
    limits: SessionLimits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    /// Something is to be sent again.
    Retransmit(SessionId),
    /// The handshake is not done, or nothing has been heard of the client.
    Silence(SessionId),
}

impl Sessions {
    pub(super) fn new(limits: SessionLimits) -> Self {
        Self {
            sessions: Arena::default(),
            by_address: HashMap::new(),
            shares: Shares::default(),
            opening: 0,
            timers: DeadlineQueue::default(),
            limits,
        }
    }

    fn is_full(&self, source: Source) -> bool {
        self.sessions.len() >= self.limits.total
            || self.opening >= self.limits.opening
            || self.shares.of(source) >= self.limits.opening_per_source
    }

    fn begin(&mut self, now: Instant, config: &ServerConfig, doorstep: Doorstep) -> SessionId {
        let dtls = Box::new(Dtls::server(config, now));
        let session = Session { doorstep, dtls, is_opening: true };
        self.shares.add(session.source());
        self.opening += 1;
        let id = self.sessions.insert(session);
        self.by_address.insert((doorstep.socket, doorstep.client), id);
        self.timers.set(Timer::Silence(id), now + self.limits.handshake);
        id
    }

    fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(id)?;
        self.by_address.remove(&(session.doorstep.socket, session.doorstep.client));
        if session.is_opening {
            self.stop_opening(session.source());
        }
        self.timers.cancel(Timer::Silence(id));
        self.timers.cancel(Timer::Retransmit(id));
        Some(session)
    }

    fn stop_opening(&mut self, source: Source) {
        self.opening -= 1;
        self.shares.remove(source);
    }

    /// The handshake is done.
    fn connected(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        let source = session.source();
        if std::mem::replace(&mut session.is_opening, false) {
            self.stop_opening(source);
        }
        self.timers.cancel(Timer::Retransmit(id));
        self.await_message(now, id);
    }

    fn await_message(&mut self, now: Instant, id: SessionId) {
        if self.sessions.get(id).is_some_and(|session| !session.is_opening) {
            self.timers.set(Timer::Silence(id), now + self.limits.idle);
        }
    }

    /// Sets the time of the next repetition, which there is before the handshake is done only.
    fn schedule(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id).filter(|session| session.is_opening) else { return };
        match session.dtls.poll_timeout() {
            Some(at) => self.timers.set(Timer::Retransmit(id), at),
            None => self.timers.cancel(Timer::Retransmit(id)),
        }
    }

    fn path(&self, id: SessionId) -> Option<Path> {
        let Doorstep { client, local, .. } = self.sessions.get(id)?.doorstep;
        Some(Path { via: Via::Session(id), client, local })
    }

    /// Makes a datagram of a message, and says where it goes. `None` where the session is no more.
    pub(super) fn seal(&mut self, id: SessionId, message: &[u8]) -> Option<(Doorstep, Box<[u8]>)> {
        let session = self.sessions.get_mut(id)?;
        let mut out = Vec::with_capacity(message.len() + 64);
        session.dtls.seal(message, &mut out).then(|| (session.doorstep, out.into_boxed_slice()))
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.timers.next().map(|at| Deadline { at, why: Why::Link })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// How many deadlines they have.
    pub(super) fn timers(&self) -> usize {
        self.timers.len()
    }

    /// Panics unless everything that is counted is there.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn check(&self) {
        let all = || self.sessions.iter();
        assert_eq!(self.opening, all().filter(|(_, session)| session.is_opening).count());
        assert_eq!(self.shares.total(), self.opening);
        assert_eq!(self.by_address.len(), self.sessions.len());
        for (id, session) in all() {
            let at = (session.doorstep.socket, session.doorstep.client);
            assert_eq!(self.by_address.get(&at), Some(&id));
            assert!(self.timers.get(Timer::Silence(id)).is_some());
        }
        assert!(self.sessions.len() <= self.limits.total && self.opening <= self.limits.opening);
    }
}

/// Whether the first record holds the beginning, or another part, of a ClientHello.
fn is_hello(datagram: &[u8]) -> bool {
    datagram.len() >= HELLO_HEADERS
        && datagram.first() == Some(&HANDSHAKE)
        && datagram.get(13) == Some(&CLIENT_HELLO)
}

/// Whether the first record shows that whoever sent a datagram is not the client of a session that stands: it is a
/// plaintext alert or ClientHello, which anybody can write. Repetitions of the last flight are not among them.
fn is_of_a_stranger(datagram: &[u8]) -> bool {
    let plaintext = datagram.get(3..5) == Some(&[0, 0]);
    match datagram.first() {
        Some(&ALERT) => plaintext,
        Some(&HANDSHAKE) => plaintext && datagram.get(13) == Some(&CLIENT_HELLO),
        _ => false,
    }
}

impl Relay {
    /// A datagram of DTLS on a listening socket.
    pub(super) fn receive_dtls(&mut self, now: Instant, batch: &Datagrams<'_>, datagram: &[u8]) {
        let doorstep = Doorstep { socket: batch.socket, client: batch.remote, local: batch.local };
        let session = match self.sessions.by_address.get(&(batch.socket, batch.remote)) {
            Some(&session) => self.judge_datagram(now, session, datagram).map(|()| session),
            None => self.begin_session(now, doorstep, datagram),
        };
        let received = session.and_then(|id| {
            let session = self.sessions.sessions.get_mut(id).ok_or(Drop::Malformed)?;
            if !session.is_opening && is_of_a_stranger(datagram) {
                return Err(Drop::Unexpected);
            }
            session.dtls.receive(now, datagram);
            Ok(id)
        });
        match received {
            Ok(id) => self.settle_session(now, id),
            Err(reason) => self.counters.drop(reason),
        }
    }

    /// Whether a datagram may be looked at that came from the address of a session. Where nobody has shown yet to be
    /// there, it may get a victim an answer.
    ///
    /// # Errors
    /// [`Drop`] when not.
    fn judge_datagram(&mut self, now: Instant, id: SessionId, datagram: &[u8]) -> Result<(), Drop> {
        let Some(session) = self.sessions.sessions.get(id).filter(|session| !session.dtls.is_proven()) else {
            return Ok(());
        };
        if !is_hello(datagram) {
            Err(Drop::NoHello)
        } else if !self.budget.spend(now, session.doorstep.client.ip()) {
            Err(Drop::OverBudget)
        } else {
            Ok(())
        }
    }

    /// A session for a stranger.
    fn begin_session(&mut self, now: Instant, doorstep: Doorstep, hello: &[u8]) -> Result<SessionId, Drop> {
        let config = self.config.dtls.clone().ok_or(Drop::Malformed)?;
        if let Err(why) = hello::check(hello) {
            self.turn_away(now, doorstep, hello, why);
            return Err(Drop::NoHello);
        }
        let source = Source::of(doorstep.client.ip());
        if self.sessions.is_full(source) {
            return Err(Drop::TooManySessions);
        }
        if !self.spend_reply(now, doorstep.client.ip()) {
            return Err(Drop::OverBudget);
        }
        Ok(self.sessions.begin(now, &config, doorstep))
    }

    /// Tells a client that speaks an older version, or none of our cipher suites, that it need not go on trying. The alert
    /// is smaller than any ClientHello.
    fn turn_away(&mut self, now: Instant, doorstep: Doorstep, hello: &[u8], why: NoHello) {
        let Some(&[_, major, minor, ..]) = hello.first_chunk::<3>() else { return };
        if why == NoHello::Incompatible && self.spend_reply(now, doorstep.client.ip()) {
            let alert = [ALERT, major, minor, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, FATAL, PROTOCOL_VERSION];
            if self.outbox.reply(doorstep, alert.into()).is_err() {
                self.counters.drop(Drop::QueueFull);
            }
        }
    }

    /// Does what a session wants done after something has come, or time has passed.
    fn settle_session(&mut self, now: Instant, id: SessionId) {
        let Some(path) = self.sessions.path(id) else { return };
        let (mut out, mut messages) = (Vec::new(), Vec::new());
        loop {
            out.clear();
            let Some(session) = self.sessions.sessions.get_mut(id) else { return };
            match session.dtls.poll(&mut out) {
                None => break,
                Some(Output::Datagram) => {
                    let doorstep = session.doorstep;
                    if self.outbox.reply(doorstep, out.as_slice().into()).is_err() {
                        self.counters.drop(Drop::QueueFull);
                    }
                }
                // No answer can be sealed before all was polled: so messages wait for that.
                Some(Output::Plaintext) => messages.push(std::mem::take(&mut out)),
                Some(Output::Connected) => {
                    self.counters.sessions += 1;
                    self.sessions.connected(now, id);
                }
                Some(Output::Ended) => return self.end_session(now, id, SessionEnd::Closed),
                Some(Output::Failed(Failure::TimedOut)) => {
                    return self.end_session(now, id, SessionEnd::TooSlow);
                }
                Some(Output::Failed(_)) => return self.end_session(now, id, SessionEnd::Failed),
            }
        }
        let mut known = self.nothing_known();
        for message in &messages {
            self.receive_message(now, path, message, &mut known);
        }
        self.account(&known);
        if !messages.is_empty() && self.table.find(path.five_tuple()).is_none() {
            self.sessions.await_message(now, id);
        }
        self.sessions.schedule(id);
    }

    fn end_session(&mut self, now: Instant, id: SessionId, reason: SessionEnd) {
        let Some(path) = self.sessions.path(id) else { return };
        self.sessions.remove(id);
        self.counters.end_session(reason);
        self.lose(now, path.five_tuple());
    }

    /// Queues a message for the client of a session.
    ///
    /// # Errors
    /// [`Drop`] where it is lost.
    pub(super) fn send_in_session(
        &mut self,
        id: SessionId,
        ecn: Option<Ecn>,
        message: &[u8],
    ) -> Result<(), Drop> {
        if message.len() > MAX_RECORD {
            return Err(Drop::TooLong);
        }
        let (doorstep, sealed) = self.sessions.seal(id, message).ok_or(Drop::Away)?;
        self.outbox.data(doorstep, ecn, sealed).map_err(|_| Drop::QueueFull)
    }

    /// Does what is due.
    pub(super) fn expire_sessions(&mut self, now: Instant) {
        while let Some(timer) = self.sessions.timers.pop_due(now) {
            match timer {
                Timer::Retransmit(id) => {
                    if let Some(session) = self.sessions.sessions.get_mut(id) {
                        session.dtls.handle_timeout(now);
                        self.settle_session(now, id);
                    }
                }
                Timer::Silence(id) => self.expire_session(now, id),
            }
        }
    }

    fn expire_session(&mut self, now: Instant, id: SessionId) {
        let Some(path) = self.sessions.path(id) else { return };
        let is_opening = self.sessions.sessions.get(id).is_some_and(|session| session.is_opening);
        if !is_opening && self.table.find(path.five_tuple()).is_some() {
            return self.sessions.await_message(now, id);
        }
        if let Some(session) = self.sessions.sessions.get_mut(id) {
            session.dtls.close();
        }
        self.settle_session(now, id);
        self.end_session(now, id, if is_opening { SessionEnd::TooSlow } else { SessionEnd::Idle });
    }
}
