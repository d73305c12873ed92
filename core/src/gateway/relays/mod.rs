//! The relays of a gateway: a TURN client for each, and the way of QUIC's datagrams through them.
//!
//! A peer that is seen for the first time gets a channel before QUIC answers it: in a Send indication, the
//! handshake's full-sized packets would not fit the smallest path. Until the channel is bound, the answers wait.

mod outgoing;
mod state;

use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};

pub use state::{RelayState, Standing};

use super::{Asker, Event, RelayLost, Step};
use crate::client::{self, Client, Readiness};
use crate::io::{Arena, Completion, Datagrams, Ecn, Effect, Forwards, Onward, QueryId, SocketId};
use crate::quic::Way;
use crate::rand::Rng;
use crate::time::{Deadline, DeadlineQueue, Why};
use crate::turn::credentials::Credentials;

/// How many bytes may wait for channels, per relay.
const MAX_PARKED: usize = 256 * 1024;
/// How long an allocation is kept secret at most while its relay does not say whether it lets the peers in.
const LET_IN: Duration = Duration::from_secs(2);
/// How often it is looked whether a peer's channel is still used.
const CHANNEL_IN_USE: Duration = Duration::from_secs(120);
/// After how long a name is resolved again that could not be, the first time.
const RESOLVE_AGAIN: Duration = Duration::from_secs(5);
/// The pause before a relay is tried again grows to that at most, ± 25 %; so that many gateways don't ask at once.
const MAX_PAUSE: Duration = Duration::from_secs(48);

/// A relay to keep an allocation on.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// A host name, or an address in text form.
    pub host: String,
    /// The UDP port.
    pub port: u16,
    /// The long-term credentials.
    pub credentials: Credentials,
    /// The families to allocate relayed addresses of.
    pub families: client::Families,
}

/// All relays of a gateway.
#[derive(Debug)]
pub(super) struct Relays {
    relays: Vec<Relay>,
    /// The peers that all clients let in.
    permit: BTreeSet<IpAddr>,
    /// The sockets of all clients, under numbers of our own: each client counts from zero.
    sockets: Arena<SocketId, Socket>,
    again: DeadlineQueue<usize>,
    /// Relays whose addresses nobody is told yet, and until when: a connector that comes before its permission is
    /// installed loses its first packets, and with them a second.
    secret: DeadlineQueue<usize>,
    /// When to look whether the channel to a peer is still used.
    channels: DeadlineQueue<Way>,
    rng: Rng,
    forwards: Forwards,
    /// The addresses that peers can use are others now, for another reason than a client's news.
    changed: bool,
    closing: bool,
}

#[derive(Debug)]
struct Relay {
    config: RelayConfig,
    client: Option<Client>,
    /// It is not wanted any more, and its place is free when its client is gone.
    removed: bool,
    /// Its name is being looked up.
    query: Option<QueryId>,
    /// The client's present socket: our number for it.
    socket: Option<SocketId>,
    relayed: Vec<SocketAddr>,
    standing: Standing,
    /// How many addresses of its name were silent since there was an allocation, and how often it had none.
    silent: u32,
    parked: VecDeque<Parked>,
    parked_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Socket {
    relay: usize,
    /// The client's own number.
    own: SocketId,
}

/// Datagrams of QUIC that wait until the channel to their peer is bound.
#[derive(Debug)]
struct Parked {
    peer: SocketAddr,
    ecn: Option<Ecn>,
    stride: usize,
    bytes: Vec<u8>,
}

impl Relays {
    pub(super) fn new(configs: Vec<RelayConfig>, permit: BTreeSet<IpAddr>, now: Instant, rng: Rng) -> Self {
        Self {
            relays: configs.into_iter().map(|config| Relay::new(config, now)).collect(),
            permit,
            sockets: Arena::default(),
            again: DeadlineQueue::default(),
            secret: DeadlineQueue::default(),
            channels: DeadlineQueue::default(),
            rng,
            forwards: Forwards::default(),
            changed: false,
            closing: false,
        }
    }

