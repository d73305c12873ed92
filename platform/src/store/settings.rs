//! Settings: the few values that the installation has one of.

use sqlx::{Any, AnyConnection, AnyExecutor};

use super::error::StoreError;

/// The installation's id.
pub const ID: &str = "installation";
/// Its name, as certificates carry it.
pub const TRUST_DOMAIN: &str = "trust-domain";
/// Under which URL the API is reached.
pub const PUBLIC_URL: &str = "public-url";
/// What changes when the store is restored from a backup.
pub const EPOCH: &str = "epoch";
/// Grows when something changes that the gateways of every organisation must know.
pub const GENERATION: &str = "generation";
/// With what users on servers are marked, sealed.
pub const MARK_KEY: &str = "mark-key";
/// A known text, sealed: whoever can open it has the right keys.
pub(super) const CANARY: &str = "canary";

/// What is the same for as long as the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// Its id.
    pub id: String,
    /// Its name, as certificates carry it.
    pub trust_domain: String,
    /// What changes when the store is restored from a backup.
    pub epoch: String,
}

impl Installation {
    pub(super) async fn read(connection: &mut AnyConnection) -> Result<Self, StoreError> {
        Ok(Self {
            id: need(&mut *connection, ID).await?,
            trust_domain: need(&mut *connection, TRUST_DOMAIN).await?,
            epoch: need(&mut *connection, EPOCH).await?,
        })
    }
}

/// The value of `key`.
///
/// # Errors
/// Those of the database.
pub async fn get(executor: impl AnyExecutor<'_>, key: &str) -> Result<Option<String>, StoreError> {
    let query = sqlx::query_scalar::<Any, String>("SELECT value FROM settings WHERE key = $1").bind(key);
    Ok(query.fetch_optional(executor).await?)
}

/// The value of `key`, which every store has.
///
/// # Errors
/// [`StoreError::Corrupt`] where it is missing.
pub async fn need(executor: impl AnyExecutor<'_>, key: &str) -> Result<String, StoreError> {
    get(executor, key).await?.ok_or_else(|| StoreError::Corrupt(format!("the setting {key} is missing")))
}

/// Sets `key`, whether it is there or not.
///
/// # Errors
/// Those of the database.
pub async fn set(executor: impl AnyExecutor<'_>, key: &str, value: &str) -> Result<(), StoreError> {
    let statement = "INSERT INTO settings (key, value) VALUES ($1, $2) \
                     ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    sqlx::query(statement).bind(key).bind(value).execute(executor).await?;
    Ok(())
}

/// Sets `key` unless it is there.
///
/// # Errors
/// Those of the database.
pub async fn set_once(executor: impl AnyExecutor<'_>, key: &str, value: &str) -> Result<(), StoreError> {
    let statement = "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
    sqlx::query(statement).bind(key).bind(value).execute(executor).await?;
    Ok(())
}
