//! The platform's own instances, for operators.

use std::sync::Arc;

use adit_core::pki::Role;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::desired::presence;
use crate::api::App;
use crate::api::caller::Caller;
use crate::api::extract::Path;
use crate::api::problem::Problem;
use crate::authority;
use crate::store::{StoreError, again, organisations, platform_instances};
use crate::words::{Page, PlatformInstance};

pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<Page<PlatformInstance>>, Problem> {
    let since = app.clock.now().saturating_sub(presence(&app));
    let all = platform_instances::all(app.store.reader()).await?;
    let shown = all.into_iter().map(|row| PlatformInstance {
        is_alive: row.revoked_at.is_none() && row.last_seen_at >= since,
        id: row.id,
        started_at: row.started_at,
        last_seen_at: row.last_seen_at,
        revoked_at: row.revoked_at,
        addresses: row.addresses,
    });
    Ok(Json(Page { items: shown.collect(), next: None }))
}

/// Every organisation's gateways must hear of it: their connector authorities have each issued it a certificate.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(instance): Path<String>,
) -> Result<StatusCode, Problem> {
    match again(|| revoke_everywhere(&app, &caller, &instance)).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::not_found("platform instance")),
    }
}

async fn revoke_everywhere(app: &App, caller: &Caller, instance: &str) -> Result<bool, StoreError> {
    let Ok(name) = instance.parse() else { return Ok(false) };
    let role = Role::Platform { instance: name };
    let mut change = app.change(caller).await?;
    if !platform_instances::revoke(&mut change, instance).await? {
        return Ok(false);
    }
    let mut after = String::new();
    loop {
        let some = organisations::list(change.connection(), &after, 500).await?;
        let Some(last) = some.last() else { break };
        after.clone_from(&last.name);
        for organisation in &some {
            let spiffe = authority::issue::spiffe(app.trust_domain(), &organisation.name, role.clone());
            let spiffe = spiffe.map_err(|error| StoreError::Corrupt(error.to_string()))?;
            platform_instances::revoke_in(&mut change, &organisation.id, instance, &spiffe).await?;
        }
    }
    change.bump_installation().await?;
    change.audit("platform.instance-revoked", &format!("platform:{instance}"), json!({}));
    change.commit().await?;
    Ok(true)
}
