//! How work on servers is spaced in time: after failures, and before a claim on it runs out.

use std::time::{Duration, Instant};

use crate::api::App;
use crate::postgres::SqlError;
use crate::trust::random;

/// For how many seconds to wait after a failure with so many before it in a row: twice as long each time, from a second
/// to `longest`, and less by up to a quarter at random, so that what failed together is not tried again together.
pub(crate) fn pause(before: u32, longest: Duration) -> u64 {
    pause_by(before, longest, u16::from_be_bytes(random()))
}

fn pause_by(before: u32, longest: Duration, chance: u16) -> u64 {
    let whole = (1_u64 << before.min(20)).min(longest.as_secs()).max(1);
    whole - whole * u64::from(chance) / (4 * u64::from(u16::MAX))
}

/// What begins now under a claim that counts `since` then would end after it, and so meet whoever has it next.
pub(crate) fn in_time(app: &App, since: Instant) -> Result<(), SqlError> {
    let times = &app.config.times;
    match since.elapsed() + times.work < times.claim {
        true => Ok(()),
        false => Err(too_late()),
    }
}

/// The error of work that is not begun any more.
pub(crate) fn too_late() -> SqlError {
    SqlError::Unreachable("it took too long until its turn came".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_are_never_nothing() {
        let longest = Duration::from_secs(300);
        let pauses: Vec<_> = (0..12).map(|before| pause_by(before, longest, 0)).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(pause_by(u32::MAX, longest, u16::MAX), 225);
        assert_eq!(pause_by(0, Duration::ZERO, u16::MAX), 1);
        assert!((225..=300).contains(&pause(40, longest)));
    }
}
