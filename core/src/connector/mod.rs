//! The connector: QUIC connections to gateways, and pipes to targets through them.
//!
//! One connector serves many gateways. A connection is made when the first pipe is opened, is shared by all
//! pipes to that gateway, and is made again when it was lost:
//!
//! ```text
//! open ──▶ connected? ──yes──▶ stream, OPEN ──▶ ACCEPT ──▶ bytes
//!              │ no                              REJECT ─▶ Failed
//!              ▼
//!          connect to the gateway's addresses, best first ──▶ none answered ──▶ ConnectFailed, Failed
//! ```
//!
//! A connection is replaced while it stands when our own certificate is a new one or the gateway's is about to run out:
//! new pipes go to the new one, the old one ends with its last pipe, and no pipe notices.

mod connecting;
mod discovery;
mod error;
mod event;
mod gateways;
mod link;
mod pipes;
mod sockets;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

pub use error::{ConnectError, DiscoverError, Failure, OpenError, PermitError};
pub use event::{Counters, Event, Holdings};

pub use crate::io::GatewayKey;
use crate::io::{Completion, Datagrams, Forwards, LinkId, PipeId, Read, To, Transmit, Write};
use crate::pki::Revoked;
use crate::quic::{self, Way};
use crate::rand::{Rng, Seed};
use crate::stun::Message;
use crate::time::{Clock, Deadline, UnixTime, WallCell, Why};
use crate::tunnel::{Code, Target, control_stream};
use discovery::Discovery;
use gateways::Gateways;
use pipes::Pipes;
use sockets::{Families, Sockets};

/// What a connector is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cell that the TLS configurations of all gateways read the time from.
    pub wall: WallCell,
    /// The local addresses, one of each family, from which gateways are reached.
    pub bind: (Ipv4Addr, Ipv6Addr),
    /// How long one address of a gateway may take to answer.
    pub connect_timeout: Duration,
    /// How long opening a pipe may take, connecting included.
    pub open_timeout: Duration,
    /// How long a connection without pipes lives, unless it is [kept](Connector::keep); `None` for ever. The next
    /// pipe makes a new one.
    pub idle_timeout: Option<Duration>,
    /// How many pipes there may be, over all gateways.
    pub max_pipes: usize,
    /// The limits of QUIC.
    pub quic: quic::Config,
}

impl Config {
    /// The defaults: any local address, 5 s for an address, 30 s for a pipe, unused connections live on, 65,536 pipes.
    pub fn new(wall: WallCell) -> Self {
        Self {
            wall,
            bind: (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED),
            connect_timeout: Duration::from_secs(5),
            open_timeout: Duration::from_secs(30),
            idle_timeout: None,
            max_pipes: 65_536,
            quic: quic::Config::default(),
        }
    }
}

/// One gateway, as a connector knows it.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// TLS with the connector's certificate, which accepts this gateway's certificates and no others.
    pub tls: Arc<rustls::ClientConfig>,
    /// What to send as SNI (RFC 6066 §3); a gateway is told apart by its certificate, not by this.
    pub server_name: String,
    /// The relayed addresses of the gateway, best first.
    pub addresses: Vec<SocketAddr>,
}

/// The connector's machine.
#[derive(Debug)]
pub struct Connector {
    clock: Clock,
    wall: WallCell,
    quic: quic::Endpoint,
    sockets: Sockets,
    gateways: Gateways,
    pipes: Pipes,
    discovery: Discovery,
    events: VecDeque<Event>,
    counters: Counters,
}

impl Connector {
    /// A connector that knows no gateway yet.
    pub fn new(config: Config, clock: Clock, now: Instant, seed: Seed) -> Self {
        config.wall.set(clock.unix(now));
        let mut rng = Rng::new(seed);
        let quic = quic::Endpoint::new(config.quic.clone(), config.wall.clone(), rng.fork());
        let mut events = VecDeque::new();
        Self {
            clock,
            wall: config.wall.clone(),
            quic,
            sockets: Sockets::new(config.bind, &mut events),
            gateways: Gateways::new(&config, Rng::new(rng.fork())),
            pipes: Pipes::new(config.max_pipes, config.open_timeout),
            discovery: Discovery::new(rng),
            events,
            counters: Counters::default(),
        }
    }

