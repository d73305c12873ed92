//! `adit run` and the commands of dynamic secrets, with everything real: platform, relay, gateway, PostgreSQL and psql.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use adit_tests::adit::World;
use adit_tests::platform::{GATEWAY, Installation, Instance};
use adit_tests::postgres::{DATABASE, PASSWORD, Postgres, USER};
use adit_tests::process::{Finished, PATIENCE, Running, finish};
use adit_tests::programs;
use rustix::process::{Pid, Signal};
use serde_json::Value;

/// Reports and looks every second.
const TIMES: &str = "heartbeat=1,ping=1,duties=0.2,watcher-claim=2";
/// Waits for SIGTERM and the like, says that it came, and ends with 3.
const LISTENS: &str = "trap 'echo told; exit 3' TERM HUP INT; echo ready; while :; do sleep 0.1; done";

/// A platform that knows a PostgreSQL behind a gateway. Ends from the gateway to the server.
struct Site<'w> {
    _gateway: Running,
    _relay: Running,
    platform: Instance,
    installation: Installation<'w>,
    postgres: Postgres,
}

impl<'w> Site<'w> {
    /// With the database `shop-db`, whose admin is no superuser, and `shop-ro`, whose users may read it.
    fn new(world: &'w World) -> Self {
        let postgres = Postgres::start(&world.ports);
        let installation = Installation::new(world, None, TIMES);
        let platform = installation.instance(1);
        let target = format!("tcp://127.0.0.1:{}", postgres.port());
        let relay = installation.relay(&platform);
        let gateway = installation.gateway(&platform, &target);
        installation.wait_until_healthy(&platform);
        installation.link(&platform, &target);
        let password = world.place.write("admin.password", PASSWORD);
        fs::set_permissions(password, fs::Permissions::from_mode(0o600)).unwrap();
        let site = Self { _gateway: gateway, _relay: relay, platform, installation, postgres };
        let add = ["databases", "add", "shop-db", &target, "--project", "shop", "--gateway", GATEWAY];
        let user = ["--admin-user", USER, "--dbname", DATABASE, "--tls", "disable"];
        let secret = ["--admin-password-file", "admin.password"];
        let said = site.ask(&[&add[..], &user, &secret].concat()).success();
        assert!(said.contains("next: adit databases test shop-db"), "{said}");
        site.define("shop-ro", &["--ttl", "60s", "--max-ttl", "1h"]);
        site
    }

    /// Defines a read-only secret, for which the server is prepared at once.
    fn define(&self, name: &str, flags: &[&str]) {
        let add = ["secrets", "add", name, "--database", "shop-db", "--access", "read-only"];
        let said = self.ask(&[&add[..], flags].concat()).success();
        assert!(said.contains(&format!("next: adit secrets test {name}")), "{said}");
    }

    /// Asks as the administrator.
    fn ask(&self, arguments: &[&str]) -> Finished {
        finish("adit", self.installation.as_admin(&self.platform, arguments), PATIENCE * 2)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let said = self.ask(&[arguments, &["--json"]].concat()).success();
        serde_json::from_str(said.trim()).unwrap_or_else(|error| panic!("{error} in {said}"))
    }

    fn leases(&self) -> Vec<Value> {
        self.json(&["leases", "ls"])["items"].as_array().unwrap().clone()
    }

    /// The lease that `adit run` has made, by what it `said`: `… INFO leased secret="…" lease="…" until="…"`.
    fn lease(&self, said: &str) -> Value {
        let line = said.lines().find(|line| line.contains("INFO leased")).unwrap_or_else(|| panic!("{said}"));
        let id = line.split("lease=\"").nth(1).unwrap().split('"').next().unwrap();
        self.json(&["leases", "show", id])
    }

    /// `adit run` with these flags, for a command.
    fn run(&self, flags: &[&str], command: &[&str]) -> Command {
        let mut run = self.installation.as_admin(&self.platform, &["run"]);
        run.args(flags).arg("--").args(command);
        run
    }

    fn has_user(&self, name: &str) -> bool {
        self.postgres.superuser("SELECT rolname FROM pg_roles").lines().any(|line| line == name)
    }

    /// The lease has ended, and so has its user.
    #[track_caller]
    fn assert_gone(&self, lease: &Value) {
        let shown = self.json(&["leases", "show", text(lease, "id")]);
        assert_eq!(text(&shown, "state"), "revoked", "{shown}");
        assert!(!self.has_user(text(lease, "username")), "{lease}");
    }
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field} in {value}"))
}

fn psql() -> String {
    programs::find("psql").display().to_string()
}

#[test]
fn a_command_has_a_user_of_its_own_while_it_runs() {
    let world = World::new();
    let site = Site::new(&world);
    let query = "SELECT current_user, current_database()";
    let run = site.run(&["--secret", "shop-ro"], &[&psql(), "-XAtc", query]);
    let said = finish("adit run", run, PATIENCE * 2).success();
    let lease = site.lease(&said);
    assert!(said.contains(&format!("{}|{DATABASE}", text(&lease, "username"))), "{said}");
    assert!(said.contains("the lease is revoked"), "{said}");
    site.assert_gone(&lease);

    // What it is told, and that its status is ours.
    let script = "echo $PGHOST:$PGPORT $PGUSER $PGDATABASE $PGSSLMODE ${PGHOSTADDR-none}; exit 7";
    let mut run = site.run(&["--secret", "shop-ro"], &["sh", "-c", script]);
    run.env("PGHOSTADDR", "192.0.2.1").env("PGSSLMODE", "verify-full");
    let done = finish("adit run", run, PATIENCE * 2);
    assert_eq!(done.status.code(), Some(7), "{}", done.said);
    let lease = site.lease(&done.said);
    let line = done.said.lines().find(|line| line.starts_with("127.0.0.1:")).unwrap();
    assert!(line.ends_with(&format!(" {} {DATABASE} prefer none", text(&lease, "username"))), "{line}");
    site.assert_gone(&lease);

    // A command that is not there costs a lease, but leaves none.
    let done = finish("adit run", site.run(&["--secret", "shop-ro"], &["no-such-command"]), PATIENCE * 2);
    assert_eq!(done.status.code(), Some(127), "{}", done.said);
    site.assert_gone(&site.lease(&done.said));
    let before = site.leases().len();
    let done = finish("adit run", site.run(&["--secret", "none"], &["true"]), PATIENCE * 2);
    assert_eq!(done.status.code(), Some(12), "{}", done.said);
    assert_eq!(site.leases().len(), before);
}

