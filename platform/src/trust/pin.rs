//! Pins: which certificate to expect before any authority is known.

use aws_lc_rs::digest::{SHA256, digest};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::token::Pin;

/// The pin of `certificate`: SHA-256 of its SubjectPublicKeyInfo (as RFC 7469 §2.4 has it); `None` for what is no
/// certificate.
pub fn of(certificate: &CertificateDer<'_>) -> Option<Pin> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(of_key(parsed.public_key().raw))
}

/// The pin of a SubjectPublicKeyInfo.
pub fn of_key(public_key: &[u8]) -> Pin {
    digest(&SHA256, public_key).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_has_no_pin() {
        assert_eq!(of(&CertificateDer::from(vec![0x30, 0])), None);
    }
}
