//! The user of a lease that is begun is made, whoever waits for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::create::issued;
use super::remove::{User, remove};
use super::server::{Server, mark_key};
use super::{detail, object};
use crate::api::App;
use crate::api::problem::{Code, Problem};
use crate::postgres::mark::Mark;
use crate::postgres::{SqlError, users};
use crate::secrets::prepare;
use crate::servers::pace::{in_time, too_late};
use crate::servers::reach::Failure;
use crate::store::leases::changes::{self, Claim, Which};
use crate::store::leases::{self, Row};
use crate::store::{StoreError, again};
use crate::words::IssuedLease;

/// What the server says when a role is not there (SQLSTATE).
const UNDEFINED_OBJECT: &str = "42704";

/// How long before its claim runs out nothing is done any more.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// A lease that is begun.
pub(super) struct Begun {
    pub(super) server: Server,
    pub(super) row: Row,
    pub(super) claim: Claim,
    /// From when the claim counts.
    pub(super) since: Instant,
    pub(super) password: Zeroizing<String>,
}

/// The rest of it goes on when whoever waits for it is gone.
pub(super) async fn finish(
    app: &Arc<App>,
    begun: Begun,
    is_repeatable: bool,
) -> Result<IssuedLease, Problem> {
    let (answer, answered) = oneshot::channel();
    let app = app.clone();
    tokio::spawn(async move {
        let (organisation, id) = (begun.row.organisation.clone(), begun.claim.lease.clone());
        let outcome = make(&app, begun).await;
        let is_made = outcome.is_ok();
        if answer.send(outcome).is_err() && is_made && !is_repeatable {
            nobody_waits(&app, &organisation, &id).await;
        }
    });
    answered.await.map_err(|_| Problem::internal("making a lease ended in the middle"))?
}

/// Its password is lost: nobody can use it, and nobody can ask for it again.
async fn nobody_waits(app: &App, organisation: &str, id: &str) {
    let ending = async {
        let mut change = app.store.change(organisation, "platform").await?;
        if super::end(&mut change, Which::One(id), "nobody waited for its password").await? > 0 {
            change.commit().await?;
        }
        Ok::<_, StoreError>(())
    };
    if let Err(error) = ending.await {
        tracing::warn!(lease = id, %error, "a lease that nobody can use lives until it expires");
    }
    app.leases.ring();
}

async fn make(app: &Arc<App>, begun: Begun) -> Result<IssuedLease, Problem> {
    app.config.faults.reach("lease.create:row").await;
    match make_user(app, &begun).await {
        Ok(()) => {
            app.config.faults.reach("lease.create:committed").await;
            made(app, begun).await
        }
        Err(error) => Err(not_made(app, &begun, error).await),
    }
}

async fn make_user(app: &App, begun: &Begun) -> Result<(), Failure> {
    let secret = &begun.server.secret;
    if secret.group_role.is_some() && secret.prepared_at.is_none() {
        prepare(app, secret, &begun.server.database, &actor(&begun.row)).await?;
    }
    match user(app, begun).await {
        // Somebody has dropped the group.
        Err(Failure::Sql(SqlError::Refused { code, .. }))
            if code == UNDEFINED_OBJECT && secret.group_role.is_some() =>
        {
            prepare(app, secret, &begun.server.database, &actor(&begun.row)).await?;
            user(app, begun).await
        }
        done => done,
    }
}

async fn user(app: &App, begun: &Begun) -> Result<(), Failure> {
    let Begun { server, row, claim, .. } = begun;
    let key = mark_key(app).await?;
    let mut session = server.session(app).await?;
    begun.has_time(app)?;
    app.config.faults.reach("lease.create:turn").await;
    let installation = app.store.installation();
    let mark = Mark {
        installation: installation.id.clone(),
        epoch: installation.epoch.clone(),
        lease: claim.lease.clone(),
    };
    let definition = &server.secret.definition;
    let new = users::NewUser {
        username: &row.lease.username,
        password: &begun.password,
        pre_hashed: definition.pre_hashed,
        remaining: Duration::from_secs(row.lease.expires_at.saturating_sub(app.clock.now())),
        group: server.secret.group_role.as_deref(),
        creation: &definition.creation,
        schemas: &definition.schemas,
        database: &server.secret.dbname,
        comment: &mark.comment(key, &row.lease.username),
        lock: &claim.lease,
    };
    // Every attempt ends before the claim does.
    let left = app.config.times.claim.saturating_sub(begun.since.elapsed() + LAST_MOMENT);
    let making = users::create_by_steps(&mut session, &new, &app.config.faults);
    let late = |_| SqlError::Interrupted("it took too long until its turn came".to_owned());
    Ok(timeout(left, making).await.map_err(late)??)
}

