//! The directory of a platform instance: its root keys, its id, and the embedded database where that is used.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::clock::Clock;
use crate::config::DatabaseUrl;
use crate::store::{Location, OpenError, Store, lock_directory};
use crate::trust::random_id;
use crate::trust::root_key::{self, BadRootKeys, RootKeys};

/// The file with the id of this platform instance.
const INSTANCE: &str = "instance-id";

/// The directory of a platform instance.
#[derive(Debug, Clone)]
pub struct Home {
    directory: PathBuf,
    location: Location,
}

impl Home {
    /// The directory, and the database at `url` or in it.
    pub fn new(directory: &Path, url: Option<&DatabaseUrl>) -> Self {
        let location = Location::new(directory, url.map(|url| url.0.as_str()));
        Self { directory: directory.to_owned(), location }
    }

    /// Opens the store for this process alone as far as this directory goes: no other can work in it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(&self, clock: Clock) -> Result<Store, OpenError> {
        let lock = self.lock()?;
        let (keys, instance) = (self.root_keys()?, self.instance()?);
        Store::open_locked(&self.location, &keys, &instance, clock, Some(lock)).await
    }

    /// Opens it beside a platform that may be running here: for short work from the command line, which has an audit
    /// chain of its own.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_beside(&self, clock: Clock) -> Result<Store, OpenError> {
        let (keys, instance) = (self.root_keys()?, format!("{}-cli", self.instance()?));
        Store::open_locked(&self.location, &keys, &instance, clock, None).await
    }

    /// Where the database is.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The root-key file.
    pub fn root_key_file(&self) -> PathBuf {
        self.directory.join(root_key::FILE)
    }

    /// The root keys.
    ///
    /// # Errors
    /// [`OpenError::Nothing`] where the file is not there, [`OpenError::RootKeys`].
    pub fn root_keys(&self) -> Result<RootKeys, OpenError> {
        match RootKeys::read(&self.root_key_file()) {
            Err(BadRootKeys::File { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                Err(match &self.location {
                    Location::Sqlite(_) => OpenError::Nothing(self.directory.display().to_string()),
                    Location::Postgres(_) => {
                        OpenError::NoRootKeys(self.root_key_file().display().to_string())
                    }
                })
            }
            other => Ok(other?),
        }
    }

    /// The id of this platform instance, made at the first time.
    ///
    /// # Errors
    /// [`OpenError::File`].
    pub fn instance(&self) -> Result<String, OpenError> {
        let path = self.directory.join(INSTANCE);
        match fs::read_to_string(&path) {
            Ok(text) if is_id(text.trim()) => Ok(text.trim().to_owned()),
            Ok(_) => Err(failed(&path, io::Error::other("it holds no id; remove it, and another is made"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let id = random_id();
                write_instance(&path, &id).map_err(|error| failed(&path, error))?;
                Ok(id)
            }
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// Forgets the instance's id, so that another one is made: what comes from a backup begins audit chains anew.
    ///
    /// # Errors
    /// [`OpenError::File`].
    pub fn forget_instance(&self) -> Result<(), OpenError> {
        let path = self.directory.join(INSTANCE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(&path, error)),
            _ => Ok(()),
        }
    }

    /// Keeps others from changing the root-key file, as long as what is returned lives.
    pub(crate) fn lock_root_keys(&self) -> Result<File, OpenError> {
        let lock = crate::store::lock(&self.directory, "root-keys.lock")?;
        lock.ok_or_else(|| OpenError::InUse(self.directory.display().to_string()))
    }

    pub(crate) fn lock(&self) -> Result<File, OpenError> {
        lock_directory(&self.location, &self.directory)
    }
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn failed(path: &Path, error: io::Error) -> OpenError {
    OpenError::File(path.display().to_string(), error)
}

/// Written beside and renamed, so that no half of an id is ever read.
fn write_instance(path: &Path, id: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_keeps_its_id_and_a_damaged_one_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path(), None);
        let id = home.instance().unwrap();
        assert_eq!(home.instance().unwrap(), id);
        home.forget_instance().unwrap();
        assert_ne!(home.instance().unwrap(), id);
        fs::write(directory.path().join(INSTANCE), "a b").unwrap();
        assert!(home.instance().unwrap_err().to_string().contains("remove it"));
    }

    #[test]
    fn a_second_machine_is_told_that_it_needs_the_root_keys() {
        let directory = tempfile::tempdir().unwrap();
        let url = DatabaseUrl("postgres://somewhere".to_owned());
        let home = Home::new(directory.path(), Some(&url));
        assert!(home.root_keys().unwrap_err().to_string().contains("copy"));
        assert!(matches!(Home::new(directory.path(), None).root_keys(), Err(OpenError::Nothing(_))));
    }
}
