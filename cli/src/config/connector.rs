//! `connector.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use adit_core::pki::{Name, Office, TrustDomain};
use serde::Deserialize;

use super::identity::{Identity, IdentityToml, Names};
use super::toml_file::{self, Text};
use crate::addresses;
use crate::exit::Failure;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct ConnectorToml {
    gateway_id: Text<Name>,
    organisation: Option<Text<Name>>,
    trust_domain: Option<Text<TrustDomain>>,
    addresses: Option<Vec<Text<Address>>>,
    address_file: Option<PathBuf>,
    identity: IdentityToml,
}

/// An address that a gateway can be reached at.
#[derive(Debug)]
struct Address(SocketAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = addresses::parse(text)?;
        if address.port() == 0 || address.ip().is_unspecified() {
            return Err(format!("nobody can be reached at `{text}`"));
        }
        Ok(Self(address))
    }
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
        file.load(path.parent().unwrap_or(Path::new(""))).map_err(|failure| failure.within(path))
    }
}

impl ConnectorToml {
    /// Reads the files that it names, whose paths are relative to `base`.
    fn load(self, base: &Path) -> Result<ConnectorFile, Failure> {
        let names = Names { organisation: self.organisation, trust_domain: self.trust_domain };
        Ok(ConnectorFile {
            gateway: self.gateway_id.0,
            addresses: place(base, self.addresses, self.address_file)?,
            identity: self.identity.load(base, names, Office::Connector)?,
        })
    }
}

fn place(
    base: &Path,
    fixed: Option<Vec<Text<Address>>>,
    file: Option<PathBuf>,
) -> Result<Addresses, Failure> {
    match (fixed, file) {
        (Some(fixed), None) if !fixed.is_empty() => {
            Ok(Addresses::Fixed(fixed.into_iter().map(|Text(Address(address))| address).collect()))
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
