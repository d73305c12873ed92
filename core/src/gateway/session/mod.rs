//! Connections of connectors and the streams on them.
//!
//! A stream's life, in order:
//! 1. `Opening`: its OPEN frame is read, byte for byte, so that early data stays in QUIC.
//! 2. The target is judged: by the operator's policy, and by the targets in the connector's certificate.
//! 3. `Resolving`: a name is looked up, and each address is judged.
//! 4. `Pipe`, dialling: the allowed addresses are dialled in turn.
//! 5. `Pipe`, running: ACCEPT was sent, bytes flow; the driver closes the pipe when both ends are done.
//!
//! Wherever this ends early, a REJECT frame says why, and the stream ends (`Rejecting`).

mod control;
mod peers;
mod streams;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Cause, Event, Step, TargetPolicy};
use crate::io::{Arena, Direction, Effect, PipeId, QueryId};
use crate::pki::{Identity, PeerInfo, Revoked};
use crate::quic::{CloseReason, ConnId, StreamId};
use crate::time::{Deadline, DeadlineQueue, Why};
use crate::tunnel::{Control, Frame, FrameReader, Open, Pump, Target, control_stream};
pub use peers::Peer;

/// What bounds the sessions.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// How long a dial may take at most.
    pub(super) dial_timeout: Duration,
    /// How many streams may be open at once, over all connections.
    pub(super) streams: usize,
    /// How old a stream may get.
    pub(super) stream_age: Option<Duration>,
    /// How long the connection of a person goes on after the certificate has run out.
    pub(super) offline_grace: Duration,
    /// Whether there is a platform, whose instances may send PERMIT.
    pub(super) platform: bool,
}

/// All connections of connectors.
#[derive(Debug)]
pub(super) struct Sessions {
    policy: TargetPolicy,
    limits: Limits,
    sessions: BTreeMap<ConnId, Session>,
    streams: BTreeMap<Key, Stream>,
    pipes: Arena<PipeId, Pipe>,
    /// When a stream that has no pipe yet is given up.
    overdue: DeadlineQueue<Key>,
    /// When the connection of a person ends for good.
    expiry: DeadlineQueue<ConnId>,
    /// When a pipe is too old.
    ages: DeadlineQueue<PipeId>,
    revoked: Revoked,
    /// Connections that got no session, and are about to end.
    turned_away: BTreeSet<ConnId>,
    paths: Vec<SocketAddr>,
    draining: bool,
}

type Key = (ConnId, StreamId);

#[derive(Debug)]
struct Session {
    peer: PeerInfo,
    allowed: Option<BTreeSet<Target>>,
    control: Option<Control>,
    since: Instant,
    /// Why the gateway is ending it.
    ending: Option<Cause>,
}

#[derive(Debug)]
enum Stream {
    Opening(FrameReader),
    Resolving { query: QueryId, open: Open, until: Instant },
    Rejecting(Vec<u8>),
    Pipe(PipeId),
}

#[derive(Debug)]
struct Pipe {
    pump: Pump,
    target: Target,
    dialling: Option<Dialling>,
}

#[derive(Debug)]
struct Dialling {
    candidates: VecDeque<IpAddr>,
    until: Instant,
}

impl Sessions {
    pub(super) fn new(policy: TargetPolicy, limits: Limits) -> Self {
        Self {
            policy,
            limits,
            sessions: BTreeMap::new(),
            streams: BTreeMap::new(),
            pipes: Arena::default(),
            overdue: DeadlineQueue::default(),
            expiry: DeadlineQueue::default(),
            ages: DeadlineQueue::default(),
            revoked: Revoked::default(),
            turned_away: BTreeSet::new(),
            paths: Vec::new(),
            draining: false,
        }
    }

    /// Judges targets by another policy from now on.
    pub(super) fn set_policy(&mut self, policy: TargetPolicy) {
        self.policy = policy;
    }

    /// The number of connections.
    pub(super) fn connections(&self) -> usize {
        self.sessions.len()
    }

    /// The number of pipes.
    pub(super) fn pipes(&self) -> usize {
        self.pipes.len()
    }

    /// The number of streams.
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Who asked for a pipe, and for what.
    pub(super) fn wish(&self, pipe: PipeId) -> Option<(&Identity, &Target)> {
        let pipe = self.pipes.get(pipe)?;
        let session = self.sessions.get(&pipe.pump.conn())?;
        Some((&session.peer.identity, &pipe.target))
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        let at = |at: Option<Instant>, why| at.map(|at| Deadline { at, why });
        let open = [self.overdue.next(), self.ages.next()].into_iter().flatten().min();
        Deadline::earlier(at(open, Why::Open), at(self.expiry.next(), Why::Certificate))
    }

