//! Transactions of allocations that their clients have ended: a late duplicate must neither be refused nor raise the
//! dead.

use std::time::{Duration, Instant};

use super::allocation::FiveTuple;
use crate::stun::TransactionId;
use crate::time::DeadlineQueue;

/// How long a transaction is remembered: a client repeats itself for 39.5 s (RFC 8489 §6.2.1).
const MEMORY: Duration = Duration::from_secs(40);

/// How many are remembered; the oldest are forgotten first.
const MOST: usize = 8192;

/// The transactions that are over.
#[derive(Debug, Default)]
pub(super) struct Departed {
    until: DeadlineQueue<(FiveTuple, TransactionId)>,
}

impl Departed {
    /// Remembers a transaction.
    pub(super) fn add(&mut self, now: Instant, tuple: FiveTuple, transaction: TransactionId) {
        while self.until.pop_due(now).is_some() {}
        if self.until.len() >= MOST
            && let Some(oldest) = self.until.next()
        {
            self.until.pop_due(oldest);
        }
        self.until.set((tuple, transaction), now + MEMORY);
    }

    /// Whether the transaction is over.
    pub(super) fn remembers(&self, now: Instant, tuple: FiveTuple, transaction: TransactionId) -> bool {
        self.until.get((tuple, transaction)).is_some_and(|until| now < until)
    }
}