    /// The relayed addresses that peers can use, in the order of the relays.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let open = (0..).zip(&self.relays).filter(|&(relay, _)| self.secret.get(relay).is_none());
        open.flat_map(|(_, relay)| relay.relayed.iter().copied()).collect()
    }

    /// The number of sockets.
    pub(super) fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// How many bytes wait for channels.
    pub(super) fn parked(&self) -> usize {
        self.relays.iter().map(|relay| relay.parked_bytes).sum()
    }

    pub(super) fn deadline(&self) -> Option<Deadline> {
        let again = self.again.next().map(|at| Deadline { at, why: Why::Retry });
        let secret = self.secret.next().map(|at| Deadline { at, why: Why::Permission });
        let channels = self.channels.next().map(|at| Deadline { at, why: Why::Channel });
        let clients = self.relays.iter().filter_map(|relay| relay.client.as_ref()?.poll_timeout());
        [again, secret, channels, clients.min()].into_iter().fold(None, Deadline::earlier)
    }

    // --- from a name to a client -----------------------------------------------------------------------------

    pub(super) fn start(&mut self, step: &mut Step<'_>) {
        for relay in 0..self.relays.len() {
            self.locate(step, relay);
        }
    }

    /// Takes one more relay, in a place that is free or behind the others.
    pub(super) fn add(&mut self, step: &mut Step<'_>, config: RelayConfig) -> usize {
        let free = self.relays.iter().position(|relay| relay.removed && relay.client.is_none());
        let place = free.unwrap_or(self.relays.len());
        match free {
            Some(place) => self.relays[place] = Relay::new(config, step.now),
            None => self.relays.push(Relay::new(config, step.now)),
        }
        self.locate(step, place);
        place
    }

    /// Gives the allocation on a relay back, and tries no more to have one.
    pub(super) fn remove(&mut self, step: &mut Step<'_>, relay: usize) {
        self.again.cancel(relay);
        self.secret.cancel(relay);
        let Some(relay) = self.relays.get_mut(relay) else { return };
        relay.removed = true;
        self.changed |= !std::mem::take(&mut relay.relayed).is_empty();
        // The place may be another's when the answer comes.
        if let Some(query) = relay.query.take() {
            step.queries.remove(query);
        }
        if let Some(client) = &mut relay.client {
            client.close(step.now);
        }
    }

    /// Finds the address of a relay.
    fn locate(&mut self, step: &mut Step<'_>, relay: usize) {
        if self.closing {
            return;
        }
        let host = self.relays[relay].config.host.clone();
        match host.parse::<IpAddr>() {
            Ok(ip) => self.begin(step, relay, ip),
            Err(_) => {
                let query = step.queries.insert(Asker::Relay(relay));
                self.relays[relay].query = Some(query);
                step.out.push_back(Event::Effect(Effect::Resolve { query, host }));
            }
        }
    }

    /// The resolver has answered.
    pub(super) fn resolved(
        &mut self,
        step: &mut Step<'_>,
        relay: usize,
        result: Result<Vec<IpAddr>, ErrorKind>,
    ) {
        self.relays[relay].query = None;
        let turn = self.relays[relay].silent as usize;
        let next = |ips: Vec<IpAddr>| ips.get(turn % ips.len().max(1)).copied().ok_or(ErrorKind::NotFound);
        match result.and_then(next) {
            Ok(ip) => self.begin(step, relay, ip),
            Err(kind) => {
                let turn = self.relays[relay].next_turn().min(6);
                let base = (RESOLVE_AGAIN * (1 << turn)).min(MAX_PAUSE);
                let span = u32::try_from(base.as_millis()).unwrap_or(u32::MAX) / 2;
                let retry_in = base - base / 4 + Duration::from_millis(self.rng.below(span).into());
                self.again.set(relay, step.now + retry_in);
                let reason = RelayLost::Unresolved(kind);
                self.relays[relay].lose(step.now, reason.clone());
                step.out.push_back(Event::RelayLost { relay, reason, retry_in });
            }
        }
    }

