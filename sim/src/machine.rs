//! What the world asks of a machine, and the box that it keeps one in.

use std::any::Any;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Instant;

use adit_core::io::{
    Completion, Datagrams, Effect, Forwards, LinkId, PipeId, Read, SocketId, Transmit, Write,
};
use adit_core::time::{Deadline, UnixTime};

/// A machine of `adit-core`, or one of a test's own. The methods are those that every machine has.
pub trait Machine: 'static {
    /// What it tells: effects, and news for its application.
    type Event: Debug + 'static;

    /// Takes an event apart.
    ///
    /// # Errors
    /// The event itself, where it is no effect but news.
    fn effect(event: Self::Event) -> Result<Effect, Self::Event>;

    /// Takes datagrams of one source.
    fn handle_datagrams(&mut self, now: Instant, batch: Datagrams<'_>, out: &mut Forwards);
    /// Is offered a TCP connection; `None` refuses it.
    fn accept(
        &mut self,
        _now: Instant,
        _listener: SocketId,
        _local: SocketAddr,
        _remote: SocketAddr,
    ) -> Option<LinkId> {
        None
    }
    /// Takes bytes of a link. Most machines have none.
    fn handle_bytes(&mut self, _now: Instant, _link: LinkId, _bytes: &[u8]) {}
    /// Takes the answer to an effect.
    fn handle_completion(&mut self, now: Instant, done: Completion);
    /// Learns that the wall clock was set.
    fn handle_clock(&mut self, now: Instant, unix: UnixTime);
    /// Learns that time has passed.
    fn handle_timeout(&mut self, now: Instant);
    /// Gives the next datagrams to send.
    fn poll_transmit(&mut self, now: Instant, max: NonZeroUsize, out: &mut Vec<u8>) -> Option<Transmit>;
    /// Gives the next event.
    fn poll_event(&mut self) -> Option<Self::Event>;
    /// Says when to call `handle_timeout`.
    fn poll_timeout(&self) -> Option<Deadline>;

    /// Moves bytes out of a pipe. A machine without pipes knows none.
    fn pipe_read(&mut self, _now: Instant, _pipe: PipeId, _buf: &mut [u8]) -> Read {
        Read::Reset
    }
    /// Moves bytes into a pipe.
    fn pipe_write(&mut self, _now: Instant, _pipe: PipeId, _bytes: &[u8]) -> Write {
        Write::Closed
    }
    /// Says that no more bytes will be written.
    fn pipe_finish(&mut self, _now: Instant, _pipe: PipeId) {}
    /// Forgets a pipe.
    fn pipe_close(&mut self, _now: Instant, _pipe: PipeId) {}
}

/// A machine together with the news that it has told so far.
pub(crate) struct Resident<M: Machine> {
    pub(crate) machine: M,
    pub(crate) news: Vec<M::Event>,
}

impl<M: Machine> Resident<M> {
    pub(crate) fn new(machine: M) -> Self {
        Self { machine, news: Vec::new() }
    }
}

/// A [`Resident`] of any kind.
pub(crate) trait Driven: Any {
    fn handle_datagrams(&mut self, now: Instant, batch: Datagrams<'_>, out: &mut Forwards);
    fn accept(
        &mut self,
        now: Instant,
        listener: SocketId,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<LinkId>;
    fn handle_bytes(&mut self, now: Instant, link: LinkId, bytes: &[u8]);
    fn handle_completion(&mut self, now: Instant, done: Completion);
    fn handle_clock(&mut self, now: Instant, unix: UnixTime);
    fn handle_timeout(&mut self, now: Instant);
    fn poll_transmit(&mut self, now: Instant, max: NonZeroUsize, out: &mut Vec<u8>) -> Option<Transmit>;
    /// The next effect; news on the way to it are kept.
    fn poll_effect(&mut self) -> Option<Effect>;
    fn poll_timeout(&self) -> Option<Deadline>;
    fn pipe_read(&mut self, now: Instant, pipe: PipeId, buf: &mut [u8]) -> Read;
    fn pipe_write(&mut self, now: Instant, pipe: PipeId, bytes: &[u8]) -> Write;
    fn pipe_finish(&mut self, now: Instant, pipe: PipeId);
    fn pipe_close(&mut self, now: Instant, pipe: PipeId);
}

impl<M: Machine> Driven for Resident<M> {
    fn handle_datagrams(&mut self, now: Instant, batch: Datagrams<'_>, out: &mut Forwards) {
        self.machine.handle_datagrams(now, batch, out);
    }
    fn accept(
        &mut self,
        now: Instant,
        listener: SocketId,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<LinkId> {
        self.machine.accept(now, listener, local, remote)
    }
    fn handle_bytes(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
        self.machine.handle_bytes(now, link, bytes);
    }
    fn handle_completion(&mut self, now: Instant, done: Completion) {
        self.machine.handle_completion(now, done);
    }
    fn handle_clock(&mut self, now: Instant, unix: UnixTime) {
        self.machine.handle_clock(now, unix);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.machine.handle_timeout(now);
    }
    fn poll_transmit(&mut self, now: Instant, max: NonZeroUsize, out: &mut Vec<u8>) -> Option<Transmit> {
        self.machine.poll_transmit(now, max, out)
    }
    fn poll_effect(&mut self) -> Option<Effect> {
        loop {
            match M::effect(self.machine.poll_event()?) {
                Ok(effect) => return Some(effect),
                Err(news) => self.news.push(news),
            }
        }
    }
    fn poll_timeout(&self) -> Option<Deadline> {
        self.machine.poll_timeout()
    }
    fn pipe_read(&mut self, now: Instant, pipe: PipeId, buf: &mut [u8]) -> Read {
        self.machine.pipe_read(now, pipe, buf)
    }
    fn pipe_write(&mut self, now: Instant, pipe: PipeId, bytes: &[u8]) -> Write {
        self.machine.pipe_write(now, pipe, bytes)
    }
    fn pipe_finish(&mut self, now: Instant, pipe: PipeId) {
        self.machine.pipe_finish(now, pipe);
    }
    fn pipe_close(&mut self, now: Instant, pipe: PipeId) {
        self.machine.pipe_close(now, pipe);
    }
}
