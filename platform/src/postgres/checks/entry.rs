//! What keeps the admin user out, as a report: whoever tests wants to know what to do, not that it failed.

use super::super::quote::identifier;
use super::super::{Login, SqlError};
use super::Report;
use crate::words::TestReport;

/// The database on the server is not there (SQLSTATE).
const NO_DATABASE: &str = "3D000";

/// No right to connect to it (SQLSTATE).
const NO_RIGHT: &str = "42501";

/// Why the admin user of the platform's database `name` could not log in as `login`, through `gateway`.
pub fn shut_out(error: &SqlError, name: &str, gateway: &str, login: &Login) -> TestReport {
    let mut report = Report::default();
    report.entry(error, name, gateway, login);
    TestReport { ok: false, server_version: None, clock_ahead: None, checks: report.checks }
}

impl Report {
    /// The steps of a login in their order, up to the one that failed.
    fn entry(&mut self, error: &SqlError, name: &str, gateway: &str, login: &Login) {
        let found = Some(error.to_string());
        let reached = format!("the server is reached through the gateway {gateway}");
        if matches!(error, SqlError::Unreachable(_) | SqlError::Interrupted(_)) {
            let remedy = format!(
                "see that the gateway is healthy, reaches the server, and allows it: adit gateways show {gateway}"
            );
            return self.check(reached, false, found, remedy);
        }
        self.check(reached, true, None, "");
        if matches!(error, SqlError::Tls(_)) {
            let remedy = format!(
                "change what is wrong on the server, or here: adit databases change {name} --tls MODE --server-ca FILE"
            );
            return self.check("TLS with the server comes about", false, found, remedy);
        }
        let (user, dbname) = (identifier(&login.user), identifier(&login.dbname));
        let may_log_in = format!("the user {:?} may log in", login.user);
        let SqlError::Refused { code, .. } = error else {
            let remedy = format!(
                "ALTER ROLE {user} LOGIN PASSWORD '…'; and let it in by pg_hba.conf on the server. Tell the platform: \
                 adit databases change {name} --admin-user {} --admin-password-file FILE",
                login.user
            );
            return self.check(may_log_in, false, found, remedy);
        };
        self.check(may_log_in, true, None, "");
        match code.as_str() {
            NO_DATABASE => {
                let remedy = format!("CREATE DATABASE {dbname}; or name another one that is there");
                self.check(format!("the database {:?} is there", login.dbname), false, found, remedy);
            }
            NO_RIGHT => {
                let remedy = format!("GRANT CONNECT ON DATABASE {dbname} TO {user};");
                self.check(
                    format!("it may connect to the database {:?}", login.dbname),
                    false,
                    found,
                    remedy,
                );
            }
            _ => {
                let remedy = "do what the server says";
                self.check(format!("it may use the database {:?}", login.dbname), false, found, remedy);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::TlsMode;

    fn failing(error: &SqlError) -> (usize, String) {
        let login = Login {
            host: "db".to_owned(),
            tls: TlsMode::Disable,
            ca: String::new(),
            user: "adit".to_owned(),
            password: "s3cret".to_owned().into(),
            dbname: "a \"b\"".to_owned(),
        };
        let report = shut_out(error, "main", "gw", &login);
        assert!(!report.ok && !format!("{report:?}").contains("s3cret"));
        let (last, before) = report.checks.split_last().unwrap();
        assert!(!last.ok && last.found.is_some() && before.iter().all(|check| check.ok));
        (before.len(), last.remedy.clone().unwrap())
    }

    #[test]
    fn the_first_step_that_fails_is_the_last_one_and_says_what_to_do() {
        let refused = |code: &str| SqlError::Refused { code: code.to_owned(), message: "no".to_owned() };
        let (before, remedy) = failing(&SqlError::Unreachable("no gateway".to_owned()));
        assert!(before == 0 && remedy.contains("adit gateways show gw"), "{remedy}");
        let (before, remedy) = failing(&SqlError::Tls("unknown issuer".to_owned()));
        assert!(before == 1 && remedy.contains("--tls"), "{remedy}");
        let login = SqlError::Login { user: "adit".to_owned(), message: "no".to_owned() };
        let (before, remedy) = failing(&login);
        assert!(before == 1 && remedy.contains("change main --admin-user adit"), "{remedy}");
        assert_eq!(failing(&refused("3D000")).0, 2);
        assert!(failing(&refused("3D000")).1.starts_with("CREATE DATABASE \"a \"\"b\"\"\";"));
        assert_eq!(failing(&refused("42501")).1, "GRANT CONNECT ON DATABASE \"a \"\"b\"\"\" TO \"adit\";");
        assert_eq!(failing(&refused("0A000")), (2, "do what the server says".to_owned()));
    }
}
