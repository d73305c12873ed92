//! Rotations: users that stay, and with what to log in as them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::App;
use super::caller::{Caller, Permission};
use super::databases::managed as managed_database;
use super::extract::{Body, PageQuery, Path, Query};
use super::managed::{may_lease, may_manage, server_name};
use super::named::{new_name, page};
use super::problem::{Problem, sentence};
use super::routes::{Needs, PAGED, Route};
use crate::postgres::{checks, password};
use crate::rotations::{self as engine, GRACE, schedule};
use crate::servers::reach::{detached, linked, tested};
use crate::store::databases::root::alone;
use crate::store::rotations::{self, Row};
use crate::store::{Change, databases};
use crate::words::{Credentials, NewRotation, Page, Rotation, RotationMode, TestReport};

/// For how long the answer to a definition waits for the first turn.
const FIRST_TURN: Duration = Duration::from_secs(10);

pub(super) fn routes() -> Vec<Route> {
    let (read, manage) =
        (Needs::Permission(Permission::ReadSecrets), Needs::Permission(Permission::ManageSecrets));
    let lease = Needs::Permission(Permission::Lease);
    vec![
        Route::get("/v1/rotations", read, list)
            .named("listRotations", "The rotations: all of them, or those of the caller's projects.")
            .query(PAGED)
            .lists::<Rotation>(),
        Route::post("/v1/rotations", manage, create)
            .named("createRotation", "Defines a rotation. The first password is set at once.")
            .takes::<NewRotation>()
            .creates::<Rotation>(),
        Route::get("/v1/rotations/{rotation}", read, show)
            .named("getRotation", "One rotation.")
            .answers::<Rotation>(),
        Route::delete("/v1/rotations/{rotation}", manage, delete)
            .named("deleteRotation", "Deletes a rotation; its users and their passwords stay as they are."),
        Route::get("/v1/rotations/{rotation}/credentials", lease, credentials)
            .named("getCredentials", "With what to log in now.")
            .answers::<Credentials>(),
        Route::post("/v1/rotations/{rotation}/rotate", manage, rotate)
            .named("rotate", "Sets the next password now.")
            .answers::<Rotation>(),
        Route::post("/v1/rotations/{rotation}/test", manage, test)
            .named("testRotation", "Looks whether the admin user may change the users' passwords.")
            .answers::<TestReport>(),
    ]
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Rotation>>, Problem> {
    let limit = query.limit()?;
    let only = caller.only_projects_of();
    let rows = rotations::all(&app.store, &caller.organisation, only, query.after(), limit + 1).await?;
    let rotations = rows.iter().map(|row| words(&app, row)).collect();
    Ok(Json(page(rotations, limit, |rotation: &Rotation| rotation.name.clone())))
}

fn words(app: &App, row: &Row) -> Rotation {
    row.words(app.clock.now(), app.config.times.stuck.as_secs())
}

async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(rotation): Path<String>,
) -> Result<Json<Rotation>, Problem> {
    found(&app, &caller, &rotation).await.map(|row| Json(words(&app, &row)))
}

/// The rotation, where the caller sees it.
async fn found(app: &App, caller: &Caller, key: &str) -> Result<Row, Problem> {
    let found = rotations::find(&app.store, &caller.organisation, caller.only_projects_of(), key).await?;
    found.ok_or_else(|| Problem::not_found("rotation"))
}

/// The rotation, where the caller may define what belongs to its project.
async fn managed(app: &App, caller: &Caller, key: &str) -> Result<Row, Problem> {
    let row = found(app, caller, key).await?;
    may_manage(caller, &row.project_id)?;
    Ok(row)
}

async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(new): Body<NewRotation>,
) -> Result<(StatusCode, Json<Rotation>), Problem> {
    new_name(&new.name)?;
    check(&new, app.clock.now())?;
    let database = managed_database(&app, &caller, &new.database).await?;
    linked(&app, &database).await?;
    let mut change = app.change(&caller).await?;
    nobody_elses(&mut change, &database, &new.users).await?;
    let id = rotations::create(&mut change, &database.id, &new).await?;
    let detail = json!({
        "database": database.name,
        "gateway": database.gateway,
        "mode": new.mode,
        "users": new.users,
        "schedule": new.schedule,
    });
    change.audit("rotation.created", &format!("rotation:{}", new.name), detail);
    change.commit().await?;
    // What hinders the first turn is shown as the rotation's trouble.
    let (working, organisation, first) = (app.clone(), caller.organisation.clone(), id.clone());
    let actor = caller.actor();
    let turn = detached(async move { engine::turn(&working, &organisation, &first, 0, &actor).await });
    drop(tokio::time::timeout(FIRST_TURN, turn).await);
    Ok((StatusCode::CREATED, Json(by_id(&app, &caller, &id).await?)))
}

