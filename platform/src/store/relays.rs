//! Relays: those of an organisation, and the shared ones of the installation.

use sqlx::{Any, FromRow};

use super::json::{list, to_list, word};
use super::{Change, INSTALLATION, Store, StoreError, of_row};
use crate::trust::random_id;
use crate::words::{Health, HealthState, Relay};

#[derive(FromRow)]
struct Row {
    id: String,
    organisation: String,
    name: String,
    urls: String,
    created_at: i64,
    status: String,
    health: String,
    health_since: i64,
    health_reason: String,
}

impl TryFrom<Row> for Relay {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            name: row.name,
            shared: row.organisation == INSTALLATION,
            urls: list(&row.urls)?,
            created_at: of_row(row.created_at),
            health: Health {
                state: word(&row.health)?,
                since: of_row(row.health_since),
                reason: row.health_reason,
            },
            status: if row.status.is_empty() { None } else { Some(list(&row.status)?) },
        })
    }
}

/// At most `limit` relays that an organisation can use, by id, after the id `after`.
///
/// # Errors
/// Those of the database.
pub async fn all(
    store: &Store,
    organisation: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<Relay>, StoreError> {
    let statement = "SELECT id, organisation, name, urls, created_at, status, health, health_since, health_reason \
        FROM relays WHERE organisation IN ($1, $2) AND id > $3 ORDER BY id LIMIT $4";
    let query = sqlx::query_as::<Any, Row>(statement).bind(organisation).bind(INSTALLATION);
    let rows = query.bind(after).bind(i64::from(limit)).fetch_all(store.reader()).await?;
    rows.into_iter().map(Relay::try_from).collect()
}

/// The relay with this id or name that an organisation can use: its own before a shared one.
///
/// # Errors
/// Those of the database.
pub async fn find(store: &Store, organisation: &str, key: &str) -> Result<Option<Relay>, StoreError> {
    let statement = "SELECT id, organisation, name, urls, created_at, status, health, health_since, health_reason \
        FROM relays WHERE organisation IN ($1, $2) AND (id = $3 OR name = $3) \
        ORDER BY CASE WHEN id = $3 THEN 0 WHEN organisation = $1 THEN 1 ELSE 2 END LIMIT 1";
    let query = sqlx::query_as::<Any, Row>(statement).bind(organisation).bind(INSTALLATION).bind(key);
    query.fetch_optional(store.reader()).await?.map(Relay::try_from).transpose()
}

/// Makes a relay of the change's organisation.
///
/// # Errors
/// [`StoreError::Conflict`] where the name is taken.
pub async fn create(change: &mut Change, name: &str, urls: &[String]) -> Result<Relay, StoreError> {
    let (id, now, organisation) = (random_id(), change.now(), change.organisation().to_owned());
    let reason = "it has not been enrolled";
    let statement = "INSERT INTO relays (id, organisation, name, urls, created_at, public_key, enrolled_at, session, \
            fingerprint, last_heartbeat_at, status, health, health_since, health_reason, pin) \
        VALUES ($1, $2, $3, $4, $5, '', 0, '', '', 0, '', 'pending', $5, $6, '')";
    let insert = sqlx::query(statement).bind(&id).bind(&organisation).bind(name).bind(to_list(urls));
    insert.bind(now).bind(reason).execute(change.connection()).await?;
    Ok(Relay {
        id,
        name: name.to_owned(),
        shared: organisation == INSTALLATION,
        urls: urls.to_vec(),
        created_at: of_row(now),
        health: Health { state: HealthState::Pending, since: of_row(now), reason: reason.to_owned() },
        status: None,
    })
}

/// Deletes a relay, its secrets and its tokens.
///
/// # Errors
/// Those of the database.
pub async fn delete(change: &mut Change, id: &str) -> Result<(), StoreError> {
    let organisation = change.organisation().to_owned();
    for statement in [
        "DELETE FROM tokens WHERE organisation = $1 AND subject = $2",
        "DELETE FROM relay_secrets WHERE organisation = $1 AND relay = $2",
        "DELETE FROM relays WHERE organisation = $1 AND id = $2",
    ] {
        sqlx::query(statement).bind(&organisation).bind(id).execute(change.connection()).await?;
    }
    Ok(())
}
