//! One turn of a rotation: one of its users gets a new password.
//!
//! 1. This platform instance claims the rotation. A password that is pending from before is tried first.
//! 2. The session of the admin user is there before anything is written, so that whoever reads meanwhile waits for
//!    little.
//! 3. The new password is written as pending; on the server, `ALTER ROLE`; a login shows that it counts; it is current.
//!
//! Where the server refuses 3 for certain, the pending one is forgotten. Where nobody knows, it stays, and 1 shows it.

use std::time::Instant;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{schedule, try_login};
use crate::api::App;
use crate::postgres::{Login, SqlError, password, scram, users};
use crate::servers::Held;
use crate::servers::pace::{in_time, pause};
use crate::servers::reach::{Failure, linked, session};
use crate::store::rotations::{self, Row, turns};
use crate::store::{again, databases};
use crate::words::RotationMode;

/// For how many seconds the user before stays valid at least, so that whoever has just read it may log in.
pub(crate) const GRACE: u64 = 10;

/// A rotation that this platform instance has claimed.
#[derive(Debug)]
pub(super) struct Turn {
    row: Row,
    database: databases::Row,
    claim: i64,
    since: Instant,
    /// Whose wish it is, for the audit.
    actor: String,
}

/// What the server says where a lock was not free in time: lock_not_available, query_canceled.
const WAITED: [&str; 2] = ["55P03", "57014"];

/// A turn that ended early.
struct Stop {
    failure: Failure,
    /// Whether the pending password, which this turn wrote, was given to nobody for certain.
    nothing_was_done: bool,
}

impl<E: Into<Failure>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self { failure: error.into(), nothing_was_done: false }
    }
}

/// Gives the next user of a rotation a new password now, because `actor` wants it, who saw it when it had been claimed
/// `known` times.
///
/// # Errors
/// [`Failure`]; it is noted, and tried again for ever.
pub(crate) async fn turn(
    app: &App,
    organisation: &str,
    id: &str,
    known: i64,
    actor: &str,
) -> Result<(), Failure> {
    let turn = Turn::claim(app, organisation, id, known, actor).await?.ok_or(Failure::Busy)?;
    turn.run(app).await
}

impl Turn {
    /// Claims a rotation; `None` where somebody else has it, or has had it since it was `known`.
    pub(super) async fn claim(
        app: &App,
        organisation: &str,
        id: &str,
        known: i64,
        actor: &str,
    ) -> Result<Option<Self>, Failure> {
        let (store, since) = (&app.store, Instant::now());
        let until = app.clock.now().saturating_add(app.config.times.claim.as_secs());
        let Some(claim) = turns::claim(store, organisation, id, known, until).await? else { return Ok(None) };
        let row = rotations::by_id(store, organisation, id).await?.ok_or(Failure::Gone)?;
        let database = databases::by_id(store, organisation, &row.database_id).await?.ok_or(Failure::Gone)?;
        Ok(Some(Self { row, database, claim, since, actor: actor.to_owned() }))
    }

    /// Does it, and notes the outcome.
    pub(super) async fn run(self, app: &App) -> Result<(), Failure> {
        let outcome = self.steps(app).await;
        let outcome = match outcome {
            Ok(()) => Ok(()),
            Err(stop) => {
                self.note(app, &stop).await;
                Err(stop.failure)
            }
        };
        app.rotations.ended.notify_waiters();
        outcome
    }

    async fn steps(&self, app: &App) -> Result<(), Stop> {
        let faults = &app.config.faults;
        linked(app, &self.database).await?;
        let left = self.row.pending(&app.store)?;
        if let Some((user, password)) = &left
            && self.was_given(app, *user, password).await?
        {
            return self.settle(app, password).await;
        }
        let mut admin = session(app, &self.database, None).await?;
        let is_new = left.is_none();
        let (user, password) = match left {
            Some(left) => left,
            None => self.begin(app).await?,
        };
        faults.reach("rotate:pending").await;
        if let Err(error) = self.alter(app, &mut admin, user, &password).await {
            drop(admin);
            return Err(self.not_altered(app, (user, &password), is_new, error).await);
        }
        faults.reach("rotate:altered").await;
        // Its place may be the only one.
        drop(admin);
        try_login(app, &self.database, &self.login(user, &password)).await?;
        faults.reach("rotate:verified").await;
        self.settle(app, &password).await?;
        faults.reach("rotate:settled").await;
        Ok(())
    }

