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

use std::future::Future;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::Notify;

pub(crate) use reading::credentials;
pub(crate) use turn::{GRACE, turn};
pub(crate) use worker::work;

use crate::api::App;
use crate::api::problem::{Code, Problem};
use crate::postgres::{Login, SqlError};
use crate::store::{StoreError, databases, links};

/// What the rotations of one platform instance share.
#[derive(Debug, Default)]
pub struct Rotations {
    /// Rung when there is something to do.
    bell: Notify,
    /// Rung when a turn has ended.
    ended: Notify,
}

/// Why a password did not change, or is not known to have.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// Somebody else changes it.
    #[error("another request or platform instance works on it")]
    Busy,
    /// What is to be changed has gone.
    #[error("it has gone")]
    Gone,
    /// No link allows the target through the gateway.
    #[error("no link of the project {0} allows {1} through the gateway {2}")]
    Unlinked(String, String, String),
    /// It contradicts something else.
    #[error("{0}")]
    Refused(String),
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error.into(),
            Failure::Sql(error) => error.into(),
            Failure::Busy => {
                Self::conflict("The password is being changed already; look again.").retry_after(1)
            }
            Failure::Gone => Self::not_found("object"),
            Failure::Unlinked(project, target, gateway) => unlinked(&project, &target, &gateway),
            Failure::Refused(text) => Self::conflict(text),
        }
    }
}

/// No link of `project` allows `target` through `gateway`.
pub(crate) fn unlinked(project: &str, target: &str, gateway: &str) -> Problem {
    let detail = format!(
        "No link of the project {project} allows {target} through the gateway {gateway}. An administrator adds one: \
         adit links add {project} {gateway} {target}"
    );
    Problem::new(Code::UnknownTarget, detail)
}

/// Whether the link from the database's project to its gateway allows its server.
pub(crate) async fn linked(app: &App, database: &databases::Row) -> Result<(), Failure> {
    let (it, target) = (database, database.target());
    match links::allows(&app.store, &it.organisation, &it.project_id, &it.gateway_id, &target).await? {
        true => Ok(()),
        false => Err(Failure::Unlinked(it.project.clone(), target, it.gateway.clone())),
    }
}

/// Does `work` to its end, even when whoever waits for it goes away.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => Err(Problem::internal(error)),
    }
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
