//! Programs that embed a gateway or a connector: the examples as their readers run them, and a newcomer's first one,
//! made from nothing.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use adit_core::relay::{Config, RelayAddress};
use adit_core::turn::address_policy::Policy;
use adit_core::turn::credentials::Authenticator;
use adit_mio::RelayServer;
use adit_tests::adit::{Gateway, World};
use adit_tests::build;
use adit_tests::place::Place;
use adit_tests::postgres::{PASSWORD, Postgres};
use adit_tests::process::{Finished, PATIENCE, Running, finish};
use rustix::process::{Pid, Signal};

const SECRET: &str = "between relay and gateway";
/// How long a compiler may take on a machine that has other work.
const BUILD: Duration = Duration::from_secs(900);

/// A database behind a relay and a gateway, both of them the binary.
struct Private {
    relayed: SocketAddr,
    target: String,
    _parts: [Running; 2],
    _postgres: Postgres,
    world: World,
}

impl Private {
    fn database() -> Self {
        let world = World::new();
        let postgres = Postgres::start(&world.ports);
        let target = format!("tcp://127.0.0.1:{}", postgres.port());
        let listen = world.address("127.0.0.1");
        let relay = world.relay(&[listen]);
        let (gateway, relayed) = world.gateway(&Gateway::on(listen, &[&target]), 1);
        let relayed = relayed.into_iter().find(SocketAddr::is_ipv4).unwrap();
        Self { relayed, target, _parts: [gateway, relay], _postgres: postgres, world }
    }

    /// The example, with a query for `target`.
    fn query(&self, target: &str, sql: &str) -> Finished {
        let address = self.relayed.to_string();
        let login = "user=app dbname=app";
        let arguments = ["ca/laptop", "ca/gateway-ca.pem", "gw-1", &address, target, login, sql];
        let mut command = example("postgres", self.world.place.root(), &arguments);
        command.env("PGPASSWORD", PASSWORD);
        finish("postgres", command, PATIENCE)
    }
}

fn example(name: &str, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(build::executable(name));
    command.current_dir(directory).args(arguments);
    command
}

#[test]
fn tokio_postgres_reads_rows_over_a_stream() {
    let private = Private::database();
    let sql = "SELECT current_user || ' ' || n FROM generate_series(1, 3) AS n";
    assert_eq!(private.query(&private.target, sql).success(), "app 1\napp 2\napp 3");
}

#[test]
fn the_example_says_whether_trying_again_helps() {
    let private = Private::database();
    let denied = private.query("tcp://127.0.0.1:1", "SELECT ''");
    assert!(!denied.status.success());
    assert!(denied.said.contains("denied") && denied.said.contains("does not help"), "{}", denied.said);
}

#[test]
fn a_handler_of_axum_is_reached_from_smol_and_no_port_is_open() {
    let world = World::new();
    let relay = relay(&world);
    let uri = format!("turn:{}", relay.addresses()[0]);
    world.place.write("secret", SECRET);
    let target = "tcp://greeter.internal:80";
    let arguments = ["ca/gw-1", "ca/connector-ca.pem", &uri, "secret", "127.0.0.1", target];
    let mut service = Running::start("axum_target", example("axum_target", world.place.root(), &arguments));
    let line = service.expect_line("reached at [");
    let address = line.split(['[', ']']).nth(1).unwrap();

    let ask = |url: &str| {
        let arguments = ["ca/laptop", "ca/gateway-ca.pem", "gw-1", address, url];
        finish("http_client", example("http_client", world.place.root(), &arguments), PATIENCE)
    };
    let page = ask("http://greeter.internal/").success();
    assert!(page.lines().any(|line| line == "hello, laptop"), "{page}");
    let missing = ask("http://greeter.internal/elsewhere");
    assert!(!missing.status.success() && missing.said.contains("404"), "{}", missing.said);
    let denied = ask("http://127.0.0.1:22/");
    assert!(!denied.status.success() && denied.said.contains("denied"), "{}", denied.said);

    assert_eq!(listening_ports(service.pid()), Vec::<String>::new());
    assert_eq!(relay.allocations(), 1);
    service.signal(Signal::TERM);
    assert!(service.wait().success());
    assert_eq!(service.said().lines().last(), Some("ended"));
    assert_eq!(relay.allocations(), 0, "it was given back");
}

