//! Requests that wait for their responses: signing, retransmission (RFC 8489 §6.2.1), and which response counts
//! (§6.3, §9.2.5).

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{Client, Event, Lost, State, Timer};
use crate::stun::{Builder, Class, ErrorCode, Message, Method, TransactionId, attribute};
use crate::turn::credentials::{Credentials, Key};

/// The first delay before a request is sent again; it doubles (RFC 8489 §6.2.1).
const RTO: Duration = Duration::from_millis(500);
/// How often a request is sent in all: the RFC's Rc.
const MAX_SENT: u32 = 7;
/// How long to wait after the last time: the RFC's Rm × RTO.
const LAST_WAIT: Duration = RTO.saturating_mul(16);
/// After this many unanswered requests the owner hears of it: 3.5 s.
const UNANSWERED: u32 = 3;
/// How many challenges in a row are answered for one request. More is a relay that can't be satisfied.
const MAX_ROUNDS: u32 = 3;

/// What this client understands among the attributes that must be understood.
const UNDERSTOOD: &[u16] = &[
    attribute::MAPPED_ADDRESS,
    attribute::USERNAME,
    attribute::ERROR_CODE,
    attribute::UNKNOWN_ATTRIBUTES,
    attribute::CHANNEL_NUMBER,
    attribute::LIFETIME,
    attribute::XOR_PEER_ADDRESS,
    attribute::DATA,
    attribute::REALM,
    attribute::NONCE,
    attribute::XOR_RELAYED_ADDRESS,
    attribute::XOR_MAPPED_ADDRESS,
    attribute::RESERVATION_TOKEN,
];

/// Realm and nonce of the relay, and the key that follows from the realm (RFC 8489 §9.2.2).
#[derive(Debug)]
pub(super) struct Challenge {
    realm: String,
    nonce: String,
    key: Key,
}

impl Challenge {
    pub(super) fn rekey(&mut self, credentials: &Credentials) {
        self.key = credentials.key(&self.realm);
    }
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    Allocate,
    Refresh,
    Release,
    Permission(IpAddr),
    Channel { number: u16, peer: SocketAddr },
}

impl Purpose {
    fn method(self) -> Method {
        match self {
            Self::Allocate => Method::ALLOCATE,
            Self::Refresh | Self::Release => Method::REFRESH,
            Self::Permission(_) => Method::CREATE_PERMISSION,
            Self::Channel { .. } => Method::CHANNEL_BIND,
        }
    }
}

/// The requests that wait, at most one per purpose: so their number is bounded by that of peers and channels.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    waiting: BTreeMap<TransactionId, Transaction>,
    by_purpose: BTreeMap<Purpose, TransactionId>,
    /// Those that are to be sent, or sent again.
    outbox: VecDeque<TransactionId>,
}

#[derive(Debug)]
struct Transaction {
    purpose: Purpose,
    bytes: Vec<u8>,
    /// What it was signed with; `None` for the first Allocate.
    key: Option<Key>,
    nonce: Option<String>,
    sent: u32,
    queued: bool,
    /// How many challenges were answered to come here.
    rounds: u32,
    began: Instant,
}

impl Transactions {
    /// Whether a request for `purpose` waits.
    pub(super) fn awaits(&self, purpose: Purpose) -> bool {
        self.by_purpose.contains_key(&purpose)
    }

    /// The next request to send.
    pub(super) fn next_to_send(&mut self) -> Option<&[u8]> {
        loop {
            let id = self.outbox.pop_front()?;
            // It may have been answered meanwhile.
            if self.waiting.contains_key(&id) {
                let transaction = self.waiting.get_mut(&id)?;
                transaction.queued = false;
                return Some(&transaction.bytes);
            }
        }
    }

    /// Adds a request; the one that waited for the same purpose is returned, it waits no more.
    fn insert(&mut self, id: TransactionId, transaction: Transaction) -> Option<TransactionId> {
        let before = self.by_purpose.insert(transaction.purpose, id);
        if let Some(before) = before {
            self.waiting.remove(&before);
        }
        self.waiting.insert(id, transaction);
        self.outbox.push_back(id);
        before
    }

