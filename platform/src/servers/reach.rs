//! Work on the server of a database: whether it may be done, how its admin user logs in, and why it fails.

use std::future::Future;

use thiserror::Error;

use super::Held;
use crate::api::App;
use crate::api::problem::{Code, Problem};
use crate::postgres::{Session, SqlError, checks};
use crate::store::{StoreError, databases, links};
use crate::words::TestReport;

/// Why work on a database's server did not come to its end.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The server.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// Somebody else works on it.
    #[error("another request or platform instance works on it")]
    Busy,
    /// What it is done for has gone.
    #[error("it has gone")]
    Gone,
    /// No link allows the target through the gateway.
    #[error("no link of the project {0} allows {1} through the gateway {2}")]
    Unlinked(String, String, String),
    /// It contradicts something else.
    #[error("{0}")]
    Refused(String),
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Store(error) => error.into(),
            Failure::Sql(error) => error.into(),
            Failure::Busy => {
                Self::conflict("Another request or platform instance works on it already; look again.")
                    .retry_after(1)
            }
            Failure::Gone => Self::not_found("object"),
            Failure::Unlinked(project, target, gateway) => unlinked(&project, &target, &gateway),
            Failure::Refused(text) => Self::conflict(text),
        }
    }
}

/// No link of `project` allows `target` through `gateway`.
pub(crate) fn unlinked(project: &str, target: &str, gateway: &str) -> Problem {
    let detail = format!(
        "No link of the project {project} allows {target} through the gateway {gateway}. An administrator adds one: \
         adit links add {project} {gateway} {target}"
    );
    Problem::new(Code::UnknownTarget, detail)
}

/// Whether the link from the database's project to its gateway allows its server.
pub(crate) async fn linked(app: &App, database: &databases::Row) -> Result<(), Failure> {
    let (it, target) = (database, database.target());
    match links::allows(&app.store, &it.organisation, &it.project_id, &it.gateway_id, &target).await? {
        true => Ok(()),
        false => Err(Failure::Unlinked(it.project.clone(), target, it.gateway.clone())),
    }
}

/// Does `work` to its end, even when whoever waits for it goes away.
pub(crate) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::spawn(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => Err(Problem::internal(error)),
    }
}

/// Tests something on a database's server, in `dbname` or in the database's own. Where the admin user is not let in, that
/// is what the test has found.
///
/// # Errors
/// [`Failure`]: no link allows it, and where the server went away in the middle.
pub(crate) async fn tested(
    app: &App,
    database: &databases::Row,
    dbname: Option<&str>,
    test: impl AsyncFnOnce(&mut Session) -> Result<TestReport, SqlError>,
) -> Result<TestReport, Failure> {
    linked(app, database).await?;
    match session(app, database, dbname).await {
        Ok(mut session) => Ok(test(&mut session).await?),
        Err(Failure::Sql(error)) => {
            let login = databases::login(&app.store, database, dbname)?;
            Ok(checks::shut_out(&error, &database.name, &database.gateway, &login))
        }
        Err(other) => Err(other),
    }
}

/// A session of a database's admin user in `dbname`, or in the database's own, by whichever of its passwords the server
/// takes: one may change at this very moment.
///
/// # Errors
/// [`Failure::Store`] and [`Failure::Sql`].
pub(crate) async fn session(
    app: &App,
    database: &databases::Row,
    dbname: Option<&str>,
) -> Result<Held, Failure> {
    let login = databases::login(&app.store, database, dbname)?;
    let refused = match app.servers.session(app, &database.address(), &login).await {
        Err(refused @ SqlError::Login { .. }) => refused,
        other => return Ok(other?),
    };
    let now = databases::by_id(&app.store, &database.organisation, &database.id).await?;
    let now = now.ok_or(Failure::Gone)?;
    let other = match databases::pending_login(&app.store, &now, dbname)? {
        Some(login) => login,
        None if now.sealed_password != database.sealed_password => {
            databases::login(&app.store, &now, dbname)?
        }
        None => return Err(refused.into()),
    };
    Ok(app.servers.session(app, &now.address(), &other).await?)
}
