//! Tokens of identities.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::App;
use super::caller::{Caller, Permission};
use super::extract::{Body, Path};
use super::identities::{alive, found};
use super::problem::Problem;
use super::routes::{Needs, Route};
use crate::store::tokens::{self, TokenRow};
use crate::trust::token::Kind;
use crate::words::{IssuedToken, NewToken, Page, TokenInfo};

/// The longest life of a token that has an end: ten years, in seconds.
const MAX_LIFE: u64 = 10 * 366 * 86_400;

pub(super) fn routes() -> Vec<Route> {
    let read = Needs::Permission(Permission::ReadIdentities);
    let manage = Needs::Permission(Permission::ManageIdentities);
    vec![
        Route::get("/v1/identities/{identity}/tokens", read, list)
            .named("listTokens", "What is known of an identity's tokens.")
            .lists::<TokenInfo>(),
        Route::post("/v1/identities/{identity}/tokens", manage, create)
            .named("createToken", "A further token for an identity.")
            .takes::<NewToken>()
            .creates::<IssuedToken>(),
        Route::delete("/v1/identities/{identity}/tokens/{token}", manage, revoke)
            .named("revokeToken", "Revokes one token; the identity's others go on."),
    ]
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(identity): Path<String>,
) -> Result<Json<Page<TokenInfo>>, Problem> {
    let identity = found(&app, &caller, &identity).await?;
    let rows = tokens::list(app.store.reader(), &caller.organisation, &identity.id, Kind::Identity).await?;
    Ok(Json(Page { items: rows.iter().map(TokenRow::info).collect(), next: None }))
}

async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(identity): Path<String>,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<IssuedToken>), Problem> {
    if new.expires_in.is_some_and(|life| life == 0 || life > MAX_LIFE) {
        return Err(Problem::bad_request(format!(
            "expires_in is 1 to {MAX_LIFE} seconds; leave it out for never."
        )));
    }
    let identity = alive(&app, &caller, &identity).await?;
    let mut change = app.change(&caller).await?;
    let token = app.identity_token(&mut change, &identity.id, new.expires_in).await?;
    let detail = json!({ "token": token.info.id, "expires_at": token.info.expires_at });
    change.audit("identity.token-created", &format!("identity:{}", identity.name), detail);
    change.commit().await?;
    Ok((StatusCode::CREATED, Json(token)))
}

async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path((identity, token)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let identity = found(&app, &caller, &identity).await?;
    let mut change = app.change(&caller).await?;
    if !tokens::revoke(&mut change, &identity.id, &token).await? {
        return Err(Problem::not_found("token of the identity"));
    }
    change.audit("identity.token-revoked", &format!("identity:{}", identity.name), json!({ "token": token }));
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
