//! The memory that a hub receives into: enough for one `recvmmsg` of coalesced batches.

use std::io::IoSliceMut;

use quinn_udp::{BATCH_SIZE, RecvMeta};

/// The largest batch that the kernel coalesces, in bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// How far one batch begins behind the other, in bytes: by some lines of the cache more than a power of two, or the first
/// bytes of all of them would compete for the same few places in it.
const DISTANCE: usize = BATCH_BYTES + 5 * 64;

/// One buffer per hub: a machine is done with a batch before the next is received. Pages that are never received
/// into are never touched.
pub(crate) struct ReceiveBuffer {
    bytes: Vec<u8>,
    meta: Vec<RecvMeta>,
}

impl ReceiveBuffer {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; BATCH_SIZE * DISTANCE], meta: vec![RecvMeta::default(); BATCH_SIZE] }
    }

    /// No buffer; stands in while the hub works on the real one.
    pub(crate) fn empty() -> Self {
        Self { bytes: Vec::new(), meta: Vec::new() }
    }

    /// Lets `receive` fill the buffer; it returns how many batches it has filled.
    pub(crate) fn fill<E>(
        &mut self,
        receive: impl FnOnce(&mut [IoSliceMut<'_>], &mut [RecvMeta]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let mut chunks = self.bytes.chunks_exact_mut(DISTANCE);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] = std::array::from_fn(|_| {
            IoSliceMut::new(&mut chunks.next().expect("one chunk for each batch")[..BATCH_BYTES])
        });
        receive(&mut slices, &mut self.meta)
    }

    /// The first `count` batches.
    pub(crate) fn batches(&mut self, count: usize) -> impl Iterator<Item = (RecvMeta, &mut [u8])> {
        self.meta
            .iter()
            .zip(self.bytes.chunks_exact_mut(DISTANCE))
            .take(count)
            .map(|(meta, chunk)| (*meta, &mut chunk[..meta.len.min(BATCH_BYTES)]))
    }
}
