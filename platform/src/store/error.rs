//! What can go wrong with the store.

use thiserror::Error;

use crate::trust::root_key::BadRootKeys;
use crate::trust::seal::BadSeal;

/// Why the store did not do what was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The database does not answer, or not in time.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// Something of that name, or with that id, is there already.
    #[error("it is there already")]
    Conflict,
    /// What it refers to is not there, or something refers to it.
    #[error("something that is not there is referred to, or something that is to go is still referred to")]
    Referenced,
    /// Another transaction was in the way; [`again`] tries once more.
    #[error("another transaction was in the way")]
    Again,
    /// What lies in the store can't be understood.
    #[error("the store holds what it can't hold: {0}")]
    Corrupt(String),
    /// A change was to be committed that leaves no trace in the audit.
    #[error("a change of the store was not audited")]
    Unaudited,
    /// A statement is wrong: a mistake in this program.
    #[error("a statement of the store failed: {0}")]
    Statement(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match error {
            E::Database(error) => of_database(error.as_ref()),
            E::Io(_) | E::Tls(_) | E::Protocol(_) | E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed => {
                Self::Unavailable(error.to_string())
            }
            E::ColumnDecode { .. } | E::Decode(_) => Self::Corrupt(error.to_string()),
            other => Self::Statement(other.to_string()),
        }
    }
}

/// The databases' own codes: SQLSTATE of five characters, or SQLite's extended result code in decimal.
fn of_database(error: &dyn sqlx::error::DatabaseError) -> StoreError {
    if error.is_unique_violation() {
        return StoreError::Conflict;
    }
    if error.is_foreign_key_violation() {
        return StoreError::Referenced;
    }
    let code = error.code().unwrap_or_default();
    match &*code {
        // serialization_failure, deadlock_detected; SQLITE_BUSY, _LOCKED, _BUSY_RECOVERY, _BUSY_SNAPSHOT.
        "40001" | "40P01" | "5" | "6" | "261" | "517" => StoreError::Again,
        // Refused or ended by PostgreSQL; SQLITE_IOERR, _FULL, _CANTOPEN.
        "57014" | "10" | "13" | "14" => StoreError::Unavailable(error.to_string()),
        code if code.len() == 5 && ["08", "53", "57P", "25P"].iter().any(|class| code.starts_with(class)) => {
            StoreError::Unavailable(error.to_string())
        }
        "11" | "26" => StoreError::Corrupt(error.to_string()),
        _ => StoreError::Statement(error.to_string()),
    }
}

impl From<BadSeal> for StoreError {
    fn from(error: BadSeal) -> Self {
        Self::Corrupt(error.to_string())
    }
}

/// Does `work`, and does it anew, at most twice, while another transaction is in the way. It must be a whole
/// transaction.
///
/// # Errors
/// Those of `work`.
pub async fn again<T, F>(mut work: impl FnMut() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _ in 0..2 {
        match work().await {
            Err(StoreError::Again) => tokio::task::yield_now().await,
            other => return other,
        }
    }
    work().await
}

/// Why the store can't be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "another process works in {0}: the embedded database is for one; several platform instances share a \
         PostgreSQL with --database postgres://…"
    )]
    Locked(String),
    /// Another platform instance works in the directory.
    #[error("another process works in {0}; each platform instance has a directory of its own")]
    InUse(String),
    /// The database is there, the keys that open it are not.
    #[error(
        "{0} is not there: copy it from the first machine of this platform, or begin with: adit platform init"
    )]
    NoRootKeys(String),
    /// There is nothing in it yet.
    #[error("there is no platform in {0} yet; begin with: adit platform init")]
    Nothing(String),
    /// There is something in it already.
    #[error("there is a platform in {0} already; nothing was changed")]
    Initialised(String),
    /// The root keys are not those that sealed it.
    #[error(
        "the root keys are not those of this database: it was sealed with the key {0}; put the right root-keys file \
         in its place"
    )]
    WrongRootKey(String),
    /// A later version of the program has been at work.
    #[error(
        "the database has the schema {found}, and this program knows {known} at most; use a later version"
    )]
    Later {
        /// The schema's number in the database.
        found: i64,
        /// The last one that is known here.
        known: i64,
    },
    /// An old root key can't go yet.
    #[error("the root key {0} is still needed; first: adit platform rekey")]
    RootKeyInUse(String),
    /// The root keys themselves.
    #[error(transparent)]
    RootKeys(#[from] BadRootKeys),
    /// A file, which, and what the system says.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}
