//! A directory for one test, removed with it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A temporary directory that every user may pass through, since servers run as other users.
#[derive(Debug)]
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// Makes the directory.
    ///
    /// # Panics
    /// When the system's place for temporary files cannot be written.
    #[must_use]
    pub fn new() -> Self {
        let directory =
            tempfile::Builder::new().prefix("adit-test-").tempdir().expect("a temporary directory");
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("own directory");
        Self { directory }
    }

    /// The path of `name` in it.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file into it.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, contents).expect("a file in our own directory");
        path
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}
