//! Everything that runs during the demo. Dropping it ends all of it, from the connector to the database.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;

use super::part::Part;
use super::parts::Parts;
use super::postgres::{Postgres, Programs};
use super::stop::Stop;
use super::tap::Tap;
use crate::{files, log};

/// The parts in the order in which they end; the directory with all files goes last.
#[derive(Debug)]
pub(crate) struct World {
    connector: Part,
    gateway: Part,
    relay: Part,
    platform: Part,
    pub(crate) tap: Tap,
    pub(crate) postgres: Postgres,
    pub(crate) marker: String,
    /// The local port that leads to the database.
    pub(crate) entrance: SocketAddr,
    pub(crate) relay_address: SocketAddr,
    pub(crate) relayed: SocketAddr,
    api: SocketAddr,
    directory: TempDir,
}

impl World {
    /// Starts PostgreSQL, platform, relay, gateway and connector, one after the other.
    ///
    /// # Errors
    /// When one does not come up, with what it said; those that run are ended.
    pub(crate) fn start(port: u16, stop: &Stop) -> Result<Self> {
        let programs = Programs::find()?;
        let directory = make_directory()?;
        let place = directory.path();

        tell("PostgreSQL, with a database of its own");
        let postgres = Postgres::start(programs, place, free_tcp(0)?, random()?, stop)?;
        let marker = format!("adit-marker-{}", random()?);
        let relay_address = free_udp()?;
        let tap = Tap::start(relay_address, &marker)?;

        tell("platform: an organisation, a relay, a gateway, and a token for each");
        let api = free_tcp(0)?;
        let parts = Parts::new(place, api, stop);
        let platform = parts.platform(tap.address)?;
        tell("relay, which enrols with its token");
        let relay = parts.relay(relay_address)?;
        tell("gateway, which enrols with its token and asks the relay for an address");
        let gateway = parts.gateway(postgres.address)?;
        log::tell(format_args!("waiting until the platform has reached the gateway through the relay …"));
        let relayed = parts.healthy()?;
        tell("connector, which the platform gives a certificate for this database alone");
        parts.link(postgres.address)?;
        let entrance = free_tcp(port)?;
        let connector = parts.connector(postgres.address, entrance)?;
        Ok(Self {
            connector,
            gateway,
            relay,
            platform,
            tap,
            postgres,
            marker,
            entrance,
            relay_address,
            relayed,
            api,
            directory,
        })
    }

    /// The parts, to be asked.
    pub(super) fn parts<'a>(&'a self, stop: &'a Stop) -> Parts<'a> {
        Parts::new(self.directory.path(), self.api, stop)
    }

    /// # Errors
    /// When a part has ended, with what it said.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.connector.check()?;
        self.gateway.check()?;
        self.relay.check()?;
        self.platform.check()?;
        self.postgres.check()
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub(crate) fn finish(
        &self,
        name: &'static str,
        program: Command,
        patience: Duration,
        stop: &Stop,
    ) -> Result<String> {
        Part::finish(name, program, self.directory.path().join("program.log"), patience, stop)
    }
}

fn tell(what: &str) {
    log::tell(format_args!("starting {what} …"));
}

/// PostgreSQL runs as another user where this is root, so others may pass through; secrets in it are 0600.
fn make_directory() -> Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("adit-demo-").tempdir().context("no place for files")?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o711))?;
    Ok(directory)
}

/// Nobody else can read it, at no time.
pub(super) fn write_secret(path: &Path, secret: &str) -> Result<()> {
    files::create(path, secret, files::SECRET).map_err(|failure| anyhow!(failure.what))
}

/// This very program, free of what the environment would set.
pub(super) fn adit() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("ADIT_")) {
        command.env_remove(name);
    }
    Ok(command)
}

fn free_tcp(port: u16) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    Ok(listener.with_context(|| format!("port {port} of 127.0.0.1 is not free"))?.local_addr()?)
}

fn free_udp() -> Result<SocketAddr> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// Sixteen random digits, from the system.
fn random() -> Result<String> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
