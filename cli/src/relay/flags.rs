//! The flags of `adit relay start`, named as coturn names them where it has them, and the file beside them.

use std::path::{Path, PathBuf};

use clap::Args;

use super::settings::Settings;
use crate::config::toml_file;
use crate::exit::{Exit, Failure};

/// The file that is read where none is named, if it is there.
const CONFIG: &str = "/etc/adit/relay.toml";

/// Start the relay.
///
/// With --domain the platform says who may use the relay: the token is exchanged once for an identity whose key never
/// leaves this machine; afterwards the relay starts without token, and from what it has kept while the platform is
/// away. The realm comes from the platform too.
///
/// Without, clients authenticate with time-limited credentials that were made from a shared secret (as coturn's
/// --use-auth-secret), or as users with a password. Peers are denied when they are private, loopback,
/// link-local, multicast or otherwise special, however the address is written, unless --allowed-peer-ip names
/// them.
///
/// Every flag is also a key of the file, without the dashes in front: `listen = ["192.0.2.1:3478"]`. A flag beats an
/// environment variable, which beats the file.
#[derive(Debug, Clone, Args)]
#[command(after_help = r#"Examples:
  adit relay start --domain https://adit.example.com --token-file token --external-ip 203.0.113.7
  adit relay start --static-auth-secret-file secret --external-ip 203.0.113.7
  adit relay start --listen 127.0.0.1:3478 --user-file gw:password --allowed-peer-ip 127.0.0.1
  adit relay start --listen 192.0.2.1:3478 --listen '[2001:db8::1]:3478' --static-auth-secret-file secret
  adit relay start --static-auth-secret-file secret --tls-cert relay.pem --tls-key relay.key
  adit relay start --config /etc/adit/relay.toml

A file:
  listen = ["192.0.2.1:3478", "[2001:db8::1]:3478"]
  realm = "example.org"
  static-auth-secret-file = "secret"     # relative to the file
  denied-peer-ip = ["198.51.100.0/24"]

Open UDP and TCP for the listening ports, and for --min-port to --max-port: UDP, and TCP unless --max-connections is 0. Nothing needs to be opened at gateways."#)]
pub(crate) struct Start {
    /// The relay's file [default: /etc/adit/relay.toml, if it is there].
    #[arg(long, value_name = "FILE", env = "ADIT_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    given: Settings,
}

impl Start {
    /// The settings from flags, environment and file.
    ///
    /// # Errors
    /// When they don't go together, or let nobody in.
    pub(super) fn settings(&self) -> Result<Settings, Failure> {
        let settings = self.given.clone().or(self.file()?);
        settings.judge().map_err(|what| Failure::new(Exit::Usage, what))?;
        if settings.domain.is_none() && !settings.lets_somebody_in() {
            return Err(Failure::new(Exit::Usage, "nobody may use the relay").next(
                "let clients in with --static-auth-secret-file, --user-file or --users-file, or name a platform with \
                 --domain",
            ));
        }
        let needless =
            settings.token_file.as_ref().or(settings.ca_file.as_ref()).or(settings.state_dir.as_ref());
        if settings.domain.is_none() && needless.is_some() {
            let what = "--token-file, --ca-file and --state-dir are for a relay with a platform";
            return Err(
                Failure::new(Exit::Usage, what).next("name the platform with --domain, or leave them out")
            );
        }
        Ok(settings)
    }

    fn file(&self) -> Result<Settings, Failure> {
        let default = Path::new(CONFIG);
        match &self.config {
            Some(path) => Settings::parse(path, &toml_file::read(path)?),
            None if default.exists() => Settings::parse(default, &toml_file::read(default)?),
            None => Ok(Settings::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        start: Start,
    }

    fn settings(arguments: &[&str]) -> Result<Settings, Failure> {
        Line::try_parse_from(["relay"].iter().chain(arguments)).unwrap().start.settings()
    }

    #[test]
    fn someone_must_be_allowed_in() {
        assert_eq!(settings(&[]).unwrap_err().exit, Exit::Usage);
        assert!(Line::try_parse_from(["relay", "--user", "nobody"]).is_err());
        assert!(settings(&["--static-auth-secret", "s"]).is_ok());
        assert!(settings(&["--domain", "a.example", "--listen", "127.0.0.1:0"]).is_ok());
    }

    #[test]
    fn the_platform_and_secrets_of_ones_own_do_not_go_together() {
        assert_eq!(settings(&["--domain", "a.example", "--user", "u:p"]).unwrap_err().exit, Exit::Usage);
        assert_eq!(settings(&["--user", "u:p", "--token-file", "t"]).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn a_flag_beats_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("relay.toml");
        std::fs::write(
            &path,
            "user = ['ada:wonder']\nrealm = 'file'\nallow-relayed-peers = true\nmin-port = 3000",
        )
        .unwrap();
        let file = ["--config", path.to_str().unwrap()];
        let found = settings(&file).unwrap();
        assert_eq!((found.realm(), found.allow_relayed_peers), ("file", Some(true)));
        let found = settings(&[file[0], file[1], "--realm", "flag", "--allow-relayed-peers=false"]).unwrap();
        assert_eq!((found.realm(), found.allow_relayed_peers), ("flag", Some(false)));
        let failure = settings(&[file[0], file[1], "--max-port", "2000"]).unwrap_err();
        assert_eq!(
            (failure.exit, failure.what.as_str()),
            (Exit::Usage, "min-port 3000 lies above max-port 2000")
        );
        let failure = settings(&["--config", "/nowhere/relay.toml"]).unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
    }
}
