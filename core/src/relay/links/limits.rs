//! What links may cost.

use std::time::Duration;

use super::super::shard::Shard;

/// Limits of the links of clients: TCP connections, plain or under TLS. A shard of a relay has an exact share of those in
/// all, and a share that is rounded up of those per source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkLimits {
    /// Links in all.
    pub total: usize,
    /// Links per source: an IPv4 address, or an IPv6 /64.
    pub per_source: usize,
    /// Links on which no message has come yet.
    pub opening: usize,
    /// How long a client has until its first message, the handshake of TLS included.
    pub handshake: Duration,
    /// How long a client without an allocation has between messages.
    pub idle: Duration,
    /// How long a client has to take what was sent to it; the kernel's buffers come on top.
    pub write: Duration,
    /// How many bytes of data may wait for a client, and be dropped beyond that. Replies have 64 KiB more.
    pub queue: usize,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            total: 16_384,
            per_source: 512,
            opening: 1024,
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(15),
            write: Duration::from_secs(10),
            queue: 256 * 1024,
        }
    }
}

impl LinkLimits {
    /// What one shard of a relay may have of it.
    pub(in super::super) fn share(self, shard: &Shard) -> Self {
        Self {
            total: shard.share(self.total),
            per_source: shard.share_of_source(self.per_source),
            opening: shard.share(self.opening),
            ..self
        }
    }
}
