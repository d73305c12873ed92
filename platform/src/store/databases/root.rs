//! What is written while the admin user of a database gets a new password. Each write names the number of the claim.

use sqlx::Any;

use super::{password_place, pending_place};
use crate::store::{Change, Store, StoreError};

/// Keeps every other change of the organisation that does the same waiting until this one ends: what it reads of
/// databases and rotations stays so.
///
/// # Errors
/// Those of the database.
pub async fn alone(change: &mut Change) -> Result<(), StoreError> {
    let organisation = change.organisation().to_owned();
    let statement = "UPDATE organisations SET generation = generation WHERE id = $1";
    sqlx::query(statement).bind(organisation).execute(change.connection()).await?;
    Ok(())
}

/// At most `limit` databases of every organisation whose root rotation nobody works on and has no noted outcome;
/// organisation and id. What older epochs began waits until its organisation confirms.
///
/// # Errors
/// Those of the database.
pub async fn unsettled(store: &Store, limit: u32) -> Result<Vec<(String, String)>, StoreError> {
    let statement = "SELECT d.organisation, d.id FROM databases d JOIN organisations o ON o.id = d.organisation \
        WHERE d.sealed_pending <> '' AND d.claim_until <= $1 AND o.confirmed_epoch = $2 \
        ORDER BY d.claim_until, d.id LIMIT $3";
    let query = sqlx::query_as::<Any, (String, String)>(statement).bind(store.now());
    let query = query.bind(&store.installation().epoch).bind(i64::from(limit));
    Ok(query.fetch_all(store.reader()).await?)
}

/// Notes the password that the admin user is about to be given. `false` where the claim is somebody else's by now.
///
/// # Errors
/// Those of the database.
pub async fn begin(change: &mut Change, id: &str, claim: i64, password: &str) -> Result<bool, StoreError> {
    let organisation = change.organisation().to_owned();
    let place = pending_place(&organisation, id);
    let sealed = change.store().sealer().seal(&place, password.as_bytes());
    let statement = "UPDATE databases SET sealed_pending = $4 \
        WHERE organisation = $1 AND id = $2 AND claim = $3 AND sealed_pending = ''";
    let update = sqlx::query(statement).bind(&organisation).bind(id).bind(claim).bind(sealed);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// The pending password counts from now on: a login has shown it. The claim is given up. `false` where it is somebody
/// else's by now.
///
/// # Errors
/// Those of the database.
pub async fn settle(change: &mut Change, id: &str, claim: i64, password: &str) -> Result<bool, StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let place = password_place(&organisation, id);
    let sealed = change.store().sealer().seal(&place, password.as_bytes());
    let statement = "UPDATE databases SET sealed_password = $4, sealed_pending = '', rotated_at = $5, \
        claim_owner = '', claim_until = 0 \
        WHERE organisation = $1 AND id = $2 AND claim = $3 AND sealed_pending <> ''";
    let update = sqlx::query(statement).bind(&organisation).bind(id).bind(claim).bind(sealed).bind(now);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Forgets the pending password, which was given to nobody for certain, and gives the claim up.
///
/// # Errors
/// Those of the database.
pub async fn take_back(change: &mut Change, id: &str, claim: i64) -> Result<(), StoreError> {
    let organisation = change.organisation().to_owned();
    let statement = "UPDATE databases SET sealed_pending = '', claim_owner = '', claim_until = 0 \
        WHERE organisation = $1 AND id = $2 AND claim = $3";
    sqlx::query(statement).bind(organisation).bind(id).bind(claim).execute(change.connection()).await?;
    Ok(())
}
