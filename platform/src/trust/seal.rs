//! Sealing: what is secret lies in the store encrypted, and only where it was put.
//!
//! A sealed text is base64 of a version, the id of the key, a nonce, and what AES-256-GCM made of it. Organisation,
//! table, row and column are authenticated with it, so that nobody can move a sealed text to another place.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{random, random_id};

/// The form of sealed texts that is written here.
const VERSION: u8 = 1;

/// The longest sealed text that is opened, in bytes.
const MAX_SEALED: usize = 1 << 20;

/// A key that seals: 256 bits and the id by which sealed texts name it.
#[derive(Clone)]
pub struct SealKey {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl SealKey {
    /// A new key.
    pub fn generate() -> Self {
        Self { id: random_id(), bytes: Zeroizing::new(random()) }
    }

    /// The key with these `bytes`; `None` unless there are 32, and an id of 1 to 255 bytes.
    pub fn new(id: &str, bytes: &[u8]) -> Option<Self> {
        let fits = (1..=usize::from(u8::MAX)).contains(&id.len());
        let bytes = Zeroizing::new(bytes.try_into().ok()?);
        fits.then(|| Self { id: id.to_owned(), bytes })
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key itself, to be sealed or written to the root-key file.
    pub fn secret(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Where a sealed text lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The organisation's id.
    pub organisation: &'a str,
    /// The table.
    pub table: &'a str,
    /// The row's id.
    pub row: &'a str,
    /// The column.
    pub column: &'a str,
}

impl Place<'_> {
    /// Each part with its length before it, so that no two places have the same bytes.
    fn bytes(&self) -> Vec<u8> {
        let parts = [self.organisation, self.table, self.row, self.column];
        let lengths = parts.map(|part| u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        let pairs = lengths.iter().zip(parts);
        pairs.flat_map(|(length, part)| length.iter().copied().chain(part.bytes())).collect()
    }
}

/// Why a sealed text is not opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadSeal {
    /// It is no sealed text, or one of a later version.
    #[error("a sealed value is malformed, or was written by a later version")]
    Form,
    /// The key that it names is not there.
    #[error("a value was sealed with the key {0}, which is not there")]
    UnknownKey(String),
    /// It was changed or moved, or the key has the right id only.
    #[error("a sealed value was changed, moved, or sealed with another key")]
    Forged,
}

/// Seals with its first key, and opens with whichever of its keys a text names.
pub struct Sealer {
    keys: Vec<(String, RandomizedNonceKey)>,
}

impl Sealer {
    /// A sealer with `keys`, the one that seals first; `None` without any.
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a SealKey>) -> Option<Self> {
        let keys: Vec<_> = keys.into_iter().map(|key| (key.id.clone(), cipher(key))).collect();
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// `secret`, so that it can be opened at `place` only.
    pub fn seal(&self, place: &Place<'_>, secret: &[u8]) -> String {
        let (id, key) = self.keys.first().expect("a sealer has a key");
        let mut body = secret.to_vec();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(place.bytes()), &mut body)
            .expect("a value in memory is far below the bound of AES-GCM");
        let length = u8::try_from(id.len()).expect("an id of a key is short");
        let head = [&[VERSION, length], id.as_bytes(), nonce.as_ref()].concat();
        STANDARD.encode([head, body].concat())
    }

    /// What was sealed at `place`.
    ///
    /// # Errors
    /// [`BadSeal`].
    pub fn open(&self, place: &Place<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, BadSeal> {
        let parts = Parts::of(sealed)?;
        let key = self.keys.iter().find(|(id, _)| *id == parts.key);
        let (_, key) = key.ok_or_else(|| BadSeal::UnknownKey(parts.key.clone()))?;
        let mut body = Zeroizing::new(parts.body);
        let nonce = Nonce::from(&parts.nonce);
        let opened = key.open_in_place(nonce, Aad::from(place.bytes()), &mut body);
        let length = opened.map_err(|_| BadSeal::Forged)?.len();
        body.truncate(length);
        Ok(body)
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

fn cipher(key: &SealKey) -> RandomizedNonceKey {
    RandomizedNonceKey::new(&AES_256_GCM, key.secret()).expect("a key has 32 bytes")
}

/// The parts of a sealed text.
struct Parts {
    key: String,
    nonce: [u8; NONCE_LEN],
    body: Vec<u8>,
}

impl Parts {
    fn of(sealed: &str) -> Result<Self, BadSeal> {
        if sealed.len() > MAX_SEALED {
            return Err(BadSeal::Form);
        }
        let bytes = STANDARD.decode(sealed).map_err(|_| BadSeal::Form)?;
        Self::read(&bytes).ok_or(BadSeal::Form)
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (&[version, length], rest) = bytes.split_first_chunk()?;
        let (id, rest) = rest.split_at_checked(usize::from(length))?;
        let (nonce, body) = rest.split_first_chunk()?;
        let key = String::from_utf8(id.to_vec()).ok()?;
        (version == VERSION).then(|| Self { key, nonce: *nonce, body: body.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> =
        Place { organisation: "o", table: "authorities", row: "r", column: "sealed_key" };

    #[test]
    fn what_was_sealed_opens_where_it_was_put_and_nowhere_else() {
        let sealer = Sealer::new([&SealKey::generate()]).unwrap();
        let sealed = sealer.seal(&PLACE, b"secret");
        assert_eq!(*sealer.open(&PLACE, &sealed).unwrap(), b"secret");
        for other in [
            Place { organisation: "p", ..PLACE },
            Place { table: "settings", ..PLACE },
            Place { row: "s", ..PLACE },
            Place { column: "certificate", ..PLACE },
            // The same letters, parted elsewhere.
            Place { organisation: "oauthorities", table: "", ..PLACE },
        ] {
            assert_eq!(sealer.open(&other, &sealed), Err(BadSeal::Forged), "{other:?}");
        }
    }

    #[test]
    fn a_changed_or_cut_text_is_refused() {
        let sealer = Sealer::new([&SealKey::generate()]).unwrap();
        let bytes = STANDARD.decode(sealer.seal(&PLACE, b"secret")).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(sealer.open(&PLACE, &STANDARD.encode(&changed)).is_err(), "{at}");
            assert!(sealer.open(&PLACE, &STANDARD.encode(&bytes[..at])).is_err(), "{at}");
        }
    }

    #[test]
    fn older_keys_still_open_and_strange_ones_are_named() {
        let (old, new) = (SealKey::generate(), SealKey::generate());
        let sealed = Sealer::new([&old]).unwrap().seal(&PLACE, b"secret");
        let both = Sealer::new([&new, &old]).unwrap();
        assert_eq!(*both.open(&PLACE, &sealed).unwrap(), b"secret");
        let later = both.seal(&PLACE, b"secret");
        assert_eq!(
            Sealer::new([&old]).unwrap().open(&PLACE, &later),
            Err(BadSeal::UnknownKey(new.id().to_owned()))
        );
    }

    #[test]
    fn debug_shows_no_key() {
        let key = SealKey::new("k", &[0x41; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "SealKey { id: \"k\", .. }");
        assert!(SealKey::new("k", &[0; 31]).is_none() && SealKey::new("", &[0; 32]).is_none());
    }
}
