//! Moving bytes on purpose: patterned transfers, something that happens half-way, and waiting for the end.

use std::time::Duration;

use super::World;
use crate::link::Odds;
use crate::party::{Party, Stream};

/// Something to do when a stream has got so far.
pub(crate) struct Watch {
    stream: Stream,
    received: usize,
    act: Box<dyn FnOnce(&mut World)>,
}

/// A transfer that has begun.
pub struct Transfer<'a> {
    world: &'a mut World,
    stream: Stream,
    len: usize,
}

impl<'a> Transfer<'a> {
    /// Picks the point at which that part of the bytes has come back.
    pub fn at(self, part: Odds) -> Point<'a> {
        Point { received: part.of(self.len), transfer: self }
    }
}

/// A point in a transfer.
pub struct Point<'a> {
    transfer: Transfer<'a>,
    received: usize,
}

impl<'a> Point<'a> {
    /// What happens there.
    pub fn then(self, act: impl FnOnce(&mut World) + 'static) -> Transfer<'a> {
        let Self { transfer, received } = self;
        let stream = transfer.stream;
        transfer.world.watches.push(Watch { stream, received, act: Box::new(act) });
        transfer
    }
}

impl World {
    /// The longest that [`run_until_quiet`](Self::run_until_quiet) waits.
    const PATIENCE: Duration = Duration::from_secs(3600);

    /// Says `len` bytes of a pattern into a stream, different for each stream, and finishes it.
    pub fn transfer(&mut self, stream: Stream, len: usize) -> Transfer<'_> {
        let bytes = pattern(stream.0 as u64, len);
        self.say(stream, &bytes);
        self.finish(stream);
        Transfer { world: self, stream, len }
    }

    /// What the application at `stream` was to say.
    pub fn sent(&self, stream: Stream) -> &[u8] {
        self.party(stream).sent()
    }

    /// What the application at `stream` has heard.
    pub fn received(&self, stream: Stream) -> &[u8] {
        self.party(stream).received()
    }

    /// The longest time in which a stream did not move.
    pub fn longest_stall(&self, stream: Stream) -> Duration {
        self.party(stream).longest_stall()
    }

    /// Runs until every stream is over.
    ///
    /// # Panics
    /// After an hour of virtual time, with what still hangs.
    pub fn run_until_quiet(&mut self) {
        if !self.run_until(Self::PATIENCE, Self::all_streams_are_over) {
            let hanging: Vec<_> =
                self.parties().iter().filter(|party| !party.is_over()).map(Progress::of).collect();
            panic!("{} streams hang: {hanging:?}", hanging.len());
        }
    }

    pub(super) fn act_on_watches(&mut self) {
        let mut index = 0;
        while index < self.watches.len() {
            let watch = &self.watches[index];
            if self.received(watch.stream).len() < watch.received {
                index += 1;
            } else {
                let watch = self.watches.remove(index);
                (watch.act)(self);
            }
        }
    }
}

/// What is told of a stream that hangs.
#[derive(Debug)]
#[allow(dead_code, reason = "they are printed")]
struct Progress {
    heard: usize,
    said: usize,
    of: usize,
}

impl Progress {
    fn of(party: &Party) -> Self {
        Self { heard: party.received().len(), said: party.said(), of: party.sent().len() }
    }
}

/// Bytes without a period that a reordering by packets could hide in (xorshift64*).
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let words = std::iter::repeat_with(|| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes()
    });
    let mut bytes: Vec<u8> = words.take(len.div_ceil(8)).flatten().collect();
    bytes.truncate(len);
    bytes
}
