//! The one place that reads the clocks and the system's source of randomness.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use adit_core::rand::Seed;
use adit_core::time::Clock;

/// The present time since the epoch. A clock that stands before the epoch says 0.
pub fn unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The clock of a new machine, and the present instant.
pub fn clock() -> (Clock, Instant) {
    let now = Instant::now();
    (Clock::new(now, unix()), now)
}

/// A seed from the operating system.
///
/// # Panics
/// When the system has no randomness to give: no key made without it would be worth anything.
pub fn random_seed() -> Seed {
    let mut seed = Seed::default();
    aws_lc_rs::rand::fill(&mut seed).expect("the operating system gives randomness");
    seed
}
