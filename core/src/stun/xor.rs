//! XOR-… addresses, read and written without a copy (RFC 8489 §14.2).

use std::net::{IpAddr, SocketAddr};

use super::{MAGIC_COOKIE, TransactionId};

const IPV4: u8 = 0x01;
const IPV6: u8 = 0x02;

/// The address in the value of an attribute; `None` where it is malformed.
pub(super) fn read(value: &[u8], transaction: &TransactionId) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], address) = value.split_first_chunk()?;
    let mask = mask(transaction);
    let port = u16::from_be_bytes([p0 ^ mask[0], p1 ^ mask[1]]);
    let ip = match family {
        IPV4 => IpAddr::from(unmask::<4>(address, &mask)?),
        IPV6 => IpAddr::from(unmask::<16>(address, &mask)?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Appends the value of an attribute: 8 or 20 bytes.
pub(super) fn write(out: &mut Vec<u8>, address: SocketAddr, transaction: &TransactionId) {
    let mask = mask(transaction);
    let [p0, p1] = address.port().to_be_bytes();
    let family = if address.is_ipv4() { IPV4 } else { IPV6 };
    out.extend_from_slice(&[0, family, p0 ^ mask[0], p1 ^ mask[1]]);
    match address.ip() {
        IpAddr::V4(ip) => out.extend(ip.octets().iter().zip(mask).map(|(byte, mask)| byte ^ mask)),
        IpAddr::V6(ip) => out.extend(ip.octets().iter().zip(mask).map(|(byte, mask)| byte ^ mask)),
    }
}

/// The length of the value for `address`, in bytes.
pub(super) fn len(address: SocketAddr) -> usize {
    if address.is_ipv4() { 8 } else { 20 }
}

/// The magic cookie and the transaction id, one behind the other.
fn mask(transaction: &TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(transaction);
    mask
}

fn unmask<const N: usize>(address: &[u8], mask: &[u8; 16]) -> Option<[u8; N]> {
    let mut octets: [u8; N] = address.try_into().ok()?;
    octets.iter_mut().zip(mask).for_each(|(byte, mask)| *byte ^= mask);
    Some(octets)
}
