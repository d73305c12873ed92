//! What the shards of one relay count together: allocations, of each user and in all, what is relayed for a user, the
//! replies that strangers got, and which ports are relayed addresses. A relay with one shard has one of its own.
//!
//! Everything that is counted is an atomic number. A lock is held only while a shard finds the numbers of a user of whom it
//! had no allocation before, or parts with them.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::budget::Replies;
use super::config::IpVersion;
use crate::rand::Rng;

/// The largest payload of a datagram: every bucket holds as much, or it could never pass.
const LARGEST: u64 = 65_535;

/// How many grants a full bucket has for each shard: so little is idle where a user is in many of them.
const GRANTS: u64 = 8;

/// Bits of a word.
const WORD: usize = 64;

/// The numbers of one relay, however many shards it has.
pub struct Ledger {
    /// From when times are counted.
    epoch: Instant,
    shards: u16,
    /// Allocations, and what counts as one.
    all: AtomicU32,
    /// Empty where there is one shard, which knows its users itself.
    accounts: Mutex<BTreeMap<Arc<str>, Held>>,
    replies: Replies,
    /// A bit for each port that is relayed, by version of IP.
    relayed: [Box<[AtomicU64]>; 2],
}

/// An account, and how many shards have it.
struct Held {
    account: Arc<Account>,
    shards: u16,
}

/// What is counted of one user.
#[derive(Debug, Default)]
pub(super) struct Account {
    allocations: AtomicU32,
    /// When the bucket of each way will be full again, in nanoseconds since the epoch. One that is full is the same as none.
    full_at: [AtomicU64; 2],
}

/// What may be drawn from a bucket at once, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    /// It is nothing if there is not so much.
    pub(super) least: u64,
    /// How fast the bucket fills.
    pub(super) rate: NonZeroU64,
}

impl Ledger {
    /// Nothing is counted yet. `now` is that of all shards.
    pub(super) fn new(shards: u16, now: Instant, rng: &mut Rng) -> Self {
        let bits = || (0..(usize::from(u16::MAX) + 1) / WORD).map(|_| AtomicU64::new(0)).collect();
        Self {
            epoch: now,
            shards,
            all: AtomicU32::new(0),
            accounts: Mutex::default(),
            replies: Replies::new(now, rng),
            relayed: [bits(), bits()],
        }
    }

    /// The account of a user, for a shard that did not have it. To be given back by [`close`](Self::close).
    pub(super) fn open(&self, user: &Arc<str>) -> Arc<Account> {
        if self.shards == 1 {
            return Arc::default();
        }
        let mut accounts = self.accounts();
        let held =
            accounts.entry(Arc::clone(user)).or_insert_with(|| Held { account: Arc::default(), shards: 0 });
        held.shards += 1;
        Arc::clone(&held.account)
    }

    /// A shard has no allocation of the user any more.
    pub(super) fn close(&self, user: &str) {
        let mut accounts = self.accounts();
        let Some(held) = accounts.get_mut(user) else { return };
        held.shards -= 1;
        if held.shards == 0 {
            accounts.remove(user);
        }
    }

    /// Counts so many more in all, if there are not more than `most` then.
    pub(super) fn add(&self, wanted: u32, most: Option<u32>) -> bool {
        count_up(&self.all, wanted, most)
    }

    /// Counts so many less in all.
    pub(super) fn subtract(&self, count: u32) {
        self.all.fetch_sub(count, Relaxed);
    }

    /// The replies that strangers got.
    pub(super) fn replies(&self) -> &Replies {
        &self.replies
    }

    /// Draws from one bucket of an account: what is asked for, or a grant, where that is more and the bucket has it. It
    /// holds what may pass in a second, and at least one datagram of any size. `None` when it has too little.
    pub(super) fn draw(&self, now: Instant, account: &Account, way: usize, draw: Draw) -> Option<u64> {
        let Draw { least, rate } = draw;
        let depth = LARGEST.max(rate.get());
        let grant = least.max(depth / (GRANTS * u64::from(self.shards)));
        let now = nanos(now.saturating_duration_since(self.epoch).as_nanos());
        let full_in = nanos_for(depth, rate);
        let mut drawn = 0;
        let drew = account.full_at[way].fetch_update(Relaxed, Relaxed, |full_at| {
            let from = full_at.max(now);
            let left = now.saturating_add(full_in).checked_sub(from)?;
            let left = u128::from(left) * u128::from(rate.get()) / 1_000_000_000;
            drawn = nanos(left).min(grant);
            (drawn >= least).then(|| from.saturating_add(nanos_for(drawn, rate)))
        });
        drew.ok().map(|_| drawn)
    }

    /// Takes all that is asked for out of a bucket, also where it has less: then it says how long it takes until the debt is
    /// paid.
    pub(super) fn overdraw(
        &self,
        now: Instant,
        account: &Account,
        way: usize,
        Draw { least, rate }: Draw,
    ) -> Option<Duration> {
        let now = nanos(now.saturating_duration_since(self.epoch).as_nanos());
        let after = |full_at: u64| full_at.max(now).saturating_add(nanos_for(least, rate));
        let before = account.full_at[way].fetch_update(Relaxed, Relaxed, |full_at| Some(after(full_at)));
        let (Ok(before) | Err(before)) = before;
        let full = now.saturating_add(nanos_for(LARGEST.max(rate.get()), rate));
        after(before).checked_sub(full).filter(|&debt| debt > 0).map(Duration::from_nanos)
    }

