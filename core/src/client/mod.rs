//! The TURN client machine: one allocation on one relay, kept alive (RFC 8489, RFC 8656).
//!
//! 1. A UDP socket of its own is bound, or a link opened; over DTLS and TLS there is a handshake (`hop`).
//! 2. Allocate, unsigned; the relay answers 401 with its realm and a nonce (`challenge`); Allocate again, signed
//!    (`transaction`).
//! 3. `Event::Allocated`: the relayed addresses (`allocation`).
//! 4. Permissions for every peer that the owner permitted, refreshed every four minutes (`permission`).
//! 5. Channels for every peer that the owner bound, rebound every eight minutes (`channel`).
//! 6. Data: what peers send comes out of `handle_datagrams` as runs for the owner; what the owner sends is framed by
//!    `encapsulate` (`data`).
//! 7. The allocation is refreshed at half its lifetime, and often enough to keep NATs open. When it is lost, for
//!    whatever reason, `Event::Lost` says why, and a new one is asked for on a new socket after a growing,
//!    jittered delay. Where only this client's address has changed, a ticket gets it back (RFC 8016, `allocation`).
//!
//! One client speaks one way. Whoever knows several ways to one relay tries them in turn (`fallback`).
//!
//! A response counts only if it comes from the relay's address, answers a request that waits, and is signed where
//! the request was; an error that is not counts when nothing better comes (`transaction`).

mod allocation;
mod challenge;
mod channel;
mod data;
mod event;
mod fallback;
mod hop;
mod permission;
mod transaction;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::io::{Arena, Close, Completion, Datagrams, Forwards, LinkId, SocketId, To, Transmit};
use crate::rand::{Rng, Seed};
use crate::secure::Failure;
use crate::time::{Clock, Deadline, DeadlineQueue, UnixTime, Why};
use crate::turn::credentials::Credentials;

pub use channel::{BindError, Readiness};
pub use event::{Counters, Event, Lost};
pub use fallback::{Fallback, PATIENCE};
pub use hop::{Over, Transport};
pub use permission::{MAX_PEERS, TooManyPeers};

use allocation::Allocation;
use challenge::Challenge;
use channel::Channels;
use hop::{Hop, Received};
use permission::Permissions;
use transaction::{Purpose, Transactions};

/// The first delay before a new attempt; it doubles up to [`MAX_BACKOFF`], ± 25 %.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// With the 25 %, no delay is longer than a minute.
const MAX_BACKOFF: Duration = Duration::from_secs(48);

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The relay.
    pub server: SocketAddr,
    /// What carries messages to it.
    pub transport: Transport,
    /// What it is shown.
    pub credentials: Credentials,
    /// Which relayed addresses are wanted.
    pub families: Families,
    /// The lifetime that is asked for; the relay decides. `None`: the relay's default.
    pub lifetime: Option<Duration>,
    /// How long the relay is left alone; at least 1 s. However long a lifetime it grants, the allocation is
    /// refreshed that often.
    ///
    /// A NAT in between may forget a silent client after as little as half a minute, whatever RFC 4787 REQ-5 asks
    /// for, and then no peer's first packet gets through. A Refresh keeps the NAT's mapping as a Binding indication
    /// would, and its answer tells as well that the relay lives and still has the allocation: a relay that was
    /// restarted, or a NAT, is found out in seconds.
    pub keep_alive: Duration,
    /// Whether the allocation is to be kept when this client's address changes, where the relay can do that (RFC 8016):
    /// a NAT in between was restarted, or [`rebind`](Client::rebind) is called.
    pub mobility: bool,
    /// The local address of the socket; a link comes from any. Port 0 is best: each new attempt then comes from a new
    /// port.
    pub bind: SocketAddr,
}

/// The families of the relayed addresses (RFC 8656 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both; IPv4 alone will do where the relay has no IPv6.
    Both,
}

