//! What work on leases has in common: the server that it is done on, and the key of its marks.

use aws_lc_rs::digest::{SHA256, digest};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::api::App;
use crate::postgres::{SqlError, mark};
use crate::servers::Held;
use crate::servers::reach::{self, Failure};
use crate::store::{INSTALLATION, Store, StoreError, audit, databases, secrets, setting, settings};
use crate::trust::random;

/// A secret and its database.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) database: databases::Row,
    pub(crate) secret: secrets::Row,
}

impl Server {
    /// The server of the secret with this id; `None` where it has gone.
    pub(crate) async fn of(
        store: &Store,
        organisation: &str,
        secret: &str,
    ) -> Result<Option<Self>, StoreError> {
        let Some(secret) = secrets::by_id(store, organisation, secret).await? else { return Ok(None) };
        let database = databases::by_id(store, organisation, &secret.database_id).await?;
        Ok(database.map(|database| Self { database, secret }))
    }

    /// A session in the secret's database.
    pub(crate) async fn session(&self, app: &App) -> Result<Held, Failure> {
        session(app, &self.database, Some(&self.secret.dbname)).await
    }
}

/// A session with a database's server, in its database `dbname` or its own.
pub(crate) async fn session(
    app: &App,
    database: &databases::Row,
    dbname: Option<&str>,
) -> Result<Held, Failure> {
    let limit = app.config.times.work;
    let opening = timeout(limit, reach::session(app, database, dbname));
    let late = |_| SqlError::Unreachable(format!("no session within {} s", limit.as_secs_f32()));
    opening.await.map_err(late)?
}

/// The key with which users on servers are marked. It is made when it is first needed.
pub(crate) async fn mark_key(app: &App) -> Result<&mark::Key, StoreError> {
    app.leases.mark_key.get_or_try_init(|| read_or_make_key(&app.store)).await
}

async fn read_or_make_key(store: &Store) -> Result<mark::Key, StoreError> {
    let place = setting(settings::MARK_KEY);
    if settings::get(store.reader(), settings::MARK_KEY).await?.is_none() {
        let sealed = store.sealer().seal(&place, &random::<32>());
        let mut change = store.unaudited_change(INSTALLATION).await?;
        settings::set_once(change.connection(), settings::MARK_KEY, &sealed).await?;
        change.commit().await?;
    }
    let sealed = settings::need(store.reader(), settings::MARK_KEY).await?;
    let bytes = store.sealer().open(&place, &sealed)?;
    let bytes: [u8; 32] = bytes
        .as_slice()
        .try_into()
        .map_err(|_| StoreError::Corrupt("the key of marks has not 32 bytes".to_owned()))?;
    Ok(mark::Key::new(Zeroizing::new(bytes)))
}

/// The SHA-256 of `parts`, in hex: none of them runs into the next.
pub(crate) fn hash(parts: &[&str]) -> String {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    audit::hex(digest(&SHA256, &bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashed_parts_do_not_run_into_each_other() {
        assert_ne!(hash(&["ab", "c"]), hash(&["a", "bc"]));
        assert_eq!(hash(&["a"]), hash(&["a"]));
    }

    #[tokio::test]
    async fn the_key_of_marks_is_made_once() {
        let world = crate::store::testing::World::new().await;
        let store = &world.store;
        read_or_make_key(store).await.unwrap();
        let sealed = settings::need(store.reader(), settings::MARK_KEY).await.unwrap();
        read_or_make_key(store).await.unwrap();
        assert_eq!(settings::need(store.reader(), settings::MARK_KEY).await.unwrap(), sealed);
    }
}
