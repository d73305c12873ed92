//! Channels of one allocation: numbers that stand for peers, one to one (RFC 8656 §12).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::sorted::Sorted;

/// Lifetime of a channel binding; not negotiable (RFC 8656 §12).
pub(super) const LIFETIME: Duration = Duration::from_secs(600);

/// Why a number cannot be bound to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The number stands for another peer, or the peer has another number; 400 on the wire (RFC 8656 §12.2).
    Conflict,
    /// There is no room for one more; 508 on the wire.
    Full,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    peer: SocketAddr,
    expiry: Instant,
}

/// The channels of one allocation, by number and by peer.
#[derive(Debug)]
pub(super) struct Channels {
    by_number: Sorted<u16, Channel, 1>,
    by_peer: Sorted<SocketAddr, u16, 1>,
    most: usize,
}

impl Channels {
    /// No channel, and room for `most`.
    pub(super) fn new(most: usize) -> Self {
        Self { by_number: Sorted::default(), by_peer: Sorted::default(), most }
    }

    /// Whether `number` can be bound to `peer`, or refreshed.
    ///
    /// # Errors
    /// [`Refusal`] when it cannot.
    pub(super) fn judge(&self, number: u16, peer: SocketAddr) -> Result<(), Refusal> {
        match (self.by_number.get(number), self.by_peer.get(peer)) {
            (Some(channel), Some(_)) if channel.peer == peer => Ok(()),
            (None, None) if self.by_number.len() < self.most => Ok(()),
            (None, None) => Err(Refusal::Full),
            _ => Err(Refusal::Conflict),
        }
    }

    /// Binds `number` to `peer`, or refreshes that binding, and returns when it runs out.
    ///
    /// # Errors
    /// [`Refusal`] when it cannot be bound; nothing has changed then.
    pub(super) fn bind(&mut self, now: Instant, number: u16, peer: SocketAddr) -> Result<Instant, Refusal> {
        self.judge(number, peer)?;
        let expiry = now + LIFETIME;
        self.by_number.insert(number, Channel { peer, expiry });
        self.by_peer.insert(peer, number);
        Ok(expiry)
    }

    /// The peer that `number` stands for now.
    pub(super) fn peer(&self, now: Instant, number: u16) -> Option<SocketAddr> {
        self.by_number.get(number).filter(|channel| now < channel.expiry).map(|channel| channel.peer)
    }

    /// The number of `peer` now.
    pub(super) fn number(&self, now: Instant, peer: SocketAddr) -> Option<u16> {
        let number = *self.by_peer.get(peer)?;
        self.peer(now, number).map(|_| number)
    }

    /// Removes the binding of `number`.
    pub(super) fn remove(&mut self, number: u16) {
        if let Some(channel) = self.by_number.remove(number) {
            self.by_peer.remove(channel.peer);
        }
    }

    /// The numbers that are bound, and to which peers.
    pub(super) fn bindings(&self) -> impl Iterator<Item = (u16, SocketAddr)> {
        self.by_number.iter().map(|(number, channel)| (number, channel.peer))
    }

    /// How many numbers are bound.
    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    /// The numbers that are bound.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u16> {
        self.by_number.keys()
    }

    /// The numbers that are bound, and until when.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, Instant)> {
        self.by_number.iter().map(|(number, channel)| (number, channel.expiry))
    }

    /// Panics unless the two directions say the same.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn check(&self) {
        assert!(self.by_number.len() <= self.most);
        assert_eq!(self.by_number.len(), self.by_peer.len());
        for (number, channel) in self.by_number.iter() {
            assert_eq!(self.by_peer.get(channel.peer), Some(&number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn numbers_and_peers_are_one_to_one() {
        let start = crate::time::start();
        let mut channels = Channels::new(2);
        channels.bind(start, 0x4000, peer(1)).unwrap();
        assert_eq!(channels.bind(start, 0x4000, peer(2)), Err(Refusal::Conflict));
        assert_eq!(channels.bind(start, 0x4001, peer(1)), Err(Refusal::Conflict));
        channels.bind(start, 0x4001, peer(2)).unwrap();
        assert_eq!(channels.bind(start, 0x4002, peer(3)), Err(Refusal::Full));
        assert_eq!(channels.bind(start, 0x4000, peer(2)), Err(Refusal::Conflict));
        assert!(channels.bind(start, 0x4001, peer(2)).is_ok());
        assert_eq!(channels.peer(start, 0x4000), Some(peer(1)));
        assert_eq!(channels.number(start, peer(2)), Some(0x4001));
        channels.remove(0x4001);
        assert_eq!(channels.number(start, peer(2)), None);
        channels.check();
    }

    #[test]
    fn a_channel_lives_ten_minutes_unless_it_is_refreshed() {
        let start = crate::time::start();
        let mut channels = Channels::new(2);
        channels.bind(start, 0x4000, peer(1)).unwrap();
        assert_eq!(channels.peer(start + LIFETIME, 0x4000), None);
        channels.bind(start + LIFETIME / 2, 0x4000, peer(1)).unwrap();
        assert_eq!(channels.number(start + LIFETIME, peer(1)), Some(0x4000));
    }
}
