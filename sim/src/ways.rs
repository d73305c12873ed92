//! The ways between hosts: which link each direction of each pair has, and how the link is at the moment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use adit_core::rand::Rng;

use crate::link::Link;
use crate::network::{Drop, HostIndex};

/// From whom, to whom.
pub(crate) type Way = (HostIndex, HostIndex);

/// Links by direction; the usual one where none was set.
#[derive(Debug, Default)]
pub(crate) struct Ways {
    links: BTreeMap<Way, Link>,
    usual: Link,
    states: BTreeMap<Way, State>,
}

/// What a link remembers of the packets before, in one direction.
#[derive(Debug, Default)]
struct State {
    /// When its queue is empty; of links with a rate.
    free: Option<Instant>,
    /// Since when there has been a burst of losses; of links that have bursts.
    burst: Option<Instant>,
}

impl Ways {
    pub(crate) fn set_usual(&mut self, link: Link) {
        self.usual = link;
    }

    pub(crate) fn set(&mut self, way: Way, link: Link) {
        self.links.insert(way, link);
    }

    pub(crate) fn link(&self, way: Way) -> Link {
        self.links.get(&way).copied().unwrap_or(self.usual)
    }

    /// When the copies of an IP packet of `size` bytes arrive that leaves now: one, or two when it is doubled.
    pub(crate) fn cross(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        way: Way,
        size: usize,
    ) -> Result<(Instant, Option<Instant>), Drop> {
        let link = self.link(way);
        if link.rate.is_none() && link.bursts.is_none() {
            return link.crossings(now, &mut None, rng).map(|times| from(now, times)).ok_or(Drop::Lost);
        }
        let state = self.states.entry(way).or_default();
        let leaves = match link.rate {
            Some(rate) => state.queue(now, rate, size)?,
            None => now,
        };
        link.crossings(now, &mut state.burst, rng).map(|times| from(leaves, times)).ok_or(Drop::Lost)
    }
}

impl State {
    /// When a packet has left the queue in front of the link.
    fn queue(&mut self, now: Instant, rate: u64, size: usize) -> Result<Instant, Drop> {
        let begins = self.free.map_or(now, |free| free.max(now));
        if begins.duration_since(now) > Link::QUEUE {
            return Err(Drop::Queue);
        }
        let leaves = begins + Duration::from_nanos(size as u64 * 1_000_000_000 / rate.max(1));
        self.free = Some(leaves);
        Ok(leaves)
    }
}

fn from(leaves: Instant, (first, second): (Duration, Option<Duration>)) -> (Instant, Option<Instant>) {
    (leaves + first, second.map(|time| leaves + time))
}
