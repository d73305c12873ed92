//! From one state to the next. Each compares what it knows with what is there: the state, and the number of the claim
//! where work was claimed. `false` means that somebody else was faster, and that nothing was changed.

use sqlx::{Any, FromRow};

use super::super::{Change, StoreError, to_row};

/// A claim on a lease: who knows its number may say how the work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The lease's id.
    pub lease: String,
    /// The number.
    pub number: i64,
}

/// Its user is there.
///
/// # Errors
/// Those of the database.
pub async fn made(change: &mut Change, claim: &Claim) -> Result<bool, StoreError> {
    let statement = "UPDATE leases SET state = 'active', made_at = $4, due_at = expires_at, claim_until = 0 \
        WHERE organisation = $1 AND id = $2 AND claim = $3 AND state = 'creating'";
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let update = sqlx::query(statement).bind(organisation).bind(&claim.lease).bind(claim.number).bind(now);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Its user was not made, for certain. The request may be sent again.
///
/// # Errors
/// Those of the database.
pub async fn failed(change: &mut Change, claim: &Claim, reason: &str) -> Result<bool, StoreError> {
    let statement = "UPDATE leases SET state = 'failed', ended_at = $4, reason = $5, due_at = 0, claim_until = 0, \
        sealed_password = '', idempotency = id \
        WHERE organisation = $1 AND id = $2 AND claim = $3 AND state = 'creating'";
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let update = sqlx::query(statement).bind(organisation).bind(&claim.lease).bind(claim.number);
    Ok(update.bind(now).bind(reason).execute(change.connection()).await?.rows_affected() == 1)
}

/// Its user may be there or not: it is removed. The request may be sent again.
///
/// # Errors
/// Those of the database.
pub async fn doubtful(change: &mut Change, claim: &Claim, reason: &str) -> Result<bool, StoreError> {
    let statement = "UPDATE leases SET state = 'revoking', reason = $5, due_at = $4, \
        sealed_password = '', idempotency = id \
        WHERE organisation = $1 AND id = $2 AND claim = $3 AND state = 'creating'";
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let update = sqlx::query(statement).bind(organisation).bind(&claim.lease).bind(claim.number);
    Ok(update.bind(now).bind(reason).execute(change.connection()).await?.rows_affected() == 1)
}

/// It lives until `expires_at`, never shorter than before, and the claim ends.
///
/// # Errors
/// Those of the database.
pub async fn lengthened(change: &mut Change, claim: &Claim, expires_at: u64) -> Result<bool, StoreError> {
    let statement = "UPDATE leases SET expires_at = $4, due_at = $4, claim_until = 0 \
        WHERE organisation = $1 AND id = $2 AND claim = $3 AND state = 'active' AND expires_at <= $4";
    let organisation = change.organisation().to_owned();
    let update = sqlx::query(statement).bind(organisation).bind(&claim.lease).bind(claim.number);
    Ok(update.bind(to_row(expires_at)).execute(change.connection()).await?.rows_affected() == 1)
}

/// A lease whose end has begun.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub struct Ending {
    /// Its id.
    pub id: String,
    /// Its user.
    pub username: String,
}

