//! Data both ways (RFC 8656 §11, §12).

use super::*;
use crate::turn::channel_data;

/// An allocation with a channel to [`PEER`].
fn with_channel() -> (Bench, Client, SocketAddr) {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let relayed = bench.allocate(&client);
    assert_eq!(bench.bind_channel(&client, 0x4000, PEER).code(), 0);
    (bench, client, relayed)
}

fn on_channel(number: u16, data: &[u8]) -> Vec<u8> {
    [&channel_data::header(number, data.len())[..], data].concat()
}

fn send_indication(peer: &str, data: &[u8]) -> Vec<u8> {
    Builder::new(Class::Indication, Method::SEND, [5; 12]).peer_address(addr(peer)).data(data).finish()
}

#[test]
fn channel_data_flows_both_ways() {
    let (mut bench, client, relayed) = with_channel();
    let sent = bench.send(client.address, &on_channel(0x4000, b"ping"));
    assert_eq!(sent.len(), 1);
    assert_eq!((sent[0].1, &sent[0].2[..]), (addr(PEER), &b"ping"[..]));
    assert!(bench.bound.contains(&(sent[0].0, relayed)), "it leaves from the relayed address");

    let sent = bench.send_to_relayed(PEER, relayed, b"pong");
    let listening = bench.listening(client.address);
    assert_eq!(sent, [(listening, client.address, on_channel(0x4000, b"pong"))]);
    let counters = bench.relay.counters();
    assert_eq!(counters.to_peers, Flow { packets: 1, bytes: 4 });
    assert_eq!(counters.to_clients, Flow { packets: 1, bytes: 4 });
}

#[test]
fn padding_after_channel_data_is_not_data() {
    let (mut bench, client, _) = with_channel();
    let mut datagram = on_channel(0x4000, b"abc");
    datagram.push(0);
    assert_eq!(bench.send(client.address, &datagram)[0].2, b"abc");
    assert!(bench.send(client.address, b"\x40\x00\x00\x09abc").is_empty());
    assert_eq!(bench.dropped(Drop::Malformed), 1);
}

#[test]
fn indications_flow_both_ways_with_a_permission_and_without_a_channel() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let relayed = bench.allocate(&client);
    assert!(bench.send(client.address, &send_indication(PEER, b"ping")).is_empty());
    assert_eq!(bench.dropped(Drop::NoPermission), 1);
    bench.permit(&client, PEER);
    let sent = bench.send(client.address, &send_indication(PEER, b"ping!"));
    assert_eq!((sent[0].1, &sent[0].2[..]), (addr(PEER), &b"ping!"[..]));

    // A permission names an address, never a port (RFC 8656 §9).
    let sent = bench.send_to_relayed("203.0.113.9:7777", relayed, b"pong");
    let message = Message::parse(&sent[0].2).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
    assert_eq!(message.peer_address().unwrap(), Some(addr("203.0.113.9:7777")));
    assert_eq!(message.data(), Some(&b"pong"[..]));
    assert_eq!(sent[0].1, client.address);
}

#[test]
fn who_is_not_permitted_reaches_nobody() {
    let (mut bench, client, relayed) = with_channel();
    assert!(bench.send_to_relayed("203.0.113.10:5000", relayed, b"x").is_empty());
    assert_eq!(bench.dropped(Drop::NoPermission), 1);
    assert!(bench.send(client.address, &on_channel(0x4001, b"x")).is_empty());
    assert_eq!(bench.dropped(Drop::NoChannel), 1);
    let stranger = addr("198.51.100.66:1");
    assert!(bench.send(stranger, &on_channel(0x4000, b"x")).is_empty());
    assert!(bench.send(stranger, &send_indication(PEER, b"x")).is_empty());
    assert_eq!(bench.dropped(Drop::NoAllocation), 2);
    assert!(bench.send(client.address, &send_indication("[2001:db8::9]:1", b"x")).is_empty());
}

