//! What RFC 8656 asks of a relay and no other test shows in passing.

use super::*;
use crate::stun::{EvenPort, Family, attribute};

fn bare(builder: Builder) -> Builder {
    builder.requested_transport(17)
}

fn allocated(config: Config) -> (Bench, Client, SocketAddr) {
    let mut bench = Bench::new(config);
    let client = bench.client(CLIENT);
    let relayed = bench.allocate(&client);
    (bench, client, relayed)
}

#[test]
fn a_reservation_token_stands_alone() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let mut code = |fill: &dyn Fn(Builder) -> Builder| {
        bench.call(&client, Method::ALLOCATE, |builder| fill(bare(builder).reservation_token([1; 8]))).code()
    };
    assert_eq!(code(&|builder| builder.even_port(EvenPort { reserve: false })), 400);
    assert_eq!(code(&|builder| builder.requested_family(Family::V4)), 400);
    assert_eq!(code(&|builder| builder.additional_family(Family::V6)), 400);
}

#[test]
fn a_relay_without_ipv4_says_so_to_those_who_name_no_family() {
    let mut config = config();
    config.ipv4 = None;
    let mut bench = Bench::new(config);
    let client = bench.client(CLIENT);
    assert_eq!(bench.call(&client, Method::ALLOCATE, bare).code(), 440);
    let reply = bench.call(&client, Method::ALLOCATE, |builder| bare(builder).additional_family(Family::V6));
    assert_eq!(reply.relayed().ip(), ip("2001:db8::1"));
    let error = reply.message().address_error().unwrap().unwrap();
    assert_eq!((error.family, error.code), (Family::V4, 440));
}

#[test]
fn a_relay_without_any_family_refuses_both() {
    let mut config = config();
    (config.ipv4, config.ipv6) = (None, None);
    let mut bench = Bench::new(config);
    let client = bench.client(CLIENT);
    let reply = bench.call(&client, Method::ALLOCATE, |builder| bare(builder).additional_family(Family::V6));
    assert_eq!(reply.code(), 440);
}

#[test]
fn a_port_of_the_parity_that_is_asked_for_or_none() {
    let mut config = config();
    config.ports = 50001..=50002;
    let mut bench = Bench::new(config);
    let client = bench.client(CLIENT);
    let even = |reserve| move |builder: Builder| bare(builder).even_port(EvenPort { reserve });
    assert_eq!(bench.call(&client, Method::ALLOCATE, even(true)).code(), 508, "50003 is not ours");
    assert_eq!(bench.call(&client, Method::ALLOCATE, even(false)).relayed().port(), 50002);
    let other = bench.client("198.51.100.1:4001");
    assert_eq!(bench.call(&other, Method::ALLOCATE, even(false)).code(), 508, "50001 is odd");
}

#[test]
fn well_known_ports_are_never_given_out() {
    let mut config = config();
    config.ports = 1..=1025;
    assert_eq!(config.relayed_ports(), 1024..=1025);
    let mut bench = Bench::new(config);
    for (client, code) in [(4000, 0), (4001, 0), (4002, 508)] {
        let client = bench.client(&format!("198.51.100.1:{client}"));
        let reply = bench.call(&client, Method::ALLOCATE, bare);
        assert_eq!(reply.code(), code);
        assert!(reply.relayed_all().iter().all(|relayed| relayed.port() >= 1024));
    }
    let mut config = super::config();
    config.ports = 80..=443;
    assert!(config.relayed_ports().is_empty());
    let mut bench = Bench::new(config);
    let client = bench.client(CLIENT);
    assert_eq!(bench.call(&client, Method::ALLOCATE, bare).code(), 508);
}

#[test]
fn no_allocation_has_the_relayed_address_of_another() {
    let mut config = config();
    config.ports = 50000..=50015;
    let mut bench = Bench::new(config);
    let mut relayed = std::collections::BTreeSet::new();
    for port in 4000..4016 {
        let client = bench.client(&format!("198.51.100.1:{port}"));
        assert!(relayed.insert(bench.allocate(&client)));
    }
}

