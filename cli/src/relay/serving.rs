//! A relay that serves, from its start to its last allocation.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use adit_core::relay::{Alternates, Config, Event, Relay, Released, Status, Transport};
use adit_core::turn::credentials::Authenticator;
use adit_mio::{Notice, RelayServer, Room, StartError};

use super::event_log::EventLog;
use crate::exit::{Exit, Failure};
use crate::monitor::Monitor;
use crate::service;

/// How many allocations are cut off at once when the relay ends: fewer than events may wait.
const CUT_OFF: usize = 256;
/// How long to wait then for what the relay says of them.
const PATIENCE: Duration = Duration::from_secs(1);

/// A running relay.
pub(crate) struct Serving {
    server: RelayServer,
    monitor: Monitor,
    events: Option<RefCell<EventLog>>,
}

/// How a relay ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    /// Where new clients are sent meanwhile.
    pub(super) alternates: Alternates,
    /// How long clients have to move.
    pub(super) grace: Duration,
}

impl Serving {
    /// Starts the relay and says so.
    pub(super) fn start(
        config: Config,
        shards: NonZeroU8,
        revoked: &BTreeSet<String>,
        monitor: Monitor,
        events: Option<EventLog>,
    ) -> Result<Self, Failure> {
        let relayed = [config.ipv4, config.ipv6];
        let server = RelayServer::spawn_shards(config, shards).map_err(not_started)?;
        server.change(|relay, now| relay.set_revoked(now, revoked));
        for address in server.addresses() {
            service::say(format_args!("listening on {address}"));
        }
        for address in relayed.into_iter().flatten() {
            tracing::info!(advertised = %address.advertised, "relayed addresses");
        }
        tracing::info!(%shards, "it works on so many threads");
        warn_of_little_room();
        monitor.serves(server.probe());
        service::ready();
        Ok(Self { server, monitor, events: events.map(RefCell::new) })
    }

    /// Waits for what the relay says next, and notes it. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// When its thread has ended.
    pub(crate) async fn hear(&self) -> Result<(), Failure> {
        match self.server.event().await {
            Some(notice) => self.note(&notice),
            None => {
                return Err(Failure::new(Exit::Other, "the relay's thread has ended")
                    .next("look for a panic above, and report it"));
            }
        }
        Ok(())
    }

    /// What the relay says is logged, and shown where it concerns those who watch.
    fn note(&self, notice: &Notice<Event>) {
        let mut events = self.events.as_ref().map(RefCell::borrow_mut);
        match notice {
            Notice::Event(event) => {
                if let Event::ListenFailed { addr, .. } = event {
                    self.monitor.lacks("listening", format!("{addr} is lost"));
                }
                if let Some(events) = &mut events {
                    events.write(event);
                }
                log(event);
            }
            Notice::Lost(count) => {
                if let Some(events) = &mut events {
                    events.lost(*count);
                }
                tracing::debug!(count, "events were not logged");
            }
        }
    }

    /// Goes on in a new event log where the old one was moved away.
    pub(super) fn reopen_events(&self) {
        let Some(events) = &self.events else { return };
        if let Err(error) = events.borrow_mut().reopen() {
            tracing::error!(%error, "the event log can't be opened again: the old file is written to");
        }
    }

    /// Who may use the relay from now on, and who is revoked, whose allocations end.
    pub(crate) fn admit(&self, authenticator: &Authenticator, revoked: &BTreeSet<String>) {
        self.server.change(|relay, now| {
            relay.set_authenticator(now, authenticator.clone());
            relay.set_revoked(now, revoked);
        });
    }

    /// Notes what the relay says until `ended` allocations were cut off, or it says nothing for as long as `patience`.
    /// Whether they were.
    fn hear_for(&self, patience: Duration, ended: usize) -> bool {
        let mut heard = 0;
        while heard < ended {
            let Some(notice) = self.server.wait_event(patience) else { return false };
            self.note(&notice);
            let cut_off = matches!(notice, Notice::Event(Event::Released { reason: Released::CutOff, .. }));
            heard += usize::from(cut_off);
        }
        true
    }

    /// Changes what may change while it runs.
    pub(super) fn change(&self, change: impl Fn(&mut Relay, Instant)) {
        self.server.change(change);
    }

    /// How it is doing.
    pub(crate) fn status(&self) -> Status {
        self.server.status()
    }

