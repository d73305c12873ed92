//! The relays of a gateway: a TURN client for each, and the way of QUIC's datagrams through them.
//!
//! A relay may be reached by several ways: UDP, DTLS, TCP, TLS. Each attempt by one of them is a *line*, with a client of
//! its own; one line serves, and others come and go beside it:
//!
//! ```text
//!             gives an allocation             a better one does
//!  Trying ───────────────────────▶ Serving ─────────────────────▶ Retired ──▶ closed, when no connection uses it
//!     │ no answer, or a failure       │ lost
//!     └──────────▶ the next way ◀─────┘
//! ```
//!
//! A peer that is seen for the first time gets a channel before QUIC answers it: in a Send indication, the
//! handshake's full-sized packets would not fit the smallest path. Until the channel is bound, the answers wait.

mod incoming;
mod line;
mod news;
mod outgoing;
mod state;
mod way;

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

pub use state::{RelayState, Standing};
pub use way::{RelayTrust, RelayWay, Unverifiable};

use super::{Event, RelayLost, Step};
use crate::client::{self, Client, Fallback};
use crate::io::{Arena, Close, Effect, Forwards, LinkId, SocketId, Transmit};
use crate::quic::Way;
use crate::rand::Rng;
use crate::time::{Deadline, DeadlineQueue, Why};
use crate::turn::credentials::Credentials;
use line::{Line, Role};

/// How many bytes may wait for channels, per relay.
const MAX_PARKED: usize = 256 * 1024;
/// How long an allocation is kept secret at most while its relay does not say whether it lets the peers in.
const LET_IN: Duration = Duration::from_secs(2);
/// How often it is looked whether a peer's channel, or a line that has served, is still used.
const IN_USE: Duration = Duration::from_secs(120);
/// After how long a name is resolved again that could not be, the first time.
const RESOLVE_AGAIN: Duration = Duration::from_secs(5);
/// The pause before a relay is tried again grows to that at most, ± 25 %; so that many gateways don't ask at once.
const MAX_PAUSE: Duration = Duration::from_secs(48);
/// The pause before a relay is tried again all of whose ways have failed; it doubles.
const ROUND_PAUSE: Duration = Duration::from_secs(1);

/// A relay to keep an allocation on.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The ways to it; at least one. They are tried from UDP over DTLS and TCP to TLS, and among equals in this order.
    pub ways: Vec<RelayWay>,
    /// The long-term credentials.
    pub credentials: Credentials,
    /// The families to allocate relayed addresses of.
    pub families: client::Families,
}

/// All relays of a gateway.
#[derive(Debug)]
pub(super) struct Relays {
    relays: Vec<Relay>,
    /// The ways of QUIC's connections name them by their places here.
    lines: Vec<Option<Line>>,
    /// The peers that all clients let in.
    permit: BTreeSet<IpAddr>,
    /// The sockets and links of all clients, under numbers of our own: each client counts from zero.
    sockets: Arena<SocketId, Owned<SocketId>>,
    links: Arena<LinkId, Owned<LinkId>>,
    timers: DeadlineQueue<Timer>,
    /// What clients say by what they have given up; each is sent before that is.
    goodbyes: VecDeque<(Transmit, Vec<u8>)>,
    /// When to look whether the channel to a peer is still used.
    channels: DeadlineQueue<Way>,
    rng: Rng,
    forwards: Forwards,
    /// The addresses that peers can use are others now, for another reason than a client's news.
    changed: bool,
    closing: bool,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    /// A relay that could not be reached, or a name that could not be resolved, is tried again.
    Again(usize),
    /// Better ways to a relay are tried.
    Improve(usize),
    /// A line has had its time, and there are other ways.
    Patience(usize),
    /// The name of a line's relay is resolved again.
    Resolve(usize),
    /// A line's addresses are told: a connector that comes before its permission is installed loses its first packets,
    /// and with them a second.
    Secret(usize),
    /// A line that has served may not be used any more.
    Retire(usize),
}

impl Timer {
    fn why(self) -> Why {
        match self {
            Self::Secret(_) => Why::Permission,
            Self::Retire(_) => Why::Channel,
            _ => Why::Retry,
        }
    }
}

