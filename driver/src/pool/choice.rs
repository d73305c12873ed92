//! Which instance is tried next: what is known of each, without touching any.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_core::connector::{GatewayConfig, GatewayKey};
use adit_core::rand::{Rng, Seed};

/// For how long an instance is avoided that has failed once; twice as long for each time more.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Instances {
    all: Vec<Instance>,
    rng: Rng,
}

#[derive(Debug)]
struct Instance {
    id: String,
    key: GatewayKey,
    tls: Arc<rustls::ClientConfig>,
    addresses: Vec<SocketAddr>,
    /// One clone for each stream.
    held: Held,
    /// How often it has failed in a row.
    failures: u32,
    avoided_until: Option<Instant>,
    /// Whether it is being warmed up: connected to without anybody waiting.
    warming: bool,
}

/// Counts streams by its clones.
pub(super) type Held = Arc<()>;

/// An instance to try.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) key: GatewayKey,
    pub(super) held: Held,
}

/// What is new about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) addresses: bool,
    pub(super) tls: bool,
}

impl Instances {
    pub(super) fn new(seed: Seed) -> Self {
        Self { all: Vec::new(), rng: Rng::new(seed) }
    }

    pub(super) fn keys(&self) -> Vec<(String, GatewayKey)> {
        self.all.iter().map(|instance| (instance.id.clone(), instance.key)).collect()
    }

    pub(super) fn add(&mut self, id: String, key: GatewayKey, gateway: GatewayConfig) {
        let GatewayConfig { tls, addresses, .. } = gateway;
        let held = Held::default();
        self.all.push(Instance {
            id,
            key,
            tls,
            addresses,
            held,
            failures: 0,
            avoided_until: None,
            warming: false,
        });
    }

    /// Forgets those whose identifier is not to be kept, and returns them.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) -> Vec<GatewayKey> {
        self.all.extract_if(.., |instance| !keep(&instance.id)).map(|instance| instance.key).collect()
    }

    /// Notes what is new about the instance `id`, if it is there. New addresses or certificates are a new beginning.
    pub(super) fn update(&mut self, id: &str, new: &GatewayConfig) -> Option<(GatewayKey, Changed)> {
        let instance = self.all.iter_mut().find(|instance| instance.id == id)?;
        let changed = Changed {
            addresses: instance.addresses != new.addresses,
            tls: !Arc::ptr_eq(&instance.tls, &new.tls),
        };
        if changed.addresses || changed.tls {
            instance.addresses.clone_from(&new.addresses);
            instance.tls = Arc::clone(&new.tls);
            instance.forgive();
        }
        Some((instance.key, changed))
    }

    /// The best of those that were not `tried`: one that is not to be avoided, then one that is connected, then the one
    /// with the fewest streams.
    pub(super) fn choose(
        &mut self,
        now: Instant,
        tried: &[GatewayKey],
        is_connected: impl Fn(GatewayKey) -> bool,
    ) -> Option<Choice> {
        let left = self.all.iter().filter(|instance| !tried.contains(&instance.key));
        let rank = |instance: &&Instance| {
            let avoided = instance.avoided_until.filter(|&until| now < until);
            (avoided, !is_connected(instance.key), Arc::strong_count(&instance.held))
        };
        let best = left.min_by_key(rank)?;
        Some(Choice { key: best.key, held: best.held.clone() })
    }

    /// Those that are neither warm nor to be avoided. They count as being warmed up from now on.
    pub(super) fn cold(&mut self, now: Instant, is_warm: impl Fn(GatewayKey) -> bool) -> Vec<GatewayKey> {
        let cold = self.all.iter_mut().filter(|instance| {
            let avoided = instance.avoided_until.is_some_and(|until| now < until);
            !instance.warming && !avoided && !is_warm(instance.key)
        });
        cold.map(|instance| {
            instance.warming = true;
            instance.key
        })
        .collect()
    }

    pub(super) fn warmed_up(&mut self, key: GatewayKey, answered: bool, now: Instant) {
        if let Some(instance) = self.of(key) {
            instance.warming = false;
            if answered { self.succeeded(key) } else { self.failed(key, now) }
        }
    }

    pub(super) fn succeeded(&mut self, key: GatewayKey) {
        if let Some(instance) = self.of(key) {
            instance.forgive();
        }
    }

    /// It is avoided for a while; the longer, the more often that happens. Failures that come together count once.
    pub(super) fn failed(&mut self, key: GatewayKey, now: Instant) {
        let jitter = self.rng.below(1000);
        let Some(instance) = self.of(key) else { return };
        if instance.avoided_until.is_some_and(|until| now < until) {
            return;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << instance.failures.min(6)).min(LAST_PAUSE);
        instance.failures += 1;
        // Half of it is certain, so that not everybody comes back at once.
        instance.avoided_until = Some(now + pause / 2 + pause / 2 * jitter / 1000);
    }

    fn of(&mut self, key: GatewayKey) -> Option<&mut Instance> {
        self.all.iter_mut().find(|instance| instance.key == key)
    }
}

