//! The gateway: allocations on relays, QUIC on the relayed addresses, and pipes to targets.
//!
//! ```text
//! relays      TURN clients, one per relay      Allocate, Refresh, permissions, channels
//!   │ peers' datagrams
//! quic        one server for all relays        handshakes, streams
//!   │ streams
//! sessions    one per connector                OPEN, the target policy, Resolve, Dial, ACCEPT
//!   │ pipes
//! driver      a TCP connection per pipe
//! ```
//!
//! A gateway opens no port: everything that it receives came by an allocation that it made itself, from a peer
//! that it permitted, over a connection whose certificate it verified, for a target that its operator allowed.

mod event;
mod permits;
mod policy;
mod relays;
mod session;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client;
use crate::io::{Arena, Completion, Datagrams, Forwards, LinkId, PipeId, QueryId, Read, Transmit, Write};
use crate::pki::{Identity, PeerInfo, Revoked};
use crate::quic::{self, ConnId, StreamId};
use crate::rand::{Rng, Seed};
use crate::time::{Clock, Deadline, UnixTime, WallCell, Why};
use crate::tunnel::Target;
use crate::turn::credentials::Credentials;
pub use event::{Cause, Counters, Event, Holdings, RelayLost};
use permits::Permits;
pub use policy::{Judge, RuleError, TargetPolicy, TargetRule};
use relays::Relays;
pub use relays::{RelayConfig, RelayState, RelayTrust, RelayWay, Standing, Unverifiable};
pub use session::Peer;
use session::{Limits, Sessions};

/// How long closing may take: allocations are given back and connections closed, but not at any price.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a gateway is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// The relays to keep an allocation on, all at once.
    pub relays: Vec<RelayConfig>,
    /// The peers that may reach the relayed addresses: where connectors are. At most [`client::MAX_PEERS`].
    /// [`Gateway::set_permitted`] replaces them.
    pub permit: Vec<IpAddr>,
    /// Whether the gateway belongs to a platform, whose instances may ask for peers by PERMIT, each for at most 64 at
    /// once and an hour.
    pub platform: bool,
    /// TLS with the gateway's certificate, which accepts connectors of its organisation and nobody else.
    pub tls: Arc<rustls::ServerConfig>,
    /// The cell that `tls` reads the time from.
    pub wall: WallCell,
    /// What connectors may reach; nothing by default.
    pub targets: TargetPolicy,
    /// How long a dial may take, resolving included.
    pub dial_timeout: Duration,
    /// How many streams may be open at once, over all connections.
    pub max_streams: usize,
    /// How old a stream may get before it is reset; `None` for as old as it likes.
    pub max_stream_age: Option<Duration>,
    /// How long a person's connection goes on after the certificate has run out. Those of machines go on until they
    /// end; in either case nothing new is opened.
    pub offline_grace: Duration,
    /// The limits of QUIC.
    pub quic: quic::Config,
}

impl Config {
    /// The defaults: no relay, no peer, no platform, no target; 10 s for a dial, 16,384 streams of any age, 2 h for a
    /// person whose certificate has run out.
    pub fn new(tls: Arc<rustls::ServerConfig>, wall: WallCell) -> Self {
        Self {
            relays: Vec::new(),
            permit: Vec::new(),
            platform: false,
            tls,
            wall,
            targets: TargetPolicy::default(),
            dial_timeout: Duration::from_secs(10),
            max_streams: 16_384,
            max_stream_age: None,
            offline_grace: Duration::from_secs(2 * 3600),
            quic: quic::Config::default(),
        }
    }
}

/// Why there can be no such gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NewError {
    /// [`Config::tls`] can't be used for QUIC.
    #[error(transparent)]
    Tls(#[from] quic::UnusableTls),
    /// [`Config::permit`] is too long.
    #[error("at most {} peers can be permitted", client::MAX_PEERS)]
    TooManyPeers,
}

/// The gateway's machine.
#[derive(Debug)]
pub struct Gateway {
    clock: Clock,
    wall: WallCell,
    quic: quic::Endpoint,
    relays: Relays,
    sessions: Sessions,
    permits: Permits,
    queries: Arena<QueryId, Asker>,
    events: VecDeque<Event>,
    counters: Counters,
    closing: Option<Instant>,
    closed: bool,
    scratch: Vec<u8>,
}

/// Who has asked the resolver.
#[derive(Debug, Clone, Copy)]
enum Asker {
    /// One of the lines to relays.
    Relay(usize),
    Stream(ConnId, StreamId),
}

/// What every step needs beside the parts themselves.
struct Step<'a> {
    now: Instant,
    clock: Clock,
    quic: &'a mut quic::Endpoint,
    permits: &'a mut Permits,
    queries: &'a mut Arena<QueryId, Asker>,
    out: &'a mut VecDeque<Event>,
    counters: &'a mut Counters,
}

