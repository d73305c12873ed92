//! What happens without being asked: each duty is a task of its own that begins its rounds at random moments, so that
//! several platform instances do not step on each other.
//!
//! | duty | what it does |
//! | --- | --- |
//! | `presence` | says that this instance is there; ends its connections when it is revoked |
//! | `silence` | notices gateway instances and relays that are heard no more |
//! | `discovery` | learns from where this instance's connector comes |
//! | `watcher` | PINGs gateway instances |
//! | `trust` | ends connections to gateway instances that are revoked |
//! | `secrets` | retires secrets of relays that nothing depends on any more |
//! | `rollover` | makes successors of certificate authorities that near their end |
//! | `rotations` | changes the passwords whose time has come |
//! | `idle` | ends sessions with databases' servers that nobody needs any more |
//! | `purge` | forgets what has run out |

use std::sync::Arc;
use std::time::Duration;

use adit_core::pki::{Identity, Revoked};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{desired, health, settle};
use crate::api::App;
use crate::authority::AuthorityError;
use crate::authority::rollover::{self, Pace};
use crate::connect::discovery::Discovery;
use crate::connect::watcher::Watcher;
use crate::store::platform_instances::Seen;
use crate::store::{
    StoreError, instances, nonces, permits, platform_instances, relay_agents, relay_secrets, revocations,
    tokens, watching,
};
use crate::trust::random;

/// Rows of one kind that one statement deletes, so that it holds nobody up.
const BATCH: u32 = 500;

/// Batches of one kind in one round.
const BATCHES: u32 = 20;

/// For how long certificates are kept that ran out: connections may outlive them. A day, in seconds.
const KEEP_CERTIFICATES: u64 = 24 * 3600;

/// For how long a platform instance is kept that is there no more. A week, in seconds.
const KEEP_INSTANCES: u64 = 7 * 24 * 3600;

/// How long after the addresses of one gateway instance have changed those of others may follow in the same round.
const GATHER: Duration = Duration::from_millis(100);

/// What rings for a round before its time.
pub(crate) type Bell = fn(&App) -> &Notify;

/// Begins all duties. The first sign of life is given before this returns.
///
/// # Errors
/// Those of the store.
pub async fn spawn(app: &Arc<App>, tasks: &mut JoinSet<()>) -> Result<(), StoreError> {
    presence(app).await?;
    let (often, ping) = (app.config.times.duties, app.config.times.ping);
    tasks.spawn(rounds(app.clone(), "presence", often, None, async |app| presence(app).await));
    tasks.spawn(rounds(app.clone(), "silence", often, None, async |app| silence(app).await));
    tasks.spawn(rounds(app.clone(), "trust", often, None, async |app| trust(app).await));
    tasks.spawn(rounds(app.clone(), "secrets", often * 4, None, async |app| secrets(app).await));
    tasks.spawn(rounds(app.clone(), "purge", often * 4, None, async |app| purge(app).await));
    tasks.spawn(rounds(app.clone(), "rollover", often * 60, None, async |app| rollover(app).await));
    tasks.spawn(crate::rotations::work(app.clone()));
    tasks.spawn(rounds(app.clone(), "idle", often, None, async |app| {
        app.servers.close_idle();
        Ok(())
    }));
    let mut discovery = Discovery::default();
    let began: Bell = |app| &app.fleet.relay_began;
    tasks.spawn(rounds(app.clone(), "discovery", often, Some(began), async move |app| {
        discovery.round(app).await
    }));
    let mut watcher = Watcher::new();
    let changed: Bell = |app| &app.fleet.addresses_changed;
    tasks.spawn(rounds(app.clone(), "watcher", (ping / 4).min(often), Some(changed), async move |app| {
        watcher.round(app).await
    }));
    Ok(())
}

/// After the duties have ended: others take over at once, and gateways are told.
pub async fn leave(app: &App) {
    app.servers.shut_down();
    app.connect.shut_down();
    if let Err(error) = watching::release(&app.store).await {
        tracing::warn!(%error, "other platform instances wait until the claims of this one have run out");
    }
}

/// Rounds of one duty, for ever, with pauses of about `pause`; earlier when `rung` rings.
pub(crate) async fn rounds(
    app: Arc<App>,
    duty: &'static str,
    pause: Duration,
    rung: Option<Bell>,
    mut round: impl AsyncFnMut(&Arc<App>) -> Result<(), StoreError> + Send,
) {
    loop {
        if let Err(error) = round(&app).await {
            tracing::warn!(duty, %error, "a duty of the platform failed; it is tried again");
        }
        let pause = tokio::time::sleep(jittered(pause));
        match rung {
            None => pause.await,
            Some(rung) => tokio::select! {
                () = pause => {}
                () = rung(&app).notified() => tokio::time::sleep(GATHER).await,
            },
        }
    }
}