    /// Notes whether a relayed address has the port.
    pub(super) fn note_port(&self, version: IpVersion, port: u16, relayed: bool) {
        let (word, bit) = place(port);
        let word = &self.relayed[version as usize][word];
        if relayed {
            word.fetch_or(bit, Relaxed);
        } else {
            word.fetch_and(!bit, Relaxed);
        }
    }

    /// Whether a relayed address of any shard has the port. On the data path: one load.
    pub(super) fn is_relayed(&self, version: IpVersion, port: u16) -> bool {
        let (word, bit) = place(port);
        self.relayed[version as usize][word].load(Relaxed) & bit != 0
    }

    /// Whoever has panicked has not left anything half done.
    fn accounts(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Held>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("shards", &self.shards).field("all", &self.all).finish_non_exhaustive()
    }
}

impl Account {
    /// Counts so many more of the user, if there are not more than `most` then.
    pub(super) fn add(&self, wanted: u32, most: Option<u32>) -> bool {
        count_up(&self.allocations, wanted, most)
    }

    /// Counts so many less of the user.
    pub(super) fn subtract(&self, count: u32) {
        self.allocations.fetch_sub(count, Relaxed);
    }
}

fn count_up(count: &AtomicU32, wanted: u32, most: Option<u32>) -> bool {
    let more = |count: u32| count.checked_add(wanted).filter(|&after| most.is_none_or(|most| after <= most));
    count.fetch_update(Relaxed, Relaxed, more).is_ok()
}

/// Where the bit of a port is.
fn place(port: u16) -> (usize, u64) {
    (usize::from(port) / WORD, 1 << (usize::from(port) % WORD))
}

/// The time in which so many bytes pass.
fn nanos_for(bytes: u64, rate: NonZeroU64) -> u64 {
    nanos(u128::from(bytes) * 1_000_000_000 / u128::from(rate.get()))
}

fn nanos(wide: u128) -> u64 {
    u64::try_from(wide).unwrap_or(u64::MAX)
}

/// How long what was drawn may be kept: the bucket would be full again by then.
pub(super) const KEPT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> (Ledger, Instant) {
        let now = crate::time::start();
        (Ledger::new(2, now, &mut Rng::new([3; 32])), now)
    }

    #[test]
    fn shards_have_one_account_of_a_user_until_the_last_has_closed_it() {
        let (ledger, _) = ledger();
        let (first, second) = (ledger.open(&"alice".into()), ledger.open(&"alice".into()));
        assert!(Arc::ptr_eq(&first, &second) && first.add(2, Some(2)) && !second.add(1, Some(2)));
        ledger.close("alice");
        assert!(Arc::ptr_eq(&first, &ledger.open(&"alice".into())));
        ledger.close("alice");
        ledger.close("alice");
        assert!(ledger.accounts().is_empty());
        assert!(!Arc::ptr_eq(&first, &ledger.open(&"alice".into())), "nothing is kept of who has gone");
    }

    #[test]
    fn many_who_count_at_once_never_pass_the_limit() {
        let (ledger, _) = ledger();
        let counted = std::thread::scope(|scope| {
            let count = || (0..1000).filter(|_| ledger.add(3, Some(1000))).count();
            let all: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            all.into_iter().map(|each| each.join().unwrap()).sum::<usize>()
        });
        assert_eq!((counted, ledger.all.load(Relaxed)), (333, 999));
    }

    #[test]
    fn grants_are_parts_of_a_bucket_and_end_with_it() {
        let (ledger, now) = ledger();
        let (account, rate) = (Account::default(), NonZeroU64::new(160_000).unwrap());
        let draw = |now, least| ledger.draw(now, &account, 0, Draw { least, rate });
        assert_eq!(draw(now, 1), Some(10_000));
        assert_eq!(draw(now, 145_000), Some(145_000));
        assert_eq!(draw(now, 1), Some(5000), "what is left");
        assert_eq!(draw(now, 1), None);
        assert_eq!(draw(now + Duration::from_millis(1), 161), None);
        assert_eq!(draw(now + Duration::from_millis(1), 160), Some(160));
        assert_eq!(draw(now + Duration::from_secs(9), 160_001), None, "what was not used is not saved up");
        assert_eq!(draw(now + Duration::from_secs(9), 160_000), Some(160_000));
    }

    #[test]
    fn ports_of_relayed_addresses_are_known() {
        let (ledger, _) = ledger();
        for port in [1024, 50_000, 50_001, 65_535] {
            ledger.note_port(IpVersion::V4, port, true);
            assert!(ledger.is_relayed(IpVersion::V4, port) && !ledger.is_relayed(IpVersion::V6, port));
        }
        ledger.note_port(IpVersion::V4, 50_000, false);
        assert!(!ledger.is_relayed(IpVersion::V4, 50_000) && ledger.is_relayed(IpVersion::V4, 50_001));
    }
}