impl Step<'_> {
    fn unix(&self) -> UnixTime {
        self.clock.unix(self.now)
    }

    /// Where the other end of a connection is, as the relay sees it.
    fn address(&self, conn: ConnId) -> Option<IpAddr> {
        Some(self.quic.way(conn)?.remote.ip())
    }
}

impl Gateway {
    /// A gateway that begins to allocate at once.
    ///
    /// # Errors
    /// [`NewError`], when the configuration can't be served.
    pub fn new(config: Config, clock: Clock, now: Instant, seed: Seed) -> Result<Self, NewError> {
        if config.permit.len() > client::MAX_PEERS {
            return Err(NewError::TooManyPeers);
        }
        config.wall.set(clock.unix(now));
        let mut rng = Rng::new(seed);
        let mut quic = quic::Endpoint::new(config.quic, config.wall.clone(), rng.fork());
        quic.set_server(&config.tls)?;
        let limits = Limits {
            dial_timeout: config.dial_timeout,
            streams: config.max_streams,
            stream_age: config.max_stream_age,
            offline_grace: config.offline_grace,
            platform: config.platform,
        };
        let permits = Permits::new(config.permit);
        let mut gateway = Self {
            clock,
            wall: config.wall,
            quic,
            relays: Relays::new(config.relays, permits.current().clone(), now, rng),
            sessions: Sessions::new(config.targets, limits),
            permits,
            queries: Arena::default(),
            events: VecDeque::new(),
            counters: Counters::default(),
            closing: None,
            closed: false,
            scratch: Vec::new(),
        };
        let (ref mut step, relays, _) = gateway.step(now);
        relays.start(step);
        gateway.settle(now);
        Ok(gateway)
    }

    // --- what an application asks for ------------------------------------------------------------------------

