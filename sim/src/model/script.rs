//! What is said into streams: bytes that tell whose they are, where they belong, and that they are plaintext.

/// Stands 32 bytes long at the beginning of each 64 bytes of a script: four times the same eight, so that it is found by
/// looking at every eighth byte.
pub const MARK: [u8; 8] = *b"PLAINTXT";

/// The first `len` bytes that the stream of that number says: blocks of 64 bytes of mark, number, place, and noise. A
/// byte that is missing, comes twice or belongs to somebody else shows.
pub fn script(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 64);
    for place in 0..len.div_ceil(64) as u64 {
        bytes.extend_from_slice(&[MARK; 4].concat());
        bytes.extend_from_slice(&number.to_be_bytes());
        bytes.extend_from_slice(&place.to_be_bytes());
        let noise = (number << 32 ^ place).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        bytes.extend_from_slice(&noise.to_be_bytes());
        bytes.extend_from_slice(&noise.rotate_left(29).wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Whose script begins with `bytes`; nothing where they are too few to tell.
pub(crate) fn author(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(32..)?.first_chunk()?))
}

/// Whether a mark stands in `bytes`.
pub(crate) fn shows_mark(bytes: &[u8], mark: [u8; 8]) -> bool {
    let turns: [u64; 8] = std::array::from_fn(|turn| {
        let mut turned = mark;
        turned.rotate_left(turn);
        u64::from_ne_bytes(turned)
    });
    let (words, _) = bytes.as_chunks();
    words.iter().any(|&word| turns.contains(&u64::from_ne_bytes(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_tells_its_author_and_shows_its_mark_wherever_it_is_cut() {
        let bytes = script(77, 1000);
        assert_eq!((bytes.len(), author(&bytes)), (1000, Some(77)));
        for from in 0..64 {
            assert!(shows_mark(&bytes[from..from + 96], MARK), "{from}");
        }
        assert!(!shows_mark(&bytes[32..64], MARK));
        assert_eq!(author(&bytes[..39]), None);
    }
}
