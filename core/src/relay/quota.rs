//! How many allocations there may be, in all and per user, and how many bytes a second a user may have relayed.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::io::{Arena, id};

/// The largest payload of a datagram: every bucket holds as much, or it could never pass.
const LARGEST: u64 = 65_535;

id! {
    /// Names a user who has allocations; generational.
    pub(super) UserId
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// That of the user; 486 on the wire (RFC 8656 §7.2).
    User,
    /// That of the relay; 508 on the wire.
    Total,
}

/// Which way data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToPeers,
    ToClients,
}

/// Counts allocations, pending ones as well, by the identifier of their user, and measures what is relayed for each.
/// Nothing is kept of users who have none.
#[derive(Debug)]
pub(super) struct Quota {
    per_user: Option<u32>,
    total: Option<u32>,
    /// Bytes a second, each way.
    rate: Option<NonZeroU64>,
    by_id: BTreeMap<Arc<str>, UserId>,
    users: Arena<UserId, User>,
    all: u32,
}

/// What is known of one user.
#[derive(Debug, Default)]
struct User {
    count: u32,
    /// When the bucket of each way will be full again; one that is full is the same as none.
    full_at: [Option<Instant>; 2],
}

impl Quota {
    /// Nothing counted yet. `None` is no limit.
    pub(super) fn new(per_user: Option<u32>, total: Option<u32>, rate: Option<NonZeroU64>) -> Self {
        Self { per_user, total, rate, by_id: BTreeMap::new(), users: Arena::default(), all: 0 }
    }

    /// Judges by other limits from now on.
    pub(super) fn set(&mut self, per_user: Option<u32>, total: Option<u32>) {
        (self.per_user, self.total) = (per_user, total);
    }

    /// Measures by another rate from now on.
    pub(super) fn set_rate(&mut self, rate: Option<NonZeroU64>) {
        self.rate = rate;
    }

    /// Whether `user`, who may have `most` by their own credentials, may have `wanted` more.
    ///
    /// # Errors
    /// [`Exceeded`] when not.
    pub(super) fn judge(&self, user: &str, most: Option<u32>, wanted: u32) -> Result<(), Exceeded> {
        let count = self.count(user);
        let exceeds = |count: u32, most: Option<u32>| most.is_some_and(|most| count + wanted > most);
        if exceeds(count, self.per_user) || exceeds(count, most) {
            return Err(Exceeded::User);
        }
        if exceeds(self.all, self.total) { Err(Exceeded::Total) } else { Ok(()) }
    }

    /// Counts one more of `user`.
    pub(super) fn add(&mut self, user: &Arc<str>) -> UserId {
        let id = match self.by_id.get(user) {
            Some(&id) => id,
            None => {
                let id = self.users.insert(User::default());
                self.by_id.insert(Arc::clone(user), id);
                id
            }
        };
        if let Some(user) = self.users.get_mut(id) {
            user.count += 1;
        }
        self.all += 1;
        id
    }

    /// Counts one less of `user`.
    pub(super) fn remove(&mut self, user: &str) {
        let Some(&id) = self.by_id.get(user) else { return };
        let Some(known) = self.users.get_mut(id) else { return };
        known.count -= 1;
        self.all -= 1;
        if known.count == 0 {
            self.users.remove(id);
            self.by_id.remove(user);
        }
    }

    /// Whether so many bytes may be relayed now for `user` that way; they are counted if so. A token bucket that holds
    /// what may pass in a second, and at least one datagram of any size. On the data path: one look-up, no allocation.
    pub(super) fn spend(&mut self, now: Instant, user: UserId, way: Way, len: usize) -> bool {
        let Some(rate) = self.rate else { return true };
        let Some(user) = self.users.get_mut(user) else { return true };
        let full_at = &mut user.full_at[way as usize];
        let after = full_at.map_or(now, |at| at.max(now)) + time_for(len as u64, rate);
        if after > now + time_for(LARGEST.max(rate.get()), rate) {
            return false;
        }
        *full_at = Some(after);
        true
    }