    /// The relayed addresses, best first.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.relays.addresses()
    }

    /// Shows a relay, by its place in [`Config::relays`], other credentials from now on: to be called before the
    /// present ones run out. See [`client::Client::set_credentials`] for what becomes of the allocation.
    pub fn set_credentials(&mut self, now: Instant, relay: usize, credentials: Credentials) {
        let (ref mut step, relays, _) = self.step(now);
        relays.set_credentials(step, relay, credentials);
        self.settle(now);
    }

    /// Lets these peers reach the relayed addresses from now on, in place of those that were named before. From
    /// addresses that nobody permits any more, connections are closed; those that instances of the platform have asked
    /// for are not touched.
    ///
    /// # Errors
    /// [`TooManyPeers`](client::TooManyPeers), and nothing has changed, when there are more than [`client::MAX_PEERS`].
    pub fn set_permitted(
        &mut self,
        now: Instant,
        peers: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), client::TooManyPeers> {
        let peers: Vec<IpAddr> = peers.into_iter().collect();
        if peers.len() > client::MAX_PEERS {
            return Err(client::TooManyPeers(client::MAX_PEERS));
        }
        self.permits.name(now, peers);
        self.settle(now);
        Ok(())
    }

    /// Those that `revoked` covers are not let in any more, and their connections are closed at once. It is the whole
    /// list: who is not on it is not revoked.
    pub fn set_revoked(&mut self, now: Instant, revoked: Revoked) {
        self.permits.revoke(now, &revoked);
        let (ref mut step, _, sessions) = self.step(now);
        sessions.set_revoked(step, revoked);
        self.settle(now);
    }

    /// Serves new connections with another certificate or other anchors from now on. Those that stand are not touched.
    /// `tls` must read the time from the same cell as [`Config::tls`]: see [`wall`](Self::wall).
    ///
    /// # Errors
    /// [`quic::UnusableTls`]; everything is as before then.
    pub fn set_tls(
        &mut self,
        _now: Instant,
        tls: Arc<rustls::ServerConfig>,
    ) -> Result<(), quic::UnusableTls> {
        self.quic.set_server(&tls)
    }

    /// Allows these targets from now on, in place of all that were allowed before, those included that the application
    /// serves itself. Pipes that are open are not touched.
    pub fn set_targets(&mut self, targets: TargetPolicy) {
        self.sessions.set_policy(targets);
    }

    /// The cell that tells TLS the time: [`Config::wall`].
    pub fn wall(&self) -> &WallCell {
        &self.wall
    }

    /// Keeps an allocation on one more relay. Its place, which events name.
    pub fn add_relay(&mut self, now: Instant, relay: RelayConfig) -> usize {
        let (ref mut step, relays, _) = self.step(now);
        let place = relays.add(step, relay);
        self.settle(now);
        place
    }

    /// Gives the allocation on a relay back. Its place may be another relay's later.
    pub fn remove_relay(&mut self, now: Instant, relay: usize) {
        let (ref mut step, relays, _) = self.step(now);
        relays.remove(step, relay);
        self.settle(now);
    }

    /// How things stand with each relay.
    pub fn relays(&self) -> Vec<RelayState> {
        self.relays.states()
    }

    /// Takes no new pipes from now on, and tells connectors so. Those that are open go on.
    pub fn drain(&mut self, now: Instant) {
        let (ref mut step, _, sessions) = self.step(now);
        sessions.drain(step);
    }

    /// Closes all connections and gives the allocations back; [`Event::Closed`] follows, at most 2 s later.
    pub fn close(&mut self, now: Instant) {
        self.closing.get_or_insert(now + CLOSE_TIMEOUT);
        let (ref mut step, relays, sessions) = self.step(now);
        sessions.close(step);
        relays.close(step);
        self.settle(now);
    }

    /// The number of connectors that are connected.
    pub fn connections(&self) -> usize {
        self.sessions.connections()
    }

    /// Everybody who is connected.
    pub fn peers(&self) -> Vec<Peer> {
        self.sessions.peers(&self.quic)
    }

    /// The number of pipes to targets.
    pub fn pipes(&self) -> usize {
        self.sessions.pipes()
    }

    /// Who asked for a pipe, and for what; nothing when it is gone.
    pub fn wish(&self, pipe: PipeId) -> Option<(&Identity, &Target)> {
        self.sessions.wish(pipe)
    }

    /// What was done, and what was dropped.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What it holds at present.
    pub fn holdings(&self) -> Holdings {
        Holdings {
            connections: self.quic.len(),
            streams: self.sessions.streams(),
            pipes: self.sessions.pipes(),
            queries: self.queries.len(),
            sockets: self.relays.sockets(),
            parked: self.relays.parked(),
        }
    }

    /// Takes received bytes out of a pipe.
    pub fn pipe_read(&mut self, _now: Instant, pipe: PipeId, buf: &mut [u8]) -> Read {
        let read = self.sessions.pipe_read(&mut self.quic, pipe, buf);
        if let Read::Bytes(count) = read {
            self.counters.to_targets += count as u64;
        }
        read
    }

    /// Puts bytes into a pipe. Nothing to write asks whether the other end still listens.
    pub fn pipe_write(&mut self, _now: Instant, pipe: PipeId, bytes: &[u8]) -> Write {
        let written = self.sessions.pipe_write(&mut self.quic, pipe, bytes);
        if let Write::Accepted(count) = written {
            self.counters.from_targets += count as u64;
        }
        written
    }

    /// No more bytes will be put into the pipe.
    pub fn pipe_finish(&mut self, _now: Instant, pipe: PipeId) {
        self.sessions.pipe_finish(&mut self.quic, pipe);
    }

    /// Gives a pipe up.
    pub fn pipe_close(&mut self, _now: Instant, pipe: PipeId) {
        self.sessions.pipe_close(&mut self.quic, pipe);
    }

    // --- the contract of all machines ------------------------------------------------------------------------

    /// Datagrams from the network. Nothing is ever forwarded.
    pub fn handle_datagrams(&mut self, now: Instant, batch: Datagrams<'_>, _out: &mut Forwards) {
        let (ref mut step, relays, _) = self.step(now);
        relays.handle_datagrams(step, batch);
        self.settle(now);
    }

    /// Bytes of a link to a relay.
    pub fn handle_bytes(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
        let (ref mut step, relays, _) = self.step(now);
        relays.handle_bytes(step, link, bytes);
        self.settle(now);
    }

    /// Answers to effects.
    pub fn handle_completion(&mut self, now: Instant, done: Completion) {
        let (ref mut step, relays, sessions) = self.step(now);
        match done {
            Completion::Bound { .. }
            | Completion::TransportError { .. }
            | Completion::LinkOpened { .. }
            | Completion::LinkFinished { .. }
            | Completion::LinkClosed { .. }
            | Completion::Writable { .. } => relays.handle_completion(step, done),
            Completion::Resolved { query, result } => match step.queries.remove(query) {
                Some(Asker::Relay(line)) => relays.resolved(step, line, result),
                Some(Asker::Stream(conn, stream)) => sessions.resolved(step, (conn, stream), result),
                None => {}
            },
            Completion::Dialled { pipe, result } => sessions.dialled(step, pipe, result),
        }
        self.settle(now);
    }

    /// The wall clock was set, or the machine slept: allocations are refreshed at once.
    pub fn handle_clock(&mut self, now: Instant, unix: UnixTime) {
        self.clock = Clock::new(now, Duration::from_secs(unix.0));
        let (ref mut step, relays, sessions) = self.step(now);
        relays.handle_clock(step);
        sessions.handle_clock(step);
        self.settle(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (ref mut step, relays, sessions) = self.step(now);
        relays.handle_timeout(step);
        step.quic.handle_timeout(now);
        sessions.handle_timeout(step);
        self.settle(now);
    }

    /// The next datagrams to send: what the TURN clients have to say, then QUIC.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: NonZeroUsize,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let (ref mut step, relays, _) = self.step(now);
        let transmit = relays.poll_transmit(step, max_segments, &mut scratch, out);
        self.scratch = scratch;
        transmit
    }

    /// The next event or effect.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        if self.closed {
            return None;
        }
        let closing = self.closing.map(|at| Deadline { at, why: Why::Open });
        let permits = self.permits.deadline().map(|at| Deadline { at, why: Why::Permission });
        [self.relays.deadline(), self.quic.poll_timeout(), self.sessions.deadline(), permits, closing]
            .into_iter()
            .fold(None, Deadline::earlier)
    }

    // --- how the parts work together -------------------------------------------------------------------------

    /// Everything that a step needs, borrowed side by side.
    fn step(&mut self, now: Instant) -> (Step<'_>, &mut Relays, &mut Sessions) {
        self.wall.set(self.clock.unix(now));
        let step = Step {
            now,
            clock: self.clock,
            quic: &mut self.quic,
            permits: &mut self.permits,
            queries: &mut self.queries,
            out: &mut self.events,
            counters: &mut self.counters,
        };
        (step, &mut self.relays, &mut self.sessions)
    }

    /// Acts on what the relays and QUIC have to tell, until they have nothing more.
    fn settle(&mut self, now: Instant) {
        let (ref mut step, relays, sessions) = self.step(now);
        if relays.settle(step) {
            let addresses = relays.addresses();
            step.out.push_back(Event::Addresses(addresses.clone()));
            sessions.set_paths(step, addresses);
        }
        step.permits.expire(now);
        settle_quic(step, sessions);
        settle_permits(step, relays, sessions);
        // Those whose connections were cut.
        settle_quic(step, sessions);
        let overdue = self.closing.is_some_and(|at| now >= at);
        if self.closing.is_some() && !self.closed && (overdue || self.relays.are_closed()) {
            let (ref mut step, relays, sessions) = self.step(now);
            relays.abandon(step);
            step.quic.abandon_all();
            settle_quic(step, sessions);
            self.closed = true;
            self.events.push_back(Event::Closed);
        }
    }
}

