//! Who we are and whom we believe.

use std::net::SocketAddr;

use adit_core::connector::GatewayConfig;
use adit_core::pki::identity::BadName;
use adit_core::pki::tls::BadCertified;
use adit_core::pki::verify::GatewayVerifier;
use adit_core::pki::{Anchors, Certified, Expected, Name, pem, tls};
use adit_core::time::{UnixTime, WallCell};
use adit_core::tunnel::ALPN;

use super::BuildError;

/// A certificate with its key, and the authorities that vouch for the other side.
#[derive(Debug)]
pub(crate) struct Credential {
    own: Certified,
    anchors: Anchors,
    wall: WallCell,
}

/// Why a connector can't know a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GatewayError {
    /// The text is no name.
    #[error("the gateway's name: {0}")]
    Name(#[from] BadName),
    /// The connector was made from a configuration, not by a builder.
    #[error("this connector has no certificate of its own: use add_gateway")]
    NoCertificate,
    /// The connector's own certificate can't be used.
    #[error("{0}")]
    Certificate(#[from] BadCertified),
}

/// What a builder was given of it.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) own: Option<(Vec<u8>, Vec<u8>)>,
    pub(super) anchors: Vec<Vec<u8>>,
}

impl Parts {
    /// Reads everything, for a side that connects or one that does not.
    pub(super) fn read(&self, connects: bool) -> Result<Credential, BuildError> {
        let (certificate, key) = self.own.as_ref().ok_or(BuildError::NoCertificate)?;
        let own = Certified::from_pem(certificate, key)?;
        if own.identity().role.connects() != connects {
            return Err(BuildError::WrongSide(own.identity().to_string()));
        }
        let mut anchors = Vec::new();
        for pem in &self.anchors {
            anchors.extend(pem::certificates(pem)?);
        }
        if anchors.is_empty() {
            return Err(BuildError::NoAnchor);
        }
        let wall = WallCell::new(UnixTime(crate::world::unix().as_secs()));
        Ok(Credential { own, anchors: Anchors::new(&anchors)?, wall })
    }
}

impl Credential {
    /// The cell that the TLS configurations read the time from.
    pub(super) fn wall(&self) -> WallCell {
        self.wall.clone()
    }

    /// Our own name.
    pub(super) fn name(&self) -> &Name {
        self.own.identity().role.name()
    }

    /// The other side belongs to our own organisation.
    fn expected(&self) -> Expected {
        let own = self.own.identity();
        Expected { organisation: own.organisation.clone(), trust_domain: own.trust_domain.clone() }
    }

    /// TLS of a gateway.
    pub(super) fn server(&self) -> Result<std::sync::Arc<rustls::ServerConfig>, BadCertified> {
        tls::server_config(&self.own, self.anchors.clone(), self.expected(), &[ALPN], self.wall())
    }

    /// The gateway of that name, or one instance of it alone, as a connector knows it. No server name is sent: the
    /// certificate says who answers.
    pub(crate) fn gateway(
        &self,
        name: Name,
        instance: Option<Name>,
        addresses: Vec<SocketAddr>,
    ) -> Result<GatewayConfig, BadCertified> {
        let mut verifier = GatewayVerifier::new(self.anchors.clone(), self.expected(), name);
        if let Some(instance) = instance {
            verifier = verifier.only(instance);
        }
        let tls = tls::client_config_with(&self.own, verifier, &[ALPN], self.wall())?;
        Ok(GatewayConfig { tls, server_name: "gateway".into(), addresses })
    }
}
