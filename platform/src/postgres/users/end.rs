//! The end of a user.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::types::Type;

use super::super::quote::identifier;
use super::super::retry::Tries;
use super::super::template::{Purpose, Statement, Values};
use super::super::{Session, SqlError, column};
use super::{OBJECTS, exists, refused, run};
use crate::words::{NewSecret, Owned};

/// From one look at a user's sessions to the next.
const LOOK: Duration = Duration::from_millis(50);

/// Takes the login and the password from a user, for good once this returns. `false` where there is no such user.
///
/// # Errors
/// [`SqlError`].
pub async fn disable(session: &mut Session, username: &str, lock: &str) -> Result<bool, SqlError> {
    let sql = format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", identifier(username));
    on_existing(session, username, &[lock], &[&sql]).await
}

/// Ends the sessions of a user that can't log in any more, until none is left.
///
/// # Errors
/// [`SqlError`]; sessions that do not end in time are one (55006).
pub async fn end_sessions(session: &mut Session, username: &str) -> Result<(), SqlError> {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1";
    let until = Instant::now() + session.limit();
    // A login that passed the check a moment ago shows up a moment later: one look that finds none is not enough.
    let mut quiet_looks = 0;
    loop {
        let rows = session.look(sql, &[(&username, Type::TEXT)]).await?;
        let left: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
        quiet_looks = if left == 0 { quiet_looks + 1 } else { 0 };
        if quiet_looks == 2 {
            return Ok(());
        }
        if Instant::now() >= until {
            let message = format!("{left} sessions of the user {username:?} do not end");
            return Err(SqlError::Refused { code: "55006".to_owned(), message });
        }
        sleep(LOOK).await;
    }
}

/// Runs the statements that a secret has for the end of its users. A user that is gone has none.
///
/// # Errors
/// [`SqlError`].
pub async fn run_revocation(
    session: &mut Session,
    username: &str,
    secret: &NewSecret,
    database: &str,
    lock: &str,
) -> Result<(), SqlError> {
    let statements = Statement::parse_all(&secret.revocation, Purpose::Revocation).map_err(refused)?;
    let values = Values { username, password: "", expiration: "", schemas: &secret.schemas, database };
    let mut tries = Tries::default();
    loop {
        match run_once(session, &statements, &values, lock).await {
            Err(error) if tries.again(&error).await => {}
            done => return done,
        }
    }
}

async fn run_once(
    session: &mut Session,
    statements: &[Statement],
    values: &Values<'_>,
    lock: &str,
) -> Result<(), SqlError> {
    let mut transaction = session.begin(Some(lock)).await?;
    if exists(&mut transaction, values.username).await? {
        run(&mut transaction, statements, values).await?;
    }
    transaction.commit().await
}

/// The databases of the server in which a user owns something or is granted something. What belongs to the server as
/// a whole counts as this session's database.
///
/// # Errors
/// [`SqlError`].
pub async fn databases_with(session: &mut Session, username: &str) -> Result<Vec<String>, SqlError> {
    let sql = "SELECT DISTINCT \
         (CASE WHEN depends.dbid = 0 THEN current_database() ELSE databases.datname END)::text AS name \
         FROM pg_shdepend AS depends JOIN pg_roles AS roles ON roles.oid = depends.refobjid \
         LEFT JOIN pg_database AS databases ON databases.oid = depends.dbid \
         WHERE depends.refclassid = 'pg_catalog.pg_authid'::regclass AND roles.rolname = $1 \
         AND (depends.dbid = 0 OR databases.oid IS NOT NULL) ORDER BY name";
    let rows = session.look(sql, &[(&username, Type::TEXT)]).await?;
    rows.iter().map(|row| column(row, 0)).collect()
}

/// Takes from a user what it owns and what it may do in this session's database: what it owns goes to the admin user,
/// or is dropped, unless something of somebody else depends on it. `false` where there is no such user.
///
/// # Errors
/// [`SqlError`].
pub async fn disown(
    session: &mut Session,
    username: &str,
    owned: Owned,
    lock: &str,
) -> Result<bool, SqlError> {
    let user = identifier(username);
    let reassign = format!("REASSIGN OWNED BY {user} TO SESSION_USER");
    let revoke = format!("DROP OWNED BY {user}");
    if owned == Owned::Drop {
        match on_existing(session, username, &[lock, OBJECTS], &[&revoke]).await {
            Err(SqlError::Refused { code, .. }) if code == DEPENDENT_OBJECTS => {}
            done => return done,
        }
    }
    on_existing(session, username, &[lock, OBJECTS], &[&reassign, &revoke]).await
}

/// Something of somebody else depends on it.
const DEPENDENT_OBJECTS: &str = "2BP01";

/// Drops a user. `false` where there is no such user.
///
/// # Errors
/// [`SqlError`]; that it still owns something is one (2BP01).
pub async fn drop(session: &mut Session, username: &str, lock: &str) -> Result<bool, SqlError> {
    let sql = format!("DROP ROLE {}", identifier(username));
    on_existing(session, username, &[lock], &[&sql]).await
}

/// Runs statements about a user in one transaction under `locks`, if there is such a user.
async fn on_existing(
    session: &mut Session,
    username: &str,
    locks: &[&str],
    statements: &[&str],
) -> Result<bool, SqlError> {
    let mut tries = Tries::default();
    loop {
        match on_existing_once(session, username, locks, statements).await {
            Err(error) if tries.again(&error).await => {}
            done => return done,
        }
    }
}

async fn on_existing_once(
    session: &mut Session,
    username: &str,
    locks: &[&str],
    statements: &[&str],
) -> Result<bool, SqlError> {
    let mut transaction = session.begin(locks.first().copied()).await?;
    for lock in locks.iter().skip(1) {
        transaction.lock(lock).await?;
    }
    let is_there = exists(&mut transaction, username).await?;
    if is_there {
        for sql in statements {
            transaction.execute(sql, &[]).await?;
        }
    }
    transaction.commit().await?;
    Ok(is_there)
}
