//! Who counts as one, where what a stranger may have is limited: an IPv4 address, or an IPv6 /64, of which a subscriber
//! usually has a whole one.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// One of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    V4(u32),
    V6(u64),
}

impl Source {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// How much each source has of something that is counted.
#[derive(Debug, Default)]
pub(super) struct Shares {
    counts: BTreeMap<Source, usize>,
}

impl Shares {
    pub(super) fn of(&self, source: Source) -> usize {
        self.counts.get(&source).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, source: Source) {
        *self.counts.entry(source).or_insert(0) += 1;
    }

    pub(super) fn remove(&mut self, source: Source) {
        let Some(count) = self.counts.get_mut(&source) else { return };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&source);
        }
    }

    /// All that is counted.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn total(&self) -> usize {
        self.counts.values().sum()
    }
}