    // --- connections ---------------------------------------------------------------------------------------

    /// A connector's handshake is complete and its certificate verified.
    pub(super) fn connected(&mut self, step: &mut Step<'_>, conn: ConnId, peer: PeerInfo) {
        if let Some(cause) = self.objection(step, conn, &peer) {
            self.turned_away.insert(conn);
            step.out.push_back(Event::TurnedAway { peer: peer.identity, cause });
            return step.quic.close(step.now, conn, cause.code(), cause.words().as_bytes());
        }
        // A list of targets that can't be read allows none of them.
        let parse = |texts: &Vec<String>| texts.iter().filter_map(|text| text.parse().ok()).collect();
        let allowed = peer.targets.as_ref().map(parse);
        step.out.push_back(Event::Connected { peer: peer.identity.clone() });
        self.sessions.insert(conn, Session { peer, allowed, control: None, since: step.now, ending: None });
        self.watch_expiry(step, conn);
    }

    /// Ends a connection; the rest follows when QUIC says that it has ended.
    fn end(&mut self, step: &mut Step<'_>, conn: ConnId, cause: Cause) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.ending.get_or_insert(cause);
            step.quic.close(step.now, conn, cause.code(), cause.words().as_bytes());
        }
    }

    /// A connection has ended; whether it had got as far as to be let in or turned away.
    pub(super) fn lost(&mut self, step: &mut Step<'_>, conn: ConnId, reason: CloseReason) -> bool {
        let Some(session) = self.sessions.remove(&conn) else { return self.turned_away.remove(&conn) };
        self.expiry.cancel(conn);
        let streams = self.streams_of(conn);
        for stream in streams {
            self.overdue.cancel((conn, stream));
            match self.streams.remove(&(conn, stream)) {
                Some(Stream::Pipe(pipe)) => self.pipe_lost(step, pipe),
                Some(Stream::Resolving { query, .. }) => drop(step.queries.remove(query)),
                Some(Stream::Opening(_) | Stream::Rejecting(_)) | None => {}
            }
        }
        let peer = session.peer.identity;
        step.out.push_back(Event::Disconnected { peer, reason, cause: session.ending });
        true
    }

    fn pipe_lost(&mut self, step: &mut Step<'_>, pipe: PipeId) {
        if let Some(entry) = self.pipes.get_mut(pipe) {
            entry.pump.on_lost();
            self.ages.cancel(pipe);
            if let Some(dialling) = &mut entry.dialling {
                dialling.candidates.clear();
            }
            wake(step.out, pipe, Direction::Read);
            wake(step.out, pipe, Direction::Write);
        }
    }

    fn streams_of(&self, conn: ConnId) -> Vec<StreamId> {
        let first = self.streams.range((conn, control_stream())..);
        first.take_while(|((of, _), _)| *of == conn).map(|((_, stream), _)| *stream).collect()
    }

    /// The relayed addresses have changed: all connectors are told.
    pub(super) fn set_paths(&mut self, step: &mut Step<'_>, paths: Vec<SocketAddr>) {
        self.paths = paths;
        if self.paths.is_empty() {
            // There is no way to anybody, and what is lost now would hold up the next news.
            return;
        }
        self.tell_all(step, &Frame::Paths(self.paths.clone()));
    }

    /// No stream is opened any more; those that are open go on.
    pub(super) fn drain(&mut self, step: &mut Step<'_>) {
        self.draining = true;
        self.tell_all(step, &Frame::Drain);
    }

    fn tell_all(&mut self, step: &mut Step<'_>, frame: &Frame) {
        for session in self.sessions.values_mut() {
            if let Some(control) = &mut session.control {
                control.send(step.quic, frame);
            }
        }
    }

    /// Ends all connections.
    pub(super) fn close(&mut self, step: &mut Step<'_>) {
        self.end_where(step, Cause::Closing, |_, _| true);
    }

    /// Ends the connections that are `meant`, by who and where the other end is.
    fn end_where(
        &mut self,
        step: &mut Step<'_>,
        cause: Cause,
        meant: impl Fn(&PeerInfo, Option<IpAddr>) -> bool,
    ) {
        let sessions = self.sessions.iter();
        let conns: Vec<ConnId> = sessions
            .filter(|&(&conn, session)| meant(&session.peer, step.address(conn)))
            .map(|(&conn, _)| conn)
            .collect();
        for conn in conns {
            self.end(step, conn, cause);
        }
    }
}

fn wake(out: &mut VecDeque<Event>, pipe: PipeId, direction: Direction) {
    out.push_back(Event::Effect(Effect::Wake { pipe, direction }));
}
