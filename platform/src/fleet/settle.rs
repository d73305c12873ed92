//! Writes how something is, where that is another than before: a row, and an audit event when the state changes.

use serde_json::json;

use super::health::{self, Signs};
use crate::api::App;
use crate::store::health::Of;
use crate::store::instances::InstanceRow;
use crate::store::relay_agents::RelayRow;
use crate::store::{self, Change, StoreError, again};
use crate::words::Health;

/// Judges a gateway instance, and says how it is.
pub(crate) async fn instance(app: &App, row: &InstanceRow) -> Result<Health, StoreError> {
    let signs = Signs {
        revoked_at: row.revoked_at,
        in_session: !row.session.is_empty(),
        last_heartbeat_at: row.last_heartbeat_at,
        last_pong_at: row.last_pong_at,
        relays: &row.relays,
    };
    let now = app.clock.now();
    let verdict = health::of_instance(&signs, &app.config.times, now);
    if verdict.is(&row.health) {
        return Ok(row.health.clone());
    }
    again(|| async {
        let is_news = verdict.state != row.health.state;
        let mut change = begin(app, &row.organisation, is_news).await?;
        // Somebody else was quicker: theirs is as good.
        if !store::health::set(&mut change, Of::Instance, &row.id, &row.health, &verdict).await? {
            return Ok(());
        }
        if is_news {
            let object = format!("gateway:{}/{}", row.gateway_name, row.id);
            change.audit("gateway.health-changed", &object, detail(&row.health, &verdict));
        }
        change.commit().await
    })
    .await?;
    Ok(verdict.since(&row.health, now))
}

/// Judges a relay. Gateways are told when it comes and when it goes.
pub(crate) async fn relay(app: &App, row: &RelayRow) -> Result<(), StoreError> {
    let now = app.clock.now();
    let in_session = !row.session.is_empty();
    let verdict = health::of_relay(in_session, row.last_heartbeat_at, &app.config.times, now);
    if verdict.is(&row.health) {
        return Ok(());
    }
    again(|| async {
        let is_news = verdict.state != row.health.state;
        let mut change = begin(app, &row.organisation, is_news).await?;
        if !store::health::set(&mut change, Of::Relay, &row.id, &row.health, &verdict).await? {
            return Ok(());
        }
        if is_news {
            change.bump().await?;
            let object = format!("relay:{}", row.name);
            change.audit("relay.health-changed", &object, detail(&row.health, &verdict));
        }
        change.commit().await
    })
    .await
}

async fn begin(app: &App, organisation: &str, is_news: bool) -> Result<Change, StoreError> {
    match is_news {
        true => app.store.change(organisation, "platform").await,
        false => app.store.quiet_change(organisation).await,
    }
}

fn detail(before: &Health, verdict: &health::Verdict) -> serde_json::Value {
    json!({ "from": before.state, "to": verdict.state, "reason": verdict.reason })
}
