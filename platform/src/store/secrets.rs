//! Dynamic secrets: how leases of them make their users.

use sqlx::{Any, FromRow};

use super::json::{list, to_list, to_word};
use super::owned::Kind;
use super::{Change, Store, StoreError, of_row, time_of_row};
use crate::words::{NewSecret, Secret};

/// What the columns of a [`Row`] are.
const SELECT: &str = "SELECT s.id, s.organisation, s.database_id, d.name AS database_name, d.dbname AS database_dbname, \
    d.project AS project_id, p.name AS project, s.name, s.definition, s.group_role, s.prepared_at, s.created_at \
    FROM secrets s JOIN databases d ON d.id = s.database_id JOIN projects p ON p.id = d.project";

const KIND: Kind = Kind { select: SELECT, alias: "s" };

#[derive(FromRow)]
struct Raw {
    id: String,
    organisation: String,
    database_id: String,
    database_name: String,
    database_dbname: String,
    project_id: String,
    project: String,
    name: String,
    definition: String,
    group_role: String,
    prepared_at: i64,
    created_at: i64,
}

/// A dynamic secret, with the names of what it refers to.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// The organisation's id.
    pub organisation: String,
    /// The database's id.
    pub database_id: String,
    /// The database's name.
    pub database: String,
    /// The project's id.
    pub project_id: String,
    /// The project's name.
    pub project: String,
    /// Its name.
    pub name: String,
    /// In which database on the server its users are.
    pub dbname: String,
    /// What it was defined as, complete: statements, template and schemas that were left out are filled in.
    pub definition: NewSecret,
    /// The group role; `None` where there is none.
    pub group_role: Option<String>,
    /// Since when the server is prepared for it.
    pub prepared_at: Option<u64>,
    /// When it was made.
    pub created_at: u64,
}

impl TryFrom<Raw> for Row {
    type Error = StoreError;

    fn try_from(raw: Raw) -> Result<Self, StoreError> {
        let definition: NewSecret = list(&raw.definition)?;
        let dbname = definition.dbname.clone().unwrap_or(raw.database_dbname);
        Ok(Self {
            id: raw.id,
            organisation: raw.organisation,
            database_id: raw.database_id,
            database: raw.database_name,
            project_id: raw.project_id,
            project: raw.project,
            name: raw.name,
            dbname,
            definition,
            group_role: Some(raw.group_role).filter(|group| !group.is_empty()),
            prepared_at: time_of_row(raw.prepared_at),
            created_at: of_row(raw.created_at),
        })
    }
}

impl Row {
    /// As the API shows it.
    pub fn words(&self) -> Secret {
        let it = self.definition.clone();
        Secret {
            id: self.id.clone(),
            name: self.name.clone(),
            project: self.project.clone(),
            database: self.database.clone(),
            access: it.access,
            dbname: it.dbname,
            schemas: it.schemas,
            group: self.group_role.clone(),
            creation: it.creation,
            renewal: it.renewal,
            revocation: it.revocation,
            owned: it.owned,
            username_template: it.username_template.unwrap_or_default(),
            password: it.password,
            pre_hashed: it.pre_hashed,
            default_ttl: it.default_ttl,
            max_ttl: it.max_ttl,
            max_leases: it.max_leases,
            prepared_at: self.prepared_at,
            created_at: self.created_at,
        }
    }
}

/// At most `limit` secrets, by name, after the name `after`: those of the projects of the identity `only`, where one is
/// given.
///
/// # Errors
/// Those of the database.
pub async fn all(
    store: &Store,
    organisation: &str,
    only: Option<&str>,
    after: &str,
    limit: u32,
) -> Result<Vec<Row>, StoreError> {
    KIND.all::<Raw, Row>(store, organisation, only, after, limit).await
}

/// The secret with this id or name, where the identity `only` is in its project or none is given.
///
/// # Errors
/// Those of the database.
pub async fn find(
    store: &Store,
    organisation: &str,
    only: Option<&str>,
    key: &str,
) -> Result<Option<Row>, StoreError> {
    KIND.find::<Raw, Row>(store, organisation, only, key).await
}

/// The secret with this id.
///
/// # Errors
/// Those of the database.
pub async fn by_id(store: &Store, organisation: &str, id: &str) -> Result<Option<Row>, StoreError> {
    KIND.by_id::<Raw, Row>(store, organisation, id).await
}

/// Makes a secret with this id, of the database with the id `database`; `definition` is complete.
///
/// # Errors
/// [`StoreError::Conflict`] where the name is taken, [`StoreError::Referenced`] where the database has gone.
pub async fn create(
    change: &mut Change,
    id: &str,
    database: &str,
    definition: &NewSecret,
    group_role: Option<&str>,
) -> Result<(), StoreError> {
    let (now, organisation) = (change.now(), change.organisation().to_owned());
    let statement = "INSERT INTO secrets (id, organisation, database_id, name, access, dbname, definition, \
        group_role, max_leases, prepared_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10)";
    let insert = sqlx::query(statement).bind(id).bind(organisation).bind(database).bind(&definition.name);
    let insert = insert.bind(to_word(definition.access)).bind(definition.dbname.clone().unwrap_or_default());
    let insert = insert.bind(to_list(definition)).bind(group_role.unwrap_or_default());
    let insert = insert.bind(i64::from(definition.max_leases)).bind(now);
    insert.execute(change.connection()).await?;
    Ok(())
}

/// Nothing is known to be prepared for the secrets of a database any more. No lease of them begins before the change
/// takes effect.
///
/// # Errors
/// Those of the database.
pub async fn unprepare(change: &mut Change, database: &str) -> Result<(), StoreError> {
    let organisation = change.organisation().to_owned();
    let statement = "UPDATE secrets SET prepared_at = 0 WHERE organisation = $1 AND database_id = $2";
    sqlx::query(statement).bind(organisation).bind(database).execute(change.connection()).await?;
    Ok(())
}

/// Notes that the server is prepared for a secret.
///
/// # Errors
/// Those of the database.
pub async fn set_prepared(change: &mut Change, id: &str) -> Result<(), StoreError> {
    let (now, organisation) = (change.now(), change.organisation().to_owned());
    let statement = "UPDATE secrets SET prepared_at = $3 WHERE organisation = $1 AND id = $2";
    sqlx::query(statement).bind(organisation).bind(id).bind(now).execute(change.connection()).await?;
    Ok(())
}

/// How many leases of a secret have a user, or may have one.
///
/// # Errors
/// Those of the database.
pub async fn living(store: &Store, organisation: &str, id: &str) -> Result<i64, StoreError> {
    let statement = "SELECT COUNT(*) FROM leases WHERE organisation = $1 AND secret = $2 \
        AND state IN ('creating', 'active', 'revoking')";
    let query = sqlx::query_scalar::<Any, i64>(statement).bind(organisation).bind(id);
    Ok(query.fetch_one(store.reader()).await?)
}

/// Deletes a secret, and its leases that have ended.
///
/// # Errors
/// [`StoreError::Referenced`] while others live.
pub async fn delete(change: &mut Change, id: &str) -> Result<(), StoreError> {
    let organisation = change.organisation().to_owned();
    for statement in [
        "DELETE FROM leases WHERE organisation = $1 AND secret = $2 AND state IN ('revoked', 'failed', 'abandoned')",
        "DELETE FROM secrets WHERE organisation = $1 AND id = $2",
    ] {
        sqlx::query(statement).bind(&organisation).bind(id).execute(change.connection()).await?;
    }
    Ok(())
}
