//! Rotations: users that stay, and passwords that do not; and the admin user of a database, whose password changes too.
//!
//! ```text
//!  claim ── row: pending ── ALTER ROLE ── a login with it ── row: current
//! ```
//!
//! The password is written before it is given, and counts once a login has shown that it does. Whoever finds one that
//! is pending tries it before anything else, and gives the same one again where it was not given: however often that is
//! interrupted, the platform knows the password that works.
//!
//! - [`schedule`] — when. `turn` — one change of a rotation's user. `root` — one of a database's admin user.
//! - `worker` — who does it when it is due. `reading` — with what to log in, as whoever reads has to know it.

mod reading;
pub(crate) mod root;
pub mod schedule;
mod turn;
mod worker;

use std::time::{Duration, Instant};

use tokio::sync::Notify;

pub(crate) use reading::credentials;
pub(crate) use turn::{GRACE, turn};
pub(crate) use worker::work;

use crate::api::App;
use crate::postgres::{Login, SqlError};
use crate::store::databases;

/// What the rotations of one platform instance share.
#[derive(Debug, Default)]
pub struct Rotations {
    /// Rung when there is something to do.
    bell: Notify,
    /// Rung when a turn has ended.
    ended: Notify,
}

/// Whether the server takes this login. What comes after the password, as the right to connect, does not matter.
async fn try_login(app: &App, database: &databases::Row, login: &Login) -> Result<(), SqlError> {
    match app.servers.session(app, &database.address(), login).await {
        Ok(session) => {
            session.end();
            Ok(())
        }
        // insufficient_privilege, invalid_catalog_name: said to those only whose password is right.
        Err(SqlError::Refused { code, .. }) if code == "42501" || code == "3D000" => Ok(()),
        Err(error) => Err(error),
    }
}

/// What begins now would end after the claim, and so meet whoever has it next.
fn in_time(app: &App, since: Instant) -> Result<(), SqlError> {
    let times = &app.config.times;
    match since.elapsed() + times.work < times.claim {
        true => Ok(()),
        false => Err(SqlError::Unreachable("it took too long until its turn came".to_owned())),
    }
}

/// The pause after so many failures: it grows from a second to `longest`, by no fixed measure.
fn pause(attempts: u32, longest: Duration) -> u64 {
    let grown = 1_u64.checked_shl(attempts.min(32)).unwrap_or(u64::MAX).min(longest.as_secs().max(1));
    let [random] = crate::trust::random::<1>();
    grown - grown * u64::from(random) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_never_to_nothing() {
        let longest = Duration::from_secs(300);
        for attempts in [0, 1, 5, 9, 40, u32::MAX] {
            let pause = pause(attempts, longest);
            assert!((1..=300).contains(&pause), "{attempts}: {pause}");
        }
        assert!(pause(20, longest) > 200 && pause(0, longest) == 1);
        assert_eq!(pause(3, Duration::ZERO), 1);
    }
}
