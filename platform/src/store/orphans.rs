//! Users on servers that look like leases of nobody: what searches have found, and which search is due.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::{Any, FromRow};

use super::json::word;
use super::{Change, Store, StoreError, of_row, to_row};
use crate::words::{LeaseState, Orphan};

/// Leases that one statement looks up: below what either database takes.
const BATCH: usize = 500;

/// A database whose server is to be searched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The organisation's id.
    pub organisation: String,
    /// The database's id.
    pub database: String,
    /// When it was last searched; 0 for never.
    scanned_at: i64,
}

/// At most `limit` databases, of every organisation, that were not searched for `every`.
///
/// # Errors
/// Those of the database.
pub async fn due(store: &Store, every: Duration, limit: u32) -> Result<Vec<Due>, StoreError> {
    let before = store.now().saturating_sub(to_row(every.as_secs()));
    let statement = "SELECT organisation, id, scanned_at FROM databases WHERE scanned_at <= $1 \
        ORDER BY scanned_at, id LIMIT $2";
    let query = sqlx::query_as::<Any, (String, String, i64)>(statement).bind(before).bind(i64::from(limit));
    let rows = query.fetch_all(store.reader()).await?;
    Ok(rows
        .into_iter()
        .map(|(organisation, database, scanned_at)| Due { organisation, database, scanned_at })
        .collect())
}

/// Takes the search over: one platform instance does. `false` where another one was faster.
///
/// # Errors
/// Those of the database.
pub async fn claim(store: &Store, due: &Due) -> Result<bool, StoreError> {
    let mut change = store.quiet_change(&due.organisation).await?;
    let statement =
        "UPDATE databases SET scanned_at = $4 WHERE organisation = $1 AND id = $2 AND scanned_at = $3";
    let (now, update) = (change.now(), sqlx::query(statement).bind(&due.organisation).bind(&due.database));
    let claimed = update.bind(due.scanned_at).bind(now).execute(change.connection()).await?;
    let claimed = claimed.rows_affected() == 1;
    change.commit().await?;
    Ok(claimed)
}

/// A user that a search has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The user.
    pub username: String,
    /// Why it is suspect, and why it is or is not dropped by itself.
    pub finding: String,
    /// Whether it is provably this installation's.
    pub ours: bool,
}

/// Notes what a search of a server has found, in place of what the one before had.
///
/// # Errors
/// Those of the database.
pub async fn record(store: &Store, due: (&str, &str), found: &[Found]) -> Result<(), StoreError> {
    let (organisation, database) = due;
    let mut change = store.quiet_change(organisation).await?;
    let now = change.now();
    let upsert = "INSERT INTO orphans (organisation, database_id, username, finding, ours, seen_at, seen_again_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (database_id, username) \
        DO UPDATE SET finding = excluded.finding, ours = excluded.ours, seen_again_at = excluded.seen_again_at";
    for Found { username, finding, ours } in found {
        let upsert = sqlx::query(upsert).bind(organisation).bind(database).bind(username).bind(finding);
        upsert.bind(i64::from(*ours)).bind(now).execute(change.connection()).await?;
    }
    let known = "SELECT username FROM orphans WHERE organisation = $1 AND database_id = $2";
    let known = sqlx::query_scalar::<Any, String>(known).bind(organisation).bind(database);
    for username in known.fetch_all(change.connection()).await? {
        if !found.iter().any(|found| found.username == username) {
            forget(&mut change, database, &username).await?;
        }
    }
    change.commit().await
}

/// Forgets a user that is gone.
///
/// # Errors
/// Those of the database.
pub async fn forget(change: &mut Change, database: &str, username: &str) -> Result<(), StoreError> {
    let statement = "DELETE FROM orphans WHERE organisation = $1 AND database_id = $2 AND username = $3";
    let organisation = change.organisation().to_owned();
    let delete = sqlx::query(statement).bind(organisation).bind(database).bind(username);
    delete.execute(change.connection()).await?;
    Ok(())
}

#[derive(FromRow)]
struct Raw {
    database: String,
    username: String,
    finding: String,
    ours: i64,
    seen_at: i64,
}

