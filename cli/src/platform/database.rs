//! Where the platform's data are.

use std::path::PathBuf;

use adit_platform::config::DatabaseUrl;
use clap::Args;
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::files;

/// `--database` or `--database-file`.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
pub(super) struct Database {
    /// A PostgreSQL that several platform instances can share, as postgres://user@host/database. Without it, the
    /// embedded database in --dir. A password does not belong here, where others on this machine may see it.
    #[arg(long, value_name = "URL", value_parser = parse)]
    database: Option<DatabaseUrl>,
    /// A file whose first line is that URL, with a password where one is needed.
    #[arg(long, value_name = "FILE", env = "ADIT_DATABASE_FILE")]
    database_file: Option<PathBuf>,
}

impl Database {
    /// The URL; `None` for the embedded database.
    pub(super) fn url(&self) -> Result<Option<DatabaseUrl>, Failure> {
        if let Some(url) = &self.database {
            if has_password(&url.0) {
                tracing::warn!(
                    "the database's password stands in the list of processes: use --database-file"
                );
            }
            return Ok(Some(url.clone()));
        }
        let Some(path) = &self.database_file else { return Ok(None) };
        let text = Zeroizing::new(files::read_secret(path, "the database's URL")?);
        let url = parse(&text).map_err(|error| Failure::new(Exit::Config, error).within(path))?;
        Ok(Some(url))
    }

    /// The flags that lead to the same database, for the next command.
    pub(super) fn flags(&self) -> String {
        match (&self.database, &self.database_file) {
            (Some(_), _) => " --database URL".into(),
            (None, Some(path)) => format!(" --database-file {}", path.display()),
            (None, None) => String::new(),
        }
    }
}

fn parse(text: &str) -> Result<DatabaseUrl, String> {
    match text.starts_with("postgres://") || text.starts_with("postgresql://") {
        true => Ok(DatabaseUrl(text.to_owned())),
        // What it is instead may hold a password: it is not repeated.
        false => Err("a database is named as postgres://user@host/database".into()),
    }
}

fn has_password(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    user.contains(':') || url.contains("password=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_noticed() {
        for url in ["postgres://u:p@h/d", "postgres://u:p@h:1/d", "postgres://h/d?user=u&password=p"] {
            assert!(has_password(url), "{url}");
        }
        for url in ["postgres://u@h:5432/d", "postgres:///d?host=/run", "postgres://h:1/d"] {
            assert!(!has_password(url), "{url}");
        }
    }

    #[test]
    fn what_is_no_database_is_not_repeated() {
        assert!(!parse("mysql://root:hunter2@h").unwrap_err().contains("hunter2"));
    }
}
