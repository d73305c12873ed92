//! Names that tell the shard which has what they stand for, to nobody but the shards: RESERVATION-TOKENs (RFC 8656 §7.2,
//! §18.10) and CONNECTION-IDs (RFC 6062 §6.2.1).
//!
//! Each is random in all its bits. A keyed hash of it is the number of a shard, and a shard draws until that is its own.

use aws_lc_rs::hmac;

use super::shard::Shard;
use crate::rand::Rng;

/// Names a reserved port.
pub(super) type Token = [u8; 8];

/// Makes the names of a shard, and tells those of others.
#[derive(Debug)]
pub(super) struct Tokens {
    key: hmac::Key,
    shard: u8,
    count: u8,
}

impl Tokens {
    /// `common` gives all shards the same key.
    pub(super) fn new(common: &mut Rng, shard: &Shard) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &common.bytes::<32>());
        Self { key, shard: shard.index(), count: shard.count().get() }
    }

    /// A name that this shard will be told by. The more shards, the more are drawn.
    pub(super) fn draw<const N: usize>(&self, rng: &mut Rng) -> [u8; N] {
        loop {
            let name = rng.bytes();
            if self.shard_of(&name) == self.shard {
                return name;
            }
        }
    }

    /// The shard that a name tells, where it is another one.
    pub(super) fn elsewhere(&self, name: &[u8]) -> Option<u8> {
        let shard = self.shard_of(name);
        (shard != self.shard).then_some(shard)
    }

    fn shard_of(&self, name: &[u8]) -> u8 {
        if self.count == 1 {
            return 0;
        }
        let hash = hmac::sign(&self.key, name);
        let wide = hash.as_ref()[..8].iter().fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
        (wide % u64::from(self.count)) as u8
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use super::*;

    #[test]
    fn a_name_tells_its_shard_to_those_who_have_the_key() {
        let mut rng = Rng::new([4; 32]);
        let parts = Shard::split(NonZeroU8::new(3).unwrap(), crate::time::start(), [1; 32]);
        let shards: Vec<Tokens> =
            parts.iter().map(|shard| Tokens::new(&mut Rng::new([1; 32]), shard)).collect();
        let stranger = Tokens::new(&mut Rng::new([2; 32]), &parts[0]);
        let mut told = 0;
        for _ in 0..100 {
            for made_by in &shards {
                let (token, number) = (made_by.draw::<8>(&mut rng), made_by.draw::<4>(&mut rng));
                for reader in &shards {
                    let expected = (reader.shard != made_by.shard).then_some(made_by.shard);
                    assert_eq!([reader.elsewhere(&token), reader.elsewhere(&number)], [expected; 2]);
                }
                told += usize::from(stranger.shard_of(&token) == made_by.shard);
            }
        }
        assert!((50..150).contains(&told), "to others it says nothing: {told} of 300");
    }
}
