//! From datagrams to connections, and from ways to virtual addresses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use aws_lc_rs::hmac;
use quinn_proto::ConnectionId;

use super::{Way, cid};
use crate::io::ConnId;

/// The longest connection ID (RFC 9000 §17.2).
const MAX_CID: usize = 20;
/// The bit of the first byte that tells long headers (RFC 9000 §17.2).
const LONG: u8 = 0x80;
/// The bits of the first byte that tell what a long header is of, and two of their values (RFC 9000 §17.2).
const KIND: u8 = 0x30;
const INITIAL: u8 = 0x00;
const RETRY: u8 = 0x30;
/// Where the length of a long header's destination connection ID is, behind the first byte and the version.
const LONG_LEN: usize = 5;
/// The port of all virtual addresses.
const PORT: u16 = 1;

/// The destination connection ID of a datagram's first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    /// Of a short header: one that was minted here, or nonsense.
    Short([u8; cid::LEN]),
    /// Of a long header: also the one that a client made up for its first packets (RFC 9000 §7.2).
    Long(ConnectionId),
}

impl Destination {
    /// Reads it from the front of a datagram; `None` if it is too short to have one.
    pub(super) fn of(datagram: &[u8]) -> Option<Self> {
        if datagram.first()? & LONG == 0 {
            return datagram[1..].first_chunk().copied().map(Self::Short);
        }
        let len = usize::from(*datagram.get(LONG_LEN)?);
        if len > MAX_CID {
            return None;
        }
        let cid = datagram.get(LONG_LEN + 1..LONG_LEN + 1 + len)?;
        Some(Self::Long(ConnectionId::new(cid)))
    }

    /// The bytes, if they have the length of those that are minted here.
    pub(super) fn minted(&self) -> Option<[u8; cid::LEN]> {
        match self {
            Self::Short(cid) => Some(*cid),
            Self::Long(cid) => cid[..].try_into().ok(),
        }
    }
}

/// How much of a client's datagram is in front of a Retry packet; nothing where there is none. Only servers send Retry, and
/// quinn-proto ends a server's connection over one, although nobody has signed it: whoever flips two bits of a long header
/// on its way would end a handshake.
pub(super) fn before_retry(datagram: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let packet = datagram.get(at..)?;
        let kind = packet.first().filter(|&first| first & LONG != 0)? & KIND;
        if packet.get(1..LONG_LEN)? == [0; 4] {
            return None;
        }
        if kind == RETRY {
            return Some(at);
        }
        at += packet_len(packet, kind == INITIAL)?;
    }
}

/// The length of a packet with a long header that has one (RFC 9000 §17.2).
fn packet_len(packet: &[u8], is_initial: bool) -> Option<usize> {
    let mut at = LONG_LEN;
    // The two connection IDs.
    for _ in 0..2 {
        at += 1 + usize::from(*packet.get(at)?);
    }
    if is_initial {
        let (token, len) = varint(packet.get(at..)?)?;
        at = at.checked_add(len)?.checked_add(token)?;
    }
    let (rest, len) = varint(packet.get(at..)?)?;
    at.checked_add(len)?.checked_add(rest)
}

/// A number, and how long it is written (RFC 9000 §16).
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let first = *bytes.first()?;
    let len = 1 << (first >> 6);
    let rest = bytes.get(1..len)?.iter();
    let value = rest.fold(u64::from(first & 0x3f), |value, &byte| value << 8 | u64::from(byte));
    Some((usize::try_from(value).ok()?, len))
}

/// The connection IDs that clients made up for their first packets. An entry lives as long as its connection, as in
/// quinn-proto's own index, so their number is bounded by that of the connections.
#[derive(Debug, Default)]
pub(super) struct FirstIds(HashMap<ConnectionId, ConnId>);

impl FirstIds {
    pub(super) fn insert(&mut self, cid: ConnectionId, conn: ConnId) {
        self.0.insert(cid, conn);
    }

    pub(super) fn get(&self, cid: &ConnectionId) -> Option<ConnId> {
        self.0.get(cid).copied()
    }

    /// Forgets `cid`, if it still is that of `conn`.
    pub(super) fn remove(&mut self, cid: &ConnectionId, conn: ConnId) {
        if self.get(cid) == Some(conn) {
            self.0.remove(cid);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Makes virtual addresses. That of a connection is made from its first way and stays: a client that comes back
/// with a Retry token is believed only if it came by the same way (RFC 9000 §8.1.2), without state kept for it.
pub(super) struct Virtual(hmac::Key);

impl Virtual {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// An address of `fd00::/8` that belongs to `way` alone.
    pub(super) fn address(&self, way: Way) -> SocketAddr {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&way.via.to_be_bytes());
        match way.remote.ip() {
            IpAddr::V4(ip) => context.update(&ip.octets()),
            IpAddr::V6(ip) => context.update(&ip.octets()),
        }
        context.update(&way.remote.port().to_be_bytes());
        let tag = context.sign();
        let mut address: [u8; 16] = *tag.as_ref().first_chunk().expect("a SHA-256 tag has 32 bytes");
        address[0] = 0xfd;
        SocketAddr::new(Ipv6Addr::from(address).into(), PORT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_read_from_both_headers() {
        let short = [0x40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 99];
        let minted = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        assert_eq!(Destination::of(&short), Some(Destination::Short(minted)));
        assert_eq!(Destination::of(&short[..12]), None);

        let long = [0xc0, 0, 0, 0, 1, 3, 7, 8, 9, 0];
        assert_eq!(Destination::of(&long), Some(Destination::Long(ConnectionId::new(&[7, 8, 9]))));
        assert_eq!(Destination::of(&long[..8]), None);
        assert_eq!(Destination::of(&[0xc0, 0, 0, 0, 1, 21]), None);
        assert_eq!(Destination::of(&[]), None);
    }

    #[test]
    fn a_retry_is_found_wherever_it_stands() {
        let retry = [0xf0, 0, 0, 0, 1, 1, 7, 0, 9, 9];
        let handshake = [0xe0, 0, 0, 0, 1, 1, 7, 0, 3, 5, 5, 5];
        let initial = [0xc0, 0, 0, 0, 1, 1, 7, 1, 8, 2, 4, 4, 0x40, 2, 5, 5];
        assert_eq!(before_retry(&retry), Some(0));
        assert_eq!(before_retry(&[&handshake[..], &retry].concat()), Some(12));
        assert_eq!(before_retry(&[&initial[..], &handshake, &retry].concat()), Some(28));
        for without in [&handshake[..], &initial, &[&initial[..], &handshake].concat(), &[0x40, 1], &[]] {
            assert_eq!(before_retry(without), None);
        }
        assert_eq!(before_retry(&[0xf0, 0, 0, 0, 0, 1, 7]), None, "version negotiation has no kinds");
        let endless = [0xe0, 0, 0, 0, 1, 1, 7, 0, 0xff, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(before_retry(&endless), None);
    }

    #[test]
    fn a_way_has_one_virtual_address() {
        let addresses = Virtual::new(&[1; 32]);
        let way = Way { via: 1, remote: "192.0.2.1:5000".parse().unwrap() };
        let other = Way { via: 2, ..way };
        assert_eq!(addresses.address(way), addresses.address(way));
        assert_ne!(addresses.address(way), addresses.address(other));
    }
}
