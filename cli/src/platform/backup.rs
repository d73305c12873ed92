//! `adit platform backup | restore | rekey`: the platform's data and keys.

use std::path::PathBuf;

use adit_platform::backup::{self as platform, BackupError};
use adit_platform::clock::Clock;
use adit_platform::store::rekey as keys;
use clap::Args;

use super::{Place, not_opened};
use crate::exit::{Exit, Failure};
use crate::service::{self, say};

/// Write a consistent copy of the platform's data to a file, while it runs.
///
/// The copy restores into either kind of database. The root keys are not in it: keep root-keys apart from backups.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  adit platform backup /backup/adit.ndjson")]
pub(crate) struct Backup {
    #[command(flatten)]
    place: Place,
    /// The file, which is not there yet.
    file: PathBuf,
}

/// Restore a copy into a directory or a database that holds no platform yet.
///
/// Put the root-keys file into --dir first. What was revoked since the copy was made is good again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  adit platform restore --dir new /backup/adit.ndjson")]
pub(crate) struct Restore {
    #[command(flatten)]
    place: Place,
    /// The file that `adit platform backup` has written.
    file: PathBuf,
}

/// Make a new root key, and seal the platform's own keys with it.
///
/// Platform instances that run go on. Copy the root-keys file to the other instances, and to its safe place, before
/// they start again.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  adit platform rekey --dir platform\n  adit platform rekey --dir platform --forget-old"
)]
pub(crate) struct Rekey {
    #[command(flatten)]
    place: Place,
    /// Take the old root keys out of the file instead, once every instance has the new one. Backups that were made
    /// before the new key need the old ones: keep a copy for as long as those.
    #[arg(long)]
    forget_old: bool,
}

pub(crate) fn backup(flags: &Backup) -> Result<(), Failure> {
    service::block_on(async {
        let home = flags.place.home()?;
        let store = home.open_beside(Clock::system()).await.map_err(|error| not_opened(&error))?;
        let rows = platform::backup(&store, &flags.file).await.map_err(|error| failed(&error))?;
        store.close().await;
        say(format_args!(
            "wrote {rows} rows to {}\n keep it apart from {}, without which it can't be read",
            flags.file.display(),
            home.root_key_file().display()
        ));
        Ok(())
    })
}

pub(crate) fn restore(flags: &Restore) -> Result<(), Failure> {
    service::block_on(async {
        let home = flags.place.home()?;
        let restored = platform::restore(&home, &flags.file, Clock::system()).await;
        let head = restored.map_err(|error| failed(&error))?;
        say(format_args!(
            "restored the installation {} into {}\n next: adit platform start --dir {1}{}",
            head.installation,
            flags.place.dir.display(),
            flags.place.database.flags()
        ));
        Ok(())
    })
}

pub(crate) fn rekey(flags: &Rekey) -> Result<(), Failure> {
    service::block_on(async {
        let home = flags.place.home()?;
        let dir = flags.place.dir.display();
        if flags.forget_old {
            let count = keys::forget_old(&home, Clock::system()).await.map_err(|error| not_opened(&error))?;
            say(format_args!("{count} old root keys are forgotten"));
            return Ok(());
        }
        let done = keys::rekey(&home, Clock::system()).await.map_err(|error| not_opened(&error))?;
        say(format_args!(
            "{} keys are sealed with the new root key {}\n copy {} to every platform instance and to its safe place\n \
             next: adit platform rekey --dir {dir} --forget-old",
            done.data_keys,
            done.root_key,
            home.root_key_file().display()
        ));
        Ok(())
    })
}

fn failed(error: &BackupError) -> Failure {
    match error {
        BackupError::Open(error) => not_opened(error),
        other => Failure::new(Exit::Other, other),
    }
}
