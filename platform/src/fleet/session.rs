//! Sessions of gateway instances: one process at a time, and a copied state directory is noticed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::{desired, health, settle};
use crate::api::App;
use crate::api::caller::Agent;
use crate::api::extract::Body;
use crate::api::problem::{Code, Problem};
use crate::store::{StoreError, again, instances};
use crate::trust::random_id;
use crate::words::{NewSession, Session};

/// The longest fingerprint and the longest version, in bytes.
const MAX_FINGERPRINT: usize = 128;
const MAX_VERSION: usize = 64;

pub(super) async fn begin(
    State(app): State<Arc<App>>,
    agent: Agent,
    Body(process): Body<NewSession>,
) -> Result<Json<Session>, Problem> {
    check(&process)?;
    let session = random_id();
    again(|| take(&app, &agent, &session, &process)).await?.map_err(Refusal::problem)?;
    app.fleet.forget(&agent.id);
    let row = instances::find(app.store.reader(), &agent.organisation, &agent.id).await?;
    let row = row.ok_or_else(|| Problem::not_found("instance"))?;
    settle::instance(&app, &row).await?;
    tracing::info!(instance = agent.id, "a gateway instance begins");
    Ok(Json(Session {
        session,
        heartbeat_interval: heartbeat_interval(&app),
        desired: desired::of(&app, &row).await?,
        server_time: app.clock.now(),
    }))
}

/// In whole seconds, at least one.
pub(super) fn heartbeat_interval(app: &App) -> u64 {
    app.config.times.heartbeat.as_secs().max(1)
}

pub(super) fn check(process: &NewSession) -> Result<(), Problem> {
    let (fingerprint, version) = (&process.fingerprint, &process.version);
    let is_hex = !fingerprint.is_empty() && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex || fingerprint.len() > MAX_FINGERPRINT {
        return Err(Problem::bad_request("fingerprint is 1 to 128 hexadecimal digits."));
    }
    if version.len() > MAX_VERSION || version.chars().any(char::is_control) {
        return Err(Problem::bad_request("version is at most 64 bytes of text."));
    }
    Ok(())
}

/// Why there is no session.
pub(super) enum Refusal {
    /// Another machine's process reports.
    InUse,
    /// The agent is revoked, or deleted.
    Revoked,
}

impl Refusal {
    pub(super) fn problem(self) -> Problem {
        match self {
            Self::InUse => Problem::new(
                Code::InstanceInUse,
                "A process on another machine, or with another state directory, reports as this one. Stop it; if this \
                 is a copy, remove its state directory and enrol it with a token of its own.",
            )
            .retry_after(15),
            Self::Revoked => Problem::new(Code::Revoked, "It was revoked. Enrol a new one."),
        }
    }
}

/// Takes the session. That it moves to another machine stands in the audit.
async fn take(
    app: &App,
    agent: &Agent,
    session: &str,
    process: &NewSession,
) -> Result<Result<(), Refusal>, StoreError> {
    let row = instances::find(app.store.reader(), &agent.organisation, &agent.id).await?;
    let Some(row) = row.filter(|row| row.revoked_at == 0) else { return Ok(Err(Refusal::Revoked)) };
    let moves = !row.fingerprint.is_empty() && row.fingerprint != process.fingerprint;
    let silent_since = app.clock.now().saturating_sub(health::silence(&app.config.times));
    let mut change = match moves {
        true => app.store.change(&agent.organisation, &agent.actor()).await?,
        false => app.store.quiet_change(&agent.organisation).await?,
    };
    if !instances::begin_session(&mut change, &agent.id, session, process, silent_since).await? {
        return Ok(Err(Refusal::InUse));
    }
    if moves {
        change.audit("gateway.instance-moved", &agent.actor(), json!({ "from_address": agent.source }));
    }
    change.commit().await?;
    Ok(Ok(()))
}

pub(super) async fn end(State(app): State<Arc<App>>, agent: Agent) -> Result<StatusCode, Problem> {
    again(|| async {
        let mut change = app.store.quiet_change(&agent.organisation).await?;
        instances::end_session(&mut change, &agent.id).await?;
        change.commit().await
    })
    .await?;
    app.fleet.forget(&agent.id);
    if let Some(row) = instances::find(app.store.reader(), &agent.organisation, &agent.id).await? {
        settle::instance(&app, &row).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
