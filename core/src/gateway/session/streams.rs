//! The streams of all connections, from OPEN to the end of their pipes.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Dialling, Key, Pipe, Sessions, Stream, wake};
use crate::gateway::{Asker, Cause, Event, Step};
use crate::io::{Effect, PipeId, Read, Write};
use crate::quic::{ConnId, Endpoint, StreamId};
use crate::tunnel::{
    Code, Frame, FrameRead, FrameReader, Host, Open, Pump, RejectCode, Target, control_stream,
};
use crate::tunnel::{encode, read_frame};

/// How long a stream may take to say OPEN.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connector may take to give room for REJECT.
const REJECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many addresses of a name are dialled in turn.
const MAX_CANDIDATES: usize = 8;

impl Sessions {
    /// A connector has opened a stream.
    pub(in crate::gateway) fn stream_opened(&mut self, step: &mut Step<'_>, conn: ConnId, stream: StreamId) {
        if stream == control_stream() {
            return self.control_opened(step, conn, stream);
        }
        if self.sessions.get(&conn).is_none_or(|session| session.ending.is_some()) {
            return;
        }
        self.streams.insert((conn, stream), Stream::Opening(FrameReader::default()));
        self.overdue.set((conn, stream), step.now + OPEN_TIMEOUT);
        self.readable(step, conn, stream);
    }

    /// A stream has bytes, or an end.
    pub(in crate::gateway) fn readable(&mut self, step: &mut Step<'_>, conn: ConnId, stream: StreamId) {
        if stream == control_stream() {
            return self.control_ready(step, conn);
        }
        let key = (conn, stream);
        match self.streams.get_mut(&key) {
            Some(Stream::Opening(reader)) => match read_frame(step.quic, key, reader) {
                FrameRead::Blocked => {}
                FrameRead::Frame(Frame::Open(open)) => self.open(step, key, open),
                FrameRead::Ended | FrameRead::Reset => self.abandon(step, key),
                FrameRead::Frame(_) | FrameRead::Malformed => {
                    self.reject(
                        step,
                        key,
                        None,
                        RejectCode::BadRequest,
                        "the stream does not begin with OPEN",
                    );
                }
            },
            Some(Stream::Pipe(pipe)) => {
                let pipe = *pipe;
                if let Some(direction) = self.pipes.get_mut(pipe).and_then(|entry| entry.pump.on_readable()) {
                    wake(step.out, pipe, direction);
                }
            }
            Some(Stream::Resolving { .. } | Stream::Rejecting(_)) => {}
            None => {}
        }
    }

    /// A stream has room.
    pub(in crate::gateway) fn writable(&mut self, step: &mut Step<'_>, conn: ConnId, stream: StreamId) {
        if stream == control_stream() {
            return self.control_ready(step, conn);
        }
        let key = (conn, stream);
        match self.streams.get_mut(&key) {
            Some(Stream::Pipe(pipe)) => {
                let pipe = *pipe;
                let Some(entry) = self.pipes.get_mut(pipe) else { return };
                if let Some(direction) = entry.pump.on_writable(step.quic) {
                    wake(step.out, pipe, direction);
                }
            }
            Some(Stream::Rejecting(_)) => self.flush_rejection(step, key),
            Some(Stream::Opening(_) | Stream::Resolving { .. }) => {}
            None => {}
        }
    }

    /// The connector takes no more bytes of a stream.
    pub(in crate::gateway) fn stopped(&mut self, step: &mut Step<'_>, conn: ConnId, stream: StreamId) {
        if stream == control_stream() {
            return self.end(step, conn, Cause::Protocol);
        }
        let key = (conn, stream);
        match self.streams.get_mut(&key) {
            Some(Stream::Pipe(pipe)) => {
                let pipe = *pipe;
                if let Some(direction) = self.pipes.get_mut(pipe).and_then(|entry| entry.pump.on_stopped()) {
                    wake(step.out, pipe, direction);
                }
            }
            Some(_) => self.abandon(step, key),
            None => {}
        }
    }

    /// Gives up a stream that has no pipe yet, without a word: its connector has left it.
    fn abandon(&mut self, step: &mut Step<'_>, key: Key) {
        self.overdue.cancel(key);
        if let Some(Stream::Resolving { query, .. }) = self.streams.remove(&key) {
            step.queries.remove(query);
        }
        step.quic.stop(key.0, key.1, Code::Reset as u32);
        step.quic.reset(key.0, key.1, Code::Reset as u32);
    }

