//! Gateway instances, as they enrol, begin, report and end.

use std::net::SocketAddr;

use sqlx::{Any, AnyExecutor, FromRow};

use super::json::{list, to_list, word};
use super::{Change, Store, StoreError, of_row, to_row};
use crate::words::{Health, Heartbeat, RelayUse};

/// What is known of an instance. Times are unix seconds; 0 is never.
#[derive(Debug, Clone)]
pub struct InstanceRow {
    /// Its id.
    pub id: String,
    /// The organisation's id.
    pub organisation: String,
    /// The organisation's name.
    pub organisation_name: String,
    /// The gateway's id.
    pub gateway: String,
    /// The gateway's name.
    pub gateway_name: String,
    /// Its SubjectPublicKeyInfo, base64.
    pub public_key: String,
    /// Since when it is revoked.
    pub revoked_at: u64,
    /// The session of its process; empty without one.
    pub session: String,
    /// The fingerprint of the machine that has, or had, the session.
    pub fingerprint: String,
    /// When it last reported.
    pub last_heartbeat_at: u64,
    /// The relayed addresses, best first.
    pub addresses: Vec<SocketAddr>,
    /// What it says about its relays.
    pub relays: Vec<RelayUse>,
    /// How it is.
    pub health: Health,
    /// When it last answered its watcher.
    pub last_pong_at: u64,
}

#[derive(FromRow)]
struct Raw {
    id: String,
    organisation: String,
    organisation_name: String,
    gateway: String,
    gateway_name: String,
    public_key: String,
    revoked_at: i64,
    session: String,
    fingerprint: String,
    last_heartbeat_at: i64,
    addresses: String,
    relays: String,
    health: String,
    health_since: i64,
    health_reason: String,
    last_pong_at: i64,
}

/// What every reading statement begins with; a condition follows.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT i.id, i.organisation, o.name AS organisation_name, i.gateway, g.name AS gateway_name, \
             i.public_key, i.revoked_at, i.session, i.fingerprint, i.last_heartbeat_at, i.addresses, i.relays, \
             i.health, i.health_since, i.health_reason, i.last_pong_at FROM instances i \
             JOIN gateways g ON g.id = i.gateway JOIN organisations o ON o.id = i.organisation ",
            $rest
        )
    };
}

impl Raw {
    fn row(self) -> Result<InstanceRow, StoreError> {
        Ok(InstanceRow {
            id: self.id,
            organisation: self.organisation,
            organisation_name: self.organisation_name,
            gateway: self.gateway,
            gateway_name: self.gateway_name,
            public_key: self.public_key,
            revoked_at: of_row(self.revoked_at),
            session: self.session,
            fingerprint: self.fingerprint,
            last_heartbeat_at: of_row(self.last_heartbeat_at),
            addresses: list(&self.addresses)?,
            relays: list(&self.relays)?,
            health: Health {
                state: word(&self.health)?,
                since: of_row(self.health_since),
                reason: self.health_reason,
            },
            last_pong_at: of_row(self.last_pong_at),
        })
    }
}

fn rows(raw: Vec<Raw>) -> Result<Vec<InstanceRow>, StoreError> {
    raw.into_iter().map(Raw::row).collect()
}

/// The instance with this id.
///
/// # Errors
/// Those of the database.
pub async fn find(
    executor: impl AnyExecutor<'_>,
    organisation: &str,
    id: &str,
) -> Result<Option<InstanceRow>, StoreError> {
    let query = sqlx::query_as::<Any, Raw>(select!("WHERE i.organisation = $1 AND i.id = $2"));
    query.bind(organisation).bind(id).fetch_optional(executor).await?.map(Raw::row).transpose()
}

/// The instance with this id, of whichever organisation: for who says its id and is yet to prove it.
///
/// # Errors
/// Those of the database.
pub async fn find_anywhere(
    executor: impl AnyExecutor<'_>,
    id: &str,
) -> Result<Option<InstanceRow>, StoreError> {
    let query = sqlx::query_as::<Any, Raw>(select!("WHERE i.id = $1")).bind(id);
    query.fetch_optional(executor).await?.map(Raw::row).transpose()
}

/// The instances of a gateway that have a session and are not revoked, by id; at most 500.
///
/// # Errors
/// Those of the database.
pub async fn in_session(
    store: &Store,
    organisation: &str,
    gateway: &str,
) -> Result<Vec<InstanceRow>, StoreError> {
    let query = sqlx::query_as::<Any, Raw>(select!(
        "WHERE i.organisation = $1 AND i.gateway = $2 AND i.revoked_at = 0 AND i.session <> '' ORDER BY i.id LIMIT 500"
    ));
    rows(query.bind(organisation).bind(gateway).fetch_all(store.reader()).await?)
}

