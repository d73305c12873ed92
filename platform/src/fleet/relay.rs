//! Relays: their session, their secrets, and what they report.

use std::sync::Arc;

use adit_core::pki::{Identity, Role};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::heartbeat::session_ended;
use super::session::{Refusal, check, heartbeat_interval};
use super::{health, settle};
use crate::api::App;
use crate::api::caller::{Agent, Caller};
use crate::api::extract::{Body, Path};
use crate::api::problem::Problem;
use crate::store::relay_agents::RelayRow;
use crate::store::{INSTALLATION, StoreError, again, relay_agents, relay_secrets, relays, revocations};
use crate::trust::random_id;
use crate::words::{NewSession, RelayHeartbeat, RelayHeartbeatAnswer, RelaySession};

/// The longest version that is reported, in bytes.
const MAX_VERSION: usize = 64;

pub(super) async fn begin(
    State(app): State<Arc<App>>,
    agent: Agent,
    Body(process): Body<NewSession>,
) -> Result<Json<RelaySession>, Problem> {
    check(&process)?;
    let session = random_id();
    again(|| take(&app, &agent, &session, &process)).await?.map_err(Refusal::problem)?;
    let secrets = secrets(&app, &agent).await?;
    let row = row(&app, &agent).await?;
    settle::relay(&app, &row).await?;
    app.fleet.relay_began.notify_one();
    tracing::info!(relay = agent.id, "a relay begins");
    Ok(Json(RelaySession {
        session,
        heartbeat_interval: heartbeat_interval(&app),
        secrets,
        revoked: revoked(&app, &agent).await?,
        realm: app.trust_domain().to_owned(),
        urls: row.urls,
        server_time: app.clock.now(),
    }))
}

async fn row(app: &App, agent: &Agent) -> Result<RelayRow, Problem> {
    let row = relay_agents::find(app.store.reader(), &agent.organisation, &agent.id).await?;
    row.ok_or_else(|| Problem::not_found("relay"))
}

async fn take(
    app: &App,
    agent: &Agent,
    session: &str,
    process: &NewSession,
) -> Result<Result<(), Refusal>, StoreError> {
    let row = relay_agents::find(app.store.reader(), &agent.organisation, &agent.id).await?;
    let Some(row) = row else { return Ok(Err(Refusal::Revoked)) };
    let moves = !row.fingerprint.is_empty() && row.fingerprint != process.fingerprint;
    let silent_since = app.clock.now().saturating_sub(health::silence(&app.config.times));
    let mut change = match moves {
        true => app.store.change(&agent.organisation, &agent.actor()).await?,
        false => app.store.quiet_change(&agent.organisation).await?,
    };
    if !relay_agents::begin_session(&mut change, &agent.id, session, process, silent_since).await? {
        return Ok(Err(Refusal::InUse));
    }
    if moves {
        change.audit("relay.moved", &agent.actor(), json!({ "from_address": agent.source }));
    }
    change.commit().await?;
    Ok(Ok(()))
}

/// The live secrets, base64. From now on the relay has them, and the newest makes credentials.
async fn secrets(app: &App, agent: &Agent) -> Result<Vec<String>, Problem> {
    let (secrets, unfetched) = relay_secrets::live(&app.store, &agent.organisation, &agent.id).await?;
    if unfetched {
        again(|| async {
            let mut change = app.store.quiet_change(&agent.organisation).await?;
            relay_secrets::fetched(&mut change, &agent.id).await?;
            change.commit().await
        })
        .await?;
    }
    Ok(secrets.iter().map(|secret| STANDARD.encode(secret)).collect())
}

/// The gateway instances that were revoked while credentials for this relay that they have may still be good: those of its
/// organisation, or of all where the relay is shared.
async fn revoked(app: &App, agent: &Agent) -> Result<Vec<String>, Problem> {
    let organisation = Some(agent.organisation.as_str()).filter(|&organisation| organisation != INSTALLATION);
    let since = app.clock.now().saturating_sub(app.config.times.turn_credentials.as_secs());
    let names = revocations::gateways(&app.store, organisation, since).await?;
    let instance = |name: &String| match name.parse::<Identity>().ok()?.role {
        Role::Gateway { instance, .. } => Some(instance.as_str().to_owned()),
        _ => None,
    };
    Ok(names.iter().filter_map(instance).collect())
}

pub(super) async fn heartbeat(
    State(app): State<Arc<App>>,
    agent: Agent,
    Body(report): Body<RelayHeartbeat>,
) -> Result<Json<RelayHeartbeatAnswer>, Problem> {
    if report.status.version.len() > MAX_VERSION {
        return Err(Problem::bad_request("version is at most 64 bytes."));
    }
    let known = again(|| async {
        let mut change = app.store.quiet_change(&agent.organisation).await?;
        if !relay_agents::report(&mut change, &agent.id, &report.session, &report.status).await? {
            return Ok(false);
        }
        change.commit().await?;
        Ok(true)
    })
    .await?;
    if !known {
        return Err(session_ended());
    }
    settle::relay(&app, &row(&app, &agent).await?).await?;
    Ok(Json(RelayHeartbeatAnswer {
        secrets: secrets(&app, &agent).await?,
        revoked: revoked(&app, &agent).await?,
        heartbeat_interval: heartbeat_interval(&app),
        server_time: app.clock.now(),
    }))
}

pub(super) async fn end(State(app): State<Arc<App>>, agent: Agent) -> Result<StatusCode, Problem> {
    again(|| async {
        let mut change = app.store.quiet_change(&agent.organisation).await?;
        relay_agents::end_session(&mut change, &agent.id).await?;
        change.commit().await
    })
    .await?;
    settle::relay(&app, &row(&app, &agent).await?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The new secret makes credentials once the relay has fetched it; the old one lives on for as long as what it signed.
pub(super) async fn rotate(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(relay): Path<String>,
) -> Result<StatusCode, Problem> {
    let relay = relays::find(&app.store, &caller.organisation, &relay).await?;
    let relay = relay.ok_or_else(|| Problem::not_found("relay"))?;
    if relay.shared != (caller.organisation == INSTALLATION) {
        return Err(Problem::forbidden(
            "The relay is shared by all organisations; only an operator of the installation may do this.",
        ));
    }
    let rotated = again(|| async {
        let mut change = app.change(&caller).await?;
        relay_secrets::make(&mut change, &relay.id).await?;
        change.audit("relay.secret-rotated", &format!("relay:{}", relay.name), json!({}));
        change.commit().await
    })
    .await;
    match rotated {
        Ok(()) => Ok(StatusCode::NO_CONTENT),
        Err(StoreError::Conflict) => Err(Problem::conflict(format!(
            "The relay has two live secrets; the older one ends {} h after the relay fetched the newer one.",
            app.config.times.turn_credentials.as_secs() / 3600
        ))),
        Err(error) => Err(error.into()),
    }
}
