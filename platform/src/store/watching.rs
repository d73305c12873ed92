//! Who watches which gateway instance: a claim of one platform instance that runs out by itself.

use std::net::SocketAddr;

use sqlx::{Any, FromRow};

use super::json::list;
use super::{INSTALLATION, Store, StoreError, to_row};

/// A gateway instance that this platform instance watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watched {
    /// Its id.
    pub id: String,
    /// The organisation's id.
    pub organisation: String,
    /// The gateway's id.
    pub gateway: String,
    /// The relayed addresses, best first: at least one.
    pub addresses: Vec<SocketAddr>,
}

#[derive(FromRow)]
struct Raw {
    id: String,
    organisation: String,
    gateway: String,
    addresses: String,
}

/// Renews the claims of this platform instance that have less than half of their life left, until `until`; takes at most
/// `more` instances that nobody claims; and says which ones it now watches: those that report an address.
///
/// # Errors
/// Those of the database.
pub async fn claim(store: &Store, until: u64, more: u32) -> Result<Vec<Watched>, StoreError> {
    let mut change = store.quiet_change(INSTALLATION).await?;
    let (me, now) = (store.instance().to_owned(), change.now());
    // Rounds are many and claims may be: each row is written twice in the life of a claim, not in each round.
    let half = now + (to_row(until) - now) / 2;
    let renew = "UPDATE instances SET watched_until = $2 WHERE watcher = $1 AND watched_until > $3 \
        AND watched_until <= $4 AND revoked_at = 0 AND session <> '' AND addresses <> '[]'";
    let renew = sqlx::query(renew).bind(&me).bind(to_row(until)).bind(now).bind(half);
    renew.execute(change.connection()).await?;
    // The condition is asked again by the update itself: of two that try at the same time, one gets it.
    let take = "UPDATE instances SET watcher = $1, watched_until = $2 WHERE id IN (SELECT id FROM instances \
        WHERE revoked_at = 0 AND watched_until <= $3 AND session <> '' AND addresses <> '[]' \
        ORDER BY watched_until, id LIMIT $4) AND watched_until <= $3";
    let take = sqlx::query(take).bind(&me).bind(to_row(until)).bind(now).bind(i64::from(more));
    take.execute(change.connection()).await?;
    let statement = "SELECT id, organisation, gateway, addresses FROM instances WHERE watcher = $1 \
        AND watched_until > $2 AND revoked_at = 0 AND session <> '' AND addresses <> '[]' ORDER BY id";
    let query = sqlx::query_as::<Any, Raw>(statement).bind(&me).bind(now);
    let raw = query.fetch_all(change.connection()).await?;
    change.commit().await?;
    raw.into_iter().map(watched).collect()
}

fn watched(raw: Raw) -> Result<Watched, StoreError> {
    Ok(Watched {
        id: raw.id,
        organisation: raw.organisation,
        gateway: raw.gateway,
        addresses: list(&raw.addresses)?,
    })
}

/// How many instances report an address, and how many of them this platform instance watches.
///
/// # Errors
/// Those of the database.
pub async fn count(store: &Store) -> Result<(u32, u32), StoreError> {
    let statement = "SELECT COUNT(*), COALESCE(SUM(CASE WHEN watcher = $1 AND watched_until > $2 THEN 1 ELSE 0 END), 0) \
        FROM instances WHERE revoked_at = 0 AND session <> '' AND addresses <> '[]'";
    let query =
        sqlx::query_as::<Any, (i64, i64)>(statement).bind(store.instance().to_owned()).bind(store.now());
    let (all, mine) = query.fetch_one(store.reader()).await?;
    Ok((all.try_into().unwrap_or(u32::MAX), mine.try_into().unwrap_or(u32::MAX)))
}

/// Notes that a gateway instance answered its watcher. `false` where this platform instance is that no more.
///
/// # Errors
/// Those of the database.
pub async fn pong(store: &Store, organisation: &str, id: &str) -> Result<bool, StoreError> {
    let mut change = store.quiet_change(organisation).await?;
    let now = change.now();
    let statement = "UPDATE instances SET last_pong_at = $4 \
        WHERE organisation = $1 AND id = $2 AND watcher = $3 AND revoked_at = 0 AND session <> ''";
    let update =
        sqlx::query(statement).bind(organisation).bind(id).bind(store.instance().to_owned()).bind(now);
    let noted = update.execute(change.connection()).await?.rows_affected() == 1;
    change.commit().await?;
    Ok(noted)
}

/// Gives every claim of this platform instance up: another one takes it at once.
///
/// # Errors
/// Those of the database.
pub async fn release(store: &Store) -> Result<(), StoreError> {
    let mut change = store.quiet_change(INSTALLATION).await?;
    let statement = "UPDATE instances SET watcher = '', watched_until = 0 WHERE watcher = $1";
    sqlx::query(statement).bind(store.instance().to_owned()).execute(change.connection()).await?;
    change.commit().await
}

/// Gives `excess` claims of this platform instance up, for others to take.
///
/// # Errors
/// Those of the database.
pub async fn share(store: &Store, excess: u32) -> Result<(), StoreError> {
    let mut change = store.quiet_change(INSTALLATION).await?;
    let statement = "UPDATE instances SET watcher = '', watched_until = 0 WHERE id IN \
        (SELECT id FROM instances WHERE watcher = $1 ORDER BY id LIMIT $2)";
    let update = sqlx::query(statement).bind(store.instance().to_owned()).bind(i64::from(excess));
    update.execute(change.connection()).await?;
    change.commit().await
}
