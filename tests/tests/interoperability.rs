//! Other people's programs on one end of the relay hop: coturn's client on our relay, our gateway on coturn.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use adit_tests::adit::{Connector, Gateway, SECRET, World};
use adit_tests::coturn::{Coturn, Exercise, Hop};
use adit_tests::monitor::metric;
use adit_tests::postgres::{self, Postgres};
use adit_tests::process::{PATIENCE, finish};
use adit_tests::programs;

#[test]
fn coturns_client_loses_nothing_over_channels() {
    exercise("127.0.0.1", false, Hop::Udp);
}

/// On two shards: the second client of a pair comes to either of them.
#[test]
fn coturns_client_loses_nothing_with_pairs_of_ports() {
    let handed_over = || {
        let world = World::new();
        let (relay, pages) = (world.address("127.0.0.1"), world.address("127.0.0.1"));
        let watched = pages.to_string();
        let flags = ["--rfc5766-channels", "--shards", "2", "--monitor-listen", &watched];
        let _relay = world.relay_with(&[relay], &flags);
        let (host, port, secret, hop) = ("127.0.0.1", relay.port(), SECRET, Hop::Udp);
        let (clients, messages, length, indications, pairs) = (6, 50, 300, false, true);
        let exercise =
            Exercise { relay: host, port, secret, clients, messages, length, indications, hop, pairs };
        let said = exercise.run(&world.ports).success();
        assert!(said.contains("Total lost packets 0 (0.000000%)"), "{said}");
        assert!(said.contains("tot_send_msgs=300, tot_recv_msgs=300"), "{said}");
        assert_eq!(metric(pages, "turn_hand_overs_lost_total"), 0);
        metric(pages, r#"turn_handed_over_total{direction="out"}"#)
    };
    assert!((0..10).any(|_| handed_over() > 0), "no client came to the other shard");
}

#[test]
fn coturns_client_loses_nothing_over_indications() {
    exercise("127.0.0.1", true, Hop::Udp);
}

#[test]
fn coturns_client_loses_nothing_over_ipv6() {
    exercise("::1", false, Hop::Udp);
}

#[test]
fn coturns_client_loses_nothing_over_tcp() {
    exercise("127.0.0.1", false, Hop::Tcp);
}

#[test]
fn coturns_client_loses_nothing_over_tcp_by_indications() {
    exercise("127.0.0.1", true, Hop::Tcp);
}

#[test]
fn coturns_client_loses_nothing_over_tcp_and_ipv6() {
    exercise("::1", false, Hop::Tcp);
}

/// RFC 6062: two clients of the relay, connected with each other by it: out from the one, and in to the other. Of more, this
/// client asks for some connections twice and for others never.
#[test]
fn coturns_client_loses_nothing_over_tcp_allocations() {
    meet("127.0.0.1", &[]);
}

#[test]
fn coturns_client_loses_nothing_over_tcp_allocations_by_tls() {
    meet("127.0.0.1", &["-S"]);
}

#[test]
fn coturns_client_loses_nothing_over_tcp_allocations_of_ipv6() {
    meet("::1", &["-x"]);
}

fn meet(host: &str, more: &[&str]) {
    let world = World::new();
    let relay = world.address(host);
    let mut flags = vec!["--allow-relayed-peers", "--shards", "2"];
    if more.contains(&"-S") {
        flags.extend(certified(&world, "ec"));
    }
    let _relay = world.relay_with(&[relay], &flags);
    let mut client = Command::new(programs::find("turnutils_uclient"));
    client.args(["-T", "-u", "tester", "-W", SECRET, "-z", "5", "-m", "2", "-n", "50", "-l", "200"]);
    client.args(["-L", host, "-p", &relay.port().to_string()]).args(more).arg(host);
    let said = finish("turnutils_uclient", client, std::time::Duration::from_secs(120)).success();
    assert!(said.contains("2 connections are completed"), "{said}");
    assert!(said.contains("Total lost packets 0 (0.000000%)"), "{said}");
}

#[test]
fn our_gateway_serves_from_an_address_of_coturn() {
    let world = World::new();
    let postgres = Postgres::start(&world.ports);
    let coturn = Coturn::start(&world.ports, SECRET);
    let relay = SocketAddr::from(([127, 0, 0, 1], coturn.port()));
    let target = format!("tcp://127.0.0.1:{}", postgres.port());
    let (_gateway, relayed) = world.gateway(&Gateway::on(relay, &[&target]), 1);
    let (_forward, entrance) = world.forward(&Connector::to(&relayed), &target, "127.0.0.1");
    let rows = postgres::query(
        "127.0.0.1",
        entrance.port(),
        "SELECT repeat('x', 1000) FROM generate_series(1, 5000)",
    );
    assert_eq!(rows.matches('x').count(), 5_000_000);
}

#[test]
fn coturns_client_loses_nothing_over_tls() {
    exercise("127.0.0.1", false, Hop::Tls);
    exercise("::1", true, Hop::Tls);
}

#[test]
fn coturns_client_loses_nothing_over_dtls() {
    exercise("127.0.0.1", false, Hop::Dtls);
    exercise("::1", true, Hop::Dtls);
}

/// OpenSSL's client, which says what it has come to.
#[test]
fn openssl_finishes_its_handshake_over_tls_and_dtls() {
    let world = World::new();
    let relay = world.address("127.0.0.1");
    let _relay = world.relay_with(&[relay], &certified(&world, "ec"));
    for (protocol, version) in [("-dtls1_2", "DTLSv1.2"), ("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")] {
        let said = handshake(&world, relay, protocol);
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
        assert!(said.contains(version), "{said}");
    }
}

/// What DTLS can't serve is said, and TLS serves it.
#[test]
fn a_certificate_with_an_rsa_key_serves_tls_only() {
    let world = World::new();
    let relay = world.address("127.0.0.1");
    let mut running = world.relay_with(&[relay], &certified(&world, "rsa:2048"));
    running.expect_line("DTLS can't be served");
    let said = handshake(&world, relay, "-tls1_3");
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
}

/// A relay's certificate with a key of that kind, and the flags that name it.
fn certified(world: &World, key: &str) -> [&'static str; 6] {
    let mut openssl = Command::new(programs::find("openssl"));
    openssl.current_dir(world.directory()).args(["req", "-x509", "-newkey", key, "-nodes", "-days", "2"]);
    openssl.args((key == "ec").then_some(["-pkeyopt", "ec_paramgen_curve:prime256v1"]).into_iter().flatten());
    openssl.args(["-keyout", "relay.key", "-out", "relay.pem", "-subj", "/CN=relay"]);
    openssl.args(["-addext", "subjectAltName=IP:127.0.0.1,IP:::1"]);
    let _ = finish("openssl", openssl, PATIENCE).success();
    // Not on the port that everybody else's tests would take too.
    ["--tls-cert", "relay.pem", "--tls-key", "relay.key", "--tls-listen", "127.0.0.1:0"]
}

/// What OpenSSL says of a handshake with the relay.
fn handshake(world: &World, relay: SocketAddr, protocol: &str) -> String {
    let mut client = Command::new(programs::find("openssl"));
    client.current_dir(world.directory()).stdin(Stdio::null());
    client.args(["s_client", protocol, "-connect", &relay.to_string(), "-CAfile", "relay.pem"]);
    finish("openssl s_client", client, PATIENCE).success()
}

fn exercise(host: &str, indications: bool, hop: Hop) {
    let world = World::new();
    let relay_address = world.address(host);
    // This client takes its channel numbers at random from those that RFC 5766 had.
    let mut flags = vec!["--rfc5766-channels", "--shards", "2"];
    if matches!(hop, Hop::Tls | Hop::Dtls) {
        flags.extend(certified(&world, "ec"));
    }
    let _relay = world.relay_with(&[relay_address], &flags);
    let exercise = Exercise {
        relay: host,
        port: relay_address.port(),
        secret: SECRET,
        clients: 5,
        messages: 100,
        length: 300,
        indications,
        hop,
        pairs: false,
    };
    let said = exercise.run(&world.ports).success();
    assert!(said.contains("Total lost packets 0 (0.000000%)"), "{said}");
    assert!(said.contains("tot_send_msgs=500, tot_recv_msgs=500"), "{said}");
}
