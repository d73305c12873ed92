//! What the operator changes while the relay runs.

use std::num::NonZeroU64;

use super::*;
use crate::turn::address_policy::{Network, Policy};

const OTHER: &str = "192.0.2.200:5000";

fn only(network: &str, prefix: u8) -> Policy {
    Policy::default_deny().allow(Network::new(ip(network), prefix))
}

#[test]
fn peers_that_a_new_policy_denies_lose_what_they_had_and_no_allocation_ends() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let relayed = bench.allocate(&client);
    assert_eq!(bench.bind_channel(&client, 0x4000, PEER).code(), 0);
    assert_eq!(bench.bind_channel(&client, 0x4001, OTHER).code(), 0);
    bench.relay.set_policy(bench.now, only("192.0.2.0", 24), false);
    bench.relay.check();
    let held = bench.relay.holdings();
    assert_eq!((held.allocations, held.permissions, held.channels), (1, 1, 1));
    assert!(bench.send_to_relayed(PEER, relayed, b"x").is_empty());
    assert!(bench.send(client.address, b"\x40\x00\x00\x01x").is_empty());
    assert_eq!(bench.permit(&client, PEER).code(), 403);
    assert_eq!(bench.send_to_relayed(OTHER, relayed, b"x").len(), 1);
    assert_eq!(bench.send(client.address, b"\x40\x01\x00\x01x").len(), 1);
    bench.relay.set_policy(bench.now, config().policy, false);
    assert_eq!(bench.bind_channel(&client, 0x4000, PEER).code(), 0, "what is allowed again can be had again");
}

#[test]
fn relayed_addresses_may_become_peers_and_cease_to_be() {
    let mut bench = Bench::new(config());
    let (one, two) = (bench.client(CLIENT), bench.client("198.51.100.1:4001"));
    bench.allocate(&one);
    let relayed = bench.allocate(&two).to_string();
    assert_eq!(bench.bind_channel(&one, 0x4000, &relayed).code(), 403);
    bench.relay.set_policy(bench.now, config().policy, true);
    assert_eq!(bench.bind_channel(&one, 0x4000, &relayed).code(), 0);
    assert_eq!(bench.send(one.address, b"\x40\x00\x00\x01x").len(), 1);
    bench.relay.set_policy(bench.now, config().policy, false);
    assert!(bench.send(one.address, b"\x40\x00\x00\x01x").is_empty());
}

#[test]
fn lower_quotas_concern_those_who_ask_for_more() {
    let mut bench = Bench::new(config());
    let clients = ["198.51.100.1:1", "198.51.100.1:2", "198.51.100.1:3"].map(|address| bench.client(address));
    bench.allocate(&clients[0]);
    bench.allocate(&clients[1]);
    let code = |bench: &mut Bench, client: &Client| {
        bench.call(client, Method::ALLOCATE, |builder| builder.requested_transport(17)).code()
    };
    bench.relay.set_quotas(bench.now, Some(1), None);
    assert_eq!(code(&mut bench, &clients[2]), 486);
    assert_eq!(bench.refresh(&clients[1], 600).code(), 0);
    bench.relay.set_quotas(bench.now, None, Some(2));
    assert_eq!(code(&mut bench, &clients[2]), 508);
    bench.relay.set_quotas(bench.now, None, None);
    assert_eq!(code(&mut bench, &clients[2]), 0);
}

#[test]
fn new_allocations_have_the_room_that_is_said_last() {
    let mut bench = Bench::new(config());
    let (old, new) = (bench.client(CLIENT), bench.client("198.51.100.1:4001"));
    bench.allocate(&old);
    bench.relay.set_room(bench.now, 1, 1);
    bench.allocate(&new);
    for (client, code) in [(&old, 0), (&new, 508)] {
        assert_eq!(bench.bind_channel(client, 0x4000, PEER).code(), 0);
        assert_eq!(bench.bind_channel(client, 0x4001, OTHER).code(), code);
    }
}

