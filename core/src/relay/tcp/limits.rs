//! What connections with peers may cost.

use std::time::Duration;

use super::super::shard::Shard;

/// Limits of the TCP connections with peers (RFC 6062). A shard of a relay has an exact share of those in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections in all.
    pub total: usize,
    /// Connections per allocation. None at all makes the relay answer 442 to those who ask for an allocation of TCP.
    pub per_allocation: usize,
    /// Connections per allocation that are being opened, or that no client has bound yet.
    pub pending: usize,
    /// How long a peer has to answer a Connect; at least 30 s (RFC 6062 §5.2).
    pub connect: Duration,
    /// How long a connection with a peer waits for its client to bind it: 30 s (RFC 6062 §5.2, §5.3).
    pub bind: Duration,
    /// How long a connection of which one way has ended may carry nothing the other way.
    pub half_closed: Duration,
}

impl ConnectionLimits {
    /// What a shard may have of it.
    pub(in super::super) fn share(self, shard: &Shard) -> Self {
        Self { total: shard.share(self.total), ..self }
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            total: 8192,
            per_allocation: 64,
            pending: 16,
            connect: Duration::from_secs(30),
            bind: Duration::from_secs(30),
            half_closed: Duration::from_secs(300),
        }
    }
}
