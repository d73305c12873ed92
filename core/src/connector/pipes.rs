//! The pipes of a connector, from the wish for one to its end.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::{ConnectError, Event, Failure, GatewayKey, OpenError, Step};
use crate::io::{Arena, Direction, Effect, PipeId, Read, Write};
use crate::quic::{CloseReason, ConnId, Endpoint, StreamId};
use crate::time::DeadlineQueue;
use crate::tunnel::{Frame, FrameRead, FrameReader, Open, Pump, Target, encode, read_frame};

#[derive(Debug)]
pub(super) struct Pipes {
    max: usize,
    open_timeout: Duration,
    pipes: Arena<PipeId, Pipe>,
    by_stream: BTreeMap<(ConnId, StreamId), PipeId>,
    /// The connections that pipes have left since this was last asked.
    left: Vec<ConnId>,
    /// Pipes that wait for a connection, or for credit for a stream, in the order of their wishes.
    waiting: BTreeMap<GatewayKey, VecDeque<PipeId>>,
    /// When a pipe that is not open is given up.
    overdue: DeadlineQueue<PipeId>,
}

#[derive(Debug)]
enum Pipe {
    Waiting(Wish),
    Started {
        pump: Pump,
        /// Until the answer to OPEN is there.
        opening: Option<Opening>,
    },
}

/// What was asked for.
#[derive(Debug, Clone)]
struct Wish {
    gateway: GatewayKey,
    target: Target,
    until: Instant,
    /// Nothing was said, and nothing will be: the end goes out behind OPEN.
    finished: bool,
    /// Whether a connection was lost over it already: once is an accident.
    unlucky: bool,
}

/// A wish that was sent.
#[derive(Debug)]
struct Opening {
    reader: FrameReader,
    wish: Wish,
}

impl Pipe {
    fn pump(&mut self) -> Option<&mut Pump> {
        match self {
            Self::Waiting(_) => None,
            Self::Started { pump, .. } => Some(pump),
        }
    }
}

impl Pipes {
    pub(super) fn new(max: usize, open_timeout: Duration) -> Self {
        Self {
            max,
            open_timeout,
            pipes: Arena::default(),
            by_stream: BTreeMap::new(),
            left: Vec::new(),
            waiting: BTreeMap::new(),
            overdue: DeadlineQueue::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pipes.len()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.overdue.next()
    }

    /// Whether any pipe runs over `conn`.
    pub(super) fn are_on(&self, conn: ConnId) -> bool {
        self.on(conn).next().is_some()
    }

    /// The connections that pipes have left since this was last asked.
    pub(super) fn take_left(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.left)
    }

    fn on(&self, conn: ConnId) -> impl Iterator<Item = PipeId> {
        let first = self.by_stream.range((conn, super::control_stream())..);
        first.take_while(move |((of, _), _)| *of == conn).map(|(_, &pipe)| pipe)
    }

    // --- opening ---------------------------------------------------------------------------------------------

    /// Notes the wish for a pipe.
    pub(super) fn add(
        &mut self,
        now: Instant,
        gateway: GatewayKey,
        target: Target,
    ) -> Result<PipeId, OpenError> {
        if self.pipes.len() >= self.max {
            return Err(OpenError::TooMany);
        }
        let until = now + self.open_timeout;
        let wish = Wish { gateway, target, until, finished: false, unlucky: false };
        let pipe = self.pipes.insert(Pipe::Waiting(wish));
        self.waiting.entry(gateway).or_default().push_back(pipe);
        self.overdue.set(pipe, until);
        Ok(pipe)
    }

    /// Sends OPEN for the pipes that wait for `gateway`, as long as the connection gives streams.
    pub(super) fn start_waiting(&mut self, step: &mut Step<'_>, gateway: GatewayKey, conn: ConnId) {
        let Some(mut waiting) = self.waiting.remove(&gateway) else { return };
        while let Some(pipe) = waiting.pop_front() {
            // Those that were given up meanwhile are no longer there.
            let Some(entry) = self.pipes.get_mut(pipe) else { continue };
            let Pipe::Waiting(wish) = &*entry else { continue };
            let Some(stream) = step.quic.open(conn) else {
                waiting.push_front(pipe);
                self.waiting.insert(gateway, waiting);
                return;
            };
            let deadline = wish.until.saturating_duration_since(step.now);
            let open = Frame::Open(Open { target: wish.target.clone(), deadline, trace: None });
            let mut pump = Pump::new(conn, stream);
            pump.begin(step.quic, &encode(&open));
            if wish.finished {
                pump.finish(step.quic);
            }
            let opening = Some(Opening { reader: FrameReader::default(), wish: wish.clone() });
            *entry = Pipe::Started { pump, opening };
            self.by_stream.insert((conn, stream), pipe);
            wake(step, pipe, Direction::Write);
        }
    }

