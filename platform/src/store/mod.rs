//! The store: everything that the platform knows, in SQLite or in PostgreSQL.
//!
//! Statements are checked when they run, in the SQL that both databases share; placeholders are `$1`, `$2`, ….
//! Every function takes the organisation first and binds each statement to it. A change and its audit events are one
//! transaction; what is secret is sealed.
//!
//! - [`Store::reader`] for what is only read; [`Store::change`] for what must be audited; [`Store::quiet_change`] for
//!   what need not be.
//! - [`audit`] — the chains of events. [`organisations`], [`tokens`], [`settings`] — each its table.

pub mod audit;
pub mod callers;
mod change;
mod connect;
pub mod databases;
pub(crate) mod dump;
mod error;
pub mod gateways;
pub mod health;
pub mod identities;
pub mod instances;
mod json;
pub mod leases;
pub mod links;
pub mod nonces;
pub mod organisations;
pub mod orphans;
mod owned;
pub mod permits;
pub mod platform_instances;
pub mod projects;
pub mod rekey;
pub mod relay_agents;
pub mod relay_secrets;
pub mod relays;
mod restore;
pub mod revocations;
pub mod rotations;
mod schema;
pub mod secrets;
pub mod settings;
pub mod tokens;
pub mod watching;

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use sqlx::{Any, AnyConnection, AnyPool, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

pub use change::Change;
pub use connect::Location;
pub use error::{OpenError, StoreError, again};
pub(crate) use restore::Restore;
pub use schema::SCHEMA;
pub use settings::Installation;

use crate::clock::Clock;
use crate::trust::root_key::RootKeys;
use crate::trust::seal::{BadSeal, Place, SealKey, Sealer};
use connect::Pools;
pub(crate) use connect::{lock, make_directory};

/// The id, and the name, of the operators' own organisation. Shared relays belong to it.
pub const INSTALLATION: &str = "installation";

/// The text in the canary.
const CANARY: &[u8] = b"these are the right keys";

/// The store. Clones are the same one.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    pools: Pools,
    postgres: bool,
    /// Whose turn it is to write into SQLite: a queue is fairer than its busy handler.
    turn: Arc<Mutex<()>>,
    sealer: Sealer,
    installation: Installation,
    instance: String,
    clock: Clock,
    /// Held for as long as the store is open.
    _lock: Option<File>,
}

impl Store {
    /// Opens the store of a platform that was made. `instance` is the id of this platform instance, which keeps audit
    /// chains of its own.
    ///
    /// # Errors
    /// [`OpenError`]; with the embedded database, only one process can open it.
    pub async fn open(
        location: &Location,
        keys: &RootKeys,
        instance: &str,
        clock: Clock,
    ) -> Result<Self, OpenError> {
        let lock = lock_embedded(location)?;
        Self::open_locked(location, keys, instance, clock, lock).await
    }

    /// The same with a lock that is held already, or beside a platform that holds it.
    pub(crate) async fn open_locked(
        location: &Location,
        keys: &RootKeys,
        instance: &str,
        clock: Clock,
        lock: Option<File>,
    ) -> Result<Self, OpenError> {
        let pools = Pools::connect(location, false).await?;
        let postgres = matches!(location, Location::Postgres(_));
        schema::migrate(&pools, postgres).await?;
        let mut connection = pools.reader.acquire().await?;
        let data_keys = data_keys(&mut connection, keys).await?;
        let sealer = Sealer::new(&data_keys).ok_or_else(|| OpenError::Nothing(location.shown()))?;
        check_canary(&mut connection, &sealer).await?;
        let installation = Installation::read(&mut connection).await?;
        drop(connection);
        let turn = Arc::default();
        let instance = instance.to_owned();
        let inner = Inner { pools, postgres, turn, sealer, installation, instance, clock, _lock: lock };
        Ok(Self(Arc::new(inner)))
    }