/// At most `limit` users that the last search of a database's server has found, by name, after the name `after`.
///
/// # Errors
/// Those of the database.
pub async fn all(
    store: &Store,
    organisation: &str,
    database: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<Orphan>, StoreError> {
    let statement = "SELECT d.name AS database, o.username, o.finding, o.ours, o.seen_at FROM orphans o \
        JOIN databases d ON d.id = o.database_id WHERE o.organisation = $1 AND o.database_id = $2 \
        AND o.username > $3 ORDER BY o.username LIMIT $4";
    let query = sqlx::query_as::<Any, Raw>(statement).bind(organisation).bind(database).bind(after);
    let rows = query.bind(i64::from(limit)).fetch_all(store.reader()).await?;
    Ok(rows
        .into_iter()
        .map(|row| Orphan {
            database: row.database,
            username: row.username,
            finding: row.finding,
            ours: row.ours != 0,
            seen_at: of_row(row.seen_at),
        })
        .collect())
}

/// The users of a database that one search after another has found, the first of them at `before` or earlier.
///
/// # Errors
/// Those of the database.
pub async fn seen_since(
    store: &Store,
    organisation: &str,
    database: &str,
    before: u64,
) -> Result<Vec<String>, StoreError> {
    let statement = "SELECT username FROM orphans WHERE organisation = $1 AND database_id = $2 AND ours = 1 \
        AND seen_at <= $3 AND seen_again_at > seen_at ORDER BY username";
    let query = sqlx::query_scalar::<Any, String>(statement).bind(organisation).bind(database);
    Ok(query.bind(to_row(before)).fetch_all(store.reader()).await?)
}

/// Whose a lease is that a mark on a server names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// It has ended, or nothing is known of it.
    Nobody,
    /// It lives.
    Lives,
    /// It is another organisation's, whose searches see to it.
    Other,
}

/// Whose the lease with this id is: one of [`holders`].
///
/// # Errors
/// Those of the database.
pub async fn holder(store: &Store, organisation: &str, lease: &str) -> Result<Holder, StoreError> {
    let mut holders = holders(store, organisation, &[lease]).await?;
    Ok(holders.remove(lease).unwrap_or(Holder::Nobody))
}

/// Whose the leases with these ids are; those of which nothing is known are not among them. A server may serve several
/// organisations, and its users say nothing of them: this looks through all of them, and tells no more than that.
///
/// # Errors
/// Those of the database.
pub async fn holders(
    store: &Store,
    organisation: &str,
    leases: &[&str],
) -> Result<BTreeMap<String, Holder>, StoreError> {
    let mut holders = BTreeMap::new();
    for batch in leases.chunks(BATCH) {
        let places: Vec<_> = (1..=batch.len()).map(|number| format!("${number}")).collect();
        let statement =
            format!("SELECT id, organisation, state FROM leases WHERE id IN ({})", places.join(", "));
        let mut query = sqlx::query_as::<Any, (String, String, String)>(sqlx::AssertSqlSafe(statement));
        for lease in batch {
            query = query.bind(*lease);
        }
        for (id, owner, state) in query.fetch_all(store.reader()).await? {
            holders.insert(id, held(organisation, &owner, word(&state)?));
        }
    }
    Ok(holders)
}

fn held(organisation: &str, owner: &str, state: LeaseState) -> Holder {
    match state {
        LeaseState::Creating | LeaseState::Active | LeaseState::Revoking => Holder::Lives,
        _ if owner != organisation => Holder::Other,
        _ => Holder::Nobody,
    }
}

/// Whether the leases and marks of older epochs are this organisation's to end.
///
/// # Errors
/// Those of the database.
pub async fn confirmed(store: &Store, organisation: &str) -> Result<bool, StoreError> {
    let statement = "SELECT confirmed_epoch FROM organisations WHERE id = $1";
    let query = sqlx::query_scalar::<Any, String>(statement).bind(organisation);
    let confirmed = query.fetch_optional(store.reader()).await?;
    Ok(confirmed.is_some_and(|confirmed| confirmed == store.installation().epoch))
}