impl Config {
    /// Over UDP, with IPv4 relayed addresses, the relay's lifetime, 25 s to keep alive, mobility, and any local address.
    pub fn new(server: SocketAddr, credentials: Credentials) -> Self {
        let any = if server.is_ipv4() {
            IpAddr::from(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::from(Ipv6Addr::UNSPECIFIED)
        };
        let bind = SocketAddr::new(any, 0);
        let keep_alive = Duration::from_secs(25);
        let transport = Transport::Udp;
        let families = Families::V4;
        Self { server, transport, credentials, families, lifetime: None, keep_alive, mobility: true, bind }
    }
}

/// A TURN client with one relay.
#[derive(Debug)]
pub struct Client {
    config: Config,
    rng: Rng,
    state: State,
    sockets: Arena<SocketId, ()>,
    links: Arena<LinkId, ()>,
    hop: Option<Hop>,
    /// What is still to be said by one that was given up.
    goodbye: Option<(Transmit, Vec<u8>)>,
    received: Received,
    scratch: Vec<u8>,
    /// The realm and nonce that requests are signed under, once the relay has told them.
    challenge: Option<Challenge>,
    transactions: Transactions,
    permissions: Permissions,
    channels: Channels,
    timers: DeadlineQueue<Timer>,
    events: VecDeque<Event>,
    failures: u32,
    /// The relay said that it has no second family.
    single: bool,
    /// Tickets are asked for: the relay has not said yet that it gives none.
    mobile: bool,
    counters: Counters,
}

/// Where the client stands.
#[derive(Debug)]
enum State {
    /// The hop is being made, or Allocate has not been answered.
    Allocating,
    /// There are relayed addresses.
    Allocated(Allocation),
    /// The last attempt failed; a timer runs.
    Waiting,
    /// Refresh with lifetime 0 has not been answered.
    Closing,
    /// The end.
    Closed,
}

/// What the client wakes up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    Retransmit(crate::stun::TransactionId),
    Handshake,
    Refresh,
    Permission(IpAddr),
    Channel(u16),
    Retry,
}

impl Timer {
    fn why(self) -> Why {
        match self {
            Self::Retransmit(_) => Why::Retransmit,
            Self::Handshake => Why::Handshake,
            Self::Refresh => Why::Refresh,
            Self::Permission(_) => Why::Permission,
            Self::Channel(_) => Why::Channel,
            Self::Retry => Why::Retry,
        }
    }
}

impl Client {
    /// A client that begins at once: the first event is the request for its socket.
    pub fn new(config: Config, _clock: Clock, _now: Instant, seed: Seed) -> Self {
        let mobile = config.mobility;
        let mut client = Self {
            config,
            rng: Rng::new(seed),
            state: State::Waiting,
            sockets: Arena::default(),
            links: Arena::default(),
            hop: None,
            goodbye: None,
            received: Received::default(),
            scratch: Vec::new(),
            challenge: None,
            transactions: Transactions::default(),
            permissions: Permissions::default(),
            channels: Channels::default(),
            timers: DeadlineQueue::default(),
            events: VecDeque::new(),
            failures: 0,
            single: false,
            mobile,
            counters: Counters::default(),
        };
        client.begin();
        client
    }

    /// The relay.
    pub fn server(&self) -> SocketAddr {
        self.config.server
    }

    /// The relayed addresses, IPv4 first; empty while there is no allocation.
    pub fn relayed(&self) -> &[SocketAddr] {
        match &self.state {
            State::Allocated(allocation) => allocation.relayed(),
            _ => &[],
        }
    }

    /// What was dropped, and how often requests had to be repeated.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Shows other credentials from now on. An allocation is refreshed with them at once, and what the relay has refused is
    /// asked for again; an attempt that failed is repeated at once. A relay that answers 441 (other relays than Adit's may) costs the allocation.
    pub fn set_credentials(&mut self, now: Instant, credentials: Credentials) {
        self.config.credentials = credentials;
        if let Some(challenge) = &mut self.challenge {
            challenge.rekey(&self.config.credentials);
        }
        match self.state {
            State::Allocated(_) => {
                self.refresh(now);
                // They may allow what the old ones did not.
                self.ask_denied_permissions(now);
                self.ask_refused_channels(now);
            }
            State::Allocating | State::Waiting => self.start_over(),
            State::Closing | State::Closed => {}
        }
    }

    /// This machine's address has changed, or is about to. The allocation is taken along to a new socket where the relay
    /// has given a ticket for it; otherwise there is a new one.
    pub fn rebind(&mut self, _now: Instant) {
        match &self.state {
            State::Allocated(allocation) if allocation.ticket().is_some() => {
                self.drop_requests();
                self.forget_hop(Close::Reset);
                self.begin_hop();
            }
            State::Allocated(_) | State::Allocating | State::Waiting => self.start_over(),
            State::Closing | State::Closed => {}
        }
    }

    /// Gives the allocation back: Refresh with lifetime 0 (RFC 8656 §8). [`Event::Closed`] follows.
    pub fn close(&mut self, now: Instant) {
        match self.state {
            State::Allocated(_) => self.release_allocation(now),
            // It is being given back already.
            State::Allocating if self.transactions.awaits(Purpose::Discard) => self.state = State::Closing,
            State::Allocating | State::Waiting => self.end(),
            State::Closing | State::Closed => {}
        }
    }

