//! How many allocations there may be, in all and per user, and how many bytes a second a user may have relayed.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use super::ledger::{Account, Draw, KEPT, Ledger};
use crate::io::{Arena, id};

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

/// Counts allocations, pending ones as well, by the identifier of their user, and measures what is relayed for each: in
/// the ledger, for all shards. Nothing is kept of users who have none.
#[derive(Debug)]
pub(super) struct Quota {
    ledger: Arc<Ledger>,
    per_user: Option<u32>,
    total: Option<u32>,
    /// Bytes a second, each way.
    rate: Option<NonZeroU64>,
    by_id: BTreeMap<Arc<str>, UserId>,
    users: Arena<UserId, User>,
}

/// What is known of one user who has allocations in this shard.
#[derive(Debug)]
struct User {
    id: Arc<str>,
    account: Arc<Account>,
    /// How many are in this shard.
    count: u32,
    /// What was drawn for each way and not used yet.
    credit: [Credit; 2],
}

/// Bytes that may be relayed without asking: most datagrams touch nothing that the shards share.
#[derive(Debug, Clone, Copy, Default)]
struct Credit {
    bytes: u64,
    until: Option<Instant>,
}

impl Quota {
    /// Nothing counted here yet. `None` is no limit.
    pub(super) fn new(
        ledger: Arc<Ledger>,
        per_user: Option<u32>,
        total: Option<u32>,
        rate: Option<NonZeroU64>,
    ) -> Self {
        Self { ledger, per_user, total, rate, by_id: BTreeMap::new(), users: Arena::default() }
    }

    /// Judges by other limits from now on.
    pub(super) fn set(&mut self, per_user: Option<u32>, total: Option<u32>) {
        (self.per_user, self.total) = (per_user, total);
    }

    /// Measures by another rate from now on.
    pub(super) fn set_rate(&mut self, rate: Option<NonZeroU64>) {
        self.rate = rate;
    }

    /// Counts `wanted` more of `user`, who may have `most` by their own credentials.
    ///
    /// # Errors
    /// [`Exceeded`] when they may not have so many; nothing is counted then.
    pub(super) fn add(
        &mut self,
        user: &Arc<str>,
        most: Option<u32>,
        wanted: u32,
    ) -> Result<UserId, Exceeded> {
        let most = self.per_user.into_iter().chain(most).min();
        let id = self.open(user);
        let Some(known) = self.users.get_mut(id) else { return Ok(id) };
        let counted = match known.account.add(wanted, most) {
            false => Err(Exceeded::User),
            true if !self.ledger.add(wanted, self.total) => {
                known.account.subtract(wanted);
                Err(Exceeded::Total)
            }
            true => Ok(id),
        };
        if counted.is_ok() {
            known.count += wanted;
        } else {
            self.close_unused(id);
        }
        counted
    }

    fn open(&mut self, user: &Arc<str>) -> UserId {
        if let Some(&id) = self.by_id.get(user) {
            return id;
        }
        let (id, account) = (Arc::clone(user), self.ledger.open(user));
        let id = self.users.insert(User { id, account, count: 0, credit: Default::default() });
        self.by_id.insert(Arc::clone(user), id);
        id
    }

    fn close_unused(&mut self, id: UserId) {
        if self.users.get(id).is_some_and(|user| user.count == 0)
            && let Some(user) = self.users.remove(id)
        {
            self.by_id.remove(&user.id);
            self.ledger.close(&user.id);
        }
    }

    /// Counts so many less of the user.
    pub(super) fn subtract(&mut self, id: UserId, count: u32) {
        if let Some(user) = self.users.get_mut(id) {
            user.count -= count;
            user.account.subtract(count);
            self.ledger.subtract(count);
            self.close_unused(id);
        }
    }

