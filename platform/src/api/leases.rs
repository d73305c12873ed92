//! Leases: users of dynamic secrets, made, renewed and revoked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::App;
use super::caller::{Caller, Permission};
use super::extract::{Body, PageQuery, Path, Query};
use super::named::page;
use super::problem::Problem;
use super::routes::{Needs, QueryParameter, Route};
use crate::leases as work;
use crate::store::leases::changes::{self, Which};
use crate::store::leases::{self, Row, due};
use crate::store::secrets;
use crate::words::{IssuedLease, Lease, LeaseState, NewLease, Page, RenewLease, Restored, RevokedLeases};

/// For how long a revocation is waited for: what takes longer goes on by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// From one look at a lease that is being revoked to the next.
const LOOK: Duration = Duration::from_millis(50);

/// The parameters of the list.
const LISTED: &[QueryParameter] = &[
    ("secret", false, "Only leases of this secret, by name or id."),
    ("state", false, "Only leases in this state."),
    ("after", false, "The `next` of the page before."),
    ("limit", true, "How many items at most: 1 to 500; 100 where it is left out."),
];

pub(super) fn routes() -> Vec<Route> {
    let read = Needs::Permission(Permission::ReadSecrets);
    let lease = Needs::Permission(Permission::Lease);
    let manage = Needs::Permission(Permission::ManageSecrets);
    let admin = Needs::Permission(Permission::ManageProjects);
    vec![
        Route::get("/v1/leases", read, list)
            .named(
                "listLeases",
                "Leases, the newest first: one's own, and those of projects that one administers.",
            )
            .query(LISTED)
            .lists::<Lease>(),
        Route::post("/v1/leases", lease, create)
            .named(
                "createLease",
                "Makes a user of a secret. With the header Idempotency-Key it can be repeated.",
            )
            .takes::<NewLease>()
            .creates::<IssuedLease>(),
        Route::get("/v1/leases/{lease}", read, show).named("getLease", "One lease.").answers::<Lease>(),
        Route::delete("/v1/leases/{lease}", lease, revoke)
            .named(
                "revokeLease",
                "Removes a lease's user: what takes longer than some seconds goes on by itself.",
            )
            .answers::<Lease>(),
        Route::post("/v1/leases/{lease}/renew", lease, renew)
            .named("renewLease", "Lets a lease live longer, from now on.")
            .takes::<RenewLease>()
            .answers::<Lease>(),
        Route::post("/v1/leases/{lease}/abandon", manage, abandon)
            .named("abandonLease", "Gives up on removing a lease's user, which may stay on the server.")
            .answers::<Lease>(),
        Route::delete("/v1/secrets/{secret}/leases", manage, revoke_all)
            .named("revokeLeasesOfSecret", "Begins to remove the users of all leases of a secret.")
            .answers::<RevokedLeases>(),
        Route::get("/v1/restored", read, restored)
            .named("getRestored", "Whether leases from before a restoration of the platform wait.")
            .answers::<Restored>(),
        Route::post("/v1/restored/confirm", admin, confirm)
            .named(
                "confirmRestored",
                "Lets leases from before a restoration of the platform end by themselves.",
            )
            .answers::<Restored>(),
    ]
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    secret: Option<String>,
    state: Option<LeaseState>,
    after: Option<String>,
    limit: Option<u32>,
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<Page<Lease>>, Problem> {
    let paged = PageQuery { after: query.after, limit: query.limit };
    let (limit, only) = (paged.limit()?, caller.only_projects_of());
    let secret = match &query.secret {
        Some(secret) => Some(secret_of(&app, &caller, secret).await?),
        None => None,
    };
    let bad = || Problem::bad_request("after is the next of the page before.");
    let after = paged.after.as_deref().map(|text| leases::read_place_in_list(text).ok_or_else(bad));
    let which = leases::Which { only, secret: secret.as_ref().map(|row| &*row.id), state: query.state };
    let rows = leases::all(&app.store, &caller.organisation, which, after.transpose()?, limit + 1).await?;
    let leases = rows.into_iter().map(|row| row.lease).collect();
    Ok(Json(page(leases, limit, leases::place_in_list)))
}

async fn secret_of(app: &App, caller: &Caller, secret: &str) -> Result<secrets::Row, Problem> {
    let found = secrets::find(&app.store, &caller.organisation, caller.only_projects_of(), secret).await?;
    found.ok_or_else(|| Problem::not_found("secret"))
}

async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    Body(new): Body<NewLease>,
) -> Result<(StatusCode, Json<IssuedLease>), Problem> {
    let key = idempotency_key(&headers)?;
    let issued = work::create(&app, &caller, &new, key).await?;
    Ok((StatusCode::CREATED, Json(issued)))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let key = value.to_str().unwrap_or_default();
    match (1..=128).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        true => Ok(Some(key)),
        false => Err(Problem::bad_request("An Idempotency-Key is 1 to 128 printable ASCII characters.")),
    }
}

