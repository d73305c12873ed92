//! A login that lasts, and its transactions.
//!
//! Statements travel by the extended protocol, unnamed and one per round trip, so that a pooler that hands out a
//! connection per transaction does not notice. Every transaction sets its own deadlines on the server, so that the
//! server ends what the platform has given up.

mod transaction;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Login, SqlError, tls};
use crate::words::TlsMode;

pub use transaction::Transaction;

/// Parameters of a statement, each with its type.
pub type Params<'a> = [(&'a (dyn ToSql + Sync), Type)];

/// As what the platform shows up in `pg_stat_activity`.
const APPLICATION: &str = "adit";

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// Whichever stream it is. A type of its own: futures that hold a bare trait object do not pass for `Send`.
struct Stream(Box<dyn Duplex>);

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

type Ending = JoinHandle<Result<(), tokio_postgres::Error>>;

/// A login that lasts. Dropping it ends the connection.
pub struct Session {
    client: Client,
    connection: Ending,
    user: String,
    dbname: String,
    version: String,
    limit: Duration,
    state: State,
    is_stained: bool,
}

/// What the server is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing.
    Idle,
    /// A transaction, which waits for its next statement.
    Open,
    /// A statement; one that nobody waits for any more makes the session unusable.
    Busy,
    /// A transaction that failed: the server waits for ROLLBACK.
    Failed,
    /// Nobody knows.
    Lost,
}

impl Session {
    /// Logs in over `stream`. Neither this nor any transaction takes longer than `limit`.
    ///
    /// # Errors
    /// [`SqlError::Unreachable`], [`SqlError::Tls`], [`SqlError::Login`], and [`SqlError::Refused`] where the
    /// database is not there. Nothing was done.
    pub async fn over(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        login: &Login,
        limit: Duration,
    ) -> Result<Self, SqlError> {
        let stream = Stream(Box::new(stream));
        let connecting = async {
            match tls::configuration(login.tls, &login.ca)? {
                None => connect(stream, NoTls, login).await,
                Some(config) => {
                    let tls = MakeTlsConnect::<Stream>::make_tls_connect(
                        &mut MakeRustlsConnect::new(config.as_ref().clone()),
                        &tls::server_name(login)?,
                    );
                    connect(stream, tls.expect("making it is infallible"), login).await
                }
            }
        };
        let silent = || SqlError::Unreachable(format!("no login within {} s", limit.as_secs_f32()));
        let (client, connection, version) = timeout(limit, connecting).await.map_err(|_| silent())??;
        let (user, dbname) = (login.user.clone(), login.dbname.clone());
        let state = State::Idle;
        Ok(Self { client, connection, user, dbname, version, limit, state, is_stained: false })
    }

    /// The user that logged in.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database that it logged in to.
    pub fn dbname(&self) -> &str {
        &self.dbname
    }

    /// What the server says that it is, as `15.4 (Debian …)`.
    pub fn server_version(&self) -> &str {
        &self.version
    }

    /// The first number of the server's version; 0 where it says none.
    pub fn major(&self) -> u32 {
        let digits: String = self.version.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    }

    /// How long a transaction may take.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether it is of no more use: the connection ended, or somebody left in the middle.
    pub fn is_broken(&self) -> bool {
        self.client.is_closed() || self.state != State::Idle
    }

    /// Whether [`refresh`](Self::refresh) has something to tidy up.
    pub fn needs_refresh(&self) -> bool {
        self.is_stained
    }

    /// Asks for a sign of life, and forgets what statements of users may have left behind in the session.
    ///
    /// # Errors
    /// [`SqlError::Unreachable`] where it is of no more use.
    pub async fn refresh(&mut self, limit: Duration) -> Result<(), SqlError> {
        self.check()?;
        let statement = if self.is_stained { "DISCARD ALL" } else { "SELECT" };
        self.state = State::Busy;
        let done = timeout(limit, self.client.execute_typed(statement, &[])).await;
        let gone = |why: String| SqlError::Unreachable(format!("an idle connection ended: {why}"));
        let done = done.map_err(|_| gone("it does not answer".to_owned()))?;
        done.map_err(|error| gone(SqlError::of(&error).to_string()))?;
        self.state = State::Idle;
        self.is_stained = false;
        Ok(())
    }

    /// The rows of one statement, outside any transaction, and with the session's own settings.
    ///
    /// # Errors
    /// [`SqlError::Refused`] and [`SqlError::Interrupted`].
    pub async fn query(&mut self, sql: &str, params: &Params<'_>) -> Result<Vec<Row>, SqlError> {
        self.check()?;
        let until = Instant::now() + self.limit;
        self.run(until, self.client.query_typed(sql, params))
            .await
            .map_err(|failure| self.note(failure, State::Idle))
    }

