//! `adit relay import-coturn`: a coturn's configuration as a relay's file.
//!
//! 1. [`conf`] reads the lines as coturn does.
//! 2. [`translate`] says which key of ours each one is, what it needs no key for, and what has no counterpart.
//! 3. [`ranges`] turns coturn's ranges of peers, in which what is allowed wins, into networks, in which what is denied does.
//!
//! Secrets and passwords go to files of their own beside the output, which only their owner may read.

mod conf;
mod ranges;
mod translate;

use std::path::{Path, PathBuf};

use clap::Args;

use super::settings::Settings;
use crate::exit::Failure;
use crate::files;
use crate::service::say;
use translate::Translation;

/// Turn a coturn's configuration into a relay's file.
///
/// Each setting stands under a comment with the line that it was made from. What has no counterpart is listed at the end
/// and on standard error, with the reason. Secrets and passwords go to files beside the output that only their owner may
/// read. Nothing is overwritten.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  adit relay import-coturn /etc/turnserver.conf --output /etc/adit/relay.toml")]
pub(crate) struct ImportCoturn {
    /// coturn's file.
    file: PathBuf,
    /// Where the relay's file is to stand.
    #[arg(long, value_name = "FILE", default_value = "relay.toml")]
    output: PathBuf,
}

impl ImportCoturn {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let text = files::read(&self.file, "coturn's configuration")?;
        let found = conf::read(&String::from_utf8_lossy(&text));
        let stem = self.output.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let made = Translation::of(&found, &stem);
        let text = made.text(&self.file.display().to_string());
        // What was made here and can't be read here would be our mistake; better told now than at the start.
        let settings = Settings::parse(&self.output, &text)?;
        let directory = self.output.parent().unwrap_or(Path::new(""));
        let secrets: Vec<_> =
            made.secrets().iter().map(|(name, contents)| (directory.join(name), contents)).collect();
        secrets
            .iter()
            .map(|(path, _)| path)
            .chain([&self.output])
            .try_for_each(|path| files::must_be_absent(path))?;
        for (path, contents) in &secrets {
            files::create(path, contents, files::SECRET)?;
        }
        files::create(&self.output, &text, files::PUBLIC)?;
        made.tell();
        for (path, _) in &secrets {
            say(format_args!("{} holds secrets", path.display()));
        }
        say(format_args!("{} is the relay's file", self.output.display()));
        if !settings.lets_somebody_in() {
            tracing::warn!("it lets nobody in: coturn's file names no user and no secret");
        }
        say(format_args!(
            " next: adit config check {0}; adit relay start --config {0}",
            self.output.display()
        ));
        Ok(())
    }
}
