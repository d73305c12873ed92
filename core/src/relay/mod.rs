//! The TURN server (RFC 8656 over UDP, TCP, TLS and DTLS; allocations of TCP, RFC 6062) as a pure machine.
//!
//! How a client's data comes to flow, and where to read about it:
//!
//! 1. A datagram arrives on a listening socket. `forward` tells ChannelData from STUN by its first two bits.
//! 2. A Binding request is answered at once (`binding`). Any other request is authenticated (`request`); without
//!    valid credentials it is answered 401, 438 or 400 within the budget of its source (`budget`) and leaves no
//!    trace: nonces are stateless.
//! 3. An Allocate (`allocate`) takes an unpredictable port (`ports`), asks the driver to bind it, and is answered
//!    when that is done. From then on the `table` holds the allocation under its five-tuple and its sockets.
//! 4. Peers are permitted (`create_permission`) and bound to channels (`channel_bind`), as far as the policy and
//!    the relay's own ports allow it (`reach`).
//! 5. Data is forwarded both ways without a copy (`forward`); what ICMP says about it is told to the client (`icmp`).
//! 6. A Refresh (`refresh`) prolongs or ends the allocation, or gives it to its client at another address
//!    (`mobility`); time ends it otherwise.
//!
//! Clients that come by TCP (`links`), with TLS or without, are treated alike: their streams are cut into messages, and
//! what is sent to them waits in a bounded queue. So are those that come by DTLS (`dtls`), whose records are opened and
//! sealed. `via` is over what a client comes.
//!
//! An allocation may be of TCP: then connections are made and accepted for it, and their bytes are relayed (`tcp`).
//!
//! What a client may do is narrowed by its credentials (`rights`); renewed ones bring newer rights with any request.
//! Who runs the relay may change what it was told while it runs (`change`), end what a user has, and let what there is
//! run dry before it stops (`ending`).
//!
//! Several machines can be one relay, each a `shard` on a thread of its own: they count in one `ledger`, and a client that
//! comes to another one than has what it asks for is handed over (`hand_over`).
//!
//! Requests that arrive twice are answered alike: an Allocate with the very reply that it got, a Refresh that ended
//! its allocation from a short memory (`departed`), and everything else is the same when done twice.

mod allocate;
mod allocation;
mod binding;
mod budget;
mod change;
mod channel;
mod channel_bind;
mod config;
mod counters;
mod create_permission;
mod departed;
mod dtls;
mod ears;
mod ending;
mod event;
mod forward;
mod hand_over;
mod icmp;
mod ledger;
mod links;
mod listen;
mod mobility;
mod outbox;
mod permission;
mod ports;
mod quota;
mod reach;
mod refresh;
mod reply;
mod request;
mod rights;
mod shard;
mod sorted;
mod source;
mod table;
mod tcp;
mod token;
mod tuples;
mod via;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::io::{Completion, Datagrams, Effect, Forwards, SocketId, To, Transmit};
use crate::rand::{Rng, Seed};
use crate::time::{Clock, Deadline, UnixTime};
use crate::turn::nonce::Nonces;

pub use budget::ReplyBudget;
pub use config::{Config, RelayAddress};
pub use counters::{AuthFailure, ConnectionEnd, Counters, Drop, Flow, Holdings, LinkEnd, SessionEnd, Status};
pub use dtls::SessionLimits;
pub use ending::Alternates;
pub use event::{Event, Released, Usage};
pub use hand_over::{Guest, HandOver};
pub use ledger::Ledger;
pub use links::LinkLimits;
pub use listen::{Listen, Transport, Transports};
pub use shard::Shard;
pub use tcp::ConnectionLimits;
pub use via::Hop;

use allocation::AllocationId;
use departed::Departed;
use dtls::Sessions;
use ending::Ending;
use hand_over::Guests;
use links::Links;
use listen::Entrance;
use mobility::Tickets;
use outbox::Outbox;
use reach::Reach;
use table::{Expired, Socket, Table};
use tcp::Connections;
use token::Tokens;
use via::FiveTuple;

