//! The sessions that there are: by name and by address, how far each is, and when something is due.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::outbox::Doorstep;
use super::super::shard::Shard;
use super::super::source::{Shares, Source};
use super::super::via::{Path, Via};
use crate::io::{Arena, SocketId, id};
use crate::secure::dtls::{Dtls, ServerConfig};
use crate::time::{Deadline, DeadlineQueue, Why};

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
    pub(in crate::relay) fn share(self, shard: &Shard) -> Self {
        Self {
            total: shard.share(self.total),
            opening: shard.share(self.opening),
            opening_per_source: shard.share_of_source(self.opening_per_source),
            ..self
        }
    }
}

/// Content type of the records of handshakes (RFC 5246 §6.2.1).
pub(super) const HANDSHAKE: u8 = 22;

/// Where the datagrams of a session come in, and from where.
type Address = (SocketId, SocketAddr);

id! {
    /// Names a session; generational, like a socket's.
    pub(in crate::relay) SessionId
}

/// One session.
#[derive(Debug)]
pub(in crate::relay) struct Session {
    pub(in crate::relay) doorstep: Doorstep,
    pub(super) dtls: Box<Dtls>,
    pub(super) is_opening: bool,
}

impl Session {
    /// The same session at another socket.
    pub(in crate::relay) fn at(self, doorstep: Doorstep) -> Self {
        Self { doorstep, ..self }
    }

    fn source(&self) -> Source {
        Source::of(self.doorstep.client.ip())
    }
}

/// All sessions.
#[derive(Debug)]
pub(in crate::relay) struct Sessions {
    sessions: Arena<SessionId, Session>,
    by_address: HashMap<Address, SessionId>,
    /// Those that a client has begun whose other one still stands.
    heirs: HashMap<Address, SessionId>,
    /// Of those whose handshake is not done.
    shares: Shares,
    opening: usize,
    timers: DeadlineQueue<Timer>,
    limits: SessionLimits,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// Something is to be sent again.
    Retransmit(SessionId),
    /// The handshake is not done, or nothing has been heard of the client.
    Silence(SessionId),
}

impl Sessions {
    pub(in crate::relay) fn new(limits: SessionLimits) -> Self {
        Self {
            sessions: Arena::default(),
            by_address: HashMap::new(),
            heirs: HashMap::new(),
            shares: Shares::default(),
            opening: 0,
            timers: DeadlineQueue::default(),
            limits,
        }
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.sessions.get_mut(id)
    }

    /// Whose a datagram from the address of `doorstep` is. Of a client that has begun another session, handshakes are of
    /// that one.
    pub(super) fn addressed(&self, doorstep: Doorstep, datagram: &[u8]) -> Option<SessionId> {
        let address = address(doorstep);
        let heir = self.heirs.get(&address).filter(|_| is_of_handshake(datagram));
        heir.or_else(|| self.by_address.get(&address)).copied()
    }

    /// Whether the client of a session may begin another one: its handshake is done, and there is none yet.
    pub(super) fn may_begin_another(&self, id: SessionId) -> bool {
        self.sessions.get(id).is_some_and(|session| {
            !session.is_opening && !self.heirs.contains_key(&address(session.doorstep))
        })
    }

    pub(super) fn is_full(&self, source: Source) -> bool {
        self.sessions.len() >= self.limits.total
            || self.opening >= self.limits.opening
            || self.shares.of(source) >= self.limits.opening_per_source
    }

    pub(super) fn begin(&mut self, now: Instant, config: &ServerConfig, doorstep: Doorstep) -> SessionId {
        let dtls = Box::new(Dtls::server(config, now));
        let session = Session { doorstep, dtls, is_opening: true };
        self.shares.add(session.source());
        self.opening += 1;
        let id = self.sessions.insert(session);
        let address = address(doorstep);
        let stands = self.by_address.contains_key(&address);
        let known = if stands { &mut self.heirs } else { &mut self.by_address };
        known.insert(address, id);
        self.timers.set(Timer::Silence(id), now + self.limits.handshake);
        id
    }

    /// Takes a session in whose handshake another shard has done. `None` when there is no room, or another one is there.
    pub(in crate::relay) fn adopt(&mut self, now: Instant, session: Session) -> Option<SessionId> {
        let at = address(session.doorstep);
        if self.sessions.len() >= self.limits.total || session.is_opening || self.by_address.contains_key(&at)
        {
            return None;
        }
        let id = self.sessions.insert(session);
        self.by_address.insert(at, id);
        self.await_message(now, id);
        Some(id)
    }

