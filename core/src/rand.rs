//! Injected randomness. Every machine draws from a generator that its owner seeded, and from nothing else.

use ::rand::rngs::StdRng;
use ::rand::{Rng as _, RngExt as _, SeedableRng as _};

/// A cryptographically strong generator (ChaCha) with a given seed. The same seed gives the same sequence.
#[derive(Debug)]
pub struct Rng(StdRng);

/// 256 bits from a true source of randomness, or a fixed number where a run must be repeatable.
pub type Seed = [u8; 32];

impl Rng {
    /// The generator of `seed`.
    pub fn new(seed: Seed) -> Self {
        Self(StdRng::from_seed(seed))
    }

    /// `N` random bytes: a transaction id, a key, a nonce.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number in `0..bound`, each equally likely; 0 where `bound` is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        if bound == 0 { 0 } else { self.0.random_range(0..bound) }
    }

    /// A seed for a child machine, independent of what is drawn here later.
    pub fn fork(&mut self) -> Seed {
        self.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        let (mut a, mut b) = (Rng::new([7; 32]), Rng::new([7; 32]));
        assert_eq!(a.bytes::<12>(), b.bytes::<12>());
        assert_eq!(a.fork(), b.fork());
        assert_ne!(a.bytes::<12>(), Rng::new([8; 32]).bytes::<12>());
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::new([1; 32]);
        assert!((0..1000).all(|_| rng.below(3) < 3));
        assert_eq!(rng.below(0), 0);
    }
}
