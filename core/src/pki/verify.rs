//! What each end checks before it believes the other.
//!
//! 1. The name in the leaf: role, organisation, trust domain, and for a connector the gateway that it meant.
//!    This comes first although an unproven name proves nothing: it can only refuse, and then says plainly
//!    what is wrong. A chain alone would call a gateway's certificate in a connector's place an "unknown
//!    issuer".
//! 2. The chain, up to one of the trusted intermediates, with validity and extended key usage.
//! 3. The handshake's signature, by rustls.
//!
//! Which alert each refusal sends is decided by the kind of [`CertificateError`]; [`super::explain_alert`]
//! turns it into a sentence at the other end.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use thiserror::Error;
use webpki::{EndEntityCert, KeyUsage};

use super::identity::{Name, Role, TrustDomain};
use super::leaf::{BadLeaf, PeerInfo};
use super::tls::{Anchors, provider};

/// DER of `id-kp-serverAuth`, 1.3.6.1.5.5.7.3.1 (RFC 5280 §4.2.1.12).
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];

/// DER of `id-kp-clientAuth`, 1.3.6.1.5.5.7.3.2.
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

/// Whom the other end must belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The organisation.
    pub organisation: Name,
    /// The trust domain.
    pub trust_domain: TrustDomain,
}

/// A refusal that TLS has no words for; it is found in [`CertificateError::Other`] and the other end hears
/// `certificate_unknown`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// The leaf does not say clearly who its holder is.
    #[error("the certificate can't be used: {0}")]
    Leaf(BadLeaf),
    /// It is a gateway's, but not that of the gateway that was meant.
    #[error("this is gateway `{presented}`, and not `{expected}`, which was asked for")]
    OtherGateway {
        /// The gateway that was meant.
        expected: Name,
        /// The gateway that answered.
        presented: Name,
    },
    /// It is the gateway that was meant, but not the instance.
    #[error("this is instance `{presented}` of the gateway, and not `{expected}`, which was asked for")]
    OtherInstance {
        /// The instance that was meant.
        expected: Name,
        /// The instance that answered.
        presented: Name,
    },
}

impl From<Refused> for CertificateError {
    fn from(refused: Refused) -> Self {
        Self::Other(OtherError(Arc::new(refused)))
    }
}

/// What a connector checks of a gateway. The server name that TLS asks for is ignored: addresses change, and
/// a gateway's certificate names the gateway.
#[derive(Debug)]
pub struct GatewayVerifier {
    common: Common,
    gateway: Name,
    instance: Option<Name>,
}

impl GatewayVerifier {
    /// Accepts any instance of `gateway` that `anchors` (gateway intermediates) vouch for.
    pub fn new(anchors: Anchors, expected: Expected, gateway: Name) -> Self {
        Self { common: Common::new(anchors, expected), gateway, instance: None }
    }

    /// Accepts that instance of the gateway only: who asks for its health must hear it from nobody else.
    #[must_use]
    pub fn only(self, instance: Name) -> Self {
        Self { instance: Some(instance), ..self }
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let peer = self.common.peer(leaf, |role| !role.connects())?;
        self.check_name(&peer.identity.role)?;
        self.common.check_chain(leaf, chain, now, KeyUsage::required(SERVER_AUTH))
    }

    fn check_name(&self, role: &Role) -> Result<(), Refused> {
        let Self { gateway, instance, .. } = self;
        if role.name() != gateway {
            return Err(Refused::OtherGateway { expected: gateway.clone(), presented: role.name().clone() });
        }
        match (role, instance) {
            (Role::Gateway { instance: presented, .. }, Some(expected)) if presented != expected => {
                Err(Refused::OtherInstance { expected: expected.clone(), presented: presented.clone() })
            }
            _ => Ok(()),
        }
    }
}

impl ServerCertVerifier for GatewayVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.common.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.common.algorithms.supported_schemes()
    }
}

/// What a gateway checks of those who dial it.
#[derive(Debug)]
pub struct ConnectorVerifier {
    common: Common,
}

impl ConnectorVerifier {
    /// Accepts every platform, person and connector that `anchors` (connector intermediates) vouch for.
    pub fn new(anchors: Anchors, expected: Expected) -> Self {
        Self { common: Common::new(anchors, expected) }
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        self.common.peer(leaf, Role::connects)?;
        self.common.check_chain(leaf, chain, now, KeyUsage::required(CLIENT_AUTH))
    }
}

impl ClientCertVerifier for ConnectorVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A stranger need not learn whom we trust.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.common.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.common.algorithms.supported_schemes()
    }
}

/// What both directions have in common.
#[derive(Debug)]
struct Common {
    anchors: Anchors,
    expected: Expected,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Common {
    fn new(anchors: Anchors, expected: Expected) -> Self {
        Self { anchors, expected, algorithms: provider().signature_verification_algorithms }
    }

    /// Who the holder of `leaf` claims to be, if that is someone who may come here.
    fn peer(
        &self,
        leaf: &CertificateDer<'_>,
        may: impl Fn(&Role) -> bool,
    ) -> Result<PeerInfo, CertificateError> {
        let peer = PeerInfo::from_leaf(leaf).map_err(Refused::Leaf)?;
        if !may(&peer.identity.role) {
            return Err(CertificateError::InvalidPurpose);
        }
        let Expected { organisation, trust_domain } = &self.expected;
        if peer.identity.organisation != *organisation || peer.identity.trust_domain != *trust_domain {
            return Err(CertificateError::ApplicationVerificationFailure);
        }
        Ok(peer)
    }

    fn check_chain(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), CertificateError> {
        let leaf = EndEntityCert::try_from(leaf).map_err(certificate_error)?;
        let algorithms = self.algorithms.all;
        leaf.verify_for_usage(algorithms, self.anchors.as_slice(), chain, now, usage, None, None)
            .map(|_| ())
            .map_err(certificate_error)
    }
}

fn no_tls12() -> rustls::Error {
    rustls::Error::General("only TLS 1.3 is spoken here".into())
}

/// What rustls calls an error of webpki.
pub(crate) fn certificate_error(error: webpki::Error) -> CertificateError {
    use webpki::Error as Webpki;
    match error {
        Webpki::BadDer | Webpki::BadDerTime | Webpki::TrailingData(_) => CertificateError::BadEncoding,
        Webpki::CertNotValidYet { .. } => CertificateError::NotValidYet,
        Webpki::CertExpired { .. } | Webpki::InvalidCertValidity => CertificateError::Expired,
        // An issuer of the same name with another key is as unknown as any: two authorities of one
        // organisation differ in their keys only.
        Webpki::UnknownIssuer | Webpki::InvalidSignatureForPublicKey => CertificateError::UnknownIssuer,
        Webpki::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }
}
