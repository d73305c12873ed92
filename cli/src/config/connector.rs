//! `connector.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use adit_core::pki::{Name, Office, TrustDomain};
use serde::Deserialize;

use super::identity::{Identity, IdentityToml, Names};
use super::toml_file::{self, Text};
use crate::exit::Failure;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ConnectorToml {
    gateway_id: Text<Name>,
    organisation: Option<Text<Name>>,
    trust_domain: Option<Text<TrustDomain>>,
    addresses: Option<Vec<Text<SocketAddr>>>,
    address_file: Option<PathBuf>,
    identity: IdentityToml,
}

/// What a connector's file and the files that it names say.
#[derive(Debug)]
pub(crate) struct ConnectorFile {
    /// The gateway that is to be reached.
    pub(crate) gateway: Name,
    pub(crate) addresses: Addresses,
    pub(crate) identity: Identity,
}

/// Where the gateway's relayed addresses are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Addresses {
    /// They stand in the file.
    Fixed(Vec<SocketAddr>),
    /// They stand in another file, which the gateway rewrites at every change.
    File(PathBuf),
}

impl ConnectorFile {
    /// Reads `path` and the files that it names; not the address file, which may come into being later.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        Self::parse(path, &toml_file::read(path)?)
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let file: ConnectorToml = toml_file::parse(path, text)?;
        let base = path.parent().unwrap_or(Path::new(""));
        let names = Names { organisation: file.organisation, trust_domain: file.trust_domain };
        Ok(Self {
            gateway: file.gateway_id.0,
            addresses: addresses(base, file.addresses, file.address_file)?,
            identity: file.identity.load(base, names, Office::Connector)?,
        })
    }
}

fn addresses(
    base: &Path,
    fixed: Option<Vec<Text<SocketAddr>>>,
    file: Option<PathBuf>,
) -> Result<Addresses, Failure> {
    match (fixed, file) {
        (Some(fixed), None) if !fixed.is_empty() => {
            Ok(Addresses::Fixed(fixed.into_iter().map(|Text(address)| address).collect()))
        }
        (None, Some(name)) => Ok(Addresses::File(base.join(name))),
        (Some(_), None) => {
            Err(Failure::config("addresses is empty, so the gateway could be reached nowhere"))
        }
        _ => Err(Failure::config("exactly one of addresses and address-file must be there").next(
            "use address-file when the gateway's file has one too, and addresses when they never change",
        )),
    }
}
