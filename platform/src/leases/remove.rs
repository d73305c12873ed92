//! The user of a lease is removed. Every step may be done twice, and by another instance than the one before.
//!
//! 1. It can't log in any more, whatever else fails.
//! 2. Its sessions are ended, until there is none.
//! 3. What it has prepared for two-phase commit is rolled back.
//! 4. The secret's own statements.
//! 5. In every database on the server where it owns something or is granted something, it does no more.
//! 6. It is dropped.

use super::server::{Server, mark_key, session};
use crate::api::App;
use crate::postgres::{Session, SqlError, mark, users};
use crate::servers::reach::Failure;
use crate::store::databases;
use crate::store::leases::changes::Claim;
use crate::store::leases::due;
use crate::words::{NewSecret, Owned};

/// Whose user is removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct User<'a> {
    pub(super) database: &'a databases::Row,
    pub(super) username: &'a str,
    /// The lease's id: work on it is done under this lock.
    pub(super) lease: &'a str,
    /// Whether the user is known to be the lease's. Else its mark has to say so.
    pub(super) is_known: bool,
    /// How the user was made, where that is known.
    pub(super) definition: Option<(&'a NewSecret, &'a str)>,
    /// What has to be kept while it is done.
    pub(super) claim: Option<&'a Claim>,
}

impl<'a> User<'a> {
    pub(super) fn of(server: &'a Server, username: &'a str, claim: &'a Claim, is_known: bool) -> Self {
        Self {
            database: &server.database,
            username,
            lease: &claim.lease,
            is_known,
            definition: Some((&server.secret.definition, &server.secret.dbname)),
            claim: Some(claim),
        }
    }

    async fn keep(&self, app: &App) -> Result<(), Failure> {
        let Some(claim) = self.claim else { return Ok(()) };
        let organisation = &self.database.organisation;
        match due::keep(&app.store, organisation, claim, app.config.times.claim).await? {
            true => Ok(()),
            false => Err(Failure::Busy),
        }
    }
}

/// Removes a user. `false` where there was none that is the lease's.
pub(super) async fn remove(app: &App, user: User<'_>) -> Result<bool, Failure> {
    let Some(prepared) = without_login(app, user).await? else { return Ok(false) };
    app.config.faults.reach("lease.revoke:sessions").await;
    let dbnames = without_prepared(app, user, prepared).await?;
    own_statements(app, user).await?;
    disown(app, user, dbnames).await?;
    user.keep(app).await?;
    let mut session = session(app, user.database, None).await?;
    users::drop(&mut session, user.username, user.lease).await?;
    app.config.faults.reach("lease.revoke:dropped").await;
    Ok(true)
}

/// It owns nothing and may do nothing in `dbnames` any more. What a server refuses in one database, where others have
/// granted it something for instance, keeps nobody from the next one.
async fn disown(app: &App, user: User<'_>, dbnames: Vec<String>) -> Result<(), Failure> {
    let owned = user.definition.map_or(Owned::Reassign, |(definition, _)| definition.owned);
    let mut refused = None;
    for dbname in dbnames {
        user.keep(app).await?;
        let mut session = session(app, user.database, Some(&dbname)).await?;
        match users::disown(&mut session, user.username, owned, user.lease).await {
            Ok(_) => {}
            Err(error @ SqlError::Refused { .. }) => refused = refused.or(Some(error)),
            Err(error) => return Err(error.into()),
        }
        app.config.faults.reach("lease.revoke:disowned").await;
    }
    refused.map_or(Ok(()), |error| Err(error.into()))
}

/// It can't log in, and nobody is logged in as it. The databases where it has prepared transactions; `None` where there
/// is no user that is the lease's.
async fn without_login(app: &App, user: User<'_>) -> Result<Option<Vec<String>>, Failure> {
    let mut session = session(app, user.database, None).await?;
    user.keep(app).await?;
    if !is_there(app, &mut session, user).await? {
        return Ok(None);
    }
    users::disable(&mut session, user.username, user.lease).await?;
    app.config.faults.reach("lease.revoke:disabled").await;
    user.keep(app).await?;
    users::end_sessions(&mut session, user.username).await?;
    Ok(Some(users::databases_with_prepared(&mut session, user.username).await?))
}

/// It has no prepared transactions in `prepared` any more. The databases where it owns something or is granted something.
async fn without_prepared(app: &App, user: User<'_>, prepared: Vec<String>) -> Result<Vec<String>, Failure> {
    for dbname in prepared {
        user.keep(app).await?;
        let mut session = session(app, user.database, Some(&dbname)).await?;
        users::roll_back_prepared(&mut session, user.username).await?;
    }
    let mut session = session(app, user.database, None).await?;
    Ok(users::databases_with(&mut session, user.username).await?)
}

/// Whether the user is there, and the lease's. Whoever may still be making it is waited for.
async fn is_there(app: &App, session: &mut Session, user: User<'_>) -> Result<bool, Failure> {
    let Some(comment) = users::find(session, user.username, user.lease).await? else { return Ok(false) };
    if user.is_known {
        return Ok(true);
    }
    let (key, installation) = (mark_key(app).await?, &app.store.installation().id);
    Ok(match mark::read(key, installation, user.username, comment.as_deref()) {
        mark::Finding::Valid(mark) => mark.lease == user.lease,
        _ => false,
    })
}

async fn own_statements(app: &App, user: User<'_>) -> Result<(), Failure> {
    let Some((definition, dbname)) = user.definition else { return Ok(()) };
    if definition.revocation.is_empty() {
        return Ok(());
    }
    user.keep(app).await?;
    let mut session = session(app, user.database, Some(dbname)).await?;
    users::run_revocation(&mut session, user.username, definition, dbname, user.lease).await?;
    app.config.faults.reach("lease.revoke:own-statements").await;
    Ok(())
}
