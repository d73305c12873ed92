//! Dynamic secrets: of what kind the users are that leases make.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::App;
use super::caller::{Caller, Permission};
use super::databases::managed as managed_database;
use super::extract::{Body, PageQuery, Path, Query};
use super::managed::may_manage;
use super::named::page;
use super::problem::Problem;
use super::routes::{Needs, PAGED, Route};
use crate::postgres::{Session, checks};
use crate::secrets::{definition, prepare, tidy};
use crate::servers::reach::{detached, linked, tested};
use crate::store::databases;
use crate::store::secrets::{self, Row};
use crate::trust::random_id;
use crate::words::{NewSecret, Page, Secret, TestReport};

pub(super) fn routes() -> Vec<Route> {
    let (read, manage) =
        (Needs::Permission(Permission::ReadSecrets), Needs::Permission(Permission::ManageSecrets));
    vec![
        Route::get("/v1/secrets", read, list)
            .named("listSecrets", "The dynamic secrets: all of them, or those of the caller's projects.")
            .query(PAGED)
            .lists::<Secret>(),
        Route::post("/v1/secrets", manage, create)
            .named(
                "createSecret",
                "Defines a dynamic secret, and prepares the server for it where that is reached.",
            )
            .takes::<NewSecret>()
            .creates::<Secret>(),
        Route::get("/v1/secrets/{secret}", read, show)
            .named("getSecret", "One dynamic secret.")
            .answers::<Secret>(),
        Route::delete("/v1/secrets/{secret}", manage, delete).named(
            "deleteSecret",
            "Deletes a dynamic secret of which no lease lives, and its leases that have ended.",
        ),
        Route::post("/v1/secrets/{secret}/prepare", manage, prepare_now)
            .named(
                "prepareSecret",
                "Makes the group role of a dynamic secret on the server, with what it may do.",
            )
            .answers::<Secret>(),
        Route::post("/v1/secrets/{secret}/test", manage, test)
            .named("testSecret", "Makes a user as a lease does, in a transaction that is rolled back.")
            .answers::<TestReport>(),
    ]
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Secret>>, Problem> {
    let limit = query.limit()?;
    let only = caller.only_projects_of();
    let rows = secrets::all(&app.store, &caller.organisation, only, query.after(), limit + 1).await?;
    let secrets = rows.iter().map(Row::words).collect();
    Ok(Json(page(secrets, limit, |secret: &Secret| secret.name.clone())))
}

async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(secret): Path<String>,
) -> Result<Json<Secret>, Problem> {
    found(&app, &caller, &secret).await.map(|row| Json(row.words()))
}

/// The secret, where the caller sees it.
async fn found(app: &App, caller: &Caller, key: &str) -> Result<Row, Problem> {
    let found = secrets::find(&app.store, &caller.organisation, caller.only_projects_of(), key).await?;
    found.ok_or_else(|| Problem::not_found("secret"))
}

/// The secret and its database, where the caller may define what belongs to its project.
async fn managed(app: &App, caller: &Caller, key: &str) -> Result<(Row, databases::Row), Problem> {
    let row = found(app, caller, key).await?;
    may_manage(caller, &row.project_id)?;
    let database = databases::by_id(&app.store, &caller.organisation, &row.database_id).await?;
    Ok((row, database.ok_or_else(|| Problem::not_found("database"))?))
}

async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(new): Body<NewSecret>,
) -> Result<(StatusCode, Json<Secret>), Problem> {
    let database = managed_database(&app, &caller, &new.database).await?;
    linked(&app, &database).await?;
    let id = random_id();
    let (definition, group) = definition::complete(new, &id)?;
    let mut change = app.change(&caller).await?;
    secrets::create(&mut change, &id, &database.id, &definition, group.as_deref()).await?;
    let detail = json!({
        "database": database.name,
        "gateway": database.gateway,
        "access": definition.access,
        "max-ttl": definition.max_ttl,
        "pre-hashed": definition.pre_hashed,
    });
    change.audit("secret.created", &format!("secret:{}", definition.name), detail);
    change.commit().await?;
    let row = secrets::by_id(&app.store, &caller.organisation, &id).await?;
    let row = row.ok_or_else(|| Problem::not_found("secret"))?;
    if let Err(problem) = prepared(&app, &caller, row, database).await {
        tracing::info!(secret = id, detail = %problem.detail, "a secret is prepared with its first lease");
    }
    Ok((StatusCode::CREATED, Json(by_id(&app, &caller, &id).await?)))
}

async fn by_id(app: &App, caller: &Caller, id: &str) -> Result<Secret, Problem> {
    let row = secrets::by_id(&app.store, &caller.organisation, id).await?;
    row.map(|row| row.words()).ok_or_else(|| Problem::not_found("secret"))
}

/// Prepares the server to the end, even when the caller goes away.
async fn prepared(
    app: &Arc<App>,
    caller: &Caller,
    row: Row,
    database: databases::Row,
) -> Result<(), Problem> {
    let (working, actor) = (app.clone(), caller.actor());
    detached(async move { prepare(&working, &row, &database, &actor).await }).await
}

async fn prepare_now(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(secret): Path<String>,
) -> Result<Json<Secret>, Problem> {
    let (row, database) = managed(&app, &caller, &secret).await?;
    let id = row.id.clone();
    prepared(&app, &caller, row, database).await?;
    Ok(Json(by_id(&app, &caller, &id).await?))
}

async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(secret): Path<String>,
) -> Result<StatusCode, Problem> {
    let (row, database) = managed(&app, &caller, &secret).await?;
    let living = secrets::living(&app.store, &caller.organisation, &row.id).await?;
    if living > 0 {
        return Err(Problem::conflict(format!(
            "{living} leases of the secret live. Revoke them first: adit secrets revoke-leases {}",
            row.name
        )));
    }
    let mut change = app.change(&caller).await?;
    secrets::delete(&mut change, &row.id).await?;
    let detail = json!({ "database": row.database, "group": row.group_role });
    change.audit("secret.deleted", &format!("secret:{}", row.name), detail);
    change.commit().await?;
    tokio::spawn(async move { tidy(&app, &row, &database).await });
    Ok(StatusCode::NO_CONTENT)
}

async fn test(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(secret): Path<String>,
) -> Result<Json<TestReport>, Problem> {
    let (row, database) = managed(&app, &caller, &secret).await?;
    let mut change = app.change(&caller).await?;
    let detail = json!({ "database": database.name, "gateway": database.gateway });
    change.audit("secret.tested", &format!("secret:{}", row.name), detail);
    change.commit().await?;
    let report = detached(async move {
        let (definition, group, now) = (&row.definition, row.group_role.as_deref(), app.clock.now());
        let test = async |session: &mut Session| checks::secret(session, definition, group, now).await;
        tested(&app, &database, Some(&row.dbname), test).await
    });
    report.await.map(Json)
}