/// Between three quarters of `pause` and the whole.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let part = f32::from(u16::from_be_bytes(random())) / f32::from(u16::MAX);
    pause.mul_f32(0.75 + part / 4.0)
}

async fn presence(app: &Arc<App>) -> Result<(), StoreError> {
    match platform_instances::see(&app.store, desired::presence(app)).await? {
        Seen::Yes => app.readiness.has("presence"),
        Seen::Revoked => {
            if app.connect.is_ended() {
                return Ok(());
            }
            app.readiness.lacks("presence", "an operator has revoked this platform instance");
            tracing::error!("an operator has revoked this platform instance; it connects to no gateway");
            app.connect.shut_down();
            watching::release(&app.store).await?;
        }
    }
    Ok(())
}

/// Judges those that should have been heard of. Several platform instances may do so at once: the row is changed once.
async fn silence(app: &Arc<App>) -> Result<(), StoreError> {
    let now = app.clock.now();
    let since = now.saturating_sub(health::silence(&app.config.times));
    let answered_since = now.saturating_sub(health::answer_time(&app.config.times));
    for row in instances::silent(&app.store, since, answered_since, BATCH).await? {
        settle::instance(app, &row).await?;
    }
    for row in relay_agents::silent(&app.store, since, BATCH).await? {
        settle::relay(app, &row).await?;
    }
    Ok(())
}

/// What is revoked in the organisations to which there are connections.
async fn trust(app: &Arc<App>) -> Result<(), StoreError> {
    app.connect.forget_unused();
    let (mut serials, mut identities) = (Vec::new(), Vec::new());
    for organisation in app.connect.organisations() {
        let revoked = revocations::running(&app.store, &organisation).await?;
        serials.extend(revoked.serials.iter().filter_map(|serial| bytes(serial)));
        identities.extend(revoked.identities.iter().filter_map(|identity| identity.parse::<Identity>().ok()));
    }
    app.connect.set_revoked(Revoked::new(serials, identities));
    Ok(())
}

/// The bytes that are written in hex.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// A secret ends when everything that it made has run out: a life of credentials after its successor was fetched, and
/// the time of a report more, within which the successor was not known everywhere.
async fn secrets(app: &Arc<App>) -> Result<(), StoreError> {
    let times = &app.config.times;
    let life = (times.turn_credentials + times.heartbeat * 2).as_secs();
    let before = app.clock.now().saturating_sub(life);
    for (id, relay, organisation) in relay_secrets::outlived(app.store.reader(), before).await? {
        let mut change = app.store.change(&organisation, "platform").await?;
        if relay_secrets::retire(&mut change, &id).await? {
            let object = relay_agents::find(change.connection(), &organisation, &relay).await?;
            let object = object.map_or(relay, |row| row.name);
            change.audit("relay.secret-retired", &format!("relay:{object}"), serde_json::json!({}));
            change.commit().await?;
        }
    }
    Ok(())
}

/// Intermediates that near their end get successors, which everybody hears of a day before they issue.
async fn rollover(app: &Arc<App>) -> Result<(), StoreError> {
    let times = &app.config.times;
    let pace = Pace { announced: times.gateway_leaf, leaf: times.gateway_leaf.max(times.connector_leaf) };
    match rollover::begin_due(&app.store, pace, BATCH).await {
        Ok(_) => Ok(()),
        Err(AuthorityError::Store(error)) => Err(error),
        Err(other) => Err(StoreError::Corrupt(other.to_string())),
    }
}

async fn purge(app: &Arc<App>) -> Result<(), StoreError> {
    let (store, now) = (&app.store, app.clock.now());
    for organisation in permits::run_out(store, BATCH).await? {
        let mut change = store.quiet_change(&organisation).await?;
        if permits::forget(&mut change).await? > 0 {
            change.bump().await?;
        }
        change.commit().await?;
    }
    for _ in 0..BATCHES {
        let certificates = now.saturating_sub(KEEP_CERTIFICATES);
        let gone = nonces::purge(store, BATCH).await?
            + tokens::purge(store, BATCH).await?
            + permits::purge(store, certificates, BATCH).await?;
        if gone < u64::from(BATCH) {
            break;
        }
    }
    platform_instances::close_doors(store, now.saturating_sub(desired::presence(app))).await?;
    platform_instances::purge(store, now.saturating_sub(KEEP_INSTANCES)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_jittered_downwards_only() {
        let pause = Duration::from_secs(4);
        for _ in 0..100 {
            assert!((3.0..=4.0).contains(&jittered(pause).as_secs_f32()));
        }
    }

    #[test]
    fn serial_numbers_are_read_from_hex() {
        assert_eq!(bytes("00ff10"), Some(vec![0, 255, 16]));
        assert_eq!(bytes("0g"), None);
    }
}