    /// Whether nothing waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Panics unless both indexes say the same.
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.waiting.len(), self.by_purpose.len());
        for (purpose, id) in &self.by_purpose {
            assert_eq!(self.waiting.get(id).map(|transaction| transaction.purpose), Some(*purpose));
        }
        for (id, transaction) in &self.waiting {
            assert!(!transaction.queued || self.outbox.contains(id), "what is to be sent will be");
        }
    }

    fn remove(&mut self, id: &TransactionId) -> Option<Transaction> {
        let transaction = self.waiting.remove(id)?;
        self.by_purpose.remove(&transaction.purpose);
        Some(transaction)
    }
}

impl Client {
    /// Sends a request for `purpose`.
    pub(super) fn request(&mut self, now: Instant, purpose: Purpose) {
        self.request_round(now, purpose, 0);
    }

    fn request_round(&mut self, now: Instant, purpose: Purpose, rounds: u32) {
        let id: TransactionId = self.rng.bytes();
        let builder = self.body(purpose, Builder::new(Class::Request, purpose.method(), id));
        let (bytes, key, nonce) = match &self.challenge {
            None => (builder.finish(), None, None),
            Some(challenge) => {
                let signed = builder
                    .username(&self.config.credentials.username)
                    .realm(&challenge.realm)
                    .nonce(&challenge.nonce)
                    .finish_with_integrity(&challenge.key);
                (signed, Some(challenge.key), Some(challenge.nonce.clone()))
            }
        };
        self.timers.set(Timer::Retransmit(id), now + RTO);
        let transaction =
            Transaction { purpose, bytes, key, nonce, sent: 1, queued: true, rounds, began: now };
        if let Some(before) = self.transactions.insert(id, transaction) {
            self.timers.cancel(Timer::Retransmit(before));
        }
    }

    fn body(&self, purpose: Purpose, builder: Builder) -> Builder {
        match purpose {
            Purpose::Allocate => self.allocate_body(builder),
            Purpose::Refresh => match self.config.lifetime {
                Some(lifetime) => builder.lifetime(lifetime),
                None => builder,
            },
            Purpose::Release => builder.lifetime(Duration::ZERO),
            // The port of a permission's address does not count (RFC 8656 §10.1).
            Purpose::Permission(peer) => builder.peer_address(SocketAddr::new(peer, 0)),
            Purpose::Channel { number, peer } => builder.channel_number(number).peer_address(peer),
        }
    }

    /// A request has waited long enough: it is sent again, byte for byte, or given up.
    pub(super) fn retransmit(&mut self, now: Instant, id: TransactionId) {
        let Some(transaction) = self.transactions.waiting.get_mut(&id) else { return };
        if transaction.sent >= MAX_SENT {
            return self.lose(now, Lost::Unreachable);
        }
        transaction.sent += 1;
        let wait = if transaction.sent == MAX_SENT { LAST_WAIT } else { RTO * (1 << (transaction.sent - 1)) };
        self.timers.set(Timer::Retransmit(id), now + wait);
        let unanswered = transaction.sent == UNANSWERED + 1 && transaction.purpose == Purpose::Allocate;
        let since = now.saturating_duration_since(transaction.began);
        if !std::mem::replace(&mut transaction.queued, true) {
            self.transactions.outbox.push_back(id);
        }
        self.counters.retransmitted += 1;
        if unanswered {
            self.events.push_back(Event::Unanswered { since });
        }
    }

    /// A response from the relay's address.
    pub(super) fn respond(&mut self, now: Instant, response: &Message<'_>) {
        let id = response.transaction();
        let Some(transaction) = self.transactions.waiting.get(&id) else {
            self.counters.unexpected += 1;
            return;
        };
        if transaction.purpose.method() != response.method() {
            self.counters.unexpected += 1;
            return;
        }
        let error = match response.class() {
            Class::Error => Some(response.error_code().ok().flatten()),
            _ => None,
        };
        if !trustworthy(transaction, response, &error) {
            self.counters.unsigned += 1;
            return;
        }
        let transaction = self.transactions.remove(&id).expect("it was there");
        self.timers.cancel(Timer::Retransmit(id));
        match error {
            None if !response.unknown_required(UNDERSTOOD).is_empty() => self.lose(now, Lost::Nonsense),
            None => self.succeed(now, transaction.purpose, response),
            Some(None) => self.lose(now, Lost::Nonsense),
            Some(Some(error)) => self.fail(now, transaction, response, error),
        }
    }

