//! Allocate and Refresh (RFC 8656 §7, §8).

use super::*;
use crate::stun::{EvenPort, Family, attribute};

fn bare(builder: Builder) -> Builder {
    builder.requested_transport(17)
}

#[test]
fn an_allocation_is_granted_with_what_the_client_needs_to_know() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let reply = bench.call(&client, Method::ALLOCATE, bare);
    let relayed = reply.relayed();
    assert_eq!(relayed.ip(), ip("192.0.2.1"));
    assert!(relayed.port() >= 49152);
    assert_eq!(reply.message().mapped_address().unwrap(), Some(addr(CLIENT)));
    assert_eq!(reply.lifetime(), 600);
    assert!(bench.bound.iter().any(|&(_, at)| at == relayed));
    let username = "alice".into();
    let allocated = Event::Allocated {
        client: addr(CLIENT),
        hop: Hop::Udp,
        username,
        relayed: vec![relayed],
        relays: Transport::Udp,
    };
    assert!(bench.news.contains(&allocated));
}

#[test]
fn the_advertised_address_may_differ_from_the_bound_one() {
    let mut config = config();
    config.ipv4 = Some(RelayAddress { bind: ip("0.0.0.0"), advertised: ip("203.0.113.1") });
    let mut bench = Bench::new(config);
    let client = bench.client(CLIENT);
    let relayed = bench.allocate(&client);
    assert_eq!(relayed.ip(), ip("203.0.113.1"));
    assert!(bench.bound.iter().any(|&(_, at)| at == SocketAddr::new(ip("0.0.0.0"), relayed.port())));
}

#[test]
fn a_client_has_an_allocation_at_each_address_of_the_relay() {
    let mut config = config();
    config.listen = ["192.0.2.1:3478", "192.0.2.2:3479"].map(|text| Listen::udp(addr(text))).to_vec();
    let mut bench = Bench::new(config);
    let client = bench.client(CLIENT);
    let other = bench.bound.iter().find(|(_, at)| at.port() == 3479).unwrap().0;
    let there = |bench: &mut Bench, method, fill: fn(Builder) -> Builder| {
        let request = client.sign(fill(bench.builder(method)));
        let (socket, to, bytes) = bench.deliver(other, client.address, &request, request.len()).remove(0);
        assert_eq!((socket, to), (other, client.address));
        Reply(bytes)
    };
    let first = bench.allocate(&client);
    let second = there(&mut bench, Method::ALLOCATE, bare).relayed();
    assert_ne!(first, second);
    assert_eq!(bench.refresh(&client, 0).code(), 0);
    assert_eq!(bench.refresh(&client, 600).code(), 437);
    assert_eq!(there(&mut bench, Method::REFRESH, |builder| builder).code(), 0);
    assert_eq!(there(&mut bench, Method::REFRESH, |builder| builder.lifetime(Duration::ZERO)).code(), 0);
    assert_eq!(bench.relay.allocations(), 0);
}

#[test]
fn a_lifetime_is_granted_between_the_default_and_the_most() {
    let mut bench = Bench::new(config());
    for (index, (asked, granted)) in [(10, 600), (1200, 1200), (100_000, 3600)].into_iter().enumerate() {
        let client = bench.client(&format!("198.51.100.1:{}", 4000 + index));
        let lifetime = Duration::from_secs(asked);
        let reply = bench.call(&client, Method::ALLOCATE, |builder| bare(builder).lifetime(lifetime));
        assert_eq!(reply.lifetime(), granted);
        assert_eq!(bench.refresh(&client, asked).lifetime(), granted);
    }
}

#[test]
fn a_retransmitted_allocate_gets_the_same_reply() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let request = client.sign(bare(bench.builder(Method::ALLOCATE)));
    let first = bench.ask(client.address, &request);
    bench.advance(1);
    assert_eq!(bench.ask(client.address, &request), first);
    assert_eq!(bench.relay.allocations(), 1);
    // Another request on the same five-tuple is something else (RFC 8656 §7.2).
    assert_eq!(bench.call(&client, Method::ALLOCATE, bare).code(), 437);
}

#[test]
fn an_allocate_whose_socket_is_not_yet_bound_is_absorbed() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    bench.hold = true;
    let request = client.sign(bare(bench.builder(Method::ALLOCATE)));
    assert!(bench.send(client.address, &request).is_empty());
    assert!(bench.send(client.address, &request).is_empty());
    assert_eq!(bench.held.len(), 1);
    assert_eq!(bench.permit(&client, PEER).code(), 437);
    let sent = bench.release(None);
    assert_eq!(sent.len(), 1);
    assert_eq!(Reply(sent[0].2.clone()).code(), 0);
}

