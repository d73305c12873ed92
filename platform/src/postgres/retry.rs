//! Trying again what collided with somebody else's work.

use std::time::Duration;

use super::SqlError;
use crate::trust::random;

/// How often a transaction is tried.
const TRIES: u32 = 6;

/// The pause after the first collision; it doubles.
const PAUSE: Duration = Duration::from_millis(20);

/// The attempts at one transaction.
#[derive(Debug, Default)]
pub(super) struct Tries(u32);

impl Tries {
    /// Whether to try again after `error`: waits for a moment, at random, if so.
    pub(super) async fn again(&mut self, error: &SqlError) -> bool {
        self.0 += 1;
        if self.0 >= TRIES || !error.is_collision() {
            return false;
        }
        let longest = PAUSE * 2_u32.pow(self.0);
        let share = f64::from(u16::from_be_bytes(random())) / f64::from(u16::MAX);
        tokio::time::sleep(longest.mul_f64(0.25 + 0.75 * share)).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn collisions_are_tried_again_and_not_for_ever() {
        let collision = SqlError::Refused { code: "40P01".into(), message: "deadlock detected".into() };
        let mut tries = Tries::default();
        let mut count = 1;
        while tries.again(&collision).await {
            count += 1;
        }
        assert_eq!(count, TRIES);
        assert!(!Tries::default().again(&SqlError::Interrupted("x".into())).await);
    }
}
