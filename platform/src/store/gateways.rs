//! Gateways of an organisation, with their instances as people see them.

use std::collections::BTreeMap;

use sqlx::{Any, FromRow};

use super::json::{list, word};
use super::{Change, Store, StoreError, of_row, revocations, time_of_row};
use crate::trust::random_id;
use crate::words::{Gateway, Health, HealthState, Instance};

#[derive(FromRow)]
struct Row {
    id: String,
    name: String,
    created_at: i64,
}

impl Row {
    fn with(self, instances: Vec<Instance>) -> Gateway {
        let created_at = of_row(self.created_at);
        let health = best_health(&instances, created_at);
        Gateway { id: self.id, name: self.name, created_at, health, instances }
    }
}

/// The best of the instances' health. Those that are revoked don't count, unless there is nothing else.
fn best_health(instances: &[Instance], created_at: u64) -> Health {
    let rank = |state| match state {
        HealthState::Healthy => 0,
        HealthState::Degraded => 1,
        HealthState::Pending => 2,
        HealthState::Offline => 3,
        HealthState::Revoked => 4,
    };
    let best = instances.iter().map(|instance| &instance.health).min_by_key(|health| rank(health.state));
    best.cloned().unwrap_or_else(|| Health {
        state: HealthState::Pending,
        since: created_at,
        reason: "no instance has been enrolled".to_owned(),
    })
}

#[derive(FromRow)]
struct InstanceRow {
    id: String,
    gateway_id: String,
    gateway: String,
    health: String,
    health_since: i64,
    health_reason: String,
    addresses: String,
    relays: String,
    peers: String,
    version: String,
    enrolled_at: i64,
    last_heartbeat_at: i64,
    certificate_expires_at: i64,
    revoked_at: i64,
}

impl TryFrom<InstanceRow> for Instance {
    type Error = StoreError;

    fn try_from(row: InstanceRow) -> Result<Self, StoreError> {
        let health = match time_of_row(row.revoked_at) {
            Some(since) => Health { state: HealthState::Revoked, since, reason: "it was revoked".to_owned() },
            None => Health {
                state: word(&row.health)?,
                since: of_row(row.health_since),
                reason: row.health_reason,
            },
        };
        Ok(Self {
            id: row.id,
            gateway: row.gateway,
            health,
            addresses: list(&row.addresses)?,
            relays: list(&row.relays)?,
            peers: list(&row.peers)?,
            version: row.version,
            enrolled_at: of_row(row.enrolled_at),
            last_heartbeat_at: time_of_row(row.last_heartbeat_at),
            certificate_expires_at: time_of_row(row.certificate_expires_at),
            revoked_at: time_of_row(row.revoked_at),
        })
    }
}

/// At most `limit` gateways, by name, after the name `after`: those that projects of the identity `only` are linked
/// to, where one is given.
///
/// # Errors
/// Those of the database.
pub async fn all(
    store: &Store,
    organisation: &str,
    only: Option<&str>,
    after: &str,
    limit: u32,
) -> Result<Vec<Gateway>, StoreError> {
    let statement = "SELECT id, name, created_at FROM gateways WHERE organisation = $1 AND name > $3 \
        AND ($2 = '' OR id IN (SELECT l.gateway FROM links l JOIN members m ON m.project = l.project \
                               WHERE m.organisation = $1 AND m.identity = $2)) \
        ORDER BY name LIMIT $4";
    let query = sqlx::query_as::<Any, Row>(statement).bind(organisation).bind(only.unwrap_or_default());
    let rows = query.bind(after).bind(i64::from(limit)).fetch_all(store.reader()).await?;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Vec::new()) };
    let mut instances = instances(store, organisation, &first.name, &last.name).await?;
    let gateway = |row: Row| {
        let of = instances.remove(&row.id).unwrap_or_default();
        row.with(of)
    };
    Ok(rows.into_iter().map(gateway).collect())
}

/// The instances of the gateways from the name `first` to the name `last`, by gateway.
async fn instances(
    store: &Store,
    organisation: &str,
    first: &str,
    last: &str,
) -> Result<BTreeMap<String, Vec<Instance>>, StoreError> {
    let statement = "SELECT i.id, g.id AS gateway_id, g.name AS gateway, i.health, i.health_since, i.health_reason, \
            i.addresses, i.relays, i.peers, i.version, i.enrolled_at, i.last_heartbeat_at, i.revoked_at, \
            COALESCE((SELECT MAX(c.not_after) FROM certificates c WHERE c.holder = i.id), 0) AS certificate_expires_at \
        FROM instances i JOIN gateways g ON g.id = i.gateway \
        WHERE i.organisation = $1 AND g.organisation = $1 AND g.name >= $2 AND g.name <= $3 \
        ORDER BY i.enrolled_at, i.id";
    let query = sqlx::query_as::<Any, InstanceRow>(statement).bind(organisation).bind(first).bind(last);
    let mut instances: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
    for row in query.fetch_all(store.reader()).await? {
        instances.entry(row.gateway_id.clone()).or_default().push(row.try_into()?);
    }
    Ok(instances)
}

