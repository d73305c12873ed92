//! `adit gateway install`, into a directory instead of this machine, and what systemd thinks of the unit.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use adit_platform::trust::token::{Kind, Token};

/// A directory that stands for a machine, and a file with a token beside it.
struct Machine {
    directory: tempfile::TempDir,
    token: String,
}

impl Machine {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        let token = Token::new(Kind::Gateway, Some([7; 32])).reveal().to_string();
        fs::write(directory.path().join("gw.token"), format!("{token}\n")).unwrap();
        Self { directory, token }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adit"));
        command.args(["gateway"]).args(arguments).args(["--root", "root"]);
        command.current_dir(self.directory.path()).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn install(&self, more: &[&str]) -> Output {
        let usual = ["install", "--token-file", "gw.token", "--domain", "platform.example:8443"];
        self.run(&[&usual, more].concat())
    }

    /// All files, without directories.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.root(), &self.root(), &mut found);
        found.sort();
        found
    }

    fn mode(&self, name: &str) -> u32 {
        self.path(name).metadata().unwrap().permissions().mode() & 0o777
    }
}

fn collect(root: &Path, directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => collect(root, &path, found),
            path => found.push(path.strip_prefix(root).unwrap().display().to_string()),
        }
    }
}

#[track_caller]
fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn fails(output: &Output, status: i32, text: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{errors}");
    assert!(errors.contains(text), "{text:?} is missing in: {errors}");
}

const UNIT: &str = "etc/systemd/system/adit-gateway.service";
const ALL: [&str; 4] = ["etc/adit/gateway.token", "etc/adit/gateway.toml", UNIT, "usr/local/bin/adit"];

#[test]
fn everything_is_put_in_place_and_taken_away_again() {
    let machine = Machine::new();
    let said = ok(&machine.install(&["--allow", "tcp://db.internal:5432"]));
    assert!(said.contains(" next: ") && !said.contains(&machine.token));
    assert_eq!(machine.files(), ALL);
    assert_eq!([machine.mode(ALL[0]), machine.mode(ALL[1]), machine.mode(ALL[3])], [0o600, 0o644, 0o755]);
    assert_eq!(machine.read(ALL[0]), machine.token);
    assert!(machine.read(ALL[1]).contains("\"tcp://db.internal:5432\""));
    assert!(!machine.read(UNIT).contains(&machine.token));

    fs::create_dir_all(machine.path("var/lib/private/adit/gateway")).unwrap();
    fs::write(machine.path("var/lib/private/adit/gateway/key"), "").unwrap();
    ok(&machine.run(&["uninstall", "--keep-state"]));
    assert_eq!(machine.files(), ["var/lib/private/adit/gateway/key"]);
    ok(&machine.run(&["uninstall"]));
    assert_eq!(machine.files(), [""; 0]);
    assert!(!machine.path("etc/adit").exists());
    assert!(ok(&machine.run(&["uninstall"])).contains("nothing to uninstall"));
}

#[test]
fn installing_again_is_harmless_and_keeps_what_is_not_given() {
    let machine = Machine::new();
    ok(&machine.install(&["--allow", "tcp://db.internal:5432"]));
    let again = ["install", "--domain", "https://other.example"];
    ok(&machine.run(&again));
    assert_eq!(machine.files(), ALL);
    assert!(machine.read(ALL[1]).contains("\"tcp://db.internal:5432\""));
    assert!(machine.read(UNIT).contains("--domain https://other.example"));
    ok(&machine.install(&["--allow", "tcp://cache.internal:6379"]));
    assert!(!machine.read(ALL[1]).contains("    \"tcp://db.internal"));
}

#[test]
fn an_installation_that_fails_leaves_everything_as_it_was() {
    let machine = Machine::new();
    fs::create_dir_all(machine.path("etc/systemd")).unwrap();
    fs::write(machine.path("etc/systemd/system"), "no directory").unwrap();
    fails(&machine.install(&[]), 1, "can't be made");
    assert_eq!(machine.files(), ["etc/systemd/system"]);
    assert!(!machine.path("usr").exists() && !machine.path("etc/adit").exists());
}