impl Begun {
    /// What would be done on the server after the claim has run out could meet another instance that undoes it.
    fn has_time(&self, app: &App) -> Result<(), SqlError> {
        in_time(app, self.since)?;
        let ends_at = app.clock.now().saturating_add(app.config.times.work.as_secs());
        match ends_at < self.row.claimed_until {
            true => Ok(()),
            false => Err(too_late()),
        }
    }
}

async fn made(app: &App, begun: Begun) -> Result<IssuedLease, Problem> {
    let Begun { server, row, claim, password, .. } = begun;
    let is_active = again(|| async {
        let mut change = app.store.change(&row.organisation, &actor(&row)).await?;
        let is_active = changes::made(&mut change, &claim).await?;
        if is_active {
            change.audit("lease.created", &object(&row.id), detail(&row));
            change.commit().await?;
        }
        Ok(is_active)
    })
    .await?;
    app.config.faults.reach("lease.create:active").await;
    if !is_active {
        overtaken(app, &server, &row, &claim).await;
        return Err(Problem::new(Code::LeaseEnded, "The lease was revoked while it was made."));
    }
    tracing::info!(lease = row.id, "a lease was made");
    let now = leases::find(&app.store, &row.organisation, None, &row.id).await?;
    Ok(issued(&server, now.unwrap_or(row), &password))
}

/// Somebody else has ended it meanwhile. Whoever did that before its user was there has found none: it is removed here.
async fn overtaken(app: &App, server: &Server, row: &Row, claim: &Claim) {
    give_back(app, row, claim).await;
    let lives = leases::find(&app.store, &row.organisation, None, &row.id).await;
    if lives.is_ok_and(|now| now.is_some_and(|now| now.lives())) {
        return;
    }
    let user = User { claim: None, ..User::of(server, &row.lease.username, claim, false) };
    if let Err(error) = remove(app, user).await {
        tracing::warn!(lease = row.id, %error, "a user that came too late is left to the search for lost ones");
    }
}

fn actor(row: &Row) -> String {
    format!("identity:{}", row.lease.identity)
}

async fn not_made(app: &App, begun: &Begun, error: Failure) -> Problem {
    let Begun { row, claim, .. } = begun;
    let is_certain = match &error {
        Failure::Sql(error) => error.nothing_was_done(),
        _ => true,
    };
    let error = match error {
        Failure::Sql(error) => Failure::Sql(error.without(&[&begun.password])),
        other => other,
    };
    let reason = format!("its user was not made: {error}");
    let noted = again(|| async {
        let mut change = app.store.change(&row.organisation, &actor(row)).await?;
        let (changed, action) = match is_certain {
            true => (changes::failed(&mut change, claim, &reason).await?, "lease.failed"),
            false => (changes::doubtful(&mut change, claim, &reason).await?, "lease.revoking"),
        };
        if changed {
            change.audit(
                action,
                &object(&row.id),
                json!({ "username": row.lease.username, "reason": reason }),
            );
            change.commit().await?;
        }
        Ok(())
    });
    if let Err(error) = noted.await {
        tracing::warn!(lease = row.id, %error, "a lease that was not made is seen to when its claim has run out");
    }
    give_back(app, row, claim).await;
    tracing::info!(lease = row.id, is_certain, "a lease was not made");
    error.into()
}

/// The claim is of no more use here; whoever is to end the lease may go on.
pub(super) async fn give_back(app: &App, row: &Row, claim: &Claim) {
    if let Err(error) = leases::due::release(&app.store, &row.organisation, claim).await {
        tracing::warn!(lease = row.id, %error, "the claim on a lease runs out by itself");
    }
    app.leases.ring();
}