/// The gateway with this id or name, where a project of the identity `only` is linked to it or none is given.
///
/// # Errors
/// Those of the database.
pub async fn find(
    store: &Store,
    organisation: &str,
    only: Option<&str>,
    key: &str,
) -> Result<Option<Gateway>, StoreError> {
    let statement = "SELECT id, name, created_at FROM gateways WHERE organisation = $1 AND (id = $3 OR name = $3) \
        AND ($2 = '' OR id IN (SELECT l.gateway FROM links l JOIN members m ON m.project = l.project \
                               WHERE m.organisation = $1 AND m.identity = $2)) \
        ORDER BY CASE WHEN id = $3 THEN 0 ELSE 1 END LIMIT 1";
    let query =
        sqlx::query_as::<Any, Row>(statement).bind(organisation).bind(only.unwrap_or_default()).bind(key);
    let Some(row) = query.fetch_optional(store.reader()).await? else { return Ok(None) };
    let instances = instances(store, organisation, &row.name, &row.name).await?.remove(&row.id);
    Ok(Some(row.with(instances.unwrap_or_default())))
}

/// Makes a gateway.
///
/// # Errors
/// [`StoreError::Conflict`] where the name is taken.
pub async fn create(change: &mut Change, name: &str) -> Result<Gateway, StoreError> {
    let (id, now, organisation) = (random_id(), change.now(), change.organisation().to_owned());
    let statement = "INSERT INTO gateways (id, organisation, name, created_at) VALUES ($1, $2, $3, $4)";
    let insert = sqlx::query(statement).bind(&id).bind(organisation).bind(name).bind(now);
    insert.execute(change.connection()).await?;
    Ok(Row { id, name: name.to_owned(), created_at: now }.with(Vec::new()))
}

/// Revokes an instance, its tokens and its certificates; `spiffe` is its name in them.
///
/// # Errors
/// Those of the database.
pub async fn revoke_instance(change: &mut Change, id: &str, spiffe: &str) -> Result<(), StoreError> {
    let statement = "UPDATE instances SET revoked_at = $3, watcher = '', watched_until = 0 \
                     WHERE organisation = $1 AND id = $2 AND revoked_at = 0";
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    sqlx::query(statement).bind(organisation).bind(id).bind(now).execute(change.connection()).await?;
    revocations::revoke_holder(change, id, spiffe).await
}

/// Deletes a gateway, its links, its enrolment tokens and its instances, which are to be revoked before.
///
/// # Errors
/// Those of the database.
pub async fn delete(change: &mut Change, id: &str) -> Result<(), StoreError> {
    let organisation = change.organisation().to_owned();
    for statement in [
        "DELETE FROM tokens WHERE organisation = $1 AND subject = $2",
        "DELETE FROM links WHERE organisation = $1 AND gateway = $2",
        "DELETE FROM permits WHERE organisation = $1 AND gateway = $2",
        "DELETE FROM instances WHERE organisation = $1 AND gateway = $2",
        "DELETE FROM gateways WHERE organisation = $1 AND id = $2",
    ] {
        sqlx::query(statement).bind(&organisation).bind(id).execute(change.connection()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(state: HealthState) -> Instance {
        Instance {
            id: String::new(),
            gateway: String::new(),
            health: Health { state, since: 2, reason: String::new() },
            addresses: Vec::new(),
            relays: Vec::new(),
            peers: Vec::new(),
            version: String::new(),
            enrolled_at: 1,
            last_heartbeat_at: None,
            certificate_expires_at: None,
            revoked_at: None,
        }
    }

    #[test]
    fn a_gateway_is_as_well_as_its_best_instance() {
        use HealthState::*;
        let of = |states: &[HealthState]| {
            let instances: Vec<_> = states.iter().map(|&state| instance(state)).collect();
            best_health(&instances, 1).state
        };
        assert_eq!(of(&[]), Pending);
        assert_eq!(of(&[Offline, Healthy, Revoked]), Healthy);
        assert_eq!(of(&[Offline, Pending]), Pending);
        assert_eq!(of(&[Revoked, Offline]), Offline);
    }
}
