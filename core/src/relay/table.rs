//! All allocations, and every index of them: by five-tuple, by relayed socket, by time, by user, by port. Nobody else
//! holds one, so `Table::check`, which tests call, states all that must agree.

#[cfg(any(test, feature = "check"))]
mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allocation::{Allocation, AllocationId, Leg, Owner, Phase};
use super::channel::Refusal;
use super::config::{Config, IpVersion};
use super::counters::{Flow, Holdings};
use super::ears::Ears;
use super::ledger::Ledger;
use super::listen::Transport;
use super::mobility::Mobility;
use super::permission::Full;
use super::ports::{Parity, Ports};
use super::quota::{Exceeded, Quota, UserId, Way};
use super::rights::Rights;
use super::token::Token;
use super::tuples::Tuples;
use super::via::{FiveTuple, Hop, Path, Via};
use crate::io::{Arena, SocketId};
use crate::rand::Rng;
use crate::stun::TransactionId;
use crate::time::{Deadline, DeadlineQueue, Why};

/// How long a driver may take to bind the sockets of an allocation.
const PENDING_LIFETIME: Duration = Duration::from_secs(10);

/// How long a reserved port waits for its allocation (RFC 8656 §7.2 recommends at least 30 s).
const RESERVATION_LIFETIME: Duration = Duration::from_secs(30);

/// All allocations and their indexes.
#[derive(Debug)]
pub(super) struct Table {
    allocations: Arena<AllocationId, Allocation>,
    pub(super) sockets: Arena<SocketId, Socket>,
    tuples: Tuples,
    reservations: BTreeMap<Token, Reservation>,
    ports_v4: Ports,
    ports_v6: Ports,
    ledger: Arc<Ledger>,
    quota: Quota,
    pub(super) ears: Ears,
    timers: DeadlineQueue<Timer>,
    /// Channels of all allocations: whoever asks how the relay is doing must not hold it up by counting. Permissions
    /// are the deadlines that are left.
    channels: usize,
}

/// What a socket of the relay is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Socket {
    /// Clients come to it: to which listening address of the configuration, and over what.
    Listening(usize, Transport),
    /// A relayed address of the allocation.
    Relayed(AllocationId),
    /// Its port waits for an allocation.
    Reserved,
    /// It is connected to a client of the listening socket.
    Ear(SocketId),
}

/// A port that was bound as the neighbour of an even one (RFC 8656 §7.2). It counts against its user's quota like an
/// allocation, or somebody could reserve all there are.
#[derive(Debug)]
struct Reservation {
    leg: Leg,
    /// Only this user may have it.
    owner: Arc<str>,
    user: UserId,
}

/// What runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    Allocation(AllocationId),
    Permission(AllocationId, IpAddr),
    Channel(AllocationId, u16),
    Reservation(Token),
}

/// What has run out, and is for the relay to clear away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expired {
    /// An allocation.
    Allocation(AllocationId),
    /// The socket of a reserved port.
    Reservation(SocketId),
}

/// Making and ending allocations.
impl Table {
    pub(super) fn new(config: &Config, ledger: &Arc<Ledger>) -> Self {
        let ports = config.shard.ports(config.relayed_ports());
        let quota = Quota::new(Arc::clone(ledger), config.user_quota, config.total_quota, config.max_rate);
        Self {
            allocations: Arena::default(),
            sockets: Arena::default(),
            tuples: Tuples::default(),
            reservations: BTreeMap::new(),
            ports_v4: Ports::new(ports.clone()),
            ports_v6: Ports::new(ports),
            ledger: Arc::clone(ledger),
            quota,
            ears: Ears::default(),
            timers: DeadlineQueue::default(),
            channels: 0,
        }
    }

    /// A socket for clients of the `entrance`th listening address.
    pub(super) fn listen(&mut self, entrance: usize, transport: Transport) -> SocketId {
        self.sockets.insert(Socket::Listening(entrance, transport))
    }

    /// A socket for clients is no more.
    pub(super) fn stop_listening(&mut self, socket: SocketId) {
        if matches!(self.socket(socket), Some(Socket::Listening(..))) {
            self.sockets.remove(socket);
        }
    }

    /// Counts so many more allocations of `owner`.
    ///
    /// # Errors
    /// [`Exceeded`] when they may not have so many.
    pub(super) fn count_in(&mut self, owner: &Owner, wanted: u32) -> Result<UserId, Exceeded> {
        self.quota.add(&owner.id, owner.rights.max_allocations, wanted)
    }