    /// Makes a new store, of which nothing is written before the change that comes with it is committed.
    ///
    /// # Errors
    /// [`OpenError::Initialised`] where there is one already.
    pub async fn create(
        location: &Location,
        keys: &RootKeys,
        instance: &str,
        clock: Clock,
        installation: Installation,
    ) -> Result<(Self, Change), OpenError> {
        if let Location::Sqlite(directory) = location {
            make_directory(directory)?;
        }
        let lock = lock_embedded(location)?;
        Self::create_locked(location, keys, instance, clock, installation, lock).await
    }

    /// The same with a lock that is held already.
    pub(crate) async fn create_locked(
        location: &Location,
        keys: &RootKeys,
        instance: &str,
        clock: Clock,
        installation: Installation,
        lock: Option<File>,
    ) -> Result<(Self, Change), OpenError> {
        let pools = Pools::connect(location, true).await?;
        let postgres = matches!(location, Location::Postgres(_));
        schema::migrate(&pools, postgres).await?;
        let data_key = SealKey::generate();
        let sealer = Sealer::new([&data_key]).expect("one key is given");
        let (turn, instance) = (Arc::default(), instance.to_owned());
        let inner = Inner { pools, postgres, turn, sealer, installation, instance, clock, _lock: lock };
        let store = Self(Arc::new(inner));
        let mut change = store.change(INSTALLATION, "platform").await?;
        match store.write_first_rows(&mut change, keys, &data_key).await {
            Ok(()) => Ok((store, change)),
            Err(StoreError::Conflict) => Err(OpenError::Initialised(location.shown())),
            Err(error) => Err(error.into()),
        }
    }

    async fn write_first_rows(
        &self,
        change: &mut Change,
        keys: &RootKeys,
        data_key: &SealKey,
    ) -> Result<(), StoreError> {
        let Installation { id, trust_domain, epoch } = &self.0.installation;
        let now = self.now();
        for (key, value) in
            [(settings::ID, id), (settings::TRUST_DOMAIN, trust_domain), (settings::EPOCH, epoch)]
        {
            // No upsert: a second platform in the same database is a conflict.
            let insert = sqlx::query("INSERT INTO settings (key, value) VALUES ($1, $2)");
            insert.bind(key).bind(value).execute(change.connection()).await?;
        }
        settings::set(change.connection(), settings::GENERATION, "1").await?;
        let canary = self.0.sealer.seal(&setting(settings::CANARY), CANARY);
        settings::set(change.connection(), settings::CANARY, &canary).await?;
        insert_data_key(change.connection(), keys, data_key, now).await?;
        organisations::insert(change, INSTALLATION, INSTALLATION).await
    }

    /// For what is only read. Each statement sees what was committed before it.
    pub fn reader(&self) -> &AnyPool {
        &self.0.pools.reader
    }

    /// A transaction whose statements all see the same state.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn snapshot(&self) -> Result<Transaction<'static, Any>, StoreError> {
        if !self.0.postgres {
            return Ok(self.reader().begin_with("BEGIN").await?);
        }
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let mut transaction = self.reader().begin_with(begin).await?;
        // Everything may be read in it, which takes its time.
        let patient = "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";
        sqlx::raw_sql(patient).execute(&mut *transaction).await?;
        Ok(transaction)
    }

    /// What seals what is secret in it.
    pub fn sealer(&self) -> &Sealer {
        &self.0.sealer
    }

    /// What is the same for as long as the store is.
    pub fn installation(&self) -> &Installation {
        &self.0.installation
    }

    /// The id of this platform instance.
    pub fn instance(&self) -> &str {
        &self.0.instance
    }

    /// The clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Unix seconds, as the store has them.
    pub fn now(&self) -> i64 {
        to_row(self.0.clock.now())
    }

    /// Whether it is in PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        self.0.postgres
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(self.reader()).await?;
        Ok(())
    }

    /// Ends every connection.
    pub async fn close(&self) {
        self.0.pools.close().await;
    }

    async fn turn_to_write(&self) -> Option<OwnedMutexGuard<()>> {
        if self.0.postgres {
            return None;
        }
        Some(Arc::clone(&self.0.turn).lock_owned().await)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("instance", &self.0.instance).finish_non_exhaustive()
    }
}

