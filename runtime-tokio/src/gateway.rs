//! A gateway on a task.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_core::gateway::{self, Config, Event, NewError};
use adit_core::turn::credentials::Credentials;

use adit_driver::{Counters, Hub, Notice, Shared};
use tokio::time::timeout;

use crate::drive::drive;
use crate::reactor::TokioReactor;
use crate::serve::serve;

/// The machine gives up after 2 s; this is for a host too busy to let it.
const SHUT_DOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// A running gateway. Dropping it ends its connections at once; [`shut_down`](Self::shut_down) waits until the
/// relays have taken their allocations back.
pub struct Gateway {
    shared: Arc<Shared<gateway::Gateway, TokioReactor>>,
}

impl Gateway {
    /// Starts a gateway on the runtime of the caller.
    ///
    /// # Errors
    /// [`NewError`], when the configuration can't be used.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn(config: Config) -> Result<Self, NewError> {
        let (clock, now) = adit_driver::clock();
        let machine = gateway::Gateway::new(config, clock, now, adit_driver::random_seed())?;
        let shared = Shared::new(Hub::new(machine, TokioReactor::current(), now));
        let served = Arc::clone(&shared);
        tokio::spawn(drive(Arc::clone(&shared), move |request| serve(&served, request)));
        Ok(Self { shared })
    }

    /// The next event; `None` after the end.
    pub async fn event(&mut self) -> Option<Notice<Event>> {
        poll_fn(|cx| self.shared.poll_event(cx)).await
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

    /// Takes no new streams from now on. Those that are open go on.
    pub fn drain(&self) {
        self.shared.call(|hub, now| hub.machine_mut().drain(now));
    }

    /// What the machine has dropped.
    pub fn counters(&self) -> gateway::Counters {
        self.shared.with(|hub| hub.machine().counters())
    }

    /// What was moved and what was dropped by the sockets.
    pub fn socket_counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Closes all connections and gives the allocations back; waits for that, but not at any price.
    pub async fn shut_down(mut self) {
        self.shared.call(|hub, now| hub.machine_mut().close(now));
        let closed =
            async { while !matches!(self.event().await, None | Some(Notice::Event(Event::Closed))) {} };
        if timeout(SHUT_DOWN_TIMEOUT, closed).await.is_err() {
            tracing::warn!("the gateway was closed before it had said goodbye everywhere");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shared.call(|hub, now| hub.machine_mut().close(now));
        self.shared.turn(Instant::now(), |_| ());
        self.shared.close();
    }
}
