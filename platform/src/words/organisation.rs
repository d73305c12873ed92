//! Organisations: the tenants of an installation.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Organisation {
    /// Its id.
    pub id: String,
    /// Its name, which certificates carry: 1 to 64 of letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// When it was made.
    pub created_at: u64,
}

/// An organisation to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrganisation {
    /// Its name.
    pub name: String,
    /// The name of its first administrator; `admin` where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
}

/// A new organisation, and the way in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedOrganisation {
    /// The organisation.
    pub organisation: Organisation,
    /// The token of its first administrator. It is shown this once.
    pub admin_token: String,
}
