//! A PostgreSQL server, and logins to it.

use std::sync::Mutex;
use std::time::Duration;

use adit_platform::postgres::users::{self, NewUser};
use adit_platform::postgres::{Login, Session, SqlError, column};
use adit_platform::words::{Owned, TlsMode};
use adit_tests::ports::Ports;
use adit_tests::postgres::{DATABASE, PASSWORD, Postgres, USER};
use tokio::net::TcpStream;

/// How long a transaction may take here: the machine is shared.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// The password of users that are made here.
pub(crate) const SECRET: &str = "s3cret-of-a-lease";

/// A running server.
pub(crate) struct Server {
    pub(crate) postgres: Postgres,
    _ports: Mutex<Ports>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let ports = Ports::claim();
        Self { postgres: Postgres::start(&ports), _ports: Mutex::new(ports) }
    }

    /// A server whose users may prepare transactions.
    pub(crate) fn with_two_phase_commit() -> Self {
        let ports = Ports::claim();
        Self {
            postgres: Postgres::start_with_settings(&ports, &["max_prepared_transactions=9"]),
            _ports: Mutex::new(ports),
        }
    }

    /// A login as the admin user.
    pub(crate) fn login(&self) -> Login {
        self.login_as(USER, PASSWORD, DATABASE)
    }

    pub(crate) fn login_as(&self, user: &str, password: &str, dbname: &str) -> Login {
        Login {
            host: "localhost".to_owned(),
            tls: TlsMode::Disable,
            ca: String::new(),
            user: user.to_owned(),
            password: password.to_owned().into(),
            dbname: dbname.to_owned(),
        }
    }

    pub(crate) async fn stream(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.postgres.port())).await.expect("the server listens")
    }

    pub(crate) async fn try_session(&self, login: &Login) -> Result<Session, SqlError> {
        Session::over(self.stream().await, login, LIMIT).await
    }

    /// A session of the admin user.
    pub(crate) async fn session(&self) -> Session {
        self.session_in(DATABASE).await
    }

    /// A session of the admin user in a database.
    pub(crate) async fn session_in(&self, dbname: &str) -> Session {
        let login = self.login_as(USER, PASSWORD, dbname);
        self.try_session(&login).await.expect("the admin user may log in")
    }

    /// A session of a user that was made here.
    pub(crate) async fn session_of(&self, user: &str, dbname: &str) -> Result<Session, SqlError> {
        self.try_session(&self.login_as(user, SECRET, dbname)).await
    }

    /// Another database of the admin user.
    pub(crate) async fn another_database(&self, name: &str) {
        run(&mut self.session().await, &[&format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""))])
            .await;
    }

    /// Removes a user as the platform does.
    pub(crate) async fn remove(&self, username: &str, owned: Owned) -> Result<(), SqlError> {
        let mut session = self.session().await;
        users::disable(&mut session, username, username).await?;
        users::end_sessions(&mut session, username).await?;
        for dbname in users::databases_with_prepared(&mut session, username).await? {
            users::roll_back_prepared(&mut self.session_in(&dbname).await, username).await?;
        }
        for dbname in users::databases_with(&mut session, username).await? {
            users::disown(&mut self.session_in(&dbname).await, username, owned, username).await?;
        }
        users::drop(&mut session, username, username).await.map(drop)
    }

    /// Whether there is such a role.
    pub(crate) async fn has_role(&self, name: &str) -> bool {
        let sql = format!("SELECT count(*) FROM pg_roles WHERE rolname = '{}'", name.replace('\'', "''"));
        one::<i64>(&mut self.session().await, &sql).await == 1
    }
}

/// A user with the usual statements.
pub(crate) fn usual(username: &str) -> NewUser<'_> {
    NewUser {
        username,
        password: SECRET,
        pre_hashed: true,
        remaining: Duration::from_secs(3600),
        group: None,
        creation: &[],
        schemas: &[],
        database: DATABASE,
        comment: "a mark",
        lock: username,
    }
}

/// Runs statements, each by itself.
pub(crate) async fn run(session: &mut Session, statements: &[&str]) {
    for sql in statements {
        session.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
}

/// The only value of a query.
pub(crate) async fn one<T>(session: &mut Session, sql: &str) -> T
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    let rows = session.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    column(&rows[0], 0).expect("the value has this type")
}
