//! The files of a gateway and a connector, and `adit config`. A relay's file stands with its flags.
//!
//! 1. [`toml_file`] reads the text: unknown keys, wrong types and bad values are errors with their line.
//! 2. [`gateway`] and [`connector`] say which keys there are and turn them into what the machines need.
//!    [`relays`] reads where relays are and by what they are known.
//! 3. [`identity`] reads certificates and keys and checks that they fit each other and the file.
//! 4. [`check`] says all of it for people.

mod check;
mod connector;
mod gateway;
mod identity;
mod relays;
mod targets;
pub(crate) mod toml_file;

use std::path::PathBuf;

use clap::Subcommand;

use crate::exit::Failure;

pub(crate) use connector::{Addresses, ConnectorFile};
pub(crate) use gateway::{GatewayFile, RelayCredentials};
pub(crate) use relays::Relay;
pub(crate) use targets::TargetsFile;

/// Look at configuration files.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Check a relay's, gateway's or connector's file without starting anything.
    ///
    /// Reads the file and all files that it names, checks that keys belong to their certificates and that
    /// names, roles and dates are right, and prints what it found. The exit status tells programs.
    #[command(
        after_help = "Examples:\n  adit config check /etc/adit/gateway.toml\n  adit config check /etc/adit/relay.toml"
    )]
    Check {
        /// The file.
        file: PathBuf,
    },
}

pub(crate) fn run(config: Config) -> Result<(), Failure> {
    match config {
        Config::Check { file } => check::run(&file),
    }
}
