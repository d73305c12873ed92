//! One end of a byte stream outside the tunnel: an application at a connector, or a target at a gateway.
//!
//! A party moves bytes between itself and a pipe exactly as a driver would move them for a TCP connection: it reads
//! until it is blocked or has no room, writes until it is blocked or has nothing, finishes when it has said
//! everything, and closes the pipe when both directions have ended.

use std::time::{Duration, Instant};

use adit_core::io::{PipeId, Read, Write};

use crate::machine::Driven;

/// Names one end of a byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream(pub(crate) usize);

/// How a direction of a stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order: everything arrived.
    Finished,
    /// It was cut off.
    Reset,
}

/// One end of a byte stream, with everything that it said and heard.
#[derive(Debug)]
pub struct Party {
    heard: Vec<u8>,
    script: Vec<u8>,
    said: usize,
    manners: Manners,
    heard_end: Option<End>,
    said_end: Option<End>,
    closed: bool,
    pace: Option<Pace>,
    last: Instant,
    stall: Duration,
}

/// How fast somebody reads.
#[derive(Debug, Clone, Copy)]
struct Pace {
    bytes_per_second: u64,
    /// Reads no more before that.
    rests: Instant,
    /// For when the next reading was planned.
    planned: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    /// Says its script and finishes; or goes on when the script grows, if it is not to finish yet.
    Says { finish: bool },
    /// Says what it heard.
    Echoes,
    /// Says nothing, and finishes when the other end has.
    Listens,
    /// Says nothing, reads until its buffer is full, and hangs up when nobody is there any more.
    Hangs,
    /// Hangs up after it heard that many bytes, or the end.
    Breaks(usize),
}

impl Party {
    /// The most that an echo holds before it reads no more, and that anybody reads at once.
    const BUFFER: usize = 64 * 1024;

    pub(crate) fn sender(now: Instant, script: Vec<u8>) -> Self {
        Self::new(now, script, Manners::Says { finish: true })
    }

    pub(crate) fn talker(now: Instant) -> Self {
        Self::new(now, Vec::new(), Manners::Says { finish: false })
    }

    pub(crate) fn echo(now: Instant) -> Self {
        Self::new(now, Vec::new(), Manners::Echoes)
    }

    pub(crate) fn sink(now: Instant) -> Self {
        Self::new(now, Vec::new(), Manners::Listens)
    }

    pub(crate) fn breaking(now: Instant, limit: usize) -> Self {
        Self::new(now, Vec::new(), Manners::Breaks(limit))
    }

    pub(crate) fn hanging(now: Instant) -> Self {
        Self::new(now, Vec::new(), Manners::Hangs)
    }

    /// A sink that reads at most that many bytes per second.
    pub(crate) fn slow(now: Instant, bytes_per_second: u64) -> Self {
        let pace = Pace { bytes_per_second: bytes_per_second.max(1), rests: now, planned: None };
        Self { pace: Some(pace), ..Self::sink(now) }
    }

    fn new(now: Instant, script: Vec<u8>, manners: Manners) -> Self {
        Self {
            heard: Vec::new(),
            script,
            said: 0,
            manners,
            heard_end: None,
            said_end: None,
            closed: false,
            pace: None,
            last: now,
            stall: Duration::ZERO,
        }
    }

    /// What it was to say; a prefix of it was said.
    pub fn sent(&self) -> &[u8] {
        if self.manners == Manners::Echoes { &self.heard } else { &self.script }
    }

    /// How many bytes of it were taken by the pipe.
    pub fn said(&self) -> usize {
        self.said
    }

    /// What it heard so far.
    pub fn received(&self) -> &[u8] {
        &self.heard
    }

    /// How the other end's bytes have ended.
    pub fn heard_end(&self) -> Option<End> {
        self.heard_end
    }

    /// How its own bytes have ended. `Finished` means that it said everything, not that it was heard.
    pub fn said_end(&self) -> Option<End> {
        self.said_end
    }

    /// Whether it is over, one way or the other.
    pub fn is_over(&self) -> bool {
        self.closed
    }

    /// The longest time without a byte in either direction, while there was something to wait for.
    pub fn longest_stall(&self) -> Duration {
        self.stall
    }

