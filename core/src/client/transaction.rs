//! Requests that wait for their responses: signing, retransmission (RFC 8489 §6.2.1), and which response counts
//! (§6.3, §9.2.5).

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::challenge::{Challenge, Unanswerable};
use super::{Client, Event, Lost, State, Timer};
use crate::stun::{Builder, Class, ErrorCode, Message, Method, TransactionId, attribute};
use crate::turn::key::Key;
use crate::turn::nonce::Features;

/// The first delay before a request is sent again; it doubles (RFC 8489 §6.2.1).
const RTO: Duration = Duration::from_millis(500);
/// How often a request is sent in all: the RFC's Rc.
const MAX_SENT: u32 = 7;
/// The same where a refusal came that nobody has signed: 3.5 s in all.
const MAX_SENT_REFUSED: u32 = 3;
/// How long to wait after the last time: the RFC's Rm × RTO.
const LAST_WAIT: Duration = RTO.saturating_mul(16);
/// After this many unanswered requests the owner hears of it: 3.5 s.
const UNANSWERED: u32 = 3;
/// The same where nothing is repeated (RFC 8489 §6.2.2).
const NOTICE: Duration = RTO.saturating_mul(7);
/// How long an answer is waited for there after that: the RFC's Ti, 39.5 s, in all.
const PATIENCE: Duration = Duration::from_secs(36);
/// How many challenges in a row are answered for one request. More is a relay that can't be satisfied.
const MAX_ROUNDS: u32 = 3;
/// How often a relay is asked again that has no room for a permission or a channel (RFC 8489 §6.3.4).
const MAX_RETRIES: u32 = 4;
/// When it is asked again for the first time; the delay doubles.
pub(super) const RETRY: Duration = Duration::from_secs(10);

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

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Purpose {
    Allocate,
    Refresh,
    /// The owner needs it no more.
    Release,
    /// What was granted makes no sense.
    Discard,
    /// The client's address has changed.
    Resume,
    Permission(IpAddr),
    Channel {
        number: u16,
        peer: SocketAddr,
    },
}

