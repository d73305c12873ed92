//! A change: one transaction with the audit events that belong to it.

use std::fmt;

use serde_json::Value;
use sqlx::{Any, AnyConnection, Transaction};
use tokio::sync::OwnedMutexGuard;

use super::audit::{self, NewEvent};
use super::error::StoreError;
use super::{INSTALLATION, Store, settings};

/// A transaction of one organisation. It takes effect with [`commit`](Self::commit), and not at all when it is dropped.
pub struct Change {
    transaction: Transaction<'static, Any>,
    /// SQLite's turn to write.
    turn: Option<OwnedMutexGuard<()>>,
    store: Store,
    organisation: String,
    actor: String,
    events: Vec<NewEvent>,
    kind: Kind,
}

/// What a change promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It leaves an event, and lasts.
    Audited,
    /// It lasts.
    Unaudited,
    /// Of the last second's, nothing may be left when the machine loses its power.
    Quiet,
}

impl Store {
    /// Begins a change of `organisation`, made by `actor`: `identity:<name>`, `gateway:<name>/<instance>`,
    /// `relay:<name>`, `platform`. It must be audited.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn change(&self, organisation: &str, actor: &str) -> Result<Change, StoreError> {
        Change::begin(self, organisation, actor, Kind::Audited).await
    }

    /// Begins a change that need not be audited, and lasts as any other: keys, and claims on what may be done once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn unaudited_change(&self, organisation: &str) -> Result<Change, StoreError> {
        Change::begin(self, organisation, "platform", Kind::Unaudited).await
    }

    /// Begins a change that need not be audited, and of which the last second may be lost with the machine's
    /// power: what was reported and will be again.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn quiet_change(&self, organisation: &str) -> Result<Change, StoreError> {
        Change::begin(self, organisation, "platform", Kind::Quiet).await
    }
}

impl Change {
    async fn begin(store: &Store, organisation: &str, actor: &str, kind: Kind) -> Result<Self, StoreError> {
        let pools = &store.0.pools;
        let pool = if kind == Kind::Quiet { &pools.quiet } else { &pools.writer };
        let turn = store.turn_to_write().await;
        let begin = if store.is_postgres() { "BEGIN" } else { "BEGIN IMMEDIATE" };
        let mut transaction = pool.begin_with(begin).await?;
        if kind == Kind::Quiet && store.is_postgres() {
            sqlx::raw_sql("SET LOCAL synchronous_commit = off").execute(&mut *transaction).await?;
        }
        let (organisation, actor) = (organisation.to_owned(), actor.to_owned());
        Ok(Self { transaction, turn, store: store.clone(), organisation, actor, events: Vec::new(), kind })
    }

    /// Where its statements run.
    pub fn connection(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }

    /// The id of the organisation that it changes.
    pub fn organisation(&self) -> &str {
        &self.organisation
    }

    /// Whose store it is.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Unix seconds, as the store has them.
    pub fn now(&self) -> i64 {
        self.store.now()
    }

    /// Records what is done: `action` as `gateway.enrolled`, `object` as `gateway:<name>`. `detail` never holds a
    /// secret.
    pub fn audit(&mut self, action: &str, object: &str, detail: Value) {
        let organisation = self.organisation.clone();
        self.audit_of(&organisation, action, object, detail);
    }

    /// Records it with another organisation's events.
    pub fn audit_of(&mut self, organisation: &str, action: &str, object: &str, detail: Value) {
        self.events.push(NewEvent {
            organisation: organisation.to_owned(),
            actor: self.actor.clone(),
            action: action.to_owned(),
            object: object.to_owned(),
            detail,
        });
    }

    /// Something changes that the organisation's gateways must know.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn bump(&mut self) -> Result<(), StoreError> {
        if self.organisation == INSTALLATION {
            return self.bump_installation().await;
        }
        let statement = "UPDATE organisations SET generation = generation + 1 WHERE id = $1";
        sqlx::query(statement).bind(&self.organisation).execute(&mut *self.transaction).await?;
        Ok(())
    }

    /// Something changes that every organisation's gateways must know.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn bump_installation(&mut self) -> Result<(), StoreError> {
        let statement = "UPDATE settings SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE key = $1";
        sqlx::query(statement).bind(settings::GENERATION).execute(&mut *self.transaction).await?;
        Ok(())
    }

    /// Makes it take effect, its audit events with it.
    ///
    /// # Errors
    /// [`StoreError::Unaudited`], and those of the database; nothing was changed then, or
    /// ([`StoreError::Unavailable`] only) everything.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        if self.events.is_empty() && self.kind == Kind::Audited {
            return Err(StoreError::Unaudited);
        }
        // Last, so that the chain is locked for the shortest time and after everything else.
        let (instance, now) = (&self.store.0.instance, self.store.now());
        audit::append(&mut self.transaction, instance, now, self.events).await?;
        self.transaction.commit().await?;
        drop(self.turn);
        Ok(())
    }
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("organisation", &self.organisation).finish_non_exhaustive()
    }
}
