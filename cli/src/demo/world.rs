//! Everything that runs during the demo. Dropping it ends all of it, from the connector to the database.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::process::Signal;
use tempfile::TempDir;

use super::part::Part;
use super::postgres::{Postgres, Programs, round_trip};
use super::stop::Stop;
use super::tap::Tap;
use crate::{files, log};

const ORGANISATION: &str = "demo";
const GATEWAY: &str = "gw-1";

/// The parts in the order in which they end; the directory with all files goes last.
#[derive(Debug)]
pub(crate) struct World {
    connector: Part,
    pub(crate) tap: Tap,
    gateway: Part,
    relay: Part,
    pub(crate) postgres: Postgres,
    pub(crate) marker: String,
    /// The local port that leads to the database.
    pub(crate) entrance: SocketAddr,
    pub(crate) relay_address: SocketAddr,
    pub(crate) relayed: SocketAddr,
    directory: TempDir,
}

impl World {
    /// Starts PostgreSQL, relay, gateway and connector, one after the other.
    ///
    /// # Errors
    /// When one does not come up, with what it said; those that run are ended.
    pub(crate) fn start(port: u16, stop: &Stop) -> Result<Self> {
        let programs = Programs::find()?;
        let directory = make_directory()?;
        let place = directory.path();

        tell("PostgreSQL, with a database of its own");
        let postgres = Postgres::start(programs, place, free_tcp(0)?, random()?, stop)?;
        tell("certificates: one organisation, a gateway and a connector");
        make_certificates(place, stop)?;
        tell("relay");
        let relay_address = free_udp()?;
        let relay = start_relay(place, relay_address, stop)?;
        tell("gateway, which asks the relay for an address");
        let (gateway, relayed) = start_gateway(place, relay_address, postgres.address, stop)?;
        tell("connector, with a tap between it and the relay");
        let marker = format!("adit-marker-{}", random()?);
        let tap = Tap::start(relayed, &marker)?;
        let entrance = free_tcp(port)?;
        let connector = start_connector(place, tap.address, postgres.address, entrance, stop)?;
        Ok(Self {
            connector,
            tap,
            gateway,
            relay,
            postgres,
            marker,
            entrance,
            relay_address,
            relayed,
            directory,
        })
    }

    /// Follows the gateway to another relayed address.
    ///
    /// # Errors
    /// When a part has ended, with what it said.
    pub(crate) fn check(&mut self) -> Result<()> {
        self.connector.check()?;
        self.gateway.check()?;
        self.relay.check()?;
        self.postgres.check()?;
        if let Some(relayed) = read_address(&self.directory.path().join("gateway.addr")) {
            self.relayed = relayed;
            self.tap.turn_to(relayed);
        }
        Ok(())
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

fn make_certificates(place: &Path, stop: &Stop) -> Result<()> {
    let ca = place.join("ca");
    let run = |arguments: &[&str]| {
        let mut adit = adit()?;
        adit.args(&arguments[..2]).arg(&ca).args(&arguments[2..]);
        Part::finish("adit ca", adit, place.join("ca.log"), Duration::from_secs(30), stop)
    };
    run(&["ca", "new", "--organisation", ORGANISATION])?;
    run(&["ca", "issue", "gateway", GATEWAY])?;
    run(&["ca", "issue", "connector", "laptop"])?;
    Ok(())
}

/// Nobody else can read it, at no time.
pub(super) fn write_secret(path: &Path, secret: &str) -> Result<()> {
    files::create(path, secret, files::SECRET).map_err(|failure| anyhow!(failure.what))
}

fn start_relay(place: &Path, listen: SocketAddr, stop: &Stop) -> Result<Part> {
    let secret = place.join("secret");
    write_secret(&secret, &random()?)?;
    let mut relay = adit()?;
    relay.args(["relay", "start", "--realm", "demo.adit", "--listen", &listen.to_string()]);
    // Loopback is denied unless it is named.
    relay.args(["--allowed-peer-ip", "127.0.0.1"]).arg("--static-auth-secret-file").arg(secret);
    let mut part = Part::start("the relay", relay, place.join("relay.log"), Signal::TERM)?;
    part.wait(stop, || answers_binding(listen))?;
    Ok(part)
}

fn start_gateway(
    place: &Path,
    relay: SocketAddr,
    target: SocketAddr,
    stop: &Stop,
) -> Result<(Part, SocketAddr)> {
    let config = place.join("gateway.toml");
    fs::write(&config, gateway_config(relay, target))?;
    let mut gateway = adit()?;
    gateway.args(["gateway", "start", "--config"]).arg(config);
    let mut part = Part::start("the gateway", gateway, place.join("gateway.log"), Signal::TERM)?;
    let relayed = part.wait(stop, || read_address(&place.join("gateway.addr")))?;
    Ok((part, relayed))
}

fn start_connector(
    place: &Path,
    gateway: SocketAddr,
    target: SocketAddr,
    listen: SocketAddr,
    stop: &Stop,
) -> Result<Part> {
    let config = place.join("connector.toml");
    fs::write(&config, connector_config(gateway))?;
    let mut forward = adit()?;
    forward
        .args(["forward", &format!("tcp://{target}"), "--listen", &listen.to_string(), "--config"])
        .arg(config);
    let mut part = Part::start("the connector", forward, place.join("connector.log"), Signal::TERM)?;
    part.wait(stop, || round_trip(listen).ok())?;
    Ok(part)
}

fn gateway_config(relay: SocketAddr, target: SocketAddr) -> String {
    format!(
        r#"organisation = "{ORGANISATION}"
relays = ["turn:{relay}?transport=udp"]
[credentials]
static-auth-secret-file = "secret"
[identity]
certificate = "ca/{GATEWAY}.pem"
key = "ca/{GATEWAY}.key"
trust-anchor = ["ca/connector-ca.pem"]
[peers]
permit = ["127.0.0.1"]
[targets]
allow = ["tcp://{target}"]
[status]
address-file = "gateway.addr"
"#
    )
}

fn connector_config(gateway: SocketAddr) -> String {
    format!(
        r#"organisation = "{ORGANISATION}"
gateway-id = "{GATEWAY}"
addresses = ["{gateway}"]
[identity]
certificate = "ca/laptop.pem"
key = "ca/laptop.key"
trust-anchor = ["ca/gateway-ca.pem"]
"#
    )
}

/// This very program, free of what the environment would set.
fn adit() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let ours = std::env::vars_os().map(|(name, _)| name);
    for name in ours.filter(|name| name.to_string_lossy().starts_with("ADIT_")) {
        command.env_remove(name);
    }
    Ok(command)
}

/// The best address of the gateway's file, once there is one.
fn read_address(file: &Path) -> Option<SocketAddr> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.trim().parse().ok())
}

/// Whether a STUN Binding request is answered (RFC 8489 §5): a header without attributes.
fn answers_binding(relay: SocketAddr) -> Option<()> {
    const REQUEST: [u8; 20] = *b"\x00\x01\x00\x00\x21\x12\xa4\x42adit demo 01";
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    socket.connect(relay).ok()?;
    socket.set_read_timeout(Some(Duration::from_millis(200))).ok()?;
    socket.send(&REQUEST).ok()?;
    let mut answer = [0; 256];
    let length = socket.recv(&mut answer).ok()?;
    (length >= 20 && answer[..2] == [1, 1]).then_some(())
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
