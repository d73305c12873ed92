//! The wall clock of the platform: one value that everything asks, so that a test can move it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time in unix seconds. Clones tell the same time.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// How far this clock is ahead of the machine's, in seconds.
    ahead: Arc<AtomicU64>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// Unix seconds. A machine whose clock stands before 1970 is in 1970.
    pub fn now(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        since.as_secs().saturating_add(self.ahead.load(Ordering::Relaxed))
    }

    /// Moves this clock, and its clones, ahead of the machine's: time passes at once. For tests.
    pub fn advance(&self, by: Duration) {
        self.ahead.fetch_add(by.as_secs(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_moved_together() {
        let clock = Clock::system();
        let (clone, before) = (clock.clone(), clock.now());
        clock.advance(Duration::from_secs(3600));
        assert!((3600..3660).contains(&(clone.now() - before)));
    }
}