    // --- what an application asks for ------------------------------------------------------------------------

    /// Makes a gateway known. No connection is made yet.
    pub fn add_gateway(&mut self, config: GatewayConfig) -> GatewayKey {
        self.gateways.add(config)
    }

    /// Forgets a gateway. Its connections end with their last pipes, of which no more are opened.
    pub fn remove_gateway(&mut self, now: Instant, gateway: GatewayKey) {
        let (ref mut step, gateways, pipes) = self.step(now);
        gateways.remove(step, gateway);
        pipes.fail_waiting(step, gateway, &ConnectError::GivenUp);
        self.settle(now);
    }

    /// Whether the gateway was added, and not removed.
    pub fn knows(&self, gateway: GatewayKey) -> bool {
        self.gateways.knows(gateway)
    }

    /// Whether a connection to the gateway stands that takes new pipes.
    pub fn is_connected(&self, gateway: GatewayKey) -> bool {
        self.gateways.current(gateway).is_some()
    }

    /// Replaces the addresses of a gateway. Where the present connection's address is not among them, the next
    /// pipe makes a new connection, and the old one lives on as long as its pipes. Those that are not open yet move
    /// to the new one.
    pub fn set_addresses(&mut self, now: Instant, gateway: GatewayKey, addresses: Vec<SocketAddr>) {
        self.gateways.set_addresses(gateway, addresses);
        self.settle(now);
    }

    /// Uses `tls` for all connections to the gateway from now on: our certificate is a new one, or we believe other
    /// authorities. Where there is a connection, another is made; new pipes go there once it stands
    /// ([`Event::Connected`]), and the old one ends with its last pipe.
    pub fn set_tls(&mut self, now: Instant, gateway: GatewayKey, tls: Arc<rustls::ClientConfig>) {
        self.try_gateway(now, gateway, |step, gateways| gateways.set_tls(step, gateway, tls));
    }

    /// Whom to believe no more: connections to these gateways' instances end, and none is made. Replaces what was said
    /// before.
    pub fn set_revoked(&mut self, now: Instant, revoked: Revoked) {
        let (ref mut step, gateways, _) = self.step(now);
        gateways.set_revoked(step, revoked);
        self.settle(now);
    }

    /// Whether the connection to the gateway stays although no pipe uses it: see [`Config::idle_timeout`].
    pub fn keep(&mut self, now: Instant, gateway: GatewayKey, kept: bool) {
        let pipes = &self.pipes;
        self.gateways.keep(now, gateway, kept, |conn| pipes.are_on(conn));
    }

    /// Connects to the gateway, if there is no connection; `Connected` or `ConnectFailed` follows if there was
    /// none.
    pub fn connect(&mut self, now: Instant, gateway: GatewayKey) {
        let (ref mut step, gateways, pipes) = self.step(now);
        if let Some(conn) = gateways.current(gateway) {
            pipes.start_waiting(step, gateway, conn);
            if pipes.are_on(conn) {
                gateways.used(gateway);
            }
            return self.settle(now);
        }
        self.try_gateway(now, gateway, |step, gateways| gateways.connect(step, gateway));
    }

    /// Ends the connections to the gateway, and with them its pipes. The next pipe makes a new one.
    pub fn disconnect(&mut self, now: Instant, gateway: GatewayKey) {
        let (ref mut step, gateways, pipes) = self.step(now);
        pipes.abandon_waiting(step, gateway);
        gateways.disconnect(step, gateway);
        self.settle(now);
    }

