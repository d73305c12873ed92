//! Several ways to one relay: which is tried next, and when a better one is tried again.
//!
//! 1. Ways are tried one after the other, best first. One that gives no allocation within [`PATIENCE`], or fails, is
//!    followed by the next; when all have failed, the round is over and a pause follows.
//! 2. The way that gave the last allocation comes first in the next round: what a network lets out does not change
//!    often.
//! 3. While another way than the best is used, those that are better are tried again beside it: after a minute, then
//!    after twice as long each time, up to ten minutes. So nobody stays on a fallback because of one bad hour, and a way
//!    that works for moments only does not cost much.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long a way may take to give an allocation, when there is another: three repetitions of a request over UDP.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// When better ways are tried for the first time.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// The longest time between two tries of them.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What is remembered about the ways to one relay, which are numbered from the best on.
#[derive(Debug)]
pub struct Fallback {
    ways: usize,
    /// The way of the last allocation, and since when.
    good: Option<(usize, Instant)>,
    /// What is still to be tried in this round.
    round: VecDeque<usize>,
    pause: Duration,
}

impl Fallback {
    /// Nothing is known about any of `ways` ways.
    pub fn new(ways: usize) -> Self {
        Self { ways, good: None, round: VecDeque::new(), pause: FIRST_PAUSE }
    }

    /// Begins a round, as there is no allocation: the way to try first.
    pub fn begin(&mut self) -> usize {
        let good = self.good.map(|(way, _)| way);
        self.round = good.into_iter().chain((0..self.ways).filter(|&way| Some(way) != good)).collect();
        self.round.pop_front().unwrap_or(0)
    }

    /// Begins a round beside the way that is used: the best of those that are better, if there is one.
    pub fn improve(&mut self) -> Option<usize> {
        self.round = (0..self.good.map_or(0, |(way, _)| way)).collect();
        self.next_way()
    }

    /// The last way that was tried gives no allocation: the one to try now. `None` when the round is over.
    pub fn next_way(&mut self) -> Option<usize> {
        self.round.pop_front()
    }

    /// Whether nothing follows the way that is tried.
    pub fn is_last(&self) -> bool {
        self.round.is_empty()
    }

    /// There is an allocation by `way`.
    pub fn gained(&mut self, now: Instant, way: usize) {
        self.good = Some((way, now));
        self.round.clear();
    }

    /// There is none any more. One that has lasted shows that there is no need for patience with what is better.
    pub fn lost(&mut self, now: Instant) {
        if self.good.is_some_and(|(_, since)| now.saturating_duration_since(since) >= self.pause) {
            self.pause = FIRST_PAUSE;
        }
    }

    /// The network may be another one: what was learnt about its ways is of no use.
    pub fn forget(&mut self) {
        self.pause = FIRST_PAUSE;
    }

    /// When to try better ways, from now on; `None` where there is none. Twice as long the next time.
    pub fn pause(&mut self) -> Option<Duration> {
        let (way, _) = self.good?;
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        (way > 0).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn ways_are_tried_in_order_and_the_last_good_one_first() {
        let mut fallback = Fallback::new(4);
        let now = crate::time::start();
        assert_eq!(fallback.begin(), 0);
        assert_eq!([fallback.next_way(), fallback.next_way()], [Some(1), Some(2)]);
        assert!(!fallback.is_last());
        fallback.gained(now, 2);
        assert_eq!((fallback.next_way(), fallback.is_last()), (None, true));
        fallback.lost(now);
        let round: Vec<_> =
            [fallback.begin()].into_iter().chain(std::iter::from_fn(|| fallback.next_way())).collect();
        assert_eq!(round, [2, 0, 1, 3]);
    }

    #[test]
    fn better_ways_are_tried_again_less_and_less_often() {
        let mut fallback = Fallback::new(3);
        let now = crate::time::start();
        assert_eq!((fallback.improve(), fallback.pause()), (None, None));
        fallback.begin();
        fallback.gained(now, 2);
        let pauses: Vec<_> = (0..6).map(|_| fallback.pause().unwrap()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 10, 10].map(|minutes| minutes * MINUTE));
        assert_eq!([fallback.improve(), fallback.next_way(), fallback.next_way()], [Some(0), Some(1), None]);
        fallback.gained(now, 0);
        assert_eq!((fallback.improve(), fallback.pause()), (None, None), "there is nothing better");
    }

    #[test]
    fn a_way_that_works_for_a_moment_is_not_tried_more_often_for_that() {
        let mut fallback = Fallback::new(2);
        let mut now = crate::time::start();
        for expected in [1, 4] {
            fallback.gained(now, 1);
            assert_eq!(fallback.pause(), Some(expected * MINUTE));
            fallback.gained(now, 0);
            fallback.pause();
            now += Duration::from_secs(10);
            fallback.lost(now);
        }
        fallback.gained(now, 0);
        fallback.lost(now + Duration::from_secs(3600));
        fallback.gained(now, 1);
        assert_eq!(fallback.pause(), Some(MINUTE), "it has lasted");
        fallback.forget();
        assert_eq!(fallback.pause(), Some(MINUTE));
    }
}
