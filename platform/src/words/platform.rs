//! The instances of the platform itself.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One process of the platform, as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlatformInstance {
    /// Its id, which the certificates of its connector carry.
    pub id: String,
    /// When it started.
    pub started_at: u64,
    /// When it last said that it is there.
    pub last_seen_at: u64,
    /// Whether it counts as being there.
    pub is_alive: bool,
    /// Since when it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<u64>,
    /// The addresses of its connector, as relays see them.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}
