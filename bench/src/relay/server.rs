//! The servers that are measured, and how each is started.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::generator::Generator;

/// The core that a server runs on.
const CORE: &str = "0";
/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first port of relayed addresses: there are enough for many allocations.
pub(super) const FIRST_PORT: u16 = 20_000;
/// The realm of all servers.
pub(super) const REALM: &str = "bench.local";
/// What time-limited credentials are made from.
pub(super) const SECRET: &str = "bench-secret";

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(super) enum Kind {
    /// This relay.
    Adit,
    /// coturn, with all that it need not do here turned off.
    Coturn,
    /// turn-rs, which relays among its own clients only: one hop for each packet, where the others have two.
    TurnRs,
    /// The bare forwarder: many datagrams with each call.
    Mmsg,
    /// The bare forwarder: many coalesced bursts with each call.
    Gro,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Adit => "adit",
            Self::Coturn => "coturn",
            Self::TurnRs => "turn-rs",
            Self::Mmsg => "bare mmsg",
            Self::Gro => "bare gro",
        }
    }

    /// Whether it knows allocations.
    pub(super) fn is_turn(self) -> bool {
        !matches!(self, Self::Mmsg | Self::Gro)
    }

    /// The program that is looked for; the others are our own.
    fn program(self) -> Option<&'static str> {
        match self {
            Self::Coturn => Some("turnserver"),
            Self::TurnRs => Some("turn-server"),
            Self::Adit | Self::Mmsg | Self::Gro => None,
        }
    }

    pub(super) fn is_installed(self) -> bool {
        self.program().is_none_or(|program| find(program).is_some())
    }

    pub(super) fn how_to_install(self) -> &'static str {
        match self {
            Self::TurnRs => "cargo install --locked turn-server",
            _ => "on Debian and Ubuntu, sudo apt-get install coturn",
        }
    }
}

/// Looks in `PATH`, in the places of system programs and in cargo's.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let cargo = std::env::home_dir().map(|home| home.join(".cargo/bin"));
    let mut places = std::env::split_paths(&path).chain(system).chain(cargo);
    places.find_map(|place| Some(place.join(program)).filter(|path| path.is_file()))
}

/// A server that runs.
pub(super) struct Running {
    kind: Kind,
    listen: SocketAddrV4,
    peer: SocketAddrV4,
    process: Child,
    /// Its configuration and what it says.
    _directory: TempDir,
}

impl Running {
    /// Starts a server, on its core or where the kernel wants it, and waits until it listens.
    ///
    /// # Errors
    /// When it does not come up.
    pub(super) fn start(kind: Kind, generator: &Generator, is_pinned: bool) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("adit-bench-").tempdir()?;
        let [listen, peer] = free_addresses()?;
        let mut command = match is_pinned {
            true => Command::new("taskset"),
            false => Command::new("env"),
        };
        command.args(is_pinned.then_some(["-c", CORE]).into_iter().flatten());
        match kind {
            Kind::Adit => {
                command.arg(std::env::current_exe()?).args(["serve-relay", &listen.to_string()]);
            }
            Kind::Coturn => coturn(&mut command, listen, &directory)?,
            Kind::TurnRs => turn_rs(&mut command, listen, &directory)?,
            Kind::Mmsg => bare(&mut command, generator, "mmsg", listen, peer),
            Kind::Gro => bare(&mut command, generator, "gro", listen, peer),
        }
        let log = directory.path().join("log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&log)?);
        let process = command.spawn().with_context(|| format!("{} can't be started", kind.name()))?;
        let mut running = Self { kind, listen, peer, process, _directory: directory };
        let said = || fs::read_to_string(&log).unwrap_or_default();
        ensure!(running.comes_up()?, "{} does not come up:\n{}", kind.name(), said());
        Ok(running)
    }

    /// What the generator is told about it.
    pub(super) fn generator_arguments(&self) -> Vec<String> {
        let server = match self.kind {
            Kind::Adit | Kind::Coturn => format!("--secret {SECRET}"),
            Kind::TurnRs => "--kind pair".to_owned(),
            Kind::Mmsg | Kind::Gro => format!("--kind bare --peer {}", self.peer),
        };
        let all = format!("--server {} --pid {} {server}", self.listen, self.process.id());
        all.split(' ').map(str::to_owned).collect()
    }

    fn comes_up(&mut self) -> Result<bool> {
        let until = Instant::now() + PATIENCE;
        while !is_bound(self.listen)? {
            if Instant::now() > until || self.process.try_wait()?.is_some() {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        // It may do more after the bind, of which nothing tells.
        std::thread::sleep(Duration::from_millis(200));
        Ok(true)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it.
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}

/// Two addresses that nobody has, below the ports that relayed addresses come from.
fn free_addresses() -> Result<[SocketAddrV4; 2]> {
    let all = (10_000..FIRST_PORT).map(|port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let mut free = all.filter(|address| UdpSocket::bind(address).is_ok());
    let mut next = || free.next().context("no port is free");
    Ok([next()?, next()?])
}

/// Whether somebody has bound the address, as the kernel lists it: a datagram would only tell of who answers.
fn is_bound(address: SocketAddrV4) -> Result<bool> {
    let ip = u32::from(*address.ip()).swap_bytes();
    let wanted = format!("{ip:08X}:{:04X}", address.port());
    let list = fs::read_to_string("/proc/net/udp").context("/proc/net/udp is missing")?;
    Ok(list.lines().any(|line| line.split_whitespace().nth(1) == Some(wanted.as_str())))
}

fn bare(command: &mut Command, generator: &Generator, mode: &str, listen: SocketAddrV4, peer: SocketAddrV4) {
    command.arg(generator.program()).args(["forward", "--mode", mode]);
    command.args(["--listen", &listen.to_string(), "--peer", &peer.to_string()]);
}

/// One thread, and nothing besides what is measured.
fn coturn(command: &mut Command, listen: SocketAddrV4, directory: &TempDir) -> Result<()> {
    command.arg(find("turnserver").context("coturn is not installed")?);
    let (ip, port) = (listen.ip().to_string(), listen.port().to_string());
    command.args(["-n", "-L", &ip, "-E", &ip, "-p", &port, "-r", REALM, "-m", "1"]);
    command.args(["--min-port", &FIRST_PORT.to_string(), "--max-port", "65535"]);
    command.args(["--use-auth-secret", &format!("--static-auth-secret={SECRET}"), "--allow-loopback-peers"]);
    command.args(["--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--no-tcp-relay", "--no-rfc5780"]);
    command.args(["--no-stun-backward-compatibility", "--no-software-attribute"]);
    command.args(["--simple-log", "--no-stdout-log"]).arg("-l").arg(directory.path().join("coturn.log"));
    Ok(())
}

fn turn_rs(command: &mut Command, listen: SocketAddrV4, directory: &TempDir) -> Result<()> {
    let path = directory.path().join("turn-rs.toml");
    let configuration = format!(
        "[server]\nport-range = \"{FIRST_PORT}..65535\"\nmax-threads = 2\nrealm = \"{REALM}\"\n\
         [[server.interfaces]]\ntransport = \"udp\"\nlisten = \"{listen}\"\nexternal = \"{listen}\"\n\
         idle-timeout = 60\nmtu = 1500\n[log]\nlevel = \"warn\"\nstdout = true\n\
         [auth]\nenable-hooks-auth = false\n[auth.static-credentials]\nuser = \"pass\"\n"
    );
    fs::write(&path, configuration)?;
    command.arg(find("turn-server").context("turn-rs is not installed")?).arg("--config").arg(path);
    Ok(())
}
