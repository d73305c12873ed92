//! The connections to the database: which one, how many, and what each is told first.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;

use super::error::OpenError;

/// How long a connection may be waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections that read an embedded database at once, and connections to PostgreSQL.
const READERS: u32 = 8;
const POSTGRES: u32 = 16;

/// The embedded database's file in the platform's directory.
const DATABASE: &str = "platform.db";
/// What a process locks that works in the directory.
pub(super) const LOCK: &str = "platform.lock";

/// Where the database is.
#[derive(Clone)]
pub enum Location {
    /// Embedded, in this directory.
    Sqlite(PathBuf),
    /// A PostgreSQL, by its URL, which may hold a password.
    Postgres(String),
}

impl Location {
    /// The database at `url`, or the embedded one in `directory` where there is no URL.
    pub fn new(directory: &Path, url: Option<&str>) -> Self {
        url.map_or_else(|| Self::Sqlite(directory.to_owned()), |url| Self::Postgres(url.to_owned()))
    }

    /// In words that may be shown.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Sqlite(directory) => directory.display().to_string(),
            Self::Postgres(_) => "that PostgreSQL database".to_owned(),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

/// Connections, as they are used.
#[derive(Debug)]
pub(super) struct Pools {
    /// For changes that last once they are committed.
    pub(super) writer: AnyPool,
    /// For changes of which the last second may be lost with the machine's power: reports that come again.
    pub(super) quiet: AnyPool,
    /// For everything else.
    pub(super) reader: AnyPool,
}

impl Pools {
    pub(super) async fn close(&self) {
        self.reader.close().await;
        self.quiet.close().await;
        self.writer.close().await;
    }

    /// Connects. A database file is made where `create` says so.
    pub(super) async fn connect(location: &Location, create: bool) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        match location {
            Location::Sqlite(directory) => sqlite(directory, create).await,
            Location::Postgres(url) => {
                let setup = "SET statement_timeout = '30s'; SET lock_timeout = '10s'; \
                             SET idle_in_transaction_session_timeout = '60s'";
                let pool = pool(url, POSTGRES, setup).await?;
                Ok(Self { writer: pool.clone(), quiet: pool.clone(), reader: pool })
            }
        }
    }
}

/// SQLite has one writer at a time, and readers that don't wait for it (<https://www.sqlite.org/wal.html>).
async fn sqlite(directory: &Path, create: bool) -> Result<Pools, OpenError> {
    let file = std::path::absolute(directory).unwrap_or(directory.to_owned()).join(DATABASE);
    make_file(&file, create)?;
    let url = url_of(&file);
    let writer = pool(&url, 1, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL").await?;
    let quiet = pool(&url, 1, "PRAGMA synchronous = NORMAL").await?;
    let reader = pool(&url, READERS, "PRAGMA query_only = ON").await?;
    Ok(Pools { writer, quiet, reader })
}

/// SQLite gives the files beside the database the mode of the database.
fn make_file(file: &Path, create: bool) -> Result<(), OpenError> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => OpenError::Nothing(file.display().to_string()),
        _ => OpenError::File(file.display().to_string(), error),
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).mode(0o600).open(file).map(drop).map_err(failed)
}

/// What SQLx takes apart at `?` and `#`, and decodes at `%`.
fn url_of(file: &Path) -> String {
    let path = file.to_string_lossy().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    format!("sqlite://{path}?mode=rw")
}

async fn pool(url: &str, most: u32, setup: &'static str) -> Result<AnyPool, sqlx::Error> {
    let options = AnyPoolOptions::new().max_connections(most).acquire_timeout(PATIENCE);
    let options = options.after_connect(move |connection, _| {
        Box::pin(async move { sqlx::raw_sql(setup).execute(connection).await.map(drop) })
    });
    options.connect(url).await
}

/// Makes `directory`, for its owner only, where it is not there.
pub(crate) fn make_directory(directory: &Path) -> Result<(), OpenError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| OpenError::File(directory.display().to_string(), error))
}

/// Locks the file `name` in `directory` for this process, until it is dropped; `None` while another has it.
pub(crate) fn lock(directory: &Path, name: &str) -> Result<Option<File>, OpenError> {
    let path = directory.join(name);
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => OpenError::Nothing(directory.display().to_string()),
        _ => OpenError::File(path.display().to_string(), error),
    };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}