    /// Whether so many bytes may be relayed now for `user` that way; they are counted if so. What was drawn from the bucket
    /// is used first: shards share that, and none of them takes much at once. On the data path: one look-up, no
    /// allocation, no lock.
    pub(super) fn spend(&mut self, now: Instant, user: UserId, way: Way, len: usize) -> bool {
        let Some(rate) = self.rate else { return true };
        let Some(user) = self.users.get_mut(user) else { return true };
        let (credit, len) = (&mut user.credit[way as usize], len as u64);
        if credit.until.is_some_and(|until| until < now) {
            *credit = Credit::default();
        }
        if credit.bytes < len {
            let draw = Draw { least: len - credit.bytes, rate };
            let Some(drawn) = self.ledger.draw(now, &user.account, way as usize, draw) else { return false };
            *credit = Credit { bytes: credit.bytes + drawn, until: Some(now + KEPT) };
        }
        credit.bytes -= len;
        true
    }

    /// Counts bytes that were taken from a stream, whether they may be relayed now or not, and says when the next may be
    /// taken; `None` is at once.
    pub(super) fn charge(&mut self, now: Instant, user: UserId, way: Way, len: usize) -> Option<Instant> {
        let (rate, user) = (self.rate?, self.users.get_mut(user)?);
        let credit = &mut user.credit[way as usize];
        if credit.until.is_some_and(|until| until < now) {
            *credit = Credit::default();
        }
        let used = credit.bytes.min(len as u64);
        credit.bytes -= used;
        let debt = Draw { least: len as u64 - used, rate };
        self.ledger.overdraw(now, &user.account, way as usize, debt).map(|paid| now + paid)
    }

