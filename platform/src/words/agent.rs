//! What gateway instances and relays say to the platform: enrolment, tokens, sessions, heartbeats.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Health, LivePeer, RelayStatus, RelayUse};

/// Exchanges an enrolment token for an instance of a gateway, or for a relay.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    /// The enrolment token.
    pub token: String,
    /// The key that is to prove who calls from now on: SubjectPublicKeyInfo, DER, base64.
    pub public_key: String,
    /// That the caller has the private key: see [`crate::trust::proof`].
    pub signature: String,
}

/// What a token was bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AgentKind {
    /// A gateway instance.
    Gateway,
    /// A relay.
    Relay,
}

/// Who the caller is from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Enrolled {
    /// What it is.
    pub kind: AgentKind,
    /// Its id: of the instance, or of the relay.
    pub id: String,
    /// The name of the gateway, or of the relay.
    pub name: String,
    /// The organisation's name; `installation` for a shared relay.
    pub organisation: String,
    /// The name of the installation, as certificates carry it.
    pub trust_domain: String,
    /// The platform CA that signs the certificates of the API and of relays, PEM: one or more.
    pub platform_ca: String,
    /// The server's clock.
    pub server_time: u64,
}

/// A number that the next proof must contain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nonce {
    /// The number. It works once.
    pub nonce: String,
    /// For how many seconds.
    pub expires_in: u64,
    /// The server's clock.
    pub server_time: u64,
}

/// Exchanges a proof of the instance's key for a token that lives shortly.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// The id of the instance, or of the relay.
    pub id: String,
    /// The server's [`Nonce`].
    pub nonce: String,
    /// The caller's clock: at most ten minutes off.
    pub time: u64,
    /// The signature: see [`crate::trust::proof`].
    pub signature: String,
}

/// A token that lives shortly.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccessToken {
    /// The token, for `Authorization: Bearer`.
    pub access_token: String,
    /// For how many seconds.
    pub expires_in: u64,
    /// The server's clock.
    pub server_time: u64,
}

/// A process of an instance begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSession {
    /// What tells this machine and state directory from a copy elsewhere: hex of a hash. While one process
    /// reports, a process with another fingerprint is refused.
    pub fingerprint: String,
    /// The version of the program.
    pub version: String,
}

/// What a gateway instance begins with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The session's id, which heartbeats show.
    pub session: String,
    /// How long from one heartbeat to the next, in seconds.
    pub heartbeat_interval: u64,
    /// What is wanted of it.
    pub desired: DesiredState,
    /// The server's clock.
    pub server_time: u64,
}

/// What the platform wants of a gateway instance.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DesiredState {
    /// Grows with every change; a heartbeat shows the last one that was put into effect.
    pub generation: u64,
    /// The addresses that may reach the relayed addresses.
    #[schema(value_type = Vec<String>)]
    pub permitted_peers: Vec<IpAddr>,
    /// The relays to keep allocations on, best first.
    pub relays: Vec<RelayAccess>,
    /// Whom to trust as connectors: PEM, one or more anchors.
    pub connector_anchors: String,
    /// Who is not to be trusted any more, though the certificate is still valid.
    pub revoked: Revoked,
    /// For how many seconds past its certificate a person's connection may go on.
    pub offline_grace: u64,
}

/// How a gateway instance uses a relay. Credentials are good for a day and are renewed in time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayAccess {
    /// The relay's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its URLs, best first.
    pub urls: Vec<String>,
    /// The TURN username.
    pub username: String,
    /// The TURN password.
    pub password: String,
    /// When the credentials run out.
    pub expires_at: u64,
    /// SHA-256 of the SubjectPublicKeyInfo of the relay's certificate, base64; absent while it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
}

/// Who is not to be trusted any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revoked {
    /// Serial numbers of certificates, in hex.
    pub serials: Vec<String>,
    /// SPIFFE ids.
    pub identities: Vec<String>,
}

/// A certificate is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateRequest {
    /// A certificate signing request (PKCS #10), PEM. Only its key counts; who the holder is, the platform knows.
    /// One that names somebody else is refused.
    pub csr: String,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Certificate {
    /// The leaf and its intermediate, PEM.
    pub chain: String,
    /// The serial number of the leaf, in hex.
    pub serial: String,
    /// The last second of its validity.
    pub not_after: u64,
    /// The server's clock.
    pub server_time: u64,
}

/// A gateway instance reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    /// The session.
    pub session: String,
    /// The generation of the desired state that is in effect.
    pub generation: u64,
    /// The relayed addresses, best first.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<SocketAddr>,
    /// Its relays.
    pub relays: Vec<RelayUse>,
    /// Its connectors.
    pub peers: Vec<LivePeer>,
    /// When the first of its relay credentials runs out; absent without relays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_expire_at: Option<u64>,
    /// The caller's clock.
    pub time: u64,
}

/// What a heartbeat is told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatAnswer {
    /// What is wanted now; absent where nothing has changed and no credential needs to be renewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<DesiredState>,
    /// How long from one heartbeat to the next, in seconds.
    pub heartbeat_interval: u64,
    /// What the watcher last found.
    pub health: Health,
    /// The server's clock.
    pub server_time: u64,
}

/// What a relay works with. The secrets live on in the relay while the platform is away.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelaySession {
    /// The session's id, which heartbeats show.
    pub session: String,
    /// How long from one heartbeat to the next, in seconds.
    pub heartbeat_interval: u64,
    /// The secrets of its time-limited credentials, base64: at most two live.
    pub secrets: Vec<String>,
    /// Ids in credentials that the relay is not to take any more, although they have not run out.
    #[serde(default)]
    pub revoked: Vec<String>,
    /// The realm.
    pub realm: String,
    /// Its URLs, whose hosts its certificate names.
    pub urls: Vec<String>,
    /// The server's clock.
    pub server_time: u64,
}

/// A relay reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RelayHeartbeat {
    /// The session.
    pub session: String,
    /// How it is.
    pub status: RelayStatus,
    /// The caller's clock.
    pub time: u64,
}

/// What a relay is told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayHeartbeatAnswer {
    /// The secrets from now on, base64.
    pub secrets: Vec<String>,
    /// Ids in credentials that the relay is not to take any more, although they have not run out. Who holds one loses
    /// its allocations.
    #[serde(default)]
    pub revoked: Vec<String>,
    /// How long from one heartbeat to the next, in seconds.
    pub heartbeat_interval: u64,
    /// The server's clock.
    pub server_time: u64,
}
