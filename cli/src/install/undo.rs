//! Changes to the file system that are taken back together, unless they are kept together.

use std::fs::{self, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::exit::{Exit, Failure};

/// What was changed so far. Dropping it takes everything back, the last change first.
#[derive(Debug, Default)]
pub(super) struct Changes {
    made: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    /// A directory was made here.
    Directory(PathBuf),
    /// A file was made here.
    File(PathBuf),
    /// A file was replaced here; the second path has what was there.
    Replaced(PathBuf, PathBuf),
}

impl Changes {
    /// Makes `path` and the directories above it, as far as they are not there.
    pub(super) fn directory(&mut self, path: &Path) -> Result<(), Failure> {
        if path.is_dir() {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        fs::create_dir(path).map_err(|error| cannot("made", path, &error))?;
        self.made.push(Change::Directory(path.to_owned()));
        // Whatever mask the caller has: services with users of their own must find what is below.
        set_mode(path, 0o755)
    }

    /// Writes a file; who reads it sees the old contents or the new ones.
    pub(super) fn write(&mut self, path: &Path, contents: &mut impl Read, mode: u32) -> Result<(), Failure> {
        let parent = path.parent().expect("a file stands in a directory");
        self.directory(parent)?;
        let fresh = written(parent, contents, mode).map_err(|error| cannot("written", path, &error))?;
        let change = match set_aside(path).map_err(|error| cannot("replaced", path, &error))? {
            Some(aside) => Change::Replaced(path.to_owned(), aside),
            None => Change::File(path.to_owned()),
        };
        self.made.push(change);
        fresh.persist(path).map_err(|error| cannot("written", path, &error.error))?;
        Ok(())
    }

    /// Lets everything stay.
    pub(super) fn keep(mut self) {
        for change in self.made.drain(..) {
            if let Change::Replaced(_, aside) = change {
                discard(&aside);
            }
        }
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        for change in self.made.drain(..).rev() {
            match change {
                Change::File(path) => discard(&path),
                Change::Replaced(path, aside) => report(&path, fs::rename(&aside, &path)),
                Change::Directory(path) => report(&path, fs::remove_dir(&path)),
            }
        }
    }
}

fn written(directory: &Path, contents: &mut impl Read, mode: u32) -> io::Result<NamedTempFile> {
    let mut file = NamedTempFile::new_in(directory)?;
    io::copy(contents, &mut file)?;
    file.flush()?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// A second name for what is at `path`, if there is something.
fn set_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut name = path.file_name().expect("a file has a name").to_owned();
    name.push(".before");
    let aside = path.with_file_name(name);
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    match fs::hard_link(path, &aside) {
        Ok(()) => Ok(Some(aside)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn discard(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        result => report(path, result),
    }
}

/// Nobody can do better about it than a person.
fn report(path: &Path, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!("{} could not be taken back: {error}", path.display());
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), Failure> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|error| cannot("changed", path, &error))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Other, format!("{} can't be {what}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_not_kept_is_taken_back() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("old"), "before").unwrap();
        let mut changes = Changes::default();
        changes.write(&root.path().join("old"), &mut &b"after"[..], 0o644).unwrap();
        changes.write(&root.path().join("a/b/new"), &mut &b"new"[..], 0o600).unwrap();
        assert_eq!(fs::read(root.path().join("old")).unwrap(), b"after");
        let blocked = changes.write(&root.path().join("old/below"), &mut &b""[..], 0o644);
        assert!(blocked.is_err(), "a file is no directory");
        drop(changes);
        assert_eq!(names(root.path()), ["old"]);
        assert_eq!(fs::read(root.path().join("old")).unwrap(), b"before");
    }

    #[test]
    fn what_is_kept_leaves_nothing_beside_it() {
        let root = tempfile::tempdir().unwrap();
        for text in ["one", "two"] {
            let mut changes = Changes::default();
            changes.write(&root.path().join("a/secret"), &mut text.as_bytes(), 0o600).unwrap();
            changes.keep();
        }
        let file = root.path().join("a/secret");
        assert_eq!(names(&root.path().join("a")), ["secret"]);
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