#[test]
fn a_permission_ends_before_its_channel_does() {
    let (mut bench, client, relayed) = with_channel();
    bench.advance(299);
    assert_eq!(bench.send_to_relayed(PEER, relayed, b"x").len(), 1);
    bench.advance(1);
    assert!(bench.send_to_relayed(PEER, relayed, b"x").is_empty());
    assert_eq!(bench.send(client.address, &on_channel(0x4000, b"x")).len(), 1);
    let mut client = client;
    bench.renew_nonce(&mut client);
    bench.permit(&client, PEER);
    bench.refresh(&client, 3600);
    assert_eq!(bench.send_to_relayed(PEER, relayed, b"x")[0].2, on_channel(0x4000, b"x"));
    bench.advance(299);
    bench.permit(&client, PEER);
    bench.advance(1);
    let sent = bench.send_to_relayed(PEER, relayed, b"x");
    assert!(Message::parse(&sent[0].2).is_ok(), "the channel has run out, the permission has not");
    assert!(bench.send(client.address, &on_channel(0x4000, b"x")).is_empty());
}

#[test]
fn an_expired_timer_that_nobody_has_called_yet_counts() {
    let (mut bench, client, relayed) = with_channel();
    bench.now += Duration::from_secs(599);
    assert!(bench.send_to_relayed(PEER, relayed, b"x").is_empty());
    bench.now += Duration::from_secs(1);
    assert!(bench.send(client.address, &on_channel(0x4000, b"x")).is_empty());
}

#[test]
fn a_batch_becomes_one_run_and_a_short_last_one() {
    let (mut bench, client, relayed) = with_channel();
    let socket = bench.listening(client.address);
    let mut payload = on_channel(0x4000, &[1; 1000]).repeat(3);
    payload.extend(on_channel(0x4000, &[2; 10]));
    let mut copy = payload.clone();
    let (remote, stride) = (client.address, 1004);
    let batch = Datagrams { socket, remote, local: None, ecn: None, stride, payload: &mut copy };
    let mut out = Forwards::default();
    bench.relay.handle_datagrams(bench.now, batch, &mut out);
    let runs: Vec<_> = out.runs().iter().map(|run| (run.segments.clone(), run.strip, run.len)).collect();
    assert_eq!(runs, [(0..3, 4, 1000), (3..4, 4, 10)]);

    let socket = bench.bound.iter().find(|&&(_, at)| at == relayed).unwrap().0;
    let mut copy = [3; 2500];
    let batch =
        Datagrams { socket, remote: addr(PEER), local: None, ecn: None, stride: 1000, payload: &mut copy };
    out.clear();
    bench.relay.handle_datagrams(bench.now, batch, &mut out);
    let runs: Vec<_> = out.runs().iter().map(|run| (run.segments.clone(), run.prefix)).collect();
    let header = |len| Some(channel_data::header(0x4000, len));
    assert_eq!(runs, [(0..2, header(1000)), (2..3, header(500))]);
}

#[test]
fn a_send_indication_that_asks_for_more_than_we_know_is_dropped() {
    let (mut bench, client, _) = with_channel();
    let indication = |kind| {
        let builder = Builder::new(Class::Indication, Method::SEND, [5; 12]).peer_address(addr(PEER));
        builder.raw(kind, &[]).data(b"x").finish()
    };
    for kind in [0x7F00, crate::stun::attribute::RESERVATION_TOKEN] {
        assert!(bench.send(client.address, &indication(kind)).is_empty());
    }
    assert_eq!(bench.dropped(Drop::UnknownAttribute), 2);
    assert_eq!(bench.send(client.address, &indication(0x8FFF)).len(), 1);
}

#[test]
fn what_does_not_fit_a_datagram_is_dropped() {
    let (mut bench, _, relayed) = with_channel();
    let huge = vec![0; 65_507];
    assert!(bench.send_to_relayed(PEER, relayed, &huge).is_empty());
    assert!(bench.send_to_relayed("203.0.113.9:1", relayed, &huge).is_empty());
    assert_eq!(bench.dropped(Drop::TooLong), 2);
    assert_eq!(bench.send_to_relayed(PEER, relayed, &huge[4..]).len(), 1);
}

