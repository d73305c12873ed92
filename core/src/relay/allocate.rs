//! Allocate: a relayed address, or two of different families (RFC 8656 §7.2).
//!
//! The sockets are the driver's to bind, so the reply waits for its completions. A port that another program has
//! taken is replaced by another one a few times.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::Relay;
use super::allocation::{Allocation, AllocationId, Leg, Owner, Pending, Phase};
use super::channel::Channels;
use super::config::{Config, IpVersion};
use super::event::Event;
use super::listen::Transport;
use super::mobility::Mobility;
use super::permission::Permissions;
use super::ports::Parity;
use super::quota::{Exceeded, UserId};
use super::reply::{Answer, Refusal};
use super::request::Request;
use super::token::Token;
use super::via::Via;
use crate::io::{Effect, ListenerKind, SocketId, SocketKind};
use crate::stun::{Family, Message};
use crate::turn::{TCP, UDP};

/// How often a port that another program has is replaced.
const MOST_RETRIES: u32 = 8;

/// What an Allocate asks for.
#[derive(Debug)]
struct Wish {
    relays: Transport,
    lifetime: Duration,
    source: Source,
}

/// Where its relayed address comes from.
#[derive(Debug)]
enum Source {
    /// New ports: one of the first version, and one of the second where that is asked for.
    Fresh { first: IpVersion, second: Option<IpVersion>, missing: Option<(IpVersion, u16)>, parity: Parity },
    /// The port that was reserved next to that of an earlier allocation.
    Reserved(Token),
}

impl Relay {
    pub(super) fn allocate(&mut self, now: Instant, request: &Request<'_>) -> Result<Answer, Refusal> {
        let tuple = request.addressee.path.five_tuple();
        if let Some((_, allocation)) = self.table.find(tuple) {
            return already(allocation, request);
        }
        if self.departed.remembers(now, tuple, request.addressee.transaction) {
            // A late duplicate of the Allocate of an allocation that its client has ended: it must not rise again.
            return Ok(Answer::Silence);
        }
        self.judge_new(request)?;
        let wish = Wish::read(&request.message, request.addressee.path.via, &self.config)?;
        if let Some(shard) = self.reserved_elsewhere(&wish) {
            return Ok(Answer::Elsewhere(shard));
        }
        let ticket = self.wants_ticket(request)?;
        let user = self.afford(&wish, &request.owner)?;
        self.begin(now, request, &wish, ticket, user);
        Ok(Answer::Silence)
    }

    /// The shard that has the reserved port that is wished for, where it is another one.
    fn reserved_elsewhere(&self, wish: &Wish) -> Option<u8> {
        let Source::Reserved(token) = wish.source else { return None };
        self.tokens.elsewhere(&token)
    }

    /// Counts what `owner` wishes. A reserved port was counted when it was reserved.
    fn afford(&mut self, wish: &Wish, owner: &Owner) -> Result<UserId, Refusal> {
        let wanted = match wish.source {
            Source::Reserved(token) => {
                return self.table.reserved(token, &owner.id).ok_or(Refusal::InsufficientCapacity);
            }
            Source::Fresh { parity: Parity::Pair, .. } => 2,
            Source::Fresh { .. } => 1,
        };
        self.table.count_in(owner, wanted).map_err(|exceeded| match exceeded {
            Exceeded::User => Refusal::QuotaReached,
            Exceeded::Total => Refusal::InsufficientCapacity,
        })
    }

    /// Enters the allocation and asks for its sockets.
    fn begin(&mut self, now: Instant, request: &Request<'_>, wish: &Wish, ticket: bool, user: UserId) {
        let path = request.addressee.path;
        let (parity, missing) = match wish.source {
            Source::Fresh { parity, missing, .. } => (parity, missing),
            Source::Reserved(_) => (Parity::Any, None),
        };
        let pending = Pending {
            addressee: request.addressee.clone(),
            lifetime: wish.lifetime,
            parity,
            retries: 0,
            missing,
            companion: None,
            ticket,
        };
        let allocation = Allocation {
            five_tuple: path.five_tuple(),
            hop: self.hop(path.via),
            former: None,
            mobility: None,
            local: path.local,
            owner: request.owner.clone(),
            relays: wish.relays,
            user,
            legs: SmallVec::new(),
            permissions: Permissions::new(self.config.max_permissions),
            channels: Channels::new(self.config.max_channels),
            phase: Phase::Pending(Box::new(pending)),
            since: now,
            relayed: Default::default(),
        };
        let id = self.table.begin(now, allocation);
        match wish.source {
            Source::Reserved(token) => {
                self.table.claim(token, id);
                self.grant(now, id);
            }
            Source::Fresh { first, second, .. } => {
                self.bind_leg(id, first);
                if let Some(second) = second {
                    self.bind_leg(id, second);
                }
                self.settle(now, id);
            }
        }
    }