    /// Enters an allocation without sockets, which is counted already: twice where it is to be one of a pair.
    ///
    /// # Panics
    /// When its five-tuple is taken, or when it is live already.
    pub(super) fn begin(&mut self, now: Instant, allocation: Allocation) -> AllocationId {
        assert!(!allocation.is_live() && allocation.sockets().next().is_none());
        let tuple = allocation.five_tuple;
        assert!(self.find(tuple).is_none(), "the caller has looked");
        let id = self.allocations.insert(allocation);
        self.tuples.insert(tuple, id);
        self.timers.set(Timer::Allocation(id), now + PENDING_LIFETIME);
        id
    }

    /// Gives a pending allocation a port of `version`; under [`Parity::Pair`] its companion as well. Returns the
    /// sockets to bind: one, two, or none when there is no suitable port.
    pub(super) fn add_leg(
        &mut self,
        rng: &mut Rng,
        id: AllocationId,
        version: IpVersion,
        parity: Parity,
    ) -> Vec<Leg> {
        let Some(port) = self.ports(version).take(rng, parity) else { return Vec::new() };
        let mut leg = |port| {
            let socket = self.sockets.insert(Socket::Relayed(id));
            Leg { version, socket, port, bound: false }
        };
        let first = leg(port);
        let companion = (parity == Parity::Pair).then(|| leg(port + 1));
        let allocation = self.allocations.get_mut(id).expect("the caller holds a pending allocation");
        allocation.legs.push(first);
        allocation.pending_mut().expect("the allocation is pending").companion = companion;
        std::iter::once(first).chain(companion).collect()
    }

    /// Takes the sockets of `version` from a pending allocation, and the companion with them. Returns them.
    pub(super) fn remove_legs(&mut self, id: AllocationId, version: IpVersion) -> Vec<Leg> {
        let Some(allocation) = self.allocations.get_mut(id) else { return Vec::new() };
        let removed: Vec<Leg> = allocation.sockets().filter(|leg| leg.version == version).collect();
        allocation.legs.retain(|leg| leg.version != version);
        if let Some(pending) = allocation.pending_mut() {
            pending.companion = pending.companion.filter(|leg| leg.version != version);
        }
        for &leg in &removed {
            self.forget(leg);
        }
        removed
    }

    /// Notes that a socket of a pending allocation is bound.
    pub(super) fn mark_bound(&mut self, socket: SocketId) {
        let Some(&Socket::Relayed(id)) = self.sockets.get(socket) else { return };
        let Some(allocation) = self.allocations.get_mut(id) else { return };
        let companion = match &mut allocation.phase {
            Phase::Pending(pending) => pending.companion.as_mut(),
            Phase::Live { .. } => None,
        };
        if let Some(leg) = allocation.legs.iter_mut().chain(companion).find(|leg| leg.socket == socket) {
            leg.bound = true;
            self.ledger.note_port(leg.version, leg.port, true);
        }
    }

    /// Notes that a pending allocation gets no address of `version`, and the code of why.
    pub(super) fn lack(&mut self, id: AllocationId, version: IpVersion, code: u16) {
        if let Some(pending) = self.allocations.get_mut(id).and_then(Allocation::pending_mut) {
            pending.missing = Some((version, code));
        }
    }

    /// Counts one more attempt of a pending allocation to get a port. Returns how many there were.
    pub(super) fn count_retry(&mut self, id: AllocationId) -> u32 {
        let Some(pending) = self.allocations.get_mut(id).and_then(Allocation::pending_mut) else {
            return u32::MAX;
        };
        pending.retries += 1;
        pending.retries
    }

    /// Keeps the companion of a pending allocation, whose sockets are all bound, for whoever brings `token`.
    pub(super) fn reserve(&mut self, now: Instant, id: AllocationId, token: Token) {
        let Some(allocation) = self.allocations.get_mut(id) else { return };
        let (owner, user) = (Arc::clone(&allocation.owner.id), allocation.user);
        let Some(pending) = allocation.pending_mut() else { return };
        let Some(leg) = pending.companion.take() else { return };
        // What it was counted for as one of a pair goes with the other.
        pending.parity = Parity::Even;
        if let Some(socket) = self.sockets.get_mut(leg.socket) {
            *socket = Socket::Reserved;
        }
        self.reservations.insert(token, Reservation { leg, owner, user });
        self.timers.set(Timer::Reservation(token), now + RESERVATION_LIFETIME);
    }