    /// Takes no new allocations, and waits until those that there are have ended, at most for the time of grace.
    pub(crate) async fn drain(&self, drain: Drain) {
        self.monitor.lacks("relay", "it takes no new allocations, as it is about to end");
        self.server.drain(drain.alternates);
        let allocations = self.server.allocations();
        if allocations > 0 && !drain.grace.is_zero() {
            tracing::info!(allocations, grace = ?drain.grace, "waiting for clients to move; a second signal ends that");
        }
        let drained = async { while self.server.allocations() > 0 && self.hear().await.is_ok() {} };
        if tokio::time::timeout(drain.grace, drained).await.is_err() {
            tracing::warn!(allocations = self.server.allocations(), "clients have not moved and are cut off");
        }
    }

    /// Stops the relay and says what it has done.
    pub(crate) fn end(self) {
        let allocations = self.server.allocations();
        self.hear_for(Duration::ZERO, usize::MAX);
        loop {
            // A few at a time, so that no event is lost.
            let mut ended = 0;
            self.server.change(|relay, now| ended += relay.cut_off(now, CUT_OFF));
            if ended == 0 || !self.hear_for(PATIENCE, ended) {
                break;
            }
        }
        let counters = self.server.counters();
        tracing::info!(
            to_peers = counters.to_peers.packets,
            to_clients = counters.to_clients.packets,
            allocations,
            "the relay stops"
        );
        self.server.stop();
    }
}

/// What arrives in bursts is lost where the kernel has no room for it, and nobody is told.
fn warn_of_little_room() {
    let Ok(Room { receive, send }) = Room::of_listening() else { return };
    for (space, of, limit) in [(receive, "arrives", "rmem_max"), (send, "is sent", "wmem_max")] {
        if space.is_short() {
            let (given, wanted) = (space.given / 1024, space.wanted / 1024);
            tracing::warn!(
                next = format!("sysctl -w net.core.{limit}={}", space.wanted),
                "the kernel gives each socket room for {given} KiB of what {of}, not for {wanted}: bursts may be lost",
            );
        }
    }
}

/// Users and their addresses are personal: they are shown at DEBUG only.
fn log(event: &Event) {
    match event {
        Event::Allocated { client, username, relayed, .. } => {
            tracing::info!(addresses = relayed.len(), "an allocation was made");
            tracing::debug!(%client, %username, ?relayed, "allocated");
        }
        Event::Released { client, username, reason, .. } => {
            let reason = match reason {
                Released::Closed => "its client closed it",
                Released::Expired => "it was not refreshed",
                Released::Revoked => "its user was revoked",
                Released::Disconnected => "its client's connection has ended",
                Released::CutOff => "the relay ends and its client has not moved",
            };
            tracing::info!(reason, "an allocation has ended");
            tracing::debug!(%client, %username, "released");
        }
        Event::ListenFailed { addr, transport, kind } => {
            tracing::error!(%addr, %transport, %kind, "no longer listening");
        }
        Event::Moved { from, to, username } => tracing::debug!(%from, %to, %username, "a client has moved"),
        Event::Refused { client, username, code, .. } => {
            tracing::debug!(%client, %username, code, "an allocation was refused");
        }
        Event::Connected { client, username, peer, .. } => {
            tracing::debug!(%client, %username, %peer, "connected with a peer");
        }
        Event::Disconnected { client, username, peer, reason, to_peer, to_client, .. } => {
            tracing::debug!(%client, %username, %peer, ?reason, to_peer, to_client, "the connection with a peer has ended");
        }
        Event::Drained => tracing::info!("the last allocation has ended"),
        Event::Listening { .. } | Event::HandOver(_) | Event::Effect(_) => {}
    }
}

fn not_started(error: StartError) -> Failure {
    match &error {
        StartError::Listen { addr, transport, kind } => {
            let failure = Failure::new(Exit::Address, &error);
            match kind {
                ErrorKind::AddrInUse => failure.next(format!(
                    "find out who has it (ss -l{}np 'sport = :{}'), or choose another --listen",
                    if *transport == Transport::Udp { 'u' } else { 't' },
                    addr.port()
                )),
                ErrorKind::AddrNotAvailable => failure.next("list this machine's addresses with: ip address"),
                _ => failure.next("choose another --listen"),
            }
        }
        StartError::System(_) => Failure::new(Exit::Other, error),
    }
}
