//! What work is due, and who does it. A claim has an end: when the platform instance that has it is gone, another one
//! takes over then.

use std::time::Duration;

use sqlx::Any;

use super::super::json::to_word;
use super::super::{INSTALLATION, Store, StoreError, of_row, to_row};
use super::changes::Claim;
use super::{Raw, Row, SELECT};

/// At most `limit` leases on which work is due and nobody works, of every organisation, those that are due longest
/// first; none on the databases `busy`. What older epochs made waits until its organisation confirms.
///
/// # Errors
/// Those of the database.
pub async fn due(store: &Store, busy: &[String], limit: u32) -> Result<Vec<Row>, StoreError> {
    let mut statement = format!(
        "{SELECT} JOIN organisations o ON o.id = l.organisation \
         WHERE l.due_at > 0 AND l.due_at <= $1 AND l.claim_until <= $1 \
         AND (l.epoch = $2 OR o.confirmed_epoch = $2)"
    );
    for number in 0..busy.len() {
        statement.push_str(&format!(" AND l.database_id <> ${}", number + 4));
    }
    statement.push_str(" ORDER BY l.due_at, l.id LIMIT $3");
    let mut query = sqlx::query_as::<Any, Raw>(sqlx::AssertSqlSafe(statement))
        .bind(store.now())
        .bind(&store.installation().epoch)
        .bind(i64::from(limit));
    for database in busy {
        query = query.bind(database);
    }
    query.fetch_all(store.reader()).await?.into_iter().map(Raw::row).collect()
}

/// Claims a lease as `row` has it, for `time`. `None` where somebody else was faster, or works on it.
///
/// # Errors
/// Those of the database.
pub async fn claim(store: &Store, row: &Row, time: Duration) -> Result<Option<Claim>, StoreError> {
    let mut change = store.unaudited_change(&row.organisation).await?;
    let statement = "UPDATE leases SET claim_owner = $4, claim_until = $5, claim = claim + 1 \
        WHERE organisation = $1 AND id = $2 AND claim = $3 AND claim_until <= $6 \
        AND state = $7 AND state IN ('creating', 'active', 'revoking')";
    let (now, until) = (change.now(), change.now().saturating_add(to_row(time.as_secs())));
    let update = sqlx::query(statement).bind(&row.organisation).bind(&row.id).bind(row.claim);
    let update = update.bind(store.instance()).bind(until).bind(now).bind(to_word(row.lease.state));
    let claimed = update.execute(change.connection()).await?.rows_affected() == 1;
    change.commit().await?;
    Ok(claimed.then(|| Claim { lease: row.id.clone(), number: row.claim + 1 }))
}

/// Keeps a claim for `time` from now. `false` where it is somebody else's by now, or there is nothing to do any more.
///
/// # Errors
/// Those of the database.
pub async fn keep(
    store: &Store,
    organisation: &str,
    claim: &Claim,
    time: Duration,
) -> Result<bool, StoreError> {
    let mut change = store.quiet_change(organisation).await?;
    let statement = "UPDATE leases SET claim_until = $4 WHERE organisation = $1 AND id = $2 AND claim = $3 \
        AND claim_until > $5 AND state IN ('creating', 'active', 'revoking')";
    let (now, until) = (change.now(), change.now().saturating_add(to_row(time.as_secs())));
    let update = sqlx::query(statement).bind(organisation).bind(&claim.lease).bind(claim.number);
    let kept = update.bind(until).bind(now).execute(change.connection()).await?.rows_affected() == 1;
    change.commit().await?;
    Ok(kept)
}

/// Gives a claim back: others may go on.
///
/// # Errors
/// Those of the database.
pub async fn release(store: &Store, organisation: &str, claim: &Claim) -> Result<(), StoreError> {
    let mut change = store.quiet_change(organisation).await?;
    let statement = "UPDATE leases SET claim_until = 0 WHERE organisation = $1 AND id = $2 AND claim = $3";
    let update = sqlx::query(statement).bind(organisation).bind(&claim.lease).bind(claim.number);
    update.execute(change.connection()).await?;
    change.commit().await
}

/// What is known of one organisation after the store was restored from a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Whether leases of older epochs wait.
    pub paused: bool,
    /// How many those are.
    pub leases: u64,
}

/// Whether leases of older epochs wait in an organisation, and how many.
///
/// # Errors
/// Those of the database.
pub async fn restored(store: &Store, organisation: &str) -> Result<Restored, StoreError> {
    let epoch = &store.installation().epoch;
    let statement = "SELECT confirmed_epoch FROM organisations WHERE id = $1";
    let query = sqlx::query_scalar::<Any, String>(statement).bind(organisation);
    let confirmed = query.fetch_optional(store.reader()).await?;
    if confirmed.is_none_or(|confirmed| confirmed == *epoch) {
        return Ok(Restored { paused: false, leases: 0 });
    }
    let statement = "SELECT COUNT(*) FROM leases WHERE organisation = $1 AND epoch <> $2 \
        AND state IN ('creating', 'active', 'revoking')";
    let query = sqlx::query_scalar::<Any, i64>(statement).bind(organisation).bind(epoch);
    Ok(Restored { paused: true, leases: of_row(query.fetch_one(store.reader()).await?) })
}

/// The names of organisations in which leases of older epochs wait.
///
/// # Errors
/// Those of the database.
pub async fn paused(store: &Store) -> Result<Vec<String>, StoreError> {
    let statement = "SELECT o.name FROM organisations o WHERE o.id <> $1 AND o.confirmed_epoch <> $2 \
        AND EXISTS (SELECT 1 FROM databases d WHERE d.organisation = o.id) ORDER BY o.name LIMIT 100";
    let query = sqlx::query_scalar::<Any, String>(statement).bind(INSTALLATION);
    Ok(query.bind(&store.installation().epoch).fetch_all(store.reader()).await?)
}

/// Lets leases of older epochs end by themselves from now on. `false` where they do already.
///
/// # Errors
/// Those of the database.
pub async fn confirm(change: &mut super::super::Change) -> Result<bool, StoreError> {
    let statement = "UPDATE organisations SET confirmed_epoch = $2 WHERE id = $1 AND confirmed_epoch <> $2";
    let organisation = change.organisation().to_owned();
    let epoch = change.store().installation().epoch.clone();
    let update = sqlx::query(statement).bind(organisation).bind(epoch);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}