    /// Datagrams of the client's socket. What peers sent goes into `out` as runs for the owner.
    pub fn handle_datagrams(&mut self, now: Instant, batch: Datagrams<'_>, out: &mut Forwards) {
        let socket = self.hop.as_ref().and_then(Hop::socket).filter(|socket| socket.id == batch.socket);
        let Some(socket) = socket.filter(|_| batch.remote == self.config.server) else {
            self.counters.foreign += batch.len() as u64;
            return;
        };
        if socket.is_plain() {
            return self.receive(now, &batch, out);
        }
        for index in 0..batch.len() {
            self.receive_sealed(now, batch.segment(index));
        }
    }

    /// Bytes of the client's link; what peers sent is to be polled then.
    pub fn handle_bytes(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
        self.receive_bytes(now, link, bytes);
    }

    /// What peers sent in a hop other than plain UDP: to be taken after every call, until there is nothing more.
    pub fn poll_received(&mut self) -> Option<(SocketAddr, BytesMut)> {
        self.received.pop()
    }

    /// The answer to an effect, an ICMP error, or news of the link.
    pub fn handle_completion(&mut self, now: Instant, done: Completion) {
        self.on_completion(now, done);
    }

    /// The machine slept, or the clock was set: what the relay still remembers is uncertain, so that everything
    /// is refreshed at once.
    pub fn handle_clock(&mut self, now: Instant, _unix: UnixTime) {
        match self.state {
            State::Allocated(_) => {
                self.refresh(now);
                self.ask_all_permissions(now);
                self.rebind_all_channels(now);
            }
            State::Waiting => self.start_over(),
            _ => {}
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.session_timeout(now);
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Retransmit(id) => self.retransmit(now, id),
                Timer::Handshake => self.lose(now, Lost::Insecure(Failure::TimedOut)),
                Timer::Refresh => self.refresh(now),
                Timer::Permission(peer) => self.ask_permission(now, peer),
                Timer::Channel(number) => self.ask_channel(now, number),
                Timer::Retry => self.start_over(),
            }
        }
    }

    /// What the hop needs, or the next control message; over a link also what [`encapsulate`](Self::encapsulate) has
    /// left with it.
    pub fn poll_transmit(
        &mut self,
        _now: Instant,
        _max_segments: NonZeroUsize,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        self.next_transmit(out)
    }

    /// The next event or effect.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When `handle_timeout` is due.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let timer = self.timers.first().map(|(at, timer)| Deadline { at, why: timer.why() });
        let session = self.session_deadline().map(|at| Deadline { at, why: Why::Handshake });
        Deadline::earlier(timer, session)
    }

    /// Asks for a hop; the rest follows when it is there.
    fn begin(&mut self) {
        self.state = State::Allocating;
        self.single = false;
        self.begin_hop();
    }

    /// A new attempt from a new port: an allocation that the relay may still have on the old one would be in the
    /// way (437, RFC 8656 §7.4).
    fn start_over(&mut self) {
        self.forget(Close::Reset);
        self.begin();
    }

    /// The allocation is gone, or could not be had.
    fn lose(&mut self, now: Instant, reason: Lost) {
        if matches!(self.state, State::Closing | State::Closed) {
            return self.end();
        }
        self.forget(Close::Reset);
        self.state = State::Waiting;
        let retry_in = self.backoff(&reason);
        self.timers.set(Timer::Retry, now + retry_in);
        self.events.push_back(Event::Lost { reason, retry_in });
    }

    fn end(&mut self) {
        self.forget(Close::Finish);
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.events.push_back(Event::Closed);
        }
    }

    /// Forgets everything that belongs to the allocation and its hop. Which peers are permitted is kept.
    fn forget(&mut self, how: Close) {
        self.forget_hop(how);
        self.challenge = None;
        self.channels = Channels::default();
        self.permissions.forget_answers();
        self.drop_requests();
    }

    fn drop_requests(&mut self) {
        self.transactions = Transactions::default();
        self.timers = DeadlineQueue::default();
    }

    fn backoff(&mut self, reason: &Lost) -> Duration {
        let doubled = MIN_BACKOFF * 2u32.saturating_pow(self.failures.min(10));
        self.failures = self.failures.saturating_add(1);
        let base = doubled.clamp(reason.least_backoff(), MAX_BACKOFF);
        let span = u32::try_from(base.as_millis()).unwrap_or(u32::MAX) / 2;
        base - base / 4 + Duration::from_millis(self.rng.below(span).into())
    }

    fn to_server(&self, stride: usize, ecn: Option<crate::io::Ecn>) -> Option<Transmit> {
        let socket = self.hop.as_ref().and_then(Hop::socket).filter(|socket| socket.bound)?;
        let to = To::Udp { socket: socket.id, to: self.config.server };
        Some(Transmit { to, from: None, ecn, stride, whole: false })
    }
}
