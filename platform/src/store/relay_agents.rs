//! Relays, as they enrol, begin, report and end; and as gateways are given them.

use sqlx::{Any, AnyExecutor, FromRow};

use super::json::{list, to_list, word};
use super::{Change, INSTALLATION, Store, StoreError, of_row, to_row};
use crate::words::{Health, HealthState, NewSession, RelayStatus};

/// What is known of a relay. Times are unix seconds; 0 is never.
#[derive(Debug, Clone)]
pub struct RelayRow {
    /// Its id.
    pub id: String,
    /// The id of the organisation that it belongs to: [`INSTALLATION`] where it is shared.
    pub organisation: String,
    /// Its name.
    pub name: String,
    /// By what gateways reach it, best first.
    pub urls: Vec<String>,
    /// Its SubjectPublicKeyInfo, base64; empty before it is enrolled.
    pub public_key: String,
    /// The session of its process; empty without one.
    pub session: String,
    /// The fingerprint of the machine that has, or had, the session.
    pub fingerprint: String,
    /// When it last reported.
    pub last_heartbeat_at: u64,
    /// How it is.
    pub health: Health,
    /// SHA-256 of the SubjectPublicKeyInfo of its certificate, base64; empty without one.
    pub pin: String,
}

#[derive(FromRow)]
struct Raw {
    id: String,
    organisation: String,
    name: String,
    urls: String,
    public_key: String,
    session: String,
    fingerprint: String,
    last_heartbeat_at: i64,
    health: String,
    health_since: i64,
    health_reason: String,
    pin: String,
}

/// What every reading statement begins with; a condition follows.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, organisation, name, urls, public_key, session, fingerprint, last_heartbeat_at, health, \
             health_since, health_reason, pin FROM relays ",
            $rest
        )
    };
}

impl Raw {
    fn row(self) -> Result<RelayRow, StoreError> {
        Ok(RelayRow {
            id: self.id,
            organisation: self.organisation,
            name: self.name,
            urls: list(&self.urls)?,
            public_key: self.public_key,
            session: self.session,
            fingerprint: self.fingerprint,
            last_heartbeat_at: of_row(self.last_heartbeat_at),
            health: Health {
                state: word(&self.health)?,
                since: of_row(self.health_since),
                reason: self.health_reason,
            },
            pin: self.pin,
        })
    }
}

impl RelayRow {
    /// Whether it is there for all organisations.
    pub fn is_shared(&self) -> bool {
        self.organisation == INSTALLATION
    }

    /// Whether it works, as far as is known.
    pub fn is_healthy(&self) -> bool {
        self.health.state == HealthState::Healthy
    }
}

fn rows(raw: Vec<Raw>) -> Result<Vec<RelayRow>, StoreError> {
    raw.into_iter().map(Raw::row).collect()
}

/// The relay with this id that belongs to the organisation itself.
///
/// # Errors
/// Those of the database.
pub async fn find(
    executor: impl AnyExecutor<'_>,
    organisation: &str,
    id: &str,
) -> Result<Option<RelayRow>, StoreError> {
    let query = sqlx::query_as::<Any, Raw>(select!("WHERE organisation = $1 AND id = $2"));
    query.bind(organisation).bind(id).fetch_optional(executor).await?.map(Raw::row).transpose()
}

/// The relay with this id, of whichever organisation: for who says its id and is yet to prove it.
///
/// # Errors
/// Those of the database.
pub async fn find_anywhere(executor: impl AnyExecutor<'_>, id: &str) -> Result<Option<RelayRow>, StoreError> {
    let query = sqlx::query_as::<Any, Raw>(select!("WHERE id = $1")).bind(id);
    query.fetch_optional(executor).await?.map(Raw::row).transpose()
}

/// The relays for which credentials can be made: the organisation's own and shared ones, by id; at most 1,000.
///
/// # Errors
/// Those of the database.
pub async fn usable(store: &Store, organisation: &str) -> Result<Vec<RelayRow>, StoreError> {
    let query = sqlx::query_as::<Any, Raw>(select!(
        "WHERE organisation IN ($1, $2) AND public_key <> '' AND EXISTS (SELECT 1 FROM relay_secrets s \
         WHERE s.relay = relays.id AND s.fetched_at > 0 AND s.retired_at = 0) ORDER BY id LIMIT 1000"
    ));
    rows(query.bind(organisation).bind(INSTALLATION).fetch_all(store.reader()).await?)
}