    /// Says `bytes` as well.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.script.extend_from_slice(bytes);
    }

    /// Finishes when everything was said.
    pub(crate) fn finish(&mut self) {
        if let Manners::Says { finish } = &mut self.manners {
            *finish = true;
        }
    }

    /// Its machine is no more.
    pub(crate) fn cut(&mut self) {
        self.heard_end.get_or_insert(End::Reset);
        self.said_end.get_or_insert(End::Reset);
        self.closed = true;
    }

    /// Moves bytes both ways until nothing moves.
    pub(crate) fn pump(&mut self, now: Instant, machine: &mut dyn Driven, pipe: PipeId) {
        while !self.closed {
            let moved = self.hear(now, machine, pipe) | self.speak(now, machine, pipe);
            if moved {
                self.stall = self.stall.max(now.duration_since(self.last));
                self.last = now;
            }
            if self.is_fed_up()
                || self.heard_end == Some(End::Reset)
                || (self.heard_end.is_some() && self.said_end.is_some())
            {
                machine.pipe_close(now, pipe);
                self.heard_end.get_or_insert(End::Reset);
                self.said_end.get_or_insert(End::Reset);
                self.closed = true;
            }
            if !moved {
                return;
            }
        }
    }

    /// When it reads on by itself: told once for each time.
    pub(crate) fn resumes(&mut self) -> Option<Instant> {
        let pace = self.pace.as_mut()?;
        let news = !self.closed && self.heard_end.is_none() && pace.planned != Some(pace.rests);
        pace.planned = Some(pace.rests);
        news.then_some(pace.rests)
    }

    fn is_fed_up(&self) -> bool {
        if self.manners == Manners::Hangs {
            return self.said_end.is_some() || self.heard_end == Some(End::Reset);
        }
        let limit = if let Manners::Breaks(limit) = self.manners { limit } else { usize::MAX };
        self.heard.len() >= limit || (limit < usize::MAX && self.heard_end.is_some())
    }

    fn hear(&mut self, now: Instant, machine: &mut dyn Driven, pipe: PipeId) -> bool {
        let room = match self.manners {
            Manners::Echoes if self.said_end.is_none() => Self::BUFFER - (self.heard.len() - self.said),
            Manners::Breaks(limit) => limit.saturating_sub(self.heard.len()),
            Manners::Hangs => Self::BUFFER - self.heard.len(),
            _ => self.pace.map_or(Self::BUFFER, Pace::sip),
        };
        let rests = self.pace.is_some_and(|pace| now < pace.rests);
        if self.heard_end.is_some() || room == 0 || rests {
            return false;
        }
        let before = self.heard.len();
        self.heard.resize(before + room, 0);
        let read = machine.pipe_read(now, pipe, &mut self.heard[before..]);
        let got = if let Read::Bytes(got) = read { got } else { 0 };
        assert!(
            got <= room && (got > 0 || !matches!(read, Read::Bytes(_))),
            "a read of {got} into {room} bytes"
        );
        self.heard.truncate(before + got);
        if let Some(pace) = &mut self.pace {
            pace.rest(now, got);
        }
        match read {
            Read::Bytes(_) => {}
            Read::Blocked => return false,
            Read::Finished => self.heard_end = Some(End::Finished),
            Read::Reset => self.heard_end = Some(End::Reset),
        }
        true
    }

    fn speak(&mut self, now: Instant, machine: &mut dyn Driven, pipe: PipeId) -> bool {
        if self.said_end.is_some() {
            return false;
        }
        let bytes = &self.sent()[self.said..];
        if bytes.is_empty() {
            return self.hold_or_finish(now, machine, pipe);
        }
        match machine.pipe_write(now, pipe, bytes) {
            Write::Accepted(len) => {
                assert!(len > 0 && len <= bytes.len(), "a write of {len} out of {} bytes", bytes.len());
                self.said += len;
            }
            Write::Blocked => return false,
            Write::Closed => self.said_end = Some(End::Reset),
        }
        true
    }

    fn hold_or_finish(&mut self, now: Instant, machine: &mut dyn Driven, pipe: PipeId) -> bool {
        if self.manners == Manners::Hangs {
            // With nothing to write it asks whether anybody is there.
            let gone = machine.pipe_write(now, pipe, &[]) == Write::Closed;
            self.said_end = gone.then_some(End::Reset);
            return gone;
        }
        let finishes = match self.manners {
            Manners::Says { finish } => finish,
            Manners::Echoes | Manners::Listens => self.heard_end.is_some(),
            Manners::Breaks(_) | Manners::Hangs => false,
        };
        if finishes {
            machine.pipe_finish(now, pipe);
            self.said_end = Some(End::Finished);
        }
        finishes
    }
}

impl Pace {
    /// How much it reads at once: what it reads in a twentieth of a second.
    fn sip(self) -> usize {
        usize::try_from(self.bytes_per_second / 20).unwrap_or(usize::MAX).clamp(1, Party::BUFFER)
    }

    fn rest(&mut self, now: Instant, after: usize) {
        self.rests = now + Duration::from_nanos(after as u64 * 1_000_000_000 / self.bytes_per_second);
    }
}
