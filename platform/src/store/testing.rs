//! A store for unit tests: new, embedded, gone with its directory.

use serde_json::json;
use tempfile::TempDir;

use super::{Installation, Location, Store};
use crate::clock::Clock;
use crate::trust::root_key::RootKeys;

/// A store and what it stands on.
pub(crate) struct World {
    pub(crate) directory: TempDir,
    pub(crate) keys: RootKeys,
    pub(crate) store: Store,
}

impl World {
    /// A new store of the platform instance `one`, in which there is nothing but the installation.
    pub(crate) async fn new() -> Self {
        let (directory, keys) = (tempfile::tempdir().unwrap(), RootKeys::generate());
        let location = Location::Sqlite(directory.path().to_owned());
        let made = Store::create(&location, &keys, "one", Clock::system(), installation()).await;
        let (store, mut change) = made.unwrap();
        change.audit("installation.created", "installation", json!({}));
        change.commit().await.unwrap();
        Self { directory, keys, store }
    }

    pub(crate) fn location(&self) -> Location {
        Location::Sqlite(self.directory.path().to_owned())
    }

    /// Ends the store and leaves what it stands on.
    pub(crate) async fn end(self) -> (TempDir, RootKeys, Location) {
        let location = self.location();
        self.store.close().await;
        (self.directory, self.keys, location)
    }
}

/// What the installation of tests is called.
pub(crate) fn installation() -> Installation {
    Installation { id: "i".to_owned(), trust_domain: "adit.test".to_owned(), epoch: "e".to_owned() }
}
