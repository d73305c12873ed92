//! Transactions of allocations that their clients have ended: a late duplicate must neither be refused nor raise the
//! dead.

use std::time::{Duration, Instant};

use super::via::FiveTuple;
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

#[cfg(test)]
mod tests {
    use super::super::via::Via;
    use super::*;
    use crate::io::{Id as _, SocketId};

    /// However many allocations their clients end: the oldest are forgotten first, and all after their time.
    #[test]
    fn memory_has_an_end_in_number_and_in_time() {
        let start = crate::time::start();
        let tuple = FiveTuple { client: ([192, 0, 2, 1], 1).into(), via: Via::Udp(SocketId::new(0, 0)) };
        let id = |number: u32| -> TransactionId {
            let mut id = [0; 12];
            id[..4].copy_from_slice(&number.to_be_bytes());
            id
        };
        let mut departed = Departed::default();
        let most = u32::try_from(MOST).unwrap();
        for number in 0..=most {
            departed.add(start + Duration::from_micros(number.into()), tuple, id(number));
        }
        assert_eq!(departed.until.len(), MOST);
        assert!(!departed.remembers(start, tuple, id(0)) && departed.remembers(start, tuple, id(1)));
        let other = FiveTuple { client: ([192, 0, 2, 1], 2).into(), ..tuple };
        assert!(!departed.remembers(start, other, id(1)), "another client's is another one");
        assert!(!departed.remembers(start + MEMORY + Duration::from_secs(1), tuple, id(most)));
        departed.add(start + 2 * MEMORY, tuple, id(0));
        assert_eq!(departed.until.len(), 1);
    }
}
