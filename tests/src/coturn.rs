//! coturn: the TURN server and client that most of the world runs.

use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::papers::RelayPapers;
use crate::place::Place;
use crate::ports::Ports;
use crate::process::{Finished, PATIENCE, Running, finish};
use crate::programs;

/// The realm of every relay in the tests.
pub const REALM: &str = "adit.test";

/// coturn's `turnserver` on 127.0.0.1 and `::1`, with time-limited credentials.
#[derive(Debug)]
pub struct Coturn {
    _server: Running,
    _place: Place,
    port: u16,
}

impl Coturn {
    /// Starts it with `secret`.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start(ports: &Ports, secret: &str) -> Self {
        Self::start_on(ports, ports.one(), secret)
    }

    /// Starts it on a certain port, such as that of one that has ended.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_on(ports: &Ports, port: u16, secret: &str) -> Self {
        Self::start_with(ports, port, secret, &["--no-tls", "--no-dtls"])
    }

    /// Starts it with a certificate, so that `secured` serves TLS and DTLS.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn start_secured(ports: &Ports, secured: u16, secret: &str, papers: &RelayPapers) -> Self {
        let (certificate, key) = (papers.certificate.display(), papers.key.display());
        let flags = [
            format!("--tls-listening-port={secured}"),
            format!("--cert={certificate}"),
            format!("--pkey={key}"),
        ];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let coturn = Self::start_with(ports, ports.one(), secret, &flags);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, secured)).is_err() {
            assert!(Instant::now() < until, "turnserver does not serve TLS on {secured}");
            std::thread::sleep(Duration::from_millis(20));
        }
        coturn
    }

    fn start_with(ports: &Ports, port: u16, secret: &str, flags: &[&str]) -> Self {
        let place = Place::new();
        let relayed = ports.range(50);
        let mut server = Command::new(programs::find("turnserver"));
        server.args(["-n", "--log-file=stdout", "--simple-log", "--verbose", "--no-cli"]);
        server.args(flags);
        server.args([
            "--listening-ip=127.0.0.1",
            "--listening-ip=::1",
            "--relay-ip=127.0.0.1",
            "--relay-ip=::1",
        ]);
        server.args(["--allow-loopback-peers", "--fingerprint", "--use-auth-secret"]);
        server.arg(format!("--listening-port={port}"));
        server.arg(format!("--min-port={}", relayed.start())).arg(format!("--max-port={}", relayed.end()));
        server.arg(format!("--realm={REALM}")).arg(format!("--static-auth-secret={secret}"));
        server.arg(format!("--pidfile={}", place.path("turnserver.pid").display()));
        server.arg(format!("--userdb={}", place.path("turndb").display())).current_dir(place.root());
        let mut server = Running::start("turnserver", server);
        // Or "DTLS/UDP listener", where it has a certificate.
        server.expect_line(&format!("UDP listener opened on: 127.0.0.1:{port}"));
        Self { _server: server, _place: place, port }
    }

    /// The port that it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// What carries TURN between a client and its relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hop {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// DTLS over UDP.
    Dtls,
}

impl Hop {
    /// The flags of `turnutils_uclient`.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Udp => &[],
            Self::Tcp => &["-t"],
            Self::Tls => &["-t", "-S"],
            Self::Dtls => &["-S"],
        }
    }
}

/// What coturn's test client is to do.
#[derive(Debug, Clone, Copy)]
pub struct Exercise<'a> {
    /// The relay's address, without the port.
    pub relay: &'a str,
    /// The relay's port.
    pub port: u16,
    /// The secret of its time-limited credentials.
    pub secret: &'a str,
    /// Clients at the same time.
    pub clients: usize,
    /// Messages of each.
    pub messages: usize,
    /// Bytes of each message.
    pub length: usize,
    /// Send indications in place of channels.
    pub indications: bool,
    /// Over what.
    pub hop: Hop,
    /// Each client has a second allocation, on the port next to that of the first (RFC 8656 §7.2).
    pub pairs: bool,
}

impl Exercise<'_> {
    /// Runs `turnutils_uclient` against the relay, with coturn's own echo as the peer.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn run(&self, ports: &Ports) -> Finished {
        let echo = ports.one();
        let mut peer = Command::new(programs::find("turnutils_peer"));
        peer.args(["-L", self.relay, "-p", &echo.to_string()]);
        let _peer = Running::start("turnutils_peer", peer);
        finish("turnutils_uclient", self.client(echo), Duration::from_secs(120))
    }

    fn client(&self, echo: u16) -> Command {
        let mut client = Command::new(programs::find("turnutils_uclient"));
        // -c: no second allocation for RTCP; -W: the secret; -z: milliseconds between messages.
        client.args((!self.pairs).then_some("-c"));
        client.args(["-u", "tester", "-W", self.secret, "-z", "5"]);
        client.args([
            "-e",
            self.relay,
            "-r",
            &echo.to_string(),
            "-L",
            self.relay,
            "-p",
            &self.port.to_string(),
        ]);
        client.args(["-m", &self.clients.to_string(), "-n", &self.messages.to_string()]);
        client.args(["-l", &self.length.to_string()]);
        client.args(self.indications.then_some("-s")).args(self.relay.contains(':').then_some("-x"));
        client.args(self.hop.flags()).arg(self.relay);
        client
    }
}