    fn begin(&mut self, step: &mut Step<'_>, relay: usize, ip: IpAddr) {
        if self.closing {
            return;
        }
        let config = &self.relays[relay].config;
        let server = SocketAddr::new(ip, config.port);
        let mut config = client::Config::new(server, config.credentials.clone());
        config.families = self.relays[relay].config.families;
        let mut client = Client::new(config, step.clock, step.now, self.rng.fork());
        for &peer in &self.permit {
            client.permit(step.now, peer).expect("there are at most as many peers as a client takes");
        }
        self.relays[relay].client = Some(client);
    }

    /// Shows a relay other credentials from now on; an allocation is kept where the relay allows it.
    pub(super) fn set_credentials(&mut self, step: &mut Step<'_>, relay: usize, credentials: Credentials) {
        let Some(relay) = self.relays.get_mut(relay) else { return };
        relay.config.credentials = credentials.clone();
        if let Some(client) = &mut relay.client {
            client.set_credentials(step.now, credentials);
        }
    }

    /// Lets in who is permitted now, and was not yet.
    pub(super) fn permit(&mut self, step: &mut Step<'_>) {
        let new: Vec<IpAddr> = step.permits.current().difference(&self.permit).copied().collect();
        for peer in new {
            self.permit.insert(peer);
            for client in self.relays.iter_mut().filter_map(|relay| relay.client.as_mut()) {
                client.permit(step.now, peer).expect("there are at most as many peers as a client takes");
            }
        }
    }

    /// Lets nobody in from `peer` any more, and gives up what leads there.
    pub(super) fn forbid(&mut self, peer: IpAddr) {
        self.permit.remove(&peer);
        for client in self.relays.iter_mut().filter_map(|relay| relay.client.as_mut()) {
            client.release_channels(peer);
            client.forbid(peer);
        }
    }

    // --- what comes in ---------------------------------------------------------------------------------------

    /// Datagrams on the socket of a client: TURN's own, or those of peers.
    pub(super) fn handle_datagrams(&mut self, step: &mut Step<'_>, batch: Datagrams<'_>) {
        let Some(&Socket { relay, own }) = self.sockets.get(batch.socket) else {
            step.counters.unknown_socket += batch.len() as u64;
            return;
        };
        let Some(client) = &mut self.relays[relay].client else { return };
        let Datagrams { remote, local, ecn, stride, payload, .. } = batch;
        let inner = Datagrams { socket: own, remote, local, ecn, stride, payload: &mut *payload };
        client.handle_datagrams(step.now, inner, &mut self.forwards);
        if self.forwards.is_empty() {
            return;
        }
        // One copy of the batch; each datagram is a slice of it.
        let batch = Datagrams { socket: own, remote, local, ecn, stride, payload };
        let mut bytes = BytesMut::from(&*batch.payload);
        let mut at = 0;
        for run in self.forwards.drain() {
            let Onward::Owner { peer } = run.onward else { continue };
            // A relay may keep a permission for minutes after it was given up.
            if !step.permits.listens_to(peer.ip()) {
                step.counters.unpermitted += run.segments.len() as u64;
                continue;
            }
            let way = way(relay, peer);
            let mut connected = false;
            for index in run.segments.clone() {
                let range = run.body_range(&batch, index);
                bytes.advance(range.start - at);
                at = range.end;
                connected |= step.quic.handle(step.now, way, run.ecn, bytes.split_to(range.len()));
            }
            // Only who has a connection gets a channel; noise from many ports would take them all. Where none can
            // be had, Send indications do its work.
            if connected
                && client.readiness(peer) == Readiness::Absent
                && client.bind_channel(step.now, peer).is_ok()
            {
                self.channels.set(way, step.now + CHANNEL_IN_USE);
            }
        }
    }

