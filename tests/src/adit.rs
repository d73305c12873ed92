//! The `adit` binary as its users run it: certificates from `adit ca`, configuration in files, parts as processes.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use crate::build::executable;
use crate::coturn::REALM;
use crate::place::Place;
use crate::ports::Ports;
use crate::process::{Finished, PATIENCE, Running, finish};

/// The shared secret of relays and gateways.
pub const SECRET: &str = "a secret that only relay and gateway know";

/// A test's files and ports, with the certificates of one organisation, `acme`, in `ca`.
#[derive(Debug)]
pub struct World {
    /// Its files.
    pub place: Place,
    /// Its ports.
    pub ports: Ports,
}

/// What stands in a `gateway.toml`.
#[derive(Debug, Clone)]
pub struct Gateway {
    /// `organisation`.
    pub organisation: &'static str,
    /// `relays`, as addresses.
    pub relays: Vec<SocketAddr>,
    /// What stands behind `relays =` instead, in full.
    pub urls: Option<String>,
    /// What the file with the secret holds.
    pub secret: &'static str,
    /// Path of the certificate and key, without their extensions.
    pub identity: &'static str,
    /// `trust-anchor`.
    pub trust: Vec<&'static str>,
    /// `targets.allow`.
    pub allow: Vec<String>,
}

/// What stands in a `connector.toml`.
#[derive(Debug, Clone)]
pub struct Connector {
    /// `organisation`.
    pub organisation: &'static str,
    /// `gateway-id`.
    pub gateway: &'static str,
    /// `addresses`; `address-file` when there is none.
    pub addresses: Vec<SocketAddr>,
    /// Path of the certificate and key, without their extensions.
    pub identity: &'static str,
    /// `trust-anchor`.
    pub trust: Vec<&'static str>,
}

impl World {
    /// Makes the certificates of `acme`: gateway `gw-1`, connector `laptop`.
    ///
    /// # Panics
    /// When `adit ca` fails.
    #[must_use]
    pub fn new() -> Self {
        let world = Self { place: Place::new(), ports: Ports::claim() };
        world.organisation("ca", "acme");
        world
    }

    /// Makes another organisation's certificates in `directory`, with the same names.
    ///
    /// # Panics
    /// When `adit ca` fails.
    pub fn organisation(&self, directory: &str, name: &str) {
        let _ = self.adit(&["ca", "new", directory, "--organisation", name]).success();
        let _ = self.adit(&["ca", "issue", directory, "gateway", "gw-1"]).success();
        let _ = self.adit(&["ca", "issue", directory, "connector", "laptop"]).success();
    }

