//! The root-key file: the keys that seal the store's own keys. It is no part of the store and of no backup.
//!
//! A line for each key, newest first: its id, a space, 32 bytes in base64. Lines that begin with `#` are for people.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;
use zeroize::Zeroizing;

use super::seal::{SealKey, Sealer};

/// The file's name in the platform's directory.
pub const FILE: &str = "root-keys";

/// The longest root-key file that is read, in bytes.
const MAX_FILE: u64 = 16 * 1024;

const HEAD: &str = "# Root keys of an Adit platform. Without them nothing that is sealed in its database can be read:\n\
                    # keep a copy apart from the backups, and let nobody read it. The first key seals.\n";

/// The root keys: at least one, the newest first.
#[derive(Debug, Clone)]
pub struct RootKeys(Vec<SealKey>);

/// Why there are no root keys to be had.
#[derive(Debug, Error)]
pub enum BadRootKeys {
    /// The file can't be read or written.
    #[error("the root keys {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Others than its owner may read or write the file.
    #[error("others may read or write the root keys {} (mode {mode:04o}); chmod 600 it", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A line of it is no key.
    #[error("line {line} of the root keys {} is no key; restore the file from your copy", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
    },
    /// There is no key in it.
    #[error("there is no key in {}; restore the file from your copy", .0.display())]
    Empty(PathBuf),
}

impl RootKeys {
    /// One new key.
    pub fn generate() -> Self {
        Self(vec![SealKey::generate()])
    }

    /// These keys and a new one before them.
    pub fn with_new(&self) -> Self {
        Self([&[SealKey::generate()], self.0.as_slice()].concat())
    }

    /// Only the newest of these keys.
    pub fn only_newest(&self) -> Self {
        Self(self.0.iter().take(1).cloned().collect())
    }

    /// What seals with the newest key.
    pub fn sealer(&self) -> Sealer {
        Sealer::new(&self.0).expect("there is at least one root key")
    }

    /// The id of the newest key.
    pub fn newest(&self) -> &str {
        self.0.first().expect("there is at least one root key").id()
    }

    /// The ids of the keys, the newest first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(SealKey::id)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`BadRootKeys`]; that it is missing is [`BadRootKeys::File`] with [`io::ErrorKind::NotFound`].
    pub fn read(path: &Path) -> Result<Self, BadRootKeys> {
        let failed = |error| BadRootKeys::File { path: path.to_owned(), error };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(BadRootKeys::Mode { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, BadRootKeys> {
        let lines = text.lines().zip(1..).filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        let malformed = |line| BadRootKeys::Malformed { path: path.to_owned(), line };
        let keys = lines.map(|(text, line)| key(text).ok_or_else(|| malformed(line)));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(BadRootKeys::Empty(path.to_owned()));
        }
        Ok(Self(keys))
    }

    /// Writes a file that is not there yet.
    ///
    /// # Errors
    /// [`BadRootKeys::File`]; that it is there already is [`io::ErrorKind::AlreadyExists`].
    pub fn create(&self, path: &Path) -> Result<(), BadRootKeys> {
        self.write(path).map_err(|error| BadRootKeys::File { path: path.to_owned(), error })
    }

    /// Replaces the file at once: whoever reads it finds the old keys or the new ones.
    ///
    /// # Errors
    /// [`BadRootKeys::File`].
    pub fn replace(&self, path: &Path) -> Result<(), BadRootKeys> {
        let beside = path.with_extension("new");
        let replace = || {
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.write(&beside)?,
            }
            fs::rename(&beside, path)?;
            sync_directory(path)
        };
        replace().map_err(|error| BadRootKeys::File { path: path.to_owned(), error })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(self.to_text().as_bytes())?;
        file.sync_all()?;
        sync_directory(path)
    }

    fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(HEAD.to_owned());
        for key in &self.0 {
            let secret = Zeroizing::new(STANDARD.encode(key.secret()));
            text.extend([key.id(), " ", &secret, "\n"]);
        }
        text
    }
}

fn key(line: &str) -> Option<SealKey> {
    let (id, secret) = line.split_once(' ')?;
    let secret = Zeroizing::new(STANDARD.decode(secret.trim()).ok()?);
    SealKey::new(id, &secret)
}

/// A new name lasts once its directory is on the disk.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_reads_back_and_the_newest_key_is_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let keys = RootKeys::generate();
        keys.create(&path).unwrap();
        assert!(keys.create(&path).is_err(), "it is never overwritten");
        let more = keys.with_new();
        more.replace(&path).unwrap();
        let read = RootKeys::read(&path).unwrap();
        assert_eq!(read.ids().collect::<Vec<_>>(), more.ids().collect::<Vec<_>>());
        assert_eq!((read.newest(), read.ids().nth(1)), (more.newest(), Some(keys.newest())));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        RootKeys::generate().create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(RootKeys::read(&path), Err(BadRootKeys::Mode { mode: 0o640, .. })));
    }

    #[test]
    fn a_damaged_file_says_which_line() {
        let path = Path::new("root-keys");
        assert!(matches!(RootKeys::parse("# no key\n", path), Err(BadRootKeys::Empty(_))));
        let damaged = RootKeys::parse("# head\n\nid AAAA\n", path);
        assert!(matches!(damaged, Err(BadRootKeys::Malformed { line: 3, .. })));
    }
}
