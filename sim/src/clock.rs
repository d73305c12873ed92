//! Virtual time: it begins at a fixed unix time and moves only when the world says so.

use std::time::{Duration, Instant};

use adit_core::time::Clock;

/// The unix time at which every world begins: 2027-01-15T08:00:00Z.
pub const UNIX_START: Duration = Duration::from_secs(1_800_000_000);

/// That many seconds.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The present of a world.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present {
    start: Instant,
    now: Instant,
}

impl Present {
    /// The beginning. There is no other way to make an [`Instant`] than to ask the machine that we run on; nothing
    /// depends on which one it is.
    pub(crate) fn beginning() -> Self {
        let start = Instant::now();
        Self { start, now: start }
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    /// The time that has passed since the beginning.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now.duration_since(self.start)
    }

    /// Moves on to `at`; never back.
    pub(crate) fn advance(&mut self, at: Instant) {
        self.now = self.now.max(at);
    }

    /// The wall clock of a host that is `ahead` of the right time.
    pub(crate) fn wall(&self, ahead: Skew) -> Clock {
        let unix = UNIX_START + self.elapsed();
        Clock::new(self.now, (unix + ahead.forward).saturating_sub(ahead.backward))
    }
}

/// How far the wall clock of a host is from the right time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Skew {
    pub(crate) forward: Duration,
    pub(crate) backward: Duration,
}
