//! Ranges of peers. In coturn what is allowed wins over what is denied; here what is denied wins. So what is allowed is cut
//! out of what is denied, and the rest is written as networks.

use std::net::IpAddr;

use adit_core::turn::address_policy::Network;

/// From one address to another of the same family, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    v6: bool,
    first: u128,
    last: u128,
}

impl Range {
    /// `IP`, `IP-IP`, or a network.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.contains('/') {
            let network: Network = text.parse().ok()?;
            return Some(Self::of(network));
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let range = Self { v6: first.is_ipv6(), first: bits(first), last: bits(last) };
        (first.is_ipv6() == last.is_ipv6() && range.first <= range.last).then_some(range)
    }

    fn of(network: Network) -> Self {
        let v6 = network.address().is_ipv6();
        let first = bits(network.address());
        let free = width(v6) - u32::from(network.prefix());
        Self { v6, first, last: first | low(free) }
    }

    /// What of it does not lie in `other`.
    fn without(self, other: &Self) -> Vec<Self> {
        if self.v6 != other.v6 || other.last < self.first || self.last < other.first {
            return vec![self];
        }
        let below = other.first.checked_sub(1).filter(|_| other.first > self.first);
        let above = other.last.checked_add(1).filter(|&first| first <= self.last);
        let below = below.map(|last| Self { last, ..self });
        below.into_iter().chain(above.map(|first| Self { first, ..self })).collect()
    }

    /// The networks that it consists of, the fewest that there can be.
    pub(super) fn networks(self) -> Vec<Network> {
        let mut networks = Vec::new();
        let mut next = Some(self.first);
        while let Some(first) = next.filter(|&first| first <= self.last) {
            let mut free = first.trailing_zeros().min(width(self.v6));
            while first | low(free) > self.last {
                free -= 1;
            }
            let prefix = u8::try_from(width(self.v6) - free).expect("at most 128");
            networks.push(Network::new(address(self.v6, first), prefix));
            next = (first | low(free)).checked_add(1);
        }
        networks
    }
}

/// The networks that are denied where `allowed` wins.
pub(super) fn denied(denied: &[Range], allowed: &[Range]) -> Vec<Network> {
    let mut left = denied.to_vec();
    for range in allowed {
        left = left.into_iter().flat_map(|part| part.without(range)).collect();
    }
    left.into_iter().flat_map(Range::networks).collect()
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn address(v6: bool, bits: u128) -> IpAddr {
    match u32::try_from(bits) {
        Ok(bits) if !v6 => IpAddr::V4(bits.into()),
        _ => IpAddr::V6(bits.into()),
    }
}

fn width(v6: bool) -> u32 {
    if v6 { 128 } else { 32 }
}

/// So many ones at the end.
fn low(count: u32) -> u128 {
    1u128.checked_shl(count).map_or(u128::MAX, |bit| bit - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(range: &str) -> Vec<String> {
        Range::parse(range).unwrap().networks().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_range_becomes_the_fewest_networks() {
        assert_eq!(networks("83.166.64.0-83.166.95.255"), ["83.166.64.0/19"]);
        assert_eq!(networks("192.0.2.5"), ["192.0.2.5"]);
        assert_eq!(
            networks("192.0.2.1-192.0.2.6"),
            ["192.0.2.1", "192.0.2.2/31", "192.0.2.4/31", "192.0.2.6"]
        );
        assert_eq!(networks("0.0.0.0-255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(networks("255.255.255.254-255.255.255.255"), ["255.255.255.254/31"]);
        assert_eq!(networks("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), ["::/0"]);
        assert_eq!(networks("2001:db8::-2001:db8::1"), ["2001:db8::/127"]);
        assert_eq!(networks("10.0.0.0/8"), ["10.0.0.0/8"]);
    }

    #[test]
    fn what_is_allowed_is_cut_out_of_what_is_denied() {
        let range = |text: &str| Range::parse(text).unwrap();
        let left =
            denied(&[range("10.0.0.0-10.0.0.7")], &[range("10.0.0.2"), range("10.0.0.7"), range("::1")]);
        let left: Vec<_> = left.iter().map(ToString::to_string).collect();
        assert_eq!(left, ["10.0.0.0/31", "10.0.0.3", "10.0.0.4/31", "10.0.0.6"]);
        assert!(denied(&[range("10.0.0.1")], &[range("10.0.0.0/8")]).is_empty());
        assert_eq!(denied(&[range("0.0.0.0/0")], &[range("0.0.0.0")]).len(), 32);
    }

    #[test]
    fn what_is_no_range_is_none() {
        for text in ["", "here", "10.0.0.2-10.0.0.1", "10.0.0.1-::1", "10.0.0.0/33"] {
            assert_eq!(Range::parse(text), None, "{text}");
        }
    }
}
