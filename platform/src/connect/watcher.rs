//! The watcher: this platform instance claims its share of the gateway instances, keeps a connection to each, and PINGs
//! it. Only a PONG makes an instance healthy.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_tokio::{Connector, GatewayKey};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::ConnectError;
use crate::api::App;
use crate::fleet::{desired, settle};
use crate::store::watching::{self, Watched};
use crate::store::{StoreError, instances, platform_instances};

/// PINGs, and the connections before them, that are under way at once.
const AT_ONCE: usize = 128;

/// What is known of each instance that is watched here, and the PINGs that are under way.
#[derive(Debug)]
pub(crate) struct Watcher {
    known: BTreeMap<String, Known>,
    /// Each ends with the instance's id and whether it answered.
    asked: JoinSet<(String, bool)>,
    at_once: Arc<Semaphore>,
}

#[derive(Debug)]
struct Known {
    key: GatewayKey,
    addresses: Vec<SocketAddr>,
    /// When it was last sent a PING.
    asked: Instant,
    is_under_way: bool,
    has_answered: bool,
}

/// An instance that is to be sent a PING now.
struct Due {
    id: String,
    organisation: String,
    key: GatewayKey,
}

impl Watcher {
    /// Watches nobody yet.
    pub(crate) fn new() -> Self {
        Self { known: BTreeMap::new(), asked: JoinSet::new(), at_once: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Claims, connects, and PINGs those that are due. Who does not answer holds nobody up.
    pub(crate) async fn round(&mut self, app: &Arc<App>) -> Result<(), StoreError> {
        if app.connect.is_ended() {
            return Ok(());
        }
        self.collect();
        let watched = claim(app).await?;
        let (connector, _) = app.connect.connector(app);
        for due in self.update(app, connector, watched).await {
            let (app, connector, at_once) = (app.clone(), connector.clone(), self.at_once.clone());
            self.asked.spawn(async move {
                let _turn = at_once.acquire().await;
                let has_answered = ask(&app, &connector, &due).await;
                (due.id, has_answered)
            });
        }
        Ok(())
    }

    /// Notes how PINGs ended.
    fn collect(&mut self) {
        while let Some(ended) = self.asked.try_join_next() {
            if let Ok((id, has_answered)) = ended
                && let Some(known) = self.known.get_mut(&id)
            {
                (known.is_under_way, known.has_answered) = (false, has_answered);
            }
        }
    }

    /// Brings pools and claims together, and says who is to be asked.
    async fn update(&mut self, app: &App, connector: &Connector, watched: Vec<Watched>) -> Vec<Due> {
        let mut keys: BTreeMap<(String, String), Vec<(String, GatewayKey)>> = BTreeMap::new();
        let mut before = std::mem::take(&mut self.known);
        let mut due = Vec::new();
        for one in watched {
            let of = (one.organisation.clone(), one.gateway.clone());
            let keys = match keys.entry(of) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let known = keys_of(app, unknown.key()).await;
                    unknown.insert(known)
                }
            };
            let Some(&(_, key)) = keys.iter().find(|(id, _)| *id == one.id) else { continue };
            connector.keep(key, true);
            let known = before.remove(&one.id).filter(|known| known.key == key);
            let mut known = known.unwrap_or_else(|| Known::new(key));
            if known.is_due(&one.addresses, app.config.times.ping) {
                (known.asked, known.is_under_way) = (Instant::now(), true);
                due.push(Due { id: one.id.clone(), organisation: one.organisation, key });
            }
            known.addresses = one.addresses;
            self.known.insert(one.id, known);
        }
        // What is watched no more may be closed when it is idle.
        before.into_values().for_each(|known| connector.keep(known.key, false));
        due
    }
}

impl Known {
    fn new(key: GatewayKey) -> Self {
        let asked = Instant::now();
        Self { key, addresses: Vec::new(), asked, is_under_way: false, has_answered: false }
    }

    /// At once where the addresses are new; sooner than otherwise where it did not answer, since it may just begin.
    fn is_due(&self, addresses: &[SocketAddr], interval: Duration) -> bool {
        // Rounds come a little early or late.
        let pause = if self.has_answered { interval.mul_f32(0.9) } else { interval / 4 };
        !self.is_under_way && (self.addresses != addresses || self.asked.elapsed() >= pause)
    }
}

/// Renews what this instance claims and takes its fair share of the rest.
async fn claim(app: &App) -> Result<Vec<Watched>, StoreError> {
    let now = app.clock.now();
    let alive =
        platform_instances::alive(app.store.reader(), now.saturating_sub(desired::presence(app))).await?;
    let (all, mine) = watching::count(&app.store).await?;
    let fair = fair_share(all, alive.len());
    if mine > fair.saturating_add(1) {
        watching::share(&app.store, mine - fair).await?;
    }
    // At least one, so that nobody stays unwatched when the counts were taken at a bad moment.
    let more = fair.saturating_sub(mine).max(1);
    let claim = app.config.times.watcher_claim.as_secs().max(1);
    watching::claim(&app.store, now.saturating_add(claim), more).await
}

fn fair_share(all: u32, platform_instances: usize) -> u32 {
    all.div_ceil(u32::try_from(platform_instances).unwrap_or(u32::MAX).max(1))
}

/// The keys of the instances of one gateway, from its pool as the store has it now.
async fn keys_of(app: &App, (organisation, gateway): &(String, String)) -> Vec<(String, GatewayKey)> {
    match app.pool(organisation, gateway, Duration::ZERO).await {
        Ok(pool) => pool.map(|pool| pool.instances()).unwrap_or_default(),
        Err(ConnectError::NoInstance) => Vec::new(),
        Err(error) => {
            tracing::warn!(%error, "a gateway can't be watched now");
            Vec::new()
        }
    }
}

/// One PING, as long as an interval at most. Whether it was answered.
async fn ask(app: &App, connector: &Connector, due: &Due) -> bool {
    let patience = app.config.times.ping.max(Duration::from_secs(1));
    match tokio::time::timeout(patience, connector.ping(due.key)).await {
        Ok(Ok(_)) => {
            if let Err(error) = note(app, due).await {
                tracing::warn!(%error, "a PONG is not noted");
            }
            true
        }
        Ok(Err(error)) => {
            tracing::debug!(instance = due.id, %error, "a gateway instance does not answer");
            false
        }
        Err(_) => {
            tracing::debug!(instance = due.id, "a gateway instance does not answer in time");
            false
        }
    }
}

async fn note(app: &App, due: &Due) -> Result<(), StoreError> {
    if !watching::pong(&app.store, &due.organisation, &due.id).await? {
        return Ok(());
    }
    if let Some(row) = instances::find(app.store.reader(), &due.organisation, &due.id).await? {
        settle::instance(app, &row).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_spread_over_the_platform_instances() {
        assert_eq!(fair_share(10, 1), 10);
        assert_eq!(fair_share(10, 3), 4);
        assert_eq!((fair_share(0, 2), fair_share(5, 0)), (0, 5));
    }
}
