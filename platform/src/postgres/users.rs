//! Users that live for a while: made, lengthened, and removed with everything that they own or may do.
//!
//! Removing one takes these steps, in this order; each may be repeated, and a user that is gone is no error:
//!
//! 1. [`find`] — whoever may still be making it is waited for.
//! 2. [`disable`] — it can't log in any more.
//! 3. [`end_sessions`] — nobody is logged in as it.
//! 4. [`databases_with_prepared`], and in each of them [`roll_back_prepared`] over a session of its own.
//! 5. [`run_revocation`] — what the secret says.
//! 6. [`databases_with`], and in each of them [`disown`] over a session of its own.
//! 7. [`drop`].
//!
//! What it owned and nobody wants dropped goes to an heir, a role without rights, and never to the admin user.
//!
//! All transactions on a user are under the lock that its maker names. Locks are each database's own: only [`find`]
//! sees those in others.

mod end;
mod granted;
pub(super) mod heir;
mod prepared;

use std::time::Duration;

use tokio_postgres::types::Type;
use zeroize::Zeroizing;

use super::quote::{identifier, literal};
use super::retry::Tries;
use super::template::{BadStatement, Purpose, Statement, Values};
use super::{Session, SqlError, Transaction, column, mark, scram};

use crate::fault::Faults;

pub use end::{databases_with, disable, disown, drop, end_sessions, run_revocation};
pub use prepared::{databases_with_prepared, roll_back_prepared};

/// For how long a user can log in after its lease has expired, by the server's clock: revoking it is the platform's.
pub const MARGIN: Duration = Duration::from_secs(30);

/// The lock for statements that touch the privileges of objects: PostgreSQL does not let two of them change the same
/// row of a catalogue.
pub(super) const OBJECTS: &str = "privileges of objects";

/// A user to be made.
#[derive(Clone, Copy)]
pub struct NewUser<'a> {
    /// Its name.
    pub username: &'a str,
    /// Its password.
    pub password: &'a str,
    /// Whether the server is given a SCRAM verifier in place of the password.
    pub pre_hashed: bool,
    /// How long its lease has to live from now on.
    pub remaining: Duration,
    /// The group role that it is in, unless statements make it.
    pub group: Option<&'a str>,
    /// Statements that make it; the usual ones where there are none.
    pub creation: &'a [String],
    /// What `{{schema}}` stands for.
    pub schemas: &'a [String],
    /// What `{{database}}` stands for.
    pub database: &'a str,
    /// The comment that marks it.
    pub comment: &'a str,
    /// The lock of all work on it.
    pub lock: &'a str,
}

/// A user whose life is to be lengthened.
#[derive(Debug, Clone, Copy)]
pub struct Lengthened<'a> {
    /// Its name.
    pub username: &'a str,
    /// How long its lease has to live from now on.
    pub remaining: Duration,
    /// Statements that lengthen its life; the usual one where there are none.
    pub renewal: &'a [String],
    /// What `{{schema}}` stands for.
    pub schemas: &'a [String],
    /// What `{{database}}` stands for.
    pub database: &'a str,
    /// The lock of all work on it.
    pub lock: &'a str,
}

/// A user with a comment that looks like a [`mark`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// Its name.
    pub username: String,
    /// The comment.
    pub comment: String,
}

/// Makes a user and marks it, in one transaction. The admin user becomes a member of it, so that it may end its
/// sessions and remove what it owns without being a superuser.
///
/// # Errors
/// [`SqlError`], without the password. A user of this name that is there already is one (42710).
pub async fn create(session: &mut Session, new: &NewUser<'_>) -> Result<(), SqlError> {
    create_by_steps(session, new, &Faults::default()).await
}

/// The same with steps at which a test stops the world: `lease.create:begun`, and `lease.create:made` before it lasts.
///
/// # Errors
/// As [`create`].
pub async fn create_by_steps(
    session: &mut Session,
    new: &NewUser<'_>,
    faults: &Faults,
) -> Result<(), SqlError> {
    let given = match new.pre_hashed {
        true => Zeroizing::new(scram::verifier(new.password)),
        false => Zeroizing::new(new.password.to_owned()),
    };
    let statements = Statement::parse_all(new.creation, Purpose::Creation).map_err(refused)?;
    let mut tries = Tries::default();
    loop {
        match create_once(session, new, &given, &statements, faults).await {
            Err(error) if tries.again(&error).await => {}
            done => return done.map_err(|error| error.without(&[&given, new.password])),
        }
    }
}

