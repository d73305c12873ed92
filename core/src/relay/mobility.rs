//! Mobility (RFC 8016): a client whose address has changed keeps its allocation.
//!
//! 1. An Allocate with an empty MOBILITY-TICKET asks for a ticket; it comes with the success.
//! 2. From its new address the client sends Refresh with the ticket, signed like any other, under a nonce for that
//!    address. The allocation is the client's at the new address from then on, and there is a new ticket.
//! 3. The old five-tuple serves as well until something else comes from the new one: the answer may have been lost.
//!    So long the old ticket is good too, for the same reason.
//!
//! An allocation that moves stays the same one: it is counted once, keeps its ports, permissions and channels, and its
//! lifetime. Whose it is decides who may move it, not who has the ticket.

use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::Relay;
use super::allocation::{Allocation, AllocationId};
use super::event::{Event, Released};
use super::listen::Transport;
use super::reply::{Answer, Refusal};
use super::request::Request;
use crate::io::Id as _;
use crate::rand::Rng;
use crate::stun::TransactionId;

/// What an allocation has that may move.
#[derive(Debug, Default)]
pub(super) struct Mobility {
    /// How often it has moved; which ticket is good depends on it.
    moves: u32,
    /// The Refresh that has moved it last, and what it was answered; the same again when it is retransmitted.
    last: Option<(TransactionId, Box<[u8]>)>,
}

/// Makes and opens tickets. Only the relay can read them.
#[derive(Debug)]
pub(super) struct Tickets {
    key: LessSafeKey,
    shard: u8,
}

/// What a ticket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticket {
    /// Which shard has the allocation.
    shard: u8,
    allocation: AllocationId,
    moves: u32,
}

impl Tickets {
    /// `common` gives all shards the same key.
    pub(super) fn new(common: &mut Rng, shard: u8) -> Self {
        let key: [u8; 16] = common.bytes();
        let key = UnboundKey::new(&AES_128_GCM, &key).expect("a key of AES-128 has 16 bytes");
        Self { key: LessSafeKey::new(key), shard }
    }

    /// The first ticket of an allocation.
    pub(super) fn first(&self, rng: &mut Rng, allocation: AllocationId) -> Vec<u8> {
        self.seal(rng, allocation, 0)
    }

    fn seal(&self, rng: &mut Rng, allocation: AllocationId, moves: u32) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = rng.bytes();
        let mut sealed = [allocation.index(), allocation.generation(), moves].map(u32::to_be_bytes).concat();
        sealed.push(self.shard);
        let tag = self.key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::empty(),
            &mut sealed,
        );
        let tag = tag.expect("thirteen bytes are not too many");
        [&nonce[..], &sealed, tag.as_ref()].concat()
    }

    fn open(&self, ticket: &[u8]) -> Option<Ticket> {
        let (nonce, sealed) = ticket.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let opened =
            self.key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::empty(), &mut sealed).ok()?;
        let [words @ .., shard]: [u8; 13] = (&*opened).try_into().ok()?;
        let word = |at: usize| u32::from_be_bytes([words[at], words[at + 1], words[at + 2], words[at + 3]]);
        Some(Ticket { shard, allocation: AllocationId::new(word(0), word(4)), moves: word(8) })
    }
}

impl Relay {
    /// Whether an Allocate gets a ticket.
    ///
    /// # Errors
    /// 405 where the relay gives none, 400 where the attribute is not empty.
    pub(super) fn wants_ticket(&self, request: &Request<'_>) -> Result<bool, Refusal> {
        match request.message.mobility_ticket() {
            None => Ok(false),
            Some(_) if !self.config.mobility => Err(Refusal::MobilityForbidden),
            Some([]) => Ok(true),
            Some(_) => Err(Refusal::BadRequest),
        }
    }

    /// A Refresh with a ticket: the client's address has changed.
    pub(super) fn relocate(
        &mut self,
        now: Instant,
        request: &Request<'_>,
        ticket: &[u8],
    ) -> Result<Answer, Refusal> {
        let tuple = request.addressee.path.five_tuple();
        if !self.config.mobility {
            return Err(Refusal::MobilityForbidden);
        }
        if let Some((_, there)) = self.table.find(tuple) {
            return at_home(there, request);
        }
        let Ticket { shard, allocation: id, moves } = self.tickets.open(ticket).ok_or(Refusal::BadRequest)?;
        if shard != self.config.shard.index() {
            return Ok(Answer::Elsewhere(shard));
        }
        let allocation = self.table.get(id).filter(|it| it.is_live()).ok_or(Refusal::AllocationMismatch)?;
        if allocation.owner.id != request.owner.id {
            return Err(Refusal::WrongCredentials);
        }
        if allocation.relays == Transport::Tcp && request.addressee.path.via.transport() != Transport::Tcp {
            // Its client is told of connections, and has them bound, by TCP only (RFC 6062 §5.1).
            return Err(Refusal::BadRequest);
        }
        let mobility = allocation.mobility.as_ref().ok_or(Refusal::BadRequest)?;
        // The ticket before the last one is good as long as nothing shows that the client has got the last one.
        let answered = mobility.moves == moves;
        let unheard = allocation.former.is_some() && mobility.moves == moves.wrapping_add(1);
        if !answered && !unheard {
            return Err(Refusal::BadRequest);
        }
        let moves = mobility.moves.wrapping_add(1);
        let requested = request.message.lifetime()?;
        if requested.is_some_and(|lifetime| lifetime.is_zero()) {
            self.departed.add(now, tuple, request.addressee.transaction);
            self.release(now, id, Released::Closed);
            return Ok(Answer::Success(request.addressee.success().lifetime(Duration::ZERO)));
        }
        let hop = self.hop(tuple.via);
        let from = self.table.relocate(id, request.addressee.path, hop, answered);
        self.renew_rights(id, request);
        let lifetime = super::allocate::granted_lifetime(requested, &self.config);
        self.table.refresh(id, now + lifetime);
        let ticket = self.tickets.seal(&mut self.rng, id, moves);
        let success = request.addressee.success().lifetime(lifetime).mobility_ticket(&ticket);
        let reply: Box<[u8]> = request.addressee.key.sign(success).into_boxed_slice();
        let last = Some((request.addressee.transaction, reply.clone()));
        self.table.set_mobility(id, Mobility { moves, last });
        let username = std::sync::Arc::clone(&request.owner.username);
        self.events.push_back(Event::Moved { from, to: tuple.client, username });
        Ok(Answer::Again(reply))
    }
}

/// The answer to a Refresh with a ticket from a five-tuple that has an allocation: the same again where it is the one that
/// has brought it there, and otherwise there is nothing to move (RFC 8016 §3.2).
fn at_home(allocation: &Allocation, request: &Request<'_>) -> Result<Answer, Refusal> {
    if allocation.owner.id != request.owner.id {
        return Err(Refusal::AllocationMismatch);
    }
    match allocation.mobility.as_ref().and_then(|mobility| mobility.last.as_ref()) {
        Some((transaction, reply)) if *transaction == request.addressee.transaction => {
            Ok(Answer::Again(reply.clone()))
        }
        _ => Err(Refusal::BadRequest),
    }
}
