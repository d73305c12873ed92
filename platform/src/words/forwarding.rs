//! What `adit forward --gateway` says to the platform.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Revoked;

/// A person wants to reach targets behind a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewForwarding {
    /// The gateway's name or id.
    pub gateway: String,
    /// The targets, as `tcp://host:port`; all that the caller's links allow where it is empty.
    #[serde(default)]
    pub targets: Vec<String>,
    /// A certificate signing request (PKCS #10), PEM.
    pub csr: String,
}

/// The certificate for it, and the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Forwarding {
    /// The leaf and its intermediate, PEM. It lives an hour and holds exactly the targets.
    pub chain: String,
    /// The serial number of the leaf, in hex.
    pub serial: String,
    /// The last second of its validity.
    pub not_after: u64,
    /// The targets.
    pub targets: Vec<String>,
    /// The way to the gateway.
    pub way: Way,
    /// The organisation's name, and the gateway's, as its certificate must have them.
    pub organisation: String,
    /// The gateway's name.
    pub gateway: String,
    /// The name of the installation.
    pub trust_domain: String,
    /// The server's clock.
    pub server_time: u64,
}

/// How a gateway is reached now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Way {
    /// Whom to trust as gateways: PEM, one or more anchors.
    pub gateway_anchors: String,
    /// Its instances that report, the healthy ones first.
    pub instances: Vec<WayTo>,
    /// URLs of relays that answer STUN Binding: from them the connector learns its own address.
    pub relays: Vec<String>,
    /// Who is not to be trusted any more.
    pub revoked: Revoked,
}

/// How one instance is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WayTo {
    /// The instance's id.
    pub instance: String,
    /// Its relayed addresses, best first.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<SocketAddr>,
}

/// A connector says from where it comes, so that the gateway lets it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConnectorAddresses {
    /// The serial number of its certificate, in hex.
    pub serial: String,
    /// Its addresses, as the relays see them: 1 to 4.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}

/// Until when the gateway lets it in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Permitted {
    /// Until when; never after its certificate.
    pub until: u64,
    /// Within how many seconds every instance of the gateway knows it.
    pub effective_within: u64,
}
