//! Tokens: `adit_<kind>_<id>_<secret>`, as they are shown once and kept by their holder.
//!
//! The id finds the row, the secret proves the holder; the store keeps the SHA-256 of the secret. The last part is
//! base64url of 32 secret bytes, the pin where there is one (32 bytes), and four bytes of a checksum over everything
//! before it, so that a token that lost its end, or a letter, is told from a wrong one.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{random, random_id};

/// The longest token, in bytes; anything longer is not looked at.
pub const MAX_TOKEN: usize = 256;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Of a person or a machine, for the API.
    Identity,
    /// Enrols a gateway instance, once.
    Gateway,
    /// Enrols a relay, once.
    Relay,
    /// Of a gateway instance or a relay, for the API, for an hour.
    Access,
}

impl Kind {
    /// The word in the token and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gateway => "gateway",
            Self::Relay => "relay",
            Self::Access => "access",
        }
    }

    /// The kind with this word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Identity, Self::Gateway, Self::Relay, Self::Access]
            .into_iter()
            .find(|kind| kind.as_str() == word)
    }
}

/// SHA-256 of a SubjectPublicKeyInfo: that of the platform CA, in a token of first contact.
pub type Pin = [u8; 32];

/// A token. `Debug` hides the secret; there is no `Display`: [`reveal`](Self::reveal) says what it does.
#[derive(Clone)]
pub struct Token {
    kind: Kind,
    id: String,
    secret: Zeroizing<[u8; 32]>,
    pin: Option<Pin>,
}

impl Token {
    /// A new token. `pin` is that of the platform CA, where the API's certificate is not publicly trusted.
    pub fn new(kind: Kind, pin: Option<Pin>) -> Self {
        Self { kind, id: random_id(), secret: Zeroizing::new(random()), pin }
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What finds it in the store.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The platform CA to expect on first contact.
    pub fn pin(&self) -> Option<Pin> {
        self.pin
    }

    /// SHA-256 of the secret, base64: what the store keeps.
    pub fn hash(&self) -> String {
        STANDARD.encode(digest(&SHA256, &*self.secret))
    }

    /// Whether the store's `hash` is of this secret; in constant time.
    pub fn matches(&self, hash: &str) -> bool {
        verify_slices_are_equal(self.hash().as_bytes(), hash.as_bytes()).is_ok()
    }

    /// The whole token, to be shown once or sent to the platform.
    pub fn reveal(&self) -> Zeroizing<String> {
        let head = format!("adit_{}_{}_", self.kind.as_str(), self.id);
        let mut body = Zeroizing::new(self.secret.to_vec());
        body.extend(self.pin.iter().flatten());
        let sum = checksum(&head, &body);
        body.extend(sum);
        Zeroizing::new(head + &URL_SAFE_NO_PAD.encode(&*body))
    }
}

fn checksum(head: &str, body: &[u8]) -> [u8; 4] {
    let whole = Zeroizing::new([head.as_bytes(), body].concat());
    let hash = digest(&SHA256, &whole);
    hash.as_ref()[..4].try_into().expect("SHA-256 has 32 bytes")
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("kind", &self.kind).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadToken {
    /// It does not look like one.
    #[error("this is not a token of Adit: one begins with `adit_`")]
    Form,
    /// It is for something that is not known here.
    #[error("this token is of a kind that is not known here; is this program too old?")]
    Kind,
    /// It was cut or changed.
    #[error("the token is damaged: a part is missing or mistyped; copy it again as a whole")]
    Damaged,
}

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let text = text.trim();
        if text.len() > MAX_TOKEN {
            return Err(BadToken::Form);
        }
        let rest = text.strip_prefix("adit_").ok_or(BadToken::Form)?;
        // base64url has underscores of its own: the id ends at the second one.
        let mut parts = rest.splitn(3, '_');
        let (kind, id, body) = (parts.next(), parts.next(), parts.next());
        let kind = kind.and_then(Kind::of).ok_or(BadToken::Kind)?;
        let (id, body) = id.zip(body).ok_or(BadToken::Damaged)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(body).map_err(|_| BadToken::Damaged)?);
        let (bytes, sum) = bytes.split_last_chunk::<4>().ok_or(BadToken::Damaged)?;
        let head = &text[..text.len() - body.len()];
        if checksum(head, bytes) != *sum {
            return Err(BadToken::Damaged);
        }
        let (secret, pin) = bytes.split_first_chunk::<32>().ok_or(BadToken::Damaged)?;
        let pin = match pin.len() {
            0 => None,
            _ => Some(pin.try_into().map_err(|_| BadToken::Damaged)?),
        };
        Ok(Self { kind, id: id.to_owned(), secret: Zeroizing::new(*secret), pin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_as_it_was_shown() {
        for pin in [None, Some([7; 32])] {
            let token = Token::new(Kind::Gateway, pin);
            let read: Token = token.reveal().parse().unwrap();
            assert_eq!((read.kind(), read.id(), read.pin()), (Kind::Gateway, token.id(), pin));
            assert!(read.matches(&token.hash()) && token.reveal().len() <= MAX_TOKEN);
        }
    }

    /// Found by fuzzing, which took it for a second spelling: what is copied often ends with a line.
    #[test]
    fn blanks_around_a_token_are_passed_over() {
        let whole = Token::new(Kind::Gateway, None).reveal();
        let read: Token = format!(" {}\r\n", *whole).parse().unwrap();
        assert_eq!(*read.reveal(), *whole);
        assert!(whole.replace("gateway_", "gateway_ ").parse::<Token>().is_err(), "those within are not");
    }

    #[test]
    fn a_token_that_was_cut_or_changed_is_told_from_a_wrong_one() {
        let whole = Token::new(Kind::Identity, Some([9; 32])).reveal().to_string();
        for end in "adit_identity_".len()..whole.len() {
            assert_eq!(whole[..end].parse::<Token>().unwrap_err(), BadToken::Damaged, "{end}");
        }
        for at in "adit_identity_".len()..whole.len() {
            let mut changed = whole.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(String::from_utf8(changed).unwrap().parse::<Token>().is_err(), "{at}");
        }
        assert_eq!("hunter2".parse::<Token>().unwrap_err(), BadToken::Form);
        assert_eq!("adit_lease_x_y".parse::<Token>().unwrap_err(), BadToken::Kind);
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = Token::new(Kind::Access, None);
        let shown = format!("{token:?}");
        // 30 of its bytes: what `reveal` shows after them is not of the secret alone.
        let secret = &URL_SAFE_NO_PAD.encode(*token.secret)[..40];
        assert!(token.reveal().contains(secret) && !shown.contains(secret), "{shown}");
    }
}
