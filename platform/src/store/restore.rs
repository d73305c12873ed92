//! What comes from a backup becomes a store: in one transaction, into a database in which there is nothing.

use std::fs::File;

use serde_json::Value;
use sqlx::{Any, AnyConnection, Transaction};

use super::audit::{self, NewEvent};
use super::connect::Pools;
use super::error::{OpenError, StoreError};
use super::{INSTALLATION, Location, Store, check_canary, data_keys, schema, settings, to_row};
use crate::clock::Clock;
use crate::trust::random_id;
use crate::trust::root_key::RootKeys;
use crate::trust::seal::Sealer;

/// By how much the generation grows: more changes than anybody made since the backup, so that no gateway takes an
/// older state for the one that it has.
const GENERATIONS: i64 = 1_000_000;

/// What belonged to processes that the restored store knows nothing of.
const FORGOTTEN: &[&str] = &[
    "DELETE FROM nonces",
    "DELETE FROM tokens WHERE kind = 'access'",
    "DELETE FROM platform_instances WHERE revoked_at = 0",
    "UPDATE instances SET watcher = '', watched_until = 0",
];

/// A store that is being restored. Dropped, it leaves an empty database.
pub(crate) struct Restore {
    pools: Pools,
    transaction: Transaction<'static, Any>,
    location: Location,
    lock: File,
}

impl Restore {
    /// Begins it, with the directory's lock.
    pub(crate) async fn begin(location: &Location, lock: File) -> Result<Self, OpenError> {
        let pools = Pools::connect(location, true).await?;
        let postgres = matches!(location, Location::Postgres(_));
        schema::migrate(&pools, postgres).await?;
        let begin = if postgres { "BEGIN" } else { "BEGIN IMMEDIATE" };
        let mut transaction = pools.writer.begin_with(begin).await?;
        let rows = sqlx::query_scalar::<Any, i64>("SELECT COUNT(*) FROM settings");
        if rows.fetch_one(&mut *transaction).await? != 0 {
            return Err(OpenError::Initialised(location.shown()));
        }
        Ok(Self { pools, transaction, location: location.clone(), lock })
    }

    /// Where rows go.
    pub(crate) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    /// Gives the store another epoch, and opens it. `detail` is for the audit.
    pub(crate) async fn finish(
        mut self,
        keys: &RootKeys,
        instance: &str,
        clock: Clock,
        detail: Value,
    ) -> Result<Store, OpenError> {
        let transaction = &mut self.transaction;
        let sealer = Sealer::new(&data_keys(transaction, keys).await?);
        let sealer = sealer.ok_or_else(|| StoreError::Corrupt("the backup has no data keys".to_owned()))?;
        check_canary(transaction, &sealer).await?;
        begin_anew(transaction).await?;
        let event = NewEvent {
            organisation: INSTALLATION.to_owned(),
            actor: "platform".to_owned(),
            action: "platform.restored".to_owned(),
            object: INSTALLATION.to_owned(),
            detail,
        };
        audit::append(transaction, instance, to_row(clock.now()), vec![event]).await?;
        self.transaction.commit().await?;
        self.pools.close().await;
        Store::open_locked(&self.location, keys, instance, clock, Some(self.lock)).await
    }
}

async fn begin_anew(connection: &mut AnyConnection) -> Result<(), StoreError> {
    settings::set(&mut *connection, settings::EPOCH, &random_id()).await?;
    let statement = "UPDATE settings SET value = CAST(CAST(value AS BIGINT) + $2 AS TEXT) WHERE key = $1";
    let update = sqlx::query(statement).bind(settings::GENERATION).bind(GENERATIONS);
    update.execute(&mut *connection).await?;
    for statement in FORGOTTEN {
        sqlx::query(*statement).execute(&mut *connection).await?;
    }
    Ok(())
}