/// A TURN server.
#[derive(Debug)]
pub struct Relay {
    config: Config,
    clock: Clock,
    started: UnixTime,
    rng: Rng,
    nonces: Nonces,
    tickets: Tickets,
    tokens: Tokens,
    ledger: Arc<Ledger>,
    reach: Reach,
    /// The channel numbers that may be bound.
    channels: RangeInclusive<u16>,
    entrances: Vec<Entrance>,
    table: Table,
    links: Links,
    sessions: Sessions,
    connections: Connections,
    departed: Departed,
    ending: Ending,
    guests: Guests,
    outbox: Outbox,
    events: VecDeque<Event>,
    counters: Counters,
}

impl Relay {
    /// A relay that asks its driver for its listening sockets.
    pub fn new(config: Config, clock: Clock, now: Instant, seed: Seed) -> Self {
        let mut rng = Rng::new(seed);
        let (mut common, ledger) = config.shard.common(now, rng.fork());
        let mut relay = Self {
            nonces: Nonces::new(common.bytes(), config.nonce_lifetime),
            tickets: Tickets::new(&mut common, config.shard.index()),
            tokens: Tokens::new(&mut common, &config.shard),
            reach: Reach::new(&config),
            channels: config.channels(),
            entrances: Vec::new(),
            table: Table::new(&config, &ledger),
            links: Links::new(config.links.share(&config.shard)),
            sessions: Sessions::new(config.sessions.share(&config.shard)),
            connections: Connections::new(config.connections.share(&config.shard)),
            ledger,
            departed: Departed::default(),
            ending: Ending::default(),
            guests: Guests::default(),
            outbox: Outbox::default(),
            events: VecDeque::new(),
            counters: Counters::default(),
            config,
            clock,
            started: clock.unix(now),
            rng,
        };
        relay.open_entrances();
        relay
    }

    /// What it has done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        Status {
            since: self.started,
            allocations: self.allocations(),
            to_peers: self.counters.to_peers,
            to_clients: self.counters.to_clients,
            dropped: self.counters.dropped_in_all(),
            auth_failures: self.counters.auth_failures_in_all(),
        }
    }

    /// The number of allocations, those included whose sockets are being bound.
    pub fn allocations(&self) -> usize {
        self.table.len()
    }

    /// Panics unless all indexes say the same. Looks at everything: for simulations, tests and fuzzing, which ask for it
    /// by the feature `check`.
    #[cfg(any(test, feature = "check"))]
    pub fn check(&self) {
        self.table.check();
        self.links.check();
        self.sessions.check();
        self.connections.check(|link| self.links.end_of(link));
        self.check_ears();
    }

    /// What it holds at present. Nothing is counted for it, so that reports hold nobody up.
    pub fn holdings(&self) -> Holdings {
        let held = self.table.holdings();
        Holdings {
            waiting: self.outbox.len(),
            links: self.links.len(),
            link_bytes: self.links.waiting(),
            sessions: self.sessions.len(),
            connections: self.connections.len(),
            timers: held.timers + self.links.timers() + self.sessions.timers() + self.connections.timers(),
            ..held
        }
    }
}

/// The contract of all machines.
impl Relay {
    /// Datagrams of a client on a listening socket, or of a peer on a relayed one.
    pub fn handle_datagrams(&mut self, now: Instant, batch: Datagrams<'_>, out: &mut Forwards) {
        match self.table.socket(batch.socket) {
            Some(Socket::Listening(..)) => self.receive_from_client(now, &batch, out),
            Some(Socket::Relayed(id)) => self.receive_from_peer(now, id, &batch, out),
            Some(Socket::Ear(socket)) => {
                self.receive_from_client(now, &Datagrams { socket, ..batch }, out);
            }
            Some(Socket::Reserved) | None => self.counters.drop(Drop::UnknownSocket),
        }
    }

