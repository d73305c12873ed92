//! Rotations: users that stay, and passwords that do not.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{PasswordPolicy, Trouble};

/// How passwords change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RotationMode {
    /// Two users in turn: the one before stays valid for a whole interval, so that nobody who reads the credentials
    /// before logging in ever fails.
    TwoUser,
    /// One user: whoever read the credentials before a rotation fails after it, and reads again.
    SingleUser,
}

/// When passwords change: one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum Schedule {
    /// Every so many seconds: at least 60.
    Every(u64),
    /// By a cron expression of five fields, in UTC.
    Cron(String),
}

/// A rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rotation {
    /// Its id.
    pub id: String,
    /// Its name, unique in the organisation.
    pub name: String,
    /// The name of the project, which is its database's.
    pub project: String,
    /// The name of the database.
    pub database: String,
    /// How passwords change.
    pub mode: RotationMode,
    /// The users, which are there already: two or one.
    pub users: Vec<String>,
    /// When passwords change.
    pub schedule: Schedule,
    /// What passwords are made of.
    pub password: PasswordPolicy,
    /// Whether the server is given a SCRAM verifier in place of the password.
    pub pre_hashed: bool,
    /// When it was made.
    pub created_at: u64,
    /// When a password last changed; never where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<u64>,
    /// When the next one is due.
    pub next_at: u64,
    /// What hinders it, where it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// A rotation to be defined. The first one takes place at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRotation {
    /// Its name: 1 to 64 of letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// The database's name or id; its project owns the rotation.
    pub database: String,
    /// How passwords change.
    pub mode: RotationMode,
    /// The users, which are there already and which nobody else rotates: two or one.
    pub users: Vec<String>,
    /// When passwords change.
    pub schedule: Schedule,
    /// What passwords are made of.
    #[serde(default)]
    pub password: PasswordPolicy,
    /// Whether the server is given a SCRAM verifier in place of the password.
    #[serde(default = "yes")]
    pub pre_hashed: bool,
}

/// With what to log in now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// Its password.
    pub password: String,
    /// The gateway through which the server is reached.
    pub gateway: String,
    /// The server's host, as the gateway resolves it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The database on the server.
    pub dbname: String,
    /// Since when.
    pub rotated_at: u64,
    /// When to read again at the latest.
    pub next_at: u64,
}

fn yes() -> bool {
    true
}

/// The password is shown to nobody.
impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}