    /// Opens a pipe to `target` through `gateway`; `Opened` or `Failed` follows.
    ///
    /// # Errors
    /// [`OpenError`], when it can't even be tried.
    pub fn open(&mut self, now: Instant, gateway: GatewayKey, target: &Target) -> Result<PipeId, OpenError> {
        if !self.gateways.knows(gateway) {
            return Err(OpenError::UnknownGateway);
        }
        let pipe = self.pipes.add(now, gateway, target.clone())?;
        self.connect(now, gateway);
        Ok(pipe)
    }

    /// Asks the gateway for a sign of life, and connects first if there is no connection. `Pong` follows, or
    /// `ConnectFailed`, or `Disconnected`.
    pub fn ping(&mut self, now: Instant, gateway: GatewayKey) {
        self.try_gateway(now, gateway, |step, gateways| gateways.ping(step, gateway));
    }

    /// Asks the gateway to let `peers` in at its relays, for whole seconds: now, if there is a connection, and on every
    /// new connection until `lifetime` is over. A gateway does so for a platform only, ends the connections of anybody
    /// else, and lets nobody in for longer than an hour.
    ///
    /// # Errors
    /// [`PermitError`]; nothing is noted then.
    pub fn permit(
        &mut self,
        now: Instant,
        gateway: GatewayKey,
        peers: Vec<IpAddr>,
        lifetime: Duration,
    ) -> Result<(), PermitError> {
        let (ref mut step, gateways, _) = self.step(now);
        gateways.permit(step, gateway, peers, lifetime)
    }

    /// Asks the relay how it sees our own socket of its family, without credentials (RFC 8489 §7). `Mapped` or
    /// `NotMapped` follows within five seconds.
    pub fn discover(&mut self, now: Instant, relay: SocketAddr) {
        self.discovery.ask(now, self.sockets.families(), relay, &mut self.events);
    }

    /// Ends all connections and attempts, and with them all pipes.
    pub fn close(&mut self, now: Instant) {
        let (ref mut step, gateways, pipes) = self.step(now);
        for gateway in gateways.keys() {
            pipes.abandon_waiting(step, gateway);
            gateways.disconnect(step, gateway);
        }
        self.discovery.close(&mut self.events);
        self.settle(now);
    }

    /// What the present connection to the gateway has done so far.
    pub fn stats(&self, gateway: GatewayKey) -> Option<quic::Stats> {
        self.quic.stats(self.gateways.current(gateway)?)
    }

    /// What was dropped.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What it holds at present.
    pub fn holdings(&self) -> Holdings {
        Holdings { connections: self.quic.len(), pipes: self.pipes.len() }
    }

    /// The number of pipes.
    pub fn pipes(&self) -> usize {
        self.pipes.len()
    }

    /// Takes received bytes out of a pipe.
    pub fn pipe_read(&mut self, _now: Instant, pipe: PipeId, buf: &mut [u8]) -> Read {
        self.pipes.read(&mut self.quic, pipe, buf)
    }

    /// Puts bytes into a pipe. Nothing to write asks whether the other end still listens.
    pub fn pipe_write(&mut self, _now: Instant, pipe: PipeId, bytes: &[u8]) -> Write {
        self.pipes.write(&mut self.quic, pipe, bytes)
    }

    /// No more bytes will be put into the pipe.
    pub fn pipe_finish(&mut self, _now: Instant, pipe: PipeId) {
        self.pipes.finish(&mut self.quic, pipe);
    }

    /// Gives a pipe up.
    pub fn pipe_close(&mut self, now: Instant, pipe: PipeId) {
        self.pipes.close(&mut self.quic, pipe);
        self.note_unused(now);
    }

    // --- the contract of all machines ------------------------------------------------------------------------

