//! What a time-limited credential allows: it travels in the username, which the password vouches for, so that the
//! relay need not ask anybody.
//!
//! ```text
//!  <unix expiry>:<id>:1.<base64url of:>
//!    flags  1 byte    bit 0: any public peer; bit 1: a number of allocations follows; the rest is zero
//!    most   2 bytes   only with bit 1
//!    peers  to the end: 1 byte of version and prefix length (IPv4: 0 to 32, IPv6: 33 + 0 to 128), then as many bytes
//!           of the address as the prefix has begun, with all bits behind it zero
//! ```
//!
//! There is one way to write each policy, and nothing else is accepted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;

use super::address_policy::{Denied, Network, Policy};
use super::credentials::MAX_USERNAME;

/// What stands in front of the policy's bytes.
const VERSION: &str = "1";

const ANY_PUBLIC: u8 = 1 << 0;
const MAX_ALLOCATIONS: u8 = 1 << 1;

/// The first tag of an IPv6 network.
const V6: u8 = 33;

/// What the holder of a credential may do at a relay, as far as the relay's own policy allows it too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CredentialPolicy {
    /// Every peer that is globally routable is permitted.
    pub any_public: bool,
    /// These peers are permitted. As in a relay's own [`Policy`], a special range (a private or a loopback one) is
    /// permitted only by networks that lie wholly within it: `0.0.0.0/0` means all public addresses.
    pub peers: Vec<Network>,
    /// How many allocations the holders of its id may have at once; `None` leaves it to the relay.
    pub max_allocations: Option<u16>,
}

/// Text that is not a [`CredentialPolicy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// It is written in a version that is not known here: it may forbid what this version has no word for.
    #[error("the policy has an unknown version")]
    UnknownVersion,
    /// It is not what a policy of its version looks like.
    #[error("the policy is malformed")]
    Malformed,
}

impl CredentialPolicy {
    /// The text that goes into the username.
    pub fn encode(&self) -> String {
        format!("{VERSION}.{}", BASE64_URL.encode(self.to_bytes()))
    }

    /// Reads what [`encode`](Self::encode) writes.
    ///
    /// # Errors
    /// [`BadPolicy`].
    pub fn parse(text: &str) -> Result<Self, BadPolicy> {
        let (version, body) = text.split_once('.').ok_or(BadPolicy::Malformed)?;
        if version != VERSION {
            return Err(BadPolicy::UnknownVersion);
        }
        if text.len() > MAX_USERNAME {
            return Err(BadPolicy::Malformed);
        }
        let bytes = BASE64_URL.decode(body).map_err(|_| BadPolicy::Malformed)?;
        Self::from_bytes(&bytes).ok_or(BadPolicy::Malformed)
    }

    /// The policy for peers that it stands for.
    pub fn to_policy(&self) -> Policy {
        let base = if self.any_public { Policy::default_deny() } else { Policy::deny_all() };
        self.peers.iter().fold(base, |policy, &network| policy.allow(network))
    }

    /// Whether it permits the peer `ip`. To ask often, ask [`to_policy`](Self::to_policy).
    ///
    /// # Errors
    /// [`Denied`] with the reason.
    pub fn judge(&self, ip: IpAddr) -> Result<(), Denied> {
        self.to_policy().judge(ip)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut flags = if self.any_public { ANY_PUBLIC } else { 0 };
        if self.max_allocations.is_some() {
            flags |= MAX_ALLOCATIONS;
        }
        let mut bytes = vec![flags];
        bytes.extend(self.max_allocations.into_iter().flat_map(u16::to_be_bytes));
        for network in &self.peers {
            write_network(network, &mut bytes);
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&flags, mut rest) = bytes.split_first()?;
        if flags & !(ANY_PUBLIC | MAX_ALLOCATIONS) != 0 {
            return None;
        }
        let mut policy = Self { any_public: flags & ANY_PUBLIC != 0, ..Self::default() };
        if flags & MAX_ALLOCATIONS != 0 {
            let (most, after) = rest.split_first_chunk()?;
            policy.max_allocations = Some(u16::from_be_bytes(*most));
            rest = after;
        }
        while !rest.is_empty() {
            let (network, after) = read_network(rest)?;
            policy.peers.push(network);
            rest = after;
        }
        Some(policy)
    }
}

fn write_network(network: &Network, out: &mut Vec<u8>) {
    let prefix = network.prefix();
    let len = usize::from(prefix).div_ceil(8);
    match network.address() {
        IpAddr::V4(ip) => {
            out.push(prefix);
            out.extend_from_slice(&ip.octets()[..len]);
        }
        IpAddr::V6(ip) => {
            out.push(V6 + prefix);
            out.extend_from_slice(&ip.octets()[..len]);
        }
    }
}