    /// News of a client's socket.
    pub(super) fn handle_completion(&mut self, step: &mut Step<'_>, socket: SocketId, done: Completion) {
        let Some(&Socket { relay, own }) = self.sockets.get(socket) else { return };
        let done = match done {
            Completion::Bound { result, .. } => Completion::Bound { socket: own, result },
            Completion::TransportError { peer, kind, mtu, .. } => {
                Completion::TransportError { socket: own, peer, kind, mtu }
            }
            other => other,
        };
        if let Some(client) = &mut self.relays[relay].client {
            client.handle_completion(step.now, done);
        }
    }

    pub(super) fn handle_clock(&mut self, step: &mut Step<'_>) {
        let unix = step.unix();
        for client in self.relays.iter_mut().filter_map(|relay| relay.client.as_mut()) {
            client.handle_clock(step.now, unix);
        }
    }

    pub(super) fn handle_timeout(&mut self, step: &mut Step<'_>) {
        while let Some(relay) = self.again.pop_due(step.now) {
            self.locate(step, relay);
        }
        while let Some(way) = self.channels.pop_due(step.now) {
            self.review_channel(step, way);
        }
        for client in self.relays.iter_mut().filter_map(|relay| relay.client.as_mut()) {
            client.handle_timeout(step.now);
        }
    }

    /// Gives up the channel to a peer that has no connection any more; a permitted peer could otherwise use up all
    /// channel numbers.
    fn review_channel(&mut self, step: &mut Step<'_>, way: Way) {
        if step.quic.uses(way) {
            self.channels.set(way, step.now + CHANNEL_IN_USE);
        } else if let Some(client) =
            self.relays.get_mut(way.via as usize).and_then(|relay| relay.client.as_mut())
        {
            client.release_channel(way.remote);
        }
    }

    /// Gives the allocations back, and asks for no more.
    pub(super) fn close(&mut self, step: &mut Step<'_>) {
        self.closing = true;
        for query in self.relays.iter_mut().filter_map(|relay| relay.query.take()) {
            step.queries.remove(query);
        }
        for client in self.relays.iter_mut().filter_map(|relay| relay.client.as_mut()) {
            client.close(step.now);
        }
    }

    /// Gives up what could not be given back: relays find out when the allocations run out.
    pub(super) fn abandon(&mut self, step: &mut Step<'_>) {
        for relay in &mut self.relays {
            relay.client = None;
            relay.socket = None;
            relay.unpark_all(step);
        }
        self.again = DeadlineQueue::default();
        self.secret = DeadlineQueue::default();
        self.channels = DeadlineQueue::default();
        for (socket, _) in std::mem::take(&mut self.sockets).iter() {
            step.out.push_back(Event::Effect(Effect::Unbind { socket }));
        }
    }

    /// Whether all allocations are given back, and nothing is left.
    pub(super) fn are_closed(&self) -> bool {
        self.relays.iter().all(|relay| relay.client.is_none())
    }

    // --- what the clients have to tell -----------------------------------------------------------------------

    /// Passes on the news of all clients; whether the addresses that peers can use have changed.
    pub(super) fn settle(&mut self, step: &mut Step<'_>) -> bool {
        let mut changed = std::mem::take(&mut self.changed);
        for relay in 0..self.relays.len() {
            while let Some(event) = self.relays[relay].client.as_mut().and_then(Client::poll_event) {
                changed |= self.on_client_event(step, relay, event);
            }
            changed |= self.open(step, relay);
        }
        changed
    }

    /// Ends the secrecy of a relay's addresses once its peers are let in, or have waited long enough; whether that
    /// is now.
    fn open(&mut self, step: &Step<'_>, relay: usize) -> bool {
        let Some(until) = self.secret.get(relay) else { return false };
        let let_in = self.relays[relay].client.as_ref().is_none_or(Client::has_asked_all);
        let open = let_in || step.now >= until;
        if open {
            self.secret.cancel(relay);
        }
        open
    }

