//! The main job with real programs: a PostgreSQL client on one side, PostgreSQL on the other, and between them a
//! relay that learns nothing.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use adit_tests::adit::{Connector, Gateway, World};
use adit_tests::postgres::{self, Postgres};
use adit_tests::process::{Running, finish};
use adit_tests::wiretap::Wiretap;

/// A database at the far end of a tunnel, and the port that leads to it.
struct Tunnel {
    entrance: SocketAddr,
    _parts: [Running; 3],
    postgres: Postgres,
    world: World,
}

impl Tunnel {
    /// All parts on `host`, one of the loopback addresses.
    fn on(host: &str) -> Self {
        let world = World::new();
        let postgres = Postgres::start(&world.ports);
        let target = format!("tcp://{}", SocketAddr::new(host.parse().unwrap(), postgres.port()));
        let relay_address = world.address(host);
        let relay = world.relay(&[relay_address]);
        let (gateway, relayed) = world.gateway(&Gateway::on(relay_address, &[&target]), 1);
        let (forward, entrance) = world.forward(&Connector::to(&relayed), &target, host);
        Self { entrance, _parts: [forward, gateway, relay], postgres, world }
    }

    fn query(&self, sql: &str) -> String {
        postgres::query(&self.entrance.ip().to_string(), self.entrance.port(), sql)
    }
}

#[test]
fn psql_reads_a_row() {
    let tunnel = Tunnel::on("127.0.0.1");
    assert_eq!(tunnel.query("SELECT 6 * 7, current_user"), "42|app");
}

#[test]
fn psql_reads_a_row_over_ipv6() {
    let tunnel = Tunnel::on("::1");
    assert_eq!(tunnel.query("SELECT 6 * 7, current_user"), "42|app");
}

#[test]
fn a_dump_of_100_mb_is_the_one_that_the_server_gives_directly() {
    let tunnel = Tunnel::on("127.0.0.1");
    let fill =
        "CREATE TABLE big AS SELECT i, repeat(md5(i::text), 32) AS text FROM generate_series(1, 100000) AS i";
    assert_eq!(postgres::query("127.0.0.1", tunnel.postgres.port(), fill), "");
    let (through, directly) =
        (tunnel.world.place.path("through.sql"), tunnel.world.place.path("directly.sql"));
    dump(tunnel.entrance.port(), &through);
    dump(tunnel.postgres.port(), &directly);
    let (through, directly) = (contents(&through), contents(&directly));
    assert!(directly.len() > 100_000_000, "{} bytes", directly.len());
    assert!(through == directly, "{} and {} bytes, and they differ", through.len(), directly.len());
}

#[test]
fn a_restore_of_megabytes_arrives_complete() {
    let tunnel = Tunnel::on("127.0.0.1");
    let rows: String = (0..20_000).map(|row| format!("{row}\t{}\n", "padding ".repeat(40))).collect();
    let script = format!("CREATE TABLE up (id int, text text);\nCOPY up FROM stdin;\n{rows}\\.\n");
    let script = tunnel.world.place.write("restore.sql", &script);
    let mut psql = postgres::client("psql", "127.0.0.1", tunnel.entrance.port());
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(script);
    let _ = finish("psql", psql, Duration::from_secs(120)).success();
    assert_eq!(tunnel.query("SELECT count(*), sum(length(text)) FROM up"), "20000|6400000");
}

#[test]
fn pgbench_works_over_32_connections() {
    let tunnel = Tunnel::on("127.0.0.1");
    let mut tables = postgres::client("pgbench", "127.0.0.1", tunnel.postgres.port());
    tables.args(["-i", "-q", "-s", "5"]);
    let _ = finish("pgbench -i", tables, Duration::from_secs(120)).success();
    let mut pgbench = postgres::client("pgbench", "127.0.0.1", tunnel.entrance.port());
    pgbench.args(["-n", "-c", "32", "-j", "2", "-t", "50"]);
    let said = finish("pgbench", pgbench, Duration::from_secs(240)).success();
    assert!(said.contains("number of transactions actually processed: 1600/1600"), "{said}");
    assert!(!said.contains("failed transactions: ") || said.contains("failed transactions: 0 "), "{said}");
}

#[test]
fn neither_relay_nor_wire_sees_what_the_tunnel_carries() {
    let marker = "a-marker-that-nobody-else-writes-7f3c";
    let world = World::new();
    let postgres = Postgres::start(&world.ports);
    let target = format!("tcp://127.0.0.1:{}", postgres.port());
    let relay_address = world.address("127.0.0.1");
    let _relay = world.relay(&[relay_address]);
    let inner = Wiretap::between(world.address("127.0.0.1"), relay_address);
    let (_gateway, relayed) = world.gateway(&Gateway::on(inner.address(), &[&target]), 1);
    let relayed = relayed.into_iter().find(SocketAddr::is_ipv4).unwrap();
    let outer = Wiretap::between(world.address("127.0.0.1"), relayed);
    let (_forward, entrance) = world.forward(&Connector::to(&[outer.address()]), &target, "127.0.0.1");
    // Upper case leaves, lower case returns: the query does not hold what the answer does.
    let sql = format!("SELECT lower('{}') FROM generate_series(1, 100)", marker.to_uppercase());
    let answer = postgres::query("127.0.0.1", entrance.port(), &sql);
    assert_eq!(answer.matches(marker).count(), 100);
    for tap in [&inner, &outer] {
        assert!(tap.amount() > 5_000, "only {} bytes passed here", tap.amount());
        assert!(!tap.saw(marker.as_bytes()) && !tap.saw(marker.to_uppercase().as_bytes()));
    }
}

#[test]
fn a_gateway_with_both_families_is_reached_by_either() {
    let world = World::new();
    let postgres = Postgres::start(&world.ports);
    let target = format!("tcp://127.0.0.1:{}", postgres.port());
    let (v4, v6) = (world.address("127.0.0.1"), world.address("::1"));
    let _relay = world.relay(&[v4, v6]);
    let (_gateway, relayed) = world.gateway(&Gateway::on(v4, &[&target]), 2);
    assert!(
        relayed.iter().any(SocketAddr::is_ipv4) && relayed.iter().any(SocketAddr::is_ipv6),
        "{relayed:?}"
    );
    for address in relayed {
        let (_forward, entrance) = world.forward(&Connector::to(&[address]), &target, "127.0.0.1");
        assert_eq!(postgres::query("127.0.0.1", entrance.port(), "SELECT 1"), "1");
    }
}

/// A dump without the lines that hold a random word, the same in no two dumps (pg_dump since August 2025).
fn contents(dump: &Path) -> String {
    let text = fs::read_to_string(dump).unwrap();
    let lines = text.split_inclusive('\n');
    lines.filter(|line| !line.starts_with("\\restrict ") && !line.starts_with("\\unrestrict ")).collect()
}

fn dump(port: u16, to: &Path) {
    let mut pg_dump = postgres::client("pg_dump", "127.0.0.1", port);
    pg_dump.arg("-f").arg(to);
    File::create(to).unwrap();
    let _ = finish("pg_dump", pg_dump, Duration::from_secs(240)).success();
}