#[test]
fn the_end_of_an_allocation_tells_what_it_was_used_for() {
    let mut bench = Bench::new(config());
    let (client, other) = (bench.client(CLIENT), bench.client("198.51.100.1:4001"));
    let relayed = bench.allocate(&client);
    bench.allocate(&other);
    for client in [&client, &other] {
        assert_eq!(bench.bind_channel(client, 0x4000, PEER).code(), 0);
    }
    bench.advance(10);
    let socket = bench.listening(client.address);
    // Three datagrams at once, a request in a batch of its own, and what is dropped.
    bench.deliver(socket, client.address, &b"\x40\x00\x00\x04abcd".repeat(3), 8);
    bench.send(other.address, b"\x40\x00\x00\x01x");
    bench.send(client.address, b"\x40\x01\x00\x01x");
    bench.send_to_relayed(PEER, relayed, b"defgh");
    bench.send_to_relayed("203.0.113.1:1", relayed, b"x");
    assert_eq!(bench.refresh(&client, 0).code(), 0);
    let usage = Usage {
        lasted: Duration::from_secs(10),
        to_peers: Flow { packets: 3, bytes: 12 },
        to_clients: Flow { packets: 1, bytes: 5 },
    };
    let (client, username, reason) = (client.address, "alice".into(), Released::Closed);
    assert_eq!(
        bench.news.last(),
        Some(&Event::Released { client, hop: Hop::Udp, username, relayed: vec![relayed], reason, usage })
    );
}

#[test]
fn what_a_user_is_refused_is_told_and_what_a_stranger_is_only_counted() {
    let mut bench = Bench::new(Config { user_quota: Some(0), ..config() });
    let client = bench.client(CLIENT);
    assert_eq!(bench.call(&client, Method::ALLOCATE, |builder| builder.requested_transport(17)).code(), 486);
    assert_eq!(bench.refresh(&client, 600).code(), 437, "which is no allocation");
    let told: Vec<_> = bench.news.iter().filter(|event| matches!(event, Event::Refused { .. })).collect();
    let expected =
        Event::Refused { client: client.address, hop: Hop::Udp, username: "alice".into(), code: 486 };
    assert_eq!(told, [&expected]);
}

#[test]
fn bytes_of_a_user_are_limited_each_way_and_over_all_allocations() {
    let mut bench = Bench::new(Config { max_rate: NonZeroU64::new(100_000), ..config() });
    let (one, two) = (bench.client(CLIENT), bench.client("198.51.100.1:4001"));
    let relayed = bench.allocate(&one);
    bench.allocate(&two);
    for client in [&one, &two] {
        assert_eq!(bench.bind_channel(client, 0x4000, PEER).code(), 0);
    }
    let mut data = vec![0x40, 0, 0x03, 0xe8];
    data.resize(1004, 7);
    let sent = |bench: &mut Bench, client: &Client| !bench.send(client.address, &data).is_empty();
    let first = (0..60).filter(|_| sent(&mut bench, &one)).count();
    let second = (0..60).filter(|_| sent(&mut bench, &two)).count();
    assert_eq!((first, second, bench.dropped(Drop::OverRate)), (60, 40, 20));
    let received = (0..120).filter(|_| !bench.send_to_relayed(PEER, relayed, &[7; 1000]).is_empty()).count();
    assert_eq!((received, bench.dropped(Drop::OverRate)), (100, 40));
    assert_eq!(bench.relay.counters().to_peers.bytes, 100_000);
    assert_eq!(bench.refresh(&one, 600).code(), 0, "requests are not data");
    bench.now += Duration::from_millis(9);
    assert!(!sent(&mut bench, &one));
    bench.now += Duration::from_millis(1);
    assert!(sent(&mut bench, &one) && !sent(&mut bench, &two));
    let other = bench
        .client_as("198.51.100.1:4002", Credentials { username: "bob".into(), password: "builder".into() });
    bench.allocate(&other);
    assert_eq!(bench.bind_channel(&other, 0x4000, PEER).code(), 0);
    assert!(sent(&mut bench, &other), "somebody else's bytes are their own");
    bench.relay.set_max_rate(bench.now, None);
    assert!(sent(&mut bench, &two));
}

#[test]
fn strangers_get_as_many_replies_as_is_said_last() {
    let mut bench = Bench::new(config());
    bench.relay.set_reply_budget(bench.now, ReplyBudget { rate: 1, burst: 2 });
    let request = bench.builder(Method::ALLOCATE).requested_transport(17).finish();
    let replies = (0..5).filter(|_| !bench.send(addr(CLIENT), &request).is_empty()).count();
    assert_eq!((replies, bench.dropped(Drop::OverBudget)), (2, 3));
}
