//! From an empty directory to a forward through the installed service, by nothing but the commands of the program.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take; the machines of CI are slow and shared.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory, ports, and processes that end with the test.
struct World {
    directory: tempfile::TempDir,
    api: u16,
    relay: u16,
    running: Vec<(String, Child)>,
}

impl World {
    fn new() -> Self {
        let api = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let relay = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { directory: tempfile::tempdir().unwrap(), api, relay, running: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api)
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.directory.path()).stdin(Stdio::null());
        command.env("ADIT_CONFIG_DIR", self.path("config")).env("RUST_LOG", "info");
        for name in ["ADIT_DOMAIN", "ADIT_TOKEN_FILE", "ADIT_CA_FILE", "NOTIFY_SOCKET", "WATCHDOG_USEC"] {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(adit(), arguments).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}\n{}", self.said());
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a part and waits until it says `text`. What it says goes to a file.
    #[track_caller]
    fn start(&mut self, name: &str, arguments: &[&str], text: &str) {
        let command = self.command(adit(), arguments);
        self.start_command(name, command);
        self.wait_for(name, text);
    }

    fn start_command(&mut self, name: &str, mut command: Command) {
        let log = File::create(self.path(&format!("{name}.log"))).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command.env("ADIT_PLATFORM_TIMES", "heartbeat=1,ping=1,duties=0.2");
        self.running.push((name.to_owned(), command.spawn().unwrap()));
    }

    fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// The line of the part `name` that has `text` in it.
    #[track_caller]
    fn wait_for(&mut self, name: &str, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.log(name).lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            let (_, child) = self.running.iter_mut().find(|(known, _)| known == name).unwrap();
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "{name} {ended:?}:\n{}", self.said());
            sleep(Duration::from_millis(50));
        }
    }

    fn said(&self) -> String {
        let logs = self.running.iter().map(|(name, _)| format!("--- {name}\n{}", self.log(name)));
        logs.collect()
    }

    /// Ends a part as systemd does. Its status.
    fn stop(&mut self, name: &str) -> Option<i32> {
        let place = self.running.iter().position(|(known, _)| known == name).unwrap();
        let (_, mut child) = self.running.remove(place);
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let end = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() >= end {
                let _ = child.kill();
            }
            sleep(Duration::from_millis(50));
        }
        child.wait().unwrap().code()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for (_, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn adit() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_adit"))
}

/// A target that says everything back.
fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut from = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut from, &mut stream);
            });
        }
    });
    port
}

/// What systemd would run, from the unit that was installed below `root`.
fn service(world: &World, root: &Path) -> Command {
    let unit = fs::read_to_string(root.join("etc/systemd/system/adit-gateway.service")).unwrap();
    let unit = unit.replace("\\\n", " ");
    let command = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let credentials = world.path("credentials");
    fs::create_dir(&credentials).unwrap();
    fs::copy(root.join("etc/adit/gateway.token"), credentials.join("token")).unwrap();
    let words = command.split_whitespace().map(|word| {
        let word = word.replace("${CREDENTIALS_DIRECTORY}", credentials.to_str().unwrap());
        if word.starts_with("/usr/") || word.starts_with("/etc/") {
            format!("{}{word}", root.display())
        } else {
            word
        }
    });
    let words: Vec<_> = words.collect();
    let arguments: Vec<_> = words[1..].iter().map(String::as_str).collect();
    let mut command = world.command(Path::new(&words[0]), &arguments);
    command.env("CREDENTIALS_DIRECTORY", &credentials).env("STATE_DIRECTORY", world.path("state"));
    command.env("NOTIFY_SOCKET", world.path("notify")).env("WATCHDOG_USEC", "60000000");
    command
}

