//! Backups: one file with every row, the same from SQLite and from PostgreSQL, and restored into either.
//!
//! A line of JSON for each part: a head that says what it is, `{"table": …, "row": …}` for each row, and an end with
//! the number of rows and the SHA-256 of everything before it. The rows are those of one moment. **The root keys are
//! not in it**: a backup is worth nothing without a copy of them, and gives no sealed value away to who has only it.
//!
//! A restored store is as it was at that moment: what was revoked since is not revoked in it, and tokens that were made
//! since are unknown. It gets another epoch, and the instance that restores another id, so that its audit begins chains
//! of its own.

use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::AnyConnection;
use thiserror::Error;
use tokio::fs::{self, File, OpenOptions};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};

use crate::clock::Clock;
use crate::home::Home;
use crate::store::{OpenError, Restore, SCHEMA, Store, StoreError, audit, dump};

/// The form of backups that is written and read here.
const FORMAT: u32 = 1;

/// The longest line of a backup, in bytes.
const MAX_LINE: u64 = 4 << 20;

/// The first line of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Head {
    /// The form.
    pub adit_backup: u32,
    /// The schema's version.
    pub schema: i64,
    /// The installation's id.
    pub installation: String,
    /// Its name.
    pub trust_domain: String,
    /// The epoch in which it was made.
    pub epoch: String,
    /// When it was made.
    pub created_at: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Row { table: String, row: dump::Object },
    End { rows: u64, sha256: String },
}

/// Why a backup was not made or restored.
#[derive(Debug, Error)]
pub enum BackupError {
    /// The file.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is no backup.
    #[error("line {0} of the backup is none of a backup")]
    Malformed(u64),
    /// It was made by another version of the program.
    #[error(
        "the backup has the form {format} and the schema {schema}; this program restores {FORMAT} and {SCHEMA}"
    )]
    Version {
        /// Its form.
        format: u32,
        /// Its schema.
        schema: i64,
    },
    /// Something is missing or was changed.
    #[error("the backup is damaged: what it ends with does not fit what comes before; nothing was restored")]
    Damaged,
    /// The store it is to be restored into, or the root keys.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Writes a backup of `store` to `file`, which is not there yet, while the platform runs. Says how many rows it has.
///
/// # Errors
/// [`BackupError`]; no file is there then.
pub async fn backup(store: &Store, file: &Path) -> Result<u64, BackupError> {
    let failed = |error| BackupError::File { path: file.to_owned(), error };
    if fs::try_exists(file).await.map_err(failed)? {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    let mut beside = file.as_os_str().to_owned();
    beside.push(".partial");
    let beside = PathBuf::from(beside);
    let written = write_all(store, &beside).await;
    match written {
        Ok(rows) => {
            fs::rename(&beside, file).await.map_err(failed)?;
            Ok(rows)
        }
        Err(error) => {
            // What went wrong first is what counts.
            let _ = fs::remove_file(&beside).await;
            Err(error)
        }
    }
}

async fn write_all(store: &Store, file: &Path) -> Result<u64, BackupError> {
    let mut writer = Writer::new(file).await?;
    let installation = store.installation();
    let head = Head {
        adit_backup: FORMAT,
        schema: SCHEMA,
        installation: installation.id.clone(),
        trust_domain: installation.trust_domain.clone(),
        epoch: installation.epoch.clone(),
        created_at: store.clock().now(),
    };
    writer.line(&head).await?;
    let mut snapshot = store.snapshot().await?;
    let mut rows = 0;
    for table in dump::TABLES {
        let mut read = dump::read(&mut snapshot, table);
        while let Some(row) = read.next().await? {
            rows += 1;
            writer.line(&Line::Row { table: (*table).to_owned(), row }).await?;
        }
    }
    writer.end(rows).await?;
    Ok(rows)
}

/// Writes lines, and keeps their hash.
struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    hash: Context,
}