    /// Asks the driver to bind a port of `version` for a pending allocation, or notes that there is none.
    fn bind_leg(&mut self, id: AllocationId, version: IpVersion) {
        let Some(allocation) = self.table.get(id) else { return };
        let Some(Pending { parity, .. }) = allocation.pending() else { return };
        let (parity, relays) = (*parity, allocation.relays);
        let legs = self.table.add_leg(&mut self.rng, id, version, parity);
        if legs.is_empty() {
            self.table.lack(id, version, Refusal::InsufficientCapacity.code().0);
        }
        let address = self.config.relay_address(version).expect("only supported versions are allocated");
        for Leg { socket, port, .. } in legs {
            let addr = SocketAddr::new(address.bind, port);
            self.effect(match relays {
                Transport::Udp => Effect::Bind { socket, addr, kind: SocketKind::Relayed },
                Transport::Tcp => Effect::Listen { listener: socket, addr, kind: ListenerKind::Relayed },
            });
        }
    }

    /// The driver has bound a relayed socket, or could not.
    pub(super) fn relayed_bound(
        &mut self,
        now: Instant,
        socket: SocketId,
        id: AllocationId,
        result: Result<SocketAddr, ErrorKind>,
    ) {
        match result {
            Ok(_) => self.table.mark_bound(socket),
            Err(kind) => self.replace_leg(id, socket, kind),
        }
        self.settle(now, id);
    }

    /// Gives up a port that could not be bound, and its companion, and tries another where that may help.
    fn replace_leg(&mut self, id: AllocationId, failed: SocketId, kind: ErrorKind) {
        let Some(allocation) = self.table.get(id) else { return };
        let Some(leg) = allocation.sockets().find(|leg| leg.socket == failed) else { return };
        for removed in self.table.remove_legs(id, leg.version) {
            if removed.socket != failed {
                self.effect(Effect::Unbind { socket: removed.socket });
            }
        }
        let again = kind == ErrorKind::AddrInUse && self.table.count_retry(id) <= MOST_RETRIES;
        if again {
            self.bind_leg(id, leg.version);
        } else {
            self.table.lack(id, leg.version, Refusal::InsufficientCapacity.code().0);
        }
    }

    /// Answers a pending allocation if nothing is outstanding any more.
    fn settle(&mut self, now: Instant, id: AllocationId) {
        let Some(allocation) = self.table.get(id).filter(|allocation| !allocation.is_live()) else { return };
        if allocation.legs.is_empty() {
            self.abandon(id, &Refusal::InsufficientCapacity);
        } else if allocation.sockets().all(|leg| leg.bound) {
            self.grant(now, id);
        }
    }

    /// Refuses an allocation that got no relayed address, or whose user was revoked meanwhile.
    pub(super) fn abandon(&mut self, id: AllocationId, refusal: &Refusal) {
        let Some(allocation) = self.table.remove(id) else { return };
        for leg in allocation.sockets() {
            self.effect(Effect::Unbind { socket: leg.socket });
        }
        if let Some(pending) = allocation.pending() {
            self.refused(&pending.addressee, &allocation.owner, refusal);
            let refusal = pending.addressee.refuse(refusal);
            self.reply(pending.addressee.path, refusal.into_boxed_slice());
        }
        self.run_dry();
    }

    /// Makes an allocation live whose sockets are all bound, and tells its client.
    fn grant(&mut self, now: Instant, id: AllocationId) {
        let Some(allocation) = self.table.get(id) else { return };
        let Some(pending) = allocation.pending() else { return };
        let (hop, username, relays) =
            (allocation.hop, Arc::clone(&allocation.owner.username), allocation.relays);
        let relayed = self.relayed_addresses(&allocation.legs);
        let mut builder = pending.addressee.success();
        for &address in &relayed {
            builder = builder.relayed_address(address);
        }
        let (addressee, lifetime, ticket) = (pending.addressee.clone(), pending.lifetime, pending.ticket);
        builder = builder.lifetime(lifetime).mapped_address(addressee.path.client);
        if let Some((version, code)) = pending.missing {
            builder = builder.address_error(family(version), code, "");
        }
        if pending.companion.is_some() {
            let token = self.tokens.draw(&mut self.rng);
            self.table.reserve(now, id, token);
            builder = builder.reservation_token(token);
        }
        if ticket {
            builder = builder.mobility_ticket(&self.tickets.first(&mut self.rng, id));
            self.table.set_mobility(id, Mobility::default());
        }
        let reply: Box<[u8]> = addressee.key.sign(builder).into_boxed_slice();
        self.table.grant(id, addressee.transaction, reply.clone(), now + lifetime);
        let client = addressee.path.client;
        self.events.push_back(Event::Allocated { client, hop, username, relayed, relays });
        self.reply(addressee.path, reply);
    }

