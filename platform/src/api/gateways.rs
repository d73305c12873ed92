//! Gateways, their instances, and the tokens that enrol them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::App;
use super::caller::{Caller, Permission};
use super::extract::{Body, PageQuery, Path, Query};
use super::managed::without_databases;
use super::named::{new_name, page};
use super::problem::Problem;
use super::routes::{Needs, PAGED, Route};
use crate::store::gateways;
use crate::trust::token::Kind;
use crate::words::{EnrolmentToken, Gateway, NewGateway, Page};

pub(super) fn routes() -> Vec<Route> {
    let (read, manage) =
        (Needs::Permission(Permission::ReadGateways), Needs::Permission(Permission::ManageGateways));
    vec![
        Route::get("/v1/gateways", read, list)
            .named(
                "listGateways",
                "The gateways: all of them, or those that the caller's projects are linked to.",
            )
            .query(PAGED)
            .lists::<Gateway>(),
        Route::post("/v1/gateways", manage, create)
            .named("createGateway", "Makes a gateway; its instances are enrolled with tokens.")
            .takes::<NewGateway>()
            .creates::<Gateway>(),
        Route::get("/v1/gateways/{gateway}", read, show)
            .named("getGateway", "One gateway and its instances.")
            .answers::<Gateway>(),
        Route::delete("/v1/gateways/{gateway}", manage, delete)
            .named("deleteGateway", "Deletes a gateway and its links; its instances are revoked."),
        Route::post("/v1/gateways/{gateway}/enrolment-tokens", manage, enrol)
            .named("createGatewayEnrolmentToken", "A token that enrols one instance of the gateway, once.")
            .creates::<EnrolmentToken>(),
        Route::delete("/v1/gateways/{gateway}/instances/{instance}", manage, revoke)
            .named("revokeGatewayInstance", "Revokes an instance for good; its connections are closed."),
    ]
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Gateway>>, Problem> {
    let limit = query.limit()?;
    let only = caller.only_projects_of();
    let gateways = gateways::all(&app.store, &caller.organisation, only, query.after(), limit + 1).await?;
    let gateways = gateways.into_iter().map(|gateway| shown(gateway, &caller)).collect();
    Ok(Json(page(gateways, limit, |gateway| gateway.name.clone())))
}

/// Who else is connected is not for members of projects to see.
fn shown(mut gateway: Gateway, caller: &Caller) -> Gateway {
    if !caller.sees_everything() {
        gateway.instances.iter_mut().for_each(|instance| instance.peers.clear());
    }
    gateway
}

async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(new): Body<NewGateway>,
) -> Result<(StatusCode, Json<Gateway>), Problem> {
    let name = new_name(&new.name)?;
    let mut change = app.change(&caller).await?;
    let gateway = gateways::create(&mut change, name).await?;
    change.audit("gateway.created", &format!("gateway:{name}"), json!({}));
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(gateway)))
}

async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(gateway): Path<String>,
) -> Result<Json<Gateway>, Problem> {
    let found = found(&app, &caller, &gateway).await?;
    Ok(Json(shown(found, &caller)))
}

/// The gateway, where the caller sees it.
async fn found(app: &App, caller: &Caller, gateway: &str) -> Result<Gateway, Problem> {
    let found = gateways::find(&app.store, &caller.organisation, caller.only_projects_of(), gateway).await?;
    found.ok_or_else(|| Problem::not_found("gateway"))
}

async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(gateway): Path<String>,
) -> Result<StatusCode, Problem> {
    let gateway = found(&app, &caller, &gateway).await?;
    without_databases(&app, &caller, &gateway.id, "Give them another gateway first, or delete them.").await?;
    let mut change = app.change(&caller).await?;
    change.bump().await?;
    for instance in gateway.instances.iter().filter(|instance| instance.revoked_at.is_none()) {
        gateways::revoke_instance(
            &mut change,
            &instance.id,
            &app.spiffe_of_instance(&caller.organisation_name, instance)?,
        )
        .await?;
    }
    gateways::delete(&mut change, &gateway.id).await?;
    let detail = json!({ "instances": gateway.instances.len() });
    change.audit("gateway.deleted", &format!("gateway:{}", gateway.name), detail);
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn enrol(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(gateway): Path<String>,
) -> Result<(StatusCode, Json<EnrolmentToken>), Problem> {
    let gateway = found(&app, &caller, &gateway).await?;
    let mut change = app.change(&caller).await?;
    let token = app.enrolment_token(&mut change, Kind::Gateway, &gateway.id).await?;
    let detail = json!({ "token": token.id, "expires_at": token.expires_at });
    change.audit("gateway.enrolment-token-created", &format!("gateway:{}", gateway.name), detail);
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(token)))
}

async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((gateway, instance)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let gateway = found(&app, &caller, &gateway).await?;
    let instance = gateway.instances.iter().find(|known| known.id == instance);
    let instance = instance.ok_or_else(|| Problem::not_found("instance of the gateway"))?;
    if instance.revoked_at.is_some() {
        return Ok(StatusCode::NO_CONTENT);
    }
    let mut change = app.change(&caller).await?;
    change.bump().await?;
    gateways::revoke_instance(
        &mut change,
        &instance.id,
        &app.spiffe_of_instance(&caller.organisation_name, instance)?,
    )
    .await?;
    change.audit("gateway.instance-revoked", &format!("gateway:{}/{}", gateway.name, instance.id), json!({}));
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
