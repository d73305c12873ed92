//! A coturn's own example configuration, with options enabled, as a relay's file: whom coturn served, the relay serves.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use adit_core::time::UnixTime;
use adit_core::turn::credentials::Credentials;
use adit_tests::adit::World;
use adit_tests::process::{PATIENCE, Running};
use adit_tests::programs;
use adit_tests::turn::Turn;

/// The file that the package brings along.
const EXAMPLE: &str = "/usr/share/doc/coturn/examples/etc/turnserver.conf";

const SECRET: &str = "north by northwest";

/// The example with these options enabled, each in the place of the first line that shows it.
fn enabled(options: &[(&str, String)]) -> String {
    let mut text = fs::read_to_string(EXAMPLE).expect("the package coturn is installed");
    for (name, value) in options {
        let line = if value.is_empty() { (*name).to_owned() } else { format!("{name}={value}") };
        let shown = |found: &&str| {
            let rest = found.strip_prefix('#').and_then(|rest| rest.strip_prefix(name));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        let example =
            text.lines().find(shown).unwrap_or_else(|| panic!("{name} is not in the example")).to_owned();
        text = text.replacen(&format!("\n{example}\n"), &format!("\n{line}\n"), 1);
    }
    text
}

struct Scene {
    world: World,
    relay: SocketAddr,
    peer: UdpSocket,
}

impl Scene {
    fn new(who: &[(&str, String)]) -> Self {
        let world = World::new();
        let relay = world.address("127.0.0.1");
        let ports = world.ports.range(20);
        let common = [
            ("listening-port", relay.port().to_string()),
            ("listening-ip", "127.0.0.1".to_owned()),
            ("relay-ip", "127.0.0.1".to_owned()),
            ("min-port", ports.start().to_string()),
            ("max-port", ports.end().to_string()),
            ("realm", "example.org".to_owned()),
            ("user-quota", "3".to_owned()),
            ("stale-nonce", "600".to_owned()),
            ("fingerprint", String::new()),
            ("allow-loopback-peers", String::new()),
            ("no-multicast-peers", String::new()),
            ("no-cli", String::new()),
            ("no-tls", String::new()),
            ("no-dtls", String::new()),
            ("cli-password", "a secret of the console".to_owned()),
            ("userdb", world.place.path("turndb").display().to_string()),
            ("pidfile", format!("\"{}\"", world.place.path("turnserver.pid").display())),
            ("log-file", "stdout".to_owned()),
        ];
        world.place.write("turnserver.conf", &enabled(&[&common[..], who].concat()));
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self { world, relay, peer }
    }

    /// Data goes to the peer and back through whichever relay runs.
    fn serves(&self, username: &str, password: &str) {
        let mut client = Turn::new(self.relay, username, password);
        let relayed = client.allocate().relayed();
        let peer = self.peer.local_addr().unwrap();
        assert_eq!(client.bind_channel(0x4000, peer), 0);
        client.send(0x4000, b"hello");
        let mut bytes = [0; 100];
        assert_eq!(self.peer.recv_from(&mut bytes).unwrap(), (5, relayed));
        self.peer.send_to(b"good day", relayed).unwrap();
        assert_eq!(client.receive(0x4000, Duration::from_secs(10)).unwrap(), b"good day");
        assert_eq!(client.refresh(0), 0);
    }

    fn coturn(&self) -> Running {
        let mut server = Command::new(programs::find("turnserver"));
        server.args(["-c", "turnserver.conf"]).current_dir(self.world.place.root());
        let server = Running::start("turnserver", server);
        // The example has it log to syslog, so that it says nothing here. It serves TCP on the same port.
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(self.relay).is_err() {
            assert!(Instant::now() < until, "turnserver does not serve on {}", self.relay);
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// The relay that the imported file starts.
    fn relay(&self) -> Running {
        let said = self.world.adit(&["relay", "import-coturn", "turnserver.conf"]).success();
        assert!(said.contains("next: adit config check relay.toml"), "{said}");
        let _ = self.world.adit(&["config", "check", "relay.toml"]).success();
        let mut relay =
            Running::start("adit relay", self.world.command(&["relay", "start", "--config", "relay.toml"]));
        relay.expect_line(&format!("listening on {}", self.relay));
        relay
    }

    fn has_a_secret(&self, name: &str) {
        let mode = fs::metadata(self.world.place.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn users_of_a_coturn_go_on_as_users_of_the_relay() {
    let who = [("lt-cred-mech", String::new()), ("user", "ada:wonder:land".to_owned())];
    let scene = Scene::new(&who);
    let coturn = scene.coturn();
    scene.serves("ada", "wonder:land");
    drop(coturn);
    let _relay = scene.relay();
    scene.serves("ada", "wonder:land");
    assert_eq!(Turn::new(scene.relay, "ada", "wonder").allocate().code(), 401);
    scene.has_a_secret("relay.users");
    let file = fs::read_to_string(scene.world.place.path("relay.toml")).unwrap();
    for told in ["# user=…", "cli-password: there is no port for commands", "log-file: ", "fingerprint: "] {
        assert!(file.contains(told), "{told}\n{file}");
    }
    assert!(!file.contains("wonder") && !file.contains("console"), "{file}");
}

#[test]
fn holders_of_a_coturns_time_limited_credentials_go_on_too() {
    let who = [("use-auth-secret", String::new()), ("static-auth-secret", SECRET.to_owned())];
    let scene = Scene::new(&who);
    let Credentials { username, password } =
        // coturn goes by 32 bits with a sign: what is later than 2038 has expired.
        Credentials::time_limited(SECRET.as_bytes(), UnixTime(2_000_000_000), "ada");
    let coturn = scene.coturn();
    scene.serves(&username, &password);
    drop(coturn);
    let _relay = scene.relay();
    scene.serves(&username, &password);
    scene.has_a_secret("relay.secret");
    let again = scene.world.adit(&["relay", "import-coturn", "turnserver.conf"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(again.said.contains("not overwritten"), "{}", again.said);
}
