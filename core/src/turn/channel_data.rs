//! ChannelData: four bytes in front of what goes to or comes from a peer (RFC 8656 §12.4).

use std::ops::RangeInclusive;

/// The numbers that a channel may have (RFC 8656 §12).
pub const NUMBERS: RangeInclusive<u16> = 0x4000..=0x4FFF;

/// The numbers that a channel had before that (RFC 5766 §11); older clients still take them from all of these.
pub const RFC5766_NUMBERS: RangeInclusive<u16> = 0x4000..=0x7FFF;

/// The length of the header in bytes.
pub const HEADER_LEN: usize = 4;

/// The header of `len` bytes on channel `number`. `len` is at most 65,535; no datagram is longer.
pub fn header(number: u16, len: usize) -> [u8; HEADER_LEN] {
    debug_assert!(RFC5766_NUMBERS.contains(&number) && len <= usize::from(u16::MAX));
    let [n0, n1] = number.to_be_bytes();
    let [l0, l1] = (len as u16).to_be_bytes();
    [n0, n1, l0, l1]
}

/// The channel and the length of the data that follow the header at the front of `datagram`.
///
/// `None` when it is not ChannelData, or when it is cut off. Over UDP padding is not required but allowed, so
/// there may be more bytes than the header says; they are not data (RFC 8656 §12.5).
pub fn parse(datagram: &[u8]) -> Option<(u16, usize)> {
    parse_within(datagram, &NUMBERS)
}

/// The same, where channels may have other numbers.
pub fn parse_within(datagram: &[u8], numbers: &RangeInclusive<u16>) -> Option<(u16, usize)> {
    let (&[n0, n1, l0, l1], rest) = datagram.split_first_chunk()?;
    let number = u16::from_be_bytes([n0, n1]);
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    (numbers.contains(&number) && len <= rest.len()).then_some((number, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_again() {
        let mut datagram = header(0x4ABC, 3).to_vec();
        datagram.extend_from_slice(b"abc");
        assert_eq!(parse(&datagram), Some((0x4ABC, 3)));
        datagram.push(0);
        assert_eq!(parse(&datagram), Some((0x4ABC, 3)), "padding is allowed");
        assert_eq!(parse(&datagram[..6]), None, "cut off");
        assert_eq!(parse(&header(0x4000, 0)), Some((0x4000, 0)));
    }

    #[test]
    fn only_the_numbers_of_rfc_8656_are_channels() {
        assert_eq!(parse(&[0x3F, 0xFF, 0, 0]), None);
        assert_eq!(parse(&[0x50, 0x00, 0, 0]), None);
        assert_eq!(parse(&[0x7F, 0xFF, 0, 0]), None);
        assert_eq!(parse(&[0x40]), None);
    }
}
