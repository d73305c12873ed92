//! Platform instances: who is there, and from where its connector comes.

use std::net::IpAddr;

use serde_json::json;
use sqlx::{Any, AnyExecutor, FromRow};

use super::json::{list, to_list};
use super::{Change, INSTALLATION, Store, StoreError, of_row, time_of_row, to_row};

/// For how long the name of a revoked instance stays in every organisation's list: far longer than any certificate of
/// it lives. A week, in seconds.
const REVOKED_FOR: u64 = 7 * 24 * 3600;

/// A platform instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformInstanceRow {
    /// Its id.
    pub id: String,
    /// When it started.
    pub started_at: u64,
    /// When it last said that it is there.
    pub last_seen_at: u64,
    /// Since when it is revoked.
    pub revoked_at: Option<u64>,
    /// The addresses of its connector, as relays see them.
    pub addresses: Vec<IpAddr>,
}

#[derive(FromRow)]
struct Raw {
    id: String,
    started_at: i64,
    last_seen_at: i64,
    revoked_at: i64,
    addresses: String,
}

impl Raw {
    fn row(self) -> Result<PlatformInstanceRow, StoreError> {
        Ok(PlatformInstanceRow {
            id: self.id,
            started_at: of_row(self.started_at),
            last_seen_at: of_row(self.last_seen_at),
            revoked_at: time_of_row(self.revoked_at),
            addresses: list(&self.addresses)?,
        })
    }
}

/// Every platform instance that is known, by id; at most 256.
///
/// # Errors
/// Those of the database.
pub async fn all(executor: impl AnyExecutor<'_>) -> Result<Vec<PlatformInstanceRow>, StoreError> {
    let statement = "SELECT id, started_at, last_seen_at, revoked_at, addresses FROM platform_instances \
        ORDER BY id LIMIT 256";
    let raw = sqlx::query_as::<Any, Raw>(statement).fetch_all(executor).await?;
    raw.into_iter().map(Raw::row).collect()
}

/// Those that are not revoked and were there at `since` or later, by id.
///
/// # Errors
/// Those of the database.
pub async fn alive(
    executor: impl AnyExecutor<'_>,
    since: u64,
) -> Result<Vec<PlatformInstanceRow>, StoreError> {
    let all = all(executor).await?;
    let is_alive = |row: &PlatformInstanceRow| row.revoked_at.is_none() && row.last_seen_at >= since;
    Ok(all.into_iter().filter(is_alive).collect())
}

/// What became of a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is noted.
    Yes,
    /// The instance is revoked.
    Revoked,
}

/// Notes that this platform instance is there. Where it had counted as gone, as its last sign of life was more than
/// `presence` seconds ago, every gateway is told: one that has asked meanwhile lets nobody in from its addresses.
///
/// # Errors
/// Those of the database.
pub async fn see(store: &Store, presence: u64) -> Result<Seen, StoreError> {
    let mut change = store.quiet_change(INSTALLATION).await?;
    let (id, now) = (store.instance().to_owned(), change.now());
    let statement = "SELECT COUNT(*) FROM platform_instances \
        WHERE id = $1 AND revoked_at = 0 AND last_seen_at < $2 AND addresses <> '[]'";
    let since = now.saturating_sub(to_row(presence));
    let gone = sqlx::query_scalar::<Any, i64>(statement).bind(id.clone()).bind(since);
    let was_gone = gone.fetch_one(change.connection()).await? > 0;
    let statement = "INSERT INTO platform_instances (id, started_at, last_seen_at, revoked_at, addresses) \
        VALUES ($1, $2, $2, 0, '[]') ON CONFLICT (id) DO UPDATE SET last_seen_at = $2 RETURNING revoked_at";
    let upsert = sqlx::query_scalar::<Any, i64>(statement).bind(id).bind(now);
    let revoked_at = upsert.fetch_one(change.connection()).await?;
    if was_gone {
        // Behind the row, as whoever closes its doors does: neither waits for what the other has.
        change.bump_installation().await?;
    }
    change.commit().await?;
    Ok(if revoked_at == 0 { Seen::Yes } else { Seen::Revoked })
}