    fn succeed(&mut self, now: Instant, purpose: Purpose, response: &Message<'_>) {
        match purpose {
            Purpose::Allocate => self.allocated(now, response),
            Purpose::Refresh => self.refreshed(now, response),
            Purpose::Release => self.end(),
            Purpose::Permission(peer) => self.permission_installed(now, peer),
            Purpose::Channel { number, peer } => self.channel_bound(now, number, peer),
        }
    }

    fn fail(&mut self, now: Instant, transaction: Transaction, response: &Message<'_>, error: ErrorCode) {
        if self.answer_challenge(now, &transaction, response, error.code) {
            return;
        }
        match (transaction.purpose, error.code) {
            (Purpose::Release, _) => self.end(),
            (Purpose::Allocate, 440) if self.may_do_with_one_family() => self.allocate_single(now),
            (_, 437) => self.lose(now, Lost::Forgotten),
            (Purpose::Permission(peer), code) if !is_about_user(code) => {
                self.permission_refused(now, peer, error);
            }
            (Purpose::Channel { number, peer }, code) if !is_about_user(code) => {
                self.channel_refused(now, number, peer, error);
            }
            _ => self.lose(now, lost(error, response)),
        }
    }

    /// 401 and 438 ask for the request again, signed under the realm and nonce that they carry (RFC 8489 §9.2.5).
    /// Whether it was sent again.
    fn answer_challenge(
        &mut self,
        now: Instant,
        transaction: &Transaction,
        response: &Message<'_>,
        code: u16,
    ) -> bool {
        // After a signed request 401 means that the credentials are wrong, and the same nonce again leads nowhere.
        let due = match code {
            401 => transaction.key.is_none(),
            438 => true,
            _ => false,
        };
        let Ok(Some(nonce)) = response.nonce() else { return false };
        if !due || transaction.rounds >= MAX_ROUNDS || transaction.nonce.as_deref() == Some(nonce) {
            return false;
        }
        let realm = match (response.realm(), &self.challenge) {
            (Ok(Some(realm)), _) => realm.to_owned(),
            (_, Some(challenge)) => challenge.realm.clone(),
            _ => return false,
        };
        let key = self.config.credentials.key(&realm);
        self.challenge = Some(Challenge { realm, nonce: nonce.to_owned(), key });
        self.request_round(now, transaction.purpose, transaction.rounds + 1);
        true
    }

    /// ICMP on our socket. Anybody can send one, so an allocation that stands is not given up for it; before, it
    /// saves half a minute (RFC 8489 §6.2.1 calls it a failure).
    pub(super) fn transport_error(&mut self, now: Instant, kind: ErrorKind) {
        self.counters.transport_errors += 1;
        let nobody_there = matches!(
            kind,
            ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
        );
        if nobody_there
            && matches!(self.state, State::Allocating)
            && self.transactions.awaits(Purpose::Allocate)
        {
            self.lose(now, Lost::Rejected { kind });
        }
    }
}

/// Whether the response may be believed. A success must be signed where the request was. Errors need not be: those
/// that reject a key can't be signed with it, and coturn signs none. Only someone who sees the request knows its
/// 96 random bits, and such a one could as well drop it. A signature that is there must be right, though.
fn trustworthy(transaction: &Transaction, response: &Message<'_>, error: &Option<Option<ErrorCode>>) -> bool {
    let Some(key) = &transaction.key else { return true };
    match error {
        None => response.verify(key).is_ok(),
        Some(Some(ErrorCode { code: 401 | 438, .. })) => true,
        Some(_) => !response.has_integrity() || response.verify(key).is_ok(),
    }
}

/// Whether a code is about who asks, rather than about what is asked for.
fn is_about_user(code: u16) -> bool {
    matches!(code, 401 | 438 | 441)
}

fn lost(error: ErrorCode, response: &Message<'_>) -> Lost {
    let ErrorCode { code, reason } = error;
    match code {
        300 => Lost::Elsewhere { server: response.alternate_server().ok().flatten() },
        401 | 403 | 438 | 441 => Lost::Unauthorized { code, reason },
        486 | 500 | 508 => Lost::Busy { code, reason },
        _ => Lost::Refused { code, reason },
    }
}
