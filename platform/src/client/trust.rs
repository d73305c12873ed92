//! By what the platform's certificate is known.

use std::sync::Arc;

use adit_core::pki::pem;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::trust::pin;
use crate::trust::token::Pin;

/// Whom a client believes that it speaks to the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// A certificate that the authority with this key has issued: what a token of first contact says.
    Pinned(Pin),
    /// A certificate that one of these has issued.
    Authorities(Vec<CertificateDer<'static>>),
    /// A certificate that one of the authorities of this machine's operating system has issued.
    Public,
}

/// Why nobody would be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTrust {
    /// The certificates can't be read.
    #[error("the certificates of the authority can't be used: a PEM file with at least one is needed")]
    Authorities,
    /// The operating system knows no authorities.
    #[error(
        "this machine knows no public authorities: install the package ca-certificates, or use --ca-file"
    )]
    NoPublic,
    /// The TLS library can't be set up.
    #[error("TLS can't be set up: {0}")]
    Setup(String),
}

impl Trust {
    /// The authorities in `pem`.
    ///
    /// # Errors
    /// [`BadTrust::Authorities`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, BadTrust> {
        pem::certificates(pem).map(Self::Authorities).map_err(|_| BadTrust::Authorities)
    }

    /// The configuration of TLS that believes nobody else.
    pub(super) fn configuration(&self) -> Result<ClientConfig, BadTrust> {
        let provider = Arc::new(default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| BadTrust::Setup(error.to_string()))?;
        let roots = match self {
            Self::Pinned(pin) => {
                let verifier = Arc::new(PinVerifier { pin: *pin, provider });
                return Ok(builder
                    .dangerous()
                    .with_custom_certificate_verifier(verifier)
                    .with_no_client_auth());
            }
            Self::Authorities(authorities) => {
                roots(authorities.iter().cloned()).ok_or(BadTrust::Authorities)?
            }
            Self::Public => {
                roots(rustls_native_certs::load_native_certs().certs).ok_or(BadTrust::NoPublic)?
            }
        };
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// Those of `certificates` that can be used, if there are any. An operating system has odd ones among them.
fn roots(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates);
    (added > 0).then_some(roots)
}

/// Believes a chain whose issuer has the pinned key: the server shows that issuer beside its leaf.
#[derive(Debug)]
struct PinVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let issuer = intermediates.iter().find(|certificate| pin::of(certificate) == Some(self.pin));
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let roots = roots([issuer.ok_or_else(unknown)?.clone().into_owned()]).ok_or_else(unknown)?;
        // From here on it is a chain as any other: dates, name, usage and signatures count.
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|_| unknown())?
            .verify_server_cert(leaf, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
