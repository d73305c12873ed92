//! A relay on its thread.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use adit_core::relay::{self, Config, Event, Relay};
use adit_core::turn::credentials::Authenticator;
use adit_driver::{Counters, Notice};

use crate::worker::{Prepared, Worker};

/// A running relay. Dropping it stops it.
pub struct RelayServer {
    worker: Worker<Relay>,
    addresses: Vec<SocketAddr>,
}

/// Why a relay does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listening address could not be bound.
    #[error("can't listen on {addr}: {}", describe(*kind))]
    Listen {
        /// The address.
        addr: SocketAddr,
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

    /// Who may use the relay from now on, in place of what the configuration said. No allocation ends; see
    /// [`Relay::set_authenticator`].
    pub fn set_authenticator(&self, authenticator: Authenticator) {
        self.worker.shared().call(|hub, now| hub.machine_mut().set_authenticator(now, authenticator));
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
            Notice::Event(Event::Listening { local, .. }) => addresses.push(local),
            Notice::Event(Event::ListenFailed { addr, kind }) => {
                return Err(StartError::Listen { addr, kind });
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
