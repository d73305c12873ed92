//! What gateways and connectors must not trust any more, though its certificate has not run out.

use sqlx::Any;

use super::{Change, Store, StoreError, to_row, tokens};
use crate::words::Revoked;

/// For how long after the last certificate of a holder its name stays revoked: connections may outlive certificates,
/// by at most the grace that gateways grant while the platform is away. A day, in seconds.
const MARGIN: i64 = 24 * 3600;

/// How many revoked gateways a relay is told of.
const MOST_GATEWAYS: i64 = 4096;

/// Ends everything of a holder of certificates: its tokens, its certificates, and its name in them.
///
/// # Errors
/// Those of the database.
pub async fn revoke_holder(change: &mut Change, holder: &str, spiffe: &str) -> Result<(), StoreError> {
    tokens::revoke_all(change, holder).await?;
    let last = revoke_certificates(change, holder).await?;
    let until = last.max(change.now()).saturating_add(MARGIN);
    insert(change, "identity", spiffe, until).await
}

/// Revokes the certificates of a holder that have not run out; its name stays good. Says when the last one runs out,
/// or 0.
///
/// # Errors
/// Those of the database.
pub async fn revoke_certificates(change: &mut Change, holder: &str) -> Result<i64, StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let statement = "SELECT serial, not_after FROM certificates \
                     WHERE organisation = $1 AND holder = $2 AND not_after + $4 > $3 ORDER BY serial";
    let query = sqlx::query_as::<Any, (String, i64)>(statement);
    let query = query.bind(organisation).bind(holder).bind(now).bind(MARGIN);
    let certificates = query.fetch_all(change.connection()).await?;
    for (serial, not_after) in &certificates {
        insert(change, "serial", serial, not_after.saturating_add(MARGIN)).await?;
    }
    Ok(certificates.iter().map(|&(_, not_after)| not_after).max().unwrap_or(0))
}

/// Revokes the certificates of everybody who is in a project: they name targets that are no longer theirs.
///
/// # Errors
/// Those of the database.
pub async fn revoke_certificates_of_members(change: &mut Change, project: &str) -> Result<(), StoreError> {
    let statement = "SELECT identity FROM members WHERE organisation = $1 AND project = $2 ORDER BY identity";
    let organisation = change.organisation().to_owned();
    let query = sqlx::query_scalar::<Any, String>(statement).bind(organisation).bind(project);
    for identity in query.fetch_all(change.connection()).await? {
        revoke_certificates(change, &identity).await?;
    }
    Ok(())
}

async fn insert(change: &mut Change, kind: &str, value: &str, until: i64) -> Result<(), StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let statement = "INSERT INTO revocations (organisation, kind, value, revoked_at, until_at) \
                     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (organisation, kind, value) DO UPDATE \
                     SET until_at = CASE WHEN excluded.until_at > revocations.until_at \
                                    THEN excluded.until_at ELSE revocations.until_at END";
    let upsert = sqlx::query(statement).bind(organisation).bind(kind).bind(value).bind(now).bind(until);
    upsert.execute(change.connection()).await?;
    Ok(())
}

/// The names of gateway instances that were revoked after `since`, in one organisation or in all, the newest first.
///
/// # Errors
/// Those of the database.
pub async fn gateways(
    store: &Store,
    organisation: Option<&str>,
    since: u64,
) -> Result<Vec<String>, StoreError> {
    let statement = "SELECT value FROM revocations WHERE kind = 'identity' AND revoked_at >= $1 \
                     AND value LIKE 'spiffe://%/gateway/%' AND ($2 = '' OR organisation = $2) \
                     ORDER BY revoked_at DESC, value LIMIT $3";
    let query = sqlx::query_scalar::<Any, String>(statement).bind(to_row(since));
    let query = query.bind(organisation.unwrap_or_default()).bind(MOST_GATEWAYS);
    let names = query.fetch_all(store.reader()).await?;
    if names.len() as i64 == MOST_GATEWAYS {
        tracing::warn!("so many gateways were revoked that relays are not told of the oldest");
    }
    Ok(names)
}

/// What is revoked and would still be trusted otherwise.
///
/// # Errors
/// Those of the database.
pub async fn running(store: &Store, organisation: &str) -> Result<Revoked, StoreError> {
    let statement =
        "SELECT kind, value FROM revocations WHERE organisation = $1 AND until_at > $2 ORDER BY kind, value";
    let query = sqlx::query_as::<Any, (String, String)>(statement).bind(organisation).bind(store.now());
    let mut revoked = Revoked::default();
    for (kind, value) in query.fetch_all(store.reader()).await? {
        match kind.as_str() {
            "serial" => revoked.serials.push(value),
            _ => revoked.identities.push(value),
        }
    }
    Ok(revoked)
}
