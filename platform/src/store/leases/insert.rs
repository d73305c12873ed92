//! The first row of a lease, and its request, which may be repeated for a while.

use sqlx::Any;

use super::super::databases::open;
use super::super::json::{list, to_word};
use super::super::{Change, Store, StoreError, of_row, to_row};
use super::{Row, find};
use crate::trust::seal::Place;
use crate::words::{LeaseState, Role};
use zeroize::Zeroizing;

/// For how long a request may be repeated, in seconds.
pub const KEPT: u64 = 600;

/// For how long leases are kept that have ended; the audit keeps them for ever. 30 days, in seconds.
const KEPT_ENDED: u64 = 30 * 24 * 3600;

/// A lease that is begun.
#[derive(Clone, Copy)]
pub struct New<'a> {
    /// Its id.
    pub id: &'a str,
    /// The secret's id.
    pub secret: &'a str,
    /// The database's id.
    pub database: &'a str,
    /// The project's id.
    pub project: &'a str,
    /// The identity that leases.
    pub identity: &'a str,
    /// The user.
    pub username: &'a str,
    /// Its password, sealed at [`place`].
    pub sealed_password: &'a str,
    /// The hash of the key with which the request may be repeated.
    pub key: Option<&'a str>,
    /// The hash of what was asked for.
    pub request: &'a str,
    /// When it ends unless it is renewed.
    pub expires_at: u64,
    /// Until when it can be renewed.
    pub max_expires_at: u64,
    /// Until when this platform instance works on it. Its claim is number 1.
    pub claim_until: u64,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// It is begun.
    Yes,
    /// As many leases of the secret live as may: this many.
    Full(u64),
    /// The secret has just been deleted.
    NoSecret,
    /// The identity has just been revoked, or is neither member of the project nor administrator any more.
    NoMember,
}

/// Where the password of a lease is sealed.
pub fn place<'a>(organisation: &'a str, id: &'a str) -> Place<'a> {
    Place { organisation, table: "leases", row: id, column: "sealed_password" }
}

/// Begins a lease. The rows of the secret and of whoever leases stay as they are until the change takes effect: no two
/// leases are both the last one, and none slips through behind a revocation.
///
/// # Errors
/// [`StoreError::Conflict`] where the request's key is taken; nothing more can be done in the change then.
pub async fn insert(change: &mut Change, new: &New<'_>) -> Result<Inserted, StoreError> {
    if !may_lease(change, new).await? {
        return Ok(Inserted::NoMember);
    }
    let Some(max) = max_leases(change, new.secret).await? else { return Ok(Inserted::NoSecret) };
    if living(change, new.secret).await? >= max {
        return Ok(Inserted::Full(of_row(max)));
    }
    if let Some(key) = new.key {
        forget_old_key(change, key).await?;
    }
    write(change, new).await?;
    Ok(Inserted::Yes)
}

/// PostgreSQL locks the row against its change; in SQLite nobody else writes.
fn locking(change: &Change, statement: &'static str, locked: &'static str) -> &'static str {
    if change.store().is_postgres() { locked } else { statement }
}

async fn may_lease(change: &mut Change, new: &New<'_>) -> Result<bool, StoreError> {
    let organisation = change.organisation().to_owned();
    let roles = locking(
        change,
        "SELECT roles FROM identities WHERE organisation = $1 AND id = $2 AND revoked_at = 0",
        "SELECT roles FROM identities WHERE organisation = $1 AND id = $2 AND revoked_at = 0 FOR SHARE",
    );
    let roles = sqlx::query_scalar::<Any, String>(roles).bind(&organisation).bind(new.identity);
    let Some(roles) = roles.fetch_optional(change.connection()).await? else { return Ok(false) };
    if list::<Vec<Role>>(&roles)?.contains(&Role::Admin) {
        return Ok(true);
    }
    let member = locking(
        change,
        "SELECT role FROM members WHERE organisation = $1 AND identity = $2 AND project = $3",
        "SELECT role FROM members WHERE organisation = $1 AND identity = $2 AND project = $3 FOR SHARE",
    );
    let member = sqlx::query_scalar::<Any, String>(member).bind(organisation).bind(new.identity);
    Ok(member.bind(new.project).fetch_optional(change.connection()).await?.is_some())
}

async fn max_leases(change: &mut Change, secret: &str) -> Result<Option<i64>, StoreError> {
    let statement = locking(
        change,
        "SELECT max_leases FROM secrets WHERE organisation = $1 AND id = $2",
        "SELECT max_leases FROM secrets WHERE organisation = $1 AND id = $2 FOR NO KEY UPDATE",
    );
    let organisation = change.organisation().to_owned();
    let query = sqlx::query_scalar::<Any, i64>(statement).bind(organisation).bind(secret);
    Ok(query.fetch_optional(change.connection()).await?)
}

async fn living(change: &mut Change, secret: &str) -> Result<i64, StoreError> {
    let statement = "SELECT COUNT(*) FROM leases WHERE organisation = $1 AND secret = $2 \
        AND state IN ('creating', 'active', 'revoking')";
    let organisation = change.organisation().to_owned();
    let query = sqlx::query_scalar::<Any, i64>(statement).bind(organisation).bind(secret);
    Ok(query.fetch_one(change.connection()).await?)
}

