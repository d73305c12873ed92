//! Databases: servers behind gateways, on which dynamic secrets and rotations work.

use std::sync::Arc;

use adit_core::tunnel::Target;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::App;
use super::caller::{Caller, Permission};
use super::extract::{Body, PageQuery, Path, Query};
use super::managed::{may_manage, server_name};
use super::named::{new_name, page};
use super::problem::Problem;
use super::routes::{Needs, PAGED, Route};
use crate::postgres::{check_ca, checks};
use crate::rotations::root;
use crate::servers::reach::{detached, tested, unlinked};
use crate::store::databases::root::alone;
use crate::store::databases::{self, New, Row, Settings};
use crate::store::{Change, gateways, leases, links, projects, rotations, secrets};
use crate::words::{Database, DatabaseChange, Gateway, NewDatabase, Page, TestReport};

/// The longest password, in bytes.
const MAX_PASSWORD: usize = 1024;

/// The most connections of a platform instance to one database at once.
const MAX_CONNECTIONS: u32 = 100;

pub(super) fn routes() -> Vec<Route> {
    let (read, manage) =
        (Needs::Permission(Permission::ReadSecrets), Needs::Permission(Permission::ManageSecrets));
    vec![
        Route::get("/v1/databases", read, list)
            .named("listDatabases", "The databases: all of them, or those of the caller's projects.")
            .query(PAGED)
            .lists::<Database>(),
        Route::post("/v1/databases", manage, create)
            .named("createDatabase", "Defines a database. Nothing connects to it yet; test it.")
            .takes::<NewDatabase>()
            .creates::<Database>(),
        Route::get("/v1/databases/{database}", read, show)
            .named("getDatabase", "One database.")
            .answers::<Database>(),
        Route::patch("/v1/databases/{database}", manage, update)
            .named("updateDatabase", "Changes what is given of a database; open connections to it end.")
            .takes::<DatabaseChange>()
            .answers::<Database>(),
        Route::delete("/v1/databases/{database}", manage, delete)
            .named("deleteDatabase", "Deletes a database that has no secrets and rotations."),
        Route::post("/v1/databases/{database}/test", manage, test)
            .named(
                "testDatabase",
                "Connects through the gateway, and looks whether the admin user is let in and may do its work.",
            )
            .answers::<TestReport>(),
        Route::post("/v1/databases/{database}/rotate", manage, rotate)
            .named("rotateDatabase", "Gives the admin user a new password, which only the platform knows.")
            .answers::<Database>(),
    ]
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Database>>, Problem> {
    let limit = query.limit()?;
    let only = caller.only_projects_of();
    let rows = databases::all(&app.store, &caller.organisation, only, query.after(), limit + 1).await?;
    let databases = rows.iter().map(Row::words).collect();
    Ok(Json(page(databases, limit, |database: &Database| database.name.clone())))
}

async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(database): Path<String>,
) -> Result<Json<Database>, Problem> {
    found(&app, &caller, &database).await.map(|row| Json(row.words()))
}

/// The database, where the caller sees it.
pub(super) async fn found(app: &App, caller: &Caller, key: &str) -> Result<Row, Problem> {
    let found = databases::find(&app.store, &caller.organisation, caller.only_projects_of(), key).await?;
    found.ok_or_else(|| Problem::not_found("database"))
}

/// The database, where the caller may define what belongs to its project.
pub(super) async fn managed(app: &App, caller: &Caller, key: &str) -> Result<Row, Problem> {
    let row = found(app, caller, key).await?;
    may_manage(caller, &row.project_id)?;
    Ok(row)
}

async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(new): Body<NewDatabase>,
) -> Result<(StatusCode, Json<Database>), Problem> {
    let name = new_name(&new.name)?;
    check_password(&new.admin_password)?;
    let organisation = &caller.organisation;
    let project = projects::find(&app.store, organisation, caller.only_projects_of(), &new.project).await?;
    let project = project.ok_or_else(|| Problem::not_found("project"))?;
    may_manage(&caller, &project.id)?;
    let gateway = gateways::find(&app.store, organisation, caller.only_projects_of(), &new.gateway).await?;
    let gateway = gateway.ok_or_else(|| Problem::not_found("gateway"))?;
    let target = checked_target(&new.host, new.port)?;
    let (host, text) = (target.host.to_string(), target.to_string());
    let settings = Settings {
        gateway: &gateway.id,
        host: &host,
        port: new.port,
        tls: new.tls,
        ca: new.ca.as_deref().unwrap_or_default(),
        dbname: &new.database,
        admin_user: &new.admin_user,
        max_connections: new.max_connections,
    };
    check(&settings)?;
    if !links::allows(&app.store, organisation, &project.id, &gateway.id, &text).await? {
        return Err(unlinked(&project.name, &text, &gateway.name));
    }
    let mut change = app.change(&caller).await?;
    alone(&mut change).await?;
    not_rotated(&mut change, &settings).await?;
    let new = New { name, project: &project.id, settings, password: &new.admin_password };
    let id = databases::create(&mut change, &new).await?;
    let with = &new.settings;
    let detail = json!({
        "project": project.name,
        "gateway": gateway.name,
        "target": text,
        "database": with.dbname,
        "user": with.admin_user,
    });
    change.audit("database.created", &format!("database:{name}"), detail);
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(by_id(&app, &caller, &id).await?)))
}

