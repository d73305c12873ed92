//! Requests: who sent them, what they may hold, and how they are answered.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::Relay;
use super::allocation::{AllocationId, Owner};
use super::config::IpVersion;
use super::counters::{AuthFailure, Drop};
use super::event::Event;
use super::outbox::Doorstep;
use super::reply::{Addressee, Answer, Refusal};
use super::rights::Rights;
use super::via::{Path, Via};
use crate::stun::{Builder, Message, Method, attribute};
use crate::turn::credentials::Refused;
use crate::turn::nonce::Features;

/// A reply before authentication is at most three times as large as its request.
const LIMIT: (usize, usize) = (3, 1);

/// The headers of IPv4 and UDP, in bytes. Those of IPv6 are longer, for requests and replies, and count as no more: so
/// replies are at most as large over IPv6 as over IPv4.
const HEADERS: usize = 20 + 8;

/// What a request may hold without being refused with 420.
const UNDERSTOOD: &[u16] = &[
    attribute::USERNAME,
    attribute::REALM,
    attribute::NONCE,
    attribute::PASSWORD_ALGORITHM,
    attribute::USERHASH,
    attribute::CHANNEL_NUMBER,
    attribute::LIFETIME,
    attribute::XOR_PEER_ADDRESS,
    attribute::DATA,
    attribute::REQUESTED_ADDRESS_FAMILY,
    attribute::EVEN_PORT,
    attribute::REQUESTED_TRANSPORT,
    attribute::DONT_FRAGMENT,
    attribute::RESERVATION_TOKEN,
    attribute::CONNECTION_ID,
];

/// A request whose sender is known.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) message: Message<'a>,
    pub(super) owner: Owner,
    pub(super) addressee: Addressee,
}

/// Why a sender is not known (RFC 8489 §9.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Challenge {
    /// 400 where it is signed, but says not with what, or with what nobody has offered; 401 where it is not signed, or
    /// not by a user.
    Refused(Refused),
    /// 438: signed by a user, with a nonce that is no longer good.
    StaleNonce,
}

impl Challenge {
    fn code(self) -> (u16, &'static str) {
        match self {
            Self::Refused(refused) if refused.code() == 400 => (400, "Bad Request"),
            Self::Refused(_) => (401, "Unauthorized"),
            Self::StaleNonce => (438, "Stale Nonce"),
        }
    }

    fn counts_as(self) -> Option<AuthFailure> {
        match self {
            Self::Refused(refused) => AuthFailure::of(refused),
            Self::StaleNonce => Some(AuthFailure::StaleNonce),
        }
    }
}

impl Relay {
    /// Handles a request of one of TURN's methods.
    pub(super) fn request(&mut self, now: Instant, path: Path, message: Message<'_>) {
        match self.authenticate(now, path, message) {
            Ok(request) => {
                self.reach.learn(path.local);
                self.carry_out(now, &request);
            }
            Err(challenge) => self.challenge(now, path, &message, challenge),
        }
    }