async fn create_once(
    session: &mut Session,
    new: &NewUser<'_>,
    given: &str,
    statements: &[Statement],
    faults: &Faults,
) -> Result<(), SqlError> {
    let mut transaction = session.begin(Some(new.lock)).await?;
    faults.reach("lease.create:begun").await;
    create_in(&mut transaction, new, given, statements).await?;
    faults.reach("lease.create:made").await;
    transaction.commit().await
}

/// Makes a user in a transaction that somebody else ends. `given` is what the server is given of its password.
pub(super) async fn create_in(
    transaction: &mut Transaction<'_>,
    new: &NewUser<'_>,
    given: &str,
    statements: &[Statement],
) -> Result<(), SqlError> {
    let user = identifier(new.username);
    let expiration = expiration(transaction, new.remaining).await?;
    if statements.is_empty() {
        let group = new.group.map(|group| format!(" IN ROLE {}", identifier(group))).unwrap_or_default();
        let (password, until) = (Zeroizing::new(literal(given)), literal(&expiration));
        let sql =
            format!("CREATE ROLE {user} LOGIN PASSWORD {} VALID UNTIL {until}{group}", password.as_str());
        transaction.execute(&Zeroizing::new(sql), &[]).await?;
    } else {
        let values = Values {
            username: new.username,
            password: given,
            expiration: &expiration,
            schemas: new.schemas,
            database: new.database,
        };
        run(transaction, statements, &values).await?;
    }
    transaction.execute(&format!("COMMENT ON ROLE {user} IS {}", literal(new.comment)), &[]).await?;
    let with = membership(transaction.major());
    transaction.execute(&format!("GRANT {user} TO SESSION_USER{with}"), &[]).await.map(|_| ())
}

/// What makes a member able to do what the role may, on servers where that is not so by itself.
pub(super) fn membership(major: u32) -> &'static str {
    if major >= 16 { " WITH INHERIT TRUE, SET TRUE" } else { "" }
}

/// Lengthens a user's life to `remaining` from now on, by the server's clock.
///
/// # Errors
/// [`SqlError`]; a user that is not there is one (42704).
pub async fn lengthen(session: &mut Session, it: &Lengthened<'_>) -> Result<(), SqlError> {
    let statements = Statement::parse_all(it.renewal, Purpose::Renewal).map_err(refused)?;
    let mut tries = Tries::default();
    loop {
        match lengthen_once(session, it, &statements).await {
            Err(error) if tries.again(&error).await => {}
            done => return done,
        }
    }
}

async fn lengthen_once(
    session: &mut Session,
    it: &Lengthened<'_>,
    statements: &[Statement],
) -> Result<(), SqlError> {
    let mut transaction = session.begin(Some(it.lock)).await?;
    lengthen_in(&mut transaction, it, statements).await?;
    transaction.commit().await
}

/// Lengthens a user's life in a transaction that somebody else ends.
pub(super) async fn lengthen_in(
    transaction: &mut Transaction<'_>,
    it: &Lengthened<'_>,
    statements: &[Statement],
) -> Result<(), SqlError> {
    let expiration = expiration(transaction, it.remaining).await?;
    if statements.is_empty() {
        let (user, until) = (identifier(it.username), literal(&expiration));
        transaction.execute(&format!("ALTER ROLE {user} VALID UNTIL {until}"), &[]).await?;
    } else {
        let values = Values {
            username: it.username,
            password: "",
            expiration: &expiration,
            schemas: it.schemas,
            database: it.database,
        };
        run(transaction, statements, &values).await?;
    }
    Ok(())
}

/// Gives a user another password: `given` is a SCRAM verifier, or the password itself.
///
/// # Errors
/// [`SqlError`], without `given`.
pub async fn set_password(
    session: &mut Session,
    username: &str,
    given: &str,
    lock: &str,
) -> Result<(), SqlError> {
    let password = Zeroizing::new(literal(given));
    let sql = Zeroizing::new(format!("ALTER ROLE {} PASSWORD {}", identifier(username), password.as_str()));
    let mut tries = Tries::default();
    loop {
        match in_one(session, lock, &sql).await {
            Err(error) if tries.again(&error).await => {}
            done => return done.map_err(|error| error.without(&[given])),
        }
    }
}