    /// Datagrams from the network. Nothing is ever forwarded.
    pub fn handle_datagrams(&mut self, now: Instant, batch: Datagrams<'_>, _out: &mut Forwards) {
        let Some(via) = self.sockets.via(batch.socket) else {
            self.counters.unknown_socket += batch.len() as u64;
            return;
        };
        let way = Way { via, remote: batch.remote };
        let mut bytes = BytesMut::from(&*batch.payload);
        self.wall.set(self.clock.unix(now));
        while !bytes.is_empty() {
            let datagram = bytes.split_to(batch.stride.clamp(1, bytes.len()));
            if is_stun(&datagram) {
                self.handle_stun(way, &datagram);
            } else {
                self.quic.handle(now, way, batch.ecn, datagram);
            }
        }
        self.settle(now);
    }

    /// Bytes of a link. A connector has none.
    pub fn handle_bytes(&mut self, _now: Instant, _link: LinkId, bytes: &[u8]) {
        self.counters.unknown_link += bytes.len() as u64;
    }

    /// Answers to effects.
    pub fn handle_completion(&mut self, now: Instant, done: Completion) {
        if let Completion::Bound { socket, result } = done
            && let Some(families) = self.sockets.bound(socket, result)
        {
            self.sockets_settled(now, families);
        }
    }

    /// The wall clock was set, or the machine slept.
    pub fn handle_clock(&mut self, now: Instant, unix: UnixTime) {
        self.clock = Clock::new(now, Duration::from_secs(unix.0));
        let (ref step, gateways, _) = self.step(now);
        gateways.handle_clock(step);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.wall.set(self.clock.unix(now));
        self.quic.handle_timeout(now);
        let (ref mut step, gateways, pipes) = self.step(now);
        for (gateway, error) in gateways.handle_timeout(step, |conn| pipes.are_on(conn)) {
            pipes.fail_waiting(step, gateway, &error);
        }
        pipes.handle_timeout(step);
        self.discovery.handle_timeout(now, &mut self.events);
        self.settle(now);
    }