    /// As whose it is counted, where `token` names a port that is reserved for `owner`.
    pub(super) fn reserved(&self, token: Token, owner: &str) -> Option<UserId> {
        let reservation = self.reservations.get(&token)?;
        (*reservation.owner == *owner).then_some(reservation.user)
    }

    /// Gives up the ports that are reserved for the users of these ids. Returns their sockets, which are to be unbound.
    pub(super) fn remove_reservations(&mut self, users: &BTreeSet<&str>) -> Vec<SocketId> {
        let theirs = |(_, reservation): &(&Token, &Reservation)| users.contains(&*reservation.owner);
        let tokens: Vec<Token> = self.reservations.iter().filter(theirs).map(|(&token, _)| token).collect();
        tokens.into_iter().filter_map(|token| self.remove_reservation(token)).collect()
    }

    fn remove_reservation(&mut self, token: Token) -> Option<SocketId> {
        let Reservation { leg, user, .. } = self.reservations.remove(&token)?;
        self.timers.cancel(Timer::Reservation(token));
        self.quota.subtract(user, 1);
        self.forget(leg);
        Some(leg.socket)
    }

    /// Gives the reserved port of `token` to the pending allocation, and what it was counted for. Its socket is bound already.
    pub(super) fn claim(&mut self, token: Token, id: AllocationId) {
        let Some(reservation) = self.reservations.remove(&token) else { return };
        self.timers.cancel(Timer::Reservation(token));
        let leg = reservation.leg;
        if let Some(socket) = self.sockets.get_mut(leg.socket) {
            *socket = Socket::Relayed(id);
        }
        let allocation = self.allocations.get_mut(id).expect("the caller holds a pending allocation");
        allocation.legs.push(leg);
    }

    /// Makes a pending allocation live, until `expiry`. Its companion must have been reserved before.
    pub(super) fn grant(
        &mut self,
        id: AllocationId,
        transaction: TransactionId,
        reply: Box<[u8]>,
        expiry: Instant,
    ) {
        let Some(allocation) = self.allocations.get_mut(id) else { return };
        debug_assert!(allocation.pending().is_some_and(|pending| pending.companion.is_none()));
        allocation.phase = Phase::Live { transaction, reply };
        self.timers.set(Timer::Allocation(id), expiry);
    }

    /// Moves the end of a live allocation to `expiry`.
    pub(super) fn refresh(&mut self, id: AllocationId, expiry: Instant) {
        debug_assert!(self.get(id).is_some_and(Allocation::is_live));
        self.timers.set(Timer::Allocation(id), expiry);
    }

    /// Gives a live allocation to the client at `path`. The five-tuple at which the client is known to be serves as well
    /// until something else comes from the new one: the one that it has, where the client has `answered` from there, or
    /// else still the one before. Returns where the client was.
    pub(super) fn relocate(&mut self, id: AllocationId, path: Path, hop: Hop, answered: bool) -> SocketAddr {
        let (tuple, local) = (path.five_tuple(), path.local);
        assert!(self.find(tuple).is_none(), "the caller has looked");
        let allocation = self.allocations.get_mut(id).expect("the caller holds a live allocation");
        let (had, before) = (allocation.five_tuple, allocation.former);
        let (kept, left) = if answered { (Some(had), before) } else { (before, Some(had)) };
        (allocation.five_tuple, allocation.former, allocation.local) = (tuple, kept, local);
        allocation.hop = hop;
        if let Some(left) = left {
            self.leave(left, id);
        }
        self.tuples.insert(tuple, id);
        had.client
    }

    /// Something has come from `tuple`. Where that is the new five-tuple of an allocation, the old one is forgotten.
    pub(super) fn arrive(&mut self, id: AllocationId, tuple: FiveTuple) {
        let moved = self.allocations.get_mut(id).filter(|it| it.five_tuple == tuple && it.former.is_some());
        if let Some(former) = moved.and_then(|allocation| allocation.former.take()) {
            self.leave(former, id);
        }
    }

    /// Notes how an allocation may move.
    pub(super) fn set_mobility(&mut self, id: AllocationId, mobility: Mobility) {
        if let Some(allocation) = self.allocations.get_mut(id) {
            allocation.mobility = Some(mobility);
        }
    }

