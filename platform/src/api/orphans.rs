//! Users on servers that look like leases of nobody.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::App;
use super::caller::{Caller, Permission};
use super::databases::{found, managed};
use super::extract::{PageQuery, Path, Query};
use super::named::page;
use super::problem::Problem;
use super::routes::{Needs, PAGED, Route};
use crate::leases::{Dropped, drop_by_hand, search};
use crate::servers::reach::linked;
use crate::store::{databases, orphans};
use crate::words::{Orphan, Page};

pub(super) fn routes() -> Vec<Route> {
    let read = Needs::Permission(Permission::ReadSecrets);
    let manage = Needs::Permission(Permission::ManageSecrets);
    vec![
        Route::get("/v1/databases/{database}/orphans", read, list)
            .named("listOrphans", "What the last search has found on a database's server.")
            .query(PAGED)
            .lists::<Orphan>(),
        Route::post("/v1/databases/{database}/scan", manage, scan)
            .named("scanDatabase", "Searches a database's server for users that are leases of nobody.")
            .lists::<Orphan>(),
        Route::delete("/v1/databases/{database}/orphans/{username}", manage, drop)
            .named("dropOrphan", "Drops a user that is provably the platform's, and a lease of nobody."),
    ]
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(database): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Orphan>>, Problem> {
    let limit = query.limit()?;
    let database = found(&app, &caller, &database).await?;
    listed(&app, &database, query.after(), limit).await
}

async fn listed(
    app: &App,
    database: &databases::Row,
    after: &str,
    limit: u32,
) -> Result<Json<Page<Orphan>>, Problem> {
    let rows = orphans::all(&app.store, &database.organisation, &database.id, after, limit.saturating_add(1))
        .await?;
    Ok(Json(page(rows, limit, |orphan| orphan.username.clone())))
}

async fn scan(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(database): Path<String>,
) -> Result<Json<Page<Orphan>>, Problem> {
    let database = managed(&app, &caller, &database).await?;
    linked(&app, &database).await?;
    let (working, row) = (app.clone(), database.clone());
    let searching = tokio::spawn(async move { search(&working, &row).await });
    searching.await.map_err(Problem::internal)??;
    listed(&app, &database, "", super::extract::PAGE).await
}

async fn drop(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((database, username)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let database = managed(&app, &caller, &database).await?;
    linked(&app, &database).await?;
    // To its end, even when whoever waits for it goes away: what was dropped is audited.
    let dropping =
        tokio::spawn(async move { drop_by_hand(&app, &database, &username, &caller.actor()).await });
    match dropping.await.map_err(Problem::internal)?? {
        Dropped::Yes => Ok(StatusCode::NO_CONTENT),
        Dropped::NotThere => Err(Problem::not_found("user that bears the platform's mark")),
        Dropped::NotOurs => Err(Problem::conflict(
            "The user is not provably this installation's: only whoever made it, or the server's administrator, drops it.",
        )),
        Dropped::Lives => Err(Problem::conflict("The user is a lease that lives; revoke the lease.")),
    }
}