    /// The directory of the world.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.place.root()
    }

    /// Runs `adit` to its end, in the directory of the world.
    #[must_use]
    pub fn adit(&self, arguments: &[&str]) -> Finished {
        finish("adit", self.command(arguments), PATIENCE)
    }

    /// `adit` with its arguments, in the directory of the world.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        command(self.place.root(), arguments)
    }

    /// Starts a relay that listens on `listen` and lets loopback peers be reached.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn relay(&self, listen: &[SocketAddr]) -> Running {
        self.relay_with(listen, &[])
    }

    /// The same with more flags.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn relay_with(&self, listen: &[SocketAddr], flags: &[&str]) -> Running {
        let mut command = self.relay_command(listen);
        command.args(flags);
        let mut relay = Running::start("adit relay", command);
        for address in listen {
            relay.expect_line(&address.to_string());
        }
        relay
    }

    /// The command of [`World::relay`].
    #[must_use]
    pub fn relay_command(&self, listen: &[SocketAddr]) -> Command {
        self.place.write("secret", SECRET);
        let relayed = self.ports.range(40);
        let (first, last) = (relayed.start().to_string(), relayed.end().to_string());
        let mut command = self.command(&["relay", "start", "--realm", REALM, "--grace-period", "0"]);
        command.args(["--static-auth-secret-file", "secret", "--min-port", &first, "--max-port", &last]);
        command.args(["--allowed-peer-ip", "127.0.0.1", "--allowed-peer-ip", "::1"]);
        for address in listen {
            command.args(["--listen", &address.to_string()]);
        }
        command
    }

    /// Starts a gateway and waits until it has as many relayed addresses as `addresses`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn gateway(&self, gateway: &Gateway, addresses: usize) -> (Running, Vec<SocketAddr>) {
        let running = Running::start("adit gateway", self.gateway_command(gateway));
        let relayed = self.wait_for_addresses(addresses, &running);
        (running, relayed)
    }

    /// The command of [`World::gateway`].
    #[must_use]
    pub fn gateway_command(&self, gateway: &Gateway) -> Command {
        self.place.write("gateway.toml", &gateway.toml());
        self.place.write("gateway-secret", gateway.secret);
        self.command(&["gateway", "start", "--config", "gateway.toml"])
    }

    /// Starts `adit forward` on a free port of `host`, and waits until it listens.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn forward(&self, connector: &Connector, target: &str, host: &str) -> (Running, SocketAddr) {
        let listen = self.address(host);
        let mut running = Running::start("adit forward", self.forward_command(connector, target, listen));
        running.expect_line(&listen.to_string());
        (running, listen)
    }

    /// The command of [`World::forward`].
    #[must_use]
    pub fn forward_command(&self, connector: &Connector, target: &str, listen: SocketAddr) -> Command {
        self.place.write("connector.toml", &connector.toml());
        self.command(&["forward", target, "--config", "connector.toml", "--listen", &listen.to_string()])
    }

    /// A free port of `host`.
    ///
    /// # Panics
    /// When `host` is no address.
    #[must_use]
    pub fn address(&self, host: &str) -> SocketAddr {
        SocketAddr::new(host.parse().expect("an address"), self.ports.one())
    }

    /// What the gateway's address file holds; nothing while there is no file.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let text = fs::read_to_string(self.place.path("gateway.addr")).unwrap_or_default();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        lines.map(|line| line.parse().expect("one address in each line")).collect()
    }

    fn wait_for_addresses(&self, count: usize, gateway: &Running) -> Vec<SocketAddr> {
        let until = Instant::now() + PATIENCE;
        loop {
            let addresses = self.addresses();
            if addresses.len() >= count {
                return addresses;
            }
            assert!(Instant::now() < until, "no relayed address. The gateway said:\n{}", gateway.said());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Gateway {
    /// A right one: on `relay`, with `allow` as its targets.
    #[must_use]
    pub fn on(relay: SocketAddr, allow: &[&str]) -> Self {
        Self {
            organisation: "acme",
            relays: vec![relay],
            urls: None,
            secret: SECRET,
            identity: "ca/gw-1",
            trust: vec!["ca/connector-ca.pem"],
            allow: allow.iter().map(|target| (*target).to_owned()).collect(),
        }
    }

    /// The file's text.
    #[must_use]
    pub fn toml(&self) -> String {
        let relays: Vec<_> = self.relays.iter().map(|relay| format!("turn:{relay}?transport=udp")).collect();
        let relays = self.urls.clone().unwrap_or_else(|| format!("{relays:?}"));
        format!(
            r#"organisation = "{}"
relays = {relays}
[credentials]
static-auth-secret-file = "gateway-secret"
[identity]
certificate = "{identity}.pem"
key = "{identity}.key"
trust-anchor = {:?}
[peers]
permit = ["127.0.0.1", "::1"]
[targets]
allow = {:?}
[status]
address-file = "gateway.addr"
"#,
            self.organisation,
            self.trust,
            self.allow,
            identity = self.identity,
        )
    }
}

impl Connector {
    /// A right one, for `gw-1` at `addresses`, or wherever its address file says.
    #[must_use]
    pub fn to(addresses: &[SocketAddr]) -> Self {
        Self {
            organisation: "acme",
            gateway: "gw-1",
            addresses: addresses.to_vec(),
            identity: "ca/laptop",
            trust: vec!["ca/gateway-ca.pem"],
        }
    }

    /// The file's text.
    #[must_use]
    pub fn toml(&self) -> String {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let place = match addresses.is_empty() {
            true => "address-file = \"gateway.addr\"".to_owned(),
            false => format!("addresses = {addresses:?}"),
        };
        format!(
            r#"organisation = "{}"
gateway-id = "{}"
{place}
[identity]
certificate = "{identity}.pem"
key = "{identity}.key"
trust-anchor = {:?}
"#,
            self.organisation,
            self.gateway,
            self.trust,
            identity = self.identity,
        )
    }
}

/// `adit` with its arguments, in `directory`.
#[must_use]
pub fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(directory).env("RUST_LOG", "info");
    // Many run at once; whoever looks at the pages names a port.
    command.env("ADIT_MONITOR_LISTEN", "none");
    command
}

/// The binary of this workspace, built if need be; `ADIT_BINARY` names another.
fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let build = || executable("adit");
    BINARY.get_or_init(|| std::env::var_os("ADIT_BINARY").map_or_else(build, PathBuf::from))
}
