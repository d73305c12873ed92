//! The parts of Adit as anybody would start them: a platform, what enrols there by token, and a person's connector.

use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use adit_platform::words::{Gateway, IssuedLease};
use anyhow::{Context, Result};
use rustix::process::Signal;

use super::part::Part;
use super::postgres::{DATABASE, USER, round_trip};
use super::stop::Stop;
use super::world::{adit, write_secret};

const GATEWAY: &str = "gw-1";
const PROJECT: &str = "demo";
/// The database and the dynamic secret, as the platform has them.
const DATABASE_NAME: &str = "demo-db";
const SECRET: &str = "demo-ro";
/// How long a command may take that only asks the platform.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may take until the gateway is healthy.
const HEALTH: Duration = Duration::from_secs(90);

/// What all parts are started with.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    place: &'a Path,
    listen: SocketAddr,
    stop: &'a Stop,
}

impl<'a> Parts<'a> {
    /// Files go to `place`; the platform will listen on `listen`.
    pub(super) fn new(place: &'a Path, listen: SocketAddr, stop: &'a Stop) -> Self {
        Self { place, listen, stop }
    }

    /// Makes a platform, with a relay that is reached at `relay` and a gateway, and starts it.
    pub(super) fn platform(&self, relay: SocketAddr) -> Result<Part> {
        let directory = self.place.join("platform");
        let mut init = adit()?;
        init.args(["platform", "init", "--organisation", "demo", "--public-url", &self.domain(), "--dir"]);
        init.arg(&directory).arg("--tokens-dir").arg(self.place.join("tokens"));
        init.args(["--relay", &format!("turn:{relay}?transport=udp"), "--gateway", GATEWAY]);
        self.finish("adit platform init", init, PATIENCE)?;

        let mut platform = adit()?;
        platform.args(["platform", "start", "--listen", &self.listen.to_string(), "--dir"]).arg(directory);
        // Only public addresses are let through by themselves.
        platform.args(["--connector-bind", "127.0.0.1"]);
        let mut part = self.part("the platform", platform, "platform.log")?;
        part.wait(self.stop, || TcpStream::connect(self.listen).ok())?;
        Ok(part)
    }

    /// Starts the relay, which takes its secrets from the platform.
    pub(super) fn relay(&self, listen: SocketAddr) -> Result<Part> {
        let mut relay = adit()?;
        relay.args(["relay", "start", "--grace-period", "0", "--listen", &listen.to_string()]);
        // Loopback is denied unless it is named.
        relay.args(["--allowed-peer-ip", "127.0.0.1"]);
        self.enrol(&mut relay, "relay");
        let mut part = self.part("the relay", relay, "relay.log")?;
        part.wait(self.stop, || answers_binding(listen))?;
        Ok(part)
    }

    /// Starts the gateway, which allows `target` and nothing else.
    pub(super) fn gateway(&self, target: SocketAddr) -> Result<Part> {
        let mut gateway = adit()?;
        gateway.args(["gateway", "start", "--allow", &format!("tcp://{target}")]);
        self.enrol(&mut gateway, "gateway");
        self.part("the gateway", gateway, "gateway.log")
    }

    /// Waits until the platform calls the gateway healthy. The relayed address.
    pub(super) fn healthy(&self) -> Result<SocketAddr> {
        let said = self.ask(&["gateways", "show", GATEWAY, "--wait", "--json"], HEALTH)?;
        let gateway: Gateway =
            serde_json::from_str(said.trim()).with_context(|| format!("adit gateways show:\n{said}"))?;
        let address = gateway.instances.iter().find_map(|instance| instance.addresses.first());
        address.copied().context("a healthy gateway has an address")
    }

    /// Lets a project reach `target` through the gateway.
    pub(super) fn link(&self, target: SocketAddr) -> Result<()> {
        self.ask(&["projects", "add", PROJECT], PATIENCE)?;
        self.ask(&["links", "add", PROJECT, GATEWAY, &format!("tcp://{target}")], PATIENCE).map(drop)
    }

    /// Starts the connector, as the administrator.
    pub(super) fn connector(&self, target: SocketAddr, listen: SocketAddr) -> Result<Part> {
        let (target, listening) = (format!("tcp://{target}"), listen.to_string());
        let mut forward = adit()?;
        forward.args(["forward", &target, "--gateway", GATEWAY, "--listen", &listening]);
        self.log_in(&mut forward);
        let mut part = self.part("the connector", forward, "connector.log")?;
        part.wait(self.stop, || round_trip(listen).ok())?;
        Ok(part)
    }

    /// Defines the database at `target` and a dynamic secret whose users read it, for which the server is prepared.
    pub(super) fn define(&self, target: SocketAddr, password: &str) -> Result<()> {
        let file = self.place.join("admin.password");
        write_secret(&file, password)?;
        let (target, file) = (format!("tcp://{target}"), file.display().to_string());
        let add = ["databases", "add", DATABASE_NAME, &target, "--project", PROJECT, "--gateway", GATEWAY];
        let user =
            ["--dbname", DATABASE, "--tls", "disable", "--admin-user", USER, "--admin-password-file", &file];
        self.ask(&[&add[..], &user].concat(), PATIENCE)?;
        self.ask(
            &["secrets", "add", SECRET, "--database", DATABASE_NAME, "--access", "read-only"],
            PATIENCE,
        )?;
        self.ask(&["secrets", "prepare", SECRET], PATIENCE).map(drop)
    }

    /// Leases the secret: a user that the platform makes through the tunnel.
    pub(super) fn lease(&self) -> Result<IssuedLease> {
        let said = self.ask(&["leases", "create", SECRET, "--json"], PATIENCE)?;
        // It holds a password, so that it is not shown.
        serde_json::from_str(said.trim()).context("adit leases create said something else")
    }

    /// Revokes a lease, and waits until its user is gone.
    pub(super) fn revoke(&self, lease: &str) -> Result<()> {
        self.ask(&["leases", "revoke", lease, "--wait", "--timeout", "30"], 2 * PATIENCE).map(drop)
    }

    fn domain(&self) -> String {
        format!("https://{}", self.listen)
    }

    fn token(&self, whose: &str) -> PathBuf {
        self.place.join("tokens").join(format!("{whose}.token"))
    }

    fn enrol(&self, command: &mut Command, kind: &str) {
        command.args(["--domain", &self.domain(), "--token-file"]).arg(self.token(kind));
        command.arg("--state-dir").arg(self.place.join(format!("{kind}-state")));
    }

    fn log_in(&self, command: &mut Command) {
        command.args(["--domain", &self.domain(), "--token-file"]).arg(self.token("admin"));
    }

    /// Asks the platform as its administrator.
    fn ask(&self, arguments: &[&str], patience: Duration) -> Result<String> {
        let mut command = adit()?;
        command.args(arguments);
        self.log_in(&mut command);
        self.finish("adit", command, patience)
    }

    fn finish(&self, name: &'static str, command: Command, patience: Duration) -> Result<String> {
        Part::finish(name, command, self.place.join("command.log"), patience, self.stop)
    }

    fn part(&self, name: &'static str, command: Command, log: &str) -> Result<Part> {
        Part::start(name, command, self.place.join(log), Signal::TERM)
    }
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
