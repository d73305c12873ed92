//! The file that `adit login` writes.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use adit_platform::client::Domain;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::exit::{Exit, Failure};
use crate::files;

/// A platform, how it is known, and the token for it.
#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    /// The platform's URL.
    pub(super) url: String,
    /// Its authority, PEM; public ones where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ca: Option<String>,
    /// The token.
    #[serde(with = "secret")]
    pub(super) token: Zeroizing<String>,
}

impl Stored {
    /// What the last login has left, if there is something.
    pub(super) fn load() -> Result<Option<Self>, Failure> {
        let Some(path) = path() else { return Ok(None) };
        if !path.exists() {
            return Ok(None);
        }
        let text = Zeroizing::new(files::read(&path, "the login")?);
        if let Some(warning) = files::exposed(&path, "the login") {
            tracing::warn!("{warning}");
        }
        serde_json::from_slice(&text).map(Some).map_err(|error| damaged(&path, &error.to_string()))
    }

    /// Keeps it, and nothing of a login before.
    pub(super) fn save(&self) -> Result<(), Failure> {
        let path = path().ok_or_else(|| {
            Failure::new(
                Exit::Other,
                "there is no place for the login: neither HOME nor XDG_CONFIG_HOME is set",
            )
            .next("set ADIT_CONFIG_DIR to a directory")
        })?;
        let directory = path.parent().expect("the file is in a directory");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(|error| {
            Failure::new(Exit::Other, format!("{} can't be made: {error}", directory.display()))
        })?;
        let text = Zeroizing::new(serde_json::to_string_pretty(self).expect("strings become JSON"));
        files::replace(&path, &text, files::SECRET)
    }

    /// Removes it. Whether there was anything.
    pub(super) fn forget() -> Result<bool, Failure> {
        let Some(path) = path() else { return Ok(false) };
        match std::fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => {
                Err(Failure::new(Exit::Other, format!("{} can't be removed: {error}", path.display())))
            }
        }
    }

    pub(super) fn domain(&self) -> Result<Domain, Failure> {
        self.url.parse().map_err(|error| damaged(&path().unwrap_or_default(), &format!("{error}")))
    }
}

fn damaged(path: &std::path::Path, why: &str) -> Failure {
    Failure::config(format!("{} is damaged: {why}", path.display()))
        .next("log in again: adit login --domain URL")
}

/// `$ADIT_CONFIG_DIR/login.json`, or the place of a user's configuration (XDG Base Directory).
fn path() -> Option<PathBuf> {
    let directory = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = directory("ADIT_CONFIG_DIR");
    let xdg = || Some(directory("XDG_CONFIG_HOME").filter(|path| path.is_absolute())?.join("adit"));
    let home = || Some(directory("HOME")?.join(".config/adit"));
    Some(own.or_else(xdg).or_else(home)?.join("login.json"))
}

/// A string that is wiped from memory.
mod secret {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(text: &Zeroizing<String>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Zeroizing<String>, D::Error> {
        String::deserialize(from).map(Zeroizing::new)
    }
}
