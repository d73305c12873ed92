//! A connector on a task.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use adit_core::connector::{self, Event, GatewayConfig, GatewayKey};
use adit_core::quic;
use adit_core::tunnel::Target;
use adit_driver::{Counters, Hub, Notice, OpenError, Opener, Shared};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::drive::drive;
use crate::reactor::TokioReactor;
use crate::serve::serve;

/// Opens streams to targets through gateways. Clones are handles of the same connector; it ends with the last of
/// them and of its streams.
#[derive(Clone)]
pub struct Connector {
    shared: Arc<Owned>,
}

/// Closes the hub, and so ends the task, when nobody is left to use it.
struct Owned(Arc<Shared<Opener, TokioReactor>>);

impl Drop for Owned {
    fn drop(&mut self) {
        close(&self.0);
    }
}

/// A stream to a target. Dropping it without [`shutdown`](tokio::io::AsyncWriteExt::shutdown) resets it.
pub struct Stream {
    pub(crate) inner: adit_driver::Stream<Opener, TokioReactor>,
    address: SocketAddr,
    _connector: Arc<Owned>,
}

impl Connector {
    /// Starts a connector that knows no gateway yet.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn(config: connector::Config) -> Self {
        let (clock, now) = adit_driver::clock();
        let machine = connector::Connector::new(config, clock, now, adit_driver::random_seed());
        let shared = Shared::new(Hub::new(Opener::new(machine), TokioReactor::current(), now));
        let served = Arc::clone(&shared);
        tokio::spawn(drive(Arc::clone(&shared), move |request| serve(&served, request)));
        Self { shared: Arc::new(Owned(shared)) }
    }

    /// Makes a gateway known.
    pub fn add_gateway(&self, gateway: GatewayConfig) -> GatewayKey {
        self.hub().call(|hub, _| hub.machine_mut().connector_mut().add_gateway(gateway))
    }

    /// Replaces the addresses of a gateway: see [`connector::Connector::set_addresses`].
    pub fn set_addresses(&self, gateway: GatewayKey, addresses: Vec<SocketAddr>) {
        self.hub().call(|hub, now| hub.machine_mut().connector_mut().set_addresses(now, gateway, addresses));
    }

    /// Connects to a gateway before anybody needs it; an event tells how it went.
    pub fn connect(&self, gateway: GatewayKey) {
        self.hub().call(|hub, now| hub.machine_mut().connector_mut().connect(now, gateway));
    }

    /// Asks a gateway for a sign of life; an event brings it.
    pub fn ping(&self, gateway: GatewayKey) {
        self.hub().call(|hub, now| hub.machine_mut().connector_mut().ping(now, gateway));
    }

    /// Opens a stream to `target`. Dropping the future takes the wish back.
    ///
    /// # Errors
    /// [`OpenError`]: the gateway's refusal in its own words, or why it was not reached.
    pub async fn open(&self, gateway: GatewayKey, target: &Target) -> Result<Stream, OpenError> {
        let inner = adit_driver::Stream::open(self.hub(), gateway, target)?;
        let address = poll_fn(|cx| inner.poll_opened(cx)).await?;
        Ok(Stream { inner, address, _connector: Arc::clone(&self.shared) })
    }

    /// The next event; `None` after [`shut_down`](Self::shut_down). One task at a time may wait here.
    pub async fn event(&self) -> Option<Notice<Event>> {
        poll_fn(|cx| self.hub().poll_event(cx)).await
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

    /// Ends all connections and streams. The gateways are told.
    pub fn shut_down(&self) {
        close(self.hub());
    }

    fn hub(&self) -> &Arc<Shared<Opener, TokioReactor>> {
        &self.shared.0
    }
}

/// The goodbye goes out in a last turn; there is nothing to wait for behind it.
fn close(shared: &Shared<Opener, TokioReactor>) {
    shared.call(|hub, now| hub.machine_mut().connector_mut().close(now));
    shared.turn(std::time::Instant::now(), |_| ());
    shared.close();
}

impl Stream {
    /// The address that the gateway dialled.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let read = self.inner.poll_read(cx, buffer.initialize_unfilled());
        read.map_ok(|count| buffer.advance(count))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.inner.poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_shutdown(cx)
    }
}
