//! Relays: an organisation's own, and the shared ones, which belong to the installation.

use std::sync::Arc;

use adit_core::turn::uri::RelayUri;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::App;
use super::caller::{Caller, Permission};
use super::extract::{Body, PageQuery, Path, Query};
use super::named::{new_name, page};
use super::problem::Problem;
use super::routes::{Needs, PAGED, Route};
use crate::store::{INSTALLATION, relays};
use crate::trust::token::Kind;
use crate::words::{EnrolmentToken, NewRelay, Page, Relay};

/// URLs of one relay.
const MAX_URLS: usize = 8;

pub(super) fn routes() -> Vec<Route> {
    let (read, manage) =
        (Needs::Permission(Permission::ReadRelays), Needs::Permission(Permission::ManageRelays));
    vec![
        Route::get("/v1/relays", read, list)
            .named("listRelays", "The relays that the organisation can use: its own, and shared ones.")
            .query(PAGED)
            .lists::<Relay>(),
        Route::post("/v1/relays", manage, create)
            .named("createRelay", "Makes a relay of the organisation; an operator's is shared by all.")
            .takes::<NewRelay>()
            .creates::<Relay>(),
        Route::get("/v1/relays/{relay}", read, show).named("getRelay", "One relay.").answers::<Relay>(),
        Route::delete("/v1/relays/{relay}", manage, delete)
            .named("deleteRelay", "Deletes a relay; gateways leave it."),
        Route::post("/v1/relays/{relay}/enrolment-tokens", manage, enrol)
            .named("createRelayEnrolmentToken", "A token that enrols the relay, once.")
            .creates::<EnrolmentToken>(),
    ]
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<PageQuery>,
) -> Result<Json<Page<Relay>>, Problem> {
    let limit = query.limit()?;
    let relays = relays::all(&app.store, &caller.organisation, query.after(), limit + 1).await?;
    let relays = relays.into_iter().map(|relay| shown(relay, &caller)).collect();
    Ok(Json(page(relays, limit, |relay| relay.id.clone())))
}

/// What a relay reports is for who manages it.
fn shown(mut relay: Relay, caller: &Caller) -> Relay {
    if !manages(caller, &relay) {
        relay.status = None;
    }
    relay
}

fn manages(caller: &Caller, relay: &Relay) -> bool {
    caller.may(Permission::ManageRelays) && relay.shared == (caller.organisation == INSTALLATION)
}

async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(new): Body<NewRelay>,
) -> Result<(StatusCode, Json<Relay>), Problem> {
    let name = new_name(&new.name)?;
    let urls = urls(&new.urls)?;
    let mut change = app.change(&caller).await?;
    let relay = relays::create(&mut change, name, &urls).await?;
    change.audit("relay.created", &format!("relay:{name}"), json!({ "urls": urls }));
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(relay)))
}

/// The URLs in their one form.
fn urls(texts: &[String]) -> Result<Vec<String>, Problem> {
    if texts.is_empty() || texts.len() > MAX_URLS {
        return Err(Problem::bad_request(format!("A relay has 1 to {MAX_URLS} urls.")));
    }
    let url = |text: &String| match text.parse::<RelayUri>() {
        Ok(url) => Ok(url.to_string()),
        Err(error) => Err(Problem::bad_request(format!(
            "{text:?} is no URL of a relay: {error}. One reads turn:relay.example:3478?transport=udp."
        ))),
    };
    texts.iter().map(url).collect()
}

async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(relay): Path<String>,
) -> Result<Json<Relay>, Problem> {
    let found = found(&app, &caller, &relay).await?;
    Ok(Json(shown(found, &caller)))
}

/// The relay, where the caller's organisation can use it.
async fn found(app: &App, caller: &Caller, relay: &str) -> Result<Relay, Problem> {
    let found = relays::find(&app.store, &caller.organisation, relay).await?;
    found.ok_or_else(|| Problem::not_found("relay"))
}

/// The relay, where the caller manages it.
async fn managed(app: &App, caller: &Caller, relay: &str) -> Result<Relay, Problem> {
    let relay = found(app, caller, relay).await?;
    if manages(caller, &relay) {
        return Ok(relay);
    }
    Err(Problem::forbidden(
        "The relay is shared by all organisations; only an operator of the installation may do this.",
    ))
}

async fn delete(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(relay): Path<String>,
) -> Result<StatusCode, Problem> {
    let relay = managed(&app, &caller, &relay).await?;
    let mut change = app.change(&caller).await?;
    match relay.shared {
        true => change.bump_installation().await?,
        false => change.bump().await?,
    }
    relays::delete(&mut change, &relay.id).await?;
    change.audit("relay.deleted", &format!("relay:{}", relay.name), json!({}));
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn enrol(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(relay): Path<String>,
) -> Result<(StatusCode, Json<EnrolmentToken>), Problem> {
    let relay = managed(&app, &caller, &relay).await?;
    let mut change = app.change(&caller).await?;
    let token = app.enrolment_token(&mut change, Kind::Relay, &relay.id).await?;
    let detail = json!({ "token": token.id, "expires_at": token.expires_at });
    change.audit("relay.enrolment-token-created", &format!("relay:{}", relay.name), detail);
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_relays_are_those_of_rfc_7065() {
        let good = ["turn:relay.example:3478?transport=udp".to_owned()];
        assert_eq!(urls(&good).unwrap(), good);
        for bad in ["http://relay.example", "turn:", "relay.example:3478"] {
            assert!(urls(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(urls(&[]).is_err() && urls(&vec![good[0].clone(); 9]).is_err());
    }
}
