//! Whom a login believes that it is the server.

use std::sync::{Arc, OnceLock};

use adit_core::pki::pem;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Login, SqlError};
use crate::words::TlsMode;

/// The configuration of TLS, `None` where there is to be none. `ca` is PEM; public roots where it is empty.
pub(super) fn configuration(mode: TlsMode, ca: &str) -> Result<Option<Arc<ClientConfig>>, SqlError> {
    let verifier = match mode {
        TlsMode::Disable => return Ok(None),
        TlsMode::Require => {
            Verifier { chain: None, pinned: Vec::new(), checks_name: false, provider: provider() }
        }
        TlsMode::VerifyCa | TlsMode::VerifyFull => {
            let checks_name = mode == TlsMode::VerifyFull;
            if ca.is_empty() {
                return public(checks_name).map(Some);
            }
            verifier(ca, checks_name)?
        }
    };
    client(verifier).map(Some)
}

/// Whether `ca` is good for verifying a server.
///
/// # Errors
/// [`SqlError::Tls`] says what is wrong with it.
pub fn check_ca(ca: &str) -> Result<(), SqlError> {
    verifier(ca, true).map(drop)
}

/// The name that the server is asked for, and that its certificate has to be for.
pub(super) fn server_name(login: &Login) -> Result<String, SqlError> {
    match ServerName::try_from(login.host.as_str()) {
        Ok(_) => Ok(login.host.clone()),
        Err(_) => Err(SqlError::Tls(format!("no certificate can be for the host {:?}", login.host))),
    }
}

/// Reading the system's certificates takes a while, so it is done once.
fn public(checks_name: bool) -> Result<Arc<ClientConfig>, SqlError> {
    static PUBLIC: [OnceLock<Arc<ClientConfig>>; 2] = [const { OnceLock::new() }; 2];
    let public = &PUBLIC[usize::from(checks_name)];
    if let Some(config) = public.get() {
        return Ok(config.clone());
    }
    let config = client(verifier("", checks_name)?)?;
    Ok(public.get_or_init(|| config).clone())
}

fn verifier(ca: &str, checks_name: bool) -> Result<Verifier, SqlError> {
    let certificates = match ca {
        "" => rustls_native_certs::load_native_certs().certs,
        pem => pem::certificates(pem.as_bytes()).map_err(|_| {
            SqlError::Tls(
                "the database's CA can't be read: PEM with at least one certificate is needed".to_owned(),
            )
        })?,
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates.iter().cloned());
    if roots.is_empty() {
        let advice = "nobody can be verified: give the database the CA that signs its certificate (PEM)";
        return Err(SqlError::Tls(advice.to_owned()));
    }
    let provider = provider();
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let chain = Some(chain.map_err(|error| SqlError::Tls(error.to_string()))?);
    let pinned = if ca.is_empty() { Vec::new() } else { certificates };
    Ok(Verifier { chain, pinned, checks_name, provider })
}

fn client(verifier: Verifier) -> Result<Arc<ClientConfig>, SqlError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| SqlError::Tls(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// libpq's modes: whoever answers, whoever has a certificate of the CA, whoever has one for the host too.
#[derive(Debug)]
struct Verifier {
    /// Absent where whoever answers is believed.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// A server may show one of these itself: many have a certificate that nobody else signed.
    pinned: Vec<CertificateDer<'static>>,
    checks_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// A certificate that the database names itself: its dates and its name count as those of any other.
    fn check_pinned(
        leaf: &CertificateDer<'_>,
        name: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let malformed = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|_| malformed())?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if seconds < parsed.validity().not_before.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
        }
        if seconds > parsed.validity().not_after.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::Expired));
        }
        let Some(name) = name else { return Ok(()) };
        let parsed = webpki::EndEntityCert::try_from(leaf).map_err(|_| malformed())?;
        let other = |_| Error::InvalidCertificate(CertificateError::NotValidForName);
        parsed.verify_is_valid_for_subject_name(name).map_err(other)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        if self.pinned.iter().any(|pinned| pinned.as_ref() == leaf.as_ref()) {
            Self::check_pinned(leaf, self.checks_name.then_some(name), now)?;
            return Ok(ServerCertVerified::assertion());
        }
        match chain.verify_server_cert(leaf, intermediates, name, ocsp, now) {
            // The name is the last thing that is looked at: everything else is as it has to be.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_that_is_none_is_refused() {
        assert!(matches!(check_ca("not PEM"), Err(SqlError::Tls(_))));
    }

    #[test]
    fn without_tls_there_is_no_configuration() {
        assert!(configuration(TlsMode::Disable, "").unwrap().is_none());
        assert!(configuration(TlsMode::Require, "").unwrap().is_some());
    }
}
