//! A gateway on a task of any runtime.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_core::client::TooManyPeers;
use adit_core::gateway::{self, Config, Event, NewError, Peer, RelayConfig, RelayState, TargetPolicy};
use adit_core::pki::Revoked;
use adit_core::quic::UnusableTls;
use adit_core::time::{UnixTime, WallCell};
use adit_core::turn::credentials::Credentials;

use rustls::ServerConfig;

use crate::builder::GatewayBuilder;
use crate::counters::Counters;
use crate::dialler::Dialler;
use crate::drive::{Driven, start};
use crate::events::Notice;
use crate::news::News;
use crate::runtime::{Runtime, sleep, within};
use crate::serve::serve;

/// The machine gives up after 2 s; this is for a host too busy to let it.
const SHUT_DOWN_TIMEOUT: Duration = Duration::from_secs(4);
/// How often it is looked whether the last stream has ended.
const LOOK: Duration = Duration::from_millis(20);

/// A running gateway: an allocation on each relay, and streams to the targets that it allows.
///
/// It runs on a task of its own; this is the handle. Dropping it ends its connections at once;
/// [`shut_down`](Self::shut_down) waits until the relays have taken their allocations back.
///
/// # Cancellation
/// Every future here may be dropped at any point. [`event`](Self::event) loses no event by that, and
/// [`drain`](Self::drain) goes on draining. Dropping [`shut_down`](Self::shut_down) is dropping the gateway.
pub struct Gateway<R: Runtime> {
    runtime: R,
    shared: Arc<Driven<gateway::Gateway, R>>,
}

/// Looks at a gateway, wherever the handle is. It keeps no gateway running: after the end it shows what was last known.
pub struct GatewayProbe<R: Runtime>(Arc<Driven<gateway::Gateway, R>>);

impl<R: Runtime> GatewayProbe<R> {
    /// The relayed addresses, best first.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.with(|hub| hub.machine().addresses())
    }

    /// How things stand with each relay.
    pub fn relays(&self) -> Vec<RelayState> {
        self.0.with(|hub| hub.machine().relays())
    }

    /// The number of connectors that are connected.
    pub fn connections(&self) -> usize {
        self.0.with(|hub| hub.machine().connections())
    }

    /// The number of streams to targets.
    pub fn streams(&self) -> usize {
        self.0.with(|hub| hub.machine().pipes())
    }

    /// What the machine has done, and what it has dropped.
    pub fn counters(&self) -> gateway::Counters {
        self.0.with(|hub| hub.machine().counters())
    }

    /// What was moved and what was dropped by the sockets.
    pub fn socket_counters(&self) -> Counters {
        self.0.counters()
    }

    /// Whether the gateway has ended.
    pub fn has_ended(&self) -> bool {
        self.0.with(|hub| hub.is_closed())
    }
}

impl<R: Runtime> Gateway<R> {
    /// A gateway from certificates, relays and targets.
    pub fn builder() -> GatewayBuilder<R> {
        GatewayBuilder::default()
    }

    /// Starts a gateway on the runtime of the caller. Its targets are dialled by TCP.
    ///
    /// # Errors
    /// [`NewError`], when the configuration can't be used.
    ///
    /// # Panics
    /// Outside of a runtime, where the runtime is one that can't be used from everywhere.
    pub fn spawn(config: Config) -> Result<Self, NewError> {
        let runtime = R::current();
        let dialler = Dialler::tcp(runtime.clone());
        Self::spawn_on(runtime, config, dialler)
    }

    pub(crate) fn spawn_on(runtime: R, config: Config, dialler: Dialler) -> Result<Self, NewError> {
        let (clock, now) = crate::world::clock();
        let machine = gateway::Gateway::new(config, clock, now, crate::world::random_seed())?;
        let (here, dialler) = (runtime.clone(), Arc::new(dialler));
        let shared = start(&runtime, machine, now, |shared| {
            // The hub must be able to end although its own task serves it.
            let shared = Arc::clone(shared);
            move |request| serve(&here, &shared, &dialler, request)
        });
        Ok(Self { runtime, shared })
    }

    /// The next event; `None` after the end. Events that nobody fetches in time are lost, the oldest first.
    pub async fn event(&mut self) -> Option<Notice<Event>> {
        self.next().await
    }

    /// The events as a stream. See [`News`] for how it goes together with [`event`](Self::event).
    pub fn events(&self) -> News<gateway::Gateway, R> {
        News::of(&self.shared)
    }

