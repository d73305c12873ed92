//! A PostgreSQL for the demo alone: its own data, on a port of 127.0.0.1, gone afterwards.

use std::fs::DirBuilder;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, geteuid};

use super::part::Part;
use super::stop::Stop;
use super::world::write_secret;

/// The role of the demo, as whom the platform makes users too; it is no superuser.
pub(crate) const USER: &str = "demo";
/// Its database.
pub(crate) const DATABASE: &str = "demo";

/// PostgreSQL refuses to run as root; this is `nobody`.
const NOBODY: u32 = 65_534;
/// `SSLRequest` and `GSSENCRequest`: the server answers each with one byte, once a connection.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

/// Where PostgreSQL's programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    server: PathBuf,
    initdb: PathBuf,
    psql: PathBuf,
    pgbench: PathBuf,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Postgres {
    part: Part,
    pub(crate) programs: Programs,
    pub(crate) address: SocketAddr,
    pub(crate) password: String,
}

impl Programs {
    /// Looks in `PATH` and where Debian keeps the server, newest first.
    ///
    /// # Errors
    /// Names what is missing and how to install it.
    pub(crate) fn find() -> Result<Self> {
        Ok(Self {
            server: find("postgres")?,
            initdb: find("initdb")?,
            psql: find("psql")?,
            pgbench: find("pgbench")?,
        })
    }

    /// `psql` for people: quiet, unaligned, stops at the first error.
    pub(crate) fn psql(&self) -> Command {
        let mut psql = Command::new(&self.psql);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        psql
    }

    pub(crate) fn pgbench(&self) -> Command {
        Command::new(&self.pgbench)
    }
}

impl Postgres {
    /// Makes a cluster in `directory` and starts it, with [`USER`], [`DATABASE`] and `password`.
    pub(crate) fn start(
        programs: Programs,
        directory: &Path,
        address: SocketAddr,
        password: String,
        stop: &Stop,
    ) -> Result<Self> {
        for name in ["data", "socket"] {
            make_directory(&directory.join(name))?;
        }
        let initdb = initialise(&programs, directory);
        Part::finish("initdb", initdb, directory.join("initdb.log"), Duration::from_secs(60), stop)?;
        let server = serve(&programs, directory, address);
        let part = Part::start("PostgreSQL", server, directory.join("postgres.log"), Signal::INT)?;
        let mut postgres = Self { part, programs, address, password };
        postgres.part.wait(stop, || round_trip(address).ok())?;
        postgres.make_user(directory, stop)?;
        Ok(postgres)
    }

    pub(crate) fn check(&mut self) -> Result<()> {
        self.part.check()
    }

    /// Sets a client program to reach the database at `address`, as [`USER`].
    pub(crate) fn direct(&self, client: &mut Command, address: SocketAddr) {
        client.env("PGHOST", address.ip().to_string()).env("PGPORT", address.port().to_string());
        client.env("PGUSER", USER).env("PGDATABASE", DATABASE).env("PGPASSWORD", &self.password);
        client.env("PGCONNECT_TIMEOUT", "10");
    }

    fn make_user(&self, directory: &Path, stop: &Stop) -> Result<()> {
        // The list of processes shows everybody what stands in a command line.
        let script = directory.join("role.sql");
        let role = format!("CREATE ROLE {USER} LOGIN CREATEROLE PASSWORD '{}';\n", self.password);
        write_secret(&script, &format!("{role}CREATE DATABASE {DATABASE} OWNER {USER};\n"))?;
        let mut psql = self.programs.psql();
        psql.arg("-h").arg(directory.join("socket")).args(["-p", &self.address.port().to_string()]);
        psql.args(["-U", "postgres", "-d", "postgres", "-f"]).arg(script);
        Part::finish("psql", psql, directory.join("psql.log"), Duration::from_secs(30), stop).map(drop)
    }
}

/// The median of several round trips: one alone says little on a busy machine.
///
/// # Errors
/// When there is no PostgreSQL at `address`.
pub(crate) fn usual_round_trip(address: SocketAddr) -> Result<Duration> {
    let mut trips = (0..5).map(|_| round_trip(address)).collect::<Result<Vec<_>>>()?;
    trips.sort();
    Ok(trips[trips.len() / 2])
}

/// The time that a question to a PostgreSQL server and its answer take, after the connection stands.
///
/// # Errors
/// When there is no PostgreSQL at `address`.
pub(crate) fn round_trip(address: SocketAddr) -> Result<Duration> {
    let patience = Duration::from_secs(5);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    // The first answer comes once the target was dialled and the server has a process for us.
    ask(&mut stream, SSL_REQUEST)?;
    let began = Instant::now();
    ask(&mut stream, GSS_REQUEST)?;
    Ok(began.elapsed())
}

fn ask(stream: &mut TcpStream, question: [u8; 8]) -> Result<()> {
    let mut answer = [0];
    stream.write_all(&question)?;
    stream.read_exact(&mut answer)?;
    match answer {
        // No, or in the case of GSSAPI perhaps yes; the connection ends here either way.
        [b'N' | b'G'] => Ok(()),
        [other] => bail!("an answer that PostgreSQL does not give: {other}"),
    }
}

/// Only for the server and us: whoever reaches its socket is its superuser, and so can do what its user can.
fn make_directory(path: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.with_context(|| format!("cannot make {}", path.display()))?;
    if geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY))
            .with_context(|| format!("cannot give {} away", path.display()))?;
    }
    Ok(())
}

fn initialise(programs: &Programs, directory: &Path) -> Command {
    let mut initdb = unprivileged(&programs.initdb);
    initdb.arg("-D").arg(directory.join("data")).args(["-U", "postgres", "-E", "UTF8", "--locale=C"]);
    initdb.args(["--no-sync", "--auth-local=trust", "--auth-host=scram-sha-256"]);
    initdb
}

fn serve(programs: &Programs, directory: &Path, address: SocketAddr) -> Command {
    let mut server = unprivileged(&programs.server);
    server.arg("-D").arg(directory.join("data")).arg("-k").arg(directory.join("socket"));
    server.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    server.args(["-c", "fsync=off", "-c", "ssl=off"]);
    server
}

fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env("LC_ALL", "C");
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn find(program: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = debian_places().into_iter().chain(std::env::split_paths(&path));
    let found = places.map(|place| place.join(program)).find(|path| path.is_file());
    found.with_context(|| {
        format!(
            "the demo needs PostgreSQL, and {program} is neither in PATH nor below /usr/lib/postgresql. Install it \
             (Debian, Ubuntu: sudo apt-get install postgresql postgresql-contrib), or run `cargo xtask demo`, which \
             does"
        )
    })
}

/// Debian keeps the programs apart, newest first; its wrappers in `/usr/bin` look for a cluster of the system.
fn debian_places() -> Vec<PathBuf> {
    let Ok(versions) = Path::new("/usr/lib/postgresql").read_dir() else { return Vec::new() };
    let mut places: Vec<_> = versions.flatten().map(|version| version.path().join("bin")).collect();
    places.sort();
    places.reverse();
    places
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn no_other_user_reaches_the_superusers_socket() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("socket");
        make_directory(&socket).unwrap();
        assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}