    /// The addresses that the client is told, IPv4 first.
    pub(super) fn relayed_addresses(&self, legs: &[Leg]) -> Vec<SocketAddr> {
        [IpVersion::V4, IpVersion::V6]
            .into_iter()
            .filter_map(|version| {
                let leg = legs.iter().find(|leg| leg.version == version)?;
                Some(SocketAddr::new(self.config.relay_address(version)?.advertised, leg.port))
            })
            .collect()
    }
}

/// The answer to an Allocate on a five-tuple that has an allocation: the same again where it is the same request
/// (RFC 8489 §6.3.1), 437 otherwise (RFC 8656 §7.2).
fn already(allocation: &Allocation, request: &Request<'_>) -> Result<Answer, Refusal> {
    let transaction = request.addressee.transaction;
    match &allocation.phase {
        _ if allocation.owner.id != request.owner.id => Err(Refusal::AllocationMismatch),
        Phase::Pending(pending) if pending.addressee.transaction == transaction => Ok(Answer::Silence),
        Phase::Live { transaction: made_by, reply } if *made_by == transaction => {
            Ok(Answer::Again(reply.clone()))
        }
        _ => Err(Refusal::AllocationMismatch),
    }
}

impl Wish {
    /// The checks of RFC 8656 §7.2, in its order, and those of RFC 6062 §5.1.
    fn read(message: &Message<'_>, via: Via, config: &Config) -> Result<Self, Refusal> {
        let relays = match message.requested_transport()? {
            None => return Err(Refusal::BadRequest),
            Some(UDP) => Transport::Udp,
            Some(TCP) if config.connections.per_allocation > 0 => Transport::Tcp,
            Some(_) => return Err(Refusal::UnsupportedTransport),
        };
        // It asks whether Send indications may: they may, always.
        let dont_fragment = message.dont_fragment()?;
        if relays == Transport::Tcp {
            let strange =
                dont_fragment || message.even_port()?.is_some() || message.reservation_token()?.is_some();
            if strange || via.transport() != Transport::Tcp {
                return Err(Refusal::BadRequest);
            }
        }
        let lifetime = granted_lifetime(message.lifetime()?, config);
        let (even, token) = (message.even_port()?, message.reservation_token()?);
        let (requested, additional) = (message.requested_family()?, message.additional_family()?);
        let reserve = even.is_some_and(|even| even.reserve);
        if token.is_some() && (even.is_some() || requested.is_some() || additional.is_some()) {
            return Err(Refusal::BadRequest);
        }
        if additional.is_some() && (requested.is_some() || reserve || additional != Some(Family::V6)) {
            return Err(Refusal::BadRequest);
        }
        if let Some(token) = token {
            return Ok(Self { relays, lifetime, source: Source::Reserved(token) });
        }
        let parity = match even {
            None => Parity::Any,
            Some(even) if even.reserve => Parity::Pair,
            Some(_) => Parity::Even,
        };
        let source =
            if additional.is_some() { both(config, parity)? } else { one(requested, config, parity)? };
        Ok(Self { relays, lifetime, source })
    }
}

/// An allocation of one family: IPv4 unless another one is requested.
fn one(requested: Option<Family>, config: &Config, parity: Parity) -> Result<Source, Refusal> {
    let first = match requested {
        None | Some(Family::V4) => IpVersion::V4,
        Some(Family::V6) => IpVersion::V6,
        Some(Family::Other(_)) => return Err(Refusal::FamilyNotSupported),
    };
    if config.relay_address(first).is_none() {
        return Err(Refusal::FamilyNotSupported);
    }
    Ok(Source::Fresh { first, second: None, missing: None, parity })
}

/// An allocation of both families, or of the one that there is (RFC 8656 §7.2, ADDITIONAL-ADDRESS-FAMILY).
fn both(config: &Config, parity: Parity) -> Result<Source, Refusal> {
    let unsupported = Refusal::FamilyNotSupported.code().0;
    let (first, second, missing) = match (config.ipv4, config.ipv6) {
        (Some(_), Some(_)) => (IpVersion::V4, Some(IpVersion::V6), None),
        (Some(_), None) => (IpVersion::V4, None, Some((IpVersion::V6, unsupported))),
        (None, Some(_)) => (IpVersion::V6, None, Some((IpVersion::V4, unsupported))),
        (None, None) => return Err(Refusal::FamilyNotSupported),
    };
    Ok(Source::Fresh { first, second, missing, parity })
}

/// The lifetime that is granted: never less than the default, never more than the most (RFC 8656 §7.2).
pub(super) fn granted_lifetime(requested: Option<Duration>, config: &Config) -> Duration {
    requested.unwrap_or_default().min(config.max_lifetime).max(config.default_lifetime)
}

fn family(version: IpVersion) -> Family {
    match version {
        IpVersion::V4 => Family::V4,
        IpVersion::V6 => Family::V6,
    }
}
