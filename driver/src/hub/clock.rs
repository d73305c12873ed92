//! Whether the wall clock was set, or the machine slept.
//!
//! `Instant` stands still while a machine sleeps and knows nothing of a clock being set; the real-time clock
//! shows both. So the two part in either case, and comparing them is enough.

use std::time::{Duration, Instant};

use adit_core::time::UnixTime;

/// How often the clocks are compared.
const INTERVAL: Duration = Duration::from_secs(1);
/// By how much they must have parted.
const TOLERANCE: Duration = Duration::from_secs(1);

/// The instant and the unix time of the last step, or of the beginning.
#[derive(Debug)]
pub(super) struct ClockWatch {
    base: (Instant, Duration),
    next: Instant,
}

impl ClockWatch {
    pub(super) fn new(now: Instant, unix: Duration) -> Self {
        Self { base: (now, unix), next: now + INTERVAL }
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.next
    }

    /// The new unix time, if there was a step.
    pub(super) fn compare(&mut self, now: Instant, unix: Duration) -> Option<UnixTime> {
        self.next = now + INTERVAL;
        let expected = self.base.1 + now.saturating_duration_since(self.base.0);
        if expected.abs_diff(unix) <= TOLERANCE {
            return None;
        }
        self.base = (now, unix);
        Some(UnixTime(unix.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_once() {
        let start = Instant::now();
        let secs = Duration::from_secs;
        let mut watch = ClockWatch::new(start, secs(1000));
        assert!(!watch.is_due(start) && watch.is_due(start + secs(1)));
        assert_eq!(watch.compare(start + secs(60), secs(1061)), None);
        assert_eq!(watch.compare(start + secs(61), secs(5061)), Some(UnixTime(5061)));
        assert_eq!(watch.compare(start + secs(62), secs(5062)), None);
        assert_eq!(watch.compare(start + secs(63), secs(1063)), Some(UnixTime(1063)));
    }
}
