//! How many replies a source gets before it has authenticated itself: a token bucket per IPv4 address or IPv6 /64.
//!
//! The source of a datagram can be forged, so each unauthenticated reply may go to a victim. Past the budget there is
//! silence: a client that is real repeats its request (RFC 8489 §6.2.1).

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::source::Source;
use crate::rand::Rng;

/// How many sources are remembered at the most: sets of so many ways, in pages that exist once they are needed. A source
/// has its place in one set. All together they are 512 KiB.
const WAYS: usize = 4;
const SETS_OF_A_PAGE: usize = 64;
const PAGES: usize = 256;

/// Ticks of a second.
const TICKS: u64 = 1 << 16;

/// Bits of the time in a place; the rest tells sources of a set apart.
const TIME_BITS: u32 = 44;
const TIME: u64 = (1 << TIME_BITS) - 1;

/// The longest that an empty bucket takes to fill, in ticks: a little more than an hour. What seems to lie further ahead
/// is long past.
const LONGEST: u64 = 1 << 28;

/// How often a place is tried that others are writing to.
const MOST_TRIES: usize = 8;

/// How many replies one source gets before it has authenticated itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyBudget {
    /// Replies per second in the long run; 0 counts as 1, and more than 65,536 as that.
    pub rate: u32,
    /// Replies at once after a pause; 0 counts as 1.
    pub burst: u32,
}

impl Default for ReplyBudget {
    fn default() -> Self {
        Self { rate: 50, burst: 200 }
    }
}

impl ReplyBudget {
    /// The ticks in which one token grows, and those in which an empty bucket fills.
    fn ticks(self) -> (u64, u64) {
        let interval = (TICKS / u64::from(self.rate.max(1))).max(1);
        (interval, (interval * u64::from(self.burst.max(1))).min(LONGEST))
    }
}

/// The buckets of all sources, for all shards of a relay. A bucket is kept as the tick at which it will be full again: one
/// that is full is the same as none, so forgetting those costs nothing.
#[derive(Debug)]
pub(super) struct Replies {
    epoch: Instant,
    /// Nobody else knows which sources share a set.
    keys: [u64; 2],
    pages: [OnceLock<Page>; PAGES],
}

type Page = Box<[[AtomicU64; WAYS]; SETS_OF_A_PAGE]>;

impl Replies {
    /// Nobody has been answered yet.
    pub(super) fn new(epoch: Instant, rng: &mut Rng) -> Self {
        let keys = [rng.bytes(), rng.bytes()].map(u64::from_be_bytes);
        Self { epoch, keys, pages: [const { OnceLock::new() }; PAGES] }
    }

    /// Takes one reply out of the budget of `source`; `false` when there is none left.
    pub(super) fn spend(&self, now: Instant, budget: ReplyBudget, source: IpAddr) -> bool {
        let (interval, depth) = budget.ticks();
        let now = self.tick(now);
        let (set, tag) = self.place(Source::of(source));
        for _ in 0..MOST_TRIES {
            let (place, seen, ahead) = look(set, tag, now);
            let after = ahead + interval;
            if after > depth {
                return false;
            }
            let value = tag << TIME_BITS | now.wrapping_add(after) & TIME;
            if place.compare_exchange(seen, value, Relaxed, Relaxed).is_ok() {
                return true;
            }
        }
        false
    }

    fn tick(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        let whole = since.as_secs().wrapping_mul(TICKS);
        whole.wrapping_add(u64::from(since.subsec_nanos()) * TICKS / 1_000_000_000)
    }

    /// The set of a source, and what tells it apart there.
    fn place(&self, source: Source) -> (&[AtomicU64; WAYS], u64) {
        let (version, address) = match source {
            Source::V4(address) => (4, u64::from(address)),
            Source::V6(prefix) => (6, prefix),
        };
        let hash = mix(mix(address ^ self.keys[0]) ^ self.keys[1].wrapping_add(version));
        let set = (hash >> TIME_BITS) as usize % (SETS_OF_A_PAGE * PAGES);
        let page = self.pages[set / SETS_OF_A_PAGE]
            .get_or_init(|| Box::new([const { [const { AtomicU64::new(0) }; WAYS] }; SETS_OF_A_PAGE]));
        (&page[set % SETS_OF_A_PAGE], hash & (u64::MAX >> TIME_BITS))
    }
}

