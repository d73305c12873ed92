//! The special ranges of IANA's registries for IPv4 and IPv6 (RFC 6890), and the IPv6 forms that carry an IPv4
//! address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Network;

type Range<Ip> = (Ip, u8, &'static str);

const fn v4(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

const fn v6(a: u16, b: u16, c: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0)
}

const SPECIAL_V4: &[Range<Ipv4Addr>] = &[
    (v4(0, 0, 0, 0), 8, "unspecified"),
    (v4(10, 0, 0, 0), 8, "private"),
    (v4(100, 64, 0, 0), 10, "carrier-grade NAT"),
    (v4(127, 0, 0, 0), 8, "loopback"),
    (v4(169, 254, 0, 0), 16, "link-local"),
    (v4(172, 16, 0, 0), 12, "private"),
    (v4(192, 0, 0, 0), 24, "protocol assignment"),
    (v4(192, 0, 2, 0), 24, "documentation"),
    (v4(192, 88, 99, 0), 24, "6to4 anycast"),
    (v4(192, 168, 0, 0), 16, "private"),
    (v4(198, 18, 0, 0), 15, "benchmarking"),
    (v4(198, 51, 100, 0), 24, "documentation"),
    (v4(203, 0, 113, 0), 24, "documentation"),
    (v4(224, 0, 0, 0), 4, "multicast"),
    (v4(255, 255, 255, 255), 32, "broadcast"),
    (v4(240, 0, 0, 0), 4, "reserved"),
];

const SPECIAL_V6: &[Range<Ipv6Addr>] = &[
    (Ipv6Addr::UNSPECIFIED, 128, "unspecified"),
    (Ipv6Addr::LOCALHOST, 128, "loopback"),
    (v6(0x0100, 0, 0), 64, "discard-only"),
    (v6(0x2001, 0x0002, 0), 48, "benchmarking"),
    (v6(0x2001, 0x0010, 0), 28, "ORCHID"),
    (v6(0x2001, 0x0020, 0), 28, "ORCHID"),
    (v6(0x2001, 0x0db8, 0), 32, "documentation"),
    (v6(0x3fff, 0, 0), 20, "documentation"),
    (v6(0xfc00, 0, 0), 7, "unique local"),
    (v6(0xfe80, 0, 0), 10, "link-local"),
    (v6(0xfec0, 0, 0), 10, "site-local"),
    (v6(0xff00, 0, 0), 8, "multicast"),
];

/// The only part of IPv6 that is assigned to the public (RFC 4291 §2.4, IANA).
const GLOBAL: (Ipv6Addr, u8) = (v6(0x2000, 0, 0), 3);

/// An IPv6 form that carries an IPv4 address.
pub(super) struct Encoding {
    pub(super) range: Network,
    pub(super) name: &'static str,
    /// The addresses inside; Teredo has two, NAT64's local-use prefix two places.
    pub(super) reaches: [Option<Ipv4Addr>; 2],
}

/// The special range that `ip` lies in.
pub(super) fn special_v4(ip: Ipv4Addr) -> Option<(Network, &'static str)> {
    find(SPECIAL_V4, ip.into())
}

/// The special range that `ip` lies in; unassigned space is one.
pub(super) fn special_v6(ip: Ipv6Addr) -> Option<(Network, &'static str)> {
    let unassigned = || {
        let global = Network::new(GLOBAL.0.into(), GLOBAL.1).contains(ip.into());
        let everything = Network::new(Ipv6Addr::UNSPECIFIED.into(), 1);
        (!global && encoding(ip).is_none()).then_some((everything, "unassigned"))
    };
    find(SPECIAL_V6, ip.into()).or_else(unassigned)
}

/// The encoding that `ip` is.
pub(super) fn encoding(ip: Ipv6Addr) -> Option<Encoding> {
    let o = ip.octets();
    let at = |i: usize| Some(v4(o[i], o[i + 1], o[i + 2], o[i + 3]));
    let flipped = Some(v4(!o[12], !o[13], !o[14], !o[15]));
    // RFC 6052 §2.2: behind a prefix of 48 bits the address is split around byte 8.
    let split = Some(v4(o[6], o[7], o[9], o[10]));
    let (range, prefix, name, reaches) = match ip.segments() {
        [0, 0, 0, 0, 0, 0xffff, _, _] => (at96([0, 0, 0xffff]), 96, "IPv4-mapped", [at(12), None]),
        [0, 0, 0, 0, 0xffff, 0, _, _] => (at96([0, 0xffff, 0]), 96, "IPv4-translated", [at(12), None]),
        [0, 0, 0, 0, 0, 0, _, _] => (at96([0, 0, 0]), 96, "IPv4-compatible", [at(12), None]),
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => (v6(0x64, 0xff9b, 0), 96, "NAT64", [at(12), None]),
        [0x64, 0xff9b, 1, ..] => (v6(0x64, 0xff9b, 1), 48, "NAT64", [split, at(12)]),
        [0x2002, ..] => (v6(0x2002, 0, 0), 16, "6to4", [at(2), None]),
        [0x2001, 0, ..] => (v6(0x2001, 0, 0), 32, "Teredo", [at(4), flipped]),
        _ => return None,
    };
    Some(Encoding { range: Network::new(range.into(), prefix), name, reaches })
}

/// `::a:b:c:0:0`, the prefixes of 96 bits that begin with zeros.
const fn at96([a, b, c]: [u16; 3]) -> Ipv6Addr {
    Ipv6Addr::new(0, 0, 0, a, b, c, 0, 0)
}

fn find<Ip: Into<IpAddr> + Copy>(ranges: &[Range<Ip>], ip: IpAddr) -> Option<(Network, &'static str)> {
    ranges
        .iter()
        .map(|&(address, prefix, name)| (Network::new(address.into(), prefix), name))
        .find(|(network, _)| network.contains(ip))
}
