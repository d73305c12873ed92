//! Who ends leases when that is due: every platform instance, each lease one at a time.
//!
//! As many are ended at once as the instance may, and at most half of these on one database, so that one that is slow
//! holds nobody else up; on one that fails, one at a time until it works again. Pauses after failures grow, and never
//! end.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tokio::task::{Id, JoinSet};

use super::make::give_back;
use super::remove::{User, remove};
use super::server::Server;
use super::{detail, object};
use crate::api::App;
use crate::fleet::duties::jittered;
use crate::servers::pace::pause;
use crate::servers::reach::Failure;
use crate::store::leases::changes::{self, Claim};
use crate::store::leases::{Row, due};
use crate::store::{StoreError, again};
use crate::words::LeaseState;

/// Works for ever.
pub(super) async fn work(app: Arc<App>) {
    let mut worker = Worker { at_work: JoinSet::new(), databases: BTreeMap::new(), tasks: BTreeMap::new() };
    loop {
        if let Err(error) = worker.begin_due(&app).await {
            tracing::warn!(%error, "what leases are due is not known; it is asked again");
        }
        let pause = tokio::time::sleep(jittered(app.config.times.lease_duties));
        tokio::select! {
            () = pause => {}
            () = app.leases.bell.notified() => {}
            Some(ended) = worker.at_work.join_next_with_id() => worker.note(ended),
        }
        while let Some(ended) = worker.at_work.try_join_next_with_id() {
            worker.note(ended);
        }
    }
}

struct Worker {
    /// Each says whether it went well.
    at_work: JoinSet<bool>,
    databases: BTreeMap<String, Load>,
    /// On which database each task works.
    tasks: BTreeMap<Id, String>,
}

/// What one database is given.
#[derive(Debug, Default)]
struct Load {
    at_work: usize,
    is_failing: bool,
}

impl Load {
    fn is_full(&self, workers: usize) -> bool {
        let most = if self.is_failing { 1 } else { (workers / 2).max(1) };
        self.at_work >= most
    }
}

impl Worker {
    /// Claims what is due, as far as there are hands.
    async fn begin_due(&mut self, app: &Arc<App>) -> Result<(), StoreError> {
        let workers = app.config.limits.lease_workers.max(1);
        loop {
            let free = workers.saturating_sub(self.at_work.len());
            if free == 0 {
                return Ok(());
            }
            let busy = self.databases.iter().filter(|(_, load)| load.is_full(workers));
            let busy: Vec<_> = busy.map(|(database, _)| database.clone()).collect();
            let rows = due::due(&app.store, &busy, u32::try_from(free).unwrap_or(u32::MAX)).await?;
            let mut began = false;
            for row in rows {
                began |= self.begin(app, workers, row).await?;
            }
            if !began {
                return Ok(());
            }
        }
    }

    async fn begin(&mut self, app: &Arc<App>, workers: usize, row: Row) -> Result<bool, StoreError> {
        let load = self.databases.entry(row.database.clone()).or_default();
        if load.is_full(workers) {
            return Ok(false);
        }
        let Some(claim) = due::claim(&app.store, &row, app.config.times.claim).await? else {
            return Ok(false);
        };
        load.at_work += 1;
        let (app, database) = (app.clone(), row.database.clone());
        let task = self.at_work.spawn(async move { end(&app, row, &claim).await });
        self.tasks.insert(task.id(), database);
        Ok(true)
    }

    fn note(&mut self, ended: Result<(Id, bool), tokio::task::JoinError>) {
        let (id, went_well) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "ending a lease panicked; it is tried again when its claim has run out");
                (error.id(), false)
            }
        };
        let Some(database) = self.tasks.remove(&id) else { return };
        let load = self.databases.entry(database.clone()).or_default();
        load.at_work = load.at_work.saturating_sub(1);
        load.is_failing = !went_well;
        if load.at_work == 0 && !load.is_failing {
            self.databases.remove(&database);
        }
    }
}

/// Ends a lease that is claimed, and says whether that went well.
async fn end(app: &App, row: Row, claim: &Claim) -> bool {
    match try_to_end(app, &row, claim).await {
        Ok(()) => true,
        Err(Failure::Busy) => {
            give_back(app, &row, claim).await;
            true
        }
        Err(error) => {
            if let Err(error) = note_failure(app, &row, claim, &error).await {
                tracing::warn!(lease = row.id, %error, "a lease is tried again when its claim has run out");
            }
            false
        }
    }
}

async fn try_to_end(app: &App, row: &Row, claim: &Claim) -> Result<(), Failure> {
    if row.lease.state != LeaseState::Revoking && !begin_end(app, row, claim).await? {
        return Err(Failure::Busy);
    }
    app.config.faults.reach("lease.revoke:row").await;
    let server = Server::of(&app.store, &row.organisation, &row.secret).await?;
    let server = server.ok_or_else(|| Failure::Refused("its secret is not there".to_owned()))?;
    remove(app, User::of(&server, &row.lease.username, claim, row.made)).await?;
    again(|| async {
        let mut change = app.store.change(&row.organisation, "platform").await?;
        if changes::revoked(&mut change, claim).await? {
            change.audit("lease.revoked", &object(&row.id), detail(row));
            change.commit().await?;
        }
        Ok(())
    })
    .await?;
    tracing::info!(lease = row.id, "a lease has ended");
    app.config.faults.reach("lease.revoke:revoked").await;
    Ok(())
}

/// What is due of a lease that nobody has revoked: its time is over, or whoever made it is gone.
async fn begin_end(app: &App, row: &Row, claim: &Claim) -> Result<bool, StoreError> {
    let reason = match row.lease.state {
        LeaseState::Creating => "whoever made it was interrupted",
        _ => "expired",
    };
    again(|| async {
        let mut change = app.store.change(&row.organisation, "platform").await?;
        let began = changes::begin_end(&mut change, claim, reason).await?;
        if began {
            let detail = json!({ "username": row.lease.username, "reason": reason });
            change.audit("lease.revoking", &object(&row.id), detail);
            change.commit().await?;
        }
        Ok(began)
    })
    .await
}

async fn note_failure(app: &App, row: &Row, claim: &Claim, error: &Failure) -> Result<(), StoreError> {
    let now = app.clock.now();
    let since = row.failing_since.unwrap_or(now);
    let attempts = row.attempts.saturating_add(1);
    let stuck = now.saturating_sub(since) >= app.config.times.stuck.as_secs();
    let next_at = now.saturating_add(pause(row.attempts, app.config.times.work_pause));
    let text = error.to_string();
    tracing::warn!(lease = row.id, attempts, stuck, %error, "a lease could not be ended; it is tried again");
    again(|| async {
        let failure = changes::Failure { error: &text, attempts, since, stuck, next_at };
        let mut change = match stuck != row.stuck {
            true => app.store.change(&row.organisation, "platform").await?,
            false => app.store.quiet_change(&row.organisation).await?,
        };
        if changes::again(&mut change, claim, &failure).await? && stuck != row.stuck {
            let detail = json!({ "username": row.lease.username, "error": text, "attempts": attempts });
            change.audit("lease.stuck", &object(&row.id), detail);
        }
        match change.commit().await {
            Err(StoreError::Unaudited) => Ok(()),
            other => other,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_fails_is_tried_one_at_a_time() {
        let mut load = Load { at_work: 9, is_failing: false };
        assert!(!load.is_full(20));
        load.is_failing = true;
        assert!(load.is_full(20));
        load.at_work = 0;
        assert!(!load.is_full(1));
    }
}
