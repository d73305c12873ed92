//! Leases: users that live as long as somebody needs them, whatever fails meanwhile.
//!
//! ```text
//!  create ── row ── session ── user, marked ── row: active          on the server, everything in one transaction
//!  renew  ── user lengthened ── row
//!  revoke ── row: revoking ── no login ── no sessions ── owns nothing ── dropped ── row: revoked
//! ```
//!
//! What is to be done is written before it is done, and claimed by one platform instance at a time. Whatever is known
//! of a server's state is written after. What is unknown is revoked.
//!
//! - `create` and `make`, `renew`, `remove` — what is done for one lease. `worker` — who does it when it is due.
//! - `scan` — users on servers that are leases of nobody. `server` — what all of them work on.

mod create;
mod make;
mod remove;
mod renew;
mod scan;
mod server;
mod worker;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::{Notify, OnceCell};
use tokio::task::JoinSet;

pub(crate) use create::create;
pub(crate) use renew::renew;
pub(crate) use scan::{Dropped, drop_by_hand, search};

use crate::api::App;
use crate::fleet::duties::rounds;
use crate::postgres::mark;
use crate::store::leases::changes::{self, Which};
use crate::store::leases::{self, Row};
use crate::store::{Change, StoreError};

/// Rows of one kind that one statement changes, so that it holds nobody up.
const BATCH: u32 = 500;

/// Every step at which a test can stop the world: in the order of a lease's life.
pub const STEPS: &[&str] = &[
    "lease.create:row",
    "lease.create:turn",
    "lease.create:begun",
    "lease.create:made",
    "lease.create:committed",
    "lease.create:active",
    "lease.renew:lengthened",
    "lease.revoke:row",
    "lease.revoke:disabled",
    "lease.revoke:sessions",
    "lease.revoke:own-statements",
    "lease.revoke:disowned",
    "lease.revoke:dropped",
    "lease.revoke:revoked",
];

/// What the lease duties of one platform instance share.
#[derive(Debug, Default)]
pub struct Leases {
    bell: Notify,
    mark_key: OnceCell<mark::Key>,
}

impl Leases {
    /// There is something to do: the worker looks at once.
    pub fn ring(&self) {
        self.bell.notify_one();
    }
}

/// Begins the duties: the worker, the searches, and what forgets.
pub fn spawn(app: &Arc<App>, tasks: &mut JoinSet<()>) {
    let times = &app.config.times;
    tasks.spawn(worker::work(app.clone()));
    let often = (times.orphan_scan / 4).min(times.duties * 4);
    tasks.spawn(rounds(app.clone(), "orphans", often, None, async |app| scan::round(app).await));
    let seldom = times.duties * 4;
    tasks.spawn(rounds(app.clone(), "leases", seldom, None, async |app| purge(app).await));
    let mut told = false;
    tasks.spawn(rounds(app.clone(), "restored", seldom, None, async move |app| {
        tell_of_paused(app, &mut told).await
    }));
}

async fn purge(app: &Arc<App>) -> Result<(), StoreError> {
    leases::forget_passwords(&app.store, BATCH).await?;
    leases::purge(&app.store, BATCH).await?;
    Ok(())
}

/// Once for each start.
async fn tell_of_paused(app: &Arc<App>, told: &mut bool) -> Result<(), StoreError> {
    if *told {
        return Ok(());
    }
    *told = true;
    for organisation in leases::due::paused(&app.store).await? {
        tracing::warn!(
            organisation,
            "the platform was restored from a backup: leases from before wait and do not expire until an administrator \
             confirms with: adit leases confirm-restored"
        );
    }
    Ok(())
}

/// Begins the end of leases, within the change that wants it: its actor is whose wish it is. Says how many.
///
/// # Errors
/// Those of the store.
pub async fn end(change: &mut Change, which: Which<'_>, reason: &str) -> Result<u64, StoreError> {
    let ending = changes::end(change, which, reason).await?;
    for lease in &ending {
        let detail = json!({ "username": lease.username, "reason": reason });
        change.audit("lease.revoking", &object(&lease.id), detail);
    }
    Ok(ending.len() as u64)
}

/// How the audit names a lease.
fn object(id: &str) -> String {
    format!("lease:{id}")
}

/// What the audit says of a lease: never a password.
fn detail(row: &Row) -> Value {
    json!({
        "secret": row.lease.secret,
        "database": row.lease.database,
        "gateway": row.gateway_name,
        "username": row.lease.username,
        "expires-at": row.lease.expires_at,
    })
}

#[cfg(test)]
mod tests;
