//! What the operator ends: users, and the relay itself.

use std::collections::BTreeSet;

use super::*;
use crate::stun::EvenPort;

fn bare(builder: Builder) -> Builder {
    builder.requested_transport(17)
}

fn gateway(expiry: u64, id: &str) -> Credentials {
    Credentials::time_limited(SECRET, UnixTime(UNIX.as_secs() + expiry), id)
}

#[test]
fn a_revoked_user_loses_all_allocations_at_once_and_nobody_else_theirs() {
    let mut bench = Bench::new(config());
    let first = bench.client_as("198.51.100.1:4000", gateway(1000, "gw-1"));
    let second = bench.client_as("198.51.100.1:4001", gateway(2000, "gw-1"));
    let other = bench.client_as("198.51.100.1:4002", gateway(1000, "gw-10"));
    let relayed = [&first, &second, &other].map(|client| bench.allocate(client));
    bench.bind_channel(&first, 0x4000, PEER);
    bench.permit(&other, PEER);
    assert_eq!(bench.relay.revoke(bench.now, "gw-1"), 2);
    bench.settle();
    bench.relay.check();
    assert_eq!((bench.relay.allocations(), bench.bound.len()), (1, 3));
    assert!(bench.send(first.address, b"\x40\0\0\x01x").is_empty());
    assert_eq!(bench.send_to_relayed(PEER, relayed[2], b"x").len(), 1);
    for gone in [&first, &second] {
        let is_told = |event: &Event| matches!(event, Event::Released { client, reason: Released::Revoked, .. } if *client == gone.address);
        assert!(bench.news.iter().any(is_told));
    }
    // Whatever it is: credentials of that user are good for nothing, those that are to come too.
    assert_eq!(bench.refresh(&first, 600).code(), 403);
    assert_eq!(bench.permit(&first, PEER).code(), 403);
    let renewed = bench.client_as("198.51.100.1:4003", gateway(9000, "gw-1"));
    assert_eq!(bench.call(&renewed, Method::ALLOCATE, bare).code(), 403);
    assert_eq!((bench.relay.revoke(bench.now, "gw-1"), bench.relay.revoke(bench.now, "nobody")), (0, 0));
    assert_eq!(bench.refresh(&other, 600).code(), 0);
    bench.relay.reinstate("gw-1");
    bench.allocate(&renewed);
}

/// A relay that ends tells of each allocation that it cuts off, a few at a time.
#[test]
fn who_has_not_moved_in_time_is_cut_off_and_told_of() {
    let mut bench = Bench::new(config());
    let clients: Vec<_> = (1..=5).map(|port| bench.client(&format!("198.51.100.1:{port}"))).collect();
    for client in &clients[..4] {
        bench.allocate(client);
    }
    bench.hold = true;
    let request = clients[4].sign(bare(bench.builder(Method::ALLOCATE)));
    assert!(bench.send(clients[4].address, &request).is_empty());
    bench.relay.drain(Alternates::default());
    for (ended, left) in [(2, 2), (2, 0), (0, 0)] {
        assert_eq!(bench.relay.cut_off(bench.now, 2), ended);
        bench.settle();
        bench.relay.check();
        assert_eq!((bench.relay.allocations(), bench.bound.len()), (left, 2 + left));
    }
    let told =
        |event: &&Event| matches!(event, Event::Released { reason: Released::CutOff, hop: Hop::Udp, .. });
    assert_eq!(bench.news.iter().filter(told).count(), 4, "the fifth was never had");
    assert!(matches!(bench.news.last(), Some(Event::Drained)));
}

#[test]
fn what_a_revoked_user_has_asked_for_and_what_is_reserved_ends_too() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let pair = |builder: Builder| bare(builder).even_port(EvenPort { reserve: true });
    assert_eq!(bench.call(&client, Method::ALLOCATE, pair).code(), 0);
    let waiting = bench.client("198.51.100.1:4001");
    bench.hold = true;
    let request = waiting.sign(bare(bench.builder(Method::ALLOCATE)));
    assert!(bench.send(waiting.address, &request).is_empty());
    assert_eq!(bench.relay.revoke(bench.now, "alice"), 2);
    let sent = bench.settle();
    waiting.check(&request, &sent[0].2);
    assert_eq!((sent.len(), Reply(sent[0].2.clone()).code()), (1, 403));
    bench.relay.check();
    let sockets = 2;
    assert_eq!(bench.relay.holdings(), Holdings { sockets, ..Holdings::default() });
    assert_eq!((bench.bound.len(), bench.held.len(), bench.relay.poll_timeout()), (2, 0, None));
}

