//! Which peers a relay may be made to talk to.
//!
//! A relay sits where its clients do not: without a policy it is a way into its own host and network. So special
//! addresses are denied, however they are written. An IPv6 address that carries an IPv4 address is judged twice:
//! as the address that it reaches, and as the encoding that it is.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

mod ranges;

/// A network in CIDR form, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    /// With all bits behind the prefix cleared.
    address: IpAddr,
    prefix: u8,
}

/// Text that is not a [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an IP address nor a network such as 10.0.0.0/8 or 2001:db8::/32")]
pub struct NotANetwork(String);

impl Network {
    /// The network of the first `prefix` bits of `address`; more bits than the address has count as all.
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        let prefix = prefix.min(width(address));
        let address = match address {
            IpAddr::V4(ip) => IpAddr::from(Ipv4Addr::from(ip.to_bits() & mask(32, prefix) as u32)),
            IpAddr::V6(ip) => IpAddr::from(Ipv6Addr::from(ip.to_bits() & mask(128, prefix))),
        };
        Self { address, prefix }
    }

    /// Its first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The number of bits that its addresses have in common: at most 32 for IPv4, 128 for IPv6.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `ip` lies in it. An IPv4-mapped address lies in no IPv4 network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        width(ip) == width(self.address) && Self::new(ip, self.prefix).address == self.address
    }

    /// Whether all of it lies in `other`.
    pub fn within(&self, other: &Self) -> bool {
        self.prefix >= other.prefix && other.contains(self.address)
    }
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        Self { address, prefix: width(address) }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let error = || NotANetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let Some(prefix) = prefix else { return Ok(address.into()) };
        // `parse` would take a sign as well.
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|&prefix| digits && prefix <= width(address));
        let prefix = prefix.ok_or_else(error)?;
        Ok(Self::new(address, prefix))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix == width(self.address) {
            return write!(f, "{}", self.address);
        }
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// What a relay's operator has decided about peers.
///
/// In order: a denied network wins; then an address that encodes another one is denied unless the encoding is
/// named, and judged again as what it reaches; then a special address is denied unless it is named; then
/// everything else is allowed by [`Policy::default_deny`], and denied by [`Policy::deny_all`] unless named.
///
/// *Named* means: by a network that lies wholly within the special range. `127.0.0.1` and `127.0.0.0/8` name
/// loopback; `0.0.0.0/0` names nothing special, so that a generous rule does not open the relay's own host.
///
/// ```
/// use adit_core::turn::address_policy::{Denied, Network, Policy};
///
/// let inside: Network = "10.20.0.0/16".parse()?;
/// let policy = Policy::deny_all().allow(inside).deny("10.20.0.13".parse::<Network>()?);
/// assert_eq!(policy.judge("10.20.0.1".parse().unwrap()), Ok(()));
/// assert_eq!(policy.judge("10.20.0.13".parse().unwrap()), Err(Denied::Operator));
/// assert_eq!(policy.judge("8.8.8.8".parse().unwrap()), Err(Denied::NotAllowed));
/// # Ok::<(), adit_core::turn::address_policy::NotANetwork>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    allowed: Vec<Network>,
    denied: Vec<Network>,
    public: bool,
}