impl Writer {
    /// Nobody but its owner may read what is in it.
    async fn new(path: &Path) -> Result<Self, BackupError> {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = OpenOptions::from(options).open(path).await;
        let file = file.map_err(|error| BackupError::File { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), hash: Context::new(&SHA256) })
    }

    async fn line(&mut self, line: &impl Serialize) -> Result<(), BackupError> {
        let mut bytes = serde_json::to_vec(line).expect("rows are texts and numbers");
        bytes.push(b'\n');
        self.hash.update(&bytes);
        let written = self.file.write_all(&bytes).await;
        written.map_err(|error| BackupError::File { path: self.path.clone(), error })
    }

    async fn end(mut self, rows: u64) -> Result<(), BackupError> {
        let sha256 = audit::hex(self.hash.clone().finish().as_ref());
        self.line(&Line::End { rows, sha256 }).await?;
        let failed = |error| BackupError::File { path: self.path.clone(), error };
        self.file.flush().await.map_err(failed)?;
        self.file.get_ref().sync_all().await.map_err(failed)
    }
}

/// Restores `file` into the empty database of `home`, whose root keys are in their place already. Says what the backup
/// was of.
///
/// # Errors
/// [`BackupError`]; the database is empty then, as it was.
pub async fn restore(home: &Home, file: &Path, clock: Clock) -> Result<Head, BackupError> {
    let mut reader = Reader::new(file).await?;
    let head = reader.head().await?;
    let lock = home.lock()?;
    let keys = home.root_keys()?;
    let mut restore = Restore::begin(home.location(), lock).await?;
    load(&mut reader, restore.connection()).await?;
    let detail = json!({ "backup-of": head.created_at, "epoch-before": head.epoch });
    home.forget_instance()?;
    let instance = home.instance()?;
    restore.finish(&keys, &instance, clock, detail).await?.close().await;
    Ok(head)
}

async fn load(reader: &mut Reader, connection: &mut AnyConnection) -> Result<(), BackupError> {
    let mut found = 0;
    loop {
        let hash = reader.hash.clone();
        match reader.line().await? {
            Line::Row { table, row } => {
                found += 1;
                dump::insert(connection, &table, &row).await?;
            }
            Line::End { rows, sha256 } => {
                let fits = rows == found && sha256 == audit::hex(hash.finish().as_ref());
                return if fits && reader.is_at_end().await? { Ok(()) } else { Err(BackupError::Damaged) };
            }
        }
    }
}

/// Reads lines, and keeps their hash.
struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    hash: Context,
    line: u64,
}

impl Reader {
    async fn new(path: &Path) -> Result<Self, BackupError> {
        let file = File::open(path).await;
        let file = file.map_err(|error| BackupError::File { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), file: BufReader::new(file), hash: Context::new(&SHA256), line: 0 })
    }

    async fn head(&mut self) -> Result<Head, BackupError> {
        let head: Head = self.parse().await?;
        match (head.adit_backup, head.schema) {
            (FORMAT, SCHEMA) => Ok(head),
            (format, schema) => Err(BackupError::Version { format, schema }),
        }
    }

    async fn line(&mut self) -> Result<Line, BackupError> {
        self.parse().await
    }

    async fn parse<T: for<'a> Deserialize<'a>>(&mut self) -> Result<T, BackupError> {
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(MAX_LINE).read_until(b'\n', &mut bytes).await;
        read.map_err(|error| BackupError::File { path: self.path.clone(), error })?;
        self.line += 1;
        self.hash.update(&bytes);
        if bytes.is_empty() {
            return Err(BackupError::Damaged);
        }
        serde_json::from_slice(&bytes).map_err(|_| BackupError::Malformed(self.line))
    }

    async fn is_at_end(&mut self) -> Result<bool, BackupError> {
        let rest = self.file.fill_buf().await;
        let rest = rest.map_err(|error| BackupError::File { path: self.path.clone(), error })?;
        Ok(rest.is_empty())
    }
}

#[cfg(test)]
mod tests;
