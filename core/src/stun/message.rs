//! The guard, and the view that it returns.

use std::ops::Range;

use super::integrity::{self, Integrity, Mismatch};
use super::{Class, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId, attribute};

/// More attributes than any message of STUN and TURN has a use for; it bounds the work that a datagram can cause.
const MAX_ATTRIBUTES: usize = 64;

/// A well-formed message. It borrows the datagram and copies nothing.
///
/// Attributes behind a message integrity are invisible: nobody vouches for them (RFC 8489 §14.5, §14.6).
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    /// Where the visible attributes end: at the first of MESSAGE-INTEGRITY, -SHA256 and FINGERPRINT.
    end: usize,
    /// Where MESSAGE-INTEGRITY begins, if there is one that counts.
    sha1: Option<usize>,
    /// Where MESSAGE-INTEGRITY-SHA256 begins, if there is one. It covers the other one too.
    sha256: Option<usize>,
}

/// Why a datagram is not a message. The sender gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Too short, wrong leading bits or no magic cookie: some other protocol.
    #[error("not a STUN message")]
    NotStun,
    /// The length in the header is not that of the datagram, or not a multiple of four.
    #[error("the length in the header is wrong")]
    Length,
    /// An attribute reaches beyond the end of the message.
    #[error("an attribute is cut off")]
    Truncated,
    /// More attributes than any message needs.
    #[error("too many attributes")]
    TooMany,
    /// FINGERPRINT does not match, or something follows it (RFC 8489 §14.7).
    #[error("the fingerprint is wrong")]
    Fingerprint,
    /// MESSAGE-INTEGRITY has not the length of an HMAC-SHA1 (RFC 8489 §14.5).
    #[error("the message integrity has a wrong length")]
    Integrity,
}

impl<'a> Message<'a> {
    /// Checks that `datagram` is one whole message and nothing else.
    ///
    /// # Errors
    /// [`Malformed`]; such a datagram is dropped.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        check_header(datagram)?;
        let mut message = Self { bytes: datagram, end: datagram.len(), sha1: None, sha256: None };
        let mut count = 0;
        let mut at = HEADER_LEN;
        while at < datagram.len() {
            let (kind, value) = attribute_at(datagram, at)?;
            count += 1;
            if count > MAX_ATTRIBUTES {
                return Err(Malformed::TooMany);
            }
            match kind {
                attribute::MESSAGE_INTEGRITY if !message.has_integrity() => {
                    if value.len() != Integrity::Sha1.len() {
                        return Err(Malformed::Integrity);
                    }
                    message.sha1 = Some(at);
                    message.end = message.end.min(at);
                }
                attribute::MESSAGE_INTEGRITY_SHA256 if message.sha256.is_none() => {
                    message.sha256 = Some(at);
                    message.end = message.end.min(at);
                }
                attribute::FINGERPRINT => {
                    integrity::check_fingerprint(datagram, at, &datagram[value.clone()])?;
                    message.end = message.end.min(at);
                }
                _ => {}
            }
            at = padded(value.end);
        }
        Ok(message)
    }

    /// What it is about.
    pub fn method(&self) -> Method {
        let kind = u16::from_be_bytes([self.bytes[0], self.bytes[1]]);
        // The class bits sit between the bits of the method (RFC 8489 §5).
        Method::new((kind & 0x000F) | ((kind >> 1) & 0x0070) | ((kind >> 2) & 0x0F80))
    }

    /// Request, indication or response.
    pub fn class(&self) -> Class {
        match (self.bytes[0] & 1, self.bytes[1] & 0x10) {
            (0, 0) => Class::Request,
            (0, _) => Class::Indication,
            (_, 0) => Class::Success,
            _ => Class::Error,
        }
    }

    /// The transaction id.
    pub fn transaction(&self) -> TransactionId {
        self.bytes[8..HEADER_LEN].try_into().expect("a message has a whole header")
    }

    /// The whole datagram.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The visible attributes in their order, with their types.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes { bytes: self.bytes, at: HEADER_LEN, end: self.end }
    }

    /// The value of the first attribute of type `kind`; later ones do not count (RFC 8489 §14).
    pub fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attribute_range(kind).map(|range| &self.bytes[range])
    }

    /// Where the value of the first attribute of type `kind` lies in the datagram.
    pub fn attribute_range(&self, kind: u16) -> Option<Range<usize>> {
        self.attributes().ranges().find(|&(found, _)| found == kind).map(|(_, range)| range)
    }

    /// Whether it carries a MESSAGE-INTEGRITY or a MESSAGE-INTEGRITY-SHA256.
    pub fn has_integrity(&self) -> bool {
        self.sha1.is_some() || self.sha256.is_some()
    }

    /// Checks that `key` has signed the bytes as they arrived, in constant time: by MESSAGE-INTEGRITY-SHA256 where there
    /// is one, and by MESSAGE-INTEGRITY otherwise.
    ///
    /// # Errors
    /// [`Mismatch`] when there is neither or when it is not that of `key`.
    pub fn verify(&self, key: &[u8]) -> Result<(), Mismatch> {
        let integrity = if self.sha256.is_some() { Integrity::Sha256 } else { Integrity::Sha1 };
        self.verify_by(integrity, key)
    }

    /// Checks that `key` has signed the bytes as they arrived, in constant time and by one attribute only.
    ///
    /// # Errors
    /// [`Mismatch`] when it is missing or when it is not that of `key`.
    pub fn verify_by(&self, integrity: Integrity, key: &[u8]) -> Result<(), Mismatch> {
        let at = match integrity {
            Integrity::Sha1 => self.sha1,
            Integrity::Sha256 => self.sha256,
        };
        let at = at.ok_or(Mismatch)?;
        let (_, value) = attribute_at(self.bytes, at).map_err(|_| Mismatch)?;
        integrity.verify(self.bytes, at, &self.bytes[value], key)
    }
}