    /// The checks of RFC 8489 §9.2.4. The nonce comes last: only who knows the password learns that it is stale.
    pub(super) fn authenticate<'a>(
        &self,
        now: Instant,
        path: Path,
        message: Message<'a>,
    ) -> Result<Request<'a>, Challenge> {
        let unix = self.clock.unix(now);
        let account = self.config.authenticator.authenticate(&message, unix).map_err(Challenge::Refused)?;
        let nonce = message.nonce().ok().flatten().unwrap_or_default();
        self.nonces.judge(path.client, unix, nonce).map_err(|_| Challenge::StaleNonce)?;
        let rights = Rights::of(&account);
        let owner = Owner { id: account.id.into(), username: account.username.into(), rights };
        let (method, transaction) = (message.method(), message.transaction());
        Ok(Request { message, owner, addressee: Addressee { path, method, transaction, key: account.key } })
    }

    fn challenge(&mut self, now: Instant, path: Path, message: &Message<'_>, challenge: Challenge) {
        if let Some(failure) = challenge.counts_as() {
            self.counters.fail(failure);
        }
        if !self.may_answer(now, path) {
            return;
        }
        let (code, reason) = challenge.code();
        if code == 400 {
            return self.reply_to_stranger(
                path,
                message,
                LIMIT,
                Builder::error(message, code, reason).finish(),
            );
        }
        // A long realm leaves less room for the rest in the answer to a short request: first its sentence is left out,
        // and then what clients of RFC 5389 do without.
        let (unix, authenticator) = (self.clock.unix(now), &self.config.authenticator);
        let all = authenticator.features();
        let forms = [(reason, all), ("", all), ("", Features::default())];
        let mut challenges = forms.into_iter().map(|(reason, features)| {
            let nonce = self.nonces.issue(path.client, features, unix);
            let builder = Builder::error(message, code, reason).realm(authenticator.realm()).nonce(&nonce);
            authenticator.offer(features, builder).finish()
        });
        match challenges.find(|reply| fits(path, message, LIMIT, reply)) {
            Some(reply) => self.reply(path, reply.into_boxed_slice()),
            None => self.counters.drop(Drop::Amplifying),
        }
    }

    /// Whether the source of a request, who may not be who sent it, gets a reply. Asked before anything is computed.
    pub(super) fn may_answer(&mut self, now: Instant, path: Path) -> bool {
        if path.is_proven() {
            // Nobody else's budget is to be spent from there; who doesn't read its replies is looked after elsewhere.
            return true;
        }
        let may = self.spend_reply(now, path.client.ip());
        if !may {
            self.counters.drop(Drop::OverBudget);
        }
        may
    }

    /// Takes a reply out of the budget of a source. `false` when there is none left.
    pub(super) fn spend_reply(&mut self, now: Instant, source: IpAddr) -> bool {
        self.ledger.replies().spend(now, self.config.reply_budget, source)
    }

    /// Sends a reply to somebody who may have forged their address: never `times / over` times larger than the
    /// request, IP and UDP headers included.
    pub(super) fn reply_to_stranger(
        &mut self,
        path: Path,
        request: &Message<'_>,
        limit: (usize, usize),
        reply: Vec<u8>,
    ) {
        if !fits(path, request, limit, &reply) {
            return self.counters.drop(Drop::Amplifying);
        }
        self.reply(path, reply.into_boxed_slice());
    }

    fn carry_out(&mut self, now: Instant, request: &Request<'_>) {
        let answer = match self.answer(now, request) {
            Ok(Answer::Success(builder)) => request.addressee.key.sign(builder).into_boxed_slice(),
            Ok(Answer::Again(bytes)) => bytes,
            Ok(Answer::Silence) => return,
            Ok(Answer::Elsewhere(shard)) => {
                return self.send_away(now, request.addressee.path, shard, request.message.bytes());
            }
            Err(refusal) => {
                self.refused(&request.addressee, &request.owner, &refusal);
                request.addressee.refuse(&refusal).into_boxed_slice()
            }
        };
        self.reply(request.addressee.path, answer);
    }

    /// Tells that an allocation was refused.
    pub(super) fn refused(&mut self, addressee: &Addressee, owner: &Owner, refusal: &Refusal) {
        if addressee.method == Method::ALLOCATE {
            let (client, username) = (addressee.path.client, Arc::clone(&owner.username));
            let (hop, code) = (self.hop(addressee.path.via), refusal.code().0);
            self.events.push_back(Event::Refused { client, hop, username, code });
        }
    }

    fn answer(&mut self, now: Instant, request: &Request<'_>) -> Result<Answer, Refusal> {
        let unknown = request.message.unknown_required(UNDERSTOOD);
        if !unknown.is_empty() {
            return Err(Refusal::UnknownAttributes(unknown));
        }
        self.judge_user(request)?;
        if let Some(shard) = self.gone(now, request) {
            return Ok(Answer::Elsewhere(shard));
        }
        match request.addressee.method {
            Method::ALLOCATE => self.allocate(now, request),
            Method::REFRESH => self.refresh(now, request),
            Method::CREATE_PERMISSION => self.create_permission(now, request),
            Method::CHANNEL_BIND => self.channel_bind(now, request),
            Method::CONNECT => self.connect(now, request),
            Method::CONNECTION_BIND => self.connection_bind(now, request),
            _ => unreachable!("other methods are not authenticated"),
        }
    }

    /// The live allocation that a request is about. Where the request is signed with renewed credentials, theirs are
    /// its rights from now on.
    ///
    /// # Errors
    /// 437 when there is none (RFC 8656 §5), 441 when it is somebody else's.
    pub(super) fn allocation_of(&mut self, request: &Request<'_>) -> Result<AllocationId, Refusal> {
        let tuple = request.addressee.path.five_tuple();
        let (id, allocation) = self.table.live(tuple).ok_or(Refusal::AllocationMismatch)?;
        if allocation.owner.id != request.owner.id {
            return Err(Refusal::WrongCredentials);
        }
        self.table.arrive(id, tuple);
        self.renew_rights(id, request);
        Ok(id)
    }

    /// Gives an allocation the rights of the request, where that is signed with renewed credentials.
    pub(super) fn renew_rights(&mut self, id: AllocationId, request: &Request<'_>) {
        let held = self.table.get(id).map(|allocation| &allocation.owner.rights);
        if held.is_some_and(|held| request.owner.rights.renew(held)) {
            self.table.set_rights(id, request.owner.rights.clone());
            self.end_unrightful(id);
        }
    }

    /// Checks that an allocation has a relayed address from which `peer` can be reached, and that the relay, the
    /// rights of the allocation and those of the request permit the peer's address (RFC 8656 §10.2, §12.2).
    ///
    /// # Errors
    /// 443 or 403 when not.
    pub(super) fn judge_peer(
        &self,
        id: AllocationId,
        request: &Request<'_>,
        peer: SocketAddr,
    ) -> Result<(), Refusal> {
        let allocation = self.table.get(id).ok_or(Refusal::AllocationMismatch)?;
        allocation.leg(IpVersion::of(peer.ip())).ok_or(Refusal::PeerFamilyMismatch)?;
        self.reach.address(peer.ip()).map_err(|_| Refusal::Forbidden)?;
        let permitted =
            [&allocation.owner.rights, &request.owner.rights].iter().all(|it| it.permit(peer.ip()));
        if permitted { Ok(()) } else { Err(Refusal::Forbidden) }
    }

    /// Queues a reply.
    pub(super) fn reply(&mut self, path: Path, bytes: Box<[u8]>) {
        match path.via {
            Via::Udp(socket) => {
                let doorstep = Doorstep { socket, client: path.client, local: path.local };
                if self.outbox.reply(doorstep, bytes).is_err() {
                    self.counters.drop(Drop::QueueFull);
                }
            }
            Via::Link(link) => self.reply_on_link(link, &bytes),
            Via::Session(session) => {
                let Some((doorstep, sealed)) = self.sessions.seal(session, &bytes) else { return };
                if self.outbox.reply(doorstep, sealed).is_err() {
                    self.counters.drop(Drop::QueueFull);
                }
            }
        }
    }
}

/// Whether a reply to somebody who may have forged their address is at most `times / over` times as large as the request,
/// headers of IP and UDP included. Who has shown to be there gets any.
fn fits(path: Path, request: &Message<'_>, (times, over): (usize, usize), reply: &[u8]) -> bool {
    path.is_proven() || over * (reply.len() + HEADERS) <= times * (request.bytes().len() + HEADERS)
}