#[test]
fn data_waits_in_a_bounded_queue() {
    let (mut bench, _, relayed) = with_channel();
    let socket = bench.bound.iter().find(|&&(_, at)| at == relayed).unwrap().0;
    let mut payload = vec![0; 5000];
    let remote = addr("203.0.113.9:1");
    let batch = Datagrams { socket, remote, local: None, ecn: None, stride: 1, payload: &mut payload };
    bench.relay.handle_datagrams(bench.now, batch, &mut Forwards::default());
    assert_eq!(bench.dropped(Drop::QueueFull), 5000 - 1024);
    assert_eq!(bench.settle().len(), 1024);
}

#[test]
fn ipv6_peers_are_reached_from_the_ipv6_address() {
    let mut bench = Bench::new(config());
    let client = bench.client("[2001:db8::77]:4000");
    let both = |builder: Builder| builder.requested_transport(17).additional_family(crate::stun::Family::V6);
    let reply = bench.call(&client, Method::ALLOCATE, both);
    let v6 = reply.relayed_all()[1];
    bench.bind_channel(&client, 0x4000, "[2001:db8::9]:5000");
    bench.bind_channel(&client, 0x4001, PEER);
    let sent = bench.send(client.address, &on_channel(0x4000, b"six"));
    assert!(bench.bound.contains(&(sent[0].0, v6)));
    let sent = bench.send(client.address, &on_channel(0x4001, b"four"));
    assert_eq!(sent[0].1, addr(PEER));
    let sent = bench.send_to_relayed("[2001:db8::9]:5000", v6, b"back");
    assert_eq!(sent[0].2, on_channel(0x4000, b"back"));
}

fn complain(
    bench: &mut Bench,
    relayed: SocketAddr,
    peer: &str,
    kind: ErrorKind,
    mtu: Option<u16>,
) -> Vec<Sent> {
    let socket = bench.bound.iter().find(|&&(_, at)| at == relayed).expect("it is bound").0;
    let peer = addr(peer);
    bench.relay.handle_completion(bench.now, Completion::TransportError { socket, peer, kind, mtu });
    bench.settle()
}

/// RFC 8656 §11.5: with the numbers of ICMP for the peer's version of IP.
#[test]
fn what_icmp_says_of_a_permitted_peer_is_told_to_the_client() {
    use ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, OutOfMemory};
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let both = |builder: Builder| builder.requested_transport(17).additional_family(crate::stun::Family::V6);
    let relayed = bench.call(&client, Method::ALLOCATE, both).relayed_all();
    let (v4, v6) = ("203.0.113.9:7777", "[2001:db8::9]:7777");
    for peer in [v4, v6] {
        bench.permit(&client, peer);
    }
    for (at, peer, kind, mtu, told) in [
        (relayed[0], v4, ConnectionRefused, None, (3, 3, 0)),
        (relayed[0], v4, HostUnreachable, None, (3, 1, 0)),
        (relayed[0], v4, NetworkUnreachable, None, (3, 0, 0)),
        (relayed[0], v4, OutOfMemory, Some(1400), (3, 4, 1400)),
        (relayed[1], v6, ConnectionRefused, None, (1, 4, 0)),
        (relayed[1], v6, HostUnreachable, None, (1, 3, 0)),
        (relayed[1], v6, NetworkUnreachable, None, (1, 0, 0)),
        (relayed[1], v6, OutOfMemory, Some(1280), (2, 0, 1280)),
    ] {
        let sent = complain(&mut bench, at, peer, kind, mtu);
        assert_eq!((sent.len(), sent[0].1), (1, client.address));
        let message = Message::parse(&sent[0].2).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
        assert_eq!((message.peer_address(), message.data()), (Ok(Some(addr(peer))), None));
        let icmp = message.icmp().unwrap().unwrap();
        assert_eq!((icmp.kind, icmp.code, icmp.data), told);
    }
    assert!(complain(&mut bench, relayed[0], v4, OutOfMemory, None).is_empty(), "that is no word of ICMP's");
    assert_eq!(bench.relay.counters().transport_errors, 9);
}