/// At most `limit` instances of all organisations that are in the store as healthy or degraded although they have not
/// reported since `since`, or have not answered since `answered_since`.
///
/// # Errors
/// Those of the database.
pub async fn silent(
    store: &Store,
    since: u64,
    answered_since: u64,
    limit: u32,
) -> Result<Vec<InstanceRow>, StoreError> {
    let query = sqlx::query_as::<Any, Raw>(select!(
        "WHERE i.revoked_at = 0 AND ((i.health IN ('healthy', 'degraded') AND i.last_heartbeat_at < $1) \
         OR (i.health = 'healthy' AND i.last_pong_at < $2)) ORDER BY i.last_heartbeat_at, i.id LIMIT $3"
    ));
    let query = query.bind(to_row(since)).bind(to_row(answered_since)).bind(i64::from(limit));
    rows(query.fetch_all(store.reader()).await?)
}

/// Makes the instance `id` of `gateway`, whose key is `public_key` (SubjectPublicKeyInfo, base64).
///
/// # Errors
/// [`StoreError::Referenced`] where the gateway has gone.
pub async fn enrol(change: &mut Change, id: &str, gateway: &str, public_key: &str) -> Result<(), StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let statement = "INSERT INTO instances (id, organisation, gateway, public_key, enrolled_at, revoked_at, session, \
        fingerprint, version, last_heartbeat_at, generation, addresses, relays, peers, health, health_since, \
        health_reason, watcher, watched_until, last_pong_at) \
        VALUES ($1, $2, $3, $4, $5, 0, '', '', '', 0, 0, '[]', '[]', '[]', 'pending', $5, $6, '', 0, 0)";
    let insert = sqlx::query(statement).bind(id).bind(organisation).bind(gateway).bind(public_key).bind(now);
    insert.bind("it was never started").execute(change.connection()).await?;
    Ok(())
}

/// Gives the session to a process, unless another one that reports has it: one with another fingerprint that was heard
/// of after `silent_since`. What the process before had reported is forgotten. `false` where it is refused, or the
/// instance is revoked.
///
/// # Errors
/// Those of the database.
pub async fn begin_session(
    change: &mut Change,
    id: &str,
    session: &str,
    process: &crate::words::NewSession,
    silent_since: u64,
) -> Result<bool, StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let statement = "UPDATE instances SET session = $3, fingerprint = $4, version = $5, last_heartbeat_at = $6, \
        generation = 0, addresses = '[]', relays = '[]', peers = '[]', last_pong_at = 0 \
        WHERE organisation = $1 AND id = $2 AND revoked_at = 0 \
        AND (session = '' OR fingerprint = $4 OR last_heartbeat_at < $7)";
    let update = sqlx::query(statement).bind(organisation).bind(id).bind(session).bind(&process.fingerprint);
    let update = update.bind(&process.version).bind(now).bind(to_row(silent_since));
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Ends the session of a process that stops. `false` where it is not the present one.
///
/// # Errors
/// Those of the database.
pub async fn end_session(change: &mut Change, id: &str) -> Result<bool, StoreError> {
    let statement = "UPDATE instances SET session = '', addresses = '[]', relays = '[]', peers = '[]' \
        WHERE organisation = $1 AND id = $2 AND session <> ''";
    let organisation = change.organisation().to_owned();
    let update = sqlx::query(statement).bind(organisation).bind(id);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}

/// Records a report. `false` where its session is not the present one, or the instance is revoked.
///
/// # Errors
/// Those of the database.
pub async fn report(change: &mut Change, id: &str, heartbeat: &Heartbeat) -> Result<bool, StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let statement = "UPDATE instances SET last_heartbeat_at = $4, generation = $5, addresses = $6, relays = $7, \
        peers = $8 WHERE organisation = $1 AND id = $2 AND session = $3 AND session <> '' AND revoked_at = 0";
    let update = sqlx::query(statement).bind(organisation).bind(id).bind(&heartbeat.session).bind(now);
    let update = update.bind(to_row(heartbeat.generation)).bind(to_list(&heartbeat.addresses));
    let update = update.bind(to_list(&heartbeat.relays)).bind(to_list(&heartbeat.peers));
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}
