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
