//! Leases: users of dynamic secrets, from the row that is written before anything is done on a server to the one that
//! says that the user is gone.
//!
//! ```text
//!  creating ──▶ active ──▶ revoking ──▶ revoked
//!      │ └────────────────▶ ▲   └─────▶ abandoned
//!      └──▶ failed          unknown outcomes too
//! ```
//!
//! - [`changes`] — from one state to the next, each by comparing the state, and the claim where there is one.
//! - [`due`] — what work is due, and who does it.

pub mod changes;
pub mod due;
mod insert;

use sqlx::{Any, AssertSqlSafe, FromRow};

pub use insert::{Inserted, KEPT, New, by_key, forget_passwords, insert, living_on, place, purge};

use super::json::{to_word, word};
use super::{Store, StoreError, of_row, time_of_row, to_row};
use crate::words::{Lease, LeaseState, Trouble};

/// A lease, and the names of what it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// The organisation's id.
    pub organisation: String,
    /// The secret's id.
    pub secret: String,
    /// The database's id.
    pub database: String,
    /// The project's id.
    pub project: String,
    /// The id of the identity that leased.
    pub identity: String,
    /// The name of the gateway.
    pub gateway_name: String,
    /// The store's epoch in which it was made, or in which somebody asked for its end.
    pub epoch: String,
    /// Whether its user is known to have been there.
    pub made: bool,
    /// Until when a platform instance works on it.
    pub claimed_until: u64,
    /// The number of claims so far.
    pub claim: i64,
    /// How often work on it has failed in a row.
    pub attempts: u32,
    /// Since when it fails.
    pub failing_since: Option<u64>,
    /// Whether it has been called stuck.
    pub stuck: bool,
    /// What the API says of it.
    pub lease: Lease,
}

impl Row {
    /// Whether there is work on it yet: its user may be there.
    pub fn lives(&self) -> bool {
        matches!(self.lease.state, LeaseState::Creating | LeaseState::Active | LeaseState::Revoking)
    }
}

#[derive(FromRow)]
struct Raw {
    id: String,
    organisation: String,
    secret: String,
    secret_name: String,
    database_id: String,
    database_name: String,
    project: String,
    project_name: String,
    identity: String,
    identity_name: String,
    gateway_name: String,
    username: String,
    state: String,
    epoch: String,
    created_at: i64,
    made_at: i64,
    expires_at: i64,
    max_expires_at: i64,
    ended_at: i64,
    reason: String,
    claim_until: i64,
    claim: i64,
    due_at: i64,
    attempts: i64,
    failing_since: i64,
    stuck: i64,
    error: String,
}

/// What a [`Raw`] is made of, up to its conditions.
const SELECT: &str = "SELECT l.id, l.organisation, l.secret, s.name AS secret_name, l.database_id, \
    d.name AS database_name, d.project, p.name AS project_name, l.identity, i.name AS identity_name, \
    g.name AS gateway_name, l.username, l.state, l.epoch, l.created_at, l.made_at, l.expires_at, l.max_expires_at, \
    l.ended_at, l.reason, l.claim_until, l.claim, l.due_at, l.attempts, l.failing_since, l.stuck, l.error \
    FROM leases l JOIN secrets s ON s.id = l.secret JOIN databases d ON d.id = l.database_id \
    JOIN projects p ON p.id = d.project JOIN identities i ON i.id = l.identity \
    JOIN gateways g ON g.id = d.gateway";

/// Those that the identity `$2` sees: its own, and those of the projects that it administers; all where it is empty.
const SEEN: &str = "($2 = '' OR l.identity = $2 OR d.project IN \
    (SELECT project FROM members WHERE organisation = $1 AND identity = $2 AND role = 'admin'))";

impl Raw {
    fn row(self) -> Result<Row, StoreError> {
        let trouble = time_of_row(self.failing_since).map(|since| Trouble {
            since,
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
            error: self.error,
            next_at: of_row(self.due_at),
            stuck: self.stuck != 0,
        });
        let lease = Lease {
            id: self.id.clone(),
            secret: self.secret_name,
            database: self.database_name,
            project: self.project_name,
            identity: self.identity_name,
            username: self.username,
            state: word(&self.state)?,
            created_at: of_row(self.created_at),
            expires_at: of_row(self.expires_at),
            max_expires_at: of_row(self.max_expires_at),
            ended_at: time_of_row(self.ended_at),
            reason: (!self.reason.is_empty()).then_some(self.reason),
            trouble,
        };
        Ok(Row {
            id: self.id,
            organisation: self.organisation,
            secret: self.secret,
            database: self.database_id,
            project: self.project,
            identity: self.identity,
            gateway_name: self.gateway_name,
            epoch: self.epoch,
            made: self.made_at != 0,
            claimed_until: of_row(self.claim_until),
            claim: self.claim,
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX),
            failing_since: time_of_row(self.failing_since),
            stuck: self.stuck != 0,
            lease,
        })
    }
}

/// The lease with this id, where the identity `only` sees it: its own, and those of the projects that it administers.
///
/// # Errors
/// Those of the database.
pub async fn find(
    store: &Store,
    organisation: &str,
    only: Option<&str>,
    id: &str,
) -> Result<Option<Row>, StoreError> {
    let statement = AssertSqlSafe(format!("{SELECT} WHERE l.organisation = $1 AND l.id = $3 AND {SEEN}"));
    let query = sqlx::query_as::<Any, Raw>(statement).bind(organisation).bind(only.unwrap_or_default());
    query.bind(id).fetch_optional(store.reader()).await?.map(Raw::row).transpose()
}

/// Which leases are listed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Which<'a> {
    /// Only those that this identity sees.
    pub only: Option<&'a str>,
    /// Only those of the secret with this id.
    pub secret: Option<&'a str>,
    /// Only those in this state.
    pub state: Option<LeaseState>,
}

/// At most `limit` leases, the newest first, after the one that `after` names, a [`place_in_list`].
///
/// # Errors
/// Those of the database.
pub async fn all(
    store: &Store,
    organisation: &str,
    which: Which<'_>,
    after: Option<(u64, &str)>,
    limit: u32,
) -> Result<Vec<Row>, StoreError> {
    let statement = AssertSqlSafe(format!(
        "{SELECT} WHERE l.organisation = $1 AND {SEEN} AND ($3 = '' OR l.secret = $3) AND ($4 = '' OR l.state = $4) \
         AND (l.created_at < $5 OR (l.created_at = $5 AND l.id > $6)) ORDER BY l.created_at DESC, l.id LIMIT $7"
    ));
    let (before, id) = after.map_or((i64::MAX, ""), |(at, id)| (to_row(at), id));
    let query = sqlx::query_as::<Any, Raw>(statement)
        .bind(organisation)
        .bind(which.only.unwrap_or_default())
        .bind(which.secret.unwrap_or_default())
        .bind(which.state.map(to_word).unwrap_or_default())
        .bind(before)
        .bind(id)
        .bind(i64::from(limit));
    query.fetch_all(store.reader()).await?.into_iter().map(Raw::row).collect()
}

/// What [`all`] goes on after.
pub fn place_in_list(lease: &Lease) -> String {
    format!("{}-{}", lease.created_at, lease.id)
}

/// The place that a text of [`place_in_list`] names.
pub fn read_place_in_list(text: &str) -> Option<(u64, &str)> {
    let (at, id) = text.split_once('-')?;
    Some((at.parse().ok()?, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_list_is_read_as_it_was_written() {
        assert_eq!(read_place_in_list("12-abc"), Some((12, "abc")));
        assert!(read_place_in_list("abc").is_none() && read_place_in_list("x-abc").is_none());
    }
}