impl Instance {
    fn forgive(&mut self) {
        self.failures = 0;
        self.avoided_until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adit_core::io::Id as _;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(index: u32) -> GatewayKey {
        GatewayKey::new(index, 0)
    }

    fn config() -> GatewayConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        GatewayConfig { tls: Arc::new(tls), server_name: "gateway".into(), addresses: Vec::new() }
    }

    /// Three instances.
    fn three() -> (Instances, Instant) {
        let mut instances = Instances::new([1; 32]);
        let config = config();
        for index in 0..3 {
            instances.add(index.to_string(), key(index), config.clone());
        }
        (instances, Instant::now())
    }

    #[test]
    fn one_that_is_connected_comes_first_and_streams_are_spread() {
        let (mut instances, now) = three();
        let mut choose = |connected: &[u32]| {
            let connected: Vec<_> = connected.iter().map(|&index| key(index)).collect();
            instances.choose(now, &[], |key| connected.contains(&key)).unwrap()
        };
        let first = choose(&[1]);
        assert_eq!(first.key, key(1));
        let second = choose(&[1, 2]);
        assert_eq!(second.key, key(2), "the other has a stream");
        drop(first);
        assert_eq!(choose(&[1, 2]).key, key(1));
        assert_eq!(choose(&[]).key, key(0));
    }

    #[test]
    fn one_that_fails_is_avoided_longer_and_longer_but_not_forgotten() {
        let (mut instances, mut now) = three();
        let avoided = |instances: &mut Instances, now| {
            let choice = instances.choose(now, &[key(1), key(2)], |_| false).unwrap();
            assert_eq!(choice.key, key(0), "it is the last one left");
            instances.choose(now, &[], |other| other == key(0)).unwrap().key != key(0)
        };
        for pause in [1, 2, 4, 8, 16, 32, 60, 60].map(|seconds| seconds * SECOND) {
            instances.failed(key(0), now);
            instances.failed(key(0), now);
            assert!(avoided(&mut instances, now + pause / 2 - SECOND / 4));
            assert!(!avoided(&mut instances, now + pause));
            now += pause;
        }
        instances.failed(key(0), now);
        instances.succeeded(key(0));
        assert!(!avoided(&mut instances, now));
        instances.failed(key(0), now);
        assert!(!avoided(&mut instances, now + SECOND), "it begins anew");
    }

    #[test]
    fn an_instance_is_warmed_up_once() {
        let (mut instances, now) = three();
        assert_eq!(instances.cold(now, |other| other == key(1)), [key(0), key(2)]);
        assert_eq!(instances.cold(now, |_| false), [key(1)]);
        instances.warmed_up(key(0), false, now);
        instances.warmed_up(key(2), true, now);
        assert_eq!(instances.cold(now, |_| false), [key(2)], "the other has failed");
        assert_eq!(instances.cold(now + SECOND, |_| false), [key(0)]);
    }

    #[test]
    fn what_is_new_about_an_instance_is_told_and_forgives() {
        let (mut instances, now) = three();
        let mut new = GatewayConfig { tls: Arc::clone(&instances.all[0].tls), ..config() };
        let nothing = Changed { addresses: false, tls: false };
        assert_eq!(instances.update("0", &new), Some((key(0), nothing)));
        assert_eq!(instances.update("9", &new), None);
        instances.failed(key(0), now);
        new.addresses.push("127.0.0.1:1".parse().unwrap());
        assert_eq!(instances.update("0", &new), Some((key(0), Changed { addresses: true, tls: false })));
        new.tls = config().tls;
        assert_eq!(instances.update("0", &new), Some((key(0), Changed { addresses: false, tls: true })));
        assert_eq!(instances.choose(now, &[], |_| false).unwrap().key, key(0));

        assert_eq!(instances.retain(|id| id != "1"), [key(1)]);
        assert_eq!(instances.keys(), [("0".into(), key(0)), ("2".into(), key(2))]);
    }
}
