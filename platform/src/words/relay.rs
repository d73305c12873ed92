//! Relays.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Health;

/// A relay: shared by all organisations, or of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Relay {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it belongs to the installation.
    pub shared: bool,
    /// By what gateways reach it, as `turn:host:port?transport=udp`, best first.
    pub urls: Vec<String>,
    /// When it was made.
    pub created_at: u64,
    /// How it is.
    pub health: Health,
    /// What it last reported. Only to who manages it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<RelayStatus>,
}

/// A relay to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRelay {
    /// Its name: 1 to 64 of letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// By what gateways reach it (RFC 7065), best first: 1 to 8.
    pub urls: Vec<String>,
}

/// What a relay reports about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RelayStatus {
    /// Allocations that are alive.
    pub allocations: u64,
    /// Packets that were relayed since the start, both directions.
    pub relayed_packets: u64,
    /// Bytes that were relayed since the start, both directions.
    pub relayed_bytes: u64,
    /// Packets that were dropped since the start.
    pub dropped_packets: u64,
    /// Requests whose credentials were refused since the start.
    pub refused_requests: u64,
    /// Seconds since the start.
    pub uptime: u64,
    /// The version of the program.
    pub version: String,
}
