//! What is written while a password changes: claims, the password before it counts, and the outcome.
//!
//! Each write names the number of the claim; one that is somebody else's by now changes nothing.

use sqlx::Any;

use super::{current_place, pending_place};
use crate::store::{Change, Store, StoreError, to_row};

/// At most `limit` rotations of every organisation that are due and that nobody works on, those that are due longest
/// first; organisation, id and how often it was claimed. What older epochs began waits until its organisation confirms.
///
/// # Errors
/// Those of the database.
pub async fn due(store: &Store, limit: u32) -> Result<Vec<(String, String, i64)>, StoreError> {
    let statement = "SELECT r.organisation, r.id, r.claim FROM rotations r JOIN organisations o ON o.id = r.organisation \
        WHERE r.next_at <= $1 AND r.claim_until <= $1 AND (r.epoch = $2 OR o.confirmed_epoch = $2) \
        ORDER BY r.next_at, r.id LIMIT $3";
    let query = sqlx::query_as::<Any, (String, String, i64)>(statement).bind(store.now());
    let query = query.bind(&store.installation().epoch).bind(i64::from(limit));
    Ok(query.fetch_all(store.reader()).await?)
}

/// Claims a rotation, which was claimed `known` times when it was looked at, for this platform instance until `until`.
/// The number of the claim; `None` where another one has it, or has had it since: what was seen need not be so any more.
///
/// # Errors
/// Those of the database.
pub async fn claim(
    store: &Store,
    organisation: &str,
    id: &str,
    known: i64,
    until: u64,
) -> Result<Option<i64>, StoreError> {
    let mut change = store.unaudited_change(organisation).await?;
    let now = change.now();
    let statement = "UPDATE rotations SET claim_owner = $3, claim_until = $4, claim = claim + 1 \
        WHERE organisation = $1 AND id = $2 AND claim_until <= $5 AND claim = $6 RETURNING claim";
    let update = sqlx::query_scalar::<Any, i64>(statement).bind(organisation).bind(id);
    let update = update.bind(store.instance().to_owned()).bind(to_row(until)).bind(now).bind(known);
    let claim = update.fetch_optional(change.connection()).await?;
    change.commit().await?;
    Ok(claim)
}

/// Notes the password that the user with the index `user` is about to be given. Until its outcome is noted, work on the
/// rotation is due as soon as the claim has run out. `false` where the claim is somebody else's by now.
///
/// # Errors
/// Those of the database.
pub async fn begin(
    change: &mut Change,
    id: &str,
    claim: i64,
    user: usize,
    password: &str,
) -> Result<bool, StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let store = change.store().clone();
    let sealed = store.sealer().seal(&pending_place(&organisation, id), password.as_bytes());
    let statement = "UPDATE rotations SET sealed_pending = $4, pending_user_index = $5, epoch = $6, next_at = $7 \
        WHERE organisation = $1 AND id = $2 AND claim = $3 AND sealed_pending = ''";
    let update = sqlx::query(statement).bind(&organisation).bind(id).bind(claim).bind(sealed);
    let update = update.bind(i64::try_from(user).unwrap_or(0)).bind(&store.installation().epoch).bind(now);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// The pending password counts from now on: a login has shown it. The next turn is due at `next_at`, and the claim is
/// given up. `false` where it is somebody else's by now.
///
/// # Errors
/// Those of the database.
pub async fn settle(
    change: &mut Change,
    id: &str,
    claim: i64,
    password: &str,
    next_at: u64,
) -> Result<bool, StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let place = current_place(&organisation, id);
    let sealed = change.store().sealer().seal(&place, password.as_bytes());
    let statement = "UPDATE rotations SET sealed_current = $4, current_user_index = pending_user_index, \
        sealed_pending = '', turns = turns + 1, rotated_at = $5, next_at = $6, claim_owner = '', claim_until = 0, \
        attempts = 0, failing_since = 0, error = '' \
        WHERE organisation = $1 AND id = $2 AND claim = $3 AND sealed_pending <> ''";
    let update = sqlx::query(statement).bind(&organisation).bind(id).bind(claim).bind(sealed);
    let update = update.bind(now).bind(to_row(next_at));
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// What is known of a turn that failed.
#[derive(Debug)]
pub struct Failure<'a> {
    /// Whether the pending password was given to nobody, for certain: it is forgotten then.
    pub nothing_was_done: bool,
    /// What went wrong; never with a password.
    pub error: &'a str,
    /// When it is tried again.
    pub next_at: u64,
}

/// Notes that a turn failed, and gives the claim up.
///
/// # Errors
/// Those of the database.
pub async fn fail(
    change: &mut Change,
    id: &str,
    claim: i64,
    failure: &Failure<'_>,
) -> Result<(), StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let statement = "UPDATE rotations SET attempts = attempts + 1, error = $4, next_at = $5, \
        failing_since = CASE WHEN failing_since = 0 THEN $6 ELSE failing_since END, \
        sealed_pending = CASE WHEN $7 = 1 THEN '' ELSE sealed_pending END, claim_owner = '', claim_until = 0 \
        WHERE organisation = $1 AND id = $2 AND claim = $3";
    let update = sqlx::query(statement).bind(organisation).bind(id).bind(claim).bind(failure.error);
    let update = update.bind(to_row(failure.next_at)).bind(now).bind(i64::from(failure.nothing_was_done));
    update.execute(change.connection()).await?;
    Ok(())
}
