//! Organisations, for operators.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::App;
use super::caller::Caller;
use super::extract::{Body, PageQuery, Path, Query};
use super::named::{new_name, page};
use super::problem::Problem;
use super::routes::{Needs, PAGED, Route};
use crate::authority;
use crate::store::organisations;
use crate::words::{CreatedOrganisation, NewOrganisation, Organisation, Page};

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/orgs", Needs::Operator, list)
            .named("listOrganisations", "The organisations of the installation.")
            .query(PAGED)
            .lists::<Organisation>(),
        Route::post("/v1/orgs", Needs::Operator, create)
            .named(
                "createOrganisation",
                "Makes an organisation, its authorities and its first administrator.",
            )
            .takes::<NewOrganisation>()
            .creates::<CreatedOrganisation>(),
        Route::get("/v1/orgs/{org}", Needs::Operator, show)
            .named("getOrganisation", "One organisation.")
            .answers::<Organisation>(),
    ]
}

async fn list(
    State(app): State<Arc<App>>,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Organisation>>, Problem> {
    let limit = query.limit()?;
    let found = organisations::list(app.store.reader(), query.after(), limit + 1).await?;
    Ok(Json(page(found, limit, |organisation| organisation.name.clone())))
}

async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(new): Body<NewOrganisation>,
) -> Result<(StatusCode, Json<CreatedOrganisation>), Problem> {
    let name = new_name(&new.name)?;
    let admin = new_name(new.admin.as_deref().unwrap_or("admin"))?;
    let mut change = app.change(&caller).await?;
    let (organisation, first) = organisations::create(&mut change, name, admin, app.pin).await?;
    authority::found(&mut change, &organisation.id, name).await?;
    change.commit().await?;
    let admin_token = first.token.reveal().to_string();
    Ok((StatusCode::CREATED, Json(CreatedOrganisation { organisation, admin_token })))
}

async fn show(State(app): State<Arc<App>>, Path(org): Path<String>) -> Result<Json<Organisation>, Problem> {
    let found = organisations::find(app.store.reader(), &org).await?;
    found.map(Json).ok_or_else(|| Problem::not_found("organisation"))
}
