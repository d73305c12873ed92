//! The harness itself: PostgreSQL and coturn come up, do their work among themselves, and go.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use adit_tests::coturn::{Coturn, Exercise, Hop};
use adit_tests::ports::Ports;
use adit_tests::postgres::{self, Postgres};
use adit_tests::wiretap::Wiretap;
use std::net::UdpSocket;

#[test]
fn postgresql_answers_on_both_loopback_addresses_to_a_user_without_power() {
    let ports = Ports::claim();
    let server = Postgres::start(&ports);
    for host in ["127.0.0.1", "::1"] {
        let row = postgres::query(
            host,
            server.port(),
            "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user",
        );
        assert_eq!(row, "app|f");
    }
}

#[test]
fn coturns_client_loses_nothing_on_coturns_server() {
    let ports = Ports::claim();
    let server = Coturn::start(&ports, "a-secret");
    for relay in ["127.0.0.1", "::1"] {
        let (port, secret) = (server.port(), "a-secret");
        let (clients, messages, length, indications, hop) = (2, 20, 200, false, Hop::Udp);
        let exercise =
            Exercise { relay, port, secret, clients, messages, length, indications, hop, pairs: false };
        let said = exercise.run(&ports).success();
        assert!(said.contains("Total lost packets 0 (0.000000%)"), "{said}");
    }
}

#[test]
fn a_wiretap_forwards_both_ways_and_sees_everything() {
    let echo = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tap = Wiretap::between("127.0.0.1:0".parse().unwrap(), echo.local_addr().unwrap());
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"there", tap.address()).unwrap();
    let mut buffer = [0; 16];
    let (length, from) = echo.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"there");
    echo.send_to(b"back", from).unwrap();
    let length = client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"back");
    assert!(tap.saw(b"there") && tap.saw(b"back") && !tap.saw(b"nowhere"));
}
