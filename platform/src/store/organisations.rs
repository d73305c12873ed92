//! Organisations: the tenants. `installation` is the operators' own, and is in no list.

use serde_json::json;
use sqlx::{Any, AnyExecutor};

use super::error::StoreError;
use super::{Change, INSTALLATION, of_row, settings, tokens};
use crate::trust::random_id;
use crate::trust::token::{Kind, Pin, Token};
use crate::words::{IdentityKind, Organisation, Role};

/// An identity that was made, and its first token.
#[derive(Debug, Clone)]
pub struct FirstIdentity {
    /// The identity's id.
    pub id: String,
    /// Its token, to be shown once.
    pub token: Token,
}

/// Makes the organisation `name` with its first administrator, whose token pins `pin`. Its authorities are made with
/// [`authority::found`](crate::authority::found).
///
/// # Errors
/// [`StoreError::Conflict`] where the name is taken.
pub async fn create(
    change: &mut Change,
    name: &str,
    admin: &str,
    pin: Option<Pin>,
) -> Result<(Organisation, FirstIdentity), StoreError> {
    let id = random_id();
    insert(change, &id, name).await?;
    let identity = first_identity(change, &id, admin, Role::Admin, pin).await?;
    let object = format!("organisation:{name}");
    change.audit("organisation.created", &object, json!({ "admin": admin }));
    change.audit_of(&id, "organisation.created", &object, json!({ "admin": admin }));
    let created_at = of_row(change.now());
    Ok((Organisation { id, name: name.to_owned(), created_at }, identity))
}

pub(super) async fn insert(change: &mut Change, id: &str, name: &str) -> Result<(), StoreError> {
    let statement = "INSERT INTO organisations (id, name, generation, confirmed_epoch, created_at) \
        VALUES ($1, $2, 1, $3, $4)";
    let epoch = change.store().installation().epoch.clone();
    let insert = sqlx::query(statement).bind(id).bind(name).bind(epoch).bind(change.now());
    insert.execute(change.connection()).await?;
    Ok(())
}

/// Makes a person with one role and a token that does not run out.
///
/// # Errors
/// [`StoreError::Conflict`] where the name is taken.
pub(crate) async fn first_identity(
    change: &mut Change,
    organisation: &str,
    name: &str,
    role: Role,
    pin: Option<Pin>,
) -> Result<FirstIdentity, StoreError> {
    let id = random_id();
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, roles) = (word(json!(IdentityKind::Person)), json!([role]).to_string());
    let statement = "INSERT INTO identities \
        (id, organisation, name, kind, roles, allowed_from, created_at, revoked_at) \
        VALUES ($1, $2, $3, $4, $5, '[]', $6, 0)";
    let insert = sqlx::query(statement).bind(&id).bind(organisation).bind(name);
    let insert = insert.bind(kind).bind(roles).bind(change.now());
    insert.execute(change.connection()).await?;
    let token = Token::new(Kind::Identity, pin);
    tokens::insert(change, organisation, &token, &id, None).await?;
    Ok(FirstIdentity { id, token })
}

/// The organisation with this id or name; never that of the operators.
///
/// # Errors
/// Those of the database.
pub async fn find(executor: impl AnyExecutor<'_>, key: &str) -> Result<Option<Organisation>, StoreError> {
    let statement = "SELECT id, name, created_at FROM organisations WHERE (id = $1 OR name = $1) AND id <> $2 \
                     ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1";
    let query = sqlx::query_as::<Any, (String, String, i64)>(statement).bind(key).bind(INSTALLATION);
    Ok(query.fetch_optional(executor).await?.map(word))
}

/// The name of the organisation `id`, that of the operators too.
///
/// # Errors
/// Those of the database.
pub async fn name(executor: impl AnyExecutor<'_>, id: &str) -> Result<Option<String>, StoreError> {
    let query = sqlx::query_scalar::<Any, String>("SELECT name FROM organisations WHERE id = $1").bind(id);
    Ok(query.fetch_optional(executor).await?)
}

/// At most `limit` organisations, by name, after the name `after`.
///
/// # Errors
/// Those of the database.
pub async fn list(
    executor: impl AnyExecutor<'_>,
    after: &str,
    limit: u32,
) -> Result<Vec<Organisation>, StoreError> {
    let statement = "SELECT id, name, created_at FROM organisations WHERE id <> $1 AND name > $2 \
                     ORDER BY name LIMIT $3";
    let query = sqlx::query_as::<Any, (String, String, i64)>(statement);
    let query = query.bind(INSTALLATION).bind(after).bind(i64::from(limit));
    Ok(query.fetch_all(executor).await?.into_iter().map(word).collect())
}

/// The generation of what is wanted of the organisation's gateways: it grows with its own changes and with those of
/// the installation.
///
/// # Errors
/// Those of the database; [`StoreError::Corrupt`] where there is no such organisation.
pub async fn generation(executor: impl AnyExecutor<'_>, organisation: &str) -> Result<u64, StoreError> {
    let statement = "SELECT organisations.generation + CAST(settings.value AS BIGINT) FROM organisations, settings \
                     WHERE organisations.id = $1 AND settings.key = $2";
    let query = sqlx::query_scalar::<Any, i64>(statement).bind(organisation).bind(settings::GENERATION);
    let found = query.fetch_optional(executor).await?;
    found.map(of_row).ok_or_else(|| StoreError::Corrupt(format!("there is no organisation {organisation}")))
}

fn word((id, name, created_at): (String, String, i64)) -> Organisation {
    Organisation { id, name, created_at: of_row(created_at) }
}
