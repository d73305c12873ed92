//! What the command is told: the variables of libpq, which other drivers know too.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Command;

use adit_platform::words::{Database, IssuedLease, TlsMode};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};

/// Variables that would lead somewhere else, or say something else of the server.
const OTHERS: [&str; 7] =
    ["PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGPASSFILE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"];

/// The variables of one command. The file with the server's authority is there as long as this is.
pub(super) struct Environment {
    local: SocketAddr,
    user: String,
    password: Zeroizing<String>,
    dbname: String,
    tls: &'static str,
    authority: Option<NamedTempFile>,
}

impl Environment {
    /// For `issued`, whose server is reached at the port `local`, and who is to be believed as `database` says.
    pub(super) fn new(issued: &IssuedLease, database: &Database, local: SocketAddr) -> Result<Self, Failure> {
        let (tls, authority) = match (database.tls, &database.ca) {
            (TlsMode::VerifyCa | TlsMode::VerifyFull, Some(ca)) => ("verify-ca", Some(write(ca)?)),
            (TlsMode::Disable, _) => ("prefer", None),
            // Against public authorities a certificate without its name shows nothing.
            (TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull, _) => ("require", None),
        };
        Ok(Self {
            local,
            user: issued.lease.username.clone(),
            password: Zeroizing::new(issued.password.clone()),
            dbname: issued.dbname.clone(),
            tls,
            authority,
        })
    }

    /// Gives them to `command`.
    pub(super) fn put(&self, command: &mut Command) {
        for name in OTHERS {
            command.env_remove(name);
        }
        command.env("PGHOST", self.local.ip().to_string()).env("PGPORT", self.local.port().to_string());
        command.env("PGUSER", &self.user).env("PGPASSWORD", self.password.as_str());
        command.env("PGDATABASE", &self.dbname).env("PGSSLMODE", self.tls);
        if let Some(authority) = &self.authority {
            command.env("PGSSLROOTCERT", authority.path());
        }
    }
}

fn write(ca: &str) -> Result<NamedTempFile, Failure> {
    let write = || {
        let mut file = NamedTempFile::with_prefix("adit-server-ca-")?;
        file.write_all(ca.as_bytes())?;
        Ok(file)
    };
    write().map_err(|error: std::io::Error| {
        Failure::new(Exit::Other, format!("no file for the server's authority can be written: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn issued() -> IssuedLease {
        serde_json::from_value(json!({
            "lease": {
                "id": "l", "secret": "s", "database": "d", "project": "p", "identity": "ada", "username": "v-ada",
                "state": "active", "created_at": 1, "expires_at": 2, "max_expires_at": 3
            },
            "password": "pass word", "gateway": "gw-1", "host": "db.internal", "port": 5432, "dbname": "shop"
        }))
        .unwrap()
    }

    fn database(tls: &str, ca: Option<&str>) -> Database {
        serde_json::from_value(json!({
            "id": "d", "name": "d", "project": "p", "gateway": "gw-1", "host": "db.internal", "port": 5432,
            "tls": tls, "ca": ca, "database": "shop", "admin_user": "adit", "max_connections": 10, "created_at": 1
        }))
        .unwrap()
    }

    fn variables(environment: &Environment) -> BTreeMap<String, Option<String>> {
        let mut command = Command::new("psql");
        environment.put(&mut command);
        let text = |text: &std::ffi::OsStr| text.to_str().unwrap().to_owned();
        command.get_envs().map(|(name, value)| (text(name), value.map(text))).collect()
    }

    #[test]
    fn the_command_is_led_to_the_local_port_and_nowhere_else() {
        let local = "127.0.0.1:15432".parse().unwrap();
        let environment = Environment::new(&issued(), &database("disable", None), local).unwrap();
        let variables = variables(&environment);
        for (name, value) in [
            ("PGHOST", Some("127.0.0.1")),
            ("PGPORT", Some("15432")),
            ("PGUSER", Some("v-ada")),
            ("PGPASSWORD", Some("pass word")),
            ("PGDATABASE", Some("shop")),
            ("PGSSLMODE", Some("prefer")),
            ("PGHOSTADDR", None),
            ("PGSERVICE", None),
        ] {
            assert_eq!(variables[name].as_deref(), value, "{name}");
        }
    }

    #[test]
    fn the_server_is_believed_by_what_can_be_checked() {
        let local = "127.0.0.1:1".parse().unwrap();
        for (tls, ca, expected) in [
            ("require", None, "require"),
            ("verify-full", None, "require"),
            ("verify-full", Some("PEM"), "verify-ca"),
            ("verify-ca", Some("PEM"), "verify-ca"),
        ] {
            let environment = Environment::new(&issued(), &database(tls, ca), local).unwrap();
            let variables = variables(&environment);
            assert_eq!(variables["PGSSLMODE"].as_deref(), Some(expected), "{tls}");
            let root = variables["PGSSLROOTCERT"].as_deref();
            assert_eq!(root.map(|path| std::fs::read_to_string(path).unwrap()).as_deref(), ca);
        }
    }
}
