//! Where the relays are, as somebody else tells: asked again and again, and followed.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;

use adit_core::client::Families;
use adit_core::gateway::{Gateway, RelayConfig, RelayTrust, RelayWay, Unverifiable};
use adit_core::time::WallCell;
use adit_core::turn::credentials::Credentials;
use adit_core::turn::uri::{BadUri, RelayUri};

use crate::dialler::Boxed;
use crate::drive::Driven;
use crate::runtime::{Alarm, Runtime, after};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The pause behind the first attempt without an answer; it doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The relays to keep allocations on from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovered {
    /// All of them.
    pub relays: Vec<Found>,
    /// When to ask again: before the credentials run out. At least one second.
    pub good_for: Duration,
}

/// A relay, and how to log in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The ways to it. UDP is tried first, then DTLS, TCP and TLS; and better ones again while a worse one is used.
    pub uris: Vec<RelayUri>,
    /// What makes its certificate believed, where a way is secured.
    pub trust: RelayTrust,
    /// Long-term credentials (RFC 8489 §9.2).
    pub credentials: Credentials,
}

impl Found {
    /// The relay at `uri`, as in `turn:relay.example:3478?transport=udp`.
    ///
    /// # Errors
    /// [`BadUri`].
    pub fn new(uri: &str, credentials: Credentials) -> Result<Self, BadUri> {
        Ok(Self { uris: vec![uri.parse()?], trust: RelayTrust::default(), credentials })
    }

    /// The same relay may be reached at `uri` as well.
    ///
    /// # Errors
    /// [`BadUri`].
    pub fn or(mut self, uri: &str) -> Result<Self, BadUri> {
        self.uris.push(uri.parse()?);
        Ok(self)
    }

    /// What makes its certificate believed: TLS needs something, and DTLS a pin, or an authority that has issued it
    /// directly.
    #[must_use]
    pub fn trusting(self, trust: RelayTrust) -> Self {
        Self { trust, ..self }
    }

    /// How the machine keeps it.
    pub(crate) fn config(&self, families: Families, wall: &WallCell) -> Result<RelayConfig, Unverifiable> {
        let ways = self.uris.iter().map(|uri| RelayWay::of(uri, &self.trust, wall));
        Ok(RelayConfig {
            ways: ways.collect::<Result<_, _>>()?,
            credentials: self.credentials.clone(),
            families,
        })
    }

    /// Whether it is the same relay in the same place.
    fn is_at(&self, other: &Self) -> bool {
        (&self.uris, &self.trust) == (&other.uris, &other.trust)
    }
}

/// Whom to ask.
pub(crate) struct Discovery(Box<dyn Fn() -> Boxed<Option<Discovered>> + Send + Sync>);

impl Discovery {
    pub(crate) fn new<F, G, E>(find: F) -> Self
    where
        F: Fn() -> G + Send + Sync + 'static,
        G: Future<Output = Result<Discovered, E>> + Send + 'static,
        E: std::fmt::Display,
    {
        Self(Box::new(move || {
            let answer = find();
            Box::pin(async move {
                let found = answer.await;
                found.inspect_err(|error| tracing::warn!(%error, "no relays were found")).ok()
            })
        }))
    }
}

/// Follows the answers until the gateway has ended.
pub(crate) async fn follow<R: Runtime>(
    runtime: R,
    gateway: Weak<Driven<Gateway, R>>,
    discovery: Discovery,
    families: Families,
) {
    let mut known = Vec::new();
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(answer) = until(&runtime, &gateway, TIMEOUT, (discovery.0)()).await else { return };
        let wait = match answer.flatten() {
            Some(found) => {
                let Some(gateway) = gateway.upgrade() else { return };
                apply(&gateway, &mut known, &found.relays, families);
                pause = FIRST_PAUSE;
                found.good_for.max(FIRST_PAUSE)
            }
            None => {
                let wait = pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                wait
            }
        };
        if until(&runtime, &gateway, wait, std::future::pending::<()>()).await.is_none() {
            return;
        }
    }
}

/// Waits for `work`, at most for `limit` (`Some(None)`); `None` when the gateway has ended before.
async fn until<R: Runtime, T>(
    runtime: &R,
    gateway: &Weak<Driven<Gateway, R>>,
    limit: Duration,
    work: impl Future<Output = T>,
) -> Option<Option<T>> {
    let (mut alarm, at) = (runtime.alarm(), after(limit));
    let mut work = pin!(work);
    poll_fn(|cx| {
        if gateway.upgrade().is_none_or(|gateway| gateway.poll_closed(cx).is_ready()) {
            return Poll::Ready(None);
        }
        match work.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(Some(result))),
            Poll::Pending => alarm.poll_at(at, cx).map(|()| Some(None)),
        }
    })
    .await
}

/// Adds what is new, gives back what is gone, renews the rest. `known` are the relays and their places.
fn apply<R: Runtime>(
    gateway: &Arc<Driven<Gateway, R>>,
    known: &mut Vec<(Found, usize)>,
    found: &[Found],
    families: Families,
) {
    gateway.call(|hub, now| {
        let machine = hub.machine_mut();
        known.retain(|(relay, place)| {
            let stays = found.iter().any(|other| other.is_at(relay));
            if !stays {
                machine.remove_relay(now, *place);
            }
            stays
        });
        for relay in found {
            match known.iter_mut().find(|(other, _)| other.is_at(relay)) {
                Some((old, _)) if old == relay => {}
                Some((old, place)) => {
                    machine.set_credentials(now, *place, relay.credentials.clone());
                    *old = relay.clone();
                }
                None => match relay.config(families, machine.wall()) {
                    Ok(config) => known.push((relay.clone(), machine.add_relay(now, config))),
                    Err(error) => tracing::warn!(uris = ?relay.uris, "left out: {error}"),
                },
            }
        }
    });
}
