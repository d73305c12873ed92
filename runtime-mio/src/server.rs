//! A relay on its threads.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use adit_core::relay::{self, Alternates, Config, Event, Relay, Transport};
use adit_core::turn::credentials::Authenticator;
use adit_driver::{Counters, Notice};

use crate::shards::{self, RelayProbe};
use crate::worker::{self, Worker};

/// A running relay. Dropping it stops it.
pub struct RelayServer {
    workers: Vec<Worker<Relay>>,
    shards: RelayProbe,
    addresses: Vec<SocketAddr>,
    /// Which shard is asked for an event first.
    next: AtomicUsize,
    /// It was told that no allocation is left.
    dry: AtomicBool,
}

/// Why a relay does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening address could not be bound.
    #[error("can't listen on {addr} by {transport}: {}", describe(*kind))]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// Over what.
        transport: Transport,
        /// `AddrInUse`, `PermissionDenied`, `AddrNotAvailable`, …
        kind: ErrorKind,
    },
    /// The system has no thread or no descriptor left.
    #[error("the system can't run the relay: {0}")]
    System(#[from] io::Error),
}

impl StartError {
    /// Whether the same may succeed later, without another configuration or privilege: a port can become free.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Listen { kind, .. } => matches!(kind, ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable),
            Self::System(_) => true,
        }
    }
}

impl RelayServer {
    /// Starts a relay with one thread. When this returns, it listens.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn spawn(config: Config) -> Result<Self, StartError> {
        Self::spawn_shards(config, NonZeroU8::MIN)
    }

    /// Starts a relay with so many shards, each a thread of its own that has its clients, their sockets and its part of the
    /// ports: see [`Shard`](relay::Shard). When this returns, they listen. What the configuration says of its own shard
    /// is passed over.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn spawn_shards(config: Config, count: NonZeroU8) -> Result<Self, StartError> {
        let workers = shards::start(config, count)?;
        let shards = RelayProbe::of(&workers);
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for listen in workers[0].shared().with(|hub| hub.machine().listening()) {
            if !addresses.contains(&listen.addr) {
                addresses.push(listen.addr);
            }
        }
        let (next, dry) = (AtomicUsize::new(0), AtomicBool::new(false));
        Ok(Self { workers, shards, addresses, next, dry })
    }

    /// The addresses that it listens on, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits for the next event; `None` when `timeout` has passed or the relay has stopped.
    pub fn wait_event(&self, timeout: Duration) -> Option<Notice<Event>> {
        worker::wait(timeout, |cx| self.poll_event(cx))
    }

    /// The next event, for whoever can await, under any runtime; `None` when the relay has stopped. One task or
    /// thread at a time may wait for events. Dropping the future loses none. Those of one allocation come in their order,
    /// and so do those of one shard.
    pub async fn event(&self) -> Option<Notice<Event>> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The next event. Each shard tells when it has run dry; that is told when all have.
    fn poll_event(&self, cx: &Context<'_>) -> Poll<Option<Notice<Event>>> {
        loop {
            let polled = self.shards.poll_event(&self.next, cx);
            let drained = matches!(polled, Poll::Ready(Some(Notice::Event(Event::Drained))));
            if !drained || (self.shards.is_dry() && !self.dry.swap(true, Ordering::Relaxed)) {
                return polled;
            }
        }
    }

    /// What the relay has done so far.
    pub fn counters(&self) -> relay::Counters {
        self.shards.counters()
    }

    /// Changes what may change while the relay runs: see [`Relay::set_policy`] and its neighbours. Each shard is changed at
    /// once, and relays nothing meanwhile; one after the other.
    pub fn change(&self, change: impl FnMut(&mut Relay, Instant)) {
        self.shards.call(change);
    }

    /// Who may use the relay from now on, in place of what the configuration said. No allocation ends; see
    /// [`Relay::set_authenticator`].
    pub fn set_authenticator(&self, authenticator: &Authenticator) {
        self.change(|relay, now| relay.set_authenticator(now, authenticator.clone()));
    }

    /// Takes no new allocations from now on, and sends those who ask for one to `alternates`; see [`Relay::drain`].
    /// [`Event::Drained`] says when none is left.
    pub fn drain(&self, alternates: Alternates) {
        self.change(|relay, _| relay.drain(alternates));
    }

    /// How the relay is doing, for reports.
    pub fn status(&self) -> relay::Status {
        self.shards.status().expect("there is a shard")
    }

    /// The number of allocations.
    pub fn allocations(&self) -> usize {
        self.shards.holdings().allocations
    }

    /// What was moved and what was dropped by the sockets.
    pub fn socket_counters(&self) -> Counters {
        self.shards.socket_counters()
    }

    /// What looks at the relay from elsewhere.
    pub fn probe(&self) -> RelayProbe {
        self.shards.clone()
    }

    /// Whether a thread has ended although nobody has stopped it.
    pub fn has_failed(&self) -> bool {
        self.workers.iter().any(Worker::is_finished)
    }

    /// Stops the relay and waits for its end. Its allocations are gone.
    pub fn stop(mut self) {
        self.workers.iter_mut().for_each(Worker::stop);
    }
}

/// Looks whether all sockets are bound: in the first turn, so that all answers are there.
pub(crate) fn listening(mut next: impl FnMut() -> Option<Notice<Event>>) -> Result<(), StartError> {
    while let Some(notice) = next() {
        if let Notice::Event(Event::ListenFailed { addr, transport, kind }) = notice {
            return Err(StartError::Listen { addr, transport, kind });
        }
    }
    Ok(())
}

fn describe(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::AddrInUse => "the port is taken".to_owned(),
        ErrorKind::PermissionDenied => "ports below 1024 need a privilege".to_owned(),
        ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        other => other.to_string(),
    }
}
