//! How a client knows that it speaks with the relay that it means: by the key of its certificate, or by who has issued
//! that and for which host.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::pki::Anchors;
use crate::pki::tls::provider;
use crate::pki::verify::certificate_error;

/// What makes a relay's certificate believed.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Its key is this one. Nothing else of it counts, neither names nor dates: who has the key is the relay.
    Pinned(Pin),
    /// One of these has issued it, for the host that was asked for. Over DTLS, directly: only the leaf is seen there.
    Anchored(Anchors),
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo (RFC 7469 §2.4); as text its 32 bytes in base64, with or without
/// `sha256/` in front.
///
/// ```
/// use adit_core::secure::Pin;
///
/// let pin: Pin = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".parse()?;
/// assert_eq!(pin, Pin::of_key(b""));
/// assert_eq!(pin.to_string(), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
/// # Ok::<(), adit_core::secure::BadPin>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin([u8; 32]);

/// Text that is no pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pin is the SHA-256 of the certificate's public key in base64: openssl x509 -in CERTIFICATE -pubkey -noout | \
     openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64"
)]
pub struct BadPin;

impl Pin {
    /// The pin of a SubjectPublicKeyInfo.
    pub fn of_key(public_key: &[u8]) -> Self {
        Self(digest(&SHA256, public_key).as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The pin of a certificate; `None` for what is none.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        Some(Self::of_key(parsed.public_key().raw))
    }
}

impl FromStr for Pin {
    type Err = BadPin;

    fn from_str(text: &str) -> Result<Self, BadPin> {
        let digits = text.strip_prefix("sha256/").unwrap_or(text);
        let bytes = STANDARD.decode(digits).map_err(|_| BadPin)?;
        bytes.try_into().map(Self).map_err(|_| BadPin)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl Trust {
    /// Whether `leaf` is the certificate of the relay `host`. That the other end has its key is another matter.
    ///
    /// # Errors
    /// Why not: [`CertificateError::ApplicationVerificationFailure`] for another key than the pinned one.
    pub(super) fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        match self {
            Self::Pinned(pin) => match Pin::of(leaf) {
                Some(shown) if shown == *pin => Ok(()),
                Some(_) => Err(CertificateError::ApplicationVerificationFailure),
                None => Err(CertificateError::BadEncoding),
            },
            Self::Anchored(anchors) => {
                let algorithms = provider().signature_verification_algorithms.all;
                let end = EndEntityCert::try_from(leaf).map_err(certificate_error)?;
                let usage = KeyUsage::server_auth();
                end.verify_for_usage(algorithms, anchors.as_slice(), intermediates, now, usage, None, None)
                    .map_err(certificate_error)?;
                end.verify_is_valid_for_subject_name(host).map_err(|_| CertificateError::NotValidForName)
            }
        }
    }
}

/// [`Trust`] as rustls asks for it.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Trust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    pub(super) fn new(trust: Trust) -> Arc<Self> {
        Arc::new(Self { trust, algorithms: provider().signature_verification_algorithms })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.trust.check(end_entity, intermediates, server_name, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_reads_as_it_writes_and_nothing_else_is_one() {
        let pin = Pin::of_key(b"key");
        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_eq!(format!("sha256/{pin}").parse(), Ok(pin));
        for text in ["", "sha256/", "AAAA", &pin.to_string()[1..], &format!("{pin}{pin}"), "sha1/AAAA"] {
            assert_eq!(text.parse::<Pin>(), Err(BadPin), "{text}");
        }
        assert_eq!(Pin::of(&CertificateDer::from(vec![0x30, 0])), None);
    }
}
