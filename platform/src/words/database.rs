//! Databases: where dynamic secrets and rotations make and change users.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a connection to a PostgreSQL server is protected, inside the tunnel: libpq's `sslmode`, without the modes that
/// fall back to clear text by themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// No TLS: the server sees the password's proof, and the network between gateway and server everything.
    Disable,
    /// TLS with whoever answers.
    Require,
    /// TLS with a server whose certificate comes from the CA.
    VerifyCa,
    /// The same, and the certificate has to be for the database's host.
    #[default]
    VerifyFull,
}

/// A PostgreSQL server behind a gateway, and the user as whom the platform works on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Database {
    /// Its id.
    pub id: String,
    /// Its name, unique in the organisation.
    pub name: String,
    /// The name of the project that owns it.
    pub project: String,
    /// The name of the gateway through which it is reached.
    pub gateway: String,
    /// The host, as the gateway resolves it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: TlsMode,
    /// The certificates (PEM) that sign the server's; public roots where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The database on the server that the platform logs in to, and that leases are for unless their secret names
    /// others.
    pub database: String,
    /// The user as whom the platform works: one that may make roles, and need be no superuser.
    pub admin_user: String,
    /// How many connections the platform has to it at once: 1 to 100, over all its instances each.
    pub max_connections: u32,
    /// When it was made.
    pub created_at: u64,
    /// When the platform last gave the admin user a new password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated_at: Option<u64>,
}

/// A database to be defined.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewDatabase {
    /// Its name: 1 to 64 of letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// The project's name or id.
    pub project: String,
    /// The gateway's name or id; a link of the project has to allow `tcp://host:port` through it.
    pub gateway: String,
    /// The host, as the gateway resolves it.
    pub host: String,
    /// The port.
    #[serde(default = "postgres_port")]
    pub port: u16,
    /// How the connection is protected.
    #[serde(default)]
    pub tls: TlsMode,
    /// The certificates (PEM) that sign the server's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The database on the server that the platform logs in to.
    #[serde(default = "postgres_database")]
    pub database: String,
    /// The user as whom the platform works.
    pub admin_user: String,
    /// Its password.
    pub admin_password: String,
    /// How many connections the platform has to it at once: 1 to 100.
    #[serde(default = "ten")]
    pub max_connections: u32,
}

/// What of a database is to be changed: the fields that are there. Where host, port, gateway, tls or ca are among them,
/// the admin password has to be too, since it is sent there. Host, port and admin user stay while leases live.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseChange {
    /// The gateway's name or id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How the connection is protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsMode>,
    /// The certificates (PEM) that sign the server's; an empty text means public roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The database on the server that the platform logs in to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The user as whom the platform works; comes with its password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_user: Option<String>,
    /// The password of the user as whom the platform works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_password: Option<String>,
    /// How many connections the platform has to it at once: 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

/// What a test of a database, a secret or a rotation found. Nothing of it stays on the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestReport {
    /// Whether everything is as it has to be.
    pub ok: bool,
    /// What the server says that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// By how many seconds the server's clock is ahead of the platform's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead: Option<i64>,
    /// What was looked at, in that order.
    pub checks: Vec<Check>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What, as `the admin user may create roles`.
    pub name: String,
    /// Whether it is as it has to be.
    pub ok: bool,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What to do about it, where it is not: an SQL statement for whoever may run it, or a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

fn postgres_port() -> u16 {
    5432
}

fn postgres_database() -> String {
    "postgres".to_owned()
}

fn ten() -> u32 {
    10
}

/// Passwords are shown to nobody.
impl std::fmt::Debug for NewDatabase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewDatabase").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Passwords are shown to nobody.
impl std::fmt::Debug for DatabaseChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatabaseChange").finish_non_exhaustive()
    }
}
