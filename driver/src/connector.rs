//! A connector on a task of any runtime.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_core::connector::{self, Config, Event, GatewayConfig, GatewayKey, PermitError};
use adit_core::pki::{Name, Revoked};
use adit_core::quic;
use adit_core::tunnel::Target;

use crate::builder::{ConnectorBuilder, Credential, GatewayError};
use crate::counters::Counters;
use crate::drive::{Driven, start};
use crate::events::Notice;
use crate::news::News;
use crate::opening::{DiscoverError, Discovery, OpenError, Opener, Ping, PingError};
use crate::pipe::Pipe;
use crate::runtime::Runtime;
use crate::stream::Stream;

/// Opens streams to targets through gateways.
///
/// It runs on a task of its own. Clones are handles of the same connector; it ends with the last of them and of its
/// streams.
///
/// # Cancellation
/// Every future here may be dropped at any point: dropping [`open`](Self::open) takes the wish back, also at the
/// gateway, and dropping [`event`](Self::event) loses no event.
pub struct Connector<R: Runtime> {
    owned: Arc<Owned<R>>,
    credential: Option<Arc<Credential>>,
}

/// Closes the hub, and so ends the task, when nobody is left to use it.
struct Owned<R: Runtime>(Arc<Driven<Opener, R>>);

impl<R: Runtime> Drop for Owned<R> {
    fn drop(&mut self) {
        close(&self.0);
    }
}

impl<R: Runtime> Clone for Connector<R> {
    fn clone(&self) -> Self {
        Self { owned: Arc::clone(&self.owned), credential: self.credential.clone() }
    }
}

impl<R: Runtime> Connector<R> {
    /// A connector from a certificate and trust anchors.
    pub fn builder() -> ConnectorBuilder<R> {
        ConnectorBuilder::default()
    }

    /// Starts a connector that knows no gateway yet, on the runtime of the caller.
    ///
    /// # Panics
    /// Outside of a runtime, where the runtime is one that can't be used from everywhere.
    pub fn spawn(config: Config) -> Self {
        Self::spawn_on(&R::current(), config, None)
    }

    pub(crate) fn spawn_on(runtime: &R, config: Config, credential: Option<Arc<Credential>>) -> Self {
        let (clock, now) = crate::world::clock();
        let machine = connector::Connector::new(config, clock, now, crate::world::random_seed());
        let shared = start(runtime, Opener::new(machine), now, |shared| {
            let shared = Arc::clone(shared);
            move |request| shared.refuse(&request)
        });
        Self { owned: Arc::new(Owned(shared)), credential }
    }

    /// Makes the gateway of that name known, at its relayed addresses, best first. Its certificate must name it.
    ///
    /// # Errors
    /// [`GatewayError`]; that `name` is none, or that the connector was not made by a [builder](Self::builder).
    pub fn gateway(&self, name: &str, addresses: Vec<SocketAddr>) -> Result<GatewayKey, GatewayError> {
        Ok(self.add_gateway(self.describe(name, None, addresses)?))
    }

    /// The gateway of that name, or one `instance` of it alone, as [`add_gateway`](Self::add_gateway) and
    /// [`Pool::set_instances`](crate::Pool::set_instances) want it, under this connector's own certificate.
    ///
    /// # Errors
    /// [`GatewayError`], as [`gateway`](Self::gateway).
    pub fn describe(
        &self,
        name: &str,
        instance: Option<&str>,
        addresses: Vec<SocketAddr>,
    ) -> Result<GatewayConfig, GatewayError> {
        let instance: Option<Name> = instance.map(str::parse).transpose()?;
        let credential = self.credential.as_ref().ok_or(GatewayError::NoCertificate)?;
        Ok(credential.gateway(name.parse()?, instance, addresses)?)
    }

    /// Makes a gateway known.
    pub fn add_gateway(&self, gateway: GatewayConfig) -> GatewayKey {
        self.call(|connector, _| connector.add_gateway(gateway))
    }

    /// Forgets a gateway: see [`connector::Connector::remove_gateway`].
    pub fn remove_gateway(&self, gateway: GatewayKey) {
        self.hub().call(|hub, now| hub.machine_mut().remove_gateway(now, gateway));
    }

    /// Replaces the addresses of a gateway: see [`connector::Connector::set_addresses`].
    pub fn set_addresses(&self, gateway: GatewayKey, addresses: Vec<SocketAddr>) {
        self.call(|connector, now| connector.set_addresses(now, gateway, addresses));
    }

    /// Replaces our certificate, or whom we believe: see [`connector::Connector::set_tls`]. No stream ends.
    pub fn set_tls(&self, gateway: GatewayKey, tls: Arc<rustls::ClientConfig>) {
        self.call(|connector, now| connector.set_tls(now, gateway, tls));
    }

    /// Whom to believe no more: see [`connector::Connector::set_revoked`].
    pub fn set_revoked(&self, revoked: Revoked) {
        self.call(|connector, now| connector.set_revoked(now, revoked));
    }

    /// Whether a connection stays although nobody uses it: see [`connector::Connector::keep`].
    pub fn keep(&self, gateway: GatewayKey, kept: bool) {
        self.call(|connector, now| connector.keep(now, gateway, kept));
    }

