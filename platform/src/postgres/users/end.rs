//! The end of a user.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_postgres::types::Type;

use super::super::quote::identifier;
use super::super::retry::Tries;
use super::super::template::{Purpose, Statement, Values};
use super::super::{Session, SqlError, column};
use super::{OBJECTS, exists, granted, heir, prepared, refused, run};
use crate::words::{NewSecret, Owned};

/// From one look at a user's sessions to the next.
const LOOK: Duration = Duration::from_millis(50);

/// Takes the login and the password from a user, for good once this returns. `false` where there is no such user.
///
/// # Errors
/// [`SqlError`].
pub async fn disable(session: &mut Session, username: &str, lock: &str) -> Result<bool, SqlError> {
    let sql = format!("ALTER ROLE {} NOLOGIN PASSWORD NULL", identifier(username));
    on_existing(session, username, lock, &sql).await
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

/// Takes from a user what it owns and what it may do in this session's database: what it owns goes to the heir, or is
/// dropped, unless something of somebody else depends on it. Databases and whatever else belongs to the server as a
/// whole go to the heir either way. `false` where there is no such user.
///
/// # Errors
/// [`SqlError`]; where the heir can't own something (42501) it says what an administrator has to grant, and where somebody
/// else's grants are left (2BP01, 42501), who has granted what.
pub async fn disown(
    session: &mut Session,
    username: &str,
    owned: Owned,
    lock: &str,
) -> Result<bool, SqlError> {
    let mut heir: Option<String> = None;
    let mut tries = Tries::default();
    loop {
        match disown_once(session, username, owned, heir.as_deref(), lock).await {
            Ok(Left::NoUser) => return Ok(false),
            Ok(Left::Nothing) => return Ok(true),
            Ok(Left::Something) => heir = Some(heir::make(session).await?),
            Ok(Left::Granted(error)) => return Err(error),
            Err(SqlError::Refused { code, .. }) if heir.is_none() && code == DEPENDENT_OBJECTS => {
                heir = Some(heir::make(session).await?);
            }
            Err(error) if tries.again(&error).await => {}
            Err(error) => {
                let error = granted::with_grantors(session, username, error).await;
                return Err(prepared::with_holders(session, username, error).await);
            }
        }
    }
}

/// What is left to take from a user.
enum Left {
    NoUser,
    Nothing,
    /// What only an heir can take.
    Something,
    /// What only others can take back.
    Granted(SqlError),
}

async fn disown_once(
    session: &mut Session,
    username: &str,
    owned: Owned,
    heir: Option<&str>,
    lock: &str,
) -> Result<Left, SqlError> {
    let mut transaction = session.begin(Some(lock)).await?;
    transaction.lock(OBJECTS).await?;
    if !exists(&mut transaction, username).await? {
        transaction.commit().await?;
        return Ok(Left::NoUser);
    }
    match heir {
        Some(heir) => heir::hand_over(&mut transaction, username, heir).await?,
        None if owned == Owned::Reassign && heir::owns(&mut transaction, username).await? => {
            transaction.rollback().await?;
            return Ok(Left::Something);
        }
        None => {}
    }
    transaction.execute(&format!("DROP OWNED BY {}", identifier(username)), &[]).await?;
    // It leaves alone what belongs to the server as a whole.
    let is_left = heir.is_none() && owned == Owned::Drop && heir::owns(&mut transaction, username).await?;
    let granted = granted::left(&mut transaction, username).await?;
    transaction.commit().await?;
    match granted {
        _ if is_left => Ok(Left::Something),
        Some(error) => Ok(Left::Granted(error)),
        None => Ok(Left::Nothing),
    }
}

/// Something of somebody else depends on it.
pub(super) const DEPENDENT_OBJECTS: &str = "2BP01";

/// Drops a user. `false` where there is no such user.
///
/// # Errors
/// [`SqlError`]; that it still owns something is one (2BP01).
pub async fn drop(session: &mut Session, username: &str, lock: &str) -> Result<bool, SqlError> {
    let sql = format!("DROP ROLE {}", identifier(username));
    match on_existing(session, username, lock, &sql).await {
        Err(error) => Err(prepared::with_holders(session, username, error).await),
        done => done,
    }
}

/// Runs a statement about a user in a transaction under `lock`, if there is such a user.
async fn on_existing(session: &mut Session, username: &str, lock: &str, sql: &str) -> Result<bool, SqlError> {
    let mut tries = Tries::default();
    loop {
        match on_existing_once(session, username, lock, sql).await {
            Err(error) if tries.again(&error).await => {}
            done => return done,
        }
    }
}

async fn on_existing_once(
    session: &mut Session,
    username: &str,
    lock: &str,
    sql: &str,
) -> Result<bool, SqlError> {
    let mut transaction = session.begin(Some(lock)).await?;
    let is_there = exists(&mut transaction, username).await?;
    if is_there {
        transaction.execute(sql, &[]).await?;
    }
    transaction.commit().await?;
    Ok(is_there)
}
