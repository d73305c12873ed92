//! Who the caller is.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::App;
use super::caller::Caller;
use super::problem::Problem;
use super::routes::{Needs, Route};
use crate::store::identities;
use crate::words::Whoami;

pub(super) fn routes() -> Vec<Route> {
    vec![
        Route::get("/v1/whoami", Needs::Caller, whoami)
            .named("whoami", "Who the caller is, and what it may do.")
            .answers::<Whoami>(),
    ]
}

async fn whoami(State(app): State<Arc<App>>, caller: Caller) -> Result<Json<Whoami>, Problem> {
    let identity = identities::find(&app.store, &caller.organisation, &caller.identity).await?;
    Ok(Json(Whoami {
        identity: identity.ok_or_else(|| Problem::not_found("identity"))?,
        organisation: caller.organisation_name,
        trust_domain: app.trust_domain().to_owned(),
        projects: identities::project_roles(&app.store, &caller.organisation, &caller.identity).await?,
        server_time: app.clock.now(),
    }))
}
