//! `gateway.toml`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use adit_core::gateway::{TargetPolicy, TargetRule};
use adit_core::pki::{Name, Office, TrustDomain};
use serde::Deserialize;

use super::identity::{Identity, IdentityToml, Names};
use super::relays::{self, Relay, RelayToml};
use super::toml_file::{self, Text};
use crate::exit::Failure;
use crate::files;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct GatewayToml {
    relays: Vec<RelayToml>,
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
    permit: Vec<Text<Peer>>,
}

/// An address that connectors come from.
#[derive(Debug)]
struct Peer(IpAddr);

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<IpAddr>() {
            Ok(ip) if !ip.is_unspecified() => Ok(Self(ip)),
            // A permission names one address (RFC 8656 §9).
            _ => Err(format!(
                "`{text}` is not one IP address: peers are permitted singly, without port or network"
            )),
        }
    }
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
    pub(crate) relays: Vec<Relay>,
    pub(crate) credentials: RelayCredentials,
    pub(crate) identity: Identity,
    /// The connectors' addresses that the relay is to let through.
    pub(crate) permit: Vec<IpAddr>,
    /// The only targets that connectors may open.
    pub(crate) targets: TargetPolicy,
    /// What was noticed that is no mistake yet, besides what [`Identity`] has.
    warnings: Vec<String>,
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
        file.load(path.parent().unwrap_or(Path::new(""))).map_err(|failure| failure.within(path))
    }

    /// Logs what was noticed that is no mistake yet.
    pub(crate) fn log_warnings(&self) {
        for warning in self.warnings() {
            tracing::warn!("{warning}");
        }
    }

    pub(super) fn warnings(&self) -> impl Iterator<Item = &String> {
        self.identity.warnings.iter().chain(&self.warnings)
    }
}

impl GatewayToml {
    /// Reads the files that it names, whose paths are relative to `base`.
    fn load(self, base: &Path) -> Result<GatewayFile, Failure> {
        let names = Names { organisation: self.organisation, trust_domain: self.trust_domain };
        let mut warnings = Vec::new();
        if self.peers.permit.is_empty() {
            warnings.push("[peers] permit is empty: the relay will let no connector through".into());
        }
        if self.targets.allow.is_empty() {
            warnings.push("[targets] allow is empty: every target will be denied".into());
        }
        Ok(GatewayFile {
            relays: relays::load(self.relays, base)?,
            credentials: self.credentials.load(base)?,
            identity: self.identity.load(base, names, Office::Gateway)?,
            permit: self.peers.permit.into_iter().map(|Text(Peer(ip))| ip).collect(),
            warnings,
            rules: self.targets.allow.iter().map(|Text(rule)| rule.to_string()).collect(),
            targets: TargetPolicy::new(self.targets.allow.into_iter().map(|Text(rule)| rule).collect()),
            address_file: self.status.address_file.map(|name| writable(base.join(name))).transpose()?,
        })
    }
}

/// `path`, if a file can stand there.
fn writable(path: PathBuf) -> Result<PathBuf, Failure> {
    let in_a_directory = match path.parent() {
        Some(parent) => parent.as_os_str().is_empty() || parent.is_dir(),
        None => false,
    };
    if in_a_directory && !path.as_os_str().is_empty() && !path.is_dir() {
        return Ok(path);
    }
    Err(Failure::config(format!(
        "the address-file {:?} is no file in a directory that exists",
        path.display()
    ))
    .next("make the directory, for instance with StateDirectory= under systemd, or name another file"))
}

impl CredentialsToml {
    fn load(self, base: &Path) -> Result<RelayCredentials, Failure> {
        let Self { username, password, password_file, static_auth_secret_file } = self;
        if username.as_deref() == Some("") || password.as_deref() == Some("") {
            return Err(Failure::config("[credentials] username and password may not be empty"));
        }
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