#[test]
fn what_can_not_work_is_told_before_anything_changes() {
    let machine = Machine::new();
    fails(&machine.run(&["install", "--domain", "a.example"]), 2, "an enrolment token is needed");
    fs::write(machine.directory.path().join("gw.token"), &machine.token[..machine.token.len() - 3]).unwrap();
    fails(&machine.install(&[]), 2, "the token is damaged");
    let relay = Token::new(Kind::Relay, None).reveal().to_string();
    fs::write(machine.directory.path().join("gw.token"), relay).unwrap();
    fails(&machine.install(&[]), 2, "adit gateways enrol");
    fails(&machine.install(&["--allow", "tcp://db"]), 2, "--allow");
    assert_eq!(machine.files(), [""; 0]);
}

#[test]
fn a_token_may_come_through_a_pipe() {
    use std::io::Write as _;
    let machine = Machine::new();
    let mut command = machine.command(&["install", "--token", "-", "--domain", "a.example"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(machine.token.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(machine.read(ALL[0]), machine.token);
}

#[test]
fn a_binary_that_another_unit_runs_stays() {
    let machine = Machine::new();
    ok(&machine.install(&[]));
    let other = machine.path("etc/systemd/system/adit-relay.service");
    fs::write(&other, "ExecStart=/usr/local/bin/adit relay start\n").unwrap();
    assert!(ok(&machine.run(&["uninstall"])).contains("adit-relay.service uses it"));
    assert!(machine.path("usr/local/bin/adit").exists());
}

#[test]
fn the_status_tells_programs_and_people_the_same() {
    let machine = Machine::new();
    fails(&machine.run(&["status"]), 1, "not installed");
    ok(&machine.install(&[]));
    let json = machine.run(&["status", "--json"]);
    let found: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(found["installed"], true);
}

#[test]
fn systemd_takes_the_unit_and_finds_it_hardened() {
    let machine = Machine::new();
    ok(&machine.install(&["--bin-dir", "/opt/adit tools"]));
    // The units that every service depends on, and that an empty directory lacks.
    fs::create_dir_all(machine.path("usr/lib/systemd/system")).unwrap();
    for target in ["sysinit", "basic", "shutdown", "multi-user", "network-online", "nss-lookup"] {
        fs::write(machine.path(&format!("usr/lib/systemd/system/{target}.target")), "[Unit]\n").unwrap();
    }
    // What reloads it is part of every system.
    fs::create_dir_all(machine.path("bin")).unwrap();
    fs::copy("/bin/kill", machine.path("bin/kill")).unwrap();
    let root = format!("--root={}", machine.root().display());
    let verified = analyze(&[&root, "--man=no", "verify", "adit-gateway.service"]);
    let complaints = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<_> = complaints.lines().filter(|line| line.contains("adit-gateway")).collect();
    assert!(ours.is_empty(), "{complaints}");
    let unit = machine.path(UNIT);
    assert!(fs::read_to_string(&unit).unwrap().contains("\nExecReload=/bin/kill -HUP $MAINPID\n"));
    // 20 stands for an exposure of 2.0.
    let rated =
        analyze(&["security", "--offline=true", "--threshold=20", "--no-pager", unit.to_str().unwrap()]);
    assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
}

/// The relay's unit is a file that is copied.
#[test]
fn the_relays_unit_is_tight_too_and_reloads() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/adit-relay.service");
    let rated =
        analyze(&["security", "--offline=true", "--threshold=20", "--no-pager", unit.to_str().unwrap()]);
    assert!(rated.status.success(), "{}", String::from_utf8_lossy(&rated.stdout));
    let text = fs::read_to_string(unit).unwrap();
    assert!(text.contains("\nExecReload=/bin/kill -HUP $MAINPID\n") && text.contains("\nType=notify\n"));
}

fn analyze(arguments: &[&str]) -> Output {
    let mut command = Command::new("systemd-analyze");
    command
        .args(arguments)
        .output()
        .expect("`cargo xtask test` installs systemd-analyze, in the package systemd")
}