#[test]
fn signals_go_on_to_the_command_and_the_lease_ends_with_it() {
    let world = World::new();
    let site = Site::new(&world);
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        let mut run = Running::start("adit run", site.run(&["--secret", "shop-ro"], &["sh", "-c", LISTENS]));
        run.expect_line("ready");
        let lease = site.lease(&run.said());
        assert!(site.has_user(text(&lease, "username")), "{lease}");
        run.signal(signal);
        assert_eq!(run.wait().code(), Some(3), "{}", run.said());
        assert!(run.said().contains("told"), "{}", run.said());
        site.assert_gone(&lease);
    }
    // One that a signal ends, and one that ends by itself while sessions are open.
    let script = format!("{} -XAtc 'SELECT pg_sleep(60)' & sleep 1; kill -KILL $$", psql());
    let mut run = Running::start("adit run", site.run(&["--secret", "shop-ro"], &["sh", "-c", &script]));
    assert_eq!(run.wait().code(), Some(128 + 9), "{}", run.said());
    site.assert_gone(&site.lease(&run.said()));
}

#[test]
fn the_password_is_in_the_environment_of_the_command_and_nowhere_else() {
    let world = World::new();
    let site = Site::new(&world);
    let script = format!("echo pid $$; {LISTENS}");
    let mut run = Running::start("adit run", site.run(&["--secret", "shop-ro"], &["sh", "-c", &script]));
    run.expect_line("ready");
    let pid = run.expect_line("pid ").trim_start_matches("pid ").to_owned();
    let password = variable(&pid, "PGPASSWORD").unwrap();
    assert!(password.len() >= 20, "{password}");
    assert_eq!(variable(&run.pid().as_raw_nonzero().to_string(), "PGPASSWORD"), None);
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&command).contains(&password));
    }
    run.signal(Signal::TERM);
    let _ = run.wait();
    let said = [run.said(), site.platform.running.said(), site.ask(&["audit", "ls"]).success()].concat();
    assert!(said.contains("lease") && !said.contains(&password), "{said}");
    for file in fs::read_dir(world.place.path("platform-1")).unwrap().flatten() {
        let bytes = fs::read(file.path()).unwrap_or_default();
        assert!(!bytes.windows(password.len()).any(|part| part == password.as_bytes()), "{file:?}");
    }
}

/// A variable of a process's environment.
fn variable(pid: &str, name: &str) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap();
    let environment = String::from_utf8(environment).unwrap();
    environment.split('\0').find_map(|line| line.strip_prefix(&format!("{name}="))).map(str::to_owned)
}

#[test]
fn a_lease_is_renewed_while_its_command_runs_and_its_longest_life_is_told() {
    let world = World::new();
    let mut site = Site::new(&world);
    site.define("brief", &["--ttl", "60s", "--max-ttl", "60s"]);
    let mut long = Running::start("adit run", site.run(&["--secret", "shop-ro"], &["sh", "-c", LISTENS]));
    long.expect_line("ready");
    let lease = site.lease(&long.said());
    let mut brief = Running::start("adit run", site.run(&["--secret", "brief"], &["sh", "-c", LISTENS]));
    brief.expect_line("ready");
    brief.expect_line("the lease can't be renewed any more");
    let last = site.lease(&brief.said());

    let first = lease["expires_at"].as_u64().unwrap();
    let until = Instant::now() + Duration::from_secs(55);
    loop {
        let now = site.json(&["leases", "show", text(&lease, "id")])["expires_at"].as_u64().unwrap();
        if now > first + 20 {
            break;
        }
        assert!(Instant::now() < until, "not renewed: {first}, {now}. It said:\n{}", long.said());
        thread::sleep(Duration::from_secs(1));
    }
    assert!(site.has_user(text(&lease, "username")));
    brief.signal(Signal::TERM);
    assert_eq!(brief.wait().code(), Some(3), "{}", brief.said());
    site.assert_gone(&last);

    // Without the platform the command still ends, and it is said what becomes of the lease.
    site.platform.running.signal(Signal::KILL);
    let _ = site.platform.running.wait();
    long.signal(Signal::TERM);
    assert_eq!(wait_long(&mut long), Some(3), "{}", long.said());
    let said = long.said();
    assert!(said.contains("could not be revoked and expires by itself"), "{said}");
    assert!(said.contains(&format!("adit leases revoke {}", text(&lease, "id"))), "{said}");
}

/// The status of something that may take longer than others.
fn wait_long(running: &mut Running) -> Option<i32> {
    let until = Instant::now() + PATIENCE;
    while is_alive(running.pid()) && Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
    }
    running.wait().code()
}

/// Whether a process is there and has not ended.
fn is_alive(pid: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}
