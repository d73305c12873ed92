//! A map of few entries, sorted by key, in one piece of memory.
//!
//! Most allocations have a channel and a permission or two. What is looked up for them on the data path lies within the
//! allocation then: with many allocations, each piece of memory elsewhere would have to be fetched for each batch.

use smallvec::SmallVec;

/// A map that has room for `N` entries within itself. Looking up takes the logarithm of their number; entering one moves
/// those behind it.
#[derive(Debug, Clone)]
pub(super) struct Sorted<K, V, const N: usize>(SmallVec<[(K, V); N]>);

impl<K, V, const N: usize> Default for Sorted<K, V, N> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<K: Ord + Copy, V, const N: usize> Sorted<K, V, N> {
    fn find(&self, key: K) -> Result<usize, usize> {
        self.0.binary_search_by_key(&key, |&(known, _)| known)
    }

    pub(super) fn get(&self, key: K) -> Option<&V> {
        self.find(key).ok().map(|index| &self.0[index].1)
    }

    pub(super) fn contains(&self, key: K) -> bool {
        self.find(key).is_ok()
    }

    /// Enters `value`, in place of another where there is one.
    pub(super) fn insert(&mut self, key: K, value: V) {
        match self.find(key) {
            Ok(index) => self.0[index].1 = value,
            Err(index) => {
                if self.0.len() == self.0.capacity() {
                    self.0.reserve_exact(1 + self.0.len() / 2);
                }
                self.0.insert(index, (key, value));
            }
        }
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        self.find(key).ok().map(|index| self.0.remove(index).1)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, by key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    /// All keys, in their order.
    pub(super) fn keys(&self) -> impl Iterator<Item = K> {
        self.0.iter().map(|&(key, _)| key)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), 0..12u8, any::<u32>()), 0..60)) {
            let (mut sorted, mut map) = (Sorted::<_, _, 2>::default(), BTreeMap::new());
            for (enters, key, value) in steps {
                if enters {
                    sorted.insert(key, value);
                    map.insert(key, value);
                } else {
                    prop_assert_eq!(sorted.remove(key), map.remove(&key));
                }
                prop_assert_eq!(sorted.get(key), map.get(&key));
                prop_assert_eq!(sorted.contains(key), map.contains_key(&key));
                prop_assert_eq!(sorted.len(), map.len());
                prop_assert!(sorted.iter().eq(map.iter().map(|(&key, value)| (key, value))));
                prop_assert!(sorted.keys().eq(map.keys().copied()));
            }
        }
    }
}
