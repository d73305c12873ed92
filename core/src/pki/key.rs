//! Keys of certificates: private ones, and the public ones that a request asks to have certified.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
use rcgen::{PublicKeyData as _, SigningKey as _, SubjectPublicKeyInfo};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use super::pem;

/// The kinds of keys that are made here. Others that rustls can use are accepted when they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyKind {
    /// ECDSA on P-256: what every TLS stack can verify.
    #[default]
    EcdsaP256,
    /// Ed25519: its signatures are deterministic, as simulated worlds need them.
    Ed25519,
}

/// A private key.
pub struct Key {
    pub(super) pair: KeyPair,
    der: PrivateKeyDer<'static>,
}

/// Why a text or a sequence of bytes is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadKey {
    /// There is no PEM section with a private key, or with a request.
    #[error("there is no PEM section of the expected kind in it")]
    Pem,
    /// It is malformed, encrypted, or of a kind that can't be used.
    #[error("it is malformed, encrypted, or of an unknown kind")]
    Unusable,
    /// A request's signature does not match its public key.
    #[error("the request is not signed with the key that it shows")]
    Signature,
}

impl Key {
    /// A new key, from the cryptographic library's own source of randomness: making one is an act of a
    /// person, never of a machine.
    pub fn generate(kind: KeyKind) -> Self {
        let algorithm = match kind {
            KeyKind::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            KeyKind::Ed25519 => &PKCS_ED25519,
        };
        let pair = KeyPair::generate_for(algorithm).expect("both kinds are supported");
        let der = PrivateKeyDer::Pkcs8(pair.serialize_der().into());
        Self { pair, der }
    }

    /// The Ed25519 key whose private half is `secret`: for worlds that must come out the same every time.
    pub fn ed25519(secret: [u8; 32]) -> Self {
        // A PrivateKeyInfo, version 0, algorithm 1.3.101.112, up to the key itself (RFC 8410 §7).
        const HEAD: [u8; 16] = [0x30, 46, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 34, 4, 32];
        let der = PrivateKeyDer::Pkcs8([HEAD.as_slice(), &secret].concat().into());
        Self::from_der(der).expect("every 32 bytes are a key")
    }

    /// The first private key in `pem` (PKCS #8, or SEC 1).
    ///
    /// # Errors
    /// [`BadKey::Pem`] and [`BadKey::Unusable`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, BadKey> {
        Self::from_der(PrivateKeyDer::from_pem_slice(pem).map_err(|_| BadKey::Pem)?)
    }

    /// The key in `der`.
    ///
    /// # Errors
    /// [`BadKey::Unusable`].
    pub fn from_der(der: PrivateKeyDer<'static>) -> Result<Self, BadKey> {
        let pair = KeyPair::try_from(&der).map_err(|_| BadKey::Unusable)?;
        Ok(Self { pair, der })
    }

    /// The key in DER.
    pub fn der(&self) -> &PrivateKeyDer<'static> {
        &self.der
    }

    /// The key in PEM, with a line break at its end.
    pub fn to_pem(&self) -> String {
        let label = match self.der {
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        pem::encode(label, self.der.secret_der())
    }

    /// Whether `certificate` is for this key.
    pub(super) fn opens(&self, certificate: &CertificateDer<'_>) -> bool {
        X509Certificate::from_der(certificate)
            .is_ok_and(|(_, parsed)| parsed.public_key().raw == self.pair.subject_public_key_info())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        let der = self.pair.subject_public_key_info();
        PublicKey(SubjectPublicKeyInfo::from_der(&der).expect("we wrote it ourselves"))
    }

    /// A request (PKCS #10, PEM) to have this key certified. It names nobody: who asks, the issuer knows.
    pub fn request_pem(&self) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.pair).expect("nothing but a key is in it");
        pem::encode("CERTIFICATE REQUEST", request.der())
    }

    /// A signature of `message`: with ECDSA as ASN.1 over SHA-256, with Ed25519 its 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).expect("a private key that was read can sign")
    }
}

impl Clone for Key {
    fn clone(&self) -> Self {
        Self::from_der(self.der.clone_key()).expect("it was read once already")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A public key that is to be certified.
#[derive(Debug)]
pub struct PublicKey(pub(super) SubjectPublicKeyInfo);

impl PublicKey {
    /// The SubjectPublicKeyInfo, DER.
    pub fn der(&self) -> Vec<u8> {
        self.0.subject_public_key_info()
    }

    /// The key of a PKCS #10 request in PEM. Nothing else of the request is used: who its sender is, the
    /// issuer knows better.
    ///
    /// # Errors
    /// [`BadKey`]; the request's own signature is checked.
    pub fn from_request_pem(pem: &[u8]) -> Result<Self, BadKey> {
        Self::from_request(&CertificateSigningRequestDer::from_pem_slice(pem).map_err(|_| BadKey::Pem)?)
    }

    /// The same for a request in DER.
    ///
    /// # Errors
    /// [`BadKey::Unusable`] and [`BadKey::Signature`].
    pub fn from_request(der: &[u8]) -> Result<Self, BadKey> {
        let (rest, request) = X509CertificationRequest::from_der(der).map_err(|_| BadKey::Unusable)?;
        if !rest.is_empty() {
            return Err(BadKey::Unusable);
        }
        request.verify_signature().map_err(|_| BadKey::Signature)?;
        let key = request.certification_request_info.subject_pki.raw;
        SubjectPublicKeyInfo::from_der(key).map(Self).map_err(|_| BadKey::Unusable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_pem() {
        for kind in [KeyKind::EcdsaP256, KeyKind::Ed25519] {
            let key = Key::generate(kind);
            assert_eq!(Key::from_pem(key.to_pem().as_bytes()).unwrap().der(), key.der());
        }
        assert_eq!(Key::from_pem(b"nothing").unwrap_err(), BadKey::Pem);
    }

    #[test]
    fn a_request_gives_its_key_when_it_is_signed_with_it() {
        let key = Key::generate(KeyKind::EcdsaP256);
        let request = key.request_pem();
        let read = PublicKey::from_request_pem(request.as_bytes()).unwrap();
        assert_eq!(read.der(), key.public().der());

        let mut forged = CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).unwrap().to_vec();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(PublicKey::from_request(&forged).unwrap_err(), BadKey::Signature);
        assert_eq!(PublicKey::from_request(&forged[1..]).unwrap_err(), BadKey::Unusable);
    }
}