    /// The driver's answer to an effect.
    pub fn handle_completion(&mut self, now: Instant, done: Completion) {
        match done {
            Completion::Bound { socket, result } => self.bound(now, socket, result),
            Completion::TransportError { socket, peer, kind, mtu } => {
                self.transport_error(now, socket, peer, kind, mtu);
            }
            Completion::Writable { link } => self.links.writable(link),
            Completion::LinkOpened { link, .. } => self.link_opened(now, link),
            Completion::LinkFinished { link } => self.link_finished(now, link),
            Completion::LinkClosed { link, result } => self.link_closed(now, link, result),
            _ => {}
        }
        self.end_overflown(now);
    }

    /// The wall clock was set, or the machine slept. Allocations live by instants; only credentials and nonces are
    /// judged by unix time.
    pub fn handle_clock(&mut self, now: Instant, unix: UnixTime) {
        self.clock = Clock::new(now, Duration::from_secs(unix.0));
    }

    /// Clears away what has run out.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(expired) = self.table.expire(now) {
            match expired {
                Expired::Allocation(id) => self.expire(now, id),
                Expired::Reservation(socket) => self.effect(Effect::Unbind { socket }),
            }
        }
        self.expire_links(now);
        self.expire_sessions(now);
        self.expire_connections(now);
    }

    /// The next reply, or data that is not forwarded where it arrives.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: NonZeroUsize,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        if let Some(transmit) = self.outbox.poll(max_segments, out) {
            return Some(transmit);
        }
        let transmit = self.links.poll(now, out)?;
        if let To::Link(link) = transmit.to {
            self.handed_over(link);
        }
        Some(transmit)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let closed = |table: &mut Table| table.closed_ear().map(|socket| Effect::Unbind { socket });
        self.events.pop_front().or_else(|| closed(&mut self.table).map(Event::Effect))
    }

    /// When something runs out next.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        let hops = Deadline::earlier(self.links.next_deadline(), self.sessions.next_deadline());
        let peers = Deadline::earlier(self.table.next_deadline(), self.connections.next_deadline());
        Deadline::earlier(peers, hops)
    }
}

impl Relay {
    fn bound(&mut self, now: Instant, socket: SocketId, result: Result<SocketAddr, ErrorKind>) {
        match (self.table.socket(socket), result) {
            (Some(Socket::Listening(entrance, transport)), result) => {
                self.entrance_bound((entrance, transport), socket, result);
            }
            (Some(Socket::Relayed(id)), result) => self.relayed_bound(now, socket, id, result),
            (Some(Socket::Ear(listening)), result) => self.ear_bound(now, socket, listening, result),
            (Some(Socket::Reserved) | None, _) => {}
        }
    }

    fn expire(&mut self, now: Instant, id: AllocationId) {
        match self.table.get(id) {
            // The driver never said whether the sockets are bound.
            Some(allocation) if !allocation.is_live() => {
                self.abandon(id, &reply::Refusal::InsufficientCapacity);
            }
            _ => self.release(now, id, Released::Expired),
        }
    }

    /// Ends a live allocation.
    fn release(&mut self, now: Instant, id: AllocationId, reason: Released) {
        self.end_connections(id);
        let Some(allocation) = self.table.remove(id) else { return };
        for leg in allocation.sockets() {
            self.effect(Effect::Unbind { socket: leg.socket });
        }
        let (client, hop, usage) = (allocation.five_tuple.client, allocation.hop, allocation.usage(now));
        let (username, relayed) = (allocation.owner.username, self.relayed_addresses(&allocation.legs));
        self.events.push_back(Event::Released { client, hop, username, relayed, reason, usage });
        self.run_dry();
    }

    /// A link or a session has ended, and with it the allocation that hangs on it. Whose client has a ticket may come
    /// back by another one, for as long as the allocation lives (RFC 8016 §1).
    fn lose(&mut self, now: Instant, tuple: FiveTuple) {
        let Some((id, allocation)) = self.table.find(tuple) else { return };
        if !allocation.is_live() {
            self.abandon(id, &reply::Refusal::InsufficientCapacity);
        } else if allocation.mobility.is_none() {
            self.release(now, id, Released::Disconnected);
        }
    }

    fn effect(&mut self, effect: Effect) {
        self.events.push_back(Event::Effect(effect));
    }
}

#[cfg(test)]
mod tests;
