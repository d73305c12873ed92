//! Projects of an organisation, and who is in them.

use std::collections::BTreeMap;

use sqlx::{Any, FromRow};

use super::json::{to_word, word};
use super::{Change, Store, StoreError, of_row};
use crate::trust::random_id;
use crate::words::{Member, Project, ProjectRole};

#[derive(FromRow)]
struct Row {
    id: String,
    name: String,
    created_at: i64,
}

impl Row {
    fn with(self, members: Vec<Member>) -> Project {
        Project { id: self.id, name: self.name, created_at: of_row(self.created_at), members }
    }
}

/// At most `limit` projects, by name, after the name `after`: those of the identity `only`, where one is given.
///
/// # Errors
/// Those of the database.
pub async fn all(
    store: &Store,
    organisation: &str,
    only: Option<&str>,
    after: &str,
    limit: u32,
) -> Result<Vec<Project>, StoreError> {
    let statement = "SELECT id, name, created_at FROM projects WHERE organisation = $1 AND name > $3 \
        AND ($2 = '' OR id IN (SELECT project FROM members WHERE organisation = $1 AND identity = $2)) \
        ORDER BY name LIMIT $4";
    let query = sqlx::query_as::<Any, Row>(statement).bind(organisation).bind(only.unwrap_or_default());
    let rows = query.bind(after).bind(i64::from(limit)).fetch_all(store.reader()).await?;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return Ok(Vec::new()) };
    let mut members = members(store, organisation, &first.name, &last.name).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let of = members.remove(&row.id).unwrap_or_default();
            row.with(of)
        })
        .collect())
}

/// The members of the projects from the name `first` to the name `last`, by project.
async fn members(
    store: &Store,
    organisation: &str,
    first: &str,
    last: &str,
) -> Result<BTreeMap<String, Vec<Member>>, StoreError> {
    let statement = "SELECT m.project, i.name, m.role FROM members m \
        JOIN projects p ON p.id = m.project JOIN identities i ON i.id = m.identity \
        WHERE m.organisation = $1 AND p.name >= $2 AND p.name <= $3 ORDER BY i.name";
    let query =
        sqlx::query_as::<Any, (String, String, String)>(statement).bind(organisation).bind(first).bind(last);
    let mut members: BTreeMap<String, Vec<Member>> = BTreeMap::new();
    for (project, identity, role) in query.fetch_all(store.reader()).await? {
        members.entry(project).or_default().push(Member { identity, role: word(&role)? });
    }
    Ok(members)
}

/// The project with this id or name, where the identity `only` is in it or none is given.
///
/// # Errors
/// Those of the database.
pub async fn find(
    store: &Store,
    organisation: &str,
    only: Option<&str>,
    key: &str,
) -> Result<Option<Project>, StoreError> {
    let statement = "SELECT id, name, created_at FROM projects WHERE organisation = $1 AND (id = $3 OR name = $3) \
        AND ($2 = '' OR id IN (SELECT project FROM members WHERE organisation = $1 AND identity = $2)) \
        ORDER BY CASE WHEN id = $3 THEN 0 ELSE 1 END LIMIT 1";
    let query =
        sqlx::query_as::<Any, Row>(statement).bind(organisation).bind(only.unwrap_or_default()).bind(key);
    let Some(row) = query.fetch_optional(store.reader()).await? else { return Ok(None) };
    let members = members(store, organisation, &row.name, &row.name).await?.remove(&row.id);
    Ok(Some(row.with(members.unwrap_or_default())))
}

/// Makes a project.
///
/// # Errors
/// [`StoreError::Conflict`] where the name is taken.
pub async fn create(change: &mut Change, name: &str) -> Result<Project, StoreError> {
    let (id, now, organisation) = (random_id(), change.now(), change.organisation().to_owned());
    let statement = "INSERT INTO projects (id, organisation, name, created_at) VALUES ($1, $2, $3, $4)";
    let insert = sqlx::query(statement).bind(&id).bind(organisation).bind(name).bind(now);
    insert.execute(change.connection()).await?;
    Ok(Row { id, name: name.to_owned(), created_at: now }.with(Vec::new()))
}

/// Deletes a project, its links and its memberships.
///
/// # Errors
/// Those of the database.
pub async fn delete(change: &mut Change, id: &str) -> Result<(), StoreError> {
    let organisation = change.organisation().to_owned();
    for statement in [
        "DELETE FROM links WHERE organisation = $1 AND project = $2",
        "DELETE FROM members WHERE organisation = $1 AND project = $2",
        "DELETE FROM projects WHERE organisation = $1 AND id = $2",
    ] {
        sqlx::query(statement).bind(&organisation).bind(id).execute(change.connection()).await?;
    }
    Ok(())
}

/// Gives an identity a role in a project.
///
/// # Errors
/// [`StoreError::Referenced`] where one of them has gone.
pub async fn set_member(
    change: &mut Change,
    project: &str,
    identity: &str,
    role: ProjectRole,
) -> Result<(), StoreError> {
    let statement = "INSERT INTO members (organisation, project, identity, role) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (project, identity) DO UPDATE SET role = excluded.role";
    let organisation = change.organisation().to_owned();
    let upsert = sqlx::query(statement).bind(organisation).bind(project).bind(identity).bind(to_word(role));
    upsert.execute(change.connection()).await?;
    Ok(())
}

/// Takes an identity out of a project.
///
/// # Errors
/// Those of the database.
pub async fn remove_member(change: &mut Change, project: &str, identity: &str) -> Result<(), StoreError> {
    let statement = "DELETE FROM members WHERE organisation = $1 AND project = $2 AND identity = $3";
    let organisation = change.organisation().to_owned();
    sqlx::query(statement)
        .bind(organisation)
        .bind(project)
        .bind(identity)
        .execute(change.connection())
        .await?;
    Ok(())
}
