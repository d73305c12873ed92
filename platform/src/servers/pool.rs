//! A bounded number of things that are expensive to make, kept for a moment after use.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// For how long an idle one is kept.
pub(super) const KEPT: Duration = Duration::from_secs(30);

/// What can be given back.
pub trait Reusable {
    /// Whether somebody else may use it.
    fn is_reusable(&self) -> bool;
}

/// At most `bound` at once, idle ones included.
pub(super) struct Pool<T> {
    bound: usize,
    slots: Arc<Semaphore>,
    idle: Mutex<Idle<T>>,
}

struct Idle<T> {
    is_closed: bool,
    /// The one that was used last is at the back.
    items: VecDeque<Item<T>>,
}

struct Item<T> {
    key: Vec<u8>,
    value: T,
    since: Instant,
}

impl<T: Reusable> Pool<T> {
    pub(super) fn new(bound: usize) -> Arc<Self> {
        let idle = Mutex::new(Idle { is_closed: false, items: VecDeque::new() });
        Arc::new(Self { bound, slots: Arc::new(Semaphore::new(bound)), idle })
    }

    pub(super) fn bound(&self) -> usize {
        self.bound
    }

    /// Waits for the right to use one.
    pub(super) async fn slot(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.slots).acquire_owned().await.expect("the semaphore of a pool is never closed")
    }

    /// An idle one that was made for `key`, and for how long it has been idle.
    pub(super) fn take_idle(&self, key: &[u8]) -> Option<(T, Duration)> {
        let mut idle = self.idle();
        let at = idle.items.iter().rposition(|item| item.key == key && item.since.elapsed() < KEPT)?;
        let item = idle.items.remove(at)?;
        Some((item.value, item.since.elapsed()))
    }

    /// Drops as many idle ones as are needed for whoever has a slot to make a new one.
    pub(super) fn make_room(&self) {
        let free = self.slots.available_permits();
        let mut idle = self.idle();
        while idle.items.len() > free {
            idle.items.pop_front();
        }
    }

    pub(super) fn hold(self: &Arc<Self>, slot: OwnedSemaphorePermit, key: Vec<u8>, value: T) -> Pooled<T> {
        Pooled { value: Some(value), key, pool: Arc::clone(self), _slot: slot }
    }

    /// Drops what has been idle for too long.
    pub(super) fn close_idle(&self) {
        self.idle().items.retain(|item| item.since.elapsed() < KEPT);
    }

    /// Drops what is idle, and keeps nothing any more.
    pub(super) fn close(&self) {
        let mut idle = self.idle();
        idle.is_closed = true;
        idle.items.clear();
    }

    /// Whether somebody has a slot, or one is idle.
    pub(super) fn is_in_use(&self) -> bool {
        self.slots.available_permits() < self.bound || !self.idle().items.is_empty()
    }

    fn give_back(&self, key: Vec<u8>, value: T) {
        let mut idle = self.idle();
        if value.is_reusable() && !idle.is_closed {
            idle.items.push_back(Item { key, value, since: Instant::now() });
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle<T>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Pool<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("bound", &self.bound).finish_non_exhaustive()
    }
}

/// One that is in use. Dropping it gives it back.
pub struct Pooled<T: Reusable> {
    /// Absent only while it is being dropped.
    value: Option<T>,
    key: Vec<u8>,
    pool: Arc<Pool<T>>,
    /// Freed after the value was given back: fields are dropped after `drop`.
    _slot: OwnedSemaphorePermit,
}

impl<T: Reusable> Pooled<T> {
    /// Ends it, in place of giving it back.
    pub fn end(mut self) {
        self.value = None;
    }
}

impl<T: Reusable> Deref for Pooled<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("a value that is in use is there")
    }
}

impl<T: Reusable> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("a value that is in use is there")
    }
}

impl<T: Reusable> Drop for Pooled<T> {
    fn drop(&mut self) {
        if let Some(value) = self.value.take() {
            self.pool.give_back(std::mem::take(&mut self.key), value);
        }
    }
}

impl<T: Reusable + fmt::Debug> fmt::Debug for Pooled<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Thing(u32, bool);

    impl Reusable for Thing {
        fn is_reusable(&self) -> bool {
            self.1
        }
    }

    fn key(text: &str) -> Vec<u8> {
        text.as_bytes().to_vec()
    }

    #[tokio::test]
    async fn what_was_given_back_is_used_again_for_the_same_key_only() {
        let pool = Pool::new(2);
        drop(pool.hold(pool.slot().await, key("a"), Thing(1, true)));
        assert!(pool.take_idle(&key("b")).is_none());
        assert_eq!(pool.take_idle(&key("a")).unwrap().0.0, 1);
        assert!(pool.take_idle(&key("a")).is_none());
    }

    #[tokio::test]
    async fn what_is_broken_is_not_kept() {
        let pool = Pool::new(1);
        drop(pool.hold(pool.slot().await, key("a"), Thing(1, false)));
        assert!(pool.take_idle(&key("a")).is_none());
    }

    #[tokio::test]
    async fn there_are_never_more_than_the_bound_idle_ones_included() {
        let pool = Pool::new(2);
        let first = pool.hold(pool.slot().await, key("a"), Thing(1, true));
        drop(pool.hold(pool.slot().await, key("a"), Thing(2, true)));
        let slot = pool.slot().await;
        pool.make_room();
        assert!(pool.take_idle(&key("a")).is_none(), "the idle one made room");
        assert!(tokio::time::timeout(Duration::from_millis(20), pool.slot()).await.is_err());
        drop((slot, first));
        assert_eq!(pool.take_idle(&key("a")).unwrap().0.0, 1);
    }

    #[tokio::test]
    async fn after_it_was_closed_nothing_is_kept() {
        let pool = Pool::new(2);
        let held = pool.hold(pool.slot().await, key("a"), Thing(1, true));
        drop(pool.hold(pool.slot().await, key("a"), Thing(2, true)));
        pool.close();
        drop(held);
        assert!(pool.take_idle(&key("a")).is_none());
        assert!(!pool.is_in_use());
    }
}
