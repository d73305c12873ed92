//! Heartbeats of gateway instances: recorded in one short transaction, answered from the store alone.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::session::heartbeat_interval;
use super::{desired, settle};
use crate::api::App;
use crate::api::caller::Agent;
use crate::api::extract::Body;
use crate::api::problem::{Code, Problem};
use crate::store::instances::InstanceRow;
use crate::store::{StoreError, again, instances, organisations};
use crate::words::{Heartbeat, HeartbeatAnswer};

/// How much one report may hold.
const MAX_ADDRESSES: usize = 16;
const MAX_RELAYS: usize = 16;
const MAX_PEERS: usize = 512;
const MAX_TEXT: usize = 512;

pub(super) async fn heartbeat(
    State(app): State<Arc<App>>,
    agent: Agent,
    Body(report): Body<Heartbeat>,
) -> Result<Json<HeartbeatAnswer>, Problem> {
    check(&report)?;
    let (row, generation) = again(|| record(&app, &agent, &report)).await?.ok_or_else(session_ended)?;
    app.fleet.note(&row.id, &row.addresses);
    let health = settle::instance(&app, &row).await?;
    let is_current = report.generation == generation && !needs_credentials(&app, &report);
    let desired = match is_current {
        true => None,
        false => Some(desired::of(&app, &row).await?),
    };
    Ok(Json(HeartbeatAnswer {
        desired,
        heartbeat_interval: heartbeat_interval(&app),
        health,
        server_time: app.clock.now(),
    }))
}

fn check(report: &Heartbeat) -> Result<(), Problem> {
    let has_long_texts = report.peers.iter().any(|peer| peer.identity.len() + peer.serial.len() > MAX_TEXT)
        || report.relays.iter().any(|relay| {
            relay.relay.len() > MAX_TEXT
                || relay.addresses.len() > MAX_ADDRESSES
                || relay.lost.as_ref().is_some_and(|lost| lost.len() > MAX_TEXT)
        });
    let has_too_many = report.addresses.len() > MAX_ADDRESSES
        || report.relays.len() > MAX_RELAYS
        || report.peers.len() > MAX_PEERS;
    match has_long_texts || has_too_many {
        true => Err(Problem::bad_request(
            "A report has at most 16 addresses, 16 relays, 512 peers, and 512 bytes in each text.",
        )),
        false => Ok(()),
    }
}

/// The instance after its report, and the generation that it should be at; `None` where it has no such session.
async fn record(
    app: &App,
    agent: &Agent,
    report: &Heartbeat,
) -> Result<Option<(InstanceRow, u64)>, StoreError> {
    let mut change = app.store.quiet_change(&agent.organisation).await?;
    if !instances::report(&mut change, &agent.id, report).await? {
        return Ok(None);
    }
    let row = instances::find(change.connection(), &agent.organisation, &agent.id).await?;
    let generation = organisations::generation(change.connection(), &agent.organisation).await?;
    change.commit().await?;
    Ok(row.map(|row| (row, generation)))
}

pub(super) fn session_ended() -> Problem {
    Problem::new(
        Code::SessionEnded,
        "Another process has taken over, or this one was ended. Begin a new session: POST …/self/session.",
    )
}

/// Credentials are renewed at a certain age, which their end tells.
fn needs_credentials(app: &App, report: &Heartbeat) -> bool {
    let times = &app.config.times;
    let left_at_renewal = times.turn_credentials.saturating_sub(times.turn_renewal).as_secs();
    let is_due = |ends: u64| ends <= app.clock.now().saturating_add(left_at_renewal);
    report.credentials_expire_at.is_some_and(is_due)
}
