//! Forwardings of persons, and the addresses from which their connectors come.

use std::net::IpAddr;

use sqlx::{Any, AnyExecutor, FromRow};

use super::{Change, INSTALLATION, Store, StoreError, of_row, to_row};

/// What a certificate of a person is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForwardingRow {
    /// The gateway's id.
    pub gateway: String,
    /// The last second of the certificate.
    pub not_after: u64,
}

/// Notes that the certificate `serial` of an identity is for a gateway.
///
/// # Errors
/// Those of the database.
pub async fn forward(
    change: &mut Change,
    serial: &str,
    identity: &str,
    gateway: &str,
    not_after: u64,
) -> Result<(), StoreError> {
    let statement = "INSERT INTO forwardings (serial, organisation, identity, gateway, not_after) \
        VALUES ($1, $2, $3, $4, $5)";
    let organisation = change.organisation().to_owned();
    let insert = sqlx::query(statement).bind(serial).bind(organisation).bind(identity).bind(gateway);
    insert.bind(to_row(not_after)).execute(change.connection()).await?;
    Ok(())
}

/// What the certificate `serial` of an identity is for, unless it has run out or is revoked.
///
/// # Errors
/// Those of the database.
pub async fn forwarding(
    store: &Store,
    organisation: &str,
    identity: &str,
    serial: &str,
) -> Result<Option<ForwardingRow>, StoreError> {
    #[derive(FromRow)]
    struct Raw {
        gateway: String,
        not_after: i64,
    }
    let statement = "SELECT f.gateway, f.not_after FROM forwardings f \
        WHERE f.organisation = $1 AND f.identity = $2 AND f.serial = $3 AND f.not_after > $4 \
        AND NOT EXISTS (SELECT 1 FROM revocations r \
            WHERE r.organisation = $1 AND r.kind = 'serial' AND r.value = f.serial)";
    let query = sqlx::query_as::<Any, Raw>(statement).bind(organisation).bind(identity).bind(serial);
    let raw = query.bind(store.now()).fetch_optional(store.reader()).await?;
    Ok(raw.map(|raw| ForwardingRow { gateway: raw.gateway, not_after: of_row(raw.not_after) }))
}

/// The addresses that a gateway's instances permit for persons, the one that stays longest first, each once; not those
/// of certificates that are revoked.
///
/// # Errors
/// Those of the database.
pub async fn running(
    executor: impl AnyExecutor<'_>,
    organisation: &str,
    gateway: &str,
    now: u64,
) -> Result<Vec<IpAddr>, StoreError> {
    let statement = "SELECT p.address FROM permits p \
        WHERE p.organisation = $1 AND p.gateway = $2 AND p.until_at > $3 \
        AND NOT EXISTS (SELECT 1 FROM revocations r \
            WHERE r.organisation = $1 AND r.kind = 'serial' AND r.value = p.serial) \
        GROUP BY p.address ORDER BY MAX(p.until_at) DESC, p.address LIMIT 256";
    let query =
        sqlx::query_scalar::<Any, String>(statement).bind(organisation).bind(gateway).bind(to_row(now));
    query.fetch_all(executor).await?.iter().map(|text| address(text)).collect()
}

fn address(text: &str) -> Result<IpAddr, StoreError> {
    text.parse().map_err(|_| StoreError::Corrupt("a permit holds no address".to_owned()))
}

/// Permits exactly `addresses` for the certificate `serial` until `until`.
///
/// # Errors
/// Those of the database.
pub async fn set(
    change: &mut Change,
    gateway: &str,
    serial: &str,
    addresses: &[IpAddr],
    until: u64,
) -> Result<(), StoreError> {
    let organisation = change.organisation().to_owned();
    let delete = sqlx::query("DELETE FROM permits WHERE organisation = $1 AND gateway = $2 AND serial = $3");
    delete.bind(&organisation).bind(gateway).bind(serial).execute(change.connection()).await?;
    let statement = "INSERT INTO permits (organisation, gateway, serial, address, until_at) \
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (gateway, serial, address) DO NOTHING";
    for address in addresses {
        let insert = sqlx::query(statement).bind(&organisation).bind(gateway).bind(serial);
        insert.bind(address.to_string()).bind(to_row(until)).execute(change.connection()).await?;
    }
    Ok(())
}

/// The organisations of permits that have run out; at most `limit`.
///
/// # Errors
/// Those of the database.
pub async fn run_out(store: &Store, limit: u32) -> Result<Vec<String>, StoreError> {
    let statement =
        "SELECT DISTINCT organisation FROM permits WHERE until_at <= $1 ORDER BY organisation LIMIT $2";
    let query = sqlx::query_scalar::<Any, String>(statement).bind(store.now()).bind(i64::from(limit));
    Ok(query.fetch_all(store.reader()).await?)
}

/// Forgets the permits of the change's organisation that have run out, and says how many that were.
///
/// # Errors
/// Those of the database.
pub async fn forget(change: &mut Change) -> Result<u64, StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let delete = sqlx::query("DELETE FROM permits WHERE organisation = $1 AND until_at <= $2");
    Ok(delete.bind(organisation).bind(now).execute(change.connection()).await?.rows_affected())
}

/// Forgets at most `limit` each of certificates and forwardings that ran out before `before`, and of revocations that
/// matter no more. Says how many.
///
/// # Errors
/// Those of the database.
pub async fn purge(store: &Store, before: u64, limit: u32) -> Result<u64, StoreError> {
    let mut change = store.quiet_change(INSTALLATION).await?;
    let mut gone = 0;
    for (statement, before) in [
        (
            "DELETE FROM certificates WHERE serial IN \
                (SELECT serial FROM certificates WHERE not_after < $1 LIMIT $2)",
            to_row(before),
        ),
        (
            "DELETE FROM forwardings WHERE serial IN \
                (SELECT serial FROM forwardings WHERE not_after < $1 LIMIT $2)",
            to_row(before),
        ),
        (
            "DELETE FROM revocations WHERE (organisation, kind, value) IN \
                (SELECT organisation, kind, value FROM revocations WHERE until_at < $1 LIMIT $2)",
            store.now(),
        ),
    ] {
        let delete = sqlx::query(statement).bind(before).bind(i64::from(limit));
        gone += delete.execute(change.connection()).await?.rows_affected();
    }
    change.commit().await?;
    Ok(gone)
}
