//! The flags that both agents have.

use std::path::PathBuf;

use adit_platform::client::Domain;
use clap::Args;

/// Where the platform is and how it is known.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "With a platform")]
pub(crate) struct Platform {
    /// The platform: a host name, or a URL that begins with `https://`. It says everything else: relays, certificates,
    /// whom to trust.
    #[arg(long, value_name = "URL", env = "ADIT_DOMAIN")]
    pub(crate) domain: Option<Domain>,
    /// The file with the enrolment token. It is needed once; afterwards the state directory has a key instead.
    #[arg(long, value_name = "FILE", env = "ADIT_TOKEN_FILE", requires = "domain")]
    pub(crate) token_file: Option<PathBuf>,
    /// The authority of the platform's certificate, PEM, where that is neither public nor named by the token.
    #[arg(long, value_name = "FILE", env = "ADIT_CA_FILE", requires = "domain")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Where the key, the certificate and the last instructions are kept [default: $STATE_DIRECTORY, or a directory
    /// of its own below /var/lib/adit].
    #[arg(long, value_name = "DIR", env = "ADIT_STATE_DIR", requires = "domain")]
    pub(crate) state_dir: Option<PathBuf>,
}

impl Platform {
    /// The state directory; `/var/lib/adit/<part>` where nothing else is said.
    pub(super) fn state_dir(&self, part: &str) -> PathBuf {
        if let Some(directory) = &self.state_dir {
            return directory.clone();
        }
        // systemd names several, with colons between them.
        let given = std::env::var_os("STATE_DIRECTORY").filter(|value| !value.is_empty());
        let first = given.and_then(|value| std::env::split_paths(&value).next());
        first.unwrap_or_else(|| PathBuf::from("/var/lib/adit").join(part))
    }
}
