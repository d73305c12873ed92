//! Files: read with an error that names them, written so that nobody sees half of one.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use crate::exit::{Exit, Failure};

/// Readable by everyone.
pub(crate) const PUBLIC: u32 = 0o644;
/// Readable by its owner only.
pub(crate) const SECRET: u32 = 0o600;

/// The contents of `path`, which is `role` ("the key", "the configuration").
pub(crate) fn read(path: &Path, role: &str) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| {
        let failure = Failure::config(format!("{role} {} can't be read: {error}", path.display()));
        match error.kind() {
            ErrorKind::NotFound => failure
                .next("check the path; one that stands in a configuration file is relative to that file"),
            ErrorKind::PermissionDenied => failure.next("run as a user who may read it, or change its owner"),
            _ => failure,
        }
    })
}

/// The private key in `path`. Where others may read it too, that is logged.
pub(crate) fn read_key(path: &Path, role: &str) -> Result<Vec<u8>, Failure> {
    let key = read(path, role)?;
    if let Some(warning) = exposed(path, role) {
        tracing::warn!("{warning}");
    }
    Ok(key)
}

/// The secret in `path`: its first line without the line break. Where others may read it too, that is logged.
pub(crate) fn read_secret(path: &Path, role: &str) -> Result<String, Failure> {
    let text = String::from_utf8(read(path, role)?)
        .map_err(|_| Failure::config(format!("{role} {} is no text", path.display())))?;
    if let Some(warning) = exposed(path, role) {
        tracing::warn!("{warning}");
    }
    match text.lines().next().map(str::trim) {
        Some(secret) if !secret.is_empty() => Ok(secret.to_owned()),
        _ => Err(Failure::config(format!("{role} {} is empty", path.display()))
            .next("write the secret into its first line")),
    }
}

/// Writes a file that must not be there yet.
pub(crate) fn create(path: &Path, contents: &str, mode: u32) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(contents.as_bytes())).map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists { exists(path) } else { cannot_write(path, &error) }
    })
}

/// Refuses when `path` is there already.
pub(crate) fn must_be_absent(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() { Err(exists(path)) } else { Ok(()) }
}

/// Replaces a file at once: who reads it sees the old contents or the new ones.
pub(crate) fn replace(path: &Path, contents: &str, mode: u32) -> Result<(), Failure> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(contents.as_bytes())?;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error: std::io::Error| cannot_write(path, &error))
}

/// Whether others than its owner may read `path`.
fn is_exposed(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// A warning where others than its owner may read `path`, which is `role`.
pub(crate) fn exposed(path: &Path, role: &str) -> Option<String> {
    is_exposed(path).then(|| format!("others may read {role}: chmod 600 {}", path.display()))
}

fn exists(path: &Path) -> Failure {
    Failure::new(Exit::Other, format!("{} exists already and is not overwritten", path.display()))
        .next("choose another name, or move the old file away")
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Other, format!("{} can't be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten_and_secrets_are_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        create(&path, "one", SECRET).unwrap();
        assert!(!is_exposed(&path));
        assert!(create(&path, "two", SECRET).unwrap_err().what.contains("exists already"));
        assert!(must_be_absent(&path).is_err());
        assert_eq!(read_secret(&path, "the key").unwrap(), "one");
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_stays_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("addresses");
        replace(&path, "one", PUBLIC).unwrap();
        replace(&path, "two", PUBLIC).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, PUBLIC);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
