//! Identities: the persons and machines of an organisation, and their tokens.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an identity may do in its whole organisation. Roles in projects are of their members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Of the installation: makes organisations and shared relays, and sees nothing that is in an organisation.
    Operator,
    /// Everything within the organisation.
    Admin,
    /// Reads everything within the organisation, its audit too; changes nothing.
    Auditor,
}

/// What an identity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IdentityKind {
    /// A human being.
    Person,
    /// A program.
    Machine,
}

/// A person or a machine of an organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// Its id.
    pub id: String,
    /// Its name, which certificates carry; never another's, not even after it is revoked.
    pub name: String,
    /// Person or machine.
    pub kind: IdentityKind,
    /// Its roles in the organisation; none for one that has only roles in projects.
    pub roles: Vec<Role>,
    /// The networks from which its tokens count; everywhere where there is none.
    #[schema(value_type = Vec<String>)]
    pub allowed_from: Vec<IpNet>,
    /// When it was made.
    pub created_at: u64,
    /// Since when it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<u64>,
}

/// An identity to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewIdentity {
    /// Its name: 1 to 64 of letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// Person or machine.
    pub kind: IdentityKind,
    /// Its roles in the organisation.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// The networks from which its tokens count; everywhere where there is none.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub allowed_from: Vec<IpNet>,
}

/// What is to change about an identity; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityChange {
    /// Its roles from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
    /// The networks from which its tokens count from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub allowed_from: Option<Vec<IpNet>>,
}

/// A new identity and its first token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedIdentity {
    /// The identity.
    pub identity: Identity,
    /// Its token. It is shown this once.
    pub token: String,
}

/// What is known of a token; never the token itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenInfo {
    /// Its id, which is also the third part of the token.
    pub id: String,
    /// When it was made.
    pub created_at: u64,
    /// When it runs out; never where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<u64>,
    /// Since when it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<u64>,
}

/// A token to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// In how many seconds it runs out; never where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// A new token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IssuedToken {
    /// The token. It is shown this once.
    pub token: String,
    /// What is known of it.
    pub info: TokenInfo,
}

/// Who the caller is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The identity whose token it is.
    pub identity: Identity,
    /// The name of its organisation; `installation` for an operator.
    pub organisation: String,
    /// The name of the installation, as certificates carry it.
    pub trust_domain: String,
    /// Its roles in projects.
    pub projects: Vec<ProjectRoleOf>,
    /// The server's clock, in unix seconds.
    pub server_time: u64,
}

/// A role in a project, seen from who has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectRoleOf {
    /// The project's name.
    pub project: String,
    /// The role in it.
    pub role: super::ProjectRole,
}
