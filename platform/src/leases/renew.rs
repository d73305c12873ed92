//! A lease is renewed: its user's life is lengthened first, then the row, so that no row promises what the server does
//! not keep. It lives from now on, never past its last day and never shorter than before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::create::ttl;
use super::make::give_back;
use super::object;
use super::server::Server;
use crate::api::App;
use crate::api::caller::Caller;
use crate::api::problem::{Code, Problem};
use crate::postgres::users;
use crate::servers::reach::{Failure, linked};
use crate::store::leases::changes::{self, Claim};
use crate::store::leases::{self, Row, due};
use crate::store::{StoreError, again};
use crate::words::{Lease, LeaseState, RenewLease};

/// From one attempt to claim a lease to the next.
const LOOK: Duration = Duration::from_millis(100);

/// Renews the lease `row`, which the caller may renew.
pub(crate) async fn renew(
    app: &Arc<App>,
    caller: &Caller,
    row: Row,
    wanted: &RenewLease,
) -> Result<Lease, Problem> {
    let server = Server::of(&app.store, &row.organisation, &row.secret).await?;
    let server = server.ok_or_else(|| Problem::not_found("lease"))?;
    linked(app, &server.database).await?;
    let ttl = ttl(&server.secret.definition, wanted.ttl)?;
    // The claim is given back when whoever waits for the answer is gone, too.
    let (app, actor) = (app.clone(), caller.actor());
    let work = tokio::spawn(async move { claimed(&app, &actor, &server, row, ttl).await });
    work.await.map_err(Problem::internal)?
}

async fn claimed(app: &App, actor: &str, server: &Server, row: Row, ttl: u64) -> Result<Lease, Problem> {
    let until = Instant::now() + app.config.times.work;
    let mut row = row;
    let claim = loop {
        row = still_active(app, &row).await?;
        if let Some(claim) = due::claim(&app.store, &row, app.config.times.claim).await? {
            break claim;
        }
        if Instant::now() >= until {
            return Err(Problem::conflict("Somebody else works on the lease; try again.").retry_after(1));
        }
        tokio::time::sleep(LOOK).await;
    };
    let outcome = lengthen(app, actor, server, &row, &claim, ttl).await;
    if !matches!(outcome, Ok(true)) {
        give_back(app, &row, &claim).await;
    }
    outcome?;
    Ok(still_active(app, &row).await?.lease)
}

/// The lease as it is now, where it can be renewed.
async fn still_active(app: &App, row: &Row) -> Result<Row, Problem> {
    let ended = || Problem::new(Code::LeaseEnded, "The lease has ended or is ending; make another one.");
    let row = leases::find(&app.store, &row.organisation, None, &row.id).await?.ok_or_else(ended)?;
    match row.lease.state {
        LeaseState::Active if row.lease.expires_at > app.clock.now() => Ok(row),
        LeaseState::Creating => {
            Err(Problem::conflict("The lease is still being made; try again.").retry_after(1))
        }
        _ => Err(ended()),
    }
}

/// Whether the row was lengthened; `false` where there is nothing to lengthen, or the lease has ended meanwhile.
async fn lengthen(
    app: &App,
    actor: &str,
    server: &Server,
    row: &Row,
    claim: &Claim,
    ttl: u64,
) -> Result<bool, Failure> {
    let Some(expires_at) = later(row, app.clock.now(), ttl) else { return Ok(false) };
    let mut session = server.session(app).await?;
    if !due::keep(&app.store, &row.organisation, claim, app.config.times.claim).await? {
        return Err(Failure::Busy);
    }
    let remaining = Duration::from_secs(expires_at.saturating_sub(app.clock.now()));
    let definition = &server.secret.definition;
    let it = users::Lengthened {
        username: &row.lease.username,
        remaining,
        renewal: &definition.renewal,
        schemas: &definition.schemas,
        database: &server.secret.dbname,
        lock: &row.id,
    };
    users::lengthen(&mut session, &it).await?;
    drop(session);
    app.config.faults.reach("lease.renew:lengthened").await;
    Ok(note(app, actor, row, claim, expires_at).await?)
}

/// When a lease ends that is renewed for `ttl` seconds from `now` on; `None` where that is no later than it does.
fn later(row: &Row, now: u64, ttl: u64) -> Option<u64> {
    let expires_at = now.saturating_add(ttl).min(row.lease.max_expires_at);
    (expires_at > row.lease.expires_at).then_some(expires_at)
}

async fn note(app: &App, actor: &str, row: &Row, claim: &Claim, expires_at: u64) -> Result<bool, StoreError> {
    let noted = again(|| async {
        let mut change = app.store.change(&row.organisation, actor).await?;
        let noted = changes::lengthened(&mut change, claim, expires_at).await?;
        if noted {
            let detail = json!({
                "username": row.lease.username,
                "gateway": row.gateway_name,
                "expires-at": expires_at,
                "before": row.lease.expires_at,
            });
            change.audit("lease.renewed", &object(&row.id), detail);
            change.commit().await?;
        }
        Ok(noted)
    });
    let noted = noted.await?;
    tracing::info!(lease = row.id, noted, "a lease was renewed");
    Ok(noted)
}
