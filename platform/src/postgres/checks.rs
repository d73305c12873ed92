//! Tests of what is defined: each right that the platform needs on a server, and what to do about one that is missing.
//!
//! Whatever is tried out is rolled back.

mod entry;
mod secret;

use std::time::Duration;

use tokio_postgres::types::Type;

use super::quote::identifier;
use super::users::{NewUser, create_in, heir};
use super::{Session, SqlError, column, scram};
use crate::trust::random_id;
use crate::words::{Check, TestReport};

pub use entry::shut_out;
pub use secret::secret;

/// By how many seconds clocks may differ: for as long users can log in after their leases have expired.
const MAX_OFFSET: u64 = 30;

/// The oldest server whose commands are what is used here.
const OLDEST: u32 = 13;

/// Whether the user that has logged in can do the work of an admin user. `now` is unix seconds.
///
/// # Errors
/// [`SqlError`] where the server answers no more; what it refuses is in the report.
pub async fn database(session: &mut Session, now: u64) -> Result<TestReport, SqlError> {
    let mut report = Report::default();
    report.server(session, now).await?;
    report.admin(session).await?;
    Ok(report.finish(session))
}

/// Whether the user that has logged in may give `users` new passwords. `now` is unix seconds.
///
/// # Errors
/// [`SqlError`] where the server answers no more; what it refuses is in the report.
pub async fn rotation(session: &mut Session, users: &[String], now: u64) -> Result<TestReport, SqlError> {
    let mut report = Report::default();
    report.server(session, now).await?;
    for user in users {
        report.rotated(session, user).await?;
    }
    Ok(report.finish(session))
}

/// What was found so far.
#[derive(Debug, Default)]
struct Report {
    clock_ahead: Option<i64>,
    checks: Vec<Check>,
}

impl Report {
    fn finish(self, session: &Session) -> TestReport {
        TestReport {
            ok: self.checks.iter().all(|check| check.ok),
            server_version: Some(session.server_version().to_owned()),
            clock_ahead: self.clock_ahead,
            checks: self.checks,
        }
    }

    /// Something that was looked at; `remedy` is shown where it is not as it has to be.
    fn check(&mut self, name: impl Into<String>, ok: bool, found: Option<String>, remedy: impl Into<String>) {
        let remedy = (!ok).then(|| remedy.into());
        self.checks.push(Check { name: name.into(), ok, found, remedy });
    }

