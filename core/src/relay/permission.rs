//! Permissions of one allocation: which peer addresses may send to it (RFC 8656 §9).
//!
//! A permission names an IP address, never a port, and lives five minutes unless it is refreshed.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::sorted::Sorted;

/// Lifetime of a permission; not negotiable (RFC 8656 §9).
pub(super) const LIFETIME: Duration = Duration::from_secs(300);

/// There is no room for one more; 508 on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// The peers that one allocation accepts, with the instant at which each runs out.
#[derive(Debug)]
pub(super) struct Permissions {
    expiry: Sorted<IpAddr, Instant, 2>,
    most: usize,
}

impl Permissions {
    /// No permission, and room for `most`.
    pub(super) fn new(most: usize) -> Self {
        Self { expiry: Sorted::default(), most }
    }

    /// Whether there is room for those of `peers` that have no permission yet.
    ///
    /// # Errors
    /// [`Full`] when there is not.
    pub(super) fn room_for(&self, peers: &[IpAddr]) -> Result<(), Full> {
        let new = peers
            .iter()
            .enumerate()
            .filter(|&(index, &peer)| !self.expiry.contains(peer) && !peers[..index].contains(&peer));
        if self.expiry.len() + new.count() > self.most { Err(Full) } else { Ok(()) }
    }

    /// Installs or refreshes the permission of `peer` and returns when it runs out.
    ///
    /// # Errors
    /// [`Full`] when there is no room for one more.
    pub(super) fn install(&mut self, now: Instant, peer: IpAddr) -> Result<Instant, Full> {
        self.room_for(&[peer])?;
        self.expiry.insert(peer, now + LIFETIME);
        Ok(now + LIFETIME)
    }

    /// Whether `peer` may send now. On the data path: one look-up, no allocation.
    pub(super) fn allow(&self, now: Instant, peer: IpAddr) -> bool {
        self.expiry.get(peer).is_some_and(|&at| now < at)
    }

    /// Removes the permission of `peer`.
    pub(super) fn remove(&mut self, peer: IpAddr) {
        self.expiry.remove(peer);
    }

    /// The peers that have a permission.
    pub(super) fn peers(&self) -> impl Iterator<Item = IpAddr> {
        self.expiry.keys()
    }

    /// The peers that have a permission, and until when.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpAddr, Instant)> {
        self.expiry.iter().map(|(peer, &at)| (peer, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_permission_lives_five_minutes_unless_it_is_refreshed() {
        let start = crate::time::start();
        let minute = Duration::from_secs(60);
        let mut permissions = Permissions::new(1);
        assert_eq!(permissions.install(start, A), Ok(start + LIFETIME));
        assert!(permissions.allow(start + 5 * minute - Duration::from_millis(1), A));
        assert!(!permissions.allow(start + 5 * minute, A));
        permissions.install(start + 4 * minute, A).unwrap();
        assert!(permissions.allow(start + 8 * minute, A));
        assert!(!permissions.allow(start, B));
    }

    #[test]
    fn a_full_table_still_refreshes() {
        let start = crate::time::start();
        let mut permissions = Permissions::new(1);
        permissions.install(start, A).unwrap();
        assert_eq!(permissions.install(start, B), Err(Full));
        assert_eq!(permissions.room_for(&[A, A]), Ok(()));
        assert_eq!(permissions.room_for(&[A, B]), Err(Full));
        assert!(permissions.install(start, A).is_ok());
        permissions.remove(A);
        assert_eq!(permissions.room_for(&[B, B]), Ok(()));
    }
}
