//! Marks: comments on users by which an installation knows those that it has made.
//!
//! The code in a mark covers the user's name, so that a mark that was copied to another user proves nothing.

use std::fmt;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// What every mark begins with.
pub const PREFIX: &str = "adit lease v1 ";

/// What marks are signed with: one key for an installation.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

impl Key {
    /// The key with these bytes.
    pub fn new(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }
}

/// It is shown to nobody.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Who made a user, and for what. Each of the three has letters, digits and `-` only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The installation's id.
    pub installation: String,
    /// The epoch of its store.
    pub epoch: String,
    /// The lease's id.
    pub lease: String,
}

/// What a comment says about who made a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing: there is no comment, or it is somebody's own.
    None,
    /// Another installation did; its id, which nobody can check here.
    Foreign(String),
    /// It says that this installation did, which is not true, or no longer.
    Forged,
    /// This installation did.
    Valid(Mark),
}

impl Finding {
    /// The lease's id, where this installation says so.
    pub fn lease(&self) -> Option<&str> {
        match self {
            Self::Valid(mark) => Some(&mark.lease),
            Self::None | Self::Foreign(_) | Self::Forged => None,
        }
    }
}

impl Mark {
    /// The comment for the user `username`.
    pub fn comment(&self, key: &Key, username: &str) -> String {
        let Self { installation, epoch, lease } = self;
        let code = URL_SAFE_NO_PAD.encode(hmac::sign(&signer(key), &self.signed(username)));
        format!("{PREFIX}installation={installation} epoch={epoch} lease={lease} code={code}")
    }

    /// Each part with its length before it, so that no two marks have the same bytes.
    fn signed(&self, username: &str) -> Vec<u8> {
        let parts = [PREFIX, &self.installation, &self.epoch, &self.lease, username];
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            bytes.extend(part.bytes());
        }
        bytes
    }
}

/// What the comment on the user `username` says, read by `installation`.
pub fn read(key: &Key, installation: &str, username: &str, comment: Option<&str>) -> Finding {
    let Some(rest) = comment.and_then(|comment| comment.strip_prefix(PREFIX)) else { return Finding::None };
    let mut fields = rest.split(' ');
    let mut field = |name: &str| fields.next()?.strip_prefix(name)?.strip_prefix('=').map(str::to_owned);
    let Some(theirs) = field("installation") else { return Finding::None };
    if theirs != installation {
        return Finding::Foreign(theirs);
    }
    let (Some(epoch), Some(lease), Some(code)) = (field("epoch"), field("lease"), field("code")) else {
        return Finding::Forged;
    };
    let mark = Mark { installation: theirs, epoch, lease };
    let code = URL_SAFE_NO_PAD.decode(code).unwrap_or_default();
    // In constant time.
    match hmac::verify(&signer(key), &mark.signed(username), &code) {
        Ok(()) if fields.next().is_none() => Finding::Valid(mark),
        _ => Finding::Forged,
    }
}

fn signer(key: &Key) -> hmac::Key {
    hmac::Key::new(HMAC_SHA256, key.0.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        Mark { installation: "i1".to_owned(), epoch: "e1".to_owned(), lease: "l1".to_owned() }
    }

    fn key(byte: u8) -> Key {
        Key::new(Zeroizing::new([byte; 32]))
    }

    #[test]
    fn an_installation_knows_its_own_mark() {
        let comment = mark().comment(&key(1), "v-ann");
        assert_eq!(read(&key(1), "i1", "v-ann", Some(&comment)), Finding::Valid(mark()));
    }

    #[test]
    fn no_other_comment_passes_for_its_mark() {
        let comment = mark().comment(&key(1), "v-ann");
        let found = |name: &str, comment: &str| read(&key(1), "i1", name, Some(comment));
        assert_eq!(found("v-bob", &comment), Finding::Forged, "copied to another user");
        assert_eq!(read(&key(2), "i1", "v-ann", Some(&comment)), Finding::Forged, "signed with another key");
        assert_eq!(found("v-ann", &comment.replace("l1", "l2")), Finding::Forged);
        assert_eq!(found("v-ann", &comment.replace("e1", "e2")), Finding::Forged);
        assert_eq!(found("v-ann", &format!("{comment} x")), Finding::Forged);
        assert_eq!(found("v-ann", &comment[..comment.len() - 50]), Finding::Forged);
        let foreign = Mark { installation: "i2".to_owned(), ..mark() }.comment(&key(1), "v-ann");
        assert_eq!(found("v-ann", &foreign), Finding::Foreign("i2".to_owned()));
        assert_eq!(found("v-ann", "my role"), Finding::None);
        assert_eq!(found("v-ann", PREFIX), Finding::None);
        assert_eq!(read(&key(1), "i1", "v-ann", None), Finding::None);
    }
}