/// What keeps a second process from the embedded database.
fn lock_embedded(location: &Location) -> Result<Option<File>, OpenError> {
    match location {
        Location::Sqlite(directory) => lock_directory(location, directory).map(Some),
        Location::Postgres(_) => Ok(None),
    }
}

/// Locks the directory of a platform instance for this process.
pub(crate) fn lock_directory(location: &Location, directory: &Path) -> Result<File, OpenError> {
    let lock = lock(directory, connect::LOCK)?;
    lock.ok_or_else(|| match location {
        Location::Sqlite(_) => OpenError::Locked(directory.display().to_string()),
        Location::Postgres(_) => OpenError::InUse(directory.display().to_string()),
    })
}

/// A number or a time, as a row holds it.
pub fn to_row(number: u64) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// A number or a time from a row.
pub fn of_row(number: i64) -> u64 {
    number.try_into().unwrap_or(0)
}

/// A time from a row in which 0 is never.
pub fn time_of_row(time: i64) -> Option<u64> {
    (time != 0).then(|| of_row(time))
}

/// Where a setting is sealed.
pub(crate) fn setting(key: &str) -> Place<'_> {
    Place { organisation: INSTALLATION, table: "settings", row: key, column: "value" }
}

fn data_key_place(id: &str) -> Place<'_> {
    Place { organisation: INSTALLATION, table: "data_keys", row: id, column: "sealed" }
}

async fn insert_data_key(
    connection: &mut AnyConnection,
    keys: &RootKeys,
    key: &SealKey,
    now: i64,
) -> Result<(), StoreError> {
    let sealed = keys.sealer().seal(&data_key_place(key.id()), key.secret());
    let statement =
        "INSERT INTO data_keys (id, root_key, sealed, created_at, retired_at) VALUES ($1, $2, $3, $4, 0)";
    let insert = sqlx::query(statement).bind(key.id()).bind(keys.newest()).bind(sealed).bind(now);
    insert.execute(connection).await?;
    Ok(())
}

/// The keys that seal values, the one in use first.
async fn data_keys(connection: &mut AnyConnection, keys: &RootKeys) -> Result<Vec<SealKey>, OpenError> {
    let statement = "SELECT id, root_key, sealed FROM data_keys ORDER BY retired_at, created_at DESC, id";
    let rows = sqlx::query_as::<Any, (String, String, String)>(statement).fetch_all(connection).await?;
    let sealer = keys.sealer();
    let open = |(id, root_key, sealed): (String, String, String)| {
        let secret = match sealer.open(&data_key_place(&id), &sealed) {
            Ok(secret) => secret,
            Err(BadSeal::UnknownKey(key)) => return Err(OpenError::WrongRootKey(key)),
            Err(BadSeal::Forged) => return Err(OpenError::WrongRootKey(root_key)),
            Err(error @ BadSeal::Form) => return Err(StoreError::from(error).into()),
        };
        let key = SealKey::new(&id, &secret);
        key.ok_or_else(|| StoreError::Corrupt(format!("the data key {id} is no key")).into())
    };
    rows.into_iter().map(open).collect()
}

async fn check_canary(connection: &mut AnyConnection, sealer: &Sealer) -> Result<(), OpenError> {
    let sealed = settings::need(connection, settings::CANARY).await?;
    let opened = sealer.open(&setting(settings::CANARY), &sealed).map_err(StoreError::from)?;
    match *opened == CANARY {
        true => Ok(()),
        false => Err(StoreError::Corrupt("the canary is another bird".to_owned()).into()),
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