    /// Runs a statement outside any transaction that may leave something behind in the session.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub(super) async fn execute_foreign(&mut self, sql: &str) -> Result<(), SqlError> {
        self.is_stained = true;
        self.query(sql, &[]).await.map(drop)
    }

    /// Begins a transaction that nobody else is in who names the same `lock`.
    ///
    /// # Errors
    /// [`SqlError::Refused`] where the lock is not free in time, and [`SqlError::Interrupted`].
    pub async fn begin(&mut self, lock: Option<&str>) -> Result<Transaction<'_>, SqlError> {
        self.check()?;
        let until = Instant::now() + self.limit;
        self.state = State::Busy;
        let [whole, half] = self.deadlines();
        let settings: [(&(dyn ToSql + Sync), Type); 2] = [(&whole, Type::TEXT), (&half, Type::TEXT)];
        let key = lock.map_or(0, advisory_key);
        let key: [(&(dyn ToSql + Sync), Type); 1] = [(&key, Type::INT8)];
        let beginning = async {
            let lock_it = async {
                match lock {
                    Some(_) => self.client.execute_typed("SELECT pg_advisory_xact_lock($1)", &key).await,
                    None => Ok(0),
                }
            };
            // Sent in this order, without waiting for each other.
            let (began, set, locked) = tokio::join!(
                biased;
                self.client.execute_typed("BEGIN", &[]),
                self.client.execute_typed(SETTINGS, &settings),
                lock_it
            );
            began.and(set).and(locked)
        };
        if let Err(failure) = self.run(until, beginning).await {
            let failure = self.note(failure, State::Failed);
            drop(Transaction { session: self, until });
            return Err(failure);
        }
        self.state = State::Open;
        Ok(Transaction { session: self, until })
    }

    /// The rows of one statement, in a transaction of its own.
    ///
    /// # Errors
    /// [`SqlError::Refused`] and [`SqlError::Interrupted`].
    pub async fn look(&mut self, sql: &str, params: &Params<'_>) -> Result<Vec<Row>, SqlError> {
        self.check()?;
        let until = Instant::now() + self.limit;
        self.state = State::Busy;
        let [whole, half] = self.deadlines();
        let settings: [(&(dyn ToSql + Sync), Type); 2] = [(&whole, Type::TEXT), (&half, Type::TEXT)];
        let looking = async {
            // Sent in this order, without waiting for each other. After a refusal COMMIT takes it back.
            let (began, set, rows, ended) = tokio::join!(
                biased;
                self.client.execute_typed("BEGIN", &[]),
                self.client.execute_typed(SETTINGS, &settings),
                self.client.query_typed(sql, params),
                self.client.execute_typed("COMMIT", &[])
            );
            began.and(set)?;
            let rows = rows?;
            ended.map(|_| rows)
        };
        let done = self.run(until, looking).await;
        self.state = State::Idle;
        done.map_err(|failure| self.note(failure, State::Idle))
    }

    /// In milliseconds: for a transaction or a statement, and for a lock.
    fn deadlines(&self) -> [String; 2] {
        let whole = self.limit.as_millis().max(2);
        [whole, whole / 2].map(|milliseconds| milliseconds.to_string())
    }

    fn check(&self) -> Result<(), SqlError> {
        match self.state {
            State::Idle => Ok(()),
            State::Open | State::Failed | State::Busy | State::Lost => {
                Err(SqlError::Unreachable("the connection is in an unknown state".into()))
            }
        }
    }

    async fn run<T>(
        &self,
        until: Instant,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, SqlError> {
        match timeout_at(until, work).await {
            Ok(done) => done.map_err(|error| SqlError::of(&error)),
            Err(_) => Err(SqlError::Interrupted(format!("no answer within {} s", self.limit.as_secs_f32()))),
        }
    }

    /// Remembers what the server is in the middle of after `failure`: `refused` where it refused a statement.
    fn note(&mut self, failure: SqlError, refused: State) -> SqlError {
        self.state = if failure.nothing_was_done() { refused } else { State::Lost };
        failure
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("dbname", &self.dbname)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What a transaction is about to be bounded by. It is the work of whoever logged in, whatever role the session was left
/// in. Quotes mean what the platform takes them for, and names mean what
/// PostgreSQL calls so: a user that may make functions or operators can't slip its own in.
const SETTINGS: &str = "SELECT pg_catalog.set_config('role', 'none', true), \
     pg_catalog.set_config('statement_timeout', $1, true), \
     pg_catalog.set_config('idle_in_transaction_session_timeout', $1, true), \
     pg_catalog.set_config('lock_timeout', $2, true), \
     pg_catalog.set_config('standard_conforming_strings', 'on', true), \
     pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)";

/// The value of a column.
///
/// # Errors
/// [`SqlError::Refused`] where the server sent something else than it was asked for.
pub fn column<'a, T: FromSql<'a>>(row: &'a Row, index: usize) -> Result<T, SqlError> {
    let unexpected = |_| SqlError::Refused {
        code: "08P01".to_owned(),
        message: "the server answered with something else than it was asked for".to_owned(),
    };
    row.try_get(index).map_err(unexpected)
}

/// The advisory lock for a name: PostgreSQL's are numbers.
fn advisory_key(name: &str) -> i64 {
    let hash = digest(&SHA256, format!("adit lock {name}").as_bytes());
    let first = hash.as_ref().first_chunk().expect("a hash has 32 bytes");
    i64::from_be_bytes(*first)
}

async fn connect<T>(stream: Stream, tls: T, login: &Login) -> Result<(Client, Ending, String), SqlError>
where
    T: TlsConnect<Stream>,
    T::Stream: TlsStream + Send + 'static,
{
    let mut config = Config::new();
    config.user(&login.user).password(login.password.as_bytes()).dbname(&login.dbname);
    config.application_name(APPLICATION).ssl_mode(match login.tls {
        TlsMode::Disable => tokio_postgres::config::SslMode::Disable,
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => {
            tokio_postgres::config::SslMode::Require
        }
    });
    let (client, connection) =
        config.connect_raw(stream, tls).await.map_err(|error| SqlError::of_login(&error, &login.user))?;
    let version = connection.parameter("server_version").unwrap_or_default().to_owned();
    // Its end is told to whoever waits for an answer.
    Ok((client, tokio::spawn(connection), version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_of_different_names_are_different_numbers() {
        assert_ne!(advisory_key("a"), advisory_key("b"));
        assert_eq!(advisory_key("a"), advisory_key("a"));
    }
}