    /// How many `user` has.
    pub(super) fn count(&self, user: &str) -> u32 {
        self.by_id.get(user).and_then(|&id| self.users.get(id)).map_or(0, |user| user.count)
    }

    /// How many there are.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn all(&self) -> u32 {
        self.all
    }
}

/// The time in which so many bytes pass.
fn time_for(bytes: u64, rate: NonZeroU64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.get());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_enforced_and_freed() {
        let (alice, bob): (Arc<str>, Arc<str>) = ("alice".into(), "bob".into());
        let mut quota = Quota::new(Some(2), Some(3), None);
        quota.add(&alice);
        quota.add(&alice);
        assert_eq!(quota.judge("alice", None, 1), Err(Exceeded::User));
        assert_eq!(quota.judge("bob", None, 1), Ok(()));
        quota.add(&bob);
        assert_eq!(quota.judge("bob", None, 1), Err(Exceeded::Total));
        quota.remove("alice");
        assert_eq!(quota.judge("alice", None, 1), Ok(()));
        assert_eq!(quota.judge("alice", Some(1), 1), Err(Exceeded::User));
        assert_eq!(quota.judge("bob", Some(2), 1), Ok(()));
        assert_eq!(quota.judge("bob", Some(9), 2), Err(Exceeded::User), "credentials only narrow");
        quota.remove("nobody");
        quota.remove("alice");
        assert!(quota.users.len() == 1 && quota.by_id.len() == 1 && quota.all() == 1);
    }

    #[test]
    fn a_second_of_bytes_passes_at_once_and_then_as_many_as_the_time_allows() {
        let start = crate::time::start();
        let mut quota = Quota::new(None, None, NonZeroU64::new(100_000));
        let user = quota.add(&"alice".into());
        let spent = (0..1000).filter(|_| quota.spend(start, user, Way::ToPeers, 1000)).count();
        assert_eq!(spent, 100);
        assert!(!quota.spend(start, user, Way::ToPeers, 1));
        assert!(quota.spend(start, user, Way::ToClients, 100_000), "each way has its own");
        let later = start + Duration::from_millis(10);
        assert!(!quota.spend(later, user, Way::ToPeers, 1001), "a byte too early");
        assert!(quota.spend(later, user, Way::ToPeers, 1000));
        assert!(!quota.spend(later, user, Way::ToPeers, 1));
        let rested = start + Duration::from_secs(60);
        let spent = (0..1000).filter(|_| quota.spend(rested, user, Way::ToPeers, 1000)).count();
        assert_eq!(spent, 100, "what was not used is not saved up");
    }

    #[test]
    fn any_datagram_passes_where_the_rate_is_small() {
        let start = crate::time::start();
        let mut quota = Quota::new(None, None, NonZeroU64::new(1));
        let user = quota.add(&"alice".into());
        assert!(quota.spend(start, user, Way::ToPeers, 65_507));
        assert!(!quota.spend(start, user, Way::ToPeers, 65_507));
        quota.set_rate(None);
        assert!(quota.spend(start, user, Way::ToPeers, 65_507));
    }

    #[test]
    fn who_comes_back_is_measured_anew() {
        let start = crate::time::start();
        let mut quota = Quota::new(None, None, NonZeroU64::new(70_000));
        let first = quota.add(&"alice".into());
        assert_eq!(quota.add(&"alice".into()), first, "all allocations of a user share");
        assert!(quota.spend(start, first, Way::ToPeers, 70_000));
        quota.remove("alice");
        assert!(!quota.spend(start, first, Way::ToPeers, 1));
        quota.remove("alice");
        let again = quota.add(&"alice".into());
        assert!(again != first && quota.spend(start, again, Way::ToPeers, 70_000));
    }
}