/// The attributes of a message.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Attributes<'a> {
    /// The attributes with where their values lie in the datagram.
    fn ranges(mut self) -> impl Iterator<Item = (u16, Range<usize>)> + use<'a> {
        std::iter::from_fn(move || self.advance())
    }

    fn advance(&mut self) -> Option<(u16, Range<usize>)> {
        if self.at >= self.end {
            return None;
        }
        let (kind, value) = attribute_at(self.bytes, self.at).ok()?;
        self.at = padded(value.end);
        Some((kind, value))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, value) = self.advance()?;
        Some((kind, &self.bytes[value]))
    }
}

/// Leading bits, length and magic cookie (RFC 8489 §5, §6.3).
fn check_header(datagram: &[u8]) -> Result<(), Malformed> {
    let Some(header) = datagram.first_chunk::<HEADER_LEN>() else {
        return Err(Malformed::NotStun);
    };
    if header[0] & 0b1100_0000 != 0 || header[4..8] != MAGIC_COOKIE.to_be_bytes() {
        return Err(Malformed::NotStun);
    }
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if !len.is_multiple_of(4) || len != datagram.len() - HEADER_LEN {
        return Err(Malformed::Length);
    }
    Ok(())
}

/// The type of the attribute that begins at `at`, and where its value lies. Its padding is inside the datagram as
/// well: attributes begin at multiples of four, and so does the end.
fn attribute_at(datagram: &[u8], at: usize) -> Result<(u16, Range<usize>), Malformed> {
    let Some(&[k0, k1, l0, l1]) = datagram.get(at..).and_then(<[u8]>::first_chunk) else {
        return Err(Malformed::Truncated);
    };
    let start = at + 4;
    let end = start + usize::from(u16::from_be_bytes([l0, l1]));
    if padded(end) > datagram.len() {
        return Err(Malformed::Truncated);
    }
    Ok((u16::from_be_bytes([k0, k1]), start..end))
}

/// The next multiple of four: where the next attribute begins (RFC 8489 §14).
const fn padded(end: usize) -> usize {
    end.next_multiple_of(4)
}