    /// Connects to a gateway before anybody needs it; an event tells how it went.
    pub fn connect(&self, gateway: GatewayKey) {
        self.call(|connector, now| connector.connect(now, gateway));
    }

    /// Ends the connections to a gateway and their streams: see [`connector::Connector::disconnect`].
    pub fn disconnect(&self, gateway: GatewayKey) {
        self.call(|connector, now| connector.disconnect(now, gateway));
    }

    /// Whether a connection to the gateway stands that takes new streams.
    pub fn is_connected(&self, gateway: GatewayKey) -> bool {
        self.hub().with(|hub| hub.machine().connector().is_connected(gateway))
    }

    /// Asks a gateway for a sign of life, and connects first where need be. How long it took, at the level of the
    /// tunnel. Without an answer this lasts until the connection is lost, so put it into a time-out.
    ///
    /// # Errors
    /// [`PingError`].
    pub async fn ping(&self, gateway: GatewayKey) -> Result<Duration, PingError> {
        let ping = Ping::new(self.hub(), gateway)?;
        poll_fn(|cx| ping.poll(cx)).await
    }

    /// Asks a gateway to let peers in at its relays: see [`connector::Connector::permit`].
    ///
    /// # Errors
    /// [`PermitError`].
    pub fn permit(
        &self,
        gateway: GatewayKey,
        peers: Vec<IpAddr>,
        lifetime: Duration,
    ) -> Result<(), PermitError> {
        self.call(|connector, now| connector.permit(now, gateway, peers, lifetime))
    }

    /// Asks a relay how it sees our own socket of its family: the address that a gateway must let in. 5 s at most.
    ///
    /// # Errors
    /// [`DiscoverError`].
    pub async fn discover(&self, relay: SocketAddr) -> Result<SocketAddr, DiscoverError> {
        let discovery = Discovery::new(self.hub(), relay);
        poll_fn(|cx| discovery.poll(cx)).await
    }

    /// Opens a stream to `target` through `gateway`, and connects first where need be; 30 s at most by default.
    /// Dropping the future takes the wish back.
    ///
    /// # Errors
    /// [`OpenError`]: the gateway's refusal in its own words, or why it was not reached;
    /// [`OpenError::is_retryable`] tells whether trying again may help.
    pub async fn open(&self, gateway: GatewayKey, target: &Target) -> Result<R::Stream, OpenError> {
        Ok(R::Stream::from(self.open_pipe(gateway, target).await?))
    }

    pub(crate) async fn open_pipe(&self, gateway: GatewayKey, target: &Target) -> Result<Pipe, OpenError> {
        self.open_keeping(gateway, target, ()).await
    }

    /// The same; `keep` lives as long as the pipe.
    pub(crate) async fn open_keeping(
        &self,
        gateway: GatewayKey,
        target: &Target,
        keep: impl Send + Sync + 'static,
    ) -> Result<Pipe, OpenError> {
        let stream = Stream::open(self.hub(), gateway, target)?;
        let address = poll_fn(|cx| stream.poll_opened(cx)).await?;
        Ok(Pipe::new(stream, address, (keep, Arc::clone(&self.owned))))
    }

    /// The next event; `None` after [`shut_down`](Self::shut_down). One task at a time may wait here. Events that
    /// nobody fetches in time are lost, the oldest first.
    pub async fn event(&self) -> Option<Notice<Event>> {
        poll_fn(|cx| self.hub().poll_event(cx)).await
    }

    /// The events as a stream. See [`News`] for how it goes together with [`event`](Self::event).
    pub fn events(&self) -> News<Opener, R> {
        News::of(self.hub())
    }

    /// What the present connection to the gateway has done.
    pub fn stats(&self, gateway: GatewayKey) -> Option<quic::Stats> {
        self.hub().with(|hub| hub.machine().connector().stats(gateway))
    }

    /// The number of streams, those included that are being opened.
    pub fn streams(&self) -> usize {
        self.hub().with(|hub| hub.machine().connector().pipes())
    }

    /// What was moved and what was dropped by the sockets.
    pub fn counters(&self) -> Counters {
        self.hub().counters()
    }

    /// Ends all connections and streams, those of other handles too. The gateways are told.
    pub fn shut_down(&self) {
        close(self.hub());
    }

    /// Where the connector runs.
    pub(crate) fn runtime(&self) -> R {
        self.hub().with(|hub| hub.reactor_mut().runtime())
    }

    fn call<T>(&self, work: impl FnOnce(&mut connector::Connector, Instant) -> T) -> T {
        self.hub().call(|hub, now| work(hub.machine_mut().connector_mut(), now))
    }

    fn hub(&self) -> &Arc<Driven<Opener, R>> {
        &self.owned.0
    }
}

/// The goodbye goes out in a last turn; there is nothing to wait for behind it.
fn close<R: Runtime>(shared: &Driven<Opener, R>) {
    shared.call(|hub, now| hub.machine_mut().connector_mut().close(now));
    shared.turn(Instant::now(), |_| ());
    shared.close();
}
