//! Questions that a task waits for the answer of, and that are no pipe's.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

/// Who waits for answers of one kind, by what each has asked about.
#[derive(Debug)]
pub(crate) struct Asked<K, T> {
    next: u64,
    waiting: BTreeMap<Ticket, Waiting<K, T>>,
}

/// Names a question until its answer is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

#[derive(Debug)]
struct Waiting<K, T> {
    about: K,
    answer: Option<T>,
    waker: Option<Waker>,
}

impl<K, T> Default for Asked<K, T> {
    fn default() -> Self {
        Self { next: 0, waiting: BTreeMap::new() }
    }
}

impl<K, T> Asked<K, T> {
    /// Nobody waits for that answer any more.
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// Takes the wakers of all.
    pub(crate) fn wake_all(&mut self, wakers: &mut Vec<Waker>) {
        wakers.extend(self.waiting.values_mut().filter_map(|waiting| waiting.waker.take()));
    }
}

impl<K: PartialEq, T: Clone> Asked<K, T> {
    /// Notes a question.
    pub(crate) fn ask(&mut self, about: K) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.insert(ticket, Waiting { about, answer: None, waker: None });
        ticket
    }

    /// Answers all who have asked about this. Whom to wake is added to `wakers`.
    pub(crate) fn answer(&mut self, about: &K, answer: &T, wakers: &mut Vec<Waker>) {
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.about == *about) {
            waiting.answer.get_or_insert_with(|| answer.clone());
            wakers.extend(waiting.waker.take());
        }
    }

    /// The answer, once; who can't have one waits for ever.
    pub(crate) fn poll(&mut self, ticket: Ticket, cx: &Context<'_>) -> Poll<T> {
        let Some(waiting) = self.waiting.get_mut(&ticket) else { return Poll::Pending };
        match waiting.answer.take() {
            Some(answer) => {
                self.waiting.remove(&ticket);
                Poll::Ready(answer)
            }
            None => {
                waiting.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_have_asked_get_the_first_answer_once() {
        let mut asked = Asked::<char, u8>::default();
        let [a, b, other] = ['x', 'x', 'y'].map(|about| asked.ask(about));
        let (cx, mut wakers) = (Context::from_waker(Waker::noop()), Vec::new());
        assert!(asked.poll(a, &cx).is_pending());
        asked.answer(&'x', &1, &mut wakers);
        asked.answer(&'x', &2, &mut wakers);
        assert_eq!(wakers.len(), 1);
        assert_eq!((asked.poll(a, &cx), asked.poll(b, &cx)), (Poll::Ready(1), Poll::Ready(1)));
        assert!(asked.poll(a, &cx).is_pending() && asked.poll(other, &cx).is_pending());
        asked.forget(other);
        assert!(asked.waiting.is_empty());
    }
}