    /// How many of `user` are in this shard.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn count(&self, user: &str) -> u32 {
        self.by_id.get(user).and_then(|&id| self.users.get(id)).map_or(0, |user| user.count)
    }

    /// How many are in this shard.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn all(&self) -> u32 {
        self.users.iter().map(|(_, user)| user.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rand::Rng;

    fn shards<const N: usize>(
        per_user: Option<u32>,
        total: Option<u32>,
        rate: Option<u64>,
    ) -> ([Quota; N], Instant) {
        let now = crate::time::start();
        let ledger = Arc::new(Ledger::new(u16::try_from(N).unwrap(), now, &mut Rng::new([1; 32])));
        let quota = || Quota::new(Arc::clone(&ledger), per_user, total, rate.and_then(NonZeroU64::new));
        (std::array::from_fn(|_| quota()), now)
    }

    #[test]
    fn each_limit_is_enforced_and_freed() {
        let (alice, bob): (Arc<str>, Arc<str>) = ("alice".into(), "bob".into());
        let ([mut quota], _) = shards(Some(2), Some(3), None);
        let hers = quota.add(&alice, None, 2).unwrap();
        assert_eq!(quota.add(&alice, None, 1), Err(Exceeded::User));
        let his = quota.add(&bob, None, 1).unwrap();
        assert_eq!(quota.add(&bob, None, 1), Err(Exceeded::Total));
        quota.subtract(hers, 1);
        assert_eq!(quota.add(&alice, Some(1), 1), Err(Exceeded::User));
        assert_eq!(quota.add(&bob, Some(9), 2), Err(Exceeded::User), "credentials only narrow");
        assert_eq!(quota.add(&bob, Some(2), 1), Ok(his));
        quota.subtract(hers, 1);
        quota.subtract(hers, 1);
        assert!(quota.users.len() == 1 && quota.by_id.len() == 1 && quota.all() == 2);
    }

    #[test]
    fn a_user_in_two_shards_has_one_quota() {
        let (alice, bob): (Arc<str>, Arc<str>) = ("alice".into(), "bob".into());
        let ([mut one, mut two], _) = shards(Some(2), Some(3), None);
        let here = one.add(&alice, None, 1).unwrap();
        let there = two.add(&alice, None, 1).unwrap();
        assert_eq!(one.add(&alice, None, 1), Err(Exceeded::User));
        assert_eq!(two.add(&bob, None, 2), Err(Exceeded::Total));
        assert_eq!(two.count("bob"), 0, "what was refused is not counted");
        two.subtract(there, 1);
        assert_eq!(one.add(&alice, None, 1), Ok(here));
        assert_eq!(two.add(&alice, None, 1), Err(Exceeded::User));
        assert!(two.add(&bob, None, 1).is_ok());
        assert_eq!((one.all(), two.all()), (2, 1));
    }

    #[test]
    fn a_second_of_bytes_passes_at_once_and_then_as_many_as_the_time_allows() {
        let ([mut quota], start) = shards(None, None, Some(100_000));
        let user = quota.add(&"alice".into(), None, 1).unwrap();
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
        assert!(quota.spend(rested + Duration::from_secs(9), user, Way::ToPeers, 1));
        let rested = rested + Duration::from_secs(60);
        let spent = (0..1000).filter(|_| quota.spend(rested, user, Way::ToPeers, 1000)).count();
        assert_eq!(spent, 100, "nor is what was drawn and not used");
    }

    #[test]
    fn a_user_in_two_shards_has_one_rate() {
        let ([mut one, mut two], start) = shards(None, None, Some(160_000));
        let alice: Arc<str> = "alice".into();
        let (here, there) = (one.add(&alice, None, 1).unwrap(), two.add(&alice, None, 1).unwrap());
        let (mut spent, mut idle) = ([0; 2], 0);
        while idle < 2 {
            let passed =
                [one.spend(start, here, Way::ToPeers, 1000), two.spend(start, there, Way::ToPeers, 1000)];
            spent = [spent[0] + usize::from(passed[0]), spent[1] + usize::from(passed[1])];
            idle = if passed == [false; 2] { idle + 1 } else { 0 };
        }
        assert_eq!(spent, [80, 80]);
        // One of them alone may have all, but for what the other has drawn last.
        let later = start + Duration::from_secs(5);
        assert!(two.spend(later, there, Way::ToPeers, 1000));
        let spent = (0..1000).filter(|_| one.spend(later, here, Way::ToPeers, 1000)).count();
        assert_eq!(spent, 150);
    }

    /// A stream is held back, not cut: what was taken too early is waited for.
    #[test]
    fn a_stream_runs_into_debt_and_waits_until_it_is_paid() {
        let ([mut quota], start) = shards(None, None, Some(100_000));
        let user = quota.add(&"alice".into(), None, 1).unwrap();
        assert_eq!(quota.charge(start, user, Way::ToPeers, 100_000), None);
        let until = quota.charge(start, user, Way::ToPeers, 50_000);
        assert_eq!(until, Some(start + Duration::from_millis(500)));
        assert!(!quota.spend(start, user, Way::ToPeers, 1), "datagrams of the user wait for it too");
        assert_eq!(quota.charge(start, user, Way::ToClients, 50_000), None, "each way has its own");
        let paid = start + Duration::from_millis(501);
        assert_eq!(quota.charge(paid, user, Way::ToPeers, 100), None);
        quota.set_rate(None);
        assert_eq!(quota.charge(paid, user, Way::ToPeers, 1 << 30), None);
    }

    #[test]
    fn any_datagram_passes_where_the_rate_is_small() {
        let ([mut quota], start) = shards(None, None, Some(1));
        let user = quota.add(&"alice".into(), None, 1).unwrap();
        assert!(quota.spend(start, user, Way::ToPeers, 65_507));
        assert!(!quota.spend(start, user, Way::ToPeers, 65_507));
        quota.set_rate(None);
        assert!(quota.spend(start, user, Way::ToPeers, 65_507));
    }

    #[test]
    fn who_comes_back_is_measured_anew() {
        let ([mut quota], start) = shards(None, None, Some(70_000));
        let mut add = || quota.add(&"alice".into(), None, 1).unwrap();
        let first = add();
        assert_eq!(add(), first, "all allocations of a user share");
        assert!(quota.spend(start, first, Way::ToPeers, 70_000));
        quota.subtract(first, 1);
        assert!(!quota.spend(start, first, Way::ToPeers, 1));
        quota.subtract(first, 1);
        let again = quota.add(&"alice".into(), None, 1).unwrap();
        assert!(again != first && quota.spend(start, again, Way::ToPeers, 70_000));
    }
}
