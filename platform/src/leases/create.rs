//! A lease is made.
//!
//! 1. The row says what is about to be made, and this instance claims it.
//! 2. On the server, in one transaction: the user, what it may do, and its mark.
//! 3. The row says that it is there.
//!
//! Where 2 did nothing for certain, the lease has failed. Where nobody knows, it is revoked. Where this instance is gone
//! before 3, another one revokes it once the claim has run out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::make::{Begun, finish};
use super::object;
use super::server::{Server, hash};
use crate::api::App;
use crate::api::caller::Caller;
use crate::api::problem::{Code, Problem};
use crate::postgres::{password, username};
use crate::servers::reach::linked;
use crate::store::leases::changes::Claim;
use crate::store::leases::{self, Inserted, New, Row};
use crate::store::{StoreError, again, databases, secrets};
use crate::trust::random_id;
use crate::words::{IssuedLease, LeaseState, NewLease, NewSecret};

/// The shortest life, in seconds.
const SHORTEST: u64 = 60;

/// From one look at a lease that another request makes to the next.
const LOOK: Duration = Duration::from_millis(100);

/// What somebody asks for.
struct Wish {
    server: Server,
    ttl: u64,
    /// The hash of the key with which the request may be repeated.
    key: Option<String>,
    /// The hash of what is asked for.
    request: String,
}

/// Makes a lease for `caller`; `key` is what the request may be repeated with.
pub(crate) async fn create(
    app: &Arc<App>,
    caller: &Caller,
    new: &NewLease,
    key: Option<&str>,
) -> Result<IssuedLease, Problem> {
    let wish = wish(app, caller, new, key).await?;
    if let Some(answer) = repeated(app, caller, &wish).await? {
        return Ok(answer);
    }
    match begin(app, caller, &wish).await {
        Ok(begun) => finish(app, begun, wish.key.is_some()).await,
        // The same request was faster.
        Err(Refused::Repeated) => {
            let answer = repeated(app, caller, &wish).await?;
            answer.ok_or_else(|| Problem::conflict("The same request has just failed; send it again."))
        }
        Err(Refused::Problem(problem)) => Err(problem),
    }
}

async fn wish(app: &App, caller: &Caller, new: &NewLease, key: Option<&str>) -> Result<Wish, Problem> {
    let (store, organisation) = (&app.store, &caller.organisation);
    let secret = secrets::find(store, organisation, caller.only_projects_of(), &new.secret).await?;
    let secret = secret.ok_or_else(|| Problem::not_found("secret"))?;
    if !caller.uses(&secret.project_id) {
        return Err(Problem::forbidden("Only members of the secret's project may lease it."));
    }
    let ttl = ttl(&secret.definition, new.ttl)?;
    let database = databases::by_id(store, organisation, &secret.database_id).await?;
    let database = database.ok_or_else(|| Problem::not_found("secret"))?;
    let asked = new.ttl.map(|ttl| ttl.to_string()).unwrap_or_default();
    Ok(Wish {
        ttl,
        key: key.map(|key| hash(&[organisation, &caller.identity, key])),
        request: hash(&[&secret.id, &asked]),
        server: Server { database, secret },
    })
}

/// The life that is asked for, in seconds: what the secret says where none is.
pub(super) fn ttl(definition: &NewSecret, wanted: Option<u64>) -> Result<u64, Problem> {
    let (ttl, longest) = (wanted.unwrap_or(definition.default_ttl), definition.max_ttl);
    match (SHORTEST..=longest).contains(&ttl) {
        true => Ok(ttl),
        false => {
            Err(Problem::bad_request(format!("ttl is {SHORTEST} to {longest} seconds for this secret.")))
        }
    }
}

/// What the same request was answered before, which may still be under way.
async fn repeated(app: &App, caller: &Caller, wish: &Wish) -> Result<Option<IssuedLease>, Problem> {
    let Some(key) = &wish.key else { return Ok(None) };
    let until = Instant::now() + app.config.times.work;
    loop {
        let Some(found) = leases::by_key(&app.store, &caller.organisation, key).await? else {
            return Ok(None);
        };
        if found.request != wish.request {
            return Err(Problem::new(
                Code::IdempotencyConflict,
                "The Idempotency-Key came with another request in the last ten minutes; use a new one.",
            ));
        }
        match found.row.lease.state {
            LeaseState::Active => return Ok(Some(issued(&wish.server, found.row, &found.password))),
            LeaseState::Creating if Instant::now() < until => tokio::time::sleep(LOOK).await,
            LeaseState::Creating => {
                return Err(Problem::conflict("The same request is still under way.").retry_after(1));
            }
            _ => {
                return Err(Problem::new(
                    Code::LeaseEnded,
                    "The lease that this Idempotency-Key made has ended; use a new key for another one.",
                ));
            }
        }
    }
}