    /// Streams that took too long, and what has become too old.
    pub(in crate::gateway) fn handle_timeout(&mut self, step: &mut Step<'_>) {
        self.expire(step);
        while let Some(key) = self.overdue.pop_due(step.now) {
            match self.streams.get(&key) {
                Some(Stream::Opening(_)) => {
                    self.reject(step, key, None, RejectCode::BadRequest, "no OPEN came in time");
                }
                Some(Stream::Resolving { query, open, .. }) => {
                    let (query, target) = (*query, open.target.clone());
                    step.queries.remove(query);
                    self.reject(
                        step,
                        key,
                        Some(&target),
                        RejectCode::TimedOut,
                        "the name was not resolved in time",
                    );
                }
                // Streams count, so a connector that gives no room must not keep them.
                Some(Stream::Rejecting(_)) => self.abandon(step, key),
                Some(Stream::Pipe(_)) | None => {}
            }
        }
    }

    // --- targets -------------------------------------------------------------------------------------------

    fn open(&mut self, step: &mut Step<'_>, key: Key, open: Open) {
        let target = open.target.clone();
        if let Err((code, sentence)) = self.judge(step, key.0, &target) {
            return self.reject(step, key, Some(&target), code, sentence);
        }
        let until = step.now + open.deadline.min(self.limits.dial_timeout);
        match &target.host {
            Host::Ip(ip) => self.dial(step, key, target.clone(), VecDeque::from([*ip]), until),
            // Whoever serves it needs no address.
            Host::Name(_) if self.policy.serves(&target) => {
                self.dial(step, key, target, VecDeque::from([Ipv4Addr::UNSPECIFIED.into()]), until);
            }
            Host::Name(name) => {
                let host = name.clone();
                let query = step.queries.insert(Asker::Stream(key.0, key.1));
                step.out.push_back(Event::Effect(Effect::Resolve { query, host }));
                self.streams.insert(key, Stream::Resolving { query, open, until });
                self.overdue.set(key, until);
            }
        }
    }

    /// Whether the connector may have the target, as far as can be told before its name is resolved.
    fn judge(
        &self,
        step: &Step<'_>,
        conn: ConnId,
        target: &Target,
    ) -> Result<(), (RejectCode, &'static str)> {
        let session = self.sessions.get(&conn).filter(|session| session.ending.is_none());
        let session = session.ok_or((RejectCode::BadRequest, "the connection has ended"))?;
        if self.draining {
            return Err((RejectCode::Draining, "the gateway is about to leave; try another or wait"));
        }
        if step.unix() > session.peer.not_after {
            return Err((
                RejectCode::Draining,
                "the connector's certificate has expired; connect with a new one",
            ));
        }
        if session.allowed.as_ref().is_some_and(|allowed| !allowed.contains(target)) {
            return Err((RejectCode::Denied, "the connector's certificate does not name this target"));
        }
        if !self.policy.may_resolve(&session.peer.identity, target) {
            return Err((RejectCode::Denied, "the gateway's operator has not allowed this target"));
        }
        if self.streams.len() > self.limits.streams {
            return Err((RejectCode::Busy, "the gateway has too many open streams; try again later"));
        }
        Ok(())
    }

    /// The resolver has answered the query of a stream.
    pub(in crate::gateway) fn resolved(
        &mut self,
        step: &mut Step<'_>,
        key: Key,
        result: Result<Vec<IpAddr>, ErrorKind>,
    ) {
        let Some(Stream::Resolving { open, until, .. }) = self.streams.get(&key) else { return };
        let Some(session) = self.sessions.get(&key.0) else { return };
        let (target, until) = (open.target.clone(), *until);
        let addresses = result.unwrap_or_default();
        let allowed: VecDeque<IpAddr> = addresses
            .iter()
            .copied()
            .filter(|&ip| self.policy.allows(&session.peer.identity, &target, ip))
            .take(MAX_CANDIDATES)
            .collect();
        if addresses.is_empty() {
            self.reject(step, key, Some(&target), RejectCode::Dns, "the gateway can't resolve the name");
        } else if allowed.is_empty() {
            let sentence = "the name resolves to an address that the gateway's operator has not allowed";
            self.reject(step, key, Some(&target), RejectCode::Denied, sentence);
        } else {
            self.dial(step, key, target, allowed, until);
        }
    }

    fn dial(
        &mut self,
        step: &mut Step<'_>,
        key: Key,
        target: Target,
        candidates: VecDeque<IpAddr>,
        until: Instant,
    ) {
        self.overdue.cancel(key);
        let pump = Pump::new(key.0, key.1);
        let dialling = Some(Dialling { candidates, until });
        let pipe = self.pipes.insert(Pipe { pump, target, dialling });
        if let Some(age) = self.limits.stream_age {
            self.ages.set(pipe, step.now + age);
        }
        self.streams.insert(key, Stream::Pipe(pipe));
        self.dial_next(step, pipe, ErrorKind::TimedOut);
    }