impl Purpose {
    fn method(self) -> Method {
        match self {
            Self::Allocate => Method::ALLOCATE,
            Self::Refresh | Self::Release | Self::Discard | Self::Resume => Method::REFRESH,
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
    /// What came as an answer and may be forged.
    hint: Option<Outcome>,
    /// Whether an answer came that was forged.
    forged: bool,
}

/// What a response says.
#[derive(Debug)]
enum Outcome {
    Success,
    Refused(Refusal),
    /// It holds what must be understood and is not, or is an error without a code (RFC 8489 §6.3.3, §6.3.4).
    Senseless {
        success: bool,
    },
}

/// An error response, as far as it matters.
#[derive(Debug)]
struct Refusal {
    error: ErrorCode,
    /// ALTERNATE-SERVER.
    server: Option<SocketAddr>,
}

/// What a response is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// It is the relay's.
    Full,
    /// It may be the relay's.
    Hint,
    /// It is not the relay's.
    None,
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
                let signed = challenge.sign(&self.config.credentials, builder);
                (signed, Some(challenge.key()), Some(challenge.nonce().to_owned()))
            }
        };
        let wait = if self.is_reliable() { NOTICE } else { RTO };
        self.timers.set(Timer::Retransmit(id), now + wait);
        let transaction = Transaction {
            purpose,
            bytes,
            key,
            nonce,
            sent: 1,
            queued: true,
            rounds,
            began: now,
            hint: None,
            forged: false,
        };
        if let Some(before) = self.transactions.insert(id, transaction) {
            self.timers.cancel(Timer::Retransmit(before));
        }
    }

    fn body(&self, purpose: Purpose, builder: Builder) -> Builder {
        match purpose {
            Purpose::Allocate => self.allocate_body(builder),
            Purpose::Refresh => self.lifetime_body(builder),
            Purpose::Resume => self.resume_body(builder),
            Purpose::Release | Purpose::Discard => builder.lifetime(Duration::ZERO),
            // The port of a permission's address does not count (RFC 8656 §10.1).
            Purpose::Permission(peer) => builder.peer_address(SocketAddr::new(peer, 0)),
            Purpose::Channel { number, peer } => builder.channel_number(number).peer_address(peer),
        }
    }

    /// A request has waited long enough: it is sent again, byte for byte, or given up.
    pub(super) fn retransmit(&mut self, now: Instant, id: TransactionId) {
        let reliable = self.is_reliable();
        let Some(transaction) = self.transactions.waiting.get_mut(&id) else { return };
        let most = if transaction.hint.is_some() { MAX_SENT_REFUSED } else { MAX_SENT };
        if transaction.sent >= most || (reliable && transaction.hint.is_some()) {
            return self.give_up(now, id);
        }
        if reliable {
            // The link repeats what is lost, so that there is nothing to do but wait.
            transaction.sent = MAX_SENT;
            let unanswered = transaction.purpose == Purpose::Allocate;
            self.timers.set(Timer::Retransmit(id), now + PATIENCE);
            if unanswered {
                self.events.push_back(Event::Unanswered { since: NOTICE });
            }
            return;
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

    /// Nobody has answered, or nobody who proves to be the relay.
    fn give_up(&mut self, now: Instant, id: TransactionId) {
        let Some(Transaction { purpose, hint, forged, .. }) = self.transactions.remove(&id) else { return };
        match hint {
            Some(Outcome::Refused(refusal)) => self.fail(now, purpose, refusal),
            Some(_) => self.lose(now, Lost::Nonsense),
            None if purpose == Purpose::Discard => self.lose(now, Lost::Nonsense),
            // RFC 8489 §9.2.5: this is not told as a time-out.
            None if forged => self.lose(now, Lost::Unverified),
            None => self.lose(now, Lost::Unreachable),
        }
    }

    /// A response from the relay's address.
    pub(super) fn respond(&mut self, now: Instant, response: &Message<'_>) {
        let id = response.transaction();
        let waiting = self.transactions.waiting.get_mut(&id);
        let Some(transaction) = waiting.filter(|waiting| waiting.purpose.method() == response.method())
        else {
            self.counters.unexpected += 1;
            return;
        };
        let outcome = Outcome::read(response);
        match trust(transaction, response, &outcome) {
            Trust::Full => {}
            Trust::Hint => {
                transaction.hint = Some(outcome);
                self.counters.unsigned += 1;
                return;
            }
            Trust::None => {
                transaction.forged = true;
                self.counters.unsigned += 1;
                return;
            }
        }
        let transaction = self.transactions.remove(&id).expect("it was there");
        self.timers.cancel(Timer::Retransmit(id));
        match outcome {
            Outcome::Success => self.succeed(now, transaction.purpose, response),
            // There is an allocation, of which nothing is known.
            Outcome::Senseless { success: true } if transaction.purpose == Purpose::Allocate => {
                self.discard_allocation(now);
            }
            Outcome::Senseless { .. } => self.lose(now, Lost::Nonsense),
            Outcome::Refused(refusal) => {
                if !self.answer_challenge(now, &transaction, response, refusal.error.code) {
                    self.fail(now, transaction.purpose, refusal);
                }
            }
        }
    }

    fn succeed(&mut self, now: Instant, purpose: Purpose, response: &Message<'_>) {
        match purpose {
            Purpose::Allocate => self.allocated(now, response),
            Purpose::Refresh => self.refreshed(now, response),
            Purpose::Resume => self.resumed(now, response),
            Purpose::Release => self.end(),
            Purpose::Discard => self.lose(now, Lost::Nonsense),
            Purpose::Permission(peer) => self.permission_installed(now, peer),
            Purpose::Channel { number, peer } => self.channel_bound(now, number, peer),
        }
    }

    fn fail(&mut self, now: Instant, purpose: Purpose, refusal: Refusal) {
        match (purpose, refusal.error.code) {
            (Purpose::Release, _) => self.end(),
            (Purpose::Discard, _) => self.lose(now, Lost::Nonsense),
            (Purpose::Allocate, 440) if self.may_do_with_one_family() => self.allocate_single(now),
            (Purpose::Allocate, 405) if self.mobile => self.allocate_immobile(now),
            (Purpose::Resume, 400 | 405 | 437) => self.lose(now, Lost::Forgotten),
            // Where the client's address has changed on the way, the relay knows the allocation by its ticket.
            (_, 437) if self.may_resume(now) => {}
            (_, 437) => self.lose(now, Lost::Forgotten),
            (Purpose::Permission(peer), code) if !is_about_user(code) => {
                self.permission_refused(now, peer, refusal.error);
            }
            (Purpose::Channel { number, peer }, code) if !is_about_user(code) => {
                self.channel_refused(now, number, peer, refusal.error);
            }
            _ => self.lose(now, refusal.into()),
        }
    }

    /// 401 and 438 ask for the request again, signed under the realm and nonce that they carry (RFC 8489 §9.2.5).
    /// Whether that is all that they mean.
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
        match Challenge::read(response, self.challenge.as_ref(), &self.config.credentials) {
            Ok(challenge) => {
                self.challenge = Some(challenge);
                self.request_round(now, transaction.purpose, transaction.rounds + 1);
                true
            }
            Err(Unanswerable::Weakened) => {
                self.lose(now, Lost::Unverified);
                true
            }
            Err(Unanswerable::Incomplete | Unanswerable::Unknown) => false,
        }
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

impl Outcome {
    fn read(response: &Message<'_>) -> Self {
        let success = response.class() == Class::Success;
        if !response.unknown_required(UNDERSTOOD).is_empty() {
            return Self::Senseless { success };
        }
        if success {
            return Self::Success;
        }
        match response.error_code() {
            Ok(Some(error)) => {
                Self::Refused(Refusal { error, server: response.alternate_server().ok().flatten() })
            }
            _ => Self::Senseless { success },
        }
    }
}

/// What a response is worth (RFC 8489 §9.2.5). To a signed request a success must be signed; a signature that is there
/// must be right. 438 rejects what a signature would be made with, so that it needs none. To an Allocate, 401 costs nothing,
/// nor does 405, with which coturn answers whoever asks for a ticket. Other errors without one count as if they had not
/// come, as long as there may still be an answer that is signed: the request is sent again, and a copy of it that was
/// damaged on its way, which is answered by 401, costs no allocation. But coturn signs no error at all, so that in the end,
/// which then comes sooner, they are better than nothing.
fn trust(transaction: &Transaction, response: &Message<'_>, outcome: &Outcome) -> Trust {
    let Some(key) = &transaction.key else { return Trust::Full };
    if let Outcome::Refused(Refusal { error: ErrorCode { code, .. }, .. }) = outcome
        && (*code == 438 || (matches!(code, 401 | 405) && transaction.purpose == Purpose::Allocate))
    {
        return Trust::Full;
    }
    let features = Features::of(response.nonce().ok().flatten().unwrap_or_default());
    if features.password_algorithms && response.attribute(attribute::PASSWORD_ALGORITHMS).is_none() {
        return Trust::None;
    }
    match key.verify(response) {
        Ok(()) => Trust::Full,
        Err(_) if response.has_integrity() || response.class() == Class::Success => Trust::None,
        Err(_) => Trust::Hint,
    }
}

/// Whether a code says that there is no room at present.
pub(super) fn is_busy(code: u16) -> bool {
    matches!(code, 486 | 500..=599)
}

/// When a relay that had no room is asked again, after the `refusals`th time in a row; `None`: never.
pub(super) fn retry_in(refusals: u32) -> Option<Duration> {
    (refusals <= MAX_RETRIES).then(|| RETRY * (1 << refusals.saturating_sub(1)))
}

/// Whether a code is about who asks, rather than about what is asked for.
fn is_about_user(code: u16) -> bool {
    matches!(code, 401 | 438 | 441)
}

impl From<Refusal> for Lost {
    fn from(Refusal { error: ErrorCode { code, reason }, server }: Refusal) -> Self {
        match code {
            300 => Self::Elsewhere { server },
            401 | 403 | 438 | 441 => Self::Unauthorized { code, reason },
            code if is_busy(code) => Self::Busy { code, reason },
            _ => Self::Refused { code, reason },
        }
    }
}
