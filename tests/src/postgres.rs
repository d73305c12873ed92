//! A throw-away PostgreSQL: its own data, port and socket, TCP on both loopback addresses, gone with the test.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, geteuid};

use crate::place::Place;
use crate::ports::Ports;
use crate::process::{PATIENCE, Running, finish};
use crate::programs;

/// The role that tests work as. It may make databases and roles, and is no superuser.
pub const USER: &str = "app";
/// The password of [`USER`].
pub const PASSWORD: &str = "app-password";
/// The database of [`USER`].
pub const DATABASE: &str = "app";

/// PostgreSQL refuses to run as root; this is `nobody` on every system that the tests know.
const NOBODY: u32 = 65_534;

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    server: Running,
    place: Place,
    port: u16,
    commits: Commits,
    settings: &'static [&'static str],
}

/// Whether what was committed survives a crash of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commits {
    /// No: it is quicker.
    Quick,
    /// Yes, unless the machine crashes too.
    Kept,
}

impl Postgres {
    /// Makes a cluster and starts it, with [`USER`] and [`DATABASE`].
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start(ports: &Ports) -> Self {
        Self::start_with(ports, Commits::Quick, &[])
    }

    /// The same with settings of the server, as `max_prepared_transactions=9`.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start_with_settings(ports: &Ports, settings: &'static [&'static str]) -> Self {
        Self::start_with(ports, Commits::Quick, settings)
    }

    /// The same for a server that is to [crash](Self::crash): what was committed is there afterwards.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn that_keeps_commits(ports: &Ports) -> Self {
        Self::start_with(ports, Commits::Kept, &[])
    }

    fn start_with(ports: &Ports, commits: Commits, settings: &'static [&'static str]) -> Self {
        let place = Place::new();
        for name in ["data", "socket"] {
            make_directory(&place.path(name));
        }
        initialise(&place.path("data"));
        let port = ports.one();
        let server =
            Running::start("postgres", serve(&place, port, commits, settings)).ended_by(Signal::QUIT);
        let postgres = Self { server, place, port, commits, settings };
        postgres.wait_until_ready();
        postgres.superuser(&format!("CREATE ROLE {USER} LOGIN CREATEDB CREATEROLE PASSWORD '{PASSWORD}'"));
        postgres.superuser(&format!("CREATE DATABASE {DATABASE} OWNER {USER}"));
        postgres
    }

    /// Ends the server at once, in the middle of whatever it does.
    pub fn crash(&mut self) {
        self.server.signal(Signal::QUIT);
        let _ = self.server.wait();
    }

    /// Starts it again after a [crash](Self::crash).
    ///
    /// # Panics
    /// When it does not come up.
    pub fn recover(&mut self) {
        let server = serve(&self.place, self.port, self.commits, self.settings);
        self.server = Running::start("postgres", server).ended_by(Signal::QUIT);
        self.wait_until_ready();
    }

    /// The port that it listens on, on 127.0.0.1 and `::1`.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where [`USER`] finds [`DATABASE`], its password included.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// Offers TLS from now on, with this certificate and key (PEM).
    ///
    /// # Panics
    /// When it does not.
    pub fn serve_tls(&self, certificate: &str, key: &str) {
        for (name, text) in [("server.crt", certificate), ("server.key", key)] {
            let path = self.place.path("data").join(name);
            let mut file = OpenOptions::new();
            let mut file =
                file.write(true).create(true).truncate(true).mode(0o600).open(&path).expect("a file");
            file.write_all(text.as_bytes()).expect("a file that can be written");
            if geteuid().is_root() {
                chown(&path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
            }
        }
        let _ = self.superuser("ALTER SYSTEM SET ssl = on");
        let _ = self.superuser("SELECT pg_reload_conf()");
        let until = Instant::now() + PATIENCE;
        while self.superuser("SHOW ssl").trim() != "on" {
            assert!(Instant::now() < until, "PostgreSQL offers no TLS");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs one statement as superuser over the local socket.
    ///
    /// # Panics
    /// When it fails.
    pub fn superuser(&self, sql: &str) -> String {
        finish("psql as superuser", self.superuser_psql(sql), PATIENCE).success()
    }

    fn superuser_psql(&self, sql: &str) -> Command {
        let mut psql = Command::new(programs::find("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres"]);
        psql.arg("-h").arg(self.place.path("socket")).args(["-p", &self.port.to_string(), "-c", sql]);
        psql
    }

    fn wait_until_ready(&self) {
        let until = Instant::now() + PATIENCE;
        while !finish("psql", self.superuser_psql("SELECT 1"), PATIENCE).status.success() {
            assert!(Instant::now() < until, "PostgreSQL does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A client program of PostgreSQL, set to reach [`DATABASE`] as [`USER`] at `host` and `port`.
#[must_use]
pub fn client(program: &str, host: &str, port: u16) -> Command {
    let mut command = Command::new(programs::find(program));
    command.env("PGHOST", host).env("PGPORT", port.to_string()).env("PGUSER", USER);
    command.env("PGPASSWORD", PASSWORD).env("PGDATABASE", DATABASE).env("PGCONNECT_TIMEOUT", "20");
    command
}

/// Runs statements with psql and returns the rows, one a line, columns parted by `|`.
///
/// # Panics
/// When psql fails.
#[must_use]
pub fn query(host: &str, port: u16, sql: &str) -> String {
    let mut psql = client("psql", host, port);
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]);
    finish("psql", psql, PATIENCE * 4).success()
}

/// Only for the server and us: whoever reaches its socket is its superuser, and so can do what its user can.
fn make_directory(path: &Path) {
    DirBuilder::new().mode(0o700).create(path).expect("a new directory");
    if geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give directories away");
    }
}

fn initialise(data: &Path) {
    let mut initdb = unprivileged(&programs::find("initdb"));
    initdb.arg("-D").arg(data).args(["-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]);
    initdb.args(["--auth-local=trust", "--auth-host=scram-sha-256"]);
    let _ = finish("initdb", initdb, PATIENCE * 2).success();
}

fn serve(place: &Place, port: u16, commits: Commits, settings: &[&str]) -> Command {
    let mut server = unprivileged(&programs::find("postgres"));
    server.arg("-D").arg(place.path("data")).arg("-k").arg(place.path("socket"));
    server.args(["-p", &port.to_string(), "-h", "127.0.0.1,::1"]);
    for setting in ["fsync=off", "full_page_writes=off", "max_connections=200"].iter().chain(settings) {
        server.args(["-c", setting]);
    }
    if commits == Commits::Quick {
        server.args(["-c", "synchronous_commit=off"]);
    }
    server
}

fn unprivileged(program: &PathBuf) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env("LC_ALL", "C");
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
