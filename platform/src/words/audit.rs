//! The audit: what was done, by whom.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One event. Events are never changed; each holds the hash of the one before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditEvent {
    /// The platform instance that wrote it; each has a chain of its own for every organisation.
    pub instance: String,
    /// Its place in that chain, from 1.
    pub sequence: u64,
    /// When.
    pub at: u64,
    /// Who: `identity:<name>`, `gateway:<name>/<instance>`, `relay:<name>`, `platform`.
    pub actor: String,
    /// What, as `gateway.enrolled`.
    pub action: String,
    /// To what, as `gateway:<name>`.
    pub object: String,
    /// More about it, as JSON; never a secret.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
    /// SHA-256 over this event and the one before it, in hex.
    pub hash: String,
}

/// Whether the audit is as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditVerdict {
    /// Whether every chain is whole.
    pub intact: bool,
    /// How many events were read.
    pub events: u64,
    /// The first event of each chain that does not fit, in words.
    pub breaks: Vec<String>,
}
