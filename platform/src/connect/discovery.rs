//! From where this platform instance's connector comes: relays tell, and gateways are told through the store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_core::turn::uri::{Host, RelayUri, Transport};
use tokio::task::JoinSet;

use crate::api::App;
use crate::store::{StoreError, platform_instances, relay_agents};

/// Relays that are asked.
const MAX_RELAYS: usize = 32;

/// Addresses that this instance comes from, at most: there are not many ways out of one network.
const MAX_ADDRESSES: usize = 8;

/// How long a relay may take to answer, its name's look-up included.
const PATIENCE: Duration = Duration::from_secs(8);

/// From one question to a relay that has answered to the next one.
const AGAIN: Duration = Duration::from_secs(60);

/// For how long an address counts that no relay has seen again.
const REMEMBERED: Duration = Duration::from_secs(600);

/// What the relays have told.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    /// When each relay, by URL, last answered.
    answered: BTreeMap<String, Instant>,
    /// When each address was last seen.
    seen: BTreeMap<IpAddr, Instant>,
}

impl Discovery {
    /// Asks the relays that have not answered lately, and tells the gateways what is new.
    pub(crate) async fn round(&mut self, app: &App) -> Result<(), StoreError> {
        if app.connect.is_ended() {
            return Ok(());
        }
        let now = Instant::now();
        let due = self.due(relay_agents::healthy(&app.store).await?, now);
        for (url, address) in ask(app, due).await {
            self.answered.insert(url, now);
            self.seen.insert(address, now);
        }
        self.seen.retain(|_, at| now.duration_since(*at) < REMEMBERED);
        if self.seen.is_empty() {
            return Ok(());
        }
        if platform_instances::set_addresses(&app.store, &self.addresses()).await? {
            tracing::info!("the platform's connector comes from another address; gateways are told");
        }
        Ok(())
    }

    fn due(&mut self, relays: Vec<relay_agents::RelayRow>, now: Instant) -> Vec<String> {
        let urls: BTreeSet<String> =
            relays.into_iter().filter_map(|relay| plain_url(relay.urls)).take(MAX_RELAYS).collect();
        self.answered.retain(|url, at| urls.contains(url) && now.duration_since(*at) < AGAIN);
        urls.into_iter().filter(|url| !self.answered.contains_key(url)).collect()
    }

    /// In order, those that were seen last where there are too many.
    fn addresses(&self) -> Vec<IpAddr> {
        let mut seen: Vec<(Instant, IpAddr)> = self.seen.iter().map(|(&ip, &at)| (at, ip)).collect();
        seen.sort_unstable_by(|a, b| b.cmp(a));
        let mut addresses: Vec<IpAddr> = seen.into_iter().take(MAX_ADDRESSES).map(|(_, ip)| ip).collect();
        addresses.sort_unstable();
        addresses
    }
}

/// The first URL by which a relay answers STUN over plain UDP.
fn plain_url(urls: Vec<String>) -> Option<String> {
    let is_plain = |url: &String| {
        url.parse::<RelayUri>().is_ok_and(|url| url.transport == Transport::Udp && !url.secure)
    };
    urls.into_iter().find(is_plain)
}

/// All at once; each answer with its relay.
async fn ask(app: &App, urls: Vec<String>) -> Vec<(String, IpAddr)> {
    let (connector, _) = app.connect.connector(app);
    let mut asked = JoinSet::new();
    for url in urls {
        let connector = connector.clone();
        asked.spawn(async move {
            let asked = async {
                let relay = resolve(&url).await?;
                connector.discover(relay).await.ok()
            };
            let mapped = tokio::time::timeout(PATIENCE, asked).await.ok().flatten();
            mapped.map(|address| (url, address.ip().to_canonical()))
        });
    }
    asked.join_all().await.into_iter().flatten().collect()
}

async fn resolve(url: &str) -> Option<SocketAddr> {
    let url: RelayUri = url.parse().ok()?;
    match url.host {
        Host::Address(ip) => Some((ip, url.port).into()),
        Host::Name(name) => tokio::net::lookup_host((name, url.port)).await.ok()?.next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_udp_answers_binding_requests() {
        let urls = ["turns:r:5349?transport=tcp", "turn:r:3478?transport=tcp", "turn:r:3478?transport=udp"];
        let urls = urls.map(str::to_owned).to_vec();
        assert_eq!(plain_url(urls.clone()), Some(urls[2].clone()));
        assert_eq!(plain_url(urls[..2].to_vec()), None);
    }

    #[test]
    fn addresses_are_bounded_and_in_order() {
        let now = Instant::now();
        let seen = (0..20).map(|n| (format!("192.0.2.{n}").parse().unwrap(), now)).collect();
        let discovery = Discovery { answered: BTreeMap::new(), seen };
        let addresses = discovery.addresses();
        assert!(addresses.len() == MAX_ADDRESSES && addresses.is_sorted());
    }
}