    /// The answer to OPEN has arrived, or a part of it.
    fn answered(&mut self, step: &mut Step<'_>, pipe: PipeId, key: (ConnId, StreamId)) {
        let Some(Pipe::Started { opening, .. }) = self.pipes.get_mut(pipe) else { return };
        let Some(Opening { reader, .. }) = opening else { return };
        match read_frame(step.quic, key, reader) {
            FrameRead::Blocked => {}
            FrameRead::Frame(Frame::Accept(address)) => {
                *opening = None;
                self.overdue.cancel(pipe);
                step.out.push_back(Event::Opened { pipe, address });
                wake(step, pipe, Direction::Read);
            }
            FrameRead::Frame(Frame::Reject { code, sentence }) => {
                self.fail(step, pipe, Failure::Rejected { code, sentence });
            }
            FrameRead::Reset => self.fail(step, pipe, Failure::Reset),
            FrameRead::Frame(_) | FrameRead::Ended | FrameRead::Malformed => {
                self.fail(step, pipe, Failure::Protocol);
            }
        }
    }

    /// Ends a pipe that was not opened.
    fn fail(&mut self, step: &mut Step<'_>, pipe: PipeId, failure: Failure) {
        self.close(step.quic, pipe);
        step.out.push_back(Event::Failed { pipe, failure });
        wake(step, pipe, Direction::Read);
        wake(step, pipe, Direction::Write);
    }

    /// There will be no connection to `gateway`.
    pub(super) fn fail_waiting(&mut self, step: &mut Step<'_>, gateway: GatewayKey, error: &ConnectError) {
        for pipe in self.waiting.remove(&gateway).unwrap_or_default() {
            if self.pipes.get(pipe).is_some() {
                self.fail(step, pipe, Failure::NotConnected(error.clone()));
            }
        }
    }

    /// The gateways that pipes wait for.
    pub(super) fn awaited(&self) -> Vec<GatewayKey> {
        let awaited = self.waiting.iter().filter(|(_, waiting)| !waiting.is_empty());
        awaited.map(|(&gateway, _)| gateway).collect()
    }

    /// Ends all pipes that wait for `gateway`.
    pub(super) fn abandon_waiting(&mut self, step: &mut Step<'_>, gateway: GatewayKey) {
        for pipe in self.waiting.remove(&gateway).unwrap_or_default() {
            if self.pipes.get(pipe).is_some() {
                self.fail(step, pipe, Failure::ConnectionLost(CloseReason::LocallyClosed));
            }
        }
    }

    /// Ends the pipes that were not opened in time.
    pub(super) fn handle_timeout(&mut self, step: &mut Step<'_>) {
        while let Some(pipe) = self.overdue.pop_due(step.now) {
            self.fail(step, pipe, Failure::TimedOut);
        }
    }

    // --- streams of QUIC -------------------------------------------------------------------------------------

    pub(super) fn readable(&mut self, step: &mut Step<'_>, conn: ConnId, stream: StreamId) {
        let Some(&pipe) = self.by_stream.get(&(conn, stream)) else { return };
        match self.pipes.get_mut(pipe) {
            Some(Pipe::Started { opening: Some(_), .. }) => self.answered(step, pipe, (conn, stream)),
            Some(Pipe::Started { pump, .. }) => {
                if let Some(direction) = pump.on_readable() {
                    wake(step, pipe, direction);
                }
            }
            Some(Pipe::Waiting(_)) | None => {}
        }
    }

    pub(super) fn writable(&mut self, step: &mut Step<'_>, conn: ConnId, stream: StreamId) {
        let Some(&pipe) = self.by_stream.get(&(conn, stream)) else { return };
        let Some(pump) = self.pipes.get_mut(pipe).and_then(Pipe::pump) else { return };
        if let Some(direction) = pump.on_writable(step.quic) {
            wake(step, pipe, direction);
        }
    }