    /// Dials the next address of a pipe. Where there is none, or no time left, the pipe ends because of `last`.
    fn dial_next(&mut self, step: &mut Step<'_>, pipe: PipeId, last: ErrorKind) {
        let Some(entry) = self.pipes.get_mut(pipe) else { return };
        let Some(dialling) = &mut entry.dialling else { return };
        // One that swallows everything must leave time for those behind it.
        let shares = u32::try_from(dialling.candidates.len()).unwrap_or(u32::MAX).max(1);
        let timeout = dialling.until.saturating_duration_since(step.now) / shares;
        match dialling.candidates.pop_front() {
            Some(ip) if !timeout.is_zero() => {
                let to = SocketAddr::new(ip, entry.target.port);
                step.out.push_back(Event::Effect(Effect::Dial { pipe, to, timeout }));
            }
            _ => self.not_dialled(step, pipe, last),
        }
    }

    /// No address of a target could be reached.
    fn not_dialled(&mut self, step: &mut Step<'_>, pipe: PipeId, last: ErrorKind) {
        let Some(Pipe { pump, target, .. }) = self.pipes.remove(pipe) else { return };
        self.ages.cancel(pipe);
        let (code, sentence) = dial_error(last);
        self.reject(step, (pump.conn(), pump.stream()), Some(&target), code, sentence);
    }

    /// A dial has ended.
    pub(in crate::gateway) fn dialled(
        &mut self,
        step: &mut Step<'_>,
        pipe: PipeId,
        result: Result<SocketAddr, ErrorKind>,
    ) {
        let Some(entry) = self.pipes.get_mut(pipe).filter(|entry| entry.dialling.is_some()) else { return };
        match result {
            Ok(address) => {
                entry.dialling = None;
                step.counters.opened += 1;
                entry.pump.begin(step.quic, &encode(&Frame::Accept(address)));
                let target = entry.target.clone();
                if let Some(session) = self.sessions.get(&entry.pump.conn()) {
                    let peer = session.peer.identity.clone();
                    step.out.push_back(Event::Opened { peer, target, address });
                }
            }
            Err(kind) => self.dial_next(step, pipe, kind),
        }
    }

    /// Answers a stream with REJECT, and ends it.
    fn reject(
        &mut self,
        step: &mut Step<'_>,
        key: Key,
        target: Option<&Target>,
        code: RejectCode,
        sentence: &str,
    ) {
        let Some(session) = self.sessions.get(&key.0) else { return };
        let peer = session.peer.identity.clone();
        step.counters.reject(code);
        step.out.push_back(Event::Rejected {
            peer,
            target: target.cloned(),
            code,
            sentence: sentence.to_owned(),
        });
        step.quic.stop(key.0, key.1, Code::Rejected as u32);
        let frame = Frame::Reject { code, sentence: sentence.to_owned() };
        self.streams.insert(key, Stream::Rejecting(encode(&frame)));
        self.overdue.set(key, step.now + REJECT_TIMEOUT);
        self.flush_rejection(step, key);
    }

    fn flush_rejection(&mut self, step: &mut Step<'_>, key: Key) {
        let Some(Stream::Rejecting(bytes)) = self.streams.get_mut(&key) else { return };
        while !bytes.is_empty() {
            match step.quic.write(key.0, key.1, bytes) {
                Write::Accepted(taken) => drop(bytes.drain(..taken)),
                Write::Blocked => return,
                Write::Closed => break,
            }
        }
        step.quic.finish(key.0, key.1);
        self.overdue.cancel(key);
        self.streams.remove(&key);
    }

    // --- pipes ---------------------------------------------------------------------------------------------

    pub(in crate::gateway) fn pipe_read(
        &mut self,
        quic: &mut Endpoint,
        pipe: PipeId,
        buf: &mut [u8],
    ) -> Read {
        self.pipes.get_mut(pipe).map_or(Read::Reset, |entry| entry.pump.read(quic, buf))
    }

    pub(in crate::gateway) fn pipe_write(
        &mut self,
        quic: &mut Endpoint,
        pipe: PipeId,
        bytes: &[u8],
    ) -> Write {
        self.pipes.get_mut(pipe).map_or(Write::Closed, |entry| entry.pump.write(quic, bytes))
    }

    pub(in crate::gateway) fn pipe_finish(&mut self, quic: &mut Endpoint, pipe: PipeId) {
        if let Some(entry) = self.pipes.get_mut(pipe) {
            entry.pump.finish(quic);
        }
    }

    pub(in crate::gateway) fn pipe_close(&mut self, quic: &mut Endpoint, pipe: PipeId) {
        if let Some(mut entry) = self.pipes.remove(pipe) {
            self.ages.cancel(pipe);
            entry.pump.close(quic);
            self.streams.remove(&(entry.pump.conn(), entry.pump.stream()));
        }
    }
}

/// What a failed dial means to the connector.
fn dial_error(kind: ErrorKind) -> (RejectCode, &'static str) {
    match kind {
        ErrorKind::ConnectionRefused => {
            (RejectCode::Refused, "the target refused the connection: does it listen there?")
        }
        ErrorKind::TimedOut => (RejectCode::TimedOut, "the target did not answer in time"),
        _ => (RejectCode::Unreachable, "the gateway has no route to the target"),
    }
}