async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(lease): Path<String>,
) -> Result<Json<Lease>, Problem> {
    found(&app, &caller, &lease).await.map(|row| Json(row.lease))
}

/// The lease, where the caller sees it.
async fn found(app: &App, caller: &Caller, lease: &str) -> Result<Row, Problem> {
    let found = leases::find(&app.store, &caller.organisation, caller.only_projects_of(), lease).await?;
    found.ok_or_else(|| Problem::not_found("lease"))
}

/// The lease, where the caller may change it: it is its own, or of a project that it administers.
async fn changeable(app: &App, caller: &Caller, lease: &str) -> Result<Row, Problem> {
    let row = found(app, caller, lease).await?;
    match row.identity == caller.identity || caller.administers(&row.project) {
        true => Ok(row),
        false => Err(Problem::forbidden("Only who leased, or an administrator of the project, may do this.")),
    }
}

async fn renew(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(lease): Path<String>,
    Body(wanted): Body<RenewLease>,
) -> Result<Json<Lease>, Problem> {
    let row = changeable(&app, &caller, &lease).await?;
    work::renew(&app, &caller, row, &wanted).await.map(Json)
}

async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(lease): Path<String>,
) -> Result<Json<Lease>, Problem> {
    let row = changeable(&app, &caller, &lease).await?;
    if row.lives() {
        let mut change = app.change(&caller).await?;
        let reason = format!("revoked by {}", caller.actor());
        if work::end(&mut change, Which::One(&row.id), &reason).await? == 0 {
            changes::hasten(&mut change, &row.id).await?;
            change.audit("lease.hastened", &format!("lease:{}", row.id), json!({}));
        }
        change.commit().await?;
        app.leases.ring();
    }
    Ok(Json(ended(&app, row).await?.lease))
}

/// Waits until the lease has ended, or for a while.
async fn ended(app: &App, mut row: Row) -> Result<Row, Problem> {
    let (until, attempts) = (Instant::now() + PATIENCE.min(app.config.times.request / 2), row.attempts);
    loop {
        let now = leases::find(&app.store, &row.organisation, None, &row.id).await?;
        row = now.ok_or_else(|| Problem::not_found("lease"))?;
        if !row.lives() || row.attempts > attempts || Instant::now() >= until {
            return Ok(row);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn abandon(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(lease): Path<String>,
) -> Result<Json<Lease>, Problem> {
    let row = found(&app, &caller, &lease).await?;
    if !caller.administers(&row.project) {
        return Err(Problem::forbidden("Only an administrator of the project may give a lease up."));
    }
    let mut change = app.change(&caller).await?;
    if !changes::abandon(&mut change, &row.id).await? {
        return Err(Problem::conflict(
            "Only a lease that is being revoked can be given up; revoke it first.",
        ));
    }
    let detail = json!({ "username": row.lease.username, "gateway": row.gateway_name });
    change.audit("lease.abandoned", &format!("lease:{}", row.id), detail);
    change.commit().await?;
    found(&app, &caller, &row.id).await.map(|row| Json(row.lease))
}

async fn revoke_all(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(secret): Path<String>,
) -> Result<Json<RevokedLeases>, Problem> {
    let secret = secret_of(&app, &caller, &secret).await?;
    if !caller.administers(&secret.project_id) {
        return Err(Problem::forbidden(
            "Only an administrator of the project may revoke all leases of a secret.",
        ));
    }
    let mut change = app.change(&caller).await?;
    let reason = format!("all leases of the secret were revoked by {}", caller.actor());
    let revoking = work::end(&mut change, Which::OfSecret(&secret.id), &reason).await?;
    change.audit("secret.leases-revoked", &format!("secret:{}", secret.name), json!({ "leases": revoking }));
    change.commit().await?;
    app.leases.ring();
    Ok(Json(RevokedLeases { revoking }))
}

async fn restored(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Restored>, Problem> {
    let known = due::restored(&app.store, &caller.organisation).await?;
    Ok(Json(Restored { paused: known.paused, leases: known.leases }))
}

async fn confirm(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Restored>, Problem> {
    let waiting = due::restored(&app.store, &caller.organisation).await?;
    let mut change = app.change(&caller).await?;
    if due::confirm(&mut change).await? {
        let object = format!("organisation:{}", caller.organisation_name);
        change.audit("leases.restored-confirmed", &object, json!({ "leases": waiting.leases }));
        change.commit().await?;
        app.leases.ring();
    }
    Ok(Json(Restored { paused: false, leases: 0 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_request_is_short_and_printable() {
        let key = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", text.parse().unwrap());
            idempotency_key(&headers).map(|key| key.map(str::to_owned))
        };
        assert_eq!(key("a b").unwrap().as_deref(), Some("a b"));
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
        assert!(key("").is_err() && key("a\tb").is_err());
    }
}
