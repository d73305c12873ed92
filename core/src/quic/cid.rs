//! Connection IDs that hide the slot of their connection.
//!
//! A connection ID is an 8-byte nonce and the slot, masked by a keyed function of the nonce (AES-128, which is what
//! `aws_lc_rs::aead::quic` offers for header protection). To everybody else two of them look unrelated
//! (RFC 9000 §5.1). There is no tag: quinn-proto looks the whole ID up afterwards, and a slot that was made up
//! leads nowhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_lc_rs::aead::quic::{AES_128, HeaderProtectionKey};
use quinn_proto::{ConnectionId, ConnectionIdGenerator};

use crate::rand::{Rng, Seed};

/// The length of the connection IDs that are minted here.
pub(super) const LEN: usize = NONCE + 4;
const NONCE: usize = 8;

/// The slot of no connection: in the connection ID of a Retry, behind which nothing is kept.
const NOBODY: u32 = u32::MAX;

/// Tells the [`Minter`] inside quinn-proto which slot the next connection IDs belong to. Only the endpoint sets it,
/// right before it calls into quinn-proto.
#[derive(Debug, Clone)]
pub(super) struct SlotCell(Arc<AtomicU32>);

impl SlotCell {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU32::new(NOBODY)))
    }

    /// Does something during which all connection IDs that are minted belong to `slot`.
    pub(super) fn during<R>(&self, slot: u32, call: impl FnOnce() -> R) -> R {
        self.0.store(slot, Ordering::Relaxed);
        let result = call();
        self.0.store(NOBODY, Ordering::Relaxed);
        result
    }
}

/// Mints connection IDs for quinn-proto.
pub(super) struct Minter {
    mask: Mask,
    rng: Rng,
    slot: SlotCell,
}

impl Minter {
    pub(super) fn new(seed: Seed, slot: SlotCell) -> Self {
        let mut rng = Rng::new(seed);
        Self { mask: Mask::new(&rng.bytes()), rng, slot }
    }
}

impl ConnectionIdGenerator for Minter {
    fn generate_cid(&mut self) -> ConnectionId {
        let nonce = self.rng.bytes::<NONCE>();
        let slot = self.slot.0.load(Ordering::Relaxed) ^ self.mask.of(nonce);
        let mut cid = [0; LEN];
        cid[..NONCE].copy_from_slice(&nonce);
        cid[NONCE..].copy_from_slice(&slot.to_be_bytes());
        ConnectionId::new(&cid)
    }

    fn cid_len(&self) -> usize {
        LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Reads the slots back.
pub(super) struct Reader {
    mask: Mask,
    /// The last one that was read: datagrams of one connection come in rows.
    last: ([u8; LEN], u32),
}

impl Reader {
    /// The reader of what the minter of the same seed mints.
    pub(super) fn new(seed: Seed) -> Self {
        let mask = Mask::new(&Rng::new(seed).bytes());
        let last = ([0; LEN], mask.of([0; NONCE]));
        Self { mask, last }
    }

    /// The slot in `cid`; some number if it was not minted here.
    pub(super) fn slot(&mut self, cid: [u8; LEN]) -> u32 {
        if self.last.0 != cid {
            let (nonce, slot) = cid.split_first_chunk::<NONCE>().expect("longer than its nonce");
            let slot = u32::from_be_bytes(slot.try_into().expect("four bytes follow the nonce"));
            self.last = (cid, slot ^ self.mask.of(*nonce));
        }
        self.last.1
    }
}

/// The keyed function of the nonce.
struct Mask(HeaderProtectionKey);

impl Mask {
    fn new(key: &[u8; 16]) -> Self {
        Self(HeaderProtectionKey::new(&AES_128, key).expect("the key has the length of AES-128's"))
    }

    fn of(&self, nonce: [u8; NONCE]) -> u32 {
        let mut block = [0; 16];
        block[..NONCE].copy_from_slice(&nonce);
        let mask = self.0.new_mask(&block).expect("the sample has the length of AES's block");
        u32::from_be_bytes([mask[0], mask[1], mask[2], mask[3]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_id_leads_back_to_its_slot() {
        let slot = SlotCell::new();
        let mut minter = Minter::new([1; 32], slot.clone());
        let mut reader = Reader::new([1; 32]);
        for number in [0, 1, 77, u32::MAX - 1] {
            let cid = slot.during(number, || minter.generate_cid());
            assert_eq!(reader.slot(cid[..].try_into().unwrap()), number);
        }
        let nobody = minter.generate_cid();
        assert_eq!(reader.slot(nobody[..].try_into().unwrap()), NOBODY);
    }

    #[test]
    fn the_slot_is_hidden_from_others() {
        let slot = SlotCell::new();
        let mut minter = Minter::new([1; 32], slot.clone());
        let mut stranger = Reader::new([2; 32]);
        let seen = (0..100).filter(|_| {
            let cid = slot.during(5, || minter.generate_cid());
            stranger.slot(cid[..].try_into().unwrap()) == 5
        });
        assert_eq!(seen.count(), 0);
    }
}
