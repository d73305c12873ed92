//! Identities of an organisation.

use ipnet::IpNet;
use sqlx::{Any, FromRow};

use super::json::{list, to_list, to_word, word};
use super::{Change, INSTALLATION, Store, StoreError, of_row, revocations, time_of_row};
use crate::trust::random_id;
use crate::words::{Identity, IdentityKind, ProjectRoleOf, Role};

#[derive(FromRow)]
struct Row {
    id: String,
    name: String,
    kind: String,
    roles: String,
    allowed_from: String,
    created_at: i64,
    revoked_at: i64,
}

impl TryFrom<Row> for Identity {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            name: row.name,
            kind: word(&row.kind)?,
            roles: list(&row.roles)?,
            allowed_from: list(&row.allowed_from)?,
            created_at: of_row(row.created_at),
            revoked_at: time_of_row(row.revoked_at),
        })
    }
}

/// At most `limit` identities, by name, after the name `after`; revoked ones too.
///
/// # Errors
/// Those of the database.
pub async fn all(
    store: &Store,
    organisation: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<Identity>, StoreError> {
    let statement = "SELECT id, name, kind, roles, allowed_from, created_at, revoked_at FROM identities \
                     WHERE organisation = $1 AND name > $2 ORDER BY name LIMIT $3";
    let query = sqlx::query_as::<Any, Row>(statement).bind(organisation).bind(after).bind(i64::from(limit));
    query.fetch_all(store.reader()).await?.into_iter().map(Identity::try_from).collect()
}

/// The identity with this id or name, also where it is revoked.
///
/// # Errors
/// Those of the database.
pub async fn find(store: &Store, organisation: &str, key: &str) -> Result<Option<Identity>, StoreError> {
    let statement = "SELECT id, name, kind, roles, allowed_from, created_at, revoked_at FROM identities \
                     WHERE organisation = $1 AND (id = $2 OR name = $2) \
                     ORDER BY CASE WHEN id = $2 THEN 0 ELSE 1 END LIMIT 1";
    let query = sqlx::query_as::<Any, Row>(statement).bind(organisation).bind(key);
    query.fetch_optional(store.reader()).await?.map(Identity::try_from).transpose()
}

/// The identity with this id as it is within the change.
///
/// # Errors
/// Those of the database.
pub async fn in_change(change: &mut Change, id: &str) -> Result<Option<Identity>, StoreError> {
    let statement = "SELECT id, name, kind, roles, allowed_from, created_at, revoked_at FROM identities \
                     WHERE organisation = $1 AND id = $2";
    let organisation = change.organisation().to_owned();
    let query = sqlx::query_as::<Any, Row>(statement).bind(organisation).bind(id);
    query.fetch_optional(change.connection()).await?.map(Identity::try_from).transpose()
}

/// The roles of an identity in projects, by the projects' names.
///
/// # Errors
/// Those of the database.
pub async fn project_roles(
    store: &Store,
    organisation: &str,
    identity: &str,
) -> Result<Vec<ProjectRoleOf>, StoreError> {
    let statement = "SELECT p.name, m.role FROM members m JOIN projects p ON p.id = m.project \
                     WHERE m.organisation = $1 AND m.identity = $2 ORDER BY p.name";
    let query = sqlx::query_as::<Any, (String, String)>(statement).bind(organisation).bind(identity);
    let rows = query.fetch_all(store.reader()).await?;
    rows.into_iter().map(|(project, role)| Ok(ProjectRoleOf { project, role: word(&role)? })).collect()
}

/// Makes an identity.
///
/// # Errors
/// [`StoreError::Conflict`] where the name is, or was, another's.
pub async fn create(
    change: &mut Change,
    name: &str,
    kind: IdentityKind,
    roles: &[Role],
    allowed_from: &[IpNet],
) -> Result<Identity, StoreError> {
    let (id, now, organisation) = (random_id(), change.now(), change.organisation().to_owned());
    let statement = "INSERT INTO identities \
        (id, organisation, name, kind, roles, allowed_from, created_at, revoked_at) \
        VALUES ($1, $2, $3, $4, $5, $6, $7, 0)";
    let insert = sqlx::query(statement).bind(&id).bind(organisation).bind(name).bind(to_word(kind));
    let insert = insert.bind(to_list(roles)).bind(to_list(allowed_from)).bind(now);
    insert.execute(change.connection()).await?;
    Ok(Identity {
        id,
        name: name.to_owned(),
        kind,
        roles: roles.to_vec(),
        allowed_from: allowed_from.to_vec(),
        created_at: of_row(now),
        revoked_at: None,
    })
}

/// Gives an identity these roles and networks.
///
/// # Errors
/// Those of the database.
pub async fn set(
    change: &mut Change,
    id: &str,
    roles: &[Role],
    allowed_from: &[IpNet],
) -> Result<(), StoreError> {
    let statement = "UPDATE identities SET roles = $3, allowed_from = $4 WHERE organisation = $1 AND id = $2";
    let organisation = change.organisation().to_owned();
    let update =
        sqlx::query(statement).bind(organisation).bind(id).bind(to_list(roles)).bind(to_list(allowed_from));
    update.execute(change.connection()).await?;
    Ok(())
}

/// Revokes an identity, its tokens and its certificates; `spiffe` is its name in them.
///
/// # Errors
/// Those of the database.
pub async fn revoke(change: &mut Change, id: &str, spiffe: &str) -> Result<(), StoreError> {
    let statement =
        "UPDATE identities SET revoked_at = $3 WHERE organisation = $1 AND id = $2 AND revoked_at = 0";
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    sqlx::query(statement).bind(organisation).bind(id).bind(now).execute(change.connection()).await?;
    revocations::revoke_holder(change, id, spiffe).await
}

/// Whether an identity administers its organisation, as it is within the change.
///
/// # Errors
/// Those of the database.
pub async fn is_admin(change: &mut Change, id: &str) -> Result<bool, StoreError> {
    let organisation = change.organisation().to_owned();
    let statement = "SELECT roles FROM identities WHERE organisation = $1 AND id = $2";
    let query = sqlx::query_scalar::<Any, String>(statement).bind(organisation).bind(id);
    let roles = query.fetch_optional(change.connection()).await?;
    Ok(roles.map_or(Ok(Vec::new()), |roles| list::<Vec<Role>>(&roles))?.contains(&Role::Admin))
}

/// Whether an identity is left that administers the organisation: an operator where it is the installation.
///
/// # Errors
/// Those of the database.
pub async fn has_an_admin(change: &mut Change) -> Result<bool, StoreError> {
    let organisation = change.organisation().to_owned();
    let role = if organisation == INSTALLATION { Role::Operator } else { Role::Admin };
    let statement =
        "SELECT roles FROM identities WHERE organisation = $1 AND revoked_at = 0 AND roles <> '[]'";
    let query = sqlx::query_scalar::<Any, String>(statement).bind(organisation);
    for roles in query.fetch_all(change.connection()).await? {
        if list::<Vec<Role>>(&roles)?.contains(&role) {
            return Ok(true);
        }
    }
    Ok(false)
}