/// The comment on a user, `None` where there is no such user. Waits for work under its lock, in whichever database
/// of the server that is done.
///
/// # Errors
/// [`SqlError`]; that the work does not end in time is one (55P03).
pub async fn find(
    session: &mut Session,
    username: &str,
    lock: &str,
) -> Result<Option<Option<String>>, SqlError> {
    let mut transaction = session.begin(Some(lock)).await?;
    transaction.wait_for_others(lock).await?;
    let sql = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1";
    let rows = transaction.query(sql, &[(&username, Type::TEXT)]).await?;
    let comment = rows.first().map(|row| column(row, 0)).transpose()?;
    transaction.commit().await?;
    Ok(comment)
}

/// All users with a comment that looks like a mark, whoever made them, by name.
///
/// # Errors
/// [`SqlError`].
pub async fn marked(session: &mut Session) -> Result<Vec<Marked>, SqlError> {
    let sql = "SELECT name, comment FROM \
         (SELECT rolname::text AS name, shobj_description(oid, 'pg_authid') AS comment FROM pg_roles) AS roles \
         WHERE starts_with(comment, $1) ORDER BY name";
    let rows = session.look(sql, &[(&mark::PREFIX, Type::TEXT)]).await?;
    let read = |row| Ok(Marked { username: column(row, 0)?, comment: column(row, 1)? });
    rows.iter().map(read).collect()
}

/// Runs statements of a secret, each filled in, under the lock for privileges of objects and with the settings of
/// whoever logged in, which is who goes on after them.
pub(super) async fn run(
    transaction: &mut Transaction<'_>,
    statements: &[Statement],
    values: &Values<'_>,
) -> Result<(), SqlError> {
    transaction.lock(OBJECTS).await?;
    transaction.execute("SET LOCAL search_path TO DEFAULT", &[]).await?;
    for (number, statement) in (1..).zip(statements) {
        for sql in statement.expand(values) {
            transaction.execute_foreign(&sql).await.map_err(|error| numbered(number, error))?;
        }
    }
    transaction.execute("SET LOCAL ROLE NONE", &[]).await?;
    transaction.execute("SET LOCAL search_path TO pg_catalog, pg_temp", &[]).await.map(|_| ())
}

/// The same error, which says that it is the statement `number` that failed.
fn numbered(number: usize, error: SqlError) -> SqlError {
    match error {
        SqlError::Refused { code, message } => {
            SqlError::Refused { code, message: format!("statement {number}: {message}") }
        }
        other => other,
    }
}

/// Until when a user can log in whose lease has `remaining` to live: by the server's clock, and as it reads it
/// whatever its settings are.
pub(super) async fn expiration(
    transaction: &mut Transaction<'_>,
    remaining: Duration,
) -> Result<String, SqlError> {
    let sql = "SELECT to_char((clock_timestamp() + make_interval(secs => $1)) AT TIME ZONE 'UTC', \
         'YYYY-MM-DD HH24:MI:SS') || '+00'";
    let seconds = (remaining + MARGIN).as_secs_f64();
    let rows = transaction.query(sql, &[(&seconds, Type::FLOAT8)]).await?;
    rows.first().map_or_else(|| Ok(String::new()), |row| column(row, 0))
}

/// One statement in a transaction of its own.
async fn in_one(session: &mut Session, lock: &str, sql: &str) -> Result<(), SqlError> {
    let mut transaction = session.begin(Some(lock)).await?;
    transaction.execute(sql, &[]).await?;
    transaction.commit().await
}

/// Whether there is such a user.
async fn exists(transaction: &mut Transaction<'_>, username: &str) -> Result<bool, SqlError> {
    let sql = "SELECT 1 FROM pg_roles WHERE rolname = $1";
    Ok(!transaction.query(sql, &[(&username, Type::TEXT)]).await?.is_empty())
}

/// A statement that was accepted when it was defined is none any more: the rules have changed since.
pub(super) fn refused(error: BadStatement) -> SqlError {
    SqlError::Refused { code: "42601".to_owned(), message: error.to_string() }
}
