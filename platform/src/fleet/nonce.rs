//! Nonces of proofs: made without a trace, and recorded when they are used.
//!
//! A nonce is base64url of the second at which it runs out, 16 random bytes, and half of an HMAC over both under a key
//! that all platform instances share. So asking for one costs no row, and any instance takes it.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::OnceCell;

use crate::api::problem::{Code, Problem};
use crate::store::{INSTALLATION, Store, StoreError, nonces, setting, settings};
use crate::trust::random;

/// The setting that holds the key, sealed.
const KEY: &str = "nonce-key";

const HEAD: usize = 8 + 16;
const TAG: usize = 16;

/// Makes nonces and knows them again.
#[derive(Debug, Default)]
pub(crate) struct Nonces(OnceCell<hmac::Key>);

impl Nonces {
    /// A nonce that is good until `expires_at`.
    pub(super) async fn make(&self, store: &Store, expires_at: u64) -> Result<String, StoreError> {
        let head = [&expires_at.to_be_bytes()[..], &random::<16>()[..]].concat();
        let tag = hmac::sign(self.key(store).await?, &head);
        Ok(URL_SAFE_NO_PAD.encode([&head, &tag.as_ref()[..TAG]].concat()))
    }

    /// When the nonce runs out that is good at `now`.
    ///
    /// # Errors
    /// A problem that says to get another one.
    pub(super) async fn read(&self, store: &Store, nonce: &str, now: u64) -> Result<u64, Problem> {
        let bytes: [u8; HEAD + TAG] = URL_SAFE_NO_PAD
            .decode(nonce)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(not_ours)?;
        let (head, tag) = bytes.split_at(HEAD);
        let whole = hmac::sign(self.key(store).await?, head);
        aws_lc_rs::constant_time::verify_slices_are_equal(&whole.as_ref()[..TAG], tag)
            .map_err(|_| not_ours())?;
        let (expires_at, _) = head.split_first_chunk().expect("a nonce begins with eight bytes");
        match u64::from_be_bytes(*expires_at) {
            expires_at if expires_at > now => Ok(expires_at),
            _ => Err(not_ours()),
        }
    }

    async fn key(&self, store: &Store) -> Result<&hmac::Key, StoreError> {
        self.0.get_or_try_init(|| key(store)).await
    }
}

/// What a used, a forged and a late nonce have in common.
pub(super) fn not_ours() -> Problem {
    Problem::new(
        Code::Unauthenticated,
        "The nonce has run out, was used, or is none. Get a new one: GET /v1/auth/nonce.",
    )
}

/// The key that all instances share; the first one that needs it makes it.
async fn key(store: &Store) -> Result<hmac::Key, StoreError> {
    if settings::get(store.reader(), KEY).await?.is_none() {
        let sealed = store.sealer().seal(&setting(KEY), &random::<32>());
        let mut change = store.quiet_change(INSTALLATION).await?;
        nonces::set_first_key(&mut change, KEY, &sealed).await?;
        change.commit().await?;
    }
    let sealed = settings::need(store.reader(), KEY).await?;
    let key = store.sealer().open(&setting(KEY), &sealed)?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &key))
}