    /// Ends an allocation. Its sockets are to be unbound.
    pub(super) fn remove(&mut self, id: AllocationId) -> Option<Allocation> {
        let allocation = self.allocations.remove(id)?;
        for tuple in allocation.former.into_iter().chain([allocation.five_tuple]) {
            self.leave(tuple, id);
        }
        self.quota.subtract(allocation.user, allocation.counted());
        self.timers.cancel(Timer::Allocation(id));
        for peer in allocation.permissions.peers() {
            self.timers.cancel(Timer::Permission(id, peer));
        }
        for number in allocation.channels.numbers() {
            self.timers.cancel(Timer::Channel(id, number));
        }
        self.channels -= allocation.channels.len();
        for leg in allocation.sockets() {
            self.forget(leg);
        }
        Some(allocation)
    }

    fn leave(&mut self, tuple: FiveTuple, id: AllocationId) {
        self.tuples.remove(tuple, id);
        if let Via::Udp(listening) = tuple.via {
            self.close_ear(listening, tuple.client);
        }
    }

    fn forget(&mut self, leg: Leg) {
        self.sockets.remove(leg.socket);
        self.ports(leg.version).give_back(leg.port);
        if leg.bound {
            self.ledger.note_port(leg.version, leg.port, false);
        }
    }

    /// Whether a relayed address of that version has the port, in whichever shard. One that is yet to be bound may turn out
    /// to be another program's.
    pub(super) fn is_relayed(&self, version: IpVersion, port: u16) -> bool {
        self.ledger.is_relayed(version, port)
    }

    fn ports(&mut self, version: IpVersion) -> &mut Ports {
        match version {
            IpVersion::V4 => &mut self.ports_v4,
            IpVersion::V6 => &mut self.ports_v6,
        }
    }
}

/// What a live allocation permits.
impl Table {
    /// Installs or refreshes permissions: all of them, or none when there is no room.
    pub(super) fn permit(&mut self, now: Instant, id: AllocationId, peers: &[IpAddr]) -> Result<(), Full> {
        let Some(allocation) = self.allocations.get_mut(id) else { return Ok(()) };
        allocation.permissions.room_for(peers)?;
        for &peer in peers {
            let expiry = allocation.permissions.install(now, peer)?;
            self.timers.set(Timer::Permission(id, peer), expiry);
        }
        Ok(())
    }

    /// Binds or refreshes a channel, and the permission of its peer with it (RFC 8656 §12.2).
    pub(super) fn bind_channel(
        &mut self,
        now: Instant,
        id: AllocationId,
        number: u16,
        peer: SocketAddr,
    ) -> Result<(), Refusal> {
        let Some(allocation) = self.allocations.get_mut(id) else { return Ok(()) };
        allocation.channels.judge(number, peer)?;
        let permitted = allocation.permissions.install(now, peer.ip()).map_err(|Full| Refusal::Full)?;
        let before = allocation.channels.len();
        let bound = allocation.channels.bind(now, number, peer)?;
        self.channels += allocation.channels.len() - before;
        self.timers.set(Timer::Permission(id, peer.ip()), permitted);
        self.timers.set(Timer::Channel(id, number), bound);
        Ok(())
    }
}

/// What its client's credentials allow.
impl Table {
    /// Replaces the rights of an allocation. Peers that they do not permit lose their permissions and channels.
    pub(super) fn set_rights(&mut self, id: AllocationId, rights: Rights) {
        self.keep_peers_of(id, |peer| rights.permit(peer));
        if let Some(allocation) = self.allocations.get_mut(id) {
            allocation.owner.rights = rights;
        }
    }

