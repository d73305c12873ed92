//! The admin user of a database gets a new password, which only the platform knows.
//!
//! As a turn of a rotation, with one difference: whoever is to change the password is the user itself. So both are kept
//! until a login with the new one works, and whichever of them the server takes is the way in.

use std::time::Instant;

use serde_json::json;
use zeroize::Zeroizing;

use super::try_login;
use crate::api::App;
use crate::postgres::{SqlError, password, scram, users};
use crate::servers::Held;
use crate::servers::pace::in_time;
use crate::servers::reach::{Failure, linked, session};
use crate::store::databases::{self, Row, root};
use crate::store::{StoreError, again};
use crate::words::PasswordPolicy;

/// A database whose root rotation this platform instance has claimed.
#[derive(Debug)]
pub(super) struct Root {
    row: Row,
    claim: i64,
    since: Instant,
    /// Whose wish it is, for the audit.
    actor: String,
}

/// Gives a database's admin user a new password now, because `actor` wants it, or ends what a rotation before has begun.
///
/// # Errors
/// [`Failure`]. Where the outcome is unknown, the worker finds out.
pub(crate) async fn rotate(app: &App, organisation: &str, id: &str, actor: &str) -> Result<(), Failure> {
    let root = Root::claim(app, organisation, id, false, actor).await?.ok_or(Failure::Busy)?;
    let outcome = root.run(app).await;
    if matches!(&outcome, Err(Failure::Sql(SqlError::Interrupted(_)))) {
        app.rotations.bell.notify_one();
    }
    outcome
}

/// How a root rotation ended early.
enum Stop {
    /// Nothing is pending, or nobody was given what is.
    Undone(Failure),
    /// What is pending may count.
    Unknown(Failure),
}

impl Root {
    /// Claims a database; `None` where somebody else has it, or has settled what was `unsettled`.
    pub(super) async fn claim(
        app: &App,
        organisation: &str,
        id: &str,
        unsettled: bool,
        actor: &str,
    ) -> Result<Option<Self>, Failure> {
        let (store, since) = (&app.store, Instant::now());
        let until = app.clock.now().saturating_add(app.config.times.claim.as_secs());
        let claim = databases::claim(store, organisation, id, unsettled, until).await?;
        let Some(claim) = claim else { return Ok(None) };
        let row = databases::by_id(store, organisation, id).await?.ok_or(Failure::Gone)?;
        Ok(Some(Self { row, claim, since, actor: actor.to_owned() }))
    }

    /// Does it. What stays unknown keeps its claim until that runs out, which is the pause before the next attempt.
    pub(super) async fn run(&self, app: &App) -> Result<(), Failure> {
        let steps = match self.row.is_rotating() {
            true => self.finish(app).await.map_err(Stop::Unknown),
            false => self.steps(app).await,
        };
        let failure = match steps {
            Ok(()) => {
                app.servers.forget(&self.row.id);
                return Ok(());
            }
            // Somebody else has the claim by now: what is pending is theirs.
            Err(Stop::Undone(Failure::Busy)) => Failure::Busy,
            Err(Stop::Undone(failure)) => {
                self.take_back(app).await;
                failure
            }
            Err(Stop::Unknown(failure)) => failure,
        };
        tracing::warn!(database = self.row.id, error = %failure, "the password of an admin user did not change");
        Err(failure)
    }

    /// A rotation from nothing.
    async fn steps(&self, app: &App) -> Result<(), Stop> {
        let undone = Stop::Undone;
        linked(app, &self.row).await.map_err(undone)?;
        let mut admin = session(app, &self.row, None).await.map_err(undone)?;
        let password = password::generate(&PasswordPolicy::default());
        self.begin(app, &password).await.map_err(undone)?;
        app.config.faults.reach("root:pending").await;
        self.alter(app, &mut admin, &password).await.map_err(|error| match error.nothing_was_done() {
            true => Stop::Undone(error.into()),
            false => Stop::Unknown(error.into()),
        })?;
        drop(admin);
        self.verify(app, &password).await.map_err(Stop::Unknown)
    }

