//! Links from projects to gateways.

use std::collections::BTreeSet;

use sqlx::{Any, FromRow};

use super::json::{list, to_list};
use super::{Change, Store, StoreError, of_row};
use crate::trust::random_id;
use crate::words::Link;

#[derive(FromRow)]
struct Row {
    id: String,
    project_id: String,
    project: String,
    gateway: String,
    targets: String,
    created_at: i64,
}

impl Row {
    fn link(self) -> Result<(Link, String), StoreError> {
        let targets = list(&self.targets)?;
        let created_at = of_row(self.created_at);
        let link = Link { id: self.id, project: self.project, gateway: self.gateway, targets, created_at };
        Ok((link, self.project_id))
    }
}

/// At most `limit` links, by id, after the id `after`: those of the projects of the identity `only`, where one is
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
) -> Result<Vec<Link>, StoreError> {
    let statement = "SELECT l.id, p.id AS project_id, p.name AS project, g.name AS gateway, l.targets, l.created_at \
        FROM links l JOIN projects p ON p.id = l.project JOIN gateways g ON g.id = l.gateway \
        WHERE l.organisation = $1 AND l.id > $3 \
        AND ($2 = '' OR p.id IN (SELECT project FROM members WHERE organisation = $1 AND identity = $2)) \
        ORDER BY l.id LIMIT $4";
    let query = sqlx::query_as::<Any, Row>(statement).bind(organisation).bind(only.unwrap_or_default());
    let rows = query.bind(after).bind(i64::from(limit)).fetch_all(store.reader()).await?;
    rows.into_iter().map(|row| Ok(row.link()?.0)).collect()
}

/// The link with this id, and its project's.
///
/// # Errors
/// Those of the database.
pub async fn find(store: &Store, organisation: &str, id: &str) -> Result<Option<(Link, String)>, StoreError> {
    let statement = "SELECT l.id, p.id AS project_id, p.name AS project, g.name AS gateway, l.targets, l.created_at \
        FROM links l JOIN projects p ON p.id = l.project JOIN gateways g ON g.id = l.gateway \
        WHERE l.organisation = $1 AND l.id = $2";
    let query = sqlx::query_as::<Any, Row>(statement).bind(organisation).bind(id);
    query.fetch_optional(store.reader()).await?.map(Row::link).transpose()
}

/// The targets that links to a gateway allow: all of them, or those of the projects of the identity `only`.
///
/// # Errors
/// Those of the database.
pub async fn targets(
    store: &Store,
    organisation: &str,
    only: Option<&str>,
    gateway: &str,
) -> Result<BTreeSet<String>, StoreError> {
    let statement = "SELECT l.targets FROM links l WHERE l.organisation = $1 AND l.gateway = $3 \
        AND ($2 = '' OR l.project IN (SELECT project FROM members WHERE organisation = $1 AND identity = $2))";
    let query =
        sqlx::query_scalar::<Any, String>(statement).bind(organisation).bind(only.unwrap_or_default());
    let lists = query.bind(gateway).fetch_all(store.reader()).await?;
    let lists = lists.iter().map(|targets| list::<Vec<String>>(targets)).collect::<Result<Vec<_>, _>>()?;
    Ok(lists.into_iter().flatten().collect())
}

/// Whether the link from a project to a gateway, by id, allows `target`, which is in its one form.
///
/// # Errors
/// Those of the database.
pub async fn allows(
    store: &Store,
    organisation: &str,
    project: &str,
    gateway: &str,
    target: &str,
) -> Result<bool, StoreError> {
    let query = sqlx::query_scalar::<Any, String>(TARGETS).bind(organisation).bind(project).bind(gateway);
    is_among(query.fetch_optional(store.reader()).await?, target)
}

/// The same as it is within the change.
///
/// # Errors
/// Those of the database.
pub async fn allows_in_change(
    change: &mut Change,
    project: &str,
    gateway: &str,
    target: &str,
) -> Result<bool, StoreError> {
    let organisation = change.organisation().to_owned();
    let query = sqlx::query_scalar::<Any, String>(TARGETS).bind(organisation).bind(project).bind(gateway);
    is_among(query.fetch_optional(change.connection()).await?, target)
}

const TARGETS: &str = "SELECT targets FROM links WHERE organisation = $1 AND project = $2 AND gateway = $3";

fn is_among(targets: Option<String>, target: &str) -> Result<bool, StoreError> {
    let targets = targets.map(|targets| list::<Vec<String>>(&targets)).transpose()?;
    Ok(targets.is_some_and(|targets| targets.iter().any(|allowed| allowed == target)))
}

/// What became of a link.
#[derive(Debug)]
pub struct Set {
    /// Its id.
    pub id: String,
    /// The targets that it had before; none where it is new.
    pub before: Vec<String>,
    /// When it was made.
    pub created_at: u64,
}

/// Says which targets a project reaches through a gateway.
///
/// # Errors
/// [`StoreError::Referenced`] where one of them has gone.
pub async fn set(
    change: &mut Change,
    project: &str,
    gateway: &str,
    targets: &[String],
) -> Result<Set, StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let known = "SELECT targets FROM links WHERE organisation = $1 AND project = $2 AND gateway = $3";
    let known = sqlx::query_scalar::<Any, String>(known).bind(&organisation).bind(project).bind(gateway);
    let before = known.fetch_optional(change.connection()).await?;
    let statement = "INSERT INTO links (id, organisation, project, gateway, targets, created_at) \
        VALUES ($1, $2, $3, $4, $5, $6) \
        ON CONFLICT (project, gateway) DO UPDATE SET targets = excluded.targets RETURNING id, created_at";
    let upsert = sqlx::query_as::<Any, (String, i64)>(statement).bind(random_id()).bind(organisation);
    let upsert = upsert.bind(project).bind(gateway).bind(to_list(targets)).bind(now);
    let (id, created_at) = upsert.fetch_one(change.connection()).await?;
    let before = before.map_or(Ok(Vec::new()), |targets| list(&targets))?;
    Ok(Set { id, before, created_at: of_row(created_at) })
}

/// Deletes a link.
///
/// # Errors
/// Those of the database.
pub async fn delete(change: &mut Change, id: &str) -> Result<(), StoreError> {
    let statement = "DELETE FROM links WHERE organisation = $1 AND id = $2";
    let organisation = change.organisation().to_owned();
    sqlx::query(statement).bind(organisation).bind(id).execute(change.connection()).await?;
    Ok(())
}
