//! A new root key, while the platform runs.
//!
//! 1. The root-key file gets a new key before the old ones.
//! 2. In one transaction, the data keys are sealed with it anew. What they seal stays as it is.
//! 3. Once nothing needs the old ones, [`forget_old`] takes them out of the file.
//!
//! Wherever this is interrupted, the file holds the keys that the database needs.

use serde_json::json;
use sqlx::{Any, AnyConnection};

use super::error::{OpenError, StoreError};
use super::{Change, INSTALLATION, data_key_place};
use crate::clock::Clock;
use crate::home::Home;
use crate::trust::root_key::RootKeys;

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rekeyed {
    /// The id of the new root key.
    pub root_key: String,
    /// How many root keys the file holds now.
    pub root_keys: usize,
    /// How many data keys were sealed anew.
    pub data_keys: usize,
}

/// Adds a new root key to the file of `home`, and seals the data keys with it. Other machines of the platform need the
/// file before they start again.
///
/// # Errors
/// [`OpenError`]; [`StoreError::Conflict`] where somebody else did the same at the same time.
pub async fn rekey(home: &Home, clock: Clock) -> Result<Rekeyed, OpenError> {
    let _alone = home.lock_root_keys()?;
    let store = home.open_beside(clock).await?;
    let keys = home.root_keys()?.with_new();
    keys.replace(&home.root_key_file())?;
    let mut change = store.change(INSTALLATION, "platform").await?;
    let data_keys = wrap_again(&mut change, &keys).await?;
    let detail = json!({ "root-key": keys.newest(), "data-keys": data_keys });
    change.audit("platform.rekeyed", INSTALLATION, detail);
    change.commit().await?;
    store.close().await;
    Ok(Rekeyed { root_key: keys.newest().to_owned(), root_keys: keys.ids().count(), data_keys })
}

async fn wrap_again(change: &mut Change, keys: &RootKeys) -> Result<usize, StoreError> {
    let (rows, sealer) = (wrapped(change.connection()).await?, keys.sealer());
    for (id, sealed, _) in &rows {
        let secret = sealer.open(&data_key_place(id), sealed)?;
        let anew = sealer.seal(&data_key_place(id), &secret);
        let statement = "UPDATE data_keys SET root_key = $2, sealed = $3 WHERE id = $1 AND sealed = $4";
        let update = sqlx::query(statement).bind(id).bind(keys.newest()).bind(anew).bind(sealed);
        if update.execute(change.connection()).await?.rows_affected() != 1 {
            return Err(StoreError::Conflict);
        }
    }
    Ok(rows.len())
}

/// Takes every root key but the newest out of the file of `home`, and says how many those were.
///
/// # Errors
/// [`OpenError::RootKeyInUse`] while a data key needs an old one; [`OpenError`].
pub async fn forget_old(home: &Home, clock: Clock) -> Result<usize, OpenError> {
    let _alone = home.lock_root_keys()?;
    let store = home.open_beside(clock).await?;
    let keys = home.root_keys()?;
    let mut connection = store.reader().acquire().await?;
    let rows = wrapped(&mut connection).await?;
    if let Some((.., used)) = rows.into_iter().find(|(.., used)| used != keys.newest()) {
        return Err(OpenError::RootKeyInUse(used));
    }
    drop(connection);
    keys.only_newest().replace(&home.root_key_file())?;
    store.close().await;
    Ok(keys.ids().count() - 1)
}

/// Each data key's id, the sealed key, and the root key that sealed it.
async fn wrapped(connection: &mut AnyConnection) -> Result<Vec<(String, String, String)>, StoreError> {
    let statement = "SELECT id, sealed, root_key FROM data_keys ORDER BY id";
    Ok(sqlx::query_as::<Any, (String, String, String)>(statement).fetch_all(connection).await?)
}