    /// The end of a rotation whose outcome nobody knows: the pending password may work already; else the current one
    /// does, and the pending one is given again. So it does not matter when the first attempt to give it arrives.
    async fn finish(&self, app: &App) -> Result<(), Failure> {
        linked(app, &self.row).await?;
        let pending = databases::pending_login(&app.store, &self.row, None)?;
        let pending = pending.ok_or(Failure::Gone)?;
        match try_login(app, &self.row, &pending).await {
            Ok(()) => return self.settle(app, &pending.password).await,
            Err(SqlError::Login { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let current = databases::login(&app.store, &self.row, None)?;
        let mut admin = app.servers.session(app, &self.row.address(), &current).await?;
        self.alter(app, &mut admin, &pending.password).await?;
        drop(admin);
        self.verify(app, &pending.password).await
    }

    /// Writes the new password before it is given, unless another database would lose its own by it.
    async fn begin(&self, app: &App, password: &str) -> Result<(), Failure> {
        let (row, mut other) = (&self.row, None);
        let mut change = app.store.change(&row.organisation, &self.actor).await?;
        root::alone(&mut change).await?;
        for (id, name) in databases::with_admin(&mut change, &row.host, row.port, &row.admin_user).await? {
            if id != row.id {
                other = Some(name);
            }
        }
        if let Some(other) = other {
            return Err(Failure::Refused(format!(
                "The database {other} works on the same server as the same user, and would be locked out. Give each \
                 an admin user of its own."
            )));
        }
        if !root::begin(&mut change, &row.id, self.claim, password).await? {
            return Err(Failure::Busy);
        }
        change.audit("database.rotation-begun", &self.object(), self.detail());
        Ok(change.commit().await?)
    }

    async fn alter(&self, app: &App, admin: &mut Held, password: &Zeroizing<String>) -> Result<(), SqlError> {
        in_time(app, self.since)?;
        let verifier = Zeroizing::new(scram::verifier(password));
        let done = users::set_password(admin, &self.row.admin_user, &verifier, &self.row.id).await;
        done.map_err(|error| error.without(&[password, &verifier]))?;
        app.config.faults.reach("root:altered").await;
        Ok(())
    }

    async fn verify(&self, app: &App, password: &Zeroizing<String>) -> Result<(), Failure> {
        let mut login = databases::login(&app.store, &self.row, None)?;
        login.password = password.clone();
        try_login(app, &self.row, &login).await?;
        app.config.faults.reach("root:verified").await;
        self.settle(app, password).await?;
        app.config.faults.reach("root:settled").await;
        Ok(())
    }

    async fn settle(&self, app: &App, password: &str) -> Result<(), Failure> {
        let settled = again(|| async {
            let mut change = app.store.change(&self.row.organisation, &self.actor).await?;
            let settled = root::settle(&mut change, &self.row.id, self.claim, password).await?;
            if settled {
                change.audit("database.rotated", &self.object(), self.detail());
                change.commit().await?;
            }
            Ok(settled)
        });
        match settled.await? {
            true => Ok(()),
            false => Err(Failure::Busy),
        }
    }

    async fn take_back(&self, app: &App) {
        let taken = again(|| async {
            let mut change = app.store.quiet_change(&self.row.organisation).await?;
            root::take_back(&mut change, &self.row.id, self.claim).await?;
            change.commit().await
        });
        let taken: Result<(), StoreError> = taken.await;
        if let Err(error) = taken {
            tracing::warn!(database = self.row.id, %error, "the claim on a database runs out by itself");
        }
    }

    fn object(&self) -> String {
        format!("database:{}", self.row.name)
    }

    fn detail(&self) -> serde_json::Value {
        json!({ "user": self.row.admin_user, "gateway": self.row.gateway })
    }
}
