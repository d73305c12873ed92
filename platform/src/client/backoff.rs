//! How long to wait before the next attempt.

use std::time::Duration;

use crate::trust::random;

/// Pauses that grow, with jitter, so that a thousand clients of a platform that returns don't come all at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses of about `first`, then twice that, and so on, never above `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// The next pause: from half of its nominal length to the whole.
    pub fn pause(&mut self) -> Duration {
        self.pause_by(u16::from_be_bytes(random()))
    }

    /// Something has succeeded: the next pause is a short one again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }

    fn pause_by(&mut self, dice: u16) -> Duration {
        let nominal = self.next;
        self.next = (nominal * 2).min(self.longest);
        nominal / 2 + (nominal / 2).mul_f64(f64::from(dice) / f64::from(u16::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew() {
        let secs = Duration::from_secs;
        let mut backoff = Backoff::new(secs(1), secs(60));
        let pauses: Vec<_> = (0..8).map(|_| backoff.pause_by(u16::MAX)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60].map(secs));
        assert_eq!(backoff.pause_by(0), secs(30));
        backoff.reset();
        assert!((secs(1) / 2..=secs(1)).contains(&backoff.pause()));
    }
}
