//! What an instance signs to show that it has its key: for enrolment, and for each token that lives shortly.
//!
//! Every signed text begins with what it is for, so that a signature for one purpose is none for another.

use adit_core::pki::Key;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use x509_parser::oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ED25519};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::SubjectPublicKeyInfo;

/// How far the clocks of both sides may be apart, in seconds.
pub const MAX_SKEW: u64 = 600;

/// What is signed at enrolment: the key goes with this very token, which names the installation.
pub fn enrolment(token_id: &str, public_key: &[u8]) -> Vec<u8> {
    text(&["adit enrolment 1", token_id, &STANDARD.encode(public_key)])
}

/// What is signed for an access token. `audience` is the installation's trust domain.
pub fn access(audience: &str, id: &str, nonce: &str, time: u64) -> Vec<u8> {
    text(&["adit access 1", audience, id, nonce, &time.to_string()])
}

/// The signature of `text`, base64, as it travels.
pub fn sign(key: &Key, text: &[u8]) -> String {
    STANDARD.encode(key.sign(text))
}

/// Checks `signature` (base64) of `text` with `public_key` (SubjectPublicKeyInfo, DER): ECDSA on P-256 or Ed25519.
///
/// # Errors
/// [`BadProof`].
pub fn verify(public_key: &[u8], text: &[u8], signature: &str) -> Result<(), BadProof> {
    let (rest, info) = SubjectPublicKeyInfo::from_der(public_key).map_err(|_| BadProof::Key)?;
    if !rest.is_empty() {
        return Err(BadProof::Key);
    }
    let algorithm: &dyn VerificationAlgorithm = match &info.algorithm.algorithm {
        oid if *oid == OID_KEY_TYPE_EC_PUBLIC_KEY => &ECDSA_P256_SHA256_ASN1,
        oid if *oid == OID_SIG_ED25519 => &ED25519,
        _ => return Err(BadProof::Key),
    };
    let signature = STANDARD.decode(signature).map_err(|_| BadProof::Signature)?;
    let key = UnparsedPublicKey::new(algorithm, &info.subject_public_key.data);
    key.verify(text, &signature).map_err(|_| BadProof::Signature)
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadProof {
    /// The public key can't be read, or is of a kind that is not used here.
    #[error("the public key is no SubjectPublicKeyInfo of ECDSA on P-256 or of Ed25519")]
    Key,
    /// Another key signed it, or something else was signed.
    #[error("the signature is not of this key over these words")]
    Signature,
}

/// The parts, each on a line of its own; a part with a line's end in it is taken apart from none.
fn text(parts: &[&str]) -> Vec<u8> {
    let lines = parts.iter().map(|part| format!("{}:{part}\n", part.len()));
    lines.collect::<String>().into_bytes()
}

#[cfg(test)]
mod tests {
    use adit_core::pki::KeyKind;

    use super::*;

    #[test]
    fn a_signature_is_good_for_its_key_and_its_words_only() {
        for kind in [KeyKind::EcdsaP256, KeyKind::Ed25519] {
            let (key, other) = (Key::generate(kind), Key::generate(kind));
            let signature = sign(&key, b"words");
            assert_eq!(verify(&key.public().der(), b"words", &signature), Ok(()));
            assert_eq!(verify(&key.public().der(), b"other", &signature), Err(BadProof::Signature));
            assert_eq!(verify(&other.public().der(), b"words", &signature), Err(BadProof::Signature));
            assert_eq!(verify(&key.public().der(), b"words", "?"), Err(BadProof::Signature));
            assert_eq!(verify(&key.public().der()[1..], b"words", &signature), Err(BadProof::Key));
        }
    }

    #[test]
    fn no_two_proofs_have_the_same_text() {
        assert_ne!(access("a", "b", "c", 1), access("a", "b\nc", "", 1));
        assert_ne!(enrolment("a", b"b"), enrolment("b", b"a"));
    }
}
