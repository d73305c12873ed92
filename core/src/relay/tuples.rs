//! Which allocation a five-tuple names.
//!
//! This is looked at for each batch of a client, and with many clients most of it lies in no cache. So it holds
//! identifiers and hashes only, four in a line; the five-tuple itself is compared with the one in the allocation, which
//! is needed next anyway.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;

use super::allocation::{Allocation, AllocationId};
use super::via::FiveTuple;
use crate::io::Arena;

/// Allocations by five-tuple. An allocation that moves stands in it twice, until its client uses the new five-tuple only.
#[derive(Debug, Default)]
pub(super) struct Tuples {
    named: HashTable<Named>,
    hashes: RandomState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Named {
    hash: u64,
    id: AllocationId,
}

impl Tuples {
    /// The allocation that `tuple` names.
    pub(super) fn find<'a>(
        &self,
        tuple: FiveTuple,
        allocations: &'a Arena<AllocationId, Allocation>,
    ) -> Option<(AllocationId, &'a Allocation)> {
        let hash = self.hashes.hash_one(tuple);
        let is_it =
            |named: &Named| allocations.get(named.id).is_some_and(|allocation| allocation.is_named(tuple));
        let id = self.named.find(hash, |named| named.hash == hash && is_it(named))?.id;
        Some((id, allocations.get(id)?))
    }

    /// `tuple`, which has named none, names `id`.
    pub(super) fn insert(&mut self, tuple: FiveTuple, id: AllocationId) {
        let hash = self.hashes.hash_one(tuple);
        self.named.insert_unique(hash, Named { hash, id }, |named| named.hash);
    }

    /// `tuple` names `id` no more.
    pub(super) fn remove(&mut self, tuple: FiveTuple, id: AllocationId) {
        let hash = self.hashes.hash_one(tuple);
        if let Ok(entry) = self.named.find_entry(hash, |&named| named == Named { hash, id }) {
            entry.remove();
        }
    }

    /// How many five-tuples name an allocation.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn len(&self) -> usize {
        self.named.len()
    }
}