pub(super) fn issued(server: &Server, row: Row, password: &str) -> IssuedLease {
    let at = &server.database;
    IssuedLease {
        lease: row.lease,
        password: password.to_owned(),
        gateway: at.gateway.clone(),
        host: at.host.clone(),
        port: at.port,
        dbname: server.secret.dbname.clone(),
    }
}

/// Why no lease is begun.
enum Refused {
    /// The key of the request is taken.
    Repeated,
    /// Something else.
    Problem(Problem),
}

impl<E: Into<Problem>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self::Problem(error.into())
    }
}

async fn begin(app: &App, caller: &Caller, wish: &Wish) -> Result<Begun, Refused> {
    linked(app, &wish.server.database).await?;
    let (id, since) = (random_id(), Instant::now());
    let password = password::generate(&wish.server.secret.definition.password);
    let username = name(caller, &wish.server, app.clock.now())?;
    let organisation = &caller.organisation;
    let sealed = app.store.sealer().seal(&leases::place(organisation, &id), password.as_bytes());
    let inserted = again(|| insert(app, caller, wish, &id, &username, &sealed)).await;
    match inserted {
        Ok(Inserted::Yes) => {}
        Ok(Inserted::Full(max)) => return Err(Refused::Problem(full(max))),
        Ok(Inserted::NoSecret) => return Err(Refused::Problem(Problem::not_found("secret"))),
        Ok(Inserted::NoMember) => {
            return Err(Refused::Problem(Problem::forbidden("You are no member of the project any more.")));
        }
        Err(StoreError::Conflict) if wish.key.is_some() => return Err(Refused::Repeated),
        Err(error) => return Err(error.into()),
    }
    let row = leases::find(&app.store, organisation, None, &id).await?;
    let row = row.ok_or_else(|| Problem::internal("a lease has gone that was just begun"))?;
    // As it is now that the row keeps it where it is.
    let server = Server::of(&app.store, organisation, &wish.server.secret.id).await?;
    let server = server.ok_or_else(|| Problem::internal("a secret has gone of which a lease was begun"))?;
    let claim = Claim { lease: id, number: 1 };
    Ok(Begun { server, row, claim, since, password })
}

fn full(max: u64) -> Problem {
    let text = format!(
        "{max} leases of this secret live, which is its max_leases: revoke one, or wait for one to end."
    );
    Problem::new(Code::TooManyLeases, text)
}

fn name(caller: &Caller, server: &Server, now: u64) -> Result<String, Problem> {
    let definition = &server.secret.definition;
    let template = username::Template::parse(definition.username_template.as_deref().unwrap_or_default());
    let template = template.map_err(Problem::internal)?;
    let names = username::Names { identity: &caller.name, secret: &server.secret.name, unix_time: now };
    Ok(template.render(&names))
}

async fn insert(
    app: &App,
    caller: &Caller,
    wish: &Wish,
    id: &str,
    username: &str,
    sealed_password: &str,
) -> Result<Inserted, StoreError> {
    let (now, secret) = (app.clock.now(), &wish.server.secret);
    let new = New {
        id,
        secret: &secret.id,
        database: &secret.database_id,
        project: &secret.project_id,
        identity: &caller.identity,
        username,
        sealed_password,
        key: wish.key.as_deref(),
        request: &wish.request,
        expires_at: now.saturating_add(wish.ttl),
        max_expires_at: now.saturating_add(secret.definition.max_ttl),
        claim_until: now.saturating_add(app.config.times.claim.as_secs()),
    };
    let mut change = app.change(caller).await?;
    let inserted = leases::insert(&mut change, &new).await?;
    if inserted == Inserted::Yes {
        let detail = json!({
            "secret": secret.name,
            "database": secret.database,
            "gateway": wish.server.database.gateway,
            "username": username,
            "expires-at": new.expires_at,
        });
        change.audit("lease.requested", &object(id), detail);
        change.commit().await?;
    }
    Ok(inserted)
}
