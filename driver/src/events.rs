//! The queue of events that wait for the application.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

/// How many events wait before the oldest are lost.
const CAPACITY: usize = 1024;

/// What an application fetches from the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice<E> {
    /// An event.
    Event(E),
    /// That many events are missing here, because nobody fetched them in time.
    Lost(u64),
}

/// A bounded queue. The oldest events are lost first: what comes last tells how things stand.
#[derive(Debug)]
pub(crate) struct Events<E> {
    queue: VecDeque<E>,
    lost: u64,
    waker: Option<Waker>,
    closed: bool,
}

impl<E> Default for Events<E> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), lost: 0, waker: None, closed: false }
    }
}

impl<E> Events<E> {
    /// Adds an event. Whether one was lost to make room for it, and whom to wake.
    pub(crate) fn push(&mut self, event: E) -> (bool, Option<Waker>) {
        let full = self.queue.len() >= CAPACITY;
        if full {
            self.queue.pop_front();
            self.lost += 1;
        }
        self.queue.push_back(event);
        (full, self.waker.take())
    }

    /// No event will follow. Whom to wake.
    pub(crate) fn close(&mut self) -> Option<Waker> {
        self.closed = true;
        self.waker.take()
    }

    /// The next event or gap; `None` at the end.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Notice<E>>> {
        match self.pop() {
            Some(notice) => Poll::Ready(Some(notice)),
            None if self.closed => Poll::Ready(None),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next event or gap, without waiting.
    pub(crate) fn pop(&mut self) -> Option<Notice<E>> {
        match std::mem::take(&mut self.lost) {
            0 => self.queue.pop_front().map(Notice::Event),
            lost => Some(Notice::Lost(lost)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_marked_where_events_were_lost() {
        let mut events = Events::default();
        for number in 0..CAPACITY + 3 {
            let (lost, _) = events.push(number);
            assert_eq!(lost, number >= CAPACITY);
        }
        assert_eq!(events.pop(), Some(Notice::Lost(3)));
        assert_eq!(events.pop(), Some(Notice::Event(3)));
        assert_eq!(events.pop(), Some(Notice::Event(4)));
    }

    #[test]
    fn the_end_comes_after_the_last_event() {
        let mut events = Events::default();
        events.push(1);
        events.close();
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(events.poll(&cx), Poll::Ready(Some(Notice::Event(1))));
        assert_eq!(events.poll(&cx), Poll::Ready(None));
    }
}
