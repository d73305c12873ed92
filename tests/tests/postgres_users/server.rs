//! A PostgreSQL server, and logins to it.

use std::time::Duration;

use adit_platform::postgres::{Login, Session, SqlError};
use adit_platform::words::TlsMode;
use adit_tests::ports::Ports;
use adit_tests::postgres::{DATABASE, PASSWORD, Postgres, USER};
use tokio::net::TcpStream;

/// How long a transaction may take here: the machine is shared.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A running server.
pub(crate) struct Server {
    pub(crate) postgres: Postgres,
    _ports: Ports,
}

impl Server {
    pub(crate) fn start() -> Self {
        let ports = Ports::claim();
        Self { postgres: Postgres::start(&ports), _ports: ports }
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
        TcpStream::connect(("127.0.0.1", self.postgres.port())).await.expect("it is there")
    }

    pub(crate) async fn try_session(&self, login: &Login) -> Result<Session, SqlError> {
        Session::over(self.stream().await, login, LIMIT).await
    }

    /// A session of the admin user.
    pub(crate) async fn session(&self) -> Session {
        self.try_session(&self.login()).await.expect("it is there")
    }
}