fn settle_quic(step: &mut Step<'_>, sessions: &mut Sessions) {
    while let Some(event) = step.quic.poll_event() {
        on_quic_event(step, sessions, event);
    }
}

/// Puts into effect who may come and who may not.
fn settle_permits(step: &mut Step<'_>, relays: &mut Relays, sessions: &mut Sessions) {
    for ip in step.permits.take_cut() {
        sessions.cut(step, ip);
    }
    while let Some(ip) = step.permits.pop_left(step.now) {
        let kept = sessions.any_from(step, ip) && step.permits.keep(step.now, ip);
        if !kept {
            relays.forbid(ip);
        }
    }
    if step.permits.take_changed() {
        relays.permit(step);
    }
}

fn on_quic_event(step: &mut Step<'_>, sessions: &mut Sessions, event: quic::Event) {
    match event {
        quic::Event::Connected { conn } => match peer_of(step.quic, conn) {
            Some(peer) => sessions.connected(step, conn, peer),
            // The verifier has read the same certificate before; so this is a bug, not an attack.
            None => step.quic.close(step.now, conn, Cause::Protocol.code(), b"no identity"),
        },
        quic::Event::Closed { conn, reason } => {
            if !sessions.lost(step, conn, reason.clone()) {
                step.out.push_back(Event::Refused { reason });
            }
        }
        quic::Event::StreamOpened { conn, stream } => sessions.stream_opened(step, conn, stream),
        quic::Event::Readable { conn, stream } => sessions.readable(step, conn, stream),
        quic::Event::Writable { conn, stream } => sessions.writable(step, conn, stream),
        quic::Event::Stopped { conn, stream, .. } => sessions.stopped(step, conn, stream),
        quic::Event::Finished { .. } | quic::Event::StreamsAvailable { .. } => {}
    }
}

/// Who the verified certificate at the other end of `conn` names.
fn peer_of(quic: &quic::Endpoint, conn: ConnId) -> Option<PeerInfo> {
    let certificates = quic.peer_certificates(conn)?;
    PeerInfo::from_leaf(certificates.first()?).ok()
}
