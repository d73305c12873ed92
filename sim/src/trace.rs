//! What was sent, when, between whom and how much: one number that two equal runs have in common.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A running hash over (time, from, to, length) of every packet that was sent, in the order of sending. Contents
/// do not count: ephemeral keys differ from run to run, and no length may depend on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    hash: u64,
    packets: u64,
    bytes: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hash: Self::OFFSET, packets: 0, bytes: 0 }
    }
}

impl Trace {
    // FNV-1a with 64 bits: stable over platforms and versions of the compiler, which std's hashers are not.
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The number of packets so far, with those that were lost.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// The UDP payload bytes so far, with those that were lost.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn record(&mut self, at: Duration, from: SocketAddr, to: SocketAddr, len: usize) {
        self.mix(&at.as_nanos().to_be_bytes());
        self.mix_addr(from);
        self.mix_addr(to);
        self.mix(&(len as u64).to_be_bytes());
        self.packets += 1;
        self.bytes += len as u64;
    }

    fn mix_addr(&mut self, addr: SocketAddr) {
        match addr.ip() {
            IpAddr::V4(ip) => self.mix(&ip.octets()),
            IpAddr::V6(ip) => self.mix(&ip.octets()),
        }
        self.mix(&addr.port().to_be_bytes());
    }

    fn mix(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(Self::PRIME);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_packet_counts() {
        let hash = |ms, from: &str, to: &str, len| {
            let mut trace = Trace::default();
            trace.record(Duration::from_millis(ms), from.parse().unwrap(), to.parse().unwrap(), len);
            trace.hash()
        };
        let one = hash(1, "1.1.1.1:1", "[::1]:2", 3);
        assert_eq!(one, hash(1, "1.1.1.1:1", "[::1]:2", 3));
        assert_ne!(one, hash(2, "1.1.1.1:1", "[::1]:2", 3));
        assert_ne!(one, hash(1, "1.1.1.1:9", "[::1]:2", 3));
        assert_ne!(one, hash(1, "1.1.1.1:1", "[::2]:2", 3));
        assert_ne!(one, hash(1, "1.1.1.1:1", "[::1]:2", 4));
    }
}