#[test]
fn data_refreshes_neither_permission_nor_channel() {
    let (mut bench, client, relayed) = allocated(config());
    bench.permit(&client, PEER);
    bench.bind_channel(&client, 0x4000, "203.0.113.8:5000");
    let send =
        Builder::new(Class::Indication, Method::SEND, [9; 12]).peer_address(addr(PEER)).data(b"x").finish();
    for _ in 0..29 {
        bench.advance(10);
        assert_eq!(bench.send(client.address, &send).len(), 1);
        assert_eq!(bench.send_to_relayed(PEER, relayed, b"x").len(), 1);
        assert_eq!(bench.send(client.address, b"\x40\0\0\x01x").len(), 1);
    }
    bench.advance(10);
    assert!(bench.send(client.address, &send).is_empty());
    assert!(bench.send_to_relayed(PEER, relayed, b"x").is_empty());
    bench.advance(299);
    assert_eq!(bench.send(client.address, b"\x40\0\0\x01x").len(), 1);
    bench.advance(1);
    assert!(bench.send(client.address, b"\x40\0\0\x01x").is_empty());
}

#[test]
fn a_permission_is_refreshed_by_being_asked_for_again() {
    let (mut bench, client, relayed) = allocated(config());
    bench.permit(&client, PEER);
    bench.advance(299);
    assert_eq!(bench.permit(&client, PEER).code(), 0);
    bench.advance(299);
    assert_eq!(bench.send_to_relayed(PEER, relayed, b"x").len(), 1);
}

#[test]
fn a_peer_address_that_cannot_be_read_is_400() {
    let (mut bench, client, _) = allocated(config());
    for value in [&[0, 9, 0, 0, 1, 2, 3, 4][..], &[0, 1, 0, 0], &[]] {
        let fill = |builder: Builder| builder.raw(attribute::XOR_PEER_ADDRESS, value).channel_number(0x4000);
        assert_eq!(bench.call(&client, Method::CHANNEL_BIND, fill).code(), 400);
        let fill =
            |builder: Builder| builder.peer_address(addr(PEER)).raw(attribute::XOR_PEER_ADDRESS, value);
        assert_eq!(bench.call(&client, Method::CREATE_PERMISSION, fill).code(), 400);
    }
    assert_eq!(
        bench
            .call(&client, Method::CHANNEL_BIND, |builder| {
                builder.raw(attribute::CHANNEL_NUMBER, &[0x40]).peer_address(addr(PEER))
            })
            .code(),
        400
    );
}

/// Whatever it is refused for, and whoever else it names (RFC 8656 §10.2).
#[test]
fn a_create_permission_that_is_refused_installs_nothing() {
    let mut config = config();
    config.max_permissions = 2;
    let (mut bench, client, relayed) = allocated(config);
    let others: [(&dyn Fn(Builder) -> Builder, u16); 4] = [
        (&|builder| builder.raw(attribute::XOR_PEER_ADDRESS, &[0, 9, 0, 0, 1, 2, 3, 4]), 400),
        (&|builder| builder.peer_address(addr("169.254.169.254:80")), 403),
        (&|builder| builder.peer_address(addr("[2001:db8::9]:1")), 443),
        (&|builder| builder.peer_address(addr("203.0.113.1:1")).peer_address(addr("203.0.113.2:1")), 508),
    ];
    for (other, code) in others {
        let behind = |builder: Builder| other(builder.peer_address(addr(PEER)));
        assert_eq!(bench.call(&client, Method::CREATE_PERMISSION, behind).code(), code);
        let before = |builder: Builder| other(builder).peer_address(addr(PEER));
        assert_eq!(bench.call(&client, Method::CREATE_PERMISSION, before).code(), code);
        assert!(bench.send_to_relayed(PEER, relayed, b"x").is_empty(), "{code}");
        assert_eq!(bench.relay.holdings().permissions, 0);
    }
}

