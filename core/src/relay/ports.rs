//! The ports of one address family's relayed addresses: which are free, and which one comes next.
//!
//! Every free port is equally likely, so that nobody who knows earlier ports can guess the next one (RFC 8656 §7.2,
//! RFC 6056 §3.3.1).

use std::ops::RangeInclusive;

use crate::rand::Rng;

/// How often a random port is tried before the free ones are searched in order.
const RANDOM_TRIES: usize = 32;

/// What `Ports::at` says of a port that is taken.
const TAKEN: u32 = u32::MAX;

/// What an allocation wants of its port (RFC 8656 §7.2, EVEN-PORT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parity {
    /// Any port.
    Any,
    /// An even one.
    Even,
    /// An even one whose successor is free as well, and is reserved with it.
    Pair,
}

/// The free ports of a range; taking and returning one costs the same whatever the number.
#[derive(Debug)]
pub(super) struct Ports {
    range: RangeInclusive<u16>,
    free: Vec<u16>,
    /// Where each port of the range stands in `free`.
    at: Vec<u32>,
}

impl Ports {
    /// All ports of `range`, free.
    pub(super) fn new(range: RangeInclusive<u16>) -> Self {
        let free: Vec<u16> = range.clone().collect();
        let at = (0u32..).take(free.len()).collect();
        Self { range, free, at }
    }

    /// Takes a port, unpredictably; under [`Parity::Pair`] the one after it as well.
    pub(super) fn take(&mut self, rng: &mut Rng, parity: Parity) -> Option<u16> {
        let port = self.random(rng, parity).or_else(|| self.any(rng, parity))?;
        self.remove(port);
        if parity == Parity::Pair {
            self.remove(port + 1);
        }
        Some(port)
    }

    /// Returns a port that was taken.
    pub(super) fn give_back(&mut self, port: u16) {
        if !self.is_taken(port) {
            return;
        }
        let at = u32::try_from(self.free.len()).expect("there are at most 65,536 ports");
        let place = self.place(port);
        self.at[place] = at;
        self.free.push(port);
    }

    /// Whether the port belongs to the range and is taken.
    pub(super) fn is_taken(&self, port: u16) -> bool {
        self.range.contains(&port) && self.at[self.place(port)] == TAKEN
    }

    /// The number of ports that are taken.
    pub(super) fn taken(&self) -> usize {
        self.at.len() - self.free.len()
    }

    fn random(&self, rng: &mut Rng, parity: Parity) -> Option<u16> {
        let bound = u32::try_from(self.free.len()).expect("there are at most 65,536 ports");
        (0..RANDOM_TRIES)
            .filter_map(|_| self.free.get(rng.below(bound) as usize).copied())
            .find(|&port| self.suits(port, parity))
    }

    /// The first suitable one after a random place: where suitable ports have become rare.
    fn any(&self, rng: &mut Rng, parity: Parity) -> Option<u16> {
        let bound = u32::try_from(self.free.len()).expect("there are at most 65,536 ports");
        let (before, after) = self.free.split_at(rng.below(bound) as usize);
        after.iter().chain(before).copied().find(|&port| self.suits(port, parity))
    }

    fn suits(&self, port: u16, parity: Parity) -> bool {
        match parity {
            Parity::Any => true,
            Parity::Even => port.is_multiple_of(2),
            Parity::Pair => port.is_multiple_of(2) && self.is_free(port + 1),
        }
    }

    fn is_free(&self, port: u16) -> bool {
        self.range.contains(&port) && self.at[self.place(port)] != TAKEN
    }

    fn remove(&mut self, port: u16) {
        let place = self.place(port);
        let at = std::mem::replace(&mut self.at[place], TAKEN) as usize;
        self.free.swap_remove(at);
        if let Some(&moved) = self.free.get(at) {
            let place = self.place(moved);
            self.at[place] = u32::try_from(at).expect("there are at most 65,536 ports");
        }
    }

    fn place(&self, port: u16) -> usize {
        usize::from(port - self.range.start())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_is_taken_once_and_then_there_is_none() {
        let (mut ports, mut rng) = (Ports::new(2000..=2099), Rng::new([1; 32]));
        let mut taken: Vec<u16> = std::iter::from_fn(|| ports.take(&mut rng, Parity::Any)).collect();
        assert_ne!(taken, (2000..=2099).collect::<Vec<_>>());
        taken.sort_unstable();
        assert_eq!(taken, (2000..=2099).collect::<Vec<_>>());
        ports.give_back(2050);
        ports.give_back(2050);
        ports.give_back(7);
        assert_eq!(ports.take(&mut rng, Parity::Any), Some(2050));
        assert_eq!(ports.take(&mut rng, Parity::Any), None);
    }

    #[test]
    fn a_pair_is_an_even_port_and_the_next() {
        let (mut ports, mut rng) = (Ports::new(2001..=2006), Rng::new([2; 32]));
        let first = ports.take(&mut rng, Parity::Pair).unwrap();
        let second = ports.take(&mut rng, Parity::Pair).unwrap();
        assert_eq!((first.min(second), first.max(second)), (2002, 2004));
        assert_eq!(ports.taken(), 4);
        assert_eq!(ports.take(&mut rng, Parity::Pair), None);
        assert_eq!(ports.take(&mut rng, Parity::Even), Some(2006));
        assert_eq!(ports.take(&mut rng, Parity::Any), Some(2001));
    }

    #[test]
    fn the_last_port_of_all_has_no_successor() {
        let (mut ports, mut rng) = (Ports::new(65534..=65535), Rng::new([3; 32]));
        assert_eq!(ports.take(&mut rng, Parity::Pair), Some(65534));
        assert_eq!(ports.take(&mut rng, Parity::Any), None);
    }
}
