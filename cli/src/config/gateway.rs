//! `gateway.toml`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use adit_core::gateway::{TargetPolicy, TargetRule};
use adit_core::pki::{Name, Office, TrustDomain};
use adit_core::turn::uri::RelayUri;
use serde::Deserialize;

use super::identity::{Identity, IdentityToml, Names};
use super::toml_file::{self, Text};
use crate::exit::Failure;
use crate::files;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct GatewayToml {
    relays: Vec<Text<RelayUri>>,
    organisation: Option<Text<Name>>,
    trust_domain: Option<Text<TrustDomain>>,
    credentials: CredentialsToml,
    identity: IdentityToml,
    #[serde(default)]
    peers: PeersToml,
    #[serde(default)]
    targets: TargetsToml,
    #[serde(default)]
    status: StatusToml,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct CredentialsToml {
    username: Option<String>,
    password: Option<String>,
    password_file: Option<PathBuf>,
    static_auth_secret_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PeersToml {
    #[serde(default)]
    permit: Vec<Text<IpAddr>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TargetsToml {
    #[serde(default)]
    allow: Vec<Text<TargetRule>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StatusToml {
    address_file: Option<PathBuf>,
}

/// What a gateway's file and the files that it names say.
#[derive(Debug)]
pub(crate) struct GatewayFile {
    pub(crate) relays: Vec<RelayUri>,
    pub(crate) credentials: RelayCredentials,
    pub(crate) identity: Identity,
    /// The connectors' addresses that the relay is to let through.
    pub(crate) permit: Vec<IpAddr>,
    /// The only targets that connectors may open.
    pub(crate) targets: TargetPolicy,
    /// The same as texts.
    pub(super) rules: Vec<String>,
    pub(crate) address_file: Option<PathBuf>,
}

/// How the gateway shows itself to relays.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum RelayCredentials {
    /// A user of the relay.
    User { username: String, password: String },
    /// The relay's secret, from which time-limited credentials are made.
    Secret(String),
}

impl std::fmt::Debug for RelayCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::User { .. } => "User",
            Self::Secret(_) => "Secret",
        })
    }
}

impl GatewayFile {
    /// Reads `path` and all files that it names.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        Self::parse(path, &toml_file::read(path)?)
    }

    /// The gateway's name, as its certificate has it.
    pub(crate) fn name(&self) -> &Name {
        self.identity.own.identity().role.name()
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let file: GatewayToml = toml_file::parse(path, text)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let names = Names { organisation: file.organisation, trust_domain: file.trust_domain };
        Ok(Self {
            relays: relays(file.relays)?,
            credentials: file.credentials.load(base)?,
            identity: file.identity.load(base, names, Office::Gateway)?,
            permit: file.peers.permit.into_iter().map(|Text(ip)| ip).collect(),
            rules: file.targets.allow.iter().map(|Text(rule)| rule.to_string()).collect(),
            targets: TargetPolicy::new(file.targets.allow.into_iter().map(|Text(rule)| rule).collect()),
            address_file: file.status.address_file.map(|name| base.join(name)),
        })
    }
}

fn relays(relays: Vec<Text<RelayUri>>) -> Result<Vec<RelayUri>, Failure> {
    if relays.is_empty() {
        return Err(Failure::config("relays is empty, so the gateway could be reached nowhere")
            .next("name one: relays = [\"turn:relay.example:3478?transport=udp\"]"));
    }
    for Text(relay) in &relays {
        relay.spoken().map_err(|error| Failure::config(format!("{relay}: {error}")))?;
    }
    Ok(relays.into_iter().map(|Text(relay)| relay).collect())
}

impl CredentialsToml {
    fn load(self, base: &Path) -> Result<RelayCredentials, Failure> {
        let Self { username, password, password_file, static_auth_secret_file } = self;
        match (username, password, password_file, static_auth_secret_file) {
            (None, None, None, Some(name)) => {
                files::read_secret(&base.join(name), "the relay's secret").map(RelayCredentials::Secret)
            }
            (Some(username), Some(password), None, None) => Ok(RelayCredentials::User { username, password }),
            (Some(username), None, Some(name), None) => {
                let password = files::read_secret(&base.join(name), "the password")?;
                Ok(RelayCredentials::User { username, password })
            }
            _ => Err(Failure::config(
                "[credentials] needs either static-auth-secret-file, or username and one of password and \
                 password-file",
            )
            .next("use static-auth-secret-file when the relay was started with --static-auth-secret-file")),
        }
    }
}
