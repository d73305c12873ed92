//! What a password becomes (RFC 8489 §9.2.2, §18.5), and what stands for a user who is not to be named (§14.4).

use std::fmt;
use std::ops::Deref;

use aws_lc_rs::digest::{self, SHA256};
use md5::{Digest as _, Md5};

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
        for part in [username, ":", realm, ":", password] {
            md5.update(part);
        }
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&md5.finalize());
        Self { bytes, len: 16, integrity: Integrity::Sha1 }
    }

    /// The SHA-256 of `username:realm:password`, which signs with MESSAGE-INTEGRITY-SHA256.
    pub fn sha256(username: &str, realm: &str, password: &str) -> Self {
        let bytes = sha256(&[username, ":", realm, ":", password]);
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
    sha256(&[username, ":", realm])
}

fn sha256(parts: &[&str]) -> [u8; 32] {
    let mut context = digest::Context::new(&SHA256);
    for part in parts {
        context.update(part.as_bytes());
    }
    context.finish().as_ref().try_into().expect("a SHA-256 has 32 bytes")
}
