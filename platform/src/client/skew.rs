//! How wrong this machine's clock is.

/// A difference from which on people are told, in seconds.
const TOLERABLE: u64 = 60;

/// The difference between the platform's clock and this machine's. The platform's is taken from answers that were
/// authenticated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skew {
    /// By how many seconds the platform is ahead.
    ahead: i64,
}

impl Skew {
    /// What an answer shows that said `server` and came at `local`, both in unix seconds.
    pub fn between(local: u64, server: u64) -> Self {
        Self { ahead: i64::try_from(i128::from(server) - i128::from(local)).unwrap_or_default() }
    }

    /// The platform's time when this machine's is `local`. Within a few seconds they are taken for the same, since a
    /// request takes its time.
    pub fn correct(self, local: u64) -> u64 {
        match self.ahead.unsigned_abs() {
            0..=5 => local,
            _ => local.saturating_add_signed(self.ahead),
        }
    }

    /// By how many seconds this machine's clock is wrong, where that is too much: positive if it is slow.
    pub fn intolerable(self) -> Option<i64> {
        (self.ahead.unsigned_abs() > TOLERABLE).then_some(self.ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_corrected_and_told() {
        let slow = Skew::between(1_000, 5_000);
        assert_eq!((slow.correct(1_100), slow.intolerable()), (5_100, Some(4_000)));
        let fast = Skew::between(5_000, 1_000);
        assert_eq!((fast.correct(5_100), fast.intolerable()), (1_100, Some(-4_000)));
        assert_eq!(Skew::between(1_000, 1_060).intolerable(), None);
    }

    #[test]
    fn the_time_that_a_request_takes_is_no_skew() {
        assert_eq!(Skew::between(1_000, 1_004).correct(2_000), 2_000);
        assert_eq!(Skew::default().correct(7), 7);
    }
}