#[test]
fn a_port_that_somebody_else_has_is_replaced() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    bench.hold = true;
    let request = client.sign(bare(bench.builder(Method::ALLOCATE)));
    bench.send(client.address, &request);
    let first = bench.held[0].1;
    assert!(bench.release(Some(ErrorKind::AddrInUse)).is_empty());
    assert_ne!(bench.held[0].1, first);
    let sent = bench.release(None);
    assert_eq!(Reply(sent[0].2.clone()).code(), 0);
    bench.relay.table.check();
}

#[test]
fn no_port_at_all_is_508() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    bench.hold = true;
    let request = client.sign(bare(bench.builder(Method::ALLOCATE)));
    bench.send(client.address, &request);
    let mut sent = Vec::new();
    let mut tries = 0;
    while sent.is_empty() {
        sent = bench.release(Some(ErrorKind::AddrInUse));
        tries += 1;
    }
    assert_eq!(tries, 9, "a few ports are tried, not all");
    client.check(&request, &sent[0].2);
    assert_eq!(Reply(sent[0].2.clone()).code(), 508);
    assert_eq!(bench.relay.allocations(), 0);
    bench.relay.table.check();
}

#[test]
fn a_driver_that_never_answers_costs_one_allocation_for_ten_seconds() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    bench.hold = true;
    let request = client.sign(bare(bench.builder(Method::ALLOCATE)));
    bench.send(client.address, &request);
    let sent = bench.advance(10);
    assert_eq!(Reply(sent[0].2.clone()).code(), 508);
    assert_eq!((bench.relay.allocations(), bench.held.len()), (0, 0));
}

#[test]
fn a_used_up_port_range_is_508() {
    let mut config = config();
    config.ports = 50000..=50001;
    let mut bench = Bench::new(config);
    for port in [4000, 4001] {
        let client = bench.client(&format!("198.51.100.1:{port}"));
        bench.allocate(&client);
    }
    let client = bench.client("198.51.100.1:4002");
    assert_eq!(bench.call(&client, Method::ALLOCATE, bare).code(), 508);
}

#[test]
fn quotas_are_enforced_and_freed() {
    let mut config = config();
    (config.user_quota, config.total_quota) = (Some(1), Some(2));
    let mut bench = Bench::new(config);
    let builder = Credentials { username: "bob".to_owned(), password: "builder".to_owned() };
    let other = Credentials::time_limited(SECRET, UnixTime(1_800_000_000), "carol");
    let alice = bench.client("198.51.100.1:4000");
    let again = bench.client("198.51.100.1:4001");
    let bob = bench.client_as("198.51.100.1:4002", builder);
    let carol = bench.client_as("198.51.100.1:4003", other);
    bench.allocate(&alice);
    assert_eq!(bench.call(&again, Method::ALLOCATE, bare).code(), 486);
    bench.allocate(&bob);
    assert_eq!(bench.call(&carol, Method::ALLOCATE, bare).code(), 508);
    assert_eq!(bench.refresh(&alice, 0).code(), 0);
    bench.allocate(&carol);
}

#[test]
fn what_an_allocate_may_ask_for() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let mut code = |fill: &dyn Fn(Builder) -> Builder| bench.call(&client, Method::ALLOCATE, fill).code();
    assert_eq!(code(&|builder| builder), 400, "REQUESTED-TRANSPORT is missing");
    assert_eq!(code(&|builder| builder.requested_transport(132)), 442);
    assert_eq!(code(&|builder| builder.raw(attribute::REQUESTED_TRANSPORT, &[17])), 400);
    assert_eq!(code(&|builder| bare(builder).requested_family(Family::Other(3))), 440);
    assert_eq!(code(&|builder| bare(builder).raw(attribute::DONT_FRAGMENT, &[0])), 400);
    assert_eq!(code(&|builder| bare(builder).raw(0x0003, &[0; 4])), 420);
    assert_eq!(code(&|builder| bare(builder).reservation_token([1; 8])), 508);
    assert_eq!(code(&|builder| bare(builder).additional_family(Family::V4)), 400);
    let both = |builder: Builder| bare(builder).requested_family(Family::V4).additional_family(Family::V6);
    assert_eq!(code(&both), 400);
    let pair = EvenPort { reserve: true };
    assert_eq!(code(&|builder| bare(builder).reservation_token([1; 8]).even_port(pair)), 400);
    assert_eq!(code(&|builder| bare(builder).additional_family(Family::V6).even_port(pair)), 400);
    assert_eq!(code(&|builder| bare(builder).raw(0x8FFF, b"whatever")), 0, "optional attributes are ignored");
}