/// Why a peer may not be reached: 403 (RFC 8656 §9.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The operator denied a network that it lies in, or that the address lies in that it reaches.
    #[error("denied by the relay's operator")]
    Operator,
    /// It lies in a special range that nobody named.
    #[error("{0} addresses are not relayed to unless they are named")]
    Special(&'static str),
    /// It carries an IPv4 address inside, and nobody named this encoding.
    #[error("addresses in {0} form are not relayed to unless they are named")]
    Encoded(&'static str),
    /// Only named peers are allowed, and this is none.
    #[error("not among the peers that the relay's operator allowed")]
    NotAllowed,
}

impl Default for Policy {
    fn default() -> Self {
        Self::default_deny()
    }
}

impl Policy {
    /// Special addresses are denied, public unicast addresses are allowed.
    pub fn default_deny() -> Self {
        Self { allowed: Vec::new(), denied: Vec::new(), public: true }
    }

    /// Only named peers are allowed.
    pub fn deny_all() -> Self {
        Self { public: false, ..Self::default_deny() }
    }

    /// Names peers that may be reached.
    pub fn allow(mut self, network: impl Into<Network>) -> Self {
        self.allowed.push(network.into());
        self
    }

    /// Names peers that may not be reached, whatever else is allowed.
    pub fn deny(mut self, network: impl Into<Network>) -> Self {
        self.denied.push(network.into());
        self
    }

    /// Whether the peer `ip` may be reached.
    ///
    /// # Errors
    /// [`Denied`] with the reason.
    pub fn judge(&self, ip: IpAddr) -> Result<(), Denied> {
        if self.denied.iter().any(|network| network.contains(ip)) {
            return Err(Denied::Operator);
        }
        match ip {
            IpAddr::V4(v4) => self.judge_v4(v4),
            IpAddr::V6(v6) => self.judge_v6(v6),
        }
    }

    fn judge_v4(&self, ip: Ipv4Addr) -> Result<(), Denied> {
        match ranges::special_v4(ip) {
            Some((range, _)) if self.names(ip.into(), range) => Ok(()),
            Some((_, name)) => Err(Denied::Special(name)),
            None => self.judge_public(ip.into()),
        }
    }

    fn judge_v6(&self, ip: Ipv6Addr) -> Result<(), Denied> {
        if let Some((range, name)) = ranges::special_v6(ip) {
            return if self.names(ip.into(), range) { Ok(()) } else { Err(Denied::Special(name)) };
        }
        let Some(encoding) = ranges::encoding(ip) else { return self.judge_public(ip.into()) };
        if !self.names(ip.into(), encoding.range) {
            return Err(Denied::Encoded(encoding.name));
        }
        encoding.reaches.into_iter().flatten().try_for_each(|reached| self.judge(reached.into()))
    }

    fn judge_public(&self, ip: IpAddr) -> Result<(), Denied> {
        let allowed = self.public || self.allowed.iter().any(|network| network.contains(ip));
        if allowed { Ok(()) } else { Err(Denied::NotAllowed) }
    }

    /// Whether a rule names `ip` as part of the special `range`.
    fn names(&self, ip: IpAddr, range: Network) -> bool {
        self.allowed.iter().any(|network| network.contains(ip) && network.within(&range))
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first `prefix` of `width` bits.
fn mask(width: u8, prefix: u8) -> u128 {
    let ones = u128::MAX >> (128 - u32::from(width));
    ones & !ones.checked_shr(u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    /// Addresses that relays in the field were tricked into reaching, and their neighbours.
    const FORBIDDEN: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "169.254.169.254",
        "169.254.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::127.0.0.1",
        "::8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::1",
        "64:ff9b:1:7f00:0:100::",
        "2002:7f00:1::",
        "2002:808:808::1",
        "2001:0:7f00:1::",
        "2001::1",
        "2001:0:808:808:0:ffff:80ff:fffe",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "3fff::1",
        "2001:2::1",
        "2001:10::1",
        "100::1",
        "5f00::1",
        "4000::1",
        "e000::1",
    ];

    #[test]
    fn special_addresses_are_denied_in_every_encoding() {
        for text in FORBIDDEN {
            assert!(Policy::default_deny().judge(ip(text)).is_err(), "{text} was allowed");
            let generous = Policy::default_deny().allow(network("0.0.0.0/0")).allow(network("::/0"));
            assert!(generous.judge(ip(text)).is_err(), "{text} was allowed by a rule that does not name it");
        }
    }

    #[test]
    fn public_addresses_are_allowed_unless_all_is_denied() {
        for text in [
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "192.169.0.1",
            "2606:4700::1",
            "2a00::1",
        ] {
            assert_eq!(Policy::default_deny().judge(ip(text)), Ok(()), "{text}");
            assert_eq!(Policy::deny_all().judge(ip(text)), Err(Denied::NotAllowed));
            assert_eq!(Policy::deny_all().allow(ip(text)).judge(ip(text)), Ok(()));
        }
    }

    #[test]
    fn a_special_address_is_opened_by_its_name_only() {
        let loopback = Policy::default_deny().allow(ip("127.0.0.1"));
        assert_eq!(loopback.judge(ip("127.0.0.1")), Ok(()));
        assert_eq!(loopback.judge(ip("127.0.0.2")), Err(Denied::Special("loopback")));
        assert_eq!(loopback.judge(ip("::1")), Err(Denied::Special("loopback")));
        assert_eq!(loopback.judge(ip("::ffff:127.0.0.1")), Err(Denied::Encoded("IPv4-mapped")));
        let private = Policy::deny_all().allow(network("10.0.0.0/8"));
        assert_eq!(private.judge(ip("10.9.8.7")), Ok(()));
        assert_eq!(private.judge(ip("192.168.0.1")), Err(Denied::Special("private")));
    }

    #[test]
    fn a_named_encoding_is_judged_as_what_it_reaches() {
        let mapped = Policy::default_deny().allow(network("::ffff:0:0/96"));
        assert_eq!(mapped.judge(ip("::ffff:8.8.8.8")), Ok(()));
        assert_eq!(mapped.judge(ip("::ffff:127.0.0.1")), Err(Denied::Special("loopback")));
        let translated = Policy::default_deny().allow(network("64:ff9b::/96")).deny(network("8.8.0.0/16"));
        assert_eq!(translated.judge(ip("64:ff9b::9.9.9.9")), Ok(()));
        assert_eq!(translated.judge(ip("64:ff9b::8.8.8.8")), Err(Denied::Operator));
        let teredo = Policy::default_deny().allow(network("2001::/32"));
        // The client's IPv4 address is written with all bits flipped: 127.0.0.1 here.
        assert_eq!(teredo.judge(ip("2001:0:808:808::80ff:fffe")), Err(Denied::Special("loopback")));
    }

    #[test]
    fn a_denied_network_wins() {
        let policy = Policy::default_deny().allow(ip("10.0.0.1")).deny(network("10.0.0.0/24"));
        assert_eq!(policy.judge(ip("10.0.0.1")), Err(Denied::Operator));
    }

    #[test]
    fn networks_are_read_and_written() {
        for (text, written) in
            [("10.1.2.3/8", "10.0.0.0/8"), ("::1", "::1"), ("2001:db8::5/32", "2001:db8::/32")]
        {
            assert_eq!(network(text).to_string(), written);
        }
        assert!(network("0.0.0.0/0").contains(ip("255.1.2.3")));
        assert!(network("::/0").contains(ip("ffff::1")));
        assert!(!network("0.0.0.0/0").contains(ip("::ffff:1.2.3.4")));
        for text in
            ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "localhost", "::/129", "10.0.0.1-10.0.0.9"]
        {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