#[derive(Debug)]
struct Relay {
    config: RelayConfig,
    fallback: Fallback,
    /// It is not wanted any more, and its place is free when its lines are gone.
    removed: bool,
    standing: Standing,
    /// How many rounds have failed since there was an allocation: which address of a name is next, and how long to wait.
    silent: u32,
    /// What the ways of this round have failed for, so far.
    trouble: Option<RelayLost>,
}

#[derive(Debug, Clone, Copy)]
struct Owned<I> {
    line: usize,
    /// The client's own number.
    own: I,
}

impl Relays {
    pub(super) fn new(configs: Vec<RelayConfig>, permit: BTreeSet<IpAddr>, now: Instant, rng: Rng) -> Self {
        Self {
            relays: configs.into_iter().map(|config| Relay::new(config, now)).collect(),
            lines: Vec::new(),
            permit,
            sockets: Arena::default(),
            links: Arena::default(),
            timers: DeadlineQueue::default(),
            goodbyes: VecDeque::new(),
            channels: DeadlineQueue::default(),
            rng,
            forwards: Forwards::default(),
            changed: false,
            closing: false,
        }
    }

    /// The relayed addresses that peers can use, in the order of the relays.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let open = |place: &usize| self.timers.get(Timer::Secret(*place)).is_none();
        let serving = (0..self.relays.len()).filter_map(|relay| self.serving(relay)).filter(open);
        serving.filter_map(|place| self.lines[place].as_ref()).flat_map(|line| line.relayed.clone()).collect()
    }

    /// The number of sockets and links.
    pub(super) fn sockets(&self) -> usize {
        self.sockets.len() + self.links.len()
    }

    /// How many bytes wait for channels.
    pub(super) fn parked(&self) -> usize {
        self.lines.iter().flatten().map(|line| line.parked_bytes).sum()
    }

    pub(super) fn deadline(&self) -> Option<Deadline> {
        let timers = self.timers.first().map(|(at, timer)| Deadline { at, why: timer.why() });
        let channels = self.channels.next().map(|at| Deadline { at, why: Why::Channel });
        [timers, channels, self.clients().filter_map(Client::poll_timeout).min()]
            .into_iter()
            .fold(None, Deadline::earlier)
    }

    pub(super) fn start(&mut self, step: &mut Step<'_>) {
        for relay in 0..self.relays.len() {
            self.begin(step, relay);
        }
    }

    /// Takes one more relay, in a place that is free or behind the others.
    pub(super) fn add(&mut self, step: &mut Step<'_>, config: RelayConfig) -> usize {
        let is_free = |place: &usize| self.relays[*place].removed && self.lines_of(*place).next().is_none();
        let free = (0..self.relays.len()).find(is_free);
        let place = free.unwrap_or(self.relays.len());
        match free {
            Some(place) => self.relays[place] = Relay::new(config, step.now),
            None => self.relays.push(Relay::new(config, step.now)),
        }
        self.begin(step, place);
        place
    }

    /// Gives the allocation on a relay back, and tries no more to have one.
    pub(super) fn remove(&mut self, step: &mut Step<'_>, relay: usize) {
        self.timers.cancel(Timer::Again(relay));
        self.timers.cancel(Timer::Improve(relay));
        let Some(entry) = self.relays.get_mut(relay) else { return };
        entry.removed = true;
        for line in self.lines_of(relay).collect::<Vec<_>>() {
            self.leave(step, line);
        }
    }

    /// Shows a relay other credentials from now on; an allocation is kept where the relay allows it.
    pub(super) fn set_credentials(&mut self, step: &mut Step<'_>, relay: usize, credentials: Credentials) {
        let Some(entry) = self.relays.get_mut(relay) else { return };
        entry.config.credentials = credentials.clone();
        for line in self.lines.iter_mut().flatten().filter(|line| line.relay == relay) {
            if let Some(client) = &mut line.client {
                client.set_credentials(step.now, credentials.clone());
            }
        }
    }

    /// Lets in who is permitted now, and was not yet.
    pub(super) fn permit(&mut self, step: &mut Step<'_>) {
        let new: Vec<IpAddr> = step.permits.current().difference(&self.permit).copied().collect();
        for peer in new {
            self.permit.insert(peer);
            for client in self.clients_mut() {
                client.permit(step.now, peer).expect("there are at most as many peers as a client takes");
            }
        }
    }

    /// Lets nobody in from `peer` any more, and gives up what leads there.
    pub(super) fn forbid(&mut self, peer: IpAddr) {
        self.permit.remove(&peer);
        for client in self.clients_mut() {
            client.release_channels(peer);
            client.forbid(peer);
        }
    }

    pub(super) fn handle_clock(&mut self, step: &mut Step<'_>) {
        let unix = step.unix();
        for client in self.clients_mut() {
            client.handle_clock(step.now, unix);
        }
        // Who slept may wake up in another network.
        for relay in 0..self.relays.len() {
            self.relays[relay].fallback.forget();
            if self.timers.get(Timer::Improve(relay)).is_some() {
                self.plan_improvement(step.now, relay);
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, step: &mut Step<'_>) {
        while let Some(timer) = self.timers.pop_due(step.now) {
            match timer {
                Timer::Again(relay) => self.begin(step, relay),
                Timer::Improve(relay) => self.improve(step, relay),
                Timer::Patience(line) => self.give_up(step, line),
                Timer::Resolve(line) => self.locate(step, line),
                Timer::Secret(_) => self.changed = true,
                Timer::Retire(line) => self.retire(step, line),
            }
        }
        while let Some(way) = self.channels.pop_due(step.now) {
            self.review_channel(step, way);
        }
        for client in self.clients_mut() {
            client.handle_timeout(step.now);
        }
        self.take_all_received(step);
    }

    /// Gives the allocations back, and asks for no more.
    pub(super) fn close(&mut self, step: &mut Step<'_>) {
        self.closing = true;
        self.timers = DeadlineQueue::default();
        for line in 0..self.lines.len() {
            self.leave(step, line);
        }
        // Nobody is told of addresses that are gone: whoever listens hears that all is.
        self.changed = false;
    }

    /// Gives up what could not be given back: relays find out when the allocations run out.
    pub(super) fn abandon(&mut self, step: &mut Step<'_>) {
        for mut line in std::mem::take(&mut self.lines).into_iter().flatten() {
            line.unpark_all(step);
        }
        self.timers = DeadlineQueue::default();
        self.channels = DeadlineQueue::default();
        for (socket, _) in std::mem::take(&mut self.sockets).iter() {
            step.out.push_back(Event::Effect(Effect::Unbind { socket }));
        }
        for (link, _) in std::mem::take(&mut self.links).iter() {
            step.out.push_back(Event::Effect(Effect::CloseLink { link, how: Close::Reset }));
        }
    }

    /// Whether all allocations are given back, and nothing is left.
    pub(super) fn are_closed(&self) -> bool {
        self.lines.iter().all(Option::is_none)
    }

    fn clients(&self) -> impl Iterator<Item = &Client> {
        self.lines.iter().flatten().filter_map(|line| line.client.as_ref())
    }

    fn clients_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        self.lines.iter_mut().flatten().filter_map(|line| line.client.as_mut())
    }

    /// The places of a relay's lines.
    fn lines_of(&self, relay: usize) -> impl Iterator<Item = usize> + '_ {
        let of = move |line: &Option<Line>| line.as_ref().is_some_and(|line| line.relay == relay);
        (0..self.lines.len()).filter(move |&place| of(&self.lines[place]))
    }

    /// The line that a relay's addresses belong to.
    fn serving(&self, relay: usize) -> Option<usize> {
        self.lines_of(relay).find(|&line| self.role(line) == Some(Role::Serving))
    }

    fn role(&self, line: usize) -> Option<Role> {
        self.lines.get(line)?.as_ref().map(|line| line.role)
    }

    fn line_mut(&mut self, line: usize) -> Option<&mut Line> {
        self.lines.get_mut(line)?.as_mut()
    }
}

impl Relay {
    fn new(mut config: RelayConfig, now: Instant) -> Self {
        config.ways.sort_by_key(|way| way.transport.over());
        Self {
            fallback: Fallback::new(config.ways.len()),
            config,
            removed: false,
            standing: Standing::Trying { since: now },
            silent: 0,
            trouble: None,
        }
    }
}

/// The way of a peer through a line, as QUIC knows it.
fn way(line: usize, peer: SocketAddr) -> Way {
    Way { via: u32::try_from(line).unwrap_or(u32::MAX), remote: peer }
}
