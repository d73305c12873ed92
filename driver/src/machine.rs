//! What all machines have in common, for the code that drives any of them. The machines have inherent methods of
//! the same names; nobody else should need these traits.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::task::Waker;
use std::time::Instant;

use adit_core::io::{
    Completion, Datagrams, Effect, Forwards, LinkId, PipeId, Read, SocketId, Transmit, Write,
};
use adit_core::time::{Deadline, UnixTime};

/// A protocol machine: see the documentation of `adit_core` for what each method promises.
pub trait Machine {
    /// What the machine tells: effects to carry out, and news of its life.
    type Event;
    /// What may go to another machine of its kind, in another hub: a client of one shard of a relay to another. Most
    /// machines are alone: `Infallible`.
    type Guest: Send;

    /// A batch of datagrams from one source.
    fn handle_datagrams(&mut self, now: Instant, batch: Datagrams<'_>, out: &mut Forwards);
    /// A TCP connection has come to a listener. The machine gives it an identifier, or refuses it: then it is reset.
    /// Most machines listen nowhere.
    fn accept(
        &mut self,
        _now: Instant,
        _listener: SocketId,
        _local: SocketAddr,
        _remote: SocketAddr,
    ) -> Option<LinkId> {
        None
    }
    /// Bytes of a link.
    fn handle_bytes(&mut self, now: Instant, link: LinkId, bytes: &[u8]);
    /// The world's answer to an effect.
    fn handle_completion(&mut self, now: Instant, done: Completion);
    /// The wall clock was set, or the machine slept.
    fn handle_clock(&mut self, now: Instant, unix: UnixTime);
    /// Time passed.
    fn handle_timeout(&mut self, now: Instant);
    /// The next datagrams to send.
    fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: NonZeroUsize,
        out: &mut Vec<u8>,
    ) -> Option<Transmit>;
    /// The next event.
    fn poll_event(&mut self) -> Option<Self::Event>;
    /// When to call `handle_timeout` next.
    fn poll_timeout(&self) -> Option<Deadline>;
    /// The effect inside of an event.
    ///
    /// # Errors
    /// The event itself, when it is not for the driver but for the application.
    fn effect(event: Self::Event) -> Result<Effect, Self::Event>;
    /// What leaves the machine with an event.
    ///
    /// # Errors
    /// The event itself, when nothing leaves with it.
    fn depart(&mut self, event: Self::Event) -> Result<Leaving<Self::Guest>, Self::Event> {
        Err(event)
    }
    /// Takes in what has left another machine. A connection that comes with it is delivered under the identifier that is
    /// returned, and reset where there is none.
    fn arrive(&mut self, _now: Instant, _guest: Self::Guest) -> Option<LinkId> {
        None
    }
    /// Adds whom to wake: those who wait for the machine itself, not for a pipe, and whose answer is there; all of them
    /// when the hub has `closed`. Most machines have nobody waiting.
    fn take_wakers(&mut self, _closed: bool, _wakers: &mut Vec<Waker>) {}
}

/// Something that leaves a machine.
#[derive(Debug)]
pub struct Leaving<G> {
    /// The index of the hub that it goes to.
    pub to: u8,
    /// The connection that goes with it.
    pub link: Option<LinkId>,
    /// What goes; nothing where the machine has it no more.
    pub guest: Option<G>,
}

/// A machine with byte streams in it: a gateway or a connector.
pub trait Pipes: Machine {
    /// Moves bytes out of the pipe.
    fn pipe_read(&mut self, now: Instant, pipe: PipeId, buffer: &mut [u8]) -> Read;
    /// Moves bytes into the pipe.
    fn pipe_write(&mut self, now: Instant, pipe: PipeId, bytes: &[u8]) -> Write;
    /// No more bytes will be written.
    fn pipe_finish(&mut self, now: Instant, pipe: PipeId);
    /// Forgets the pipe.
    fn pipe_close(&mut self, now: Instant, pipe: PipeId);
}
