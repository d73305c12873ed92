//! The textual form of certificates and keys (RFC 7468).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;

/// A file's text does not hold the certificates that it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadPem {
    /// There is no certificate in it.
    #[error("there is no certificate in PEM form in it")]
    Empty,
    /// One of its sections is broken.
    #[error("one of its PEM sections is broken")]
    Broken,
}

/// `certificates` one after the other.
pub fn encode_certificates<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> String {
    certificates.into_iter().map(|certificate| encode("CERTIFICATE", certificate)).collect()
}

/// All certificates in `pem`, at least one. Sections of other kinds and text between them are skipped.
///
/// # Errors
/// [`BadPem`].
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadPem> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| BadPem::Broken)?;
    if certificates.is_empty() { Err(BadPem::Empty) } else { Ok(certificates) }
}

/// `der` under `label`, in lines of 64 characters.
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    // 48 bytes become 64 characters.
    for line in der.chunks(48) {
        text.push_str(&STANDARD.encode(line));
        text.push('\n');
    }
    writeln!(text, "-----END {label}-----").expect("a String takes everything");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_survive() {
        let given = [vec![1; 100], vec![2; 48], vec![3]].map(CertificateDer::from);
        assert_eq!(certificates(encode_certificates(&given).as_bytes()).unwrap(), given);
    }

    #[test]
    fn nothing_and_broken_sections_are_told_apart() {
        assert_eq!(certificates(b"hello"), Err(BadPem::Empty));
        let broken = b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n";
        assert_eq!(certificates(broken), Err(BadPem::Broken));
    }
}
