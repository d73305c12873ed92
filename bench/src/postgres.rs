//! A PostgreSQL for one measurement: its own data, on a port of 127.0.0.1, gone afterwards.

use std::fs::{DirBuilder, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::usage::Usage;

/// The role that works in it: it may make roles, and is no superuser.
pub(crate) const USER: &str = "bench";
/// Its password: the server listens on loopback for as long as the measurement takes.
pub(crate) const PASSWORD: &str = "bench-password";

/// PostgreSQL refuses to run as root; this is `nobody`.
const NOBODY: u32 = 65_534;
/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where PostgreSQL's server programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs(PathBuf);

impl Programs {
    /// Looks where Debian keeps them, newest first, and in `PATH`; `None` where they are not installed.
    pub(crate) fn find() -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let has_all =
            |place: &PathBuf| ["postgres", "initdb", "psql"].iter().all(|name| place.join(name).is_file());
        debian_places().into_iter().chain(std::env::split_paths(&path)).find(has_all).map(Self)
    }
}

/// Debian keeps the programs apart; its wrappers in `/usr/bin` look for a cluster of the system.
fn debian_places() -> Vec<PathBuf> {
    let Ok(versions) = Path::new("/usr/lib/postgresql").read_dir() else { return Vec::new() };
    let mut places: Vec<_> = versions.flatten().map(|version| version.path().join("bin")).collect();
    places.sort();
    places.reverse();
    places
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Postgres {
    process: Child,
    port: u16,
    programs: Programs,
    /// Last: the server ends before its data goes.
    directory: TempDir,
}

impl Postgres {
    /// Makes a cluster and starts it, with [`USER`] and a database of the same name.
    ///
    /// # Errors
    /// When it does not come up.
    pub(crate) fn start(programs: &Programs) -> Result<Self> {
        // In the system's own directory: whoever runs the server has to be able to enter it.
        let directory = tempfile::Builder::new().prefix("adit-bench-postgres-").tempdir()?;
        let path = directory.path();
        for place in [path, &path.join("data"), &path.join("socket")] {
            make_directory(place)?;
        }
        let mut initdb = unprivileged(programs, "initdb");
        initdb.arg("-D").arg(path.join("data")).args(["-U", "postgres", "-E", "UTF8", "--locale=C"]);
        initdb.args(["--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256"]);
        finish("initdb", initdb)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = unprivileged(programs, "postgres");
        server.arg("-D").arg(path.join("data")).arg("-k").arg(path.join("socket"));
        server.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "max_connections=200"]);
        let log = File::create(path.join("log"))?;
        let process = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let process = process.context("PostgreSQL can't be started")?;
        let postgres = Self { process, port, programs: programs.clone(), directory };
        postgres.wait_until_ready()?;
        postgres.superuser(&format!("CREATE ROLE {USER} LOGIN CREATEROLE PASSWORD '{PASSWORD}'"))?;
        postgres.superuser(&format!("CREATE DATABASE {USER} OWNER {USER}"))?;
        Ok(postgres)
    }

    /// The port that it listens on, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The same as a target of gateways.
    pub(crate) fn target(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// What the server and all its processes have used until now, those that have ended included.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of_family(self.process.id())
    }

    /// Where [`USER`] finds its database, its password included.
    pub(crate) fn url(&self) -> String {
        format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}/{USER}", self.port)
    }

    /// Runs one statement as superuser over the local socket.
    ///
    /// # Errors
    /// What psql says.
    pub(crate) fn superuser(&self, sql: &str) -> Result<()> {
        finish("psql", self.psql(sql))
    }

    fn psql(&self, sql: &str) -> Command {
        let mut psql = Command::new(self.programs.0.join("psql"));
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", "postgres"]);
        psql.arg("-h").arg(self.directory.path().join("socket")).args(["-p", &self.port.to_string()]);
        psql.args(["-c", sql]);
        psql
    }

    fn wait_until_ready(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while self.superuser("SELECT 1").is_err() {
            let said = || std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            ensure!(Instant::now() < until, "PostgreSQL does not come up. It said:\n{}", said());
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, with all its processes; it may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.process), Signal::QUIT);
        let _ = self.process.wait();
    }
}

/// Only for the server and us: whoever reaches its socket is its superuser.
fn make_directory(path: &Path) -> Result<()> {
    if !path.exists() {
        DirBuilder::new().mode(0o700).create(path)?;
    }
    if geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}

fn unprivileged(programs: &Programs, program: &str) -> Command {
    let mut command = Command::new(programs.0.join(program));
    command.current_dir("/").env("LC_ALL", "C");
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn finish(name: &str, mut command: Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{name} can't be run"))?;
    match output.status.success() {
        true => Ok(()),
        false => bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()),
    }
}