/// The healthy relays of all organisations, by id; at most 1,000.
///
/// # Errors
/// Those of the database.
pub async fn healthy(store: &Store) -> Result<Vec<RelayRow>, StoreError> {
    let query = sqlx::query_as::<Any, Raw>(select!("WHERE health = 'healthy' ORDER BY id LIMIT 1000"));
    rows(query.fetch_all(store.reader()).await?)
}

/// At most `limit` relays that are in the store as healthy although they have not reported since `since`.
///
/// # Errors
/// Those of the database.
pub async fn silent(store: &Store, since: u64, limit: u32) -> Result<Vec<RelayRow>, StoreError> {
    let query = sqlx::query_as::<Any, Raw>(select!(
        "WHERE health = 'healthy' AND last_heartbeat_at < $1 ORDER BY last_heartbeat_at, id LIMIT $2"
    ));
    rows(query.bind(to_row(since)).bind(i64::from(limit)).fetch_all(store.reader()).await?)
}

/// Gives a relay its key (SubjectPublicKeyInfo, base64). A relay that is enrolled anew is another machine: the one
/// before has no session any more.
///
/// # Errors
/// [`StoreError::Referenced`] where the relay has gone.
pub async fn enrol(change: &mut Change, id: &str, public_key: &str) -> Result<(), StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let statement = "UPDATE relays SET public_key = $3, enrolled_at = $4, session = '', fingerprint = '', pin = '' \
        WHERE organisation = $1 AND id = $2";
    let update = sqlx::query(statement).bind(organisation).bind(id).bind(public_key).bind(now);
    match update.execute(change.connection()).await?.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::Referenced),
    }
}

/// Ends the access tokens of a relay.
///
/// # Errors
/// Those of the database.
pub async fn end_access(change: &mut Change, id: &str) -> Result<(), StoreError> {
    let statement = "UPDATE tokens SET revoked_at = $3 \
        WHERE organisation = $1 AND subject = $2 AND kind = 'access' AND revoked_at = 0";
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    sqlx::query(statement).bind(organisation).bind(id).bind(now).execute(change.connection()).await?;
    Ok(())
}

/// Gives the session to a process, unless another one that reports has it: one with another fingerprint that was heard
/// of after `silent_since`. `false` where it is refused.
///
/// # Errors
/// Those of the database.
pub async fn begin_session(
    change: &mut Change,
    id: &str,
    session: &str,
    process: &NewSession,
    silent_since: u64,
) -> Result<bool, StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let statement = "UPDATE relays SET session = $3, fingerprint = $4, last_heartbeat_at = $5 \
        WHERE organisation = $1 AND id = $2 AND (session = '' OR fingerprint = $4 OR last_heartbeat_at < $6)";
    let update = sqlx::query(statement).bind(organisation).bind(id).bind(session).bind(&process.fingerprint);
    let update = update.bind(now).bind(to_row(silent_since));
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Ends the session of a process that stops. `false` where there is none.
///
/// # Errors
/// Those of the database.
pub async fn end_session(change: &mut Change, id: &str) -> Result<bool, StoreError> {
    let statement = "UPDATE relays SET session = '' WHERE organisation = $1 AND id = $2 AND session <> ''";
    let organisation = change.organisation().to_owned();
    let update = sqlx::query(statement).bind(organisation).bind(id);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Records a report. `false` where its session is not the present one.
///
/// # Errors
/// Those of the database.
pub async fn report(
    change: &mut Change,
    id: &str,
    session: &str,
    status: &RelayStatus,
) -> Result<bool, StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let statement = "UPDATE relays SET last_heartbeat_at = $4, status = $5 \
        WHERE organisation = $1 AND id = $2 AND session = $3 AND session <> ''";
    let update = sqlx::query(statement).bind(organisation).bind(id).bind(session).bind(now);
    let update = update.bind(to_list(status));
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Notes the pin of the relay's certificate. `false` where it is the same as before.
///
/// # Errors
/// Those of the database.
pub async fn set_pin(change: &mut Change, id: &str, pin: &str) -> Result<bool, StoreError> {
    let statement = "UPDATE relays SET pin = $3 WHERE organisation = $1 AND id = $2 AND pin <> $3";
    let organisation = change.organisation().to_owned();
    let update = sqlx::query(statement).bind(organisation).bind(id).bind(pin);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}
