//! With what to log in now.
//!
//! While the one user of a rotation is between two passwords, nobody knows which of them counts: whoever reads then
//! waits for the outcome, but not for long.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::api::App;
use crate::api::problem::{Code, Problem};
use crate::store::{databases, rotations};
use crate::words::{Credentials, RotationMode};

/// For how long whoever reads waits for the outcome of a turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// From one look at the row to the next: another platform instance may do the turn.
const LOOK: Duration = Duration::from_millis(50);

/// The user that counts and its password; both ids.
///
/// # Errors
/// A problem that says when to read again: before the first turn, and while the outcome of one is not known.
pub(crate) async fn credentials(app: &App, organisation: &str, id: &str) -> Result<Credentials, Problem> {
    let until = Instant::now() + PATIENCE;
    loop {
        // Before the row is read, so that no end of a turn is missed.
        let ended = app.rotations.ended.notified();
        let row = rotations::by_id(&app.store, organisation, id).await?;
        let row = row.ok_or_else(|| Problem::not_found("rotation"))?;
        let is_known = row.mode == RotationMode::TwoUser || !row.is_turning();
        if is_known && let Some((username, password)) = row.current(&app.store)? {
            let database = databases::by_id(&app.store, organisation, &row.database_id).await?;
            let database = database.ok_or_else(|| Problem::not_found("database"))?;
            return Ok(Credentials {
                username,
                password: password.to_string(),
                gateway: database.gateway,
                host: database.host,
                port: database.port,
                dbname: database.dbname,
                rotated_at: row.rotated_at.unwrap_or_default(),
                next_at: row.next_at,
            });
        }
        if Instant::now() >= until {
            return Err(not_known(&row));
        }
        // Either is a reason to look again.
        let _ = timeout(LOOK, ended).await;
    }
}

fn not_known(row: &rotations::Row) -> Problem {
    let what = match row.rotated_at {
        None => "No password has been set yet",
        Some(_) => "The password is being changed, and it is not known yet which one counts",
    };
    let why = match row.error.as_str() {
        "" => String::new(),
        error => format!("; the last attempt failed: {error}"),
    };
    let next = match row.error.as_str() {
        "" => "Read again.".to_owned(),
        _ => format!("What is missing tells: adit rotations test {}", row.name),
    };
    Problem::new(Code::Unavailable, format!("{what}{why}. {next}")).retry_after(1)
}
