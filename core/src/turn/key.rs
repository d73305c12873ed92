//! What a password becomes (RFC 8489 §9.2.2, §18.5), and what stands for a user who is not to be named (§14.4).
//!
//! However a keyboard has written them, names and passwords are the same to both sides: they are prepared by
//! [`opaque`]. The username counts as it is sent; who sends it has prepared it (§14.3).

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use aws_lc_rs::digest::{self, SHA256};
use md5::{Digest as _, Md5};
use precis_core::profile::PrecisFastInvocation as _;
use precis_profiles::OpaqueString;

use crate::stun::{Builder, Integrity, Message, Mismatch, PasswordAlgorithm};

/// The key of a user, and the attribute that it signs with. It is borrowed as its bytes: 16 of an MD5, or 32 of a
/// SHA-256. `Debug` does not show them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key {
    bytes: [u8; 32],
    len: usize,
    integrity: Integrity,
}

impl Key {
    /// The MD5 of `username:realm:password`, which signs with MESSAGE-INTEGRITY: what every client and server knows.
    pub fn md5(username: &str, realm: &str, password: &str) -> Self {
        let mut md5 = Md5::new();
        for part in [username, ":", &opaque(realm), ":", &opaque(password)] {
            md5.update(part);
        }
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&md5.finalize());
        Self { bytes, len: 16, integrity: Integrity::Sha1 }
    }

    /// The SHA-256 of `username:realm:password`, which signs with MESSAGE-INTEGRITY-SHA256.
    pub fn sha256(username: &str, realm: &str, password: &str) -> Self {
        let bytes = sha256(&[username, ":", &opaque(realm), ":", &opaque(password)]);
        Self { bytes, len: 32, integrity: Integrity::Sha256 }
    }

    /// The key that two sides have agreed on, which signs with MESSAGE-INTEGRITY-SHA256 whatever the algorithm
    /// (RFC 8489 §9.2.5). `None` where nobody here knows the algorithm.
    pub fn negotiated(
        algorithm: PasswordAlgorithm,
        username: &str,
        realm: &str,
        password: &str,
    ) -> Option<Self> {
        let key = match algorithm {
            PasswordAlgorithm::Md5 => Self::md5(username, realm, password),
            PasswordAlgorithm::Sha256 => Self::sha256(username, realm, password),
            PasswordAlgorithm::Other(_) => return None,
        };
        Some(Self { integrity: Integrity::Sha256, ..key })
    }

    /// Signs a message.
    pub fn sign(&self, builder: Builder) -> Vec<u8> {
        builder.finish_signed(self.integrity, self)
    }

    /// Checks that `message` is signed with this key, by the attribute that this key signs with.
    ///
    /// # Errors
    /// [`Mismatch`] when it is not.
    pub fn verify(&self, message: &Message<'_>) -> Result<(), Mismatch> {
        message.verify_by(self.integrity, self)
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("integrity", &self.integrity).finish_non_exhaustive()
    }
}

/// USERHASH: what a user is called who is not to be named on the way.
pub fn userhash(username: &str, realm: &str) -> [u8; 32] {
    sha256(&[&opaque(username), ":", &opaque(realm)])
}

/// What OpaqueString makes of a text (RFC 8265 §4.2): accents are composed, and spaces of all kinds are plain ones. ASCII
/// stays as it is, and so does what the profile forbids, such as control characters: it has worked so far.
pub fn opaque(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    OpaqueString::enforce(text).unwrap_or(Cow::Borrowed(text))
}

fn sha256(parts: &[&str]) -> [u8; 32] {
    let mut context = digest::Context::new(&SHA256);
    for part in parts {
        context.update(part.as_bytes());
    }
    context.finish().as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8265 §4.2: no case or width is changed, spaces and accents are, and what is forbidden stays.
    #[test]
    fn texts_are_prepared_by_opaque_string() {
        for (text, prepared) in [
            ("", ""),
            ("Correct Horse", "Correct Horse"),
            ("a\u{7}b", "a\u{7}b"),
            ("e\u{301}t\u{e9}", "\u{e9}t\u{e9}"),
            ("\u{c4}RGER", "\u{c4}RGER"),
            ("a\u{a0}b\u{3000}c", "a b c"),
            ("\u{ff21}", "\u{ff21}"),
            ("\u{30DE}\u{30C8}\u{30EA}", "\u{30DE}\u{30C8}\u{30EA}"),
            ("The\u{ad}M\u{e9}", "The\u{ad}M\u{e9}"),
        ] {
            assert_eq!(opaque(text), prepared);
            assert_eq!(opaque(prepared), prepared, "once is enough");
        }
    }

    #[test]
    fn however_they_are_written_realm_and_password_make_one_key() {
        let (composed, apart) = ("caf\u{e9}", "cafe\u{301}");
        for key in [Key::md5, Key::sha256] {
            assert_eq!(*key("u", composed, composed), *key("u", apart, apart));
            assert_ne!(*key("u", composed, composed), *key("u", composed, "cafe"));
            assert_ne!(*key(composed, "r", "p"), *key(apart, "r", "p"), "a username counts as it is sent");
        }
        assert_eq!(userhash(composed, apart), userhash(apart, composed));
    }
}
