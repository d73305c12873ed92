//! Projects, their members, and the links that say which targets they reach.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a member may do in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProjectRole {
    /// Manages the project's members and what is in it, and uses it.
    Admin,
    /// Uses what is in the project.
    Member,
}

/// A project: what belongs together, and who works on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Project {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: u64,
    /// Its members.
    pub members: Vec<Member>,
}

/// A project to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    /// Its name: 1 to 64 of letters, digits, `.`, `_`, `-`.
    pub name: String,
}

/// A member of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// The name of the identity.
    pub identity: String,
    /// Its role.
    pub role: ProjectRole,
}

/// The role that an identity is to have in a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    /// The role.
    pub role: ProjectRole,
}

/// What a project reaches through a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// Its id.
    pub id: String,
    /// The project's name.
    pub project: String,
    /// The gateway's name.
    pub gateway: String,
    /// The targets, as `tcp://host:port`: at most 64.
    pub targets: Vec<String>,
    /// When it was made.
    pub created_at: u64,
}

/// A link to be made, or to be replaced: a project has at most one to each gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewLink {
    /// The project's name or id.
    pub project: String,
    /// The gateway's name or id.
    pub gateway: String,
    /// The targets, as `tcp://host:port`: 1 to 64.
    pub targets: Vec<String>,
}