#[test]
fn unknown_attributes_are_listed() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let fill = |builder| bare(builder).raw(0x7F01, &[]).raw(0x7F00, &[]).raw(0x7F00, &[]).dont_fragment();
    let reply = bench.call(&client, Method::ALLOCATE, fill);
    assert_eq!(reply.code(), 420);
    assert_eq!(reply.message().unknown_attributes().unwrap(), [0x7F01, 0x7F00]);
}

#[test]
fn each_family_can_be_had_and_both_together() {
    let mut bench = Bench::new(config());
    let v6 = bench.client("198.51.100.1:4001");
    let reply = bench.call(&v6, Method::ALLOCATE, |builder| bare(builder).requested_family(Family::V6));
    assert_eq!(reply.relayed().ip(), ip("2001:db8::1"));
    let both = bench.client("198.51.100.1:4002");
    let reply = bench.call(&both, Method::ALLOCATE, |builder| bare(builder).additional_family(Family::V6));
    let relayed: Vec<IpAddr> = reply.relayed_all().iter().map(SocketAddr::ip).collect();
    assert_eq!(relayed, [ip("192.0.2.1"), ip("2001:db8::1")]);
    assert_eq!(reply.message().address_error().unwrap(), None);
}

#[test]
fn a_family_that_the_relay_lacks_is_440() {
    let mut config = config();
    config.ipv6 = None;
    let mut bench = Bench::new(config);
    let client = bench.client(CLIENT);
    let reply = bench.call(&client, Method::ALLOCATE, |builder| bare(builder).requested_family(Family::V6));
    assert_eq!(reply.code(), 440);
    // As a second family it is only missing (RFC 8656 §7.2).
    let reply = bench.call(&client, Method::ALLOCATE, |builder| bare(builder).additional_family(Family::V6));
    assert_eq!(reply.relayed_all().len(), 1);
    let error = reply.message().address_error().unwrap().unwrap();
    assert_eq!((error.family, error.code), (Family::V6, 440));
}

#[test]
fn a_second_family_that_cannot_be_bound_is_missing_with_508() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    bench.hold = true;
    let request = client.sign(bare(bench.builder(Method::ALLOCATE)).additional_family(Family::V6));
    bench.send(client.address, &request);
    let held = std::mem::take(&mut bench.held);
    for (socket, at) in held {
        bench.complete(socket, at, at.is_ipv6().then_some(ErrorKind::AddrNotAvailable));
    }
    let reply = Reply(bench.settle().remove(0).2);
    assert_eq!(reply.relayed_all().len(), 1);
    let error = reply.message().address_error().unwrap().unwrap();
    assert_eq!((error.family, error.code), (Family::V6, 508));
    bench.relay.table.check();
}

#[test]
fn a_port_next_to_an_even_one_is_reserved_for_its_user() {
    let mut bench = Bench::new(config());
    let first = bench.client("198.51.100.1:4000");
    let pair = EvenPort { reserve: true };
    let reply = bench.call(&first, Method::ALLOCATE, |builder| bare(builder).even_port(pair));
    let (even, token) = (reply.relayed(), reply.message().reservation_token().unwrap().unwrap());
    assert_eq!(even.port() % 2, 0);

    let credentials = Credentials { username: "bob".to_owned(), password: "builder".to_owned() };
    let thief = bench.client_as("198.51.100.1:4009", credentials);
    let claim = |builder| bare(builder).reservation_token(token);
    assert_eq!(bench.call(&thief, Method::ALLOCATE, claim).code(), 508);

    let second = bench.client("198.51.100.1:4001");
    let claimed = bench.call(&second, Method::ALLOCATE, claim).relayed();
    assert_eq!(claimed.port(), even.port() + 1);
    let third = bench.client("198.51.100.1:4002");
    assert_eq!(bench.call(&third, Method::ALLOCATE, claim).code(), 508, "a token serves once");
}

#[test]
fn a_reservation_runs_out_after_thirty_seconds() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let pair = EvenPort { reserve: true };
    bench.call(&client, Method::ALLOCATE, |builder| bare(builder).even_port(pair));
    assert_eq!(bench.bound.len(), 4);
    bench.advance(29);
    assert_eq!(bench.bound.len(), 4);
    bench.advance(1);
    assert_eq!(bench.bound.len(), 3);
    let even = EvenPort { reserve: false };
    let other = bench.client("198.51.100.1:4001");
    let reply = bench.call(&other, Method::ALLOCATE, |builder| bare(builder).even_port(even));
    assert_eq!(reply.relayed().port() % 2, 0);
    assert_eq!(reply.message().reservation_token().unwrap(), None);
    assert_eq!(bench.bound.len(), 4, "without R nothing is reserved");
}