async fn by_id(app: &App, caller: &Caller, id: &str) -> Result<Rotation, Problem> {
    let row = rotations::by_id(&app.store, &caller.organisation, id).await?;
    row.map(|row| words(app, &row)).ok_or_else(|| Problem::not_found("rotation"))
}

fn check(new: &NewRotation, now: u64) -> Result<(), Problem> {
    let wanted = match new.mode {
        RotationMode::TwoUser => 2,
        RotationMode::SingleUser => 1,
    };
    if new.users.len() != wanted || (wanted == 2 && new.users[0] == new.users[1]) {
        return Err(Problem::bad_request(
            "A rotation has two different users as two-user, one as single-user.",
        ));
    }
    for user in &new.users {
        server_name("A user", user)?;
    }
    schedule::check(&new.schedule, now).map_err(Problem::bad_request)?;
    password::check(&new.password).map_err(|error| Problem::bad_request(sentence(&error)))
}

/// A user whose password somebody else changes, or works with, would be locked out.
async fn nobody_elses(
    change: &mut Change,
    database: &databases::Row,
    users: &[String],
) -> Result<(), Problem> {
    alone(change).await?;
    let taken = |user: &str, by: &str| {
        Problem::conflict(format!("The user {user:?} belongs to {by} on the same server; name another one."))
    };
    let rotations = rotations::users_on(change, &database.host, database.port).await?;
    for user in users {
        if let Some((name, _)) = rotations.iter().find(|(_, theirs)| theirs.contains(user)) {
            return Err(taken(user, &format!("the rotation {name}")));
        }
        let admins = databases::with_admin(change, &database.host, database.port, user).await?;
        if let Some((_, name)) = admins.first() {
            return Err(taken(user, &format!("the platform itself, as the database {name} says,")));
        }
    }
    Ok(())
}

async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(rotation): Path<String>,
) -> Result<StatusCode, Problem> {
    let row = managed(&app, &caller, &rotation).await?;
    let mut change = app.change(&caller).await?;
    if !rotations::delete(&mut change, &row.id).await? {
        return Err(Problem::conflict("A password is being changed; try again.").retry_after(5));
    }
    let detail = json!({ "database": row.database, "users": row.users });
    change.audit("rotation.deleted", &format!("rotation:{}", row.name), detail);
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn credentials(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(rotation): Path<String>,
) -> Result<Json<Credentials>, Problem> {
    let row = found(&app, &caller, &rotation).await?;
    may_lease(&caller, &row.project_id)?;
    // Before they are read: what is answered is as new as can be.
    let mut change = app.change(&caller).await?;
    let detail = json!({ "database": row.database });
    change.audit("rotation.credentials-read", &format!("rotation:{}", row.name), detail);
    change.commit().await?;
    engine::credentials(&app, &caller.organisation, &row.id).await.map(Json)
}

async fn rotate(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(rotation): Path<String>,
) -> Result<Json<Rotation>, Problem> {
    let row = managed(&app, &caller, &rotation).await?;
    graced(&row, app.clock.now())?;
    let (working, actor, id) = (app.clone(), caller.actor(), row.id.clone());
    detached(async move { engine::turn(&working, &row.organisation, &row.id, row.claim, &actor).await })
        .await?;
    Ok(Json(by_id(&app, &caller, &id).await?))
}

/// The user before was read by somebody, maybe a moment ago.
fn graced(row: &Row, now: u64) -> Result<(), Problem> {
    let until = row.rotated_at.unwrap_or_default().saturating_add(GRACE);
    if row.mode == RotationMode::SingleUser || row.turns < 2 || now >= until {
        return Ok(());
    }
    let detail =
        format!("The user before stays valid for {GRACE} seconds at least; rotate again after them.");
    Err(Problem::conflict(detail).retry_after(until - now))
}

async fn test(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(rotation): Path<String>,
) -> Result<Json<TestReport>, Problem> {
    let row = managed(&app, &caller, &rotation).await?;
    let database = databases::by_id(&app.store, &caller.organisation, &row.database_id).await?;
    let database = database.ok_or_else(|| Problem::not_found("database"))?;
    let mut change = app.change(&caller).await?;
    let detail = json!({ "database": database.name, "gateway": database.gateway });
    change.audit("rotation.tested", &format!("rotation:{}", row.name), detail);
    change.commit().await?;
    let report = detached(async move {
        let now = app.clock.now();
        tested(&app, &database, None, async |session| checks::rotation(session, &row.users, now).await).await
    });
    report.await.map(Json)
}
