//! Databases: where dynamic secrets and rotations make and change users.

use std::net::IpAddr;

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

impl Database {
    /// The same with the fields of a change that are there.
    #[must_use]
    pub fn with(&self, change: &DatabaseChange) -> Self {
        let before = self.clone();
        Self {
            gateway: change.gateway.clone().unwrap_or(before.gateway),
            host: change.host.clone().unwrap_or(before.host),
            port: change.port.unwrap_or(before.port),
            tls: change.tls.unwrap_or(before.tls),
            ca: change.ca.clone().or(before.ca).filter(|ca| !ca.is_empty()),
            database: change.database.clone().unwrap_or(before.database),
            admin_user: change.admin_user.clone().unwrap_or(before.admin_user),
            max_connections: change.max_connections.unwrap_or(before.max_connections),
            ..before
        }
    }

    /// Whether the admin user's password that is kept may be used as `after` says: whoever is there must be whom it was
    /// given for. Either the way there and its protection are the same, or the certificate shows it, whatever leads
    /// there: the same authorities have to say that it is the same host, before and after. Only a full DNS name says
    /// that: an address, `localhost` or a short name is another machine behind another gateway, or at another port.
    #[must_use]
    pub fn keeps_password(&self, after: &Self) -> bool {
        let protected = |it: &Self| (it.host.clone(), it.tls, it.ca.clone(), it.admin_user.clone());
        let is_shown = self.tls == TlsMode::VerifyFull && is_full_name(&self.host);
        let same_way = self.gateway == after.gateway && self.port == after.port;
        protected(self) == protected(after) && (same_way || is_shown)
    }
}

/// Whether a host is a DNS name that means the same machine everywhere.
fn is_full_name(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let local = [".localhost", ".local", ".internal", ".lan", ".home.arpa"];
    let is_address = name.parse::<IpAddr>().is_ok() || name.contains(':') || name.starts_with('[');
    name.contains('.') && !is_address && !local.iter().any(|suffix| name.ends_with(suffix))
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

/// What of a database is to be changed: the fields that are there. Where host, port, gateway, tls or ca change, the admin
/// password has to be among them, since it is sent there; only where tls is and stays `verify-full`, host and ca
/// stay, and the host is a full DNS name, may gateway and port change without it. Host, port and admin user stay while
/// leases live.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn database(tls: TlsMode) -> Database {
        Database {
            id: "1".to_owned(),
            name: "main".to_owned(),
            project: "shop".to_owned(),
            gateway: "gw".to_owned(),
            host: "db.example.com".to_owned(),
            port: 5432,
            tls,
            ca: Some("PEM".to_owned()),
            database: "app".to_owned(),
            admin_user: "adit".to_owned(),
            max_connections: 10,
            created_at: 0,
            rotated_at: None,
        }
    }

    fn keeps(tls: TlsMode, change: serde_json::Value) -> bool {
        let before = database(tls);
        before.keeps_password(&before.with(&serde_json::from_value(change).unwrap()))
    }

    #[test]
    fn what_is_another_machine_elsewhere_is_shown_by_no_certificate() {
        for host in
            ["db", "localhost", "db.localhost", "127.0.0.1", "10.0.0.1", "::1", "db.internal", "db.local."]
        {
            let before = Database { host: host.to_owned(), ..database(TlsMode::VerifyFull) };
            let after = Database { gateway: "other".to_owned(), ..before.clone() };
            assert!(!before.keeps_password(&after) && before.keeps_password(&before), "{host}");
        }
    }

    #[test]
    fn a_password_follows_only_where_certificates_show_that_it_is_the_same_server() {
        use serde_json::json;
        for way in [json!({ "gateway": "other" }), json!({ "port": 5433 })] {
            assert!(keeps(TlsMode::VerifyFull, way.clone()));
            for tls in [TlsMode::Disable, TlsMode::Require, TlsMode::VerifyCa] {
                assert!(!keeps(tls, way.clone()), "{tls:?} {way}");
            }
        }
        let elsewhere = [
            json!({ "host": "other" }),
            json!({ "ca": "ANOTHER" }),
            json!({ "ca": "" }),
            json!({ "tls": "verify-ca" }),
            json!({ "gateway": "other", "tls": "require" }),
            json!({ "admin_user": "other" }),
        ];
        for change in elsewhere {
            assert!(!keeps(TlsMode::VerifyFull, change.clone()), "{change}");
        }
        // What was no name check before says nothing of who was there.
        assert!(!keeps(TlsMode::VerifyCa, json!({ "tls": "verify-full", "gateway": "other" })));
        for same in [
            json!({}),
            json!({ "host": "db.example.com", "port": 5432, "gateway": "gw" }),
            json!({ "database": "b" }),
        ] {
            assert!(keeps(TlsMode::Require, same.clone()), "{same}");
        }
    }
}
