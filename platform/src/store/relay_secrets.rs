//! Secrets of relays: from the newest that its relay has fetched, credentials are made.

use sqlx::{Any, AnyExecutor};
use zeroize::Zeroizing;

use super::{Change, Store, StoreError, to_row};
use crate::trust::seal::Place;
use crate::trust::{random, random_id};

/// A secret, as it was opened.
pub type Secret = Zeroizing<Vec<u8>>;

/// How many secrets of a relay are live at most.
pub const LIVE: usize = 2;

fn place<'a>(organisation: &'a str, id: &'a str) -> Place<'a> {
    Place { organisation, table: "relay_secrets", row: id, column: "sealed" }
}

/// Makes a new secret for a relay of the change's organisation.
///
/// # Errors
/// [`StoreError::Conflict`] where [`LIVE`] are live already.
pub async fn make(change: &mut Change, relay: &str) -> Result<(), StoreError> {
    let organisation = change.organisation().to_owned();
    let live = "SELECT id FROM relay_secrets WHERE organisation = $1 AND relay = $2 AND retired_at = 0";
    let live = sqlx::query_scalar::<Any, String>(live).bind(&organisation).bind(relay);
    if live.fetch_all(change.connection()).await?.len() >= LIVE {
        return Err(StoreError::Conflict);
    }
    let (id, secret, now) = (random_id(), Zeroizing::new(random::<32>()), change.now());
    let sealed = change.store().sealer().seal(&place(&organisation, &id), &*secret);
    let statement = "INSERT INTO relay_secrets (id, organisation, relay, sealed, created_at, fetched_at, retired_at) \
        VALUES ($1, $2, $3, $4, $5, 0, 0)";
    let insert = sqlx::query(statement).bind(&id).bind(&organisation).bind(relay).bind(sealed).bind(now);
    insert.execute(change.connection()).await?;
    Ok(())
}

/// The live secrets of a relay, the newest first, and whether the relay has yet to fetch one of them.
///
/// # Errors
/// Those of the database.
pub async fn live(store: &Store, organisation: &str, relay: &str) -> Result<(Vec<Secret>, bool), StoreError> {
    let statement = "SELECT id, sealed, fetched_at FROM relay_secrets \
        WHERE organisation = $1 AND relay = $2 AND retired_at = 0 ORDER BY created_at DESC, id";
    let query = sqlx::query_as::<Any, (String, String, i64)>(statement).bind(organisation).bind(relay);
    let rows = query.fetch_all(store.reader()).await?;
    let unfetched = rows.iter().any(|&(_, _, fetched_at)| fetched_at == 0);
    let open =
        |(id, sealed, _): (String, String, i64)| store.sealer().open(&place(organisation, &id), &sealed);
    let secrets = rows.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
    Ok((secrets, unfetched))
}

/// Notes that the relay has all of its live secrets.
///
/// # Errors
/// Those of the database.
pub async fn fetched(change: &mut Change, relay: &str) -> Result<(), StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let statement = "UPDATE relay_secrets SET fetched_at = $3 \
        WHERE organisation = $1 AND relay = $2 AND retired_at = 0 AND fetched_at = 0";
    let update = sqlx::query(statement).bind(organisation).bind(relay).bind(now);
    update.execute(change.connection()).await?;
    Ok(())
}

/// What makes credentials for the relay: its newest secret that it has fetched.
///
/// # Errors
/// Those of the database.
pub async fn in_use(store: &Store, organisation: &str, relay: &str) -> Result<Option<Secret>, StoreError> {
    let statement = "SELECT id, sealed FROM relay_secrets WHERE organisation = $1 AND relay = $2 \
        AND retired_at = 0 AND fetched_at > 0 ORDER BY created_at DESC, id LIMIT 1";
    let query = sqlx::query_as::<Any, (String, String)>(statement).bind(organisation).bind(relay);
    let Some((id, sealed)) = query.fetch_optional(store.reader()).await? else { return Ok(None) };
    Ok(Some(store.sealer().open(&place(organisation, &id), &sealed)?))
}

/// Secrets whose successor was fetched before `before`: nobody holds credentials that they made. With each its relay
/// and that relay's organisation; at most 100.
///
/// # Errors
/// Those of the database.
pub async fn outlived(
    executor: impl AnyExecutor<'_>,
    before: u64,
) -> Result<Vec<(String, String, String)>, StoreError> {
    let statement = "SELECT s.id, s.relay, s.organisation FROM relay_secrets s WHERE s.retired_at = 0 \
        AND EXISTS (SELECT 1 FROM relay_secrets later WHERE later.relay = s.relay AND later.retired_at = 0 \
        AND later.created_at > s.created_at AND later.fetched_at > 0 AND later.fetched_at < $1) \
        ORDER BY s.id LIMIT 100";
    let query = sqlx::query_as::<Any, (String, String, String)>(statement).bind(to_row(before));
    Ok(query.fetch_all(executor).await?)
}

/// Retires a secret: its relay forgets it with its next report. `false` where it was retired before.
///
/// # Errors
/// Those of the database.
pub async fn retire(change: &mut Change, id: &str) -> Result<bool, StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let statement =
        "UPDATE relay_secrets SET retired_at = $3 WHERE organisation = $1 AND id = $2 AND retired_at = 0";
    let update = sqlx::query(statement).bind(organisation).bind(id).bind(now);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}
