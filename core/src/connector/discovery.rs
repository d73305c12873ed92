//! Asks a relay how it sees our own sockets: STUN's Binding (RFC 8489 §3), from the very sockets that QUIC uses.
//!
//! ```text
//! discover ──▶ Binding request ──▶ success ──▶ Mapped
//!                  ▲      │           error ──▶ NotMapped
//!                  └──────┘ after 0.5 s, 1 s, 2 s; after 5 s in all: NotMapped
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::sockets::Families;
use super::{DiscoverError, Event};
use crate::rand::Rng;
use crate::stun::{Builder, Class, Message, Method, TransactionId, attribute};
use crate::time::DeadlineQueue;

/// How long to wait before a request is sent again, and in the end given up. The RFC's first delay and its doubling
/// (RFC 8489 §6.2.1), but not its 39.5 s: whoever asks has somebody waiting.
const WAITS: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
    Duration::from_millis(1500),
];
/// How many relays may be asked at once.
const MAX_ASKED: usize = 64;
/// What is understood among the attributes that must be understood.
const UNDERSTOOD: &[u16] = &[
    attribute::MAPPED_ADDRESS,
    attribute::XOR_MAPPED_ADDRESS,
    attribute::ERROR_CODE,
    attribute::UNKNOWN_ATTRIBUTES,
];

#[derive(Debug)]
pub(super) struct Discovery {
    rng: Rng,
    /// Those that are asked once the sockets are bound.
    waiting: BTreeSet<SocketAddr>,
    asked: BTreeMap<SocketAddr, Question>,
    outbox: VecDeque<SocketAddr>,
    overdue: DeadlineQueue<SocketAddr>,
}

#[derive(Debug)]
struct Question {
    id: TransactionId,
    bytes: Vec<u8>,
    via: u32,
    sent: usize,
    queued: bool,
}

impl Discovery {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            rng,
            waiting: BTreeSet::new(),
            asked: BTreeMap::new(),
            outbox: VecDeque::new(),
            overdue: DeadlineQueue::default(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.overdue.next()
    }

    /// Asks `relay`, unless it is being asked. `families` is `None` while the sockets are not bound yet.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        families: Option<Families>,
        relay: SocketAddr,
        out: &mut VecDeque<Event>,
    ) {
        if self.waiting.contains(&relay) || self.asked.contains_key(&relay) {
            return;
        }
        if self.waiting.len() + self.asked.len() >= MAX_ASKED {
            return out.push_back(Event::NotMapped { relay, error: DiscoverError::TooMany });
        }
        match families.map(|families| families.via(relay)) {
            None => drop(self.waiting.insert(relay)),
            Some(Ok(via)) => self.send(now, relay, via),
            Some(Err(kind)) => {
                out.push_back(Event::NotMapped { relay, error: DiscoverError::Socket(kind) });
            }
        }
    }

    /// The sockets are bound, or will never be.
    pub(super) fn sockets_settled(&mut self, now: Instant, families: Families, out: &mut VecDeque<Event>) {
        for relay in std::mem::take(&mut self.waiting) {
            self.ask(now, Some(families), relay, out);
        }
    }

    fn send(&mut self, now: Instant, relay: SocketAddr, via: u32) {
        let id = self.rng.bytes();
        let bytes = Builder::new(Class::Request, Method::BINDING, id).finish();
        self.asked.insert(relay, Question { id, bytes, via, sent: 1, queued: true });
        self.outbox.push_back(relay);
        self.overdue.set(relay, now + WAITS[0]);
    }

    /// The next request: the number of the socket, the relay, the bytes.
    pub(super) fn next_to_send(&mut self) -> Option<(u32, SocketAddr, &[u8])> {
        loop {
            let relay = self.outbox.pop_front()?;
            // It may have been answered meanwhile.
            if self.asked.contains_key(&relay) {
                let question = self.asked.get_mut(&relay)?;
                question.queued = false;
                return Some((question.via, relay, &question.bytes));
            }
        }
    }

    /// A message of STUN; whether it was an answer to a question of ours.
    pub(super) fn handle(
        &mut self,
        via: u32,
        remote: SocketAddr,
        message: &Message<'_>,
        out: &mut VecDeque<Event>,
    ) -> bool {
        let Some(question) = self.asked.get(&remote) else { return false };
        let answers = matches!(message.class(), Class::Success | Class::Error)
            && message.method() == Method::BINDING
            && message.transaction() == question.id
            && question.via == via;
        if answers {
            self.forget(remote);
            out.push_back(match read(message) {
                Ok(address) => Event::Mapped { relay: remote, address },
                Err(error) => Event::NotMapped { relay: remote, error },
            });
        }
        answers
    }

    /// Asks again, or no more.
    pub(super) fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Event>) {
        while let Some(relay) = self.overdue.pop_due(now) {
            let Some(question) = self.asked.get_mut(&relay) else { continue };
            let Some(&wait) = WAITS.get(question.sent) else {
                self.forget(relay);
                out.push_back(Event::NotMapped { relay, error: DiscoverError::NoAnswer });
                continue;
            };
            question.sent += 1;
            if !std::mem::replace(&mut question.queued, true) {
                self.outbox.push_back(relay);
            }
            self.overdue.set(relay, now + wait);
        }
    }

    /// Asks nobody any more.
    pub(super) fn close(&mut self, out: &mut VecDeque<Event>) {
        let asked = std::mem::take(&mut self.asked).into_keys();
        for relay in std::mem::take(&mut self.waiting).into_iter().chain(asked) {
            self.overdue.cancel(relay);
            out.push_back(Event::NotMapped { relay, error: DiscoverError::NoAnswer });
        }
        self.outbox.clear();
    }

    fn forget(&mut self, relay: SocketAddr) {
        self.asked.remove(&relay);
        self.overdue.cancel(relay);
    }
}

/// Our own address, as an answer tells it.
fn read(answer: &Message<'_>) -> Result<SocketAddr, DiscoverError> {
    if answer.class() == Class::Error {
        let error = answer.error_code().ok().flatten().ok_or(DiscoverError::Nonsense)?;
        return Err(DiscoverError::Refused { code: error.code });
    }
    // RFC 8489 §6.3.3: what must be understood and is not fails the transaction.
    if !answer.unknown_required(UNDERSTOOD).is_empty() {
        return Err(DiscoverError::Nonsense);
    }
    answer.mapped_address().ok().flatten().ok_or(DiscoverError::Nonsense)
}
