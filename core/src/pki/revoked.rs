//! Whom to believe no more, although the certificate says otherwise.
//!
//! A leaf lives for hours; a revocation must not wait that long. Both ends hold the whole list, which the platform
//! repeats with every change, and close what it covers.

use std::collections::BTreeSet;

use super::identity::Identity;
use super::leaf::PeerInfo;

/// Certificates and identities that count no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    serials: BTreeSet<Vec<u8>>,
    identities: BTreeSet<Identity>,
}

impl Revoked {
    /// Nobody besides is revoked. Serial numbers are big-endian; leading zeros don't count.
    pub fn new(
        serials: impl IntoIterator<Item = Vec<u8>>,
        identities: impl IntoIterator<Item = Identity>,
    ) -> Self {
        Self {
            serials: serials.into_iter().map(|serial| significant(&serial).to_vec()).collect(),
            identities: identities.into_iter().collect(),
        }
    }

    /// Whether nobody is revoked.
    pub fn is_empty(&self) -> bool {
        self.serials.is_empty() && self.identities.is_empty()
    }

    /// Whether the certificate that says this counts no more: by its serial number, or by whom it names.
    pub fn covers(&self, peer: &PeerInfo) -> bool {
        self.covers_leaf(&peer.identity, &peer.serial)
    }

    /// [`covers`](Self::covers) by the two parts of a certificate that matter.
    pub(crate) fn covers_leaf(&self, identity: &Identity, serial: &[u8]) -> bool {
        self.identities.contains(identity) || self.serials.contains(significant(serial))
    }
}

/// `serial` without the zeros in front, which DER has where the first bit would mean a minus.
fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|&&byte| byte == 0).count();
    &serial[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixTime;

    fn peer(identity: &str, serial: &[u8]) -> PeerInfo {
        PeerInfo {
            identity: identity.parse().unwrap(),
            targets: None,
            not_before: UnixTime(0),
            not_after: UnixTime(1),
            serial: serial.to_vec(),
        }
    }

    #[test]
    fn a_certificate_is_covered_by_its_serial_or_by_its_holder() {
        let ada = "spiffe://d/org/o/person/ada";
        let revoked = Revoked::new([vec![0, 0x81, 2]], [ada.parse().unwrap()]);
        assert!(revoked.covers(&peer(ada, &[9])));
        assert!(revoked.covers(&peer("spiffe://d/org/o/person/bob", &[0x81, 2])));
        assert!(revoked.covers(&peer("spiffe://d/org/o/person/bob", &[0, 0x81, 2])));
        assert!(!revoked.covers(&peer("spiffe://d/org/o/person/bob", &[0x81, 2, 0])));
        assert!(!revoked.covers(&peer("spiffe://d/org/p/person/ada", &[9])), "of another organisation");
        assert!(!revoked.is_empty());
    }

    #[test]
    fn nobody_is_revoked_by_default() {
        assert!(Revoked::default().is_empty());
        assert!(!Revoked::default().covers(&peer("spiffe://d/org/o/person/ada", &[])));
    }
}