/// Notes from where this platform instance's connector comes. Where that is new, every gateway is told. `true` then.
///
/// # Errors
/// Those of the database.
pub async fn set_addresses(store: &Store, addresses: &[IpAddr]) -> Result<bool, StoreError> {
    let mut change = store.change(INSTALLATION, "platform").await?;
    let statement = "UPDATE platform_instances SET addresses = $2 WHERE id = $1 AND addresses <> $2";
    let update = sqlx::query(statement).bind(store.instance().to_owned()).bind(to_list(addresses));
    if update.execute(change.connection()).await?.rows_affected() == 0 {
        return Ok(false);
    }
    change.bump_installation().await?;
    let object = format!("platform:{}", store.instance());
    change.audit("platform.addresses-changed", &object, json!({ "addresses": addresses }));
    change.commit().await?;
    Ok(true)
}

/// Forgets from where the connectors of platform instances came that were not there since `before`: gateways let nobody
/// in from there any more. Says how many instances that were.
///
/// # Errors
/// Those of the database.
pub async fn close_doors(store: &Store, before: u64) -> Result<usize, StoreError> {
    let mut change = store.change(INSTALLATION, "platform").await?;
    let statement = "UPDATE platform_instances SET addresses = '[]' \
        WHERE last_seen_at < $1 AND addresses <> '[]' RETURNING id";
    let update = sqlx::query_scalar::<Any, String>(statement).bind(to_row(before));
    let gone = update.fetch_all(change.connection()).await?;
    if gone.is_empty() {
        return Ok(0);
    }
    for id in &gone {
        change.audit("platform.gone", &format!("platform:{id}"), json!({}));
    }
    change.bump_installation().await?;
    change.commit().await?;
    Ok(gone.len())
}

/// Revokes a platform instance: no gateway lets it in. `false` where there is none, or it is revoked.
///
/// # Errors
/// Those of the database.
pub async fn revoke(change: &mut Change, id: &str) -> Result<bool, StoreError> {
    let now = change.now();
    let statement = "UPDATE platform_instances SET revoked_at = $2 WHERE id = $1 AND revoked_at = 0";
    let update = sqlx::query(statement).bind(id).bind(now);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Revokes the certificates that a platform instance has as a connector of `organisation`, and its name in them, which
/// is `spiffe`.
///
/// # Errors
/// Those of the database.
pub async fn revoke_in(
    change: &mut Change,
    organisation: &str,
    id: &str,
    spiffe: &str,
) -> Result<(), StoreError> {
    let (now, until) = (change.now(), change.now().saturating_add(to_row(REVOKED_FOR)));
    let serials = "INSERT INTO revocations (organisation, kind, value, revoked_at, until_at) \
        SELECT organisation, 'serial', serial, $3, $4 FROM certificates WHERE organisation = $1 AND holder = $2 \
        ON CONFLICT (organisation, kind, value) DO NOTHING";
    let insert = sqlx::query(serials).bind(organisation).bind(id).bind(now).bind(until);
    insert.execute(change.connection()).await?;
    let name = "INSERT INTO revocations (organisation, kind, value, revoked_at, until_at) \
        VALUES ($1, 'identity', $2, $3, $4) \
        ON CONFLICT (organisation, kind, value) DO UPDATE SET until_at = excluded.until_at";
    let insert = sqlx::query(name).bind(organisation).bind(spiffe).bind(now).bind(until);
    insert.execute(change.connection()).await?;
    Ok(())
}

/// Forgets platform instances that were not there since `before`, unless they are revoked. Says how many.
///
/// # Errors
/// Those of the database.
pub async fn purge(store: &Store, before: u64) -> Result<u64, StoreError> {
    let mut change = store.quiet_change(INSTALLATION).await?;
    let statement = "DELETE FROM platform_instances WHERE last_seen_at < $1 AND revoked_at = 0";
    let gone =
        sqlx::query(statement).bind(to_row(before)).execute(change.connection()).await?.rows_affected();
    change.commit().await?;
    Ok(gone)
}
