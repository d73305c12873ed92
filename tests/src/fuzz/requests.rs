//! What those who want to be believed by the platform send: requests for certificates, and tokens.

use std::sync::LazyLock;

use adit_core::pki::{Key, PublicKey};
use adit_platform::authority::csr;
use adit_platform::trust::pin;
use adit_platform::trust::token::{MAX_TOKEN, Token};

use super::certificates::edited;

/// A good request, always the same: Ed25519 signs without chance.
static REQUEST: LazyLock<String> = LazyLock::new(|| Key::ed25519([7; 32]).request_pem());

/// The first byte says what the rest is: edits of a good request, or a request or a token as it is.
pub fn requests(bytes: &[u8]) {
    let Some((&kind, rest)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => request(&edited(REQUEST.as_bytes(), rest)),
        1 => request(rest),
        _ => token(rest),
    }
    let _ = pin::of(&rest.into());
}

/// A request names nobody, or who asks.
fn request(pem: &[u8]) {
    let Ok(text) = std::str::from_utf8(pem) else { return };
    let (nobody, somebody) = (csr::check(text, &[]), csr::check(text, &["gw"]));
    assert!(nobody.is_err() || somebody.is_ok(), "to be known does no harm");
    if let Ok(key) = somebody {
        assert!(text.len() <= csr::MAX_REQUEST);
        let by_core = PublicKey::from_request_pem(pem).expect("the platform asks the core");
        assert_eq!(by_core.der(), key.der());
    }
}

fn token(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(token) = text.parse::<Token>() {
        // Blanks around it come from copying, and are passed over.
        let text = text.trim();
        assert!(text.len() <= MAX_TOKEN);
        assert_eq!(*token.reveal(), text, "a token has one spelling");
    }
}
