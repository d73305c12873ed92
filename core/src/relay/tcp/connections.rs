//! All connections with peers, and every index of them: by number, by peer, by time. Nobody else holds one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use super::super::allocation::AllocationId;
use super::super::counters::ConnectionEnd;
use super::super::quota::Way;
use super::super::reply::Addressee;
use super::super::token::Tokens;
use super::limits::ConnectionLimits;
use crate::io::LinkId;
use crate::rand::Rng;
use crate::time::{Deadline, DeadlineQueue, Why};

/// CONNECTION-ID: names a connection (RFC 6062 §6.2.1). Of all numbers that tell this shard each is equally likely, so that
/// nobody can guess somebody else's.
pub(in super::super) type Number = u32;

/// How long a driver may take beyond the time that it was given for a Connect.
const GRACE: std::time::Duration = std::time::Duration::from_secs(5);

/// All connections.
#[derive(Debug)]
pub(in super::super) struct Connections {
    all: BTreeMap<Number, Connection>,
    by_peer: BTreeMap<(AllocationId, SocketAddr), Number>,
    timers: DeadlineQueue<Timer>,
    pub(super) limits: ConnectionLimits,
}

/// A connection with a peer.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) allocation: AllocationId,
    pub(super) peer: SocketAddr,
    /// The link to the peer.
    pub(super) link: LinkId,
    pub(super) phase: Phase,
    /// What the peer has said before there was anybody to hear it; nothing where the driver keeps to what it is told.
    pub(super) early: Vec<u8>,
    /// By [`Way`].
    pub(super) streams: [Stream; 2],
    /// When data has moved last.
    pub(super) moved: Instant,
}

/// How far a connection is.
#[derive(Debug)]
pub(super) enum Phase {
    /// The relay connects; the client waits for its reply.
    Connecting(Box<Addressee>),
    /// It waits for its client to bind it.
    Waiting,
    /// It is one with the client's link.
    Bound(LinkId),
}

/// One way of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stream {
    /// Its source has said everything.
    pub(super) ended: bool,
    /// The other end was told so.
    pub(super) finished: bool,
    /// Its source is read.
    pub(super) reading: bool,
    /// It rests, since more was relayed than may be.
    pub(super) rests: bool,
    /// How many bytes were relayed.
    pub(super) bytes: u64,
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// It should have been opened, or bound.
    Wait(Number),
    /// It has rested.
    Rest(Number, bool),
    /// It may be half closed for too long.
    HalfClosed(Number),
}

impl Connections {
    pub(in super::super) fn new(limits: ConnectionLimits) -> Self {
        Self { all: BTreeMap::new(), by_peer: BTreeMap::new(), timers: DeadlineQueue::default(), limits }
    }

    /// Judges by other limits from now on.
    pub(in super::super) fn set_limits(&mut self, limits: ConnectionLimits) {
        self.limits = limits;
    }

    /// Whether an allocation may have one more, with `peer`.
    ///
    /// # Errors
    /// What prevents it.
    pub(super) fn judge(&self, allocation: AllocationId, peer: SocketAddr) -> Result<(), ConnectionEnd> {
        if self.by_peer.contains_key(&(allocation, peer)) {
            return Err(ConnectionEnd::Exists);
        }
        let pending = self.of(allocation).filter(|(_, it)| !matches!(it.phase, Phase::Bound(_))).count();
        let limits = &self.limits;
        if self.all.len() >= limits.total
            || self.of(allocation).count() >= limits.per_allocation
            || pending >= limits.pending
        {
            return Err(ConnectionEnd::TooMany);
        }
        Ok(())
    }

    /// A number that is nobody's.
    pub(super) fn draw(&self, tokens: &Tokens, rng: &mut Rng) -> Number {
        loop {
            let number = u32::from_be_bytes(tokens.draw(rng));
            if !self.all.contains_key(&number) {
                return number;
            }
        }
    }

    pub(super) fn insert(&mut self, now: Instant, number: Number, connection: Connection) {
        let connecting = matches!(connection.phase, Phase::Connecting(_));
        let wait = if connecting { self.limits.connect + GRACE } else { self.limits.bind };
        self.timers.set(Timer::Wait(number), now + wait);
        self.by_peer.insert((connection.allocation, connection.peer), number);
        self.all.insert(number, connection);
    }

    pub(super) fn remove(&mut self, number: Number) -> Option<Connection> {
        let connection = self.all.remove(&number)?;
        self.by_peer.remove(&(connection.allocation, connection.peer));
        self.timers.cancel(Timer::Wait(number));
        self.timers.cancel(Timer::HalfClosed(number));
        [Way::ToPeers, Way::ToClients].into_iter().for_each(|way| self.timers.cancel(rest(number, way)));
        Some(connection)
    }

    pub(super) fn get(&self, number: Number) -> Option<&Connection> {
        self.all.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: Number) -> Option<&mut Connection> {
        self.all.get_mut(&number)
    }