    /// What is known once the password could not be given. An attempt before this one may have given it; where the
    /// server has refused this one, which waited for it, that attempt is over, and a login tells.
    async fn not_altered(
        &self,
        app: &App,
        (user, password): (usize, &Zeroizing<String>),
        is_new: bool,
        error: SqlError,
    ) -> Stop {
        let nothing_was_done = match &error {
            SqlError::Refused { code, .. } if !is_new && !WAITED.contains(&code.as_str()) => {
                matches!(self.was_given(app, user, password).await, Ok(false))
            }
            error => is_new && error.nothing_was_done(),
        };
        Stop { failure: error.into(), nothing_was_done }
    }

    /// Whether a password that is pending from before works already.
    async fn was_given(
        &self,
        app: &App,
        user: usize,
        password: &Zeroizing<String>,
    ) -> Result<bool, SqlError> {
        match try_login(app, &self.database, &self.login(user, password)).await {
            Ok(()) => Ok(true),
            Err(SqlError::Login { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a new password before anybody is given it.
    async fn begin(&self, app: &App) -> Result<(usize, Zeroizing<String>), Failure> {
        let (user, password) = (self.row.next_user(), password::generate(&self.row.password));
        let began = again(|| async {
            let mut change = app.store.change(&self.row.organisation, &self.actor).await?;
            let began = turns::begin(&mut change, &self.row.id, self.claim, user, &password).await?;
            if began {
                change.audit("rotation.begun", &self.object(), self.detail(user));
                change.commit().await?;
            }
            Ok(began)
        });
        match began.await? {
            true => Ok((user, password)),
            false => Err(Failure::Busy),
        }
    }

    /// Gives the password on the server. The lock waits for whoever may still be doing the same.
    async fn alter(
        &self,
        app: &App,
        admin: &mut Held,
        user: usize,
        password: &Zeroizing<String>,
    ) -> Result<(), SqlError> {
        in_time(app, self.since)?;
        let given = match self.row.pre_hashed {
            true => Zeroizing::new(scram::verifier(password)),
            false => password.clone(),
        };
        let done = users::set_password(admin, &self.row.users[user], &given, &self.row.id).await;
        done.map_err(|error| error.without(&[password, &given]))
    }

    fn login(&self, user: usize, password: &Zeroizing<String>) -> Login {
        Login {
            host: self.database.host.clone(),
            tls: self.database.tls,
            ca: self.database.ca.clone(),
            user: self.row.users[user].clone(),
            password: password.clone(),
            dbname: self.database.dbname.clone(),
        }
    }

    /// The password has let a login in: it counts.
    async fn settle(&self, app: &App, password: &str) -> Result<(), Stop> {
        let now = app.clock.now();
        let next_at = schedule::next(&self.row.schedule, now).max(now.saturating_add(GRACE));
        let settled = again(|| async {
            let mut change = app.store.change(&self.row.organisation, &self.actor).await?;
            let settled = turns::settle(&mut change, &self.row.id, self.claim, password, next_at).await?;
            if settled {
                let user =
                    self.row.pending(&app.store)?.map_or_else(|| self.row.next_user(), |(user, _)| user);
                change.audit("rotation.rotated", &self.object(), self.detail(user));
                change.commit().await?;
            }
            Ok(settled)
        });
        match settled.await? {
            true => Ok(()),
            false => Err(Failure::Busy.into()),
        }
    }

    /// Notes why it ended early, and when it is tried again.
    async fn note(&self, app: &App, stop: &Stop) {
        if matches!(stop.failure, Failure::Busy) {
            return;
        }
        let error = stop.failure.to_string();
        tracing::warn!(rotation = self.row.id, %error, "a password did not change; it is tried again");
        let pause = pause(self.row.attempts, app.config.times.work_pause);
        let failure = turns::Failure {
            nothing_was_done: stop.nothing_was_done,
            error: &error,
            next_at: app.clock.now().saturating_add(pause),
        };
        let noted = again(|| async {
            let mut change = match self.row.failing_since {
                None => app.store.change(&self.row.organisation, &self.actor).await?,
                Some(_) => app.store.quiet_change(&self.row.organisation).await?,
            };
            turns::fail(&mut change, &self.row.id, self.claim, &failure).await?;
            if self.row.failing_since.is_none() {
                change.audit("rotation.failing", &self.object(), json!({ "error": error }));
            }
            change.commit().await
        });
        if let Err(error) = noted.await {
            tracing::warn!(rotation = self.row.id, %error, "the claim on a rotation runs out by itself");
        }
    }

    fn object(&self) -> String {
        format!("rotation:{}", self.row.name)
    }

    fn detail(&self, user: usize) -> Value {
        json!({
            "user": self.row.users[user],
            "database": self.database.name,
            "gateway": self.database.gateway,
            "mode": match self.row.mode {
                RotationMode::TwoUser => "two-user",
                RotationMode::SingleUser => "single-user",
            },
        })
    }
}
