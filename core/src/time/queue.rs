//! A queue of deadlines with one entry per key: set, move, cancel and expire in O(log n), look in O(log n).

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// At most one deadline per key, in order of time. Equal instants expire in order of their keys, so that every
/// run is the same.
#[derive(Debug)]
pub struct DeadlineQueue<K> {
    order: BTreeSet<(Instant, K)>,
    at: HashMap<K, Instant>,
}

impl<K> Default for DeadlineQueue<K> {
    fn default() -> Self {
        Self { order: BTreeSet::new(), at: HashMap::new() }
    }
}

impl<K: Copy + Ord + Hash> DeadlineQueue<K> {
    /// Sets or moves the deadline of `key`.
    pub fn set(&mut self, key: K, at: Instant) {
        if let Some(before) = self.at.insert(key, at) {
            self.order.remove(&(before, key));
        }
        self.order.insert((at, key));
    }

    /// Removes the deadline of `key`, if it has one.
    pub fn cancel(&mut self, key: K) {
        if let Some(at) = self.at.remove(&key) {
            self.order.remove(&(at, key));
        }
    }

    /// The deadline of `key`.
    pub fn get(&self, key: K) -> Option<Instant> {
        self.at.get(&key).copied()
    }

    /// The earliest deadline and its key.
    pub fn first(&self) -> Option<(Instant, K)> {
        self.order.first().copied()
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.order.first().map(|&(at, _)| at)
    }

    /// Takes the next key whose deadline has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        let &(at, key) = self.order.first()?;
        if at > now {
            return None;
        }
        self.order.pop_first();
        self.at.remove(&key);
        Some(key)
    }

    /// The number of deadlines.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_key_has_one_deadline() {
        let start = crate::time::start();
        let at = |ms| start + Duration::from_millis(ms);
        let mut queue = DeadlineQueue::default();
        queue.set('b', at(10));
        queue.set('a', at(20));
        queue.set('b', at(30));
        queue.set('c', at(20));
        queue.cancel('z');
        assert_eq!(queue.next(), Some(at(20)));
        assert_eq!(queue.pop_due(at(19)), None);
        assert_eq!(queue.pop_due(at(25)), Some('a'));
        assert_eq!(queue.pop_due(at(25)), Some('c'));
        assert_eq!(queue.pop_due(at(25)), None);
        queue.cancel('b');
        assert!(queue.is_empty() && queue.next().is_none());
    }

    /// What may be done to a queue; times are in milliseconds.
    #[derive(Debug, Clone)]
    enum Step {
        Set(u8, u16),
        Cancel(u8),
        Pop(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..8u8, 0..100u16).prop_map(|(key, at)| Step::Set(key, at)),
            (0..8u8).prop_map(Step::Cancel),
            (0..120u16).prop_map(Step::Pop),
        ]
    }

    proptest! {
        /// Beside the plainest thing that does the same: a list that is searched.
        #[test]
        fn any_order_of_operations_gives_what_a_list_gives(steps in prop::collection::vec(step(), 0..60)) {
            let start = crate::time::start();
            let at = |ms: u16| start + Duration::from_millis(ms.into());
            let (mut queue, mut list) = (DeadlineQueue::default(), Vec::<(Instant, u8)>::new());
            for step in steps {
                match step {
                    Step::Set(key, ms) => {
                        queue.set(key, at(ms));
                        list.retain(|&(_, other)| other != key);
                        list.push((at(ms), key));
                    }
                    Step::Cancel(key) => {
                        queue.cancel(key);
                        list.retain(|&(_, other)| other != key);
                    }
                    Step::Pop(ms) => {
                        let due = list.iter().copied().min().filter(|&(due, _)| due <= at(ms));
                        list.retain(|&entry| Some(entry) != due);
                        prop_assert_eq!(queue.pop_due(at(ms)), due.map(|(_, key)| key));
                    }
                }
                prop_assert_eq!(queue.first(), list.iter().copied().min());
                prop_assert_eq!(queue.next(), queue.first().map(|(at, _)| at));
                prop_assert_eq!((queue.len(), queue.is_empty()), (list.len(), list.is_empty()));
                for key in 0..8 {
                    let expected = list.iter().find(|&&(_, other)| other == key).map(|&(at, _)| at);
                    prop_assert_eq!(queue.get(key), expected);
                }
            }
        }
    }
}