    /// The connection is open, and waits for its client. Who is to be told.
    pub(super) fn open(&mut self, now: Instant, number: Number) -> Option<Addressee> {
        let connection = self.all.get_mut(&number)?;
        match std::mem::replace(&mut connection.phase, Phase::Waiting) {
            Phase::Connecting(addressee) => {
                self.timers.set(Timer::Wait(number), now + self.limits.bind);
                Some(*addressee)
            }
            before => {
                connection.phase = before;
                None
            }
        }
    }

    /// The client has bound a connection to a link. What the peer has said already.
    pub(super) fn bind(&mut self, number: Number, client: LinkId) -> Vec<u8> {
        let Some(connection) = self.all.get_mut(&number) else { return Vec::new() };
        connection.phase = Phase::Bound(client);
        connection.streams[Way::ToPeers as usize].reading = true;
        self.timers.cancel(Timer::Wait(number));
        std::mem::take(&mut connection.early)
    }

    /// One way rests until `until`.
    pub(super) fn rest(&mut self, number: Number, way: Way, until: Instant) {
        if let Some(connection) = self.all.get_mut(&number) {
            connection.streams[way as usize].rests = true;
            self.timers.set(rest(number, way), until);
        }
    }

    /// One way has rested.
    pub(super) fn rested(&mut self, number: Number, way: Way) {
        if let Some(connection) = self.all.get_mut(&number) {
            connection.streams[way as usize].rests = false;
            self.timers.cancel(rest(number, way));
        }
    }

    /// The source of one way has said everything. `false` where that is nothing new.
    pub(super) fn end(&mut self, now: Instant, number: Number, way: Way) -> bool {
        let Some(connection) = self.all.get_mut(&number) else { return false };
        connection.moved = now;
        let news = !std::mem::replace(&mut connection.streams[way as usize].ended, true);
        if news {
            self.timers.set(Timer::HalfClosed(number), now + self.limits.half_closed);
        }
        news
    }

    /// Whether nothing has moved for too long where one way has ended. If something has, it is looked at again later.
    pub(super) fn is_forsaken(&mut self, now: Instant, number: Number) -> bool {
        let Some(connection) = self.all.get(&number) else { return false };
        let end = connection.moved + self.limits.half_closed;
        if end > now {
            self.timers.set(Timer::HalfClosed(number), end);
        }
        end <= now
    }

    /// Those of an allocation.
    pub(super) fn of(&self, allocation: AllocationId) -> impl Iterator<Item = (Number, &Connection)> {
        let from = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
        self.by_peer
            .range((allocation, from)..)
            .take_while(move |((of, _), _)| *of == allocation)
            .filter_map(|(_, number)| Some((*number, self.all.get(number)?)))
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Number, &Connection)> {
        self.all.iter().map(|(&number, connection)| (number, connection))
    }

    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        self.timers.pop_due(now)
    }

    /// When something is due next.
    pub(in super::super) fn next_deadline(&self) -> Option<Deadline> {
        self.timers.next().map(|at| Deadline { at, why: Why::Link })
    }

    /// How many there are.
    pub(in super::super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many deadlines they have.
    pub(in super::super) fn timers(&self) -> usize {
        self.timers.len()
    }
}

/// The deadline of one way's rest.
fn rest(number: Number, way: Way) -> Timer {
    Timer::Rest(number, way == Way::ToClients)
}

impl Connection {
    /// The links that one way leads from and to; `None` before it is bound.
    pub(super) fn links(&self, way: Way) -> Option<(LinkId, LinkId)> {
        let Phase::Bound(client) = self.phase else { return None };
        Some(match way {
            Way::ToPeers => (client, self.link),
            Way::ToClients => (self.link, client),
        })
    }

    /// The client's link, once it is bound.
    pub(super) fn client(&self) -> Option<LinkId> {
        match self.phase {
            Phase::Bound(client) => Some(client),
            Phase::Connecting(_) | Phase::Waiting => None,
        }
    }
}

#[cfg(any(test, feature = "check"))]
impl Connections {
    /// Panics unless all indexes say the same. `link` says which connection a link belongs to, and which way its bytes go.
    pub(in super::super) fn check(&self, link: impl Fn(LinkId) -> Option<(Number, Way)>) {
        let mut timers = 0;
        for (&number, connection) in &self.all {
            assert_eq!(self.by_peer.get(&(connection.allocation, connection.peer)), Some(&number));
            assert_eq!(link(connection.link), Some((number, Way::ToClients)));
            if let Some(client) = connection.client() {
                assert_eq!(link(client), Some((number, Way::ToPeers)));
            }
            let waits = self.timers.get(Timer::Wait(number)).is_some();
            assert_eq!(waits, connection.client().is_none());
            timers += usize::from(waits);
            let half_closed = self.timers.get(Timer::HalfClosed(number)).is_some();
            assert_eq!(half_closed, connection.streams.iter().any(|stream| stream.ended));
            timers += usize::from(half_closed);
            for way in [Way::ToPeers, Way::ToClients] {
                let rests = self.timers.get(rest(number, way)).is_some();
                assert_eq!(rests, connection.streams[way as usize].rests);
                timers += usize::from(rests);
            }
        }
        assert_eq!(self.by_peer.len(), self.all.len());
        assert_eq!(self.timers.len(), timers);
        assert!(self.all.len() <= self.limits.total);
    }
}
