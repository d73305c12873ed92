//! Gateways and their instances.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a gateway, an instance or a relay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HealthState {
    /// Enrolled or made, and never seen yet.
    Pending,
    /// It answers, end to end.
    Healthy,
    /// It reports, but does not answer, or not everything about it works.
    Degraded,
    /// Nothing was heard of it.
    Offline,
    /// It was revoked.
    Revoked,
}

/// How something is, since when, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// How it is.
    pub state: HealthState,
    /// Since when.
    pub since: u64,
    /// Why, in a sentence.
    pub reason: String,
}

/// A gateway: the name that links refer to. Its instances do the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gateway {
    /// Its id.
    pub id: String,
    /// Its name, which certificates carry.
    pub name: String,
    /// When it was made.
    pub created_at: u64,
    /// The best of its instances' health.
    pub health: Health,
    /// Its instances, those that were revoked too.
    pub instances: Vec<Instance>,
}

/// A gateway to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewGateway {
    /// Its name: 1 to 64 of letters, digits, `.`, `_`, `-`.
    pub name: String,
}

/// One process of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// Its id, which certificates carry.
    pub id: String,
    /// The gateway's name.
    pub gateway: String,
    /// How it is.
    pub health: Health,
    /// The relayed addresses by which it can be reached.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<SocketAddr>,
    /// What it says about its relays.
    pub relays: Vec<RelayUse>,
    /// Who is connected to it.
    pub peers: Vec<LivePeer>,
    /// The version of the program.
    pub version: String,
    /// When it was enrolled.
    pub enrolled_at: u64,
    /// When it last reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heartbeat_at: Option<u64>,
    /// When its present certificate runs out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_expires_at: Option<u64>,
    /// Since when it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<u64>,
}

/// What a gateway instance says about one of its relays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RelayUse {
    /// The relay's id.
    pub relay: String,
    /// The addresses that it relays for the instance; none while there is no allocation.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<SocketAddr>,
    /// Why there is no allocation; absent while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
}

/// A connector that is connected to a gateway instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LivePeer {
    /// Its name: a SPIFFE id.
    pub identity: String,
    /// The serial number of its certificate, in hex.
    pub serial: String,
    /// Where it comes from.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// How many streams it has open.
    pub streams: u32,
}

/// A token that enrols one gateway instance or one relay, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrolmentToken {
    /// The token. It is shown this once.
    pub token: String,
    /// Its id.
    pub id: String,
    /// When it runs out.
    pub expires_at: u64,
}