/// Which leases are to end.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// This one.
    One(&'a str),
    /// Those of a secret.
    OfSecret(&'a str),
    /// Those of an identity.
    OfIdentity(&'a str),
    /// Those of an identity in a project.
    OfMember(&'a str, &'a str),
    /// Those of an identity in projects of which it is no member.
    OfStranger(&'a str),
}

impl Which<'_> {
    /// The condition, with $5 and $6, and what these are.
    fn condition(&self) -> (&'static str, &str, &str) {
        match self {
            Self::One(id) => ("id = $5 AND $6 = ''", id, ""),
            Self::OfSecret(secret) => ("secret = $5 AND $6 = ''", secret, ""),
            Self::OfIdentity(identity) => ("identity = $5 AND $6 = ''", identity, ""),
            Self::OfMember(identity, project) => (
                "identity = $5 AND database_id IN \
                 (SELECT id FROM databases WHERE organisation = $1 AND project = $6)",
                identity,
                project,
            ),
            Self::OfStranger(identity) => (
                "identity = $5 AND $6 = '' AND database_id NOT IN \
                 (SELECT d.id FROM databases d JOIN members m ON m.project = d.project \
                 WHERE d.organisation = $1 AND m.identity = $5)",
                identity,
                "",
            ),
        }
    }
}

/// Begins the end of those of the leases that are not ending yet; work on them is due at once. Somebody asked for it,
/// so that it happens in this epoch.
///
/// # Errors
/// Those of the database.
pub async fn end(change: &mut Change, which: Which<'_>, reason: &str) -> Result<Vec<Ending>, StoreError> {
    let (condition, first, second) = which.condition();
    let statement = sqlx::AssertSqlSafe(format!(
        "UPDATE leases SET state = 'revoking', reason = $3, due_at = $2, epoch = $4 \
         WHERE organisation = $1 AND state IN ('creating', 'active') AND {condition} RETURNING id, username"
    ));
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let epoch = change.store().installation().epoch.clone();
    let update = sqlx::query_as::<Any, Ending>(statement).bind(organisation).bind(now).bind(reason);
    Ok(update.bind(epoch).bind(first).bind(second).fetch_all(change.connection()).await?)
}

/// Somebody asks again for the end of a lease that is ending already: the next attempt is due at once, and in this
/// epoch.
///
/// # Errors
/// Those of the database.
pub async fn hasten(change: &mut Change, id: &str) -> Result<bool, StoreError> {
    let statement = "UPDATE leases SET due_at = $3, epoch = $4 \
        WHERE organisation = $1 AND id = $2 AND state = 'revoking'";
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let epoch = change.store().installation().epoch.clone();
    let update = sqlx::query(statement).bind(organisation).bind(id).bind(now).bind(epoch);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Its time is over, or its maker is gone: whoever has claimed it removes its user.
///
/// # Errors
/// Those of the database.
pub async fn begin_end(change: &mut Change, claim: &Claim, reason: &str) -> Result<bool, StoreError> {
    let statement = "UPDATE leases SET state = 'revoking', reason = $4, sealed_password = '', \
        idempotency = CASE WHEN state = 'creating' THEN id ELSE idempotency END \
        WHERE organisation = $1 AND id = $2 AND claim = $3 AND state IN ('creating', 'active')";
    let organisation = change.organisation().to_owned();
    let update = sqlx::query(statement).bind(organisation).bind(&claim.lease).bind(claim.number).bind(reason);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Its user is gone.
///
/// # Errors
/// Those of the database.
pub async fn revoked(change: &mut Change, claim: &Claim) -> Result<bool, StoreError> {
    let statement = "UPDATE leases SET state = 'revoked', ended_at = $4, due_at = 0, claim_until = 0, \
        sealed_password = '', attempts = 0, failing_since = 0, stuck = 0, error = '' \
        WHERE organisation = $1 AND id = $2 AND claim = $3 AND state = 'revoking'";
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let update = sqlx::query(statement).bind(organisation).bind(&claim.lease).bind(claim.number).bind(now);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Removing its user has failed; it is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// Why.
    pub error: &'a str,
    /// How often it has failed now.
    pub attempts: u32,
    /// Since when.
    pub since: u64,
    /// Whether that is too long.
    pub stuck: bool,
    /// When it is tried again.
    pub next_at: u64,
}

/// Notes that removing its user has failed. The claim ends.
///
/// # Errors
/// Those of the database.
pub async fn again(change: &mut Change, claim: &Claim, failure: &Failure<'_>) -> Result<bool, StoreError> {
    let statement = "UPDATE leases SET error = $4, attempts = $5, failing_since = $6, stuck = $7, due_at = $8, \
        claim_until = 0 WHERE organisation = $1 AND id = $2 AND claim = $3 AND state = 'revoking'";
    let organisation = change.organisation().to_owned();
    let update = sqlx::query(statement).bind(organisation).bind(&claim.lease).bind(claim.number);
    let update = update.bind(failure.error).bind(i64::from(failure.attempts)).bind(to_row(failure.since));
    let update = update.bind(i64::from(failure.stuck)).bind(to_row(failure.next_at));
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Nobody removes its user any more.
///
/// # Errors
/// Those of the database.
pub async fn abandon(change: &mut Change, id: &str) -> Result<bool, StoreError> {
    let statement = "UPDATE leases SET state = 'abandoned', ended_at = $3, due_at = 0, sealed_password = '', \
        idempotency = id WHERE organisation = $1 AND id = $2 AND state = 'revoking'";
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let update = sqlx::query(statement).bind(organisation).bind(id).bind(now);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}