#[test]
fn a_relay_that_is_drained_sends_new_clients_elsewhere_and_keeps_the_old_ones() {
    let mut bench = Bench::new(config());
    let (here, there) = (addr("192.0.2.2:3478"), addr("[2001:db8::2]:3478"));
    let old = bench.client(CLIENT);
    let allocate = old.sign(bare(bench.builder(Method::ALLOCATE)));
    let granted = bench.ask(old.address, &allocate);
    bench.relay.drain(Alternates { ipv4: Some(here), ipv6: Some(there) });
    assert!(bench.relay.is_draining());
    for (client, server) in [("198.51.100.1:4001", here), ("[2001:db8::77]:4000", there)] {
        let client = bench.client(client);
        let reply = bench.call(&client, Method::ALLOCATE, bare);
        assert_eq!((reply.code(), reply.message().alternate_server()), (300, Ok(Some(server))));
        // Whoever is not known learns nothing of it (RFC 8489 §14.8).
        let unsigned = bare(bench.builder(Method::ALLOCATE)).finish();
        assert_eq!(Reply(bench.ask(client.address, &unsigned)).code(), 401);
    }
    // The old one goes on, and hears again what it was granted.
    assert_eq!(bench.ask(old.address, &allocate), granted);
    assert_eq!((bench.refresh(&old, 600).code(), bench.permit(&old, PEER).code()), (0, 0));
    assert!(!bench.news.contains(&Event::Drained));
    bench.refresh(&old, 0);
    bench.advance(3600);
    let told = bench.news.iter().filter(|event| **event == Event::Drained).count();
    assert_eq!(told, 1);
}

#[test]
fn without_another_relay_of_the_family_a_drained_relay_has_no_room() {
    let mut bench = Bench::new(config());
    let client = bench.client("[2001:db8::77]:4000");
    let wrong = Alternates { ipv4: None, ipv6: Some(addr("192.0.2.2:3478")) };
    for alternates in [Alternates::default(), Alternates::at(addr("192.0.2.2:3478")), wrong] {
        bench.relay.drain(alternates);
        let reply = bench.call(&client, Method::ALLOCATE, bare);
        assert_eq!((reply.code(), reply.message().alternate_server()), (508, Ok(None)));
    }
    bench.relay.drain(Alternates::at(addr("[2001:db8::2]:1")));
    assert_eq!(bench.call(&client, Method::ALLOCATE, bare).code(), 300);
    bench.settle();
    assert_eq!(
        bench.news.iter().filter(|event| **event == Event::Drained).count(),
        1,
        "it was empty at once"
    );
}

#[test]
fn what_is_being_bound_when_the_relay_is_drained_is_still_granted() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    bench.hold = true;
    let request = client.sign(bare(bench.builder(Method::ALLOCATE)));
    bench.send(client.address, &request);
    bench.relay.drain(Alternates::default());
    bench.settle();
    assert!(!bench.news.contains(&Event::Drained));
    let sent = bench.release(None);
    assert_eq!(Reply(sent[0].2.clone()).code(), 0);
    assert_eq!(bench.relay.revoke(bench.now, "alice"), 1);
    bench.settle();
    assert!(bench.news.contains(&Event::Drained));
}

#[test]
fn who_is_revoked_is_said_as_a_whole_and_who_is_left_out_comes_back() {
    let mut bench = Bench::new(config());
    let client = bench.client_as(CLIENT, gateway(1000, "gw-1"));
    let other = bench.client_as("198.51.100.1:4001", gateway(1000, "gw-2"));
    bench.allocate(&client);
    bench.allocate(&other);
    let set = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect::<BTreeSet<_>>();
    bench.relay.set_revoked(bench.now, &set(&["gw-1", "gw-3"]));
    bench.settle();
    assert_eq!(bench.relay.allocations(), 1);
    bench.relay.set_revoked(bench.now, &set(&["gw-2"]));
    bench.settle();
    assert_eq!(bench.relay.allocations(), 0);
    bench.allocate(&client);
    assert_eq!(bench.call(&other, Method::ALLOCATE, bare).code(), 403);
    bench.relay.check();
}