async fn by_id(app: &App, caller: &Caller, id: &str) -> Result<Database, Problem> {
    let row = databases::by_id(&app.store, &caller.organisation, id).await?;
    row.map(|row| row.words()).ok_or_else(|| Problem::not_found("database"))
}

async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(database): Path<String>,
    Body(with): Body<DatabaseChange>,
) -> Result<Json<Database>, Problem> {
    let id = managed(&app, &caller, &database).await?.id;
    let password = with.admin_password.as_deref();
    password.map_or(Ok(()), check_password)?;
    let gateway = other_gateway(&app, &caller, with.gateway.as_deref()).await?;
    let mut change = app.change(&caller).await?;
    // What others have just changed is what this change is of. Whatever it reads from here on it reads by its own
    // connection: many that wait for each other would otherwise hold all there are.
    alone(&mut change).await?;
    let row = databases::in_change(&mut change, &id).await?.ok_or_else(|| Problem::not_found("database"))?;
    let (gateway, after) = after(&row, &with, gateway)?;
    if password.is_none() {
        goes_nowhere_else(&with, &row.words(), &after)?;
    }
    let settings = Settings {
        gateway: &gateway,
        host: &after.host,
        port: after.port,
        tls: after.tls,
        ca: after.ca.as_deref().unwrap_or_default(),
        dbname: &after.database,
        admin_user: &after.admin_user,
        max_connections: after.max_connections,
    };
    check(&settings)?;
    let target = databases::target(settings.host, settings.port);
    if !links::allows_in_change(&mut change, &row.project_id, &gateway, &target).await? {
        return Err(unlinked(&row.project, &target, &after.gateway));
    }
    not_rotated(&mut change, &settings).await?;
    stays(&mut change, &row, &settings).await?;
    if !databases::update(&mut change, &row.id, &settings, password).await? {
        let detail = "The admin user's password is being changed; try again in a minute.";
        return Err(Problem::conflict(detail).retry_after(60));
    }
    let detail = json!({
        "gateway": after.gateway,
        "target": target,
        "database": settings.dbname,
        "user": settings.admin_user,
        "password": password.is_some(),
    });
    change.audit("database.changed", &format!("database:{}", row.name), detail);
    change.commit().await?;
    app.servers.forget(&row.id);
    Ok(Json(by_id(&app, &caller, &row.id).await?))
}

/// The gateway that a change names.
async fn other_gateway(app: &App, caller: &Caller, key: Option<&str>) -> Result<Option<Gateway>, Problem> {
    let Some(key) = key else { return Ok(None) };
    let found = gateways::find(&app.store, &caller.organisation, caller.only_projects_of(), key).await?;
    found.ok_or_else(|| Problem::not_found("gateway")).map(Some)
}

/// What a database is to be, and the id of the gateway that it is to go through.
fn after(row: &Row, with: &DatabaseChange, gateway: Option<Gateway>) -> Result<(String, Database), Problem> {
    let mut after = row.words().with(with);
    after.host = checked_target(&after.host, after.port)?.host.to_string();
    Ok(match gateway {
        Some(gateway) => (gateway.id, Database { gateway: gateway.name, ..after }),
        None => (row.gateway_id.clone(), after),
    })
}

/// The password that is kept would be shown to whoever is there.
fn goes_nowhere_else(with: &DatabaseChange, before: &Database, after: &Database) -> Result<(), Problem> {
    if with.admin_user.is_some() {
        return Err(Problem::bad_request("An admin_user comes with its admin_password."));
    }
    match before.keeps_password(after) {
        true => Ok(()),
        false => Err(Problem::bad_request(
            "Another host, port, gateway, tls or ca comes with the admin_password: it is sent there. Only where tls is \
             and stays verify-full, host and ca stay, and the host is a full DNS name (db.example.com), may gateway \
             and port change without it.",
        )),
    }
}