    /// The relayed addresses, best first.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shared.with(|hub| hub.machine().addresses())
    }

    /// The number of connectors that are connected.
    pub fn connections(&self) -> usize {
        self.shared.with(|hub| hub.machine().connections())
    }

    /// The number of streams to targets.
    pub fn streams(&self) -> usize {
        self.shared.with(|hub| hub.machine().pipes())
    }

    /// Shows a relay other credentials from now on: see [`gateway::Gateway::set_credentials`].
    pub fn set_credentials(&self, relay: usize, credentials: Credentials) {
        self.shared.call(|hub, now| hub.machine_mut().set_credentials(now, relay, credentials));
    }

    /// Keeps an allocation on one more relay. Its place, which events name.
    pub fn add_relay(&self, relay: RelayConfig) -> usize {
        self.shared.call(|hub, now| hub.machine_mut().add_relay(now, relay))
    }

    /// Gives the allocation on a relay back.
    pub fn remove_relay(&self, relay: usize) {
        self.shared.call(|hub, now| hub.machine_mut().remove_relay(now, relay));
    }

    /// How things stand with each relay.
    pub fn relays(&self) -> Vec<RelayState> {
        self.shared.with(|hub| hub.machine().relays())
    }

    /// Lets these peers reach the relayed addresses from now on, in place of those before: see
    /// [`gateway::Gateway::set_permitted`].
    ///
    /// # Errors
    /// [`TooManyPeers`], and nothing has changed.
    pub fn set_permitted(&self, peers: impl IntoIterator<Item = IpAddr>) -> Result<(), TooManyPeers> {
        self.shared.call(|hub, now| hub.machine_mut().set_permitted(now, peers))
    }

    /// Closes the connections of those that `revoked` covers, and lets them in no more: see
    /// [`gateway::Gateway::set_revoked`].
    pub fn set_revoked(&self, revoked: Revoked) {
        self.shared.call(|hub, now| hub.machine_mut().set_revoked(now, revoked));
    }

    /// Serves new connections with another certificate or other anchors from now on. `tls` must read the time from
    /// [`wall`](Self::wall).
    ///
    /// # Errors
    /// [`UnusableTls`]; everything is as before then.
    pub fn set_tls(&self, tls: Arc<ServerConfig>) -> Result<(), UnusableTls> {
        self.shared.call(|hub, now| hub.machine_mut().set_tls(now, tls))
    }

    /// Allows these targets from now on, in place of all others: see [`gateway::Gateway::set_targets`].
    pub fn set_targets(&self, targets: TargetPolicy) {
        self.shared.call(|hub, _| hub.machine_mut().set_targets(targets));
    }

    /// The cell that tells TLS the time: what [`set_tls`](Self::set_tls) is given must be made with it.
    pub fn wall(&self) -> WallCell {
        self.shared.with(|hub| hub.machine().wall().clone())
    }

    /// Goes by another clock than this machine's, which then says that it is `unix`: for machines whose clock is wrong.
    /// When this machine's clock is set, the gateway goes by that again.
    pub fn set_clock(&self, unix: UnixTime) {
        self.shared.call(|hub, now| hub.machine_mut().handle_clock(now, unix));
    }

    /// Everybody who is connected.
    pub fn peers(&self) -> Vec<Peer> {
        self.shared.with(|hub| hub.machine().peers())
    }

    /// Takes no new streams from now on, and waits until those that are open have ended, at most for `grace`.
    /// Whether they have. Draining can't be taken back; [`shut_down`](Self::shut_down) is what follows.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.shared.call(|hub, now| hub.machine_mut().drain(now));
        let empty = async {
            while self.streams() > 0 && !self.shared.with(|hub| hub.is_closed()) {
                sleep(&self.runtime, LOOK).await;
            }
        };
        within(&self.runtime, grace, empty).await.is_some()
    }

    /// What the machine has done, and what it has dropped.
    pub fn counters(&self) -> gateway::Counters {
        self.shared.with(|hub| hub.machine().counters())
    }

    /// What was moved and what was dropped by the sockets.
    pub fn socket_counters(&self) -> Counters {
        self.shared.counters()
    }

    /// What looks at the gateway from elsewhere.
    pub fn probe(&self) -> GatewayProbe<R> {
        GatewayProbe(Arc::clone(&self.shared))
    }

    /// Closes all connections and gives the allocations back; waits for that, but not at any price: 4 s.
    pub async fn shut_down(self) {
        self.shared.call(|hub, now| hub.machine_mut().close(now));
        let closed =
            async { while !matches!(self.next().await, None | Some(Notice::Event(Event::Closed))) {} };
        if within(&self.runtime, SHUT_DOWN_TIMEOUT, closed).await.is_none() {
            tracing::warn!("the gateway was closed before it had said goodbye everywhere");
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Driven<gateway::Gateway, R>> {
        &self.shared
    }

    async fn next(&self) -> Option<Notice<Event>> {
        poll_fn(|cx| self.shared.poll_event(cx)).await
    }
}

impl<R: Runtime> Drop for Gateway<R> {
    fn drop(&mut self) {
        self.shared.call(|hub, now| hub.machine_mut().close(now));
        self.shared.turn(Instant::now(), |_| ());
        self.shared.close();
    }
}
