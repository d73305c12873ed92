//! How shards hand clients over to each other: each has a box for what is to come to it, and is woken when something does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use adit_driver::Departure;

use crate::worker::Signal;

/// How much waits for one shard. What is more is lost: a client says it again.
const MOST: usize = 256;

/// The boxes of all shards of one relay.
pub(crate) struct Post<G> {
    boxes: Vec<Mailbox<G>>,
}

struct Mailbox<G> {
    waiting: Mutex<VecDeque<Departure<G>>>,
    /// Wakes the shard, once it has its thread.
    signal: OnceLock<Arc<Signal>>,
}

/// The place of one shard.
pub(crate) struct Desk<G> {
    post: Arc<Post<G>>,
    index: usize,
}

impl<G> Post<G> {
    /// A desk for each of so many shards.
    pub(crate) fn desks(count: u8) -> Vec<Desk<G>> {
        let mailbox = |_| Mailbox { waiting: Mutex::default(), signal: OnceLock::new() };
        let post = Arc::new(Self { boxes: (0..count).map(mailbox).collect() });
        (0..count).map(|index| Desk { post: Arc::clone(&post), index: index.into() }).collect()
    }
}

impl<G> Desk<G> {
    /// Says whom to wake when something has come.
    pub(crate) fn open(&self, signal: &Arc<Signal>) {
        // A shard has one thread in its life.
        let _ = self.post.boxes[self.index].signal.set(Arc::clone(signal));
    }

    /// Sends something to another shard. Whether there was room.
    pub(crate) fn send(&self, departure: Departure<G>) -> bool {
        let Some(mailbox) = self.post.boxes.get(usize::from(departure.to)) else { return false };
        let mut waiting = mailbox.waiting();
        if waiting.len() >= MOST {
            return false;
        }
        waiting.push_back(departure);
        drop(waiting);
        if let Some(signal) = mailbox.signal.get() {
            signal.ring();
        }
        true
    }

    /// Takes what has come.
    pub(crate) fn receive(&self) -> VecDeque<Departure<G>> {
        std::mem::take(&mut *self.post.boxes[self.index].waiting())
    }
}

impl<G> Mailbox<G> {
    fn waiting(&self) -> MutexGuard<'_, VecDeque<Departure<G>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
