//! Other people's programs on one end of the relay hop: coturn's client on our relay, our gateway on coturn.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::net::SocketAddr;

use adit_tests::adit::{Connector, Gateway, SECRET, World};
use adit_tests::coturn::{Coturn, Exercise};
use adit_tests::postgres::{self, Postgres};

#[test]
fn coturns_client_loses_nothing_over_channels() {
    exercise("127.0.0.1", false);
}

#[test]
fn coturns_client_loses_nothing_over_indications() {
    exercise("127.0.0.1", true);
}

#[test]
fn coturns_client_loses_nothing_over_ipv6() {
    exercise("::1", false);
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

fn exercise(host: &str, indications: bool) {
    let world = World::new();
    let relay_address = world.address(host);
    // This client takes its channel numbers at random from those that RFC 5766 had.
    let _relay = world.relay_with(&[relay_address], &["--rfc5766-channels"]);
    let exercise = Exercise {
        relay: host,
        port: relay_address.port(),
        secret: SECRET,
        clients: 5,
        messages: 100,
        length: 300,
        indications,
    };
    let said = exercise.run(&world.ports).success();
    assert!(said.contains("Total lost packets 0 (0.000000%)"), "{said}");
    assert!(said.contains("tot_send_msgs=500, tot_recv_msgs=500"), "{said}");
}