#[test]
fn from_an_empty_directory_to_a_forward_through_the_installed_service() {
    let mut world = World::new();
    let (url, target) = (world.url(), format!("tcp://127.0.0.1:{}", echo()));
    let (api, relay) = (format!("127.0.0.1:{}", world.api), format!("127.0.0.1:{}", world.relay));

    let init = ["platform", "init", "--dir", "platform", "--public-url", &url, "--tokens-dir", "tokens"];
    let more = ["--relay", &format!("turn:{relay}?transport=udp"), "--gateway", "gw-1"];
    assert!(world.ok(&[&init[..], &more].concat()).contains("next: adit platform start"));
    let start = ["platform", "start", "--dir", "platform", "--listen", &api];
    world.start("platform", &start, "next: adit login");
    let place = ["--domain", &url, "--token-file"];
    let start = [
        "relay",
        "start",
        "--listen",
        &relay,
        "--state-dir",
        "state-relay",
        "--allowed-peer-ip",
        "127.0.0.1",
        place[0],
        place[1],
        place[2],
    ];
    world.start("relay", &[&start[..], &["tokens/relay.token"]].concat(), "listening on");

    // The gateway as systemd runs it.
    fs::create_dir_all(world.path("root")).unwrap();
    let install = ["gateway", "install", "--root", "root", "--allow", &target, place[0], place[1], place[2]];
    world.ok(&[&install[..], &["tokens/gateway.token"]].concat());
    let notify = UnixDatagram::bind(world.path("notify")).unwrap();
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    let command = service(&world, &world.path("root"));
    world.start_command("gateway", command);
    let mut told = Vec::new();
    while !["READY=1", "WATCHDOG=1"].iter().all(|word| told.iter().any(|line: &String| line.contains(word))) {
        let mut message = [0; 500];
        let read =
            notify.recv(&mut message).unwrap_or_else(|error| panic!("{error}, {told:?}\n{}", world.said()));
        told.push(String::from_utf8_lossy(&message[..read]).into_owned());
    }

    let login = ["login", place[0], place[1], place[2], "tokens/admin.token"];
    assert!(world.ok(&login).contains("as admin of main (admin)"));
    assert!(world.ok(&["gateways", "show", "gw-1", "--wait", "--timeout", "60"]).contains("healthy"));
    assert!(world.ok(&["gateways", "ls"]).contains("gw-1"));
    assert!(world.ok(&["relays", "ls"]).contains("relay-1"));
    let json: serde_json::Value = serde_json::from_str(&world.ok(&["gateways", "ls", "--json"])).unwrap();
    assert_eq!(json["items"][0]["health"]["state"], "healthy");

    // A person who is a member of a project forwards, and nobody else.
    world.ok(&["projects", "add", "shop"]);
    assert!(world.ok(&["links", "add", "shop", "gw-1", &target]).contains("adit forward"));
    world.ok(&["identities", "add", "ada", "--out", "tokens/ada.token"]);
    let forward =
        ["forward", &target, "--gateway", "gw-1", "--token-file", "tokens/ada.token", "--wait", "20"];
    let refused = world.run(&forward);
    assert_eq!(refused.status.code(), Some(12), "{}", String::from_utf8_lossy(&refused.stderr));
    world.ok(&["projects", "members", "set", "shop", "ada"]);
    world.start("forward", &forward, "listening on");
    let line = world.wait_for("forward", "listening on");
    let local = line.split("listening on ").nth(1).unwrap().split(',').next().unwrap();
    let mut stream = TcpStream::connect(local).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"through the mountain").unwrap();
    let mut answer = [0; 20];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"through the mountain");

    administer(&world);
    for part in ["forward", "gateway", "relay", "platform"] {
        assert_eq!(world.stop(part), Some(0), "{part}\n{}", world.log(part));
    }
    restore(&world);
}

/// What an administrator and an operator do on other days.
fn administer(world: &World) {
    for list in [
        "identities ls",
        "projects ls",
        "links ls",
        "identities tokens ls ada",
        "audit ls --since 1h",
        "whoami",
    ] {
        let words: Vec<_> = list.split(' ').collect();
        assert!(!world.ok(&words).is_empty());
        assert!(
            serde_json::from_str::<serde_json::Value>(&world.ok(&[&words[..], &["--json"]].concat())).is_ok()
        );
    }
    assert!(world.ok(&["audit", "verify"]).contains("intact"));
    world.ok(&["audit", "export", "--out", "audit.ndjson"]);
    let exported = fs::read_to_string(world.path("audit.ndjson")).unwrap();
    assert!(exported.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    let token = world.ok(&["identities", "tokens", "add", "ada", "--expires-in", "1h"]);
    assert!(token.starts_with("adit_identity_") && token.lines().count() == 1);
    world.ok(&["identities", "set", "ada", "--allowed-from", "127.0.0.0/8"]);
    let operator = ["--token-file", "tokens/operator.token"];
    assert!(world.ok(&[&["orgs", "ls"][..], &operator].concat()).contains("main"));
    assert!(world.ok(&[&["platform", "instances", "ls"][..], &operator].concat()).contains("alive"));
    world.ok(&[&["orgs", "add", "acme", "--out", "tokens/acme.token"][..], &operator].concat());
    assert!(world.ok(&["whoami", "--token-file", "tokens/acme.token"]).contains("acme"));
    world.ok(&["platform", "rekey", "--dir", "platform"]);
    world.ok(&["platform", "backup", "--dir", "platform", "backup"]);
    world.ok(&["identities", "revoke", "ada"]);
    assert_eq!(world.run(&["whoami", "--token-file", "tokens/ada.token"]).status.code(), Some(12));
}

/// A backup and the root keys make the same platform elsewhere.
fn restore(world: &World) {
    fs::create_dir(world.path("new")).unwrap();
    fs::copy(world.path("platform/root-keys"), world.path("new/root-keys")).unwrap();
    assert!(
        world.ok(&["platform", "restore", "--dir", "new", "backup"]).contains("restored the installation")
    );
}
