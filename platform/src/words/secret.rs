//! Dynamic secrets: of what kind the users are that leases make.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the users of a secret may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Read every table of the schemas, those to come included.
    ReadOnly,
    /// Read and write every table and sequence of the schemas, those to come included; make none.
    ReadWrite,
    /// What the creation statements grant.
    Custom,
}

/// What becomes of objects that a user owns when its lease ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Owned {
    /// A role owns them from then on that may do nothing else, and in which the admin user is: functions and views do
    /// not run with the rights of the admin user.
    #[default]
    Reassign,
    /// They are dropped, but for databases and what somebody else's objects need: those are reassigned.
    Drop,
}

/// What passwords are made of: from 62 letters and digits, and signs where wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordPolicy {
    /// How many characters: 20 to 128.
    #[serde(default = "usual_length")]
    pub length: u16,
    /// Signs beside letters and digits, each of which counts as much as a letter; printable ASCII.
    #[serde(default)]
    pub symbols: String,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { length: usual_length(), symbols: String::new() }
    }
}

fn usual_length() -> u16 {
    32
}

/// A dynamic secret: each lease of it is a user of its own on a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Secret {
    /// Its id.
    pub id: String,
    /// Its name, unique in the organisation.
    pub name: String,
    /// The name of the project, which is its database's.
    pub project: String,
    /// The name of the database.
    pub database: String,
    /// What its users may do.
    pub access: Access,
    /// In which database on the server; the database's own where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dbname: Option<String>,
    /// The schemas that [`Access::ReadOnly`] and [`Access::ReadWrite`] are about.
    pub schemas: Vec<String>,
    /// The group role that its users are in; made by the platform when the secret is prepared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Statements that make a user.
    pub creation: Vec<String>,
    /// Statements that lengthen its life.
    pub renewal: Vec<String>,
    /// Statements that run before the user is dropped.
    pub revocation: Vec<String>,
    /// What becomes of objects that a user owns.
    pub owned: Owned,
    /// How users are named: text and `{{random}}`, `{{unix_time}}`, `{{identity}}`, `{{secret}}`.
    pub username_template: String,
    /// What passwords are made of.
    pub password: PasswordPolicy,
    /// Whether the server is given a SCRAM verifier in place of the password.
    pub pre_hashed: bool,
    /// Life of a lease that does not ask for another, in seconds.
    pub default_ttl: u64,
    /// The longest life of a lease with all its renewals, in seconds.
    pub max_ttl: u64,
    /// How many leases may live at once.
    pub max_leases: u32,
    /// Since when the server is prepared for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared_at: Option<u64>,
    /// When it was made.
    pub created_at: u64,
}

/// A dynamic secret to be defined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSecret {
    /// Its name: 1 to 64 of letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// The database's name or id; its project owns the secret.
    pub database: String,
    /// What its users may do.
    pub access: Access,
    /// In which database on the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dbname: Option<String>,
    /// The schemas; `public` where none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
    /// Statements that make a user: for [`Access::Custom`] only, and then at least one. Placeholders are
    /// `{{username}}`, `{{password}}`, `{{expiration}}`, `{{schema}}`, `{{database}}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub creation: Vec<String>,
    /// Statements that lengthen its life; `ALTER ROLE … VALID UNTIL …` where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renewal: Vec<String>,
    /// Statements that run before the user is dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocation: Vec<String>,
    /// What becomes of objects that a user owns.
    #[serde(default)]
    pub owned: Owned,
    /// How users are named; `v-{{identity}}-{{secret}}-{{random}}`-like where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_template: Option<String>,
    /// What passwords are made of.
    #[serde(default)]
    pub password: PasswordPolicy,
    /// Whether the server is given a SCRAM verifier in place of the password: false only for servers whose password
    /// checker refuses verifiers; the password then travels to the server, and may be in its log.
    #[serde(default = "yes")]
    pub pre_hashed: bool,
    /// Life of a lease that does not ask for another, in seconds: 60 to `max_ttl`; an hour where it is left out.
    #[serde(default = "an_hour")]
    pub default_ttl: u64,
    /// The longest life of a lease with all its renewals, in seconds: up to 31,536,000; a day where it is left out.
    #[serde(default = "a_day")]
    pub max_ttl: u64,
    /// How many leases may live at once: 1 to 10,000; 1,000 where it is left out.
    #[serde(default = "a_thousand")]
    pub max_leases: u32,
}

fn yes() -> bool {
    true
}

fn an_hour() -> u64 {
    3600
}

fn a_day() -> u64 {
    24 * 3600
}

fn a_thousand() -> u32 {
    1000
}
