//! A relay on its thread.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_core::relay::{self, Alternates, Config, Event, Relay, Transport};
use adit_core::turn::credentials::Authenticator;
use adit_driver::{Counters, Notice, Shared};

use crate::reactor::MioReactor;
use crate::worker::{Prepared, Worker};

/// A running relay. Dropping it stops it.
pub struct RelayServer {
    worker: Worker<Relay>,
    addresses: Vec<SocketAddr>,
}

/// Looks at a relay from any thread, however its owner is busy. It keeps no relay running: after the end it shows what
/// was last known. Every look holds the relay up for as long as it takes to copy some numbers.
#[derive(Clone)]
pub struct RelayProbe(Arc<Shared<Relay, MioReactor>>);

impl RelayProbe {
    /// What the relay has done so far.
    pub fn counters(&self) -> relay::Counters {
        self.0.with(|hub| *hub.machine().counters())
    }

    /// What it holds at present.
    pub fn holdings(&self) -> relay::Holdings {
        self.0.with(|hub| hub.machine().holdings())
    }

    /// What was moved and what was dropped by the sockets.
    pub fn socket_counters(&self) -> Counters {
        self.0.counters()
    }

    /// Whether the relay has ended, by whatever cause.
    pub fn has_ended(&self) -> bool {
        self.0.with(|hub| hub.is_closed())
    }
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
    /// Starts a relay. When this returns, it listens.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub fn spawn(config: Config) -> Result<Self, StartError> {
        let (clock, now) = adit_driver::clock();
        let machine = Relay::new(config, clock, now, adit_driver::random_seed());
        let mut prepared = Prepared::new(machine, now)?;
        let addresses = listening(|| prepared.hub.pop_event())?;
        let worker = prepared.start("adit-relay")?;
        Ok(Self { worker, addresses })
    }

    /// The addresses that it listens on, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Waits for the next event; `None` when `timeout` has passed or the relay has stopped.
    pub fn wait_event(&self, timeout: Duration) -> Option<Notice<Event>> {
        self.worker.wait_event(timeout)
    }

    /// The next event, for whoever can await, under any runtime; `None` when the relay has stopped. One task or
    /// thread at a time may wait for events. Dropping the future loses none.
    pub async fn event(&self) -> Option<Notice<Event>> {
        self.worker.event().await
    }

    /// What the relay has done so far.
    pub fn counters(&self) -> relay::Counters {
        self.worker.shared().with(|hub| *hub.machine().counters())
    }

    /// Changes what may change while the relay runs, all at once: see [`Relay::set_policy`] and its neighbours. Nothing is
    /// relayed meanwhile.
    pub fn change(&self, change: impl FnOnce(&mut Relay, Instant)) {
        self.worker.shared().call(|hub, now| change(hub.machine_mut(), now));
    }

    /// Who may use the relay from now on, in place of what the configuration said. No allocation ends; see
    /// [`Relay::set_authenticator`].
    pub fn set_authenticator(&self, authenticator: Authenticator) {
        self.worker.shared().call(|hub, now| hub.machine_mut().set_authenticator(now, authenticator));
    }

    /// Takes no new allocations from now on, and sends those who ask for one to `alternates`; see [`Relay::drain`].
    /// [`Event::Drained`] says when none is left.
    pub fn drain(&self, alternates: Alternates) {
        self.worker.shared().call(|hub, _| hub.machine_mut().drain(alternates));
    }

    /// How the relay is doing, for reports.
    pub fn status(&self) -> relay::Status {
        self.worker.shared().with(|hub| hub.machine().status())
    }

    /// The number of allocations.
    pub fn allocations(&self) -> usize {
        self.worker.shared().with(|hub| hub.machine().allocations())
    }

    /// What was moved and what was dropped by the sockets.
    pub fn socket_counters(&self) -> Counters {
        self.worker.shared().counters()
    }

    /// What looks at the relay from elsewhere.
    pub fn probe(&self) -> RelayProbe {
        RelayProbe(Arc::clone(self.worker.shared()))
    }

    /// Whether the thread has ended although nobody has stopped it.
    pub fn has_failed(&self) -> bool {
        self.worker.is_finished()
    }

    /// Stops the relay and waits for its end. Its allocations are gone.
    pub fn stop(mut self) {
        self.worker.stop();
    }
}

/// The sockets are bound in the first turn, so that all answers are there.
fn listening(mut next: impl FnMut() -> Option<Notice<Event>>) -> Result<Vec<SocketAddr>, StartError> {
    let mut addresses = Vec::new();
    while let Some(notice) = next() {
        match notice {
            // By UDP and TCP, mostly.
            Notice::Event(Event::Listening { local, .. }) if addresses.contains(&local) => {}
            Notice::Event(Event::Listening { local, .. }) => addresses.push(local),
            Notice::Event(Event::ListenFailed { addr, transport, kind }) => {
                return Err(StartError::Listen { addr, transport, kind });
            }
            Notice::Event(_) | Notice::Lost(_) => {}
        }
    }
    Ok(addresses)
}

fn describe(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::AddrInUse => "the port is taken".to_owned(),
        ErrorKind::PermissionDenied => "ports below 1024 need a privilege".to_owned(),
        ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        other => other.to_string(),
    }
}