    /// The next datagrams to send.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: NonZeroUsize,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        if let Some((via, relay, bytes)) = self.discovery.next_to_send()
            && let Some(socket) = self.sockets.socket(via)
        {
            out.extend_from_slice(bytes);
            let to = To::Udp { socket, to: relay };
            return Some(Transmit { to, from: None, ecn: None, stride: out.len(), whole: false });
        }
        loop {
            out.clear();
            let outgoing = self.quic.poll_transmit(now, max_segments, out)?;
            match self.sockets.socket(outgoing.way.via) {
                Some(socket) => {
                    let to = To::Udp { socket, to: outgoing.way.remote };
                    return Some(Transmit {
                        to,
                        from: None,
                        ecn: outgoing.ecn,
                        stride: outgoing.stride,
                        whole: false,
                    });
                }
                None => self.counters.no_socket += 1,
            }
        }
    }

    /// The next event or effect.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let own = [self.gateways.deadline(), self.pipes.deadline()].into_iter().flatten().min();
        let own = own.map(|at| Deadline { at, why: Why::Open });
        let asked = self.discovery.deadline().map(|at| Deadline { at, why: Why::Retransmit });
        Deadline::earlier(self.quic.poll_timeout(), Deadline::earlier(own, asked))
    }

    // --- how the parts work together -------------------------------------------------------------------------

    /// Everything that a step needs, borrowed side by side.
    fn step(&mut self, now: Instant) -> (Step<'_>, &mut Gateways, &mut Pipes) {
        self.wall.set(self.clock.unix(now));
        let step = Step { now, clock: self.clock, quic: &mut self.quic, out: &mut self.events };
        (step, &mut self.gateways, &mut self.pipes)
    }

    /// Does what may lead to the end of the wait for a connection, and tells those that wait.
    fn try_gateway(
        &mut self,
        now: Instant,
        gateway: GatewayKey,
        act: impl FnOnce(&mut Step<'_>, &mut Gateways) -> Result<(), ConnectError>,
    ) {
        let (ref mut step, gateways, pipes) = self.step(now);
        if let Err(error) = act(step, gateways) {
            pipes.fail_waiting(step, gateway, &error);
        }
        self.settle(now);
    }

    /// A datagram that can't be QUIC's.
    fn handle_stun(&mut self, way: Way, datagram: &[u8]) {
        let answers = match Message::parse(datagram) {
            Ok(message) => self.discovery.handle(way.via, way.remote, &message, &mut self.events),
            Err(_) => false,
        };
        self.counters.unexpected += u64::from(!answers);
    }

    /// Both sockets are bound, or will never be.
    fn sockets_settled(&mut self, now: Instant, families: Families) {
        let (ref mut step, gateways, pipes) = self.step(now);
        for (gateway, error) in gateways.sockets_settled(step, families) {
            pipes.fail_waiting(step, gateway, &error);
        }
        self.discovery.sockets_settled(now, families, &mut self.events);
        self.settle(now);
    }

    /// Acts on what QUIC has to tell, until it has nothing more.
    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.quic.poll_event() {
            self.on_quic_event(now, event);
        }
        let (ref mut step, gateways, pipes) = self.step(now);
        for conn in gateways.deserted() {
            pipes.move_on(step.quic, conn);
        }
        // Those that waited for credit or an answer on a connection that is gone want another one.
        for gateway in pipes.awaited() {
            if let Err(error) = gateways.connect(step, gateway) {
                pipes.fail_waiting(step, gateway, &error);
            }
        }
        self.note_unused(now);
    }

    /// Pipes have left connections that they may have been the last on.
    fn note_unused(&mut self, now: Instant) {
        let (ref mut step, gateways, pipes) = self.step(now);
        for conn in pipes.take_left() {
            if !pipes.are_on(conn) {
                gateways.unused(now, conn);
            }
        }
        gateways.close_unused(step, |conn| pipes.are_on(conn));
    }

    fn on_quic_event(&mut self, now: Instant, event: quic::Event) {
        let (ref mut step, gateways, pipes) = self.step(now);
        match event {
            quic::Event::Connected { conn } => match gateways.connected(step, conn) {
                Ok(Some(gateway)) => {
                    pipes.start_waiting(step, gateway, conn);
                    if !pipes.are_on(conn) {
                        gateways.unused(now, conn);
                    }
                }
                Ok(None) => {}
                Err((gateway, error)) => pipes.fail_waiting(step, gateway, &error),
            },
            quic::Event::StreamsAvailable { conn } => {
                if let Some(gateway) = gateways.of(conn) {
                    pipes.start_waiting(step, gateway, conn);
                }
            }
            quic::Event::Closed { conn, reason } => {
                pipes.lost(step, conn, &reason);
                if let Err((gateway, error)) = gateways.closed(step, conn, reason) {
                    pipes.fail_waiting(step, gateway, &error);
                }
            }
            quic::Event::Readable { conn, stream } | quic::Event::Writable { conn, stream }
                if stream == control_stream() =>
            {
                gateways.control_ready(step, conn);
            }
            quic::Event::Readable { conn, stream } => pipes.readable(step, conn, stream),
            quic::Event::Writable { conn, stream } => pipes.writable(step, conn, stream),
            quic::Event::Stopped { conn, stream, .. } if stream == control_stream() => {
                step.quic.close(step.now, conn, Code::Protocol as u32, b"protocol error");
            }
            quic::Event::Stopped { conn, stream, .. } => pipes.stopped(step, conn, stream),
            // A gateway opens no streams; what it opens all the same is refused.
            quic::Event::StreamOpened { conn, stream } => {
                step.quic.stop(conn, stream, Code::Protocol as u32);
                step.quic.reset(conn, stream, Code::Protocol as u32);
            }
            quic::Event::Finished { .. } => {}
        }
    }
}

/// What every step needs beside the parts themselves.
struct Step<'a> {
    now: Instant,
    clock: Clock,
    quic: &'a mut quic::Endpoint,
    out: &'a mut VecDeque<Event>,
}

/// Whether a datagram is STUN's by its first two bits, of which QUIC sets the second (RFC 9443 §3; its greasing is off).
fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0b1100_0000 == 0)
}