    /// Whether a client has one.
    pub(in crate::relay) fn has(&self, socket: SocketId, client: SocketAddr) -> bool {
        self.by_address.contains_key(&(socket, client)) || self.heirs.contains_key(&(socket, client))
    }

    pub(in crate::relay) fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.sessions.remove(id)?;
        let address = address(session.doorstep);
        for known in [&mut self.by_address, &mut self.heirs] {
            if known.get(&address) == Some(&id) {
                known.remove(&address);
            }
        }
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

    /// The handshake is done. The session that its client had before, if there is one, is at no address any more.
    pub(super) fn connected(&mut self, now: Instant, id: SessionId) -> Option<SessionId> {
        let session = self.sessions.get_mut(id)?;
        let (source, address) = (session.source(), address(session.doorstep));
        if std::mem::replace(&mut session.is_opening, false) {
            self.stop_opening(source);
        }
        self.timers.cancel(Timer::Retransmit(id));
        self.await_message(now, id);
        let before = self.by_address.insert(address, id).filter(|&before| before != id);
        if self.heirs.get(&address) == Some(&id) {
            self.heirs.remove(&address);
        }
        before
    }

    pub(super) fn await_message(&mut self, now: Instant, id: SessionId) {
        if self.sessions.get(id).is_some_and(|session| !session.is_opening) {
            self.timers.set(Timer::Silence(id), now + self.limits.idle);
        }
    }

    /// Sets the time of the next repetition, which there is before the handshake is done only.
    pub(super) fn schedule(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get(id).filter(|session| session.is_opening) else { return };
        match session.dtls.poll_timeout() {
            Some(at) => self.timers.set(Timer::Retransmit(id), at),
            None => self.timers.cancel(Timer::Retransmit(id)),
        }
    }

    pub(super) fn path(&self, id: SessionId) -> Option<Path> {
        let Doorstep { client, local, .. } = self.sessions.get(id)?.doorstep;
        Some(Path { via: Via::Session(id), client, local })
    }

    /// Makes a datagram of a message, and says where it goes. `None` where the session is no more.
    pub(in crate::relay) fn seal(&mut self, id: SessionId, message: &[u8]) -> Option<(Doorstep, Box<[u8]>)> {
        let session = self.sessions.get_mut(id)?;
        let mut out = Vec::with_capacity(message.len() + 64);
        session.dtls.seal(message, &mut out).then(|| (session.doorstep, out.into_boxed_slice()))
    }

    pub(in crate::relay) fn next_deadline(&self) -> Option<Deadline> {
        self.timers.next().map(|at| Deadline { at, why: Why::Link })
    }

    /// How many there are.
    pub(in crate::relay) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The next thing that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        self.timers.pop_due(now)
    }

    /// How many deadlines they have.
    pub(in crate::relay) fn timers(&self) -> usize {
        self.timers.len()
    }

    /// Panics unless everything that is counted is there.
    #[cfg(any(test, feature = "check"))]
    pub(in crate::relay) fn check(&self) {
        let all = || self.sessions.iter();
        assert_eq!(self.opening, all().filter(|(_, session)| session.is_opening).count());
        assert_eq!(self.shares.total(), self.opening);
        assert_eq!(self.by_address.len() + self.heirs.len(), self.sessions.len());
        for (id, session) in all() {
            let at = address(session.doorstep);
            let is_heir = self.heirs.get(&at) == Some(&id);
            assert!(if is_heir { session.is_opening } else { self.by_address.get(&at) == Some(&id) });
            assert!(self.timers.get(Timer::Silence(id)).is_some());
        }
        assert!(self.sessions.len() <= self.limits.total && self.opening <= self.limits.opening);
    }
}

fn address(doorstep: Doorstep) -> Address {
    (doorstep.socket, doorstep.client)
}

/// Whether the first record is of a handshake that is not done: it is in plaintext, or what ends one.
fn is_of_handshake(datagram: &[u8]) -> bool {
    datagram.first() == Some(&HANDSHAKE) || datagram.get(3..5) == Some(&[0, 0])
}