    /// Takes from all allocations what they have for peers that `permit` denies.
    pub(super) fn keep_peers(&mut self, permit: impl Fn(IpAddr) -> bool) {
        let ids: Vec<AllocationId> = self.allocations.iter().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.keep_peers_of(id, &permit));
    }

    /// How many bytes a second are relayed for each user from now on.
    pub(super) fn set_rate(&mut self, rate: Option<NonZeroU64>) {
        self.quota.set_rate(rate);
    }

    /// Notes what was sent on for an allocation.
    pub(super) fn count(&mut self, id: AllocationId, way: Way, more: Flow) {
        if let Some(allocation) = self.allocations.get_mut(id) {
            allocation.relayed[way as usize].gain(more);
        }
    }

    /// Whether so many bytes may be relayed now for the owner of an allocation; they are counted if so.
    pub(super) fn spend(&mut self, now: Instant, id: AllocationId, way: Way, len: usize) -> bool {
        let user = self.allocations.get(id).map(|allocation| allocation.user);
        user.is_none_or(|user| self.quota.spend(now, user, way, len))
    }

    /// Counts so many bytes as relayed for the owner of an allocation. When the next may follow, if not at once.
    pub(super) fn charge(&mut self, now: Instant, id: AllocationId, way: Way, len: usize) -> Option<Instant> {
        let user = self.allocations.get(id)?.user;
        self.quota.charge(now, user, way, len)
    }

    /// How many allocations there may be from now on.
    pub(super) fn set_quotas(&mut self, per_user: Option<u32>, total: Option<u32>) {
        self.quota.set(per_user, total);
    }

    /// Takes from an allocation the permissions and channels of peers that `permit` denies.
    fn keep_peers_of(&mut self, id: AllocationId, permit: impl Fn(IpAddr) -> bool) {
        let Some(allocation) = self.allocations.get_mut(id) else { return };
        let peers: Vec<IpAddr> = allocation.permissions.peers().filter(|&peer| !permit(peer)).collect();
        for peer in peers {
            allocation.permissions.remove(peer);
            self.timers.cancel(Timer::Permission(id, peer));
        }
        let channels: Vec<(u16, SocketAddr)> =
            allocation.channels.bindings().filter(|(_, peer)| !permit(peer.ip())).collect();
        self.channels -= channels.len();
        for (number, _) in channels {
            allocation.channels.remove(number);
            self.timers.cancel(Timer::Channel(id, number));
        }
    }
}

/// Looking, and time.
impl Table {
    pub(super) fn get(&self, id: AllocationId) -> Option<&Allocation> {
        self.allocations.get(id)
    }

    /// The allocation of a five-tuple, pending or live.
    pub(super) fn find(&self, tuple: FiveTuple) -> Option<(AllocationId, &Allocation)> {
        self.tuples.find(tuple, &self.allocations)
    }

    /// The live allocation of a five-tuple.
    pub(super) fn live(&self, tuple: FiveTuple) -> Option<(AllocationId, &Allocation)> {
        self.find(tuple).filter(|(_, allocation)| allocation.is_live())
    }

    pub(super) fn socket(&self, socket: SocketId) -> Option<Socket> {
        self.sockets.get(socket).copied()
    }

    /// Removes the permissions and channels that have run out; returns the next thing that the relay must clear away.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Expired> {
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Allocation(id) => return Some(Expired::Allocation(id)),
                Timer::Permission(id, peer) => {
                    if let Some(allocation) = self.allocations.get_mut(id) {
                        allocation.permissions.remove(peer);
                    }
                }
                Timer::Channel(id, number) => {
                    if let Some(allocation) = self.allocations.get_mut(id) {
                        allocation.channels.remove(number);
                        self.channels -= 1;
                    }
                }
                Timer::Reservation(token) => {
                    if let Some(socket) = self.remove_reservation(token) {
                        return Some(Expired::Reservation(socket));
                    }
                }
            }
        }
        None
    }

    /// All allocations, pending ones too.
    pub(super) fn all(&self) -> impl Iterator<Item = (AllocationId, &Allocation)> {
        self.allocations.iter()
    }

    /// When something runs out next.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let (at, timer) = self.timers.first()?;
        let why = match timer {
            Timer::Allocation(_) | Timer::Reservation(_) => Why::Expiry,
            Timer::Permission(..) => Why::Permission,
            Timer::Channel(..) => Why::Channel,
        };
        Some(Deadline { at, why })
    }

    /// The number of allocations, pending ones too.
    pub(super) fn len(&self) -> usize {
        self.allocations.len()
    }

    /// Everything that it holds. Nothing is counted for it.
    pub(super) fn holdings(&self) -> Holdings {
        let (allocations, reservations) = (self.allocations.len(), self.reservations.len());
        Holdings {
            allocations,
            permissions: self.timers.len() - allocations - reservations - self.channels,
            channels: self.channels,
            reservations,
            ports: self.ports_v4.taken() + self.ports_v6.taken(),
            sockets: self.sockets.len(),
            timers: self.timers.len(),
            waiting: 0,
            links: 0,
            link_bytes: 0,
            sessions: 0,
            connections: 0,
        }
    }
}