#[test]
fn an_allocation_that_is_not_refreshed_ends_and_gives_all_back() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    bench.allocate(&client);
    bench.advance(400);
    assert_eq!(bench.refresh(&client, 600).lifetime(), 600);
    bench.advance(599);
    assert_eq!(bench.relay.allocations(), 1);
    bench.advance(1);
    assert_eq!(bench.relay.allocations(), 0);
    assert_eq!((bench.bound.len(), bench.relay.poll_timeout()), (2, None));
    let Some(Event::Released { client, reason, usage, .. }) = bench.news.last() else { panic!("no end") };
    assert_eq!(
        (*client, *reason, usage.lasted),
        (addr(CLIENT), Released::Expired, Duration::from_secs(1000))
    );
}

#[test]
fn lifetime_zero_ends_an_allocation_and_does_so_twice() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let allocate = client.sign(bare(bench.builder(Method::ALLOCATE)));
    bench.ask(client.address, &allocate);
    let request = client.sign(bench.builder(Method::REFRESH).lifetime(Duration::ZERO));
    let first = bench.ask(client.address, &request);
    assert_eq!((Reply(first.clone()).code(), bench.bound.len()), (0, 2));
    assert_eq!(bench.ask(client.address, &request), first, "its reply was lost (RFC 8489 §6.3.1)");
    assert!(bench.send(client.address, &allocate).is_empty(), "a late duplicate raises nothing");
    assert_eq!(bench.refresh(&client, 600).code(), 437);

    bench.allocate(&client);
    assert_eq!(bench.ask(client.address, &request), first);
    assert_eq!(bench.relay.allocations(), 1, "a late duplicate ends nothing either");
}

#[test]
fn one_family_of_two_can_be_given_up() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    bench.call(&client, Method::ALLOCATE, |builder| bare(builder).additional_family(Family::V6));
    let give_up = |builder: Builder| builder.lifetime(Duration::ZERO).requested_family(Family::V6);
    assert_eq!(bench.call(&client, Method::REFRESH, give_up).lifetime(), 0);
    assert_eq!(bench.bound.len(), 3);
    assert_eq!(bench.call(&client, Method::REFRESH, give_up).code(), 443);
    assert_eq!(bench.permit(&client, "[2001:db8::9]:1").code(), 443);
    assert_eq!(bench.permit(&client, PEER).code(), 0);
}

#[test]
fn only_its_user_may_touch_an_allocation() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    bench.allocate(&client);
    let mut other = client.clone();
    other.credentials = Credentials { username: "bob".to_owned(), password: "builder".to_owned() };
    assert_eq!(bench.refresh(&other, 600).code(), 441);
    assert_eq!(bench.permit(&other, PEER).code(), 441);
    assert_eq!(bench.bind_channel(&other, 0x4000, PEER).code(), 441);
    assert_eq!(bench.call(&other, Method::ALLOCATE, bare).code(), 437);
}

#[test]
fn renewed_credentials_of_the_same_id_keep_the_allocation() {
    let mut bench = Bench::new(config());
    let until = |seconds| Credentials::time_limited(SECRET, UnixTime(UNIX.as_secs() + seconds), "gw-1");
    let mut client = bench.client_as(CLIENT, until(60));
    bench.allocate(&client);
    bench.advance(61);
    // The old ones have run out: they refresh nothing, but the allocation goes on.
    let request = client.sign(bench.builder(Method::REFRESH));
    assert_eq!(Reply(bench.ask(client.address, &request)).code(), 401);
    assert_eq!(bench.relay.allocations(), 1);
    client.credentials = until(3600);
    assert_eq!(bench.refresh(&client, 600).code(), 0);
    client.credentials = Credentials::time_limited(SECRET, UnixTime(UNIX.as_secs() + 3600), "gw-2");
    assert_eq!(bench.refresh(&client, 600).code(), 441);
}

#[test]
fn without_an_allocation_there_is_nothing_to_change() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    assert_eq!(bench.refresh(&client, 600).code(), 437);
    assert_eq!(bench.permit(&client, PEER).code(), 437);
    assert_eq!(bench.bind_channel(&client, 0x4000, PEER).code(), 437);
}