/// The permission that counts is that of whom the datagram was for: ICMP comes from anywhere.
#[test]
fn what_icmp_says_of_others_is_told_to_nobody() {
    let (mut bench, client, relayed) = with_channel();
    let refused = ErrorKind::ConnectionRefused;
    assert!(complain(&mut bench, relayed, "203.0.113.10:5000", refused, None).is_empty());
    assert_eq!(bench.dropped(Drop::NoPermission), 1);
    assert_eq!(complain(&mut bench, relayed, PEER, refused, None).len(), 1);
    // On a socket that clients talk to, or that is gone, it is counted only.
    let listening = bench.listening(client.address);
    let error = Completion::TransportError { socket: listening, peer: addr(PEER), kind: refused, mtu: None };
    bench.relay.handle_completion(bench.now, error);
    assert!(bench.settle().is_empty());
    bench.advance(300);
    assert!(complain(&mut bench, relayed, PEER, refused, None).is_empty(), "the permission has run out");
    assert_eq!(bench.relay.counters().transport_errors, 4);
}

/// DF is set where a Send indication asks for it, and nowhere else (RFC 8656 §14).
#[test]
fn a_send_indication_may_forbid_fragments() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let ask = |builder: Builder| {
        builder.requested_transport(17).additional_family(crate::stun::Family::V6).dont_fragment()
    };
    assert_eq!(bench.call(&client, Method::ALLOCATE, ask).code(), 0, "it can be had");
    let v6 = "[2001:db8::9]:5000";
    bench.permit(&client, v6);
    bench.bind_channel(&client, 0x4000, PEER);
    let whole = |peer: &str| {
        let builder = Builder::new(Class::Indication, Method::SEND, [5; 12]).peer_address(addr(peer));
        builder.dont_fragment().data(b"x").finish()
    };
    assert_eq!((bench.send(client.address, &whole(PEER)).len(), bench.whole), (1, true));
    assert_eq!((bench.send(client.address, &send_indication(PEER, b"x")).len(), bench.whole), (1, false));
    bench.send(client.address, &whole(PEER));
    assert_eq!((bench.send(client.address, &on_channel(0x4000, b"x")).len(), bench.whole), (1, false));
    // Between two versions of IP it is passed over (§13).
    bench.send(client.address, &whole(PEER));
    assert_eq!((bench.send(client.address, &whole(v6)).len(), bench.whole), (1, false));
    let malformed = Builder::new(Class::Indication, Method::SEND, [5; 12]).peer_address(addr(PEER));
    let malformed = malformed.raw(crate::stun::attribute::DONT_FRAGMENT, &[1]).data(b"x").finish();
    assert!(bench.send(client.address, &malformed).is_empty());
}

/// What must not be fragmented goes by itself: runs have one way only.
#[test]
fn what_forbids_fragments_is_a_run_of_its_own() {
    let (mut bench, client, _) = with_channel();
    let socket = bench.listening(client.address);
    let send = |df: bool| {
        let builder = Builder::new(Class::Indication, Method::SEND, [5; 12]).peer_address(addr(PEER));
        if df { builder.dont_fragment().data(b"x") } else { builder.raw(0x8FFF, &[]).data(b"x") }.finish()
    };
    let mut payload = [send(true), send(true), send(false)].concat();
    let (remote, stride) = (client.address, payload.len() / 3);
    let batch = Datagrams { socket, remote, local: None, ecn: None, stride, payload: &mut payload };
    let mut out = Forwards::default();
    bench.relay.handle_datagrams(bench.now, batch, &mut out);
    let runs: Vec<_> = out
        .runs()
        .iter()
        .map(|run| (run.segments.clone(), matches!(run.onward, Onward::Send { whole: true, .. })))
        .collect();
    assert_eq!(runs, [(0..2, true), (2..3, false)]);
}
