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

mod gateways;
mod pipes;
mod sockets;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::io::{Completion, Datagrams, Effect, Forwards, LinkId, PipeId, Read, To, Transmit, Write};
use crate::quic::{self, CloseReason, Way};
use crate::rand::Seed;
use crate::time::{Clock, Deadline, UnixTime, WallCell, Why};
use crate::tunnel::{Code, RejectCode, Target, control_stream};
use gateways::Gateways;
use pipes::Pipes;
use sockets::{Families, Sockets};

/// What a connector is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// The cell that the TLS configurations of all gateways read the time from.
    pub wall: WallCell,
    /// How long one address of a gateway may take to answer.
    pub connect_timeout: Duration,
    /// How long opening a pipe may take, connecting included.
    pub open_timeout: Duration,
    /// How many pipes there may be, over all gateways.
    pub max_pipes: usize,
    /// The limits of QUIC.
    pub quic: quic::Config,
}

impl Config {
    /// The defaults: 5 s for an address, 30 s for a pipe, 65,536 pipes.
    pub fn new(wall: WallCell) -> Self {
        Self {
            wall,
            connect_timeout: Duration::from_secs(5),
            open_timeout: Duration::from_secs(30),
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

/// A gateway of a connector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayKey(usize);

/// Why a pipe can't even be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The connector does not know such a gateway.
    #[error("the connector does not know this gateway")]
    UnknownGateway,
    /// There are [`Config::max_pipes`] already.
    #[error("too many pipes are open; try again later")]
    TooMany,
}

impl OpenError {
    /// Whether the same wish may be granted later: when other pipes have ended.
    pub fn is_retryable(self) -> bool {
        self == Self::TooMany
    }
}

/// Why no connection to a gateway came about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The connector has no address of the gateway.
    #[error("no address of the gateway is known: is it running?")]
    NoAddress,
    /// A socket could not be bound.
    #[error("no UDP socket could be bound ({0})")]
    Socket(ErrorKind),
    /// The last address that was tried ended like this.
    #[error("{reason} ({address})")]
    Closed {
        /// The relayed address.
        address: SocketAddr,
        /// Why the handshake ended.
        reason: CloseReason,
    },
    /// The TLS configuration can't be used for QUIC.
    #[error("the TLS configuration can't be used for QUIC")]
    Unusable,
}

impl ConnectError {
    /// Whether the same attempt may succeed later without anybody changing a certificate or a configuration.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoAddress => true,
            Self::Closed { reason, .. } => reason.is_retryable(),
            Self::Socket(_) | Self::Unusable => false,
        }
    }
}

/// Why a pipe was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The gateway refused it.
    #[error("{sentence} ({code})")]
    Rejected {
        /// Why, for programs.
        code: RejectCode,
        /// Why, for people; the gateway's own words.
        sentence: String,
    },
    /// There is no connection to the gateway.
    #[error("the gateway can't be reached: {0}")]
    NotConnected(ConnectError),
    /// The connection was lost before the answer came.
    #[error("the connection to the gateway was lost: {0}")]
    ConnectionLost(CloseReason),
    /// The stream was reset before the answer came, or right behind it: the target has hung up at once.
    #[error("the target ended the connection at once")]
    Reset,
    /// No answer came in time.
    #[error("the gateway did not answer in time")]
    TimedOut,
    /// The gateway's answer made no sense.
    #[error("the gateway broke the protocol")]
    Protocol,
}

impl Failure {
    /// Whether the same wish may be granted later without anybody changing a policy, a certificate or a
    /// configuration.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Rejected { code, .. } => code.is_retryable(),
            Self::NotConnected(error) => error.is_retryable(),
            Self::ConnectionLost(reason) => reason.is_retryable(),
            Self::Reset | Self::TimedOut => true,
            Self::Protocol => false,
        }
    }
}

/// News from a connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something that the driver is to do.
    Effect(Effect),
    /// A connection stands, and the gateway has accepted our certificate.
    Connected {
        /// The gateway.
        gateway: GatewayKey,
        /// The relayed address that it was reached by.
        address: SocketAddr,
    },
    /// No address of the gateway led to a connection. It is tried again for the next pipe.
    ConnectFailed {
        /// The gateway.
        gateway: GatewayKey,
        /// How the last attempt ended.
        error: ConnectError,
    },
    /// A connection that stood has ended. The next pipe makes a new one.
    Disconnected {
        /// The gateway.
        gateway: GatewayKey,
        /// Why.
        reason: CloseReason,
    },
    /// The target is open; bytes may flow.
    Opened {
        /// The pipe.
        pipe: PipeId,
        /// The address that the gateway dialled.
        address: SocketAddr,
    },
    /// The pipe was not opened, and is gone.
    Failed {
        /// The pipe.
        pipe: PipeId,
        /// Why.
        failure: Failure,
    },
    /// The gateway tells by which relayed addresses it can now be reached, best first. New connections use them.
    Paths {
        /// The gateway.
        gateway: GatewayKey,
        /// Its relayed addresses.
        addresses: Vec<SocketAddr>,
    },
    /// The gateway is about to leave: it takes no new pipes.
    Draining {
        /// The gateway.
        gateway: GatewayKey,
    },
    /// The answer to [`Connector::ping`].
    Pong {
        /// The gateway.
        gateway: GatewayKey,
        /// The time between the two, at the level of the tunnel.
        rtt: Duration,
    },
}

/// What a connector has dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams for a socket that does not exist (any more).
    pub unknown_socket: u64,
    /// Bytes of a link that does not exist.
    pub unknown_link: u64,
    /// Datagrams to send to a family that has no socket.
    pub no_socket: u64,
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
    events: VecDeque<Event>,
    counters: Counters,
}