/// The place of a source in its set, what is there, and in how many ticks its bucket will be full. Where the set has no
/// room, it is the place of the bucket that is fullest: whose that is gets a little more than its due, which a flood from
/// that many sources does anyway.
fn look(set: &[AtomicU64; WAYS], tag: u64, now: u64) -> (&AtomicU64, u64, u64) {
    let all = set.each_ref().map(|place| (place, place.load(Relaxed)));
    let ahead = |value: u64| {
        let ahead = value.wrapping_sub(now) & TIME;
        if ahead > LONGEST { 0 } else { ahead }
    };
    let mine = all.iter().find(|(_, value)| value >> TIME_BITS == tag && ahead(*value) > 0);
    if let Some(&(place, value)) = mine {
        return (place, value, ahead(value));
    }
    let [first, rest @ ..] = all;
    let (place, value) =
        rest.into_iter().fold(first, |best, other| if ahead(other.1) < ahead(best.1) { other } else { best });
    (place, value, 0)
}

/// Spreads (the finalizer of SplitMix64).
fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

const _: () = assert!(Duration::from_secs(1).as_nanos() >= TICKS as u128);

#[cfg(test)]
mod tests {
    use super::*;

    fn replies() -> (Replies, Instant) {
        let start = crate::time::start();
        (Replies::new(start, &mut Rng::new([5; 32])), start)
    }

    fn v4(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_burst_is_answered_and_then_the_rate_counts() {
        let (replies, start) = replies();
        let budget = ReplyBudget { rate: 50, burst: 200 };
        let spent = |at| (0..1000).filter(|_| replies.spend(at, budget, v4(1))).count();
        assert_eq!(spent(start), 200);
        let second = Duration::from_secs(1);
        assert_eq!(spent(start + second), 50);
        assert!(replies.spend(start + second, budget, v4(2)), "another source has its own budget");
        let years = Duration::from_secs(9 * 365 * 86_400);
        assert_eq!(spent(start + years), 200, "times go round, and nobody is silenced by that");
        assert_eq!(spent(start + years + second), 50);
    }

    #[test]
    fn a_prefix_of_64_bits_is_one_source() {
        let (replies, start) = replies();
        let spend =
            |source: &str| replies.spend(start, ReplyBudget { rate: 1, burst: 1 }, source.parse().unwrap());
        assert!(spend("2001:db8::1"));
        assert!(!spend("2001:db8::ffff"));
        assert!(spend("2001:db8:0:1::1"));
    }

    #[test]
    fn memory_has_an_end_and_a_flood_silences_nobody_else() {
        let (replies, start) = replies();
        let budget = ReplyBudget { rate: 1, burst: 1 };
        let answered = (0..200_000u32)
            .filter(|address| replies.spend(start, budget, IpAddr::from(address.to_be_bytes())))
            .count();
        assert_eq!(answered, 200_000, "each for the first time");
        let places = WAYS * SETS_OF_A_PAGE * PAGES;
        let known = (0..200_000u32)
            .filter(|address| !replies.spend(start, budget, IpAddr::from(address.to_be_bytes())))
            .count();
        assert!(known < places, "{known}");
        assert!(!replies.spend(start, budget, IpAddr::from(199_999u32.to_be_bytes())));
    }

    #[test]
    fn shards_that_answer_at_once_have_one_budget() {
        let (replies, start) = replies();
        let budget = ReplyBudget { rate: 1, burst: 500 };
        let spent = std::thread::scope(|scope| {
            let spend = || (0..1000).filter(|_| replies.spend(start, budget, v4(1))).count();
            let all: Vec<_> = (0..4).map(|_| scope.spawn(spend)).collect();
            all.into_iter().map(|each| each.join().unwrap()).sum::<usize>()
        });
        assert!((400..=500).contains(&spent), "{spent}");
    }
}
