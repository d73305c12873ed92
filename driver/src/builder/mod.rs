//! Gateways and connectors from what an application has: certificates as PEM, URIs and targets as text.
//!
//! A builder keeps the first mistake for the end, so that calls can be chained.

mod connector;
mod credential;
mod gateway;

pub use connector::ConnectorBuilder;
pub(crate) use credential::Credential;
pub use credential::GatewayError;
pub use gateway::GatewayBuilder;

use adit_core::gateway::{NewError, RuleError, Unverifiable};
use adit_core::pki::pem::BadPem;
use adit_core::pki::tls::BadCertified;
use adit_core::tunnel::TargetError;
use adit_core::turn::uri::BadUri;

/// Why a builder can't build. Always a mistake in what it was given: trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// No certificate and key were given.
    #[error("a certificate and its key are needed")]
    NoCertificate,
    /// The certificate or its key can't be used.
    #[error("{0}")]
    Certificate(#[from] BadCertified),
    /// A gateway was given a connector's certificate, or the other way round.
    #[error("the certificate is for {0}, which is the other side of a tunnel")]
    WrongSide(String),
    /// No trust anchor was given, so nobody would be believed.
    #[error(
        "a trust anchor is needed: a gateway trusts the connectors' authority, a connector the gateways'"
    )]
    NoAnchor,
    /// A trust anchor can't be read.
    #[error("a trust anchor: {0}")]
    Anchor(#[from] BadPem),
    /// No relay was given, nor a way to find one.
    #[error("a relay is needed, or a way to find one")]
    NoRelay,
    /// A text is no relay's URI.
    #[error(transparent)]
    Relay(#[from] BadUri),
    /// Nothing could make a relay's certificate believed, over a way that is secured.
    #[error(transparent)]
    RelayUnverifiable(#[from] Unverifiable),
    /// A text is no rule for targets.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A text is no target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The machine can't be made like that.
    #[error(transparent)]
    Gateway(#[from] NewError),
}