/// What is on the server is found there only, and by who made it: leases end first. Groups are made anew, and users of
/// its rotations must be nobody else's at the new place.
async fn stays(change: &mut Change, row: &Row, with: &Settings<'_>) -> Result<(), Problem> {
    let moves = row.host != with.host || row.port != with.port;
    if moves || row.admin_user != with.admin_user || row.dbname != with.dbname {
        secrets::unprepare(change, &row.id).await?;
    }
    if moves || row.admin_user != with.admin_user {
        let living = leases::living_on(change, &row.id).await?;
        if living > 0 {
            return Err(Problem::conflict(format!(
                "{living} leases live on its server, which could not be ended then. Revoke them first: adit secrets \
                 revoke-leases NAME, for each secret of the database {}.",
                row.name
            )));
        }
    }
    for (rotation, users) in rotations::users_of(change, &row.id).await? {
        let is_taken = users.iter().any(|user| user == with.admin_user);
        if is_taken || (moves && !are_free(change, &row.id, &users, with).await?) {
            return Err(Problem::conflict(format!(
                "A user of the rotation {rotation} is the admin user, or belongs to somebody else there. Delete the \
                 rotation first, or name another admin_user."
            )));
        }
    }
    Ok(())
}

/// Whether `users` are neither admin users nor rotated where `with` leads.
async fn are_free(
    change: &mut Change,
    database: &str,
    users: &[String],
    with: &Settings<'_>,
) -> Result<bool, Problem> {
    let theirs = rotations::users_on(change, with.host, with.port).await?;
    for user in users {
        let admins = databases::with_admin(change, with.host, with.port, user).await?;
        let is_admin = admins.iter().any(|(id, _)| id != database);
        if is_admin || theirs.iter().any(|(_, users)| users.contains(user)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn checked_target(host: &str, port: u16) -> Result<Target, Problem> {
    Target::new(host, port)
        .map_err(|error| Problem::bad_request(format!("The server can't be there: {error}.")))
}

fn check_password(password: &str) -> Result<(), Problem> {
    match (1..=MAX_PASSWORD).contains(&password.len()) && !password.contains('\0') {
        true => Ok(()),
        false => {
            Err(Problem::bad_request(format!("admin_password is 1 to {MAX_PASSWORD} bytes without NUL.")))
        }
    }
}

fn check(with: &Settings<'_>) -> Result<(), Problem> {
    server_name("database", with.dbname)?;
    server_name("admin_user", with.admin_user)?;
    if !(1..=MAX_CONNECTIONS).contains(&with.max_connections) {
        return Err(Problem::bad_request(format!("max_connections is 1 to {MAX_CONNECTIONS}.")));
    }
    if !with.ca.is_empty() {
        check_ca(with.ca).map_err(|error| Problem::bad_request(format!("The ca does not read: {error}.")))?;
    }
    Ok(())
}

/// A user whose password a rotation changes would not be let in for long.
async fn not_rotated(change: &mut Change, with: &Settings<'_>) -> Result<(), Problem> {
    let rotations = rotations::users_on(change, with.host, with.port).await?;
    match rotations.iter().find(|(_, users)| users.iter().any(|user| user == with.admin_user)) {
        None => Ok(()),
        Some((name, _)) => Err(Problem::conflict(format!(
            "The rotation {name} changes the password of this user; name another admin_user."
        ))),
    }
}

async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(database): Path<String>,
) -> Result<StatusCode, Problem> {
    let row = managed(&app, &caller, &database).await?;
    let (secrets, rotations) = databases::dependants(&app.store, &caller.organisation, &row.id).await?;
    if secrets + rotations > 0 {
        return Err(Problem::conflict(format!(
            "The database has {secrets} secrets and {rotations} rotations; delete them first."
        )));
    }
    let mut change = app.change(&caller).await?;
    databases::delete(&mut change, &row.id).await?;
    change.audit("database.deleted", &format!("database:{}", row.name), json!({}));
    change.commit().await?;
    app.servers.forget(&row.id);
    Ok(StatusCode::NO_CONTENT)
}

async fn test(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(database): Path<String>,
) -> Result<Json<TestReport>, Problem> {
    let row = managed(&app, &caller, &database).await?;
    let mut change = app.change(&caller).await?;
    let detail = json!({ "gateway": row.gateway });
    change.audit("database.tested", &format!("database:{}", row.name), detail);
    change.commit().await?;
    let report = detached(async move {
        let now = app.clock.now();
        tested(&app, &row, None, async |session| checks::database(session, now).await).await
    });
    report.await.map(Json)
}

async fn rotate(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(database): Path<String>,
) -> Result<Json<Database>, Problem> {
    let row = managed(&app, &caller, &database).await?;
    let (working, actor, id) = (app.clone(), caller.actor(), row.id.clone());
    detached(async move { root::rotate(&working, &row.organisation, &row.id, &actor).await }).await?;
    Ok(Json(by_id(&app, &caller, &id).await?))
}