/// How many leases live on a database.
///
/// # Errors
/// Those of the database.
pub async fn living_on(change: &mut Change, database: &str) -> Result<u64, StoreError> {
    let statement = "SELECT COUNT(*) FROM leases WHERE organisation = $1 AND database_id = $2 \
        AND state IN ('creating', 'active', 'revoking')";
    let organisation = change.organisation().to_owned();
    let query = sqlx::query_scalar::<Any, i64>(statement).bind(organisation).bind(database);
    Ok(of_row(query.fetch_one(change.connection()).await?))
}

/// A key may be used for something else once it may be repeated no more.
async fn forget_old_key(change: &mut Change, key: &str) -> Result<(), StoreError> {
    let statement = "UPDATE leases SET sealed_password = '', idempotency = id \
        WHERE organisation = $1 AND idempotency = $2 AND created_at <= $3";
    let before = change.now().saturating_sub(to_row(KEPT));
    let update = sqlx::query(statement).bind(change.organisation().to_owned()).bind(key).bind(before);
    update.execute(change.connection()).await?;
    Ok(())
}

async fn write(change: &mut Change, new: &New<'_>) -> Result<(), StoreError> {
    let statement = "INSERT INTO leases (id, organisation, secret, database_id, identity, username, \
        sealed_password, idempotency, request, state, epoch, created_at, made_at, expires_at, max_expires_at, ended_at, \
        reason, claim_owner, claim_until, claim, due_at, attempts, failing_since, stuck, error) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 0, $13, $14, 0, '', $15, $16, 1, $16, 0, 0, 0, '')";
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let store = change.store().clone();
    let insert = sqlx::query(statement)
        .bind(new.id)
        .bind(organisation)
        .bind(new.secret)
        .bind(new.database)
        .bind(new.identity)
        .bind(new.username)
        // Without a key the answer is given once.
        .bind(new.key.map_or("", |_| new.sealed_password))
        .bind(new.key.unwrap_or(new.id))
        .bind(new.request)
        .bind(to_word(LeaseState::Creating))
        .bind(&store.installation().epoch)
        .bind(now)
        .bind(to_row(new.expires_at))
        .bind(to_row(new.max_expires_at))
        .bind(store.instance())
        .bind(to_row(new.claim_until));
    insert.execute(change.connection()).await?;
    Ok(())
}

/// A request that may be repeated.
pub struct Repeatable {
    /// What it made, or makes.
    pub row: Row,
    /// The hash of what was asked for.
    pub request: String,
    /// The password; empty once the lease has ended.
    pub password: Zeroizing<String>,
}

/// The lease that a request with this key has made in the last [`KEPT`] seconds, or is making.
///
/// # Errors
/// Those of the database.
pub async fn by_key(store: &Store, organisation: &str, key: &str) -> Result<Option<Repeatable>, StoreError> {
    let statement = "SELECT id, request, sealed_password FROM leases \
        WHERE organisation = $1 AND idempotency = $2 AND created_at > $3";
    let query = sqlx::query_as::<Any, (String, String, String)>(statement).bind(organisation).bind(key);
    let found = query.bind(store.now().saturating_sub(to_row(KEPT))).fetch_optional(store.reader()).await?;
    let Some((id, request, sealed)) = found else { return Ok(None) };
    let password = match sealed.is_empty() {
        true => Zeroizing::default(),
        false => open(store, &place(organisation, &id), &sealed)?,
    };
    Ok(find(store, organisation, None, &id).await?.map(|row| Repeatable { row, request, password }))
}

/// Forgets passwords of requests that may be repeated no more, of every organisation. Says how many.
///
/// # Errors
/// Those of the database.
pub async fn forget_passwords(store: &Store, limit: u32) -> Result<u64, StoreError> {
    let mut change = store.quiet_change(super::super::INSTALLATION).await?;
    let statement = "UPDATE leases SET sealed_password = '', idempotency = id WHERE id IN \
        (SELECT id FROM leases WHERE sealed_password <> '' AND created_at <= $1 LIMIT $2)";
    let before = change.now().saturating_sub(to_row(KEPT));
    let update = sqlx::query(statement).bind(before).bind(i64::from(limit));
    let forgotten = update.execute(change.connection()).await?.rows_affected();
    change.commit().await?;
    Ok(forgotten)
}

/// Deletes leases that ended long ago, of every organisation. Says how many.
///
/// # Errors
/// Those of the database.
pub async fn purge(store: &Store, limit: u32) -> Result<u64, StoreError> {
    let mut change = store.quiet_change(super::super::INSTALLATION).await?;
    let statement = "DELETE FROM leases WHERE id IN \
        (SELECT id FROM leases WHERE ended_at > 0 AND ended_at <= $1 ORDER BY ended_at LIMIT $2)";
    let before = change.now().saturating_sub(to_row(KEPT_ENDED));
    let delete = sqlx::query(statement).bind(before).bind(i64::from(limit));
    let gone = delete.execute(change.connection()).await?.rows_affected();
    change.commit().await?;
    Ok(gone)
}
