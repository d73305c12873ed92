//! Numbers of proofs that were used: each counts once.

use super::{Change, INSTALLATION, Store, StoreError, to_row};

/// Uses `nonce`, which would run out at `expires_at`. `false` where it was used before.
///
/// # Errors
/// Those of the database.
pub async fn spend(change: &mut Change, nonce: &str, expires_at: u64) -> Result<bool, StoreError> {
    let statement = "INSERT INTO nonces (nonce, expires_at) VALUES ($1, $2) ON CONFLICT (nonce) DO NOTHING";
    let insert = sqlx::query(statement).bind(nonce).bind(to_row(expires_at));
    Ok(insert.execute(change.connection()).await?.rows_affected() == 1)
}

/// Keeps the key that nonces are made with, unless another platform instance was quicker: `key` is the name of its
/// setting.
///
/// # Errors
/// Those of the database.
pub async fn set_first_key(change: &mut Change, key: &str, sealed: &str) -> Result<(), StoreError> {
    let statement = "INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
    sqlx::query(statement).bind(key).bind(sealed).execute(change.connection()).await?;
    Ok(())
}

/// Forgets at most `limit` numbers that have run out, and says how many.
///
/// # Errors
/// Those of the database.
pub async fn purge(store: &Store, limit: u32) -> Result<u64, StoreError> {
    let mut change = store.quiet_change(INSTALLATION).await?;
    let statement =
        "DELETE FROM nonces WHERE nonce IN (SELECT nonce FROM nonces WHERE expires_at < $1 LIMIT $2)";
    let delete = sqlx::query(statement).bind(store.now()).bind(i64::from(limit));
    let gone = delete.execute(change.connection()).await?.rows_affected();
    change.commit().await?;
    Ok(gone)
}
