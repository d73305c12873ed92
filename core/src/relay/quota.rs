//! How many allocations there may be, in all and per user.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// That of the user; 486 on the wire (RFC 8656 §7.2).
    User,
    /// That of the relay; 508 on the wire.
    Total,
}

/// Counts allocations, pending ones as well, by the identifier of their user.
#[derive(Debug)]
pub(super) struct Quota {
    per_user: Option<u32>,
    total: Option<u32>,
    users: BTreeMap<Arc<str>, u32>,
    all: u32,
}

impl Quota {
    /// Nothing counted yet. `None` is no limit.
    pub(super) fn new(per_user: Option<u32>, total: Option<u32>) -> Self {
        Self { per_user, total, users: BTreeMap::new(), all: 0 }
    }

    /// Whether `user`, who may have `most` by their own credentials, may have `wanted` more.
    ///
    /// # Errors
    /// [`Exceeded`] when not.
    pub(super) fn judge(&self, user: &str, most: Option<u32>, wanted: u32) -> Result<(), Exceeded> {
        let count = self.users.get(user).copied().unwrap_or(0);
        let exceeds = |count: u32, most: Option<u32>| most.is_some_and(|most| count + wanted > most);
        if exceeds(count, self.per_user) || exceeds(count, most) {
            return Err(Exceeded::User);
        }
        if exceeds(self.all, self.total) { Err(Exceeded::Total) } else { Ok(()) }
    }

    /// Counts one more of `user`.
    pub(super) fn add(&mut self, user: &Arc<str>) {
        *self.users.entry(Arc::clone(user)).or_insert(0) += 1;
        self.all += 1;
    }

    /// Counts one less of `user`.
    pub(super) fn remove(&mut self, user: &str) {
        let Some(count) = self.users.get_mut(user) else { return };
        *count -= 1;
        self.all -= 1;
        if *count == 0 {
            self.users.remove(user);
        }
    }

    /// How many `user` has.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn count(&self, user: &str) -> u32 {
        self.users.get(user).copied().unwrap_or(0)
    }

    /// How many there are.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn all(&self) -> u32 {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_enforced_and_freed() {
        let (alice, bob): (Arc<str>, Arc<str>) = ("alice".into(), "bob".into());
        let mut quota = Quota::new(Some(2), Some(3));
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
        assert!(quota.users.len() == 1 && quota.all() == 1);
    }
}