    pub(super) fn stopped(&mut self, step: &mut Step<'_>, conn: ConnId, stream: StreamId) {
        let Some(&pipe) = self.by_stream.get(&(conn, stream)) else { return };
        let Some(pump) = self.pipes.get_mut(pipe).and_then(Pipe::pump) else { return };
        if let Some(direction) = pump.on_stopped() {
            wake(step, pipe, direction);
        }
    }

    /// A connection has ended, and with it the pipes on it.
    pub(super) fn lost(&mut self, step: &mut Step<'_>, conn: ConnId, reason: &CloseReason) {
        for pipe in self.on(conn).collect::<Vec<_>>() {
            // An end that this side made is meant.
            if *reason != CloseReason::LocallyClosed && self.wish_again(step.quic, pipe) {
                continue;
            }
            match self.pipes.get_mut(pipe) {
                Some(Pipe::Started { pump, opening: None }) => {
                    pump.on_lost();
                    self.by_stream.remove(&(conn, pump.stream()));
                    wake(step, pipe, Direction::Read);
                    wake(step, pipe, Direction::Write);
                }
                Some(_) => self.fail(step, pipe, Failure::ConnectionLost(reason.clone())),
                None => {}
            }
        }
    }

    /// A connection is of no use any more: what was asked for over it, and has not been answered, is asked for
    /// over the next one.
    pub(super) fn move_on(&mut self, quic: &mut Endpoint, conn: ConnId) {
        for pipe in self.on(conn).collect::<Vec<_>>() {
            self.wish_again(quic, pipe);
        }
    }

    /// Takes back an OPEN that was not answered and that no byte has followed, to send it over another connection;
    /// whether that may be.
    fn wish_again(&mut self, quic: &mut Endpoint, pipe: PipeId) -> bool {
        let Some(entry) = self.pipes.get_mut(pipe) else { return false };
        let Pipe::Started { pump, opening: Some(Opening { reader, wish }) } = entry else { return false };
        if wish.unlucky || pump.has_begun() || !reader.is_fresh() {
            return false;
        }
        let wish = Wish { unlucky: true, ..wish.clone() };
        pump.close(quic);
        self.by_stream.remove(&(pump.conn(), pump.stream()));
        self.left.push(pump.conn());
        self.waiting.entry(wish.gateway).or_default().push_back(pipe);
        *entry = Pipe::Waiting(wish);
        true
    }

    // --- what an application does with a pipe ----------------------------------------------------------------

    pub(super) fn read(&mut self, quic: &mut Endpoint, pipe: PipeId, buf: &mut [u8]) -> Read {
        match self.pipes.get_mut(pipe) {
            Some(Pipe::Started { pump, opening: None }) => pump.read(quic, buf),
            Some(_) => Read::Blocked,
            None => Read::Reset,
        }
    }

    pub(super) fn write(&mut self, quic: &mut Endpoint, pipe: PipeId, bytes: &[u8]) -> Write {
        match self.pipes.get_mut(pipe) {
            Some(Pipe::Started { pump, .. }) => pump.write(quic, bytes),
            Some(Pipe::Waiting(wish)) if !wish.finished => Write::Blocked,
            Some(Pipe::Waiting(_)) | None => Write::Closed,
        }
    }

    /// A pipe that has no stream yet remembers it: who only listens may say so at once.
    pub(super) fn finish(&mut self, quic: &mut Endpoint, pipe: PipeId) {
        match self.pipes.get_mut(pipe) {
            Some(Pipe::Started { pump, .. }) => pump.finish(quic),
            Some(Pipe::Waiting(wish)) => wish.finished = true,
            None => {}
        }
    }

    pub(super) fn close(&mut self, quic: &mut Endpoint, pipe: PipeId) {
        self.overdue.cancel(pipe);
        let Some(mut entry) = self.pipes.remove(pipe) else { return };
        match &mut entry {
            Pipe::Waiting(wish) => {
                if let Some(waiting) = self.waiting.get_mut(&wish.gateway) {
                    waiting.retain(|&other| other != pipe);
                }
            }
            Pipe::Started { pump, .. } => {
                pump.close(quic);
                self.by_stream.remove(&(pump.conn(), pump.stream()));
                self.left.push(pump.conn());
            }
        }
    }
}

fn wake(step: &mut Step<'_>, pipe: PipeId, direction: Direction) {
    step.out.push_back(Event::Effect(Effect::Wake { pipe, direction }));
}
