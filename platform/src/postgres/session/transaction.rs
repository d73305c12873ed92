//! A transaction, from its first statement to its last.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::{Params, Session, State, advisory_key, column};
use crate::postgres::SqlError;

/// From one look at others' locks to the next.
const LOOK: Duration = Duration::from_millis(50);

/// A transaction. One that is dropped is rolled back.
#[derive(Debug)]
pub struct Transaction<'a> {
    pub(super) session: &'a mut Session,
    pub(super) until: Instant,
}

impl Transaction<'_> {
    /// The user that logged in.
    pub fn user(&self) -> &str {
        &self.session.user
    }

    /// The database that it is in.
    pub fn dbname(&self) -> &str {
        &self.session.dbname
    }

    /// The first number of the server's version.
    pub fn major(&self) -> u32 {
        self.session.major()
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// [`SqlError::Refused`] and [`SqlError::Interrupted`]; the transaction is of no more use.
    pub async fn execute(&mut self, sql: &str, params: &Params<'_>) -> Result<u64, SqlError> {
        self.session.state = State::Busy;
        let done = self.session.run(self.until, self.session.client.execute_typed(sql, params)).await;
        self.session.state = State::Open;
        done.map_err(|failure| self.session.note(failure, State::Failed))
    }

    /// Runs a statement of a user's, which may leave something behind in the session.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn execute_foreign(&mut self, sql: &str) -> Result<u64, SqlError> {
        self.session.is_stained = true;
        self.execute(sql, &[]).await
    }

    /// The rows of a statement.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn query(&mut self, sql: &str, params: &Params<'_>) -> Result<Vec<Row>, SqlError> {
        self.session.state = State::Busy;
        let done = self.session.run(self.until, self.session.client.query_typed(sql, params)).await;
        self.session.state = State::Open;
        done.map_err(|failure| self.session.note(failure, State::Failed))
    }

    /// Waits until no other transaction in this database has the same `lock`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute).
    pub async fn lock(&mut self, lock: &str) -> Result<(), SqlError> {
        let key = advisory_key(lock);
        self.execute("SELECT pg_advisory_xact_lock($1)", &[(&key, Type::INT8)]).await.map(drop)
    }

    /// Waits until no transaction in another database of the server has the same `lock`.
    ///
    /// # Errors
    /// As [`execute`](Self::execute); that one does not end in time is one (55P03).
    pub(in crate::postgres) async fn wait_for_others(&mut self, lock: &str) -> Result<(), SqlError> {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted \
             AND classid::bigint = $1 AND objid::bigint = $2 AND pid <> pg_backend_pid()";
        let key = advisory_key(lock).cast_unsigned();
        let [high, low] = [key >> 32, key & u64::from(u32::MAX)].map(u64::cast_signed);
        let until = Instant::now() + self.session.limit / 2;
        loop {
            let rows = self.query(sql, &[(&high, Type::INT8), (&low, Type::INT8)]).await?;
            let others: i64 = rows.first().map_or(Ok(0), |row| column(row, 0))?;
            if others == 0 {
                return Ok(());
            }
            if Instant::now() >= until {
                let message = "somebody else works on the same and does not end".to_owned();
                return Err(SqlError::Refused { code: "55P03".to_owned(), message });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Makes it last.
    ///
    /// # Errors
    /// [`SqlError::Refused`] where the server did not; [`SqlError::Interrupted`] where nobody knows.
    pub async fn commit(self) -> Result<(), SqlError> {
        self.finish("COMMIT").await
    }

    /// Takes it back.
    ///
    /// # Errors
    /// [`SqlError::Interrupted`] where the connection ended: then it is taken back too.
    pub async fn rollback(self) -> Result<(), SqlError> {
        self.finish("ROLLBACK").await
    }

    async fn finish(self, how: &str) -> Result<(), SqlError> {
        self.session.state = State::Busy;
        let done = self.session.run(self.until, self.session.client.execute_typed(how, &[])).await;
        self.session.state = State::Idle;
        done.map_err(|failure| self.session.note(failure, State::Idle)).map(drop)
    }
}

/// One that nobody finished is rolled back at once, without waiting for the answer.
impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if matches!(self.session.state, State::Open | State::Failed) {
            let rollback = pin!(self.session.client.execute_typed("ROLLBACK", &[]));
            // Sending is the first thing that it does; what is sent next comes after it.
            let _ = rollback.poll(&mut Context::from_waker(Waker::noop()));
            self.session.state = State::Idle;
        }
    }
}