/// A relay that lets 127.0.0.1 be reached.
fn relay(world: &World) -> RelayServer {
    let loopback: IpAddr = "127.0.0.1".parse().unwrap();
    RelayServer::spawn(Config {
        listen: vec![SocketAddr::new(loopback, 0).into()],
        ipv4: Some(RelayAddress::direct(loopback)),
        ports: world.ports.range(20),
        policy: Policy::default_deny().allow(loopback),
        ..Config::new(Authenticator::new("test").with_secret(SECRET.as_bytes()))
    })
    .unwrap()
}

/// The TCP sockets on which a process listens, as lines of `/proc/net/tcp`.
fn listening_ports(process: Pid) -> Vec<String> {
    let process = Path::new("/proc").join(process.as_raw_nonzero().to_string());
    let links = process.join("fd").read_dir().unwrap().flatten();
    let open: Vec<_> = links.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    assert!(!open.is_empty());
    let sockets = ["net/tcp", "net/tcp6"].map(|table| fs::read_to_string(process.join(table)).unwrap());
    let lines = sockets.iter().flat_map(|table| table.lines().skip(1));
    let listens = |line: &&str| {
        let mut fields = line.split_whitespace().skip(3);
        let (state, inode) = (fields.next().unwrap(), fields.nth(5).unwrap());
        state == "0A" && open.contains(&format!("socket:[{inode}]").into())
    };
    lines.filter(listens).map(str::to_owned).collect()
}

#[test]
fn a_newcomer_needs_forty_lines_for_a_row_of_a_private_database() {
    let program = include_str!("../newcomer/main.rs");
    assert!(program.lines().count() <= 40, "{} lines", program.lines().count());
    let place = Place::new();
    let built = build_from_nothing(&place, program);

    let private = Private::database();
    let mut run = Command::new(built);
    run.arg(&private.target).env("PGPASSWORD", PASSWORD).current_dir(private.world.place.root());
    assert_eq!(finish("newcomer", run, PATIENCE).success(), "hello, app");
}

/// `cargo new`, dependencies by path, the program, `cargo build`.
///
/// Only what saves time is not a newcomer's: the versions, the profile and the directory of artefacts are ours, so
/// that what was compiled for this test is not compiled again.
fn build_from_nothing(place: &Place, program: &str) -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let cargo = || Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let mut new = cargo();
    new.args(["new", "--quiet", "--vcs", "none", "newcomer"]).current_dir(place.root());
    let _ = finish("cargo new", new, PATIENCE).success();

    let directory = place.path("newcomer");
    let manifest = fs::read_to_string(directory.join("Cargo.toml")).unwrap();
    let dependencies = include_str!("../newcomer/dependencies.toml");
    let dependencies = dependencies.replace("ADIT", workspace.to_str().unwrap());
    let ours = fs::read_to_string(workspace.join("Cargo.toml")).unwrap();
    let profile = &ours[ours.find("[profile.dev]").unwrap()..];
    place.write("newcomer/Cargo.toml", &format!("{manifest}{dependencies}\n{profile}"));
    place.write("newcomer/src/main.rs", program);
    fs::copy(workspace.join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();

    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let in_target = |arguments: &[&str]| {
        let mut command = cargo();
        command.args(arguments).args(["--offline"]).args((!cfg!(debug_assertions)).then_some("--release"));
        command.env("CARGO_TARGET_DIR", target).current_dir(&directory);
        finish(arguments[0], command, BUILD).success()
    };
    let _ = in_target(&["build"]);
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let program = directory.join("program");
    fs::copy(target.join(profile).join("newcomer"), &program).unwrap();
    // Its directory is another one each time, and so are its artefacts.
    let _ = in_target(&["clean", "--package", "newcomer"]);
    program
}