/// The network at the beginning of `bytes`, and what follows it.
fn read_network(bytes: &[u8]) -> Option<(Network, &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let prefix = if tag < V6 { tag } else { tag - V6 };
    let (begun, rest) = rest.split_at_checked(usize::from(prefix).div_ceil(8))?;
    let address = if tag < V6 {
        IpAddr::from(Ipv4Addr::from(padded(begun)?))
    } else {
        IpAddr::from(Ipv6Addr::from(padded(begun)?))
    };
    let network = Network::new(address, prefix);
    (network.address() == address).then_some((network, rest))
}

/// `bytes` with zeros behind; `None` when there are more than `N`.
fn padded<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn raw(bytes: &[u8]) -> Result<CredentialPolicy, BadPolicy> {
        CredentialPolicy::parse(&format!("1.{}", BASE64_URL.encode(bytes)))
    }

    #[test]
    fn a_policy_is_written_compactly() {
        let policy = CredentialPolicy {
            any_public: true,
            peers: vec![network("10.16.0.0/12"), network("2001:db8::/32"), network("0.0.0.0/0")],
            max_allocations: Some(258),
        };
        let bytes = [3, 1, 2, 12, 10, 16, 65, 0x20, 0x01, 0x0d, 0xb8, 0];
        assert_eq!(policy.encode(), format!("1.{}", BASE64_URL.encode(bytes)));
        assert_eq!(raw(&bytes), Ok(policy));
        assert_eq!(CredentialPolicy::default().encode(), "1.AA");
    }

    #[test]
    fn what_another_version_says_is_unknown_here() {
        for text in ["2.AA", "0.AA", "01.AA", ".AA", "9.xyz"] {
            assert_eq!(CredentialPolicy::parse(text), Err(BadPolicy::UnknownVersion), "{text}");
        }
    }

    #[test]
    fn what_is_not_exactly_a_policy_is_malformed() {
        // No version, no byte, padding, characters of the other alphabet, bits behind the last byte.
        for text in ["", "1", "1AA", "1.", "1.AA==", "1.A", "1.AB", "1.+A", "1.AA ", "1.AA.AA", "1.AA:"] {
            assert_eq!(CredentialPolicy::parse(text), Err(BadPolicy::Malformed), "{text}");
        }
        let wrong: [&[u8]; 9] = [
            &[4],                // A flag that this version does not have.
            &[2, 1],             // Half a number.
            &[0, 32, 10, 0, 0],  // A cut address.
            &[0, 8],             // None.
            &[0, 8, 10, 0, 200], // A tag that is none, behind a network and another one.
            &[0, 162],           // A prefix longer than an address.
            &[0, 255],
            &[0, 9, 10, 1], // A bit behind the prefix.
            &[0, 34, 0xFF],
        ];
        for bytes in wrong {
            assert_eq!(raw(bytes), Err(BadPolicy::Malformed), "{bytes:?}");
        }
        let long = format!("1.{}", "A".repeat(MAX_USERNAME));
        assert_eq!(CredentialPolicy::parse(&long), Err(BadPolicy::Malformed));
    }

    #[test]
    fn peers_are_those_that_are_named_or_public() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let none = CredentialPolicy::default();
        assert!(none.judge(ip("8.8.8.8")).is_err());
        let public = CredentialPolicy { any_public: true, ..none.clone() };
        assert_eq!(public.judge(ip("8.8.8.8")), Ok(()));
        assert!(public.judge(ip("10.0.0.1")).is_err());
        let named = CredentialPolicy { peers: vec![network("10.0.0.0/24"), network("0.0.0.0/0")], ..none };
        assert_eq!(named.judge(ip("10.0.0.1")), Ok(()));
        assert_eq!(named.judge(ip("9.9.9.9")), Ok(()));
        assert!(named.judge(ip("10.0.1.1")).is_err(), "only a network within a special range names it");
        assert!(named.judge(ip("2606:4700::1")).is_err());
    }

    fn any_network() -> impl Strategy<Value = Network> {
        (any::<IpAddr>(), any::<u8>()).prop_map(|(address, prefix)| Network::new(address, prefix))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            any_public: bool,
            peers in proptest::collection::vec(any_network(), 0..20),
            max_allocations: Option<u16>,
        ) {
            let policy = CredentialPolicy { any_public, peers, max_allocations };
            prop_assert_eq!(CredentialPolicy::parse(&policy.encode()), Ok(policy));
        }

        #[test]
        fn what_is_read_would_be_written_so(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(policy) = raw(&bytes) {
                prop_assert_eq!(policy.to_bytes(), bytes);
            }
        }
    }
}
