//! MESSAGE-INTEGRITY, MESSAGE-INTEGRITY-SHA256 and FINGERPRINT: each covers the message up to itself, with a header
//! length that already counts it (RFC 8489 §14.5 to §14.7).

use aws_lc_rs::{constant_time, hmac};

use super::{HEADER_LEN, Malformed, attribute};

/// What FINGERPRINT is combined with, so that it differs from a CRC of the application ("STUN" in ASCII).
const FINGERPRINT_XOR: u32 = 0x5354_554E;

const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// The message integrity is missing, or made with another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message integrity does not match")]
pub struct Mismatch;

/// The attributes that a message can be signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Integrity {
    /// MESSAGE-INTEGRITY: an HMAC-SHA1 (RFC 8489 §14.5).
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256: an HMAC-SHA256 (RFC 8489 §14.6). TURN knows no shorter form of it.
    Sha256,
}

impl Integrity {
    /// The length of its value in bytes.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    fn attribute(self) -> u16 {
        match self {
            Self::Sha1 => attribute::MESSAGE_INTEGRITY,
            Self::Sha256 => attribute::MESSAGE_INTEGRITY_SHA256,
        }
    }

    fn algorithm(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }

    /// Checks the attribute that begins at `at`, and whose value is `found`.
    pub(super) fn verify(self, message: &[u8], at: usize, found: &[u8], key: &[u8]) -> Result<(), Mismatch> {
        let expected = self.hmac(message, at, key);
        constant_time::verify_slices_are_equal(expected.as_ref(), found).map_err(|_| Mismatch)
    }

    /// Appends the attribute to a whole message.
    pub(super) fn append(self, message: &mut Vec<u8>, key: &[u8]) {
        let tag = self.hmac(message, message.len(), key);
        append_attribute(message, self.attribute(), tag.as_ref());
    }

    fn hmac(self, message: &[u8], at: usize, key: &[u8]) -> hmac::Tag {
        let key = hmac::Key::new(self.algorithm(), key);
        let mut context = hmac::Context::with_key(&key);
        context.update(&message[..2]);
        context.update(&length_with(at, self.len()));
        context.update(&message[4..at]);
        context.sign()
    }
}

/// Appends FINGERPRINT to a whole message; nothing may follow it.
pub(super) fn append_fingerprint(message: &mut Vec<u8>) {
    let crc = fingerprint(message, message.len());
    append_attribute(message, attribute::FINGERPRINT, &crc.to_be_bytes());
}

/// Checks the FINGERPRINT of value `found` that begins at `at`; it must be the last attribute.
pub(super) fn check_fingerprint(message: &[u8], at: usize, found: &[u8]) -> Result<(), Malformed> {
    let last = at + 8 == message.len();
    if last && found == fingerprint(message, at).to_be_bytes() { Ok(()) } else { Err(Malformed::Fingerprint) }
}

fn fingerprint(message: &[u8], at: usize) -> u32 {
    let mut digest = CRC.digest();
    digest.update(&message[..2]);
    digest.update(&length_with(at, 4));
    digest.update(&message[4..at]);
    digest.finalize() ^ FINGERPRINT_XOR
}

/// The header's length field as if an attribute with a value of `len` bytes, begun at `at`, were the last.
fn length_with(at: usize, len: usize) -> [u8; 2] {
    let length = at + 4 + len - HEADER_LEN;
    // A builder stays far below 64 KiB; a parsed message ends where its 16-bit length says.
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

fn append_attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = length_with(message.len(), value.len());
    message[2..4].copy_from_slice(&length);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    message.extend_from_slice(value);
}