    /// Something that was tried out. What the server refuses is found; anything else ends the test.
    fn tried(
        &mut self,
        name: impl Into<String>,
        outcome: Result<(), SqlError>,
        remedy: impl Into<String>,
    ) -> Result<(), SqlError> {
        match outcome {
            Ok(()) => self.check(name, true, None, ""),
            Err(error @ SqlError::Refused { .. }) => self.check(name, false, Some(error.to_string()), remedy),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What the server is, and what its clock says.
    async fn server(&mut self, session: &mut Session, now: u64) -> Result<(), SqlError> {
        let (major, found) = (session.major(), session.server_version().to_owned());
        let remedy = format!("upgrade the server: PostgreSQL {OLDEST} is the oldest that works");
        self.check("the server is recent enough", major >= OLDEST, Some(found), remedy);
        let rows = session.look("SELECT extract(epoch FROM clock_timestamp())::bigint", &[]).await?;
        let theirs: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
        let ahead = theirs.saturating_sub_unsigned(now);
        self.clock_ahead = Some(ahead);
        let found = match ahead {
            0 => None,
            1.. => Some(format!("the server's is {ahead} s ahead")),
            _ => Some(format!("the server's is {} s behind", ahead.unsigned_abs())),
        };
        let remedy = "set both clocks by NTP: users expire by the server's, leases by the platform's";
        self.check("the clocks agree", ahead.unsigned_abs() <= MAX_OFFSET, found, remedy);
        Ok(())
    }

    /// What the admin user may do.
    async fn admin(&mut self, session: &mut Session) -> Result<(), SqlError> {
        let sql = "SELECT rolcreaterole OR rolsuper, rolsuper, rolinherit, session_user::text \
             FROM pg_roles WHERE rolname = session_user";
        let rows = session.look(sql, &[]).await?;
        let Some(row) = rows.first() else { return Ok(()) };
        let (may_create, is_super): (bool, bool) = (column(row, 0)?, column(row, 1)?);
        let (inherits, admin): (bool, String) = (column(row, 2)?, identifier(&column::<String>(row, 3)?));
        let found = is_super.then(|| "it is a superuser, which it need not be".to_owned());
        self.check(
            "the admin user may make roles",
            may_create,
            found,
            format!("ALTER ROLE {admin} CREATEROLE;"),
        );
        if session.major() < 16 {
            let remedy = format!("ALTER ROLE {admin} INHERIT;");
            self.check("the admin user may do what its users may", inherits, None, remedy);
        }
        if may_create {
            let outcome = try_a_life(session).await;
            let remedy = format!("let {admin} make, comment on and drop roles: see what the server says");
            self.tried("a user can be made, marked and removed", outcome, remedy)?;
        }
        Ok(())
    }

    /// Whether `user` can be given a password.
    async fn rotated(&mut self, session: &mut Session, user: &str) -> Result<(), SqlError> {
        let sql = "SELECT rolcanlogin, coalesce(rolvaliduntil < clock_timestamp(), false), session_user::text \
             FROM pg_roles WHERE rolname = $1";
        let rows = session.look(sql, &[(&user, Type::TEXT)]).await?;
        let name = identifier(user);
        let remedy = format!("CREATE ROLE {name} LOGIN;");
        self.check(format!("the user {user:?} is there"), !rows.is_empty(), None, remedy);
        let Some(row) = rows.first() else { return Ok(()) };
        let (can_login, is_over): (bool, bool) = (column(row, 0)?, column(row, 1)?);
        let admin = identifier(&column::<String>(row, 2)?);
        self.check(format!("{user:?} may log in"), can_login, None, format!("ALTER ROLE {name} LOGIN;"));
        let remedy = format!("ALTER ROLE {name} VALID UNTIL 'infinity';");
        self.check(format!("{user:?} has not expired"), !is_over, None, remedy);
        let outcome = try_a_password(session, user).await;
        let remedy = match session.major() {
            16.. => format!("ALTER ROLE {admin} CREATEROLE; GRANT {name} TO {admin} WITH ADMIN OPTION;"),
            _ => format!("ALTER ROLE {admin} CREATEROLE;"),
        };
        self.tried(format!("{user:?} can be given a password"), outcome, remedy)
    }
}

/// A user that is made, is the admin user's to remove, and is never there for anybody else.
async fn try_a_life(session: &mut Session) -> Result<(), SqlError> {
    let (username, password) = (format!("adit-test-{}", random_id()), random_id());
    let new = NewUser {
        username: &username,
        password: &password,
        pre_hashed: true,
        remaining: Duration::ZERO,
        group: None,
        creation: &[],
        schemas: &[],
        database: "",
        comment: "adit test",
        lock: &username,
    };
    let user = identifier(&username);
    let mut transaction = session.begin(Some(&username)).await?;
    create_in(&mut transaction, &new, &scram::verifier(&password), &[]).await?;
    let heir = heir::make_in(&mut transaction).await?;
    heir::hand_over(&mut transaction, &username, &heir).await?;
    transaction.execute(&format!("DROP OWNED BY {user}"), &[]).await?;
    transaction.execute(&format!("DROP ROLE {user}"), &[]).await?;
    transaction.rollback().await
}

/// A password that is never anybody's.
async fn try_a_password(session: &mut Session, user: &str) -> Result<(), SqlError> {
    let verifier = scram::verifier(&random_id());
    let mut transaction = session.begin(None).await?;
    let sql = format!("ALTER ROLE {} PASSWORD '{verifier}'", identifier(user));
    transaction.execute(&sql, &[]).await.map_err(|error| error.without(&[&verifier]))?;
    transaction.rollback().await
}