impl Connector {
    /// A connector that knows no gateway yet.
    pub fn new(config: Config, clock: Clock, now: Instant, seed: Seed) -> Self {
        config.wall.set(clock.unix(now));
        let quic = quic::Endpoint::new(config.quic.clone(), config.wall.clone(), seed);
        let mut events = VecDeque::new();
        Self {
            clock,
            wall: config.wall.clone(),
            quic,
            sockets: Sockets::new(&mut events),
            gateways: Gateways::new(config.connect_timeout),
            pipes: Pipes::new(config.max_pipes, config.open_timeout),
            events,
            counters: Counters::default(),
        }
    }

    // --- what an application asks for ------------------------------------------------------------------------

    /// Makes a gateway known. No connection is made yet.
    pub fn add_gateway(&mut self, config: GatewayConfig) -> GatewayKey {
        self.gateways.add(config)
    }

    /// Replaces the addresses of a gateway. Where the present connection's address is not among them, the next
    /// pipe makes a new connection, and the old one lives on as long as its pipes. Those that are not open yet move
    /// to the new one.
    pub fn set_addresses(&mut self, now: Instant, gateway: GatewayKey, addresses: Vec<SocketAddr>) {
        self.gateways.set_addresses(gateway, addresses);
        self.settle(now);
    }

    /// Connects to the gateway, if there is no connection; `Connected` or `ConnectFailed` follows if there was
    /// none.
    pub fn connect(&mut self, now: Instant, gateway: GatewayKey) {
        let (ref mut step, gateways, pipes) = self.step(now);
        if let Some(conn) = gateways.current(gateway) {
            pipes.start_waiting(step, gateway, conn);
        } else if let Err(error) = gateways.connect(step, gateway) {
            pipes.fail_waiting(step, gateway, &error);
        }
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

    /// Asks the gateway for a sign of life; `Pong` follows. Nothing happens without a connection.
    pub fn ping(&mut self, now: Instant, gateway: GatewayKey) {
        let (ref mut step, gateways, _) = self.step(now);
        gateways.ping(step, gateway);
    }

    /// Ends all connections and attempts, and with them all pipes.
    pub fn close(&mut self, now: Instant) {
        let (ref mut step, gateways, pipes) = self.step(now);
        pipes.abandon_waiting(step);
        gateways.close(step);
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
    pub fn pipe_close(&mut self, _now: Instant, pipe: PipeId) {
        self.pipes.close(&mut self.quic, pipe);
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
            self.quic.handle(now, way, batch.ecn, datagram);
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
        self.wall.set(unix);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.wall.set(self.clock.unix(now));
        self.quic.handle_timeout(now);
        let (ref mut step, gateways, pipes) = self.step(now);
        for (gateway, error) in gateways.handle_timeout(step) {
            pipes.fail_waiting(step, gateway, &error);
        }
        pipes.handle_timeout(step);
        self.settle(now);
    }

    /// The next datagrams to send.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: NonZeroUsize,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        loop {
            out.clear();
            let outgoing = self.quic.poll_transmit(now, max_segments, out)?;
            match self.sockets.socket(outgoing.way.via) {
                Some(socket) => {
                    let to = To::Udp { socket, to: outgoing.way.remote };
                    return Some(Transmit { to, from: None, ecn: outgoing.ecn, stride: outgoing.stride });
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
        Deadline::earlier(self.quic.poll_timeout(), own.map(|at| Deadline { at, why: Why::Open }))
    }

    // --- how the parts work together -------------------------------------------------------------------------

    /// Everything that a step needs, borrowed side by side.
    fn step(&mut self, now: Instant) -> (Step<'_>, &mut Gateways, &mut Pipes) {
        self.wall.set(self.clock.unix(now));
        let step = Step { now, quic: &mut self.quic, out: &mut self.events };
        (step, &mut self.gateways, &mut self.pipes)
    }

    /// Both sockets are bound, or will never be.
    fn sockets_settled(&mut self, now: Instant, families: Families) {
        let (ref mut step, gateways, pipes) = self.step(now);
        for (gateway, error) in gateways.sockets_settled(step, families) {
            pipes.fail_waiting(step, gateway, &error);
        }
        self.settle(now);
    }

    /// Acts on what QUIC has to tell, until it has nothing more.
    fn settle(&mut self, now: Instant) {
        while let Some(event) = self.quic.poll_event() {
            self.on_quic_event(now, event);
        }
        let (ref mut step, gateways, pipes) = self.step(now);
        for conn in gateways.retired() {
            pipes.move_on(step.quic, conn);
        }
        gateways.close_unused(step, |conn| pipes.are_on(conn));
        // Those that waited for credit or an answer on a connection that is gone want another one.
        for gateway in pipes.awaited() {
            if let Err(error) = gateways.connect(step, gateway) {
                pipes.fail_waiting(step, gateway, &error);
            }
        }
    }

    fn on_quic_event(&mut self, now: Instant, event: quic::Event) {
        let (ref mut step, gateways, pipes) = self.step(now);
        match event {
            quic::Event::Connected { conn } => {
                if let Some(gateway) = gateways.connected(step, conn) {
                    pipes.start_waiting(step, gateway, conn);
                }
            }
            quic::Event::StreamsAvailable { conn } => {
                if let Some(gateway) = gateways.of(conn) {
                    pipes.start_waiting(step, gateway, conn);
                }
            }
            quic::Event::Closed { conn, reason } => {
                pipes.lost(step, conn, &reason);
                if let Some((gateway, error)) = gateways.closed(step, conn, reason) {
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
    quic: &'a mut quic::Endpoint,
    out: &'a mut VecDeque<Event>,
}
