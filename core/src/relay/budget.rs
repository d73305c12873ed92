//! How many replies a source gets before it has authenticated itself: a token bucket per IPv4 address or IPv6 /64.
//!
//! The source of a datagram can be forged, so each unauthenticated reply may go to a victim. Past the budget there is
//! silence: a client that is real repeats its request (RFC 8489 §6.2.1).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::source::Source;
use crate::time::DeadlineQueue;

/// The number of sources that are remembered; some 10 MB.
const MOST_SOURCES: usize = 65_536;

/// How many replies one source gets before it has authenticated itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyBudget {
    /// Replies per second in the long run; 0 counts as 1.
    pub rate: u32,
    /// Replies at once after a pause; 0 counts as 1.
    pub burst: u32,
}

impl Default for ReplyBudget {
    fn default() -> Self {
        Self { rate: 50, burst: 200 }
    }
}

/// The buckets of all sources. A bucket is kept as the instant at which it will be full again: one that is full is
/// the same as none, so forgetting those costs nothing.
#[derive(Debug)]
pub(super) struct Budget {
    /// The time in which one token grows.
    interval: Duration,
    /// The time in which an empty bucket fills.
    depth: Duration,
    full_at: DeadlineQueue<Source>,
}

impl Budget {
    pub(super) fn new(budget: ReplyBudget) -> Self {
        let interval = Duration::from_secs(1) / budget.rate.max(1);
        Self { interval, depth: interval * budget.burst.max(1), full_at: DeadlineQueue::default() }
    }

    /// Counts by another budget from now on. What was spent stays spent.
    pub(super) fn set(&mut self, budget: ReplyBudget) {
        let Self { interval, depth, .. } = Self::new(budget);
        (self.interval, self.depth) = (interval, depth);
    }

    /// Takes one reply out of the budget of `source`; `false` when there is none left.
    pub(super) fn spend(&mut self, now: Instant, source: IpAddr) -> bool {
        let source = Source::of(source);
        let full_at = self.full_at.get(source).map_or(now, |at| at.max(now)) + self.interval;
        if full_at > now + self.depth {
            return false;
        }
        self.make_room(now);
        self.full_at.set(source, full_at);
        true
    }

    /// Forgets full buckets, two per call so that the work is bounded; and where the table has no room, the one
    /// that is fullest: its source gets a little more than its due, which a flood from that many sources does
    /// anyway.
    fn make_room(&mut self, now: Instant) {
        for _ in 0..2 {
            self.full_at.pop_due(now);
        }
        if self.full_at.len() >= MOST_SOURCES
            && let Some(fullest) = self.full_at.next()
        {
            self.full_at.pop_due(fullest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_burst_is_answered_and_then_the_rate_counts() {
        let start = crate::time::start();
        let mut budget = Budget::new(ReplyBudget { rate: 50, burst: 200 });
        let spent = (0..1000).filter(|_| budget.spend(start, v4(1))).count();
        assert_eq!(spent, 200);
        let second = Duration::from_secs(1);
        let spent = (0..1000).filter(|_| budget.spend(start + second, v4(1))).count();
        assert_eq!(spent, 50);
        assert!(budget.spend(start + second, v4(2)), "another source has its own budget");
    }

    #[test]
    fn a_prefix_of_64_bits_is_one_source() {
        let start = crate::time::start();
        let mut budget = Budget::new(ReplyBudget { rate: 1, burst: 1 });
        assert!(budget.spend(start, "2001:db8::1".parse().unwrap()));
        assert!(!budget.spend(start, "2001:db8::ffff".parse().unwrap()));
        assert!(budget.spend(start, "2001:db8:0:1::1".parse().unwrap()));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_what_is_full() {
        let start = crate::time::start();
        let mut budget = Budget::new(ReplyBudget { rate: 1, burst: 1 });
        for address in 0..100_000u32 {
            budget.spend(start, IpAddr::from(address.to_be_bytes()));
        }
        assert_eq!(budget.full_at.len(), MOST_SOURCES);
        let later = start + Duration::from_secs(10);
        budget.spend(later, v4(1));
        assert!(budget.full_at.len() < MOST_SOURCES);
    }
}
