//! The TLS 1.3 configurations that QUIC runs on, in both directions.

use std::fmt;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use thiserror::Error;
use webpki::anchor_from_trusted_cert;

use super::key::{BadKey, Key};
use super::leaf::{BadLeaf, PeerInfo};
use super::pem::{self, BadPem};
use super::verify::{ConnectorVerifier, Expected, GatewayVerifier};
use super::{Name, identity::Identity};
use crate::time::WallCell;

/// The configuration of a gateway: TLS 1.3, a client certificate required, no resumption.
///
/// `alpn` lists the protocols that are spoken, best first. Resumption would admit a certificate that has
/// expired since, so no tickets are sent.
///
/// # Errors
/// [`BadCertified::KeyMismatch`].
pub fn server_config(
    own: &Certified,
    anchors: Anchors,
    expected: Expected,
    alpn: &[&[u8]],
    wall: WallCell,
) -> Result<Arc<ServerConfig>, BadCertified> {
    let verifier = Arc::new(ConnectorVerifier::new(anchors, expected));
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(Wall(wall)))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has suites of TLS 1.3")
        .with_client_cert_verifier(verifier)
        .with_single_cert(own.chain.clone(), own.key.der().clone_key())
        .map_err(|_| BadCertified::KeyMismatch)?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// The configuration of a connector that wants to reach any instance of `gateway`: TLS 1.3, no resumption, no SNI
/// (the relay need not read whom we want, and the certificate says who answered).
///
/// # Errors
/// [`BadCertified::KeyMismatch`].
pub fn client_config(
    own: &Certified,
    anchors: Anchors,
    expected: Expected,
    gateway: Name,
    alpn: &[&[u8]],
    wall: WallCell,
) -> Result<Arc<ClientConfig>, BadCertified> {
    client_config_with(own, GatewayVerifier::new(anchors, expected, gateway), alpn, wall)
}

/// [`client_config`] with a verifier of the caller's: for one that believes one [instance](GatewayVerifier::only)
/// of a gateway alone.
///
/// # Errors
/// [`BadCertified::KeyMismatch`].
pub fn client_config_with(
    own: &Certified,
    verifier: GatewayVerifier,
    alpn: &[&[u8]],
    wall: WallCell,
) -> Result<Arc<ClientConfig>, BadCertified> {
    let verifier: Arc<dyn ServerCertVerifier> = Arc::new(verifier);
    let mut config = ClientConfig::builder_with_details(provider(), Arc::new(Wall(wall)))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(own.chain.clone(), own.key.der().clone_key())
        .map_err(|_| BadCertified::KeyMismatch)?;
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(Arc::new(config))
}

/// aws-lc-rs with post-quantum key exchange preferred and the two that other stacks have.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let kx_groups = vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1];
    Arc::new(CryptoProvider { kx_groups, ..default_provider() })
}

/// A machine's own certificate chain, leaf first, with the leaf's key.
#[derive(Clone)]
pub struct Certified {
    chain: Vec<CertificateDer<'static>>,
    key: Key,
    info: PeerInfo,
}

impl Certified {
    /// The chain in `certificates` and the key in `key`, both PEM.
    ///
    /// # Errors
    /// [`BadCertified`]. Whether the chain is trusted by anyone and valid now is not looked at.
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, BadCertified> {
        Self::new(pem::certificates(certificates)?, Key::from_pem(key)?)
    }

    /// The same from DER.
    ///
    /// # Errors
    /// [`BadCertified`].
    pub fn new(chain: Vec<CertificateDer<'static>>, key: Key) -> Result<Self, BadCertified> {
        let leaf = chain.first().ok_or(BadPem::Empty)?;
        let info = PeerInfo::from_leaf(leaf)?;
        if !key.opens(leaf) {
            return Err(BadCertified::KeyMismatch);
        }
        Ok(Self { chain, key, info })
    }

    /// Who it says that we are.
    pub fn identity(&self) -> &Identity {
        &self.info.identity
    }

    /// What the leaf says.
    pub fn info(&self) -> &PeerInfo {
        &self.info
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certified").field(&self.info).finish()
    }
}

/// Why certificates and a key can't be a machine's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadCertified {
    /// The certificates can't be read.
    #[error("the certificate: {0}")]
    Pem(#[from] BadPem),
    /// The key can't be read.
    #[error("the key: {0}")]
    Key(#[from] BadKey),
    /// The leaf does not say who we are.
    #[error("the certificate: {0}")]
    Leaf(#[from] BadLeaf),
    /// The key is another one.
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
}

/// Whom a machine trusts to vouch for others: usually one intermediate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchors(Arc<[TrustAnchor<'static>]>);

impl Anchors {
    /// All certificates in `pem`.
    ///
    /// # Errors
    /// [`BadPem`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, BadPem> {
        Self::new(&pem::certificates(pem)?)
    }

    /// `certificates`, at least one.
    ///
    /// # Errors
    /// [`BadPem`].
    pub fn new(certificates: &[CertificateDer<'_>]) -> Result<Self, BadPem> {
        let anchors: Arc<[_]> = certificates
            .iter()
            .map(|certificate| anchor_from_trusted_cert(certificate).map(|anchor| anchor.to_owned()))
            .collect::<Result<_, _>>()
            .map_err(|_| BadPem::Broken)?;
        if anchors.is_empty() { Err(BadPem::Empty) } else { Ok(Self(anchors)) }
    }

    /// Those of `certificates` that can be used, if there are any: an operating system has odd ones among its own.
    pub fn usable<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> Option<Self> {
        let anchors: Arc<[_]> = certificates
            .into_iter()
            .filter_map(|certificate| {
                anchor_from_trusted_cert(certificate).map(|anchor| anchor.to_owned()).ok()
            })
            .collect();
        (!anchors.is_empty()).then_some(Self(anchors))
    }

    pub(crate) fn as_slice(&self) -> &[TrustAnchor<'static>] {
        &self.0
    }
}

/// Tells rustls the time that the machine's owner last told us.
#[derive(Debug)]
pub(crate) struct Wall(pub(crate) WallCell);

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.0.get().0)))
    }
}