#[test]
fn a_send_indication_without_peer_or_data_is_dropped_and_one_without_bytes_is_not() {
    let (mut bench, client, _) = allocated(config());
    bench.permit(&client, PEER);
    let send = || Builder::new(Class::Indication, Method::SEND, [9; 12]);
    assert!(bench.send(client.address, &send().data(b"x").finish()).is_empty());
    assert!(bench.send(client.address, &send().peer_address(addr(PEER)).finish()).is_empty());
    assert!(
        bench
            .send(client.address, &send().peer_address(addr("203.0.113.9:0")).data(b"x").finish())
            .is_empty()
    );
    assert_eq!((bench.dropped(Drop::Malformed), bench.dropped(Drop::OwnPort)), (2, 1));
    let sent = bench.send(client.address, &send().peer_address(addr(PEER)).data(b"").finish());
    assert_eq!((sent[0].1, sent[0].2.len()), (addr(PEER), 0), "an empty datagram is one");
}

#[test]
fn a_binding_is_one_of_the_allocation_that_asked() {
    let (mut bench, first, _) = allocated(config());
    let second = bench.client("198.51.100.1:4001");
    let relayed = bench.allocate(&second);
    assert_eq!(bench.bind_channel(&first, 0x4000, PEER).code(), 0);
    assert_eq!(
        bench.bind_channel(&second, 0x4000, "203.0.113.8:1").code(),
        0,
        "numbers are the allocation's own"
    );
    assert!(bench.send_to_relayed(PEER, relayed, b"x").is_empty(), "and so are permissions");
    assert_eq!(bench.send(second.address, b"\x40\0\0\x01x")[0].1, addr("203.0.113.8:1"));
}

#[test]
fn a_refresh_of_a_family_that_nobody_knows_is_443() {
    let (mut bench, client, _) = allocated(config());
    let strange = |builder: Builder| builder.requested_family(Family::Other(7));
    assert_eq!(bench.call(&client, Method::REFRESH, strange).code(), 443);
    let bad = |builder: Builder| builder.raw(attribute::LIFETIME, &[0; 3]);
    assert_eq!(bench.call(&client, Method::REFRESH, bad).code(), 400);
    assert_eq!(bench.relay.allocations(), 1);
}

#[test]
fn a_challenge_holds_neither_user_nor_signature() {
    let mut bench = Bench::new(config());
    let mut client = bench.client(CLIENT);
    client.credentials.password = "wrong".to_owned();
    let wrong = client.sign(bare(bench.builder(Method::ALLOCATE)));
    client.credentials.username = "nobody".to_owned();
    let unknown = client.sign(bare(bench.builder(Method::ALLOCATE)));
    let anonymous = bare(bench.builder(Method::ALLOCATE)).finish();
    for request in [wrong, unknown, anonymous] {
        let reply = Reply(bench.ask(client.address, &request));
        let message = reply.message();
        assert_eq!((reply.code(), message.username(), message.realm()), (401, Ok(None), Ok(Some("adit"))));
        assert!(!message.has_integrity() && message.nonce().unwrap().is_some_and(|nonce| nonce.len() < 128));
    }
}

/// RFC 8489 §14.8: fewer than 128 characters.
#[test]
fn every_refusal_has_a_reason_of_a_few_words() {
    for refusal in reply::Refusal::all() {
        let (code, reason) = refusal.code();
        assert!((300..600).contains(&code) && !reason.is_empty() && reason.chars().count() < 128, "{code}");
    }
    let mut bench = Bench::new(config());
    let mut client = bench.client(CLIENT);
    let unsigned = bare(bench.builder(Method::ALLOCATE)).finish();
    let incomplete = bare(bench.builder(Method::ALLOCATE)).finish_with_integrity(b"key");
    client.nonce = "stale".to_owned();
    let stale = client.sign(bare(bench.builder(Method::ALLOCATE)));
    for (request, code) in [(unsigned, 401), (incomplete, 400), (stale, 438)] {
        let error = Reply(bench.ask(client.address, &request)).message().error_code().unwrap().unwrap();
        assert_eq!(error.code, code);
        assert!(!error.reason.is_empty() && error.reason.chars().count() < 128);
    }
}
