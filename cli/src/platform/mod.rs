//! `adit platform`: the control plane, from its first minute to its backups.

mod backup;
mod database;
mod first;
mod init;
mod instances;
mod start;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::exit::{Exit, Failure};
use adit_platform::store::{OpenError, StoreError};
use database::Database;

/// Run the control plane: identities, gateways, relays, certificates, audit.
#[derive(Debug, Subcommand)]
#[command(after_help = "From an empty directory:
  adit platform init --dir platform --public-url https://platform.example:8443 --tokens-dir .
  adit platform start --dir platform
  adit login --domain platform.example:8443 --token-file admin.token")]
pub(crate) enum Platform {
    Init(init::Init),
    Start(start::Start),
    Rekey(backup::Rekey),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Instances(instances::Instances),
}

pub(crate) fn run(platform: Platform) -> Result<(), Failure> {
    match platform {
        Platform::Init(flags) => init::run(&flags),
        Platform::Start(flags) => start::run(flags),
        Platform::Rekey(flags) => backup::rekey(&flags),
        Platform::Backup(flags) => backup::backup(&flags),
        Platform::Restore(flags) => backup::restore(&flags),
        Platform::Instances(flags) => instances::run(&flags),
    }
}

/// Where a platform instance has its keys and its data.
#[derive(Debug, Clone, Args)]
struct Place {
    /// The directory of this platform instance: root keys, and the embedded database where no other is named.
    #[arg(long, value_name = "DIR", env = "ADIT_PLATFORM_DIR", default_value = "/var/lib/adit/platform")]
    dir: PathBuf,
    #[command(flatten)]
    database: Database,
}

impl Place {
    fn home(&self) -> Result<adit_platform::home::Home, Failure> {
        Ok(adit_platform::home::Home::new(&self.dir, self.database.url()?.as_ref()))
    }
}

/// Why a store is not opened.
fn not_opened(error: &OpenError) -> Failure {
    let failure = Failure::new(Exit::Other, error);
    match error {
        OpenError::Store(error) => store(error),
        OpenError::RootKeys(_) => Failure { exit: Exit::Config, ..failure },
        _ => failure,
    }
}

fn store(error: &StoreError) -> Failure {
    Failure::new(Exit::Other, error)
        .next("is the database there, and is --database or --database-file right?")
}
