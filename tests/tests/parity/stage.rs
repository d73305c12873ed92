//! What a scenario needs: one relay, one gateway, one connector, some targets, and time.

use std::time::Duration;

use adit_core::tunnel::RejectCode;

/// What the targets of a stage do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// Sends back what it gets, and finishes when the other end has.
    Echo,
    /// Sends [`SOURCE`] bytes and finishes, then listens.
    Source,
    /// The same with [`FLOOD`] bytes.
    Flood,
    /// Only listens.
    Sink,
    /// Does not listen.
    Refuses,
    /// There is no way there.
    Unreachable,
    /// The gateway does not allow it.
    Denied,
}

/// How many bytes [`What::Source`] sends.
pub(crate) const SOURCE: usize = 100_000;
/// How many bytes [`What::Flood`] sends.
pub(crate) const FLOOD: usize = 64 * 1024 * 1024;

/// What a target has heard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Heard {
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: Option<End>,
}

/// How a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Finished,
    Reset,
}

/// A tunnel with everything around it. Calls return when they are done, or panic when that takes too long.
pub(crate) trait Stage {
    /// The connector's end of a stream. Dropping it takes [`Stage::drop`].
    type Stream;

    /// Starts all parts.
    fn start() -> Self;

    fn open(&mut self, what: What) -> Result<Self::Stream, RejectCode>;
    /// Opens a stream, and takes that back before the answer.
    fn wish(&mut self, what: What);
    fn write(&mut self, stream: &mut Self::Stream, bytes: &[u8]);
    fn finish(&mut self, stream: &mut Self::Stream);
    fn read_to_end(&mut self, stream: &mut Self::Stream) -> Result<Vec<u8>, End>;
    fn drop(&mut self, stream: Self::Stream);
    /// On all streams at once: writes everything, finishes, and reads to the end.
    fn exchange(&mut self, streams: Vec<(Self::Stream, Vec<u8>)>) -> Vec<Vec<u8>>;

    /// What the last target has heard, [`What::Echo`] excepted.
    fn heard(&self) -> Heard;
    /// How much [`What::Flood`] could write.
    fn said(&self) -> usize;

    fn shut_down_gateway(&mut self);
    /// Shuts the gateway down and starts it anew; returns when it can be reached.
    fn restart_gateway(&mut self);
    /// Kills the relay and starts it anew; returns when the gateway can be reached again.
    fn restart_relay(&mut self);

    /// How many streams the connector and the gateway have.
    fn streams(&self) -> (usize, usize);
    fn allocations(&self) -> usize;

    fn wait(&mut self, time: Duration);

    /// Lets time pass until `done`.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..12_000 {
            if done(self) {
                return;
            }
            self.wait(Duration::from_millis(5));
        }
        panic!("a minute has passed without this: {what}");
    }

    /// Every stream comes to its end on both sides.
    fn becomes_quiet(&mut self) {
        self.until("no stream is left", |stage| stage.streams() == (0, 0));
    }
}

/// Bytes in which a missing, repeated or moved piece shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
}
