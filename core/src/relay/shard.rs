//! A relay in several parts, each a machine of its own on a thread of its own: which part a machine is, and what all of
//! them have in common.
//!
//! A shard owns its clients, their sockets and a part of the ports. All accept each other's nonces and can read each
//! other's tickets, and count in one [`Ledger`].

use std::fmt;
use std::num::NonZeroU8;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use super::ledger::Ledger;
use crate::rand::{Rng, Seed};

/// Which part of a relay a machine is. By default it is all of it.
#[derive(Clone)]
pub struct Shard {
    index: u8,
    count: NonZeroU8,
    common: Option<Common>,
}

#[derive(Clone)]
struct Common {
    keys: Seed,
    ledger: Arc<Ledger>,
}

impl Default for Shard {
    fn default() -> Self {
        Self { index: 0, count: NonZeroU8::MIN, common: None }
    }
}

impl Shard {
    /// The parts of one relay, for machines that are made at `now`. The keys of nonces and tickets come from `seed`: it is
    /// none of the machines' own.
    pub fn split(count: NonZeroU8, now: Instant, seed: Seed) -> Vec<Self> {
        if count == NonZeroU8::MIN {
            return vec![Self::default()];
        }
        let mut rng = Rng::new(seed);
        let ledger = Arc::new(Ledger::new(count.get().into(), now, &mut rng));
        let keys = rng.fork();
        let common = || Some(Common { keys, ledger: Arc::clone(&ledger) });
        (0..count.get()).map(|index| Self { index, count, common: common() }).collect()
    }

    /// Its number, from 0.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// How many there are.
    pub fn count(&self) -> NonZeroU8 {
        self.count
    }

    /// Its part of a range of ports: parts begin with an even port, so that a pair of ports is never split. A part is
    /// empty where there are not two ports for each shard.
    pub fn ports(&self, range: RangeInclusive<u16>) -> RangeInclusive<u16> {
        let (low, count) = (u32::from(*range.start()), u32::from(self.count.get()));
        let ports = u32::try_from(range.len()).expect("there are at most 65,536 ports");
        let begin = |index: u32| match index {
            0 => low,
            _ if index == count => low + ports,
            _ => (low + ports * index / count) & !1,
        };
        let (first, end) = (begin(self.index.into()).max(low), begin(u32::from(self.index) + 1));
        let port = |port: u32| u16::try_from(port).ok();
        match (port(first), end.checked_sub(1).and_then(port)) {
            (Some(first), Some(last)) if first <= last => first..=last,
            #[expect(clippy::reversed_empty_ranges, reason = "it is empty")]
            _ => 1..=0,
        }
    }

    /// Its share of something of which there may be `most` in all.
    pub(super) fn share(&self, most: usize) -> usize {
        let (index, count) = (usize::from(self.index), usize::from(self.count.get()));
        most / count + usize::from(index < most % count)
    }

    /// Its share of something of which one source may have `most`: rounded up, since nobody knows to which shards it comes.
    pub(super) fn share_of_source(&self, most: usize) -> usize {
        most.div_ceil(usize::from(self.count.get()))
    }

    /// What keys are drawn from, and where it is counted; of its own where there is no other.
    pub(super) fn common(&self, now: Instant, own: Seed) -> (Rng, Arc<Ledger>) {
        if let Some(common) = &self.common {
            return (Rng::new(common.keys), Arc::clone(&common.ledger));
        }
        let mut rng = Rng::new(own);
        let ledger = Arc::new(Ledger::new(1, now, &mut rng));
        (rng, ledger)
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shard({} of {})", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(count: u8) -> Vec<Shard> {
        Shard::split(NonZeroU8::new(count).unwrap(), crate::time::start(), [1; 32])
    }

    #[test]
    fn parts_of_ports_are_disjoint_and_whole_and_begin_even() {
        for (range, count) in [
            (49152..=65535, 1),
            (49152..=65535, 3),
            (49153..=65534, 7),
            (1024..=65535, 255),
            (50001..=50010, 4),
            (50000..=50001, 2),
            (65534..=65535, 3),
        ] {
            let parts: Vec<_> = split(count).iter().map(|shard| shard.ports(range.clone())).collect();
            let all: Vec<u16> = parts.iter().cloned().flatten().collect();
            assert_eq!(all, range.clone().collect::<Vec<_>>(), "{range:?} in {count}");
            let begins = parts.iter().filter(|part| !part.is_empty()).skip(1);
            assert!(begins.into_iter().all(|part| part.start().is_multiple_of(2)), "{parts:?}");
            let fair = range.len() / usize::from(count);
            assert!(parts.iter().all(|part| part.len().abs_diff(fair) <= 2), "{parts:?}");
        }
    }

    #[test]
    fn shares_come_to_all_of_it() {
        for (most, count) in [(1024, 3), (2, 3), (0, 2), (16_384, 16)] {
            let shares: Vec<_> = split(count).iter().map(|shard| shard.share(most)).collect();
            assert_eq!(shares.iter().sum::<usize>(), most);
        }
        assert!(split(3).iter().all(|shard| shard.share_of_source(8) == 3));
    }

    #[test]
    fn all_have_the_same_keys_and_one_ledger() {
        let now = crate::time::start();
        let mut all = split(3).into_iter().enumerate().map(|(index, shard)| {
            assert_eq!(usize::from(shard.index()), index);
            shard.common(now, [u8::try_from(index).unwrap(); 32])
        });
        let (mut first, ledger) = all.next().unwrap();
        let key: [u8; 32] = first.bytes();
        assert!(all.all(|(mut rng, other)| rng.bytes::<32>() == key && Arc::ptr_eq(&ledger, &other)));
        assert!(!format!("{:?}", split(2)).contains("keys"), "secrets are not shown");
    }
}