    fn on_client_event(&mut self, step: &mut Step<'_>, relay: usize, event: client::Event) -> bool {
        match event {
            client::Event::Effect(effect) => self.on_effect(step, relay, effect),
            client::Event::Allocated { relayed, .. } => {
                if self.relays[relay].relayed != relayed {
                    self.secret.set(relay, step.now + LET_IN);
                    self.relays[relay].relayed.clone_from(&relayed);
                }
                self.relays[relay].silent = 0;
                self.relays[relay].gain(step.now);
                step.out.push_back(Event::Allocated { relay, relayed });
            }
            client::Event::Lost { reason, retry_in } => {
                let changed = !self.relays[relay].relayed.is_empty() && self.secret.get(relay).is_none();
                self.secret.cancel(relay);
                self.relays[relay].relayed.clear();
                self.relays[relay].unpark_all(step);
                let retry_in = match reason {
                    client::Lost::Unreachable | client::Lost::Rejected { .. } => {
                        self.try_elsewhere(step, relay, retry_in)
                    }
                    _ => retry_in,
                };
                let reason = RelayLost::Client(reason);
                self.relays[relay].lose(step.now, reason.clone());
                step.out.push_back(Event::RelayLost { relay, reason, retry_in });
                return changed;
            }
            client::Event::Unanswered { since } => step.out.push_back(Event::RelaySilent { relay, since }),
            client::Event::PermissionDenied { peer, code, reason } => {
                step.out.push_back(Event::PermissionDenied { relay, peer, code, reason });
            }
            // Where a channel is refused, Send indications do its work.
            client::Event::ChannelBound { .. } | client::Event::ChannelRefused { .. } => {}
            // QUIC finds out by itself, from packets that nobody can forge.
            client::Event::Undelivered { .. } => {}
            client::Event::Closed => {
                self.relays[relay].client = None;
                self.relays[relay].unpark_all(step);
            }
        }
        false
    }

    /// Nobody answers at the address of a relay. Where it has a name, that is resolved again, and its next address is
    /// tried; when.
    fn try_elsewhere(&mut self, step: &mut Step<'_>, relay: usize, retry_in: Duration) -> Duration {
        let entry = &mut self.relays[relay];
        let has_name = entry.config.host.parse::<IpAddr>().is_err();
        let Some(client) = entry.client.as_mut().filter(|_| has_name && !entry.removed) else {
            return retry_in;
        };
        client.close(step.now);
        // A client that has just begun says when it would try again: a second, with its jitter.
        let longest = u32::try_from(MAX_PAUSE.as_secs()).unwrap_or(u32::MAX);
        let pause = retry_in.saturating_mul((1 << entry.next_turn().min(6)).min(longest));
        let pause = pause.min(MAX_PAUSE * 5 / 4);
        self.again.set(relay, step.now + pause);
        pause
    }

    /// Gives a client's sockets numbers of our own.
    fn on_effect(&mut self, step: &mut Step<'_>, relay: usize, effect: Effect) {
        match effect {
            Effect::Bind { socket: own, addr, kind } => {
                let socket = self.sockets.insert(Socket { relay, own });
                self.relays[relay].socket = Some(socket);
                step.out.push_back(Event::Effect(Effect::Bind { socket, addr, kind }));
            }
            Effect::Unbind { socket: own } => {
                let Some(socket) = self.relays[relay].socket else { return };
                if self.sockets.get(socket).is_some_and(|entry| entry.own == own) {
                    self.sockets.remove(socket);
                    self.relays[relay].socket = None;
                    step.out.push_back(Event::Effect(Effect::Unbind { socket }));
                }
            }
            other => step.out.push_back(Event::Effect(other)),
        }
    }
}

impl Relay {
    fn new(config: RelayConfig, now: Instant) -> Self {
        Self {
            config,
            client: None,
            removed: false,
            query: None,
            socket: None,
            relayed: Vec::new(),
            standing: Standing::Trying { since: now },
            silent: 0,
            parked: VecDeque::new(),
            parked_bytes: 0,
        }
    }
}

/// The way of a peer through a relay, as QUIC knows it.
fn way(relay: usize, peer: SocketAddr) -> Way {
    Way { via: u32::try_from(relay).unwrap_or(u32::MAX), remote: peer }
}
