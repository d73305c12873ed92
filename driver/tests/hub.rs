//! The hub over real loopback sockets.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a test")]

#[allow(dead_code, reason = "each test file uses its part")]
mod common;

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use adit_core::io::{Completion, Effect, Id, PipeId, QueryId, SocketId, SocketKind};
use adit_core::time::UnixTime;
use adit_driver::{Hub, Notice, Request};
use common::{Direct, Echo, PATIENCE, echo, news, turn_marked, turn_until};

/// A plain socket on the other side.
fn peer(of: SocketAddr) -> UdpSocket {
    let any = if of.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(of).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let count = socket.recv(&mut buffer).unwrap();
    buffer.truncate(count);
    buffer
}

#[test]
fn datagrams_come_and_go_in_both_families() {
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        for kind in [SocketKind::Listening, SocketKind::Relayed, SocketKind::Client] {
            let (mut hub, _, _, local) = echo(addr, kind);
            let peer = peer(local);
            peer.send(b"over and out").unwrap();
            peer.send(b"").unwrap();
            turn_until(&mut hub, |hub| hub.counters().sent == 2);
            assert_eq!(receive(&peer), b"over and out");
            assert_eq!(receive(&peer), b"");
        }
    }
}

#[test]
fn a_forwarded_run_loses_its_front_and_gains_a_prefix() {
    let (mut hub, _, _, local) = echo("127.0.0.1:0", SocketKind::Listening);
    hub.machine_mut().forward = true;
    hub.machine_mut().strip = 2;
    hub.machine_mut().prefix = Some(*b"head");
    let peer = peer(local);
    peer.send(b"--body").unwrap();
    turn_until(&mut hub, |hub| hub.counters().sent == 1);
    assert_eq!(receive(&peer), b"headbody");
}

#[test]
fn batches_larger_than_one_datagram_are_sent_and_received_whole() {
    let (mut far, _, far_socket, far_addr) = echo("127.0.0.1:0", SocketKind::Listening);
    let (mut near, _, _, near_addr) = echo("127.0.0.1:0", SocketKind::Listening);
    near.machine_mut().forward = true;
    near.machine_mut().prefix = Some([0x40, 0, 3, 0xe8]);
    // Forty segments and a short one in a single transmit; the far end is silent about what comes back.
    let bytes: Vec<u8> = (0..40_500u32).map(|index| (index / 1000) as u8).collect();
    far.machine_mut().send(far_socket, near_addr, 1000, bytes);
    far.turn(Instant::now());
    turn_until(&mut near, |near| near.counters().sent == 41);
    let forwarded = near.counters();
    assert!(near.machine().batches.iter().any(|&batch| batch > 1), "the kernel coalesced nothing");
    assert!(forwarded.send_calls < 41, "{forwarded:?}");

    turn_until(&mut far, |far| far.counters().received == 41);
    assert_eq!(far.machine().batches.iter().sum::<usize>(), 41);
    assert_eq!(forwarded.dropped_full + forwarded.dropped_error + forwarded.dropped_large, 0);
    assert_ne!(far_addr, near_addr);
}

#[test]
fn single_datagrams_that_go_the_same_way_leave_with_one_call() {
    let (mut hub, _, _, local) = echo("127.0.0.1:0", SocketKind::Relayed);
    hub.machine_mut().forward = true;
    hub.machine_mut().prefix = Some(*b"head");
    let (one, other) = (peer(local), peer(local));
    // A shorter one ends what goes together, and so does another receiver.
    let lengths = [100, 100, 100, 40, 100, 100, 300];
    lengths.iter().for_each(|&length| assert_eq!(one.send(&vec![1; length]).unwrap(), length));
    other.send(&[2; 300]).unwrap();
    one.send(&[3; 300]).unwrap();
    turn_until(&mut hub, |hub| hub.counters().sent == 9);
    assert_eq!(hub.counters().send_calls, 5, "{:?}", hub.counters());
    for length in lengths {
        assert_eq!(receive(&one), [&b"head"[..], &vec![1; length]].concat());
    }
    assert_eq!(receive(&other), [&b"head"[..], &[2; 300]].concat());
    assert_eq!(receive(&one), [&b"head"[..], &[3; 300]].concat());
}

#[test]
fn what_is_empty_without_its_front_is_forwarded_as_often_as_it_came() {
    let (mut hub, _, _, local) = echo("127.0.0.1:0", SocketKind::Relayed);
    hub.machine_mut().forward = true;
    hub.machine_mut().strip = 4;
    let peer = peer(local);
    for datagram in ["full body", "lone", "lone", "full tail"] {
        peer.send(datagram.as_bytes()).unwrap();
    }
    turn_until(&mut hub, |hub| hub.counters().sent == 4);
    for expected in [" body", "", "", " tail"] {
        assert_eq!(receive(&peer), expected.as_bytes());
    }
}

/// RFC 8656 §11.5.
#[test]
fn what_icmp_says_of_a_relayed_datagram_is_told_and_the_next_one_leaves_all_the_same() {
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let (mut hub, _, socket, local) = echo(addr, SocketKind::Relayed);
        let gone = UdpSocket::bind(addr).unwrap().local_addr().unwrap();
        let there = peer(local);
        hub.machine_mut().send(socket, gone, 4, b"lost".to_vec());
        hub.turn(Instant::now());
        // On loopback the answer of ICMP is there when the call returns.
        hub.machine_mut().send(socket, there.local_addr().unwrap(), 4, b"kept".to_vec());
        hub.turn(Instant::now());
        assert_eq!(receive(&there), b"kept");
        let told: Vec<_> = hub.machine().completions.iter().skip(1).collect();
        let wanted =
            Completion::TransportError { socket, peer: gone, kind: ErrorKind::ConnectionRefused, mtu: None };
        assert_eq!(told, [&wanted]);
        hub.machine_mut().send(socket, gone, 4, b"lost".to_vec());
        turn_until(&mut hub, |hub| hub.machine().completions.len() == 3);
        assert_eq!((hub.counters().transport_errors, hub.counters().dropped_error), (2, 0));
    }
}

#[test]
fn what_a_full_socket_does_not_take_waits_within_bounds() {
    let (mut hub, reactor, socket, local) = echo("127.0.0.1:0", SocketKind::Relayed);
    let peer = peer(local);
    reactor.full.set(true);
    let to = peer.local_addr().unwrap();
    for number in 0..2000u32 {
        let mut bytes = vec![0; 1000];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        hub.machine_mut().send(socket, to, 1000, bytes);
    }
    while hub.turn(Instant::now()).more {}
    assert_eq!(reactor.wanted.get(), 1);
    let dropped = hub.counters().dropped_full;
    assert!((1000..2000).contains(&dropped), "{dropped}");
    assert_eq!(hub.counters().sent, 0);

    reactor.full.set(false);
    hub.mark_writable(socket);
    hub.turn(Instant::now());
    assert_eq!(hub.counters().sent, 2000 - dropped);
    assert_eq!(reactor.wanted.get(), 0);
    assert_eq!(receive(&peer)[..4], 0u32.to_be_bytes());
    assert_eq!(receive(&peer)[..4], 1u32.to_be_bytes());
}

#[test]
fn a_full_client_socket_holds_its_machine_back() {
    let (mut hub, reactor, socket, local) = echo("127.0.0.1:0", SocketKind::Client);
    let to = peer(local).local_addr().unwrap();
    reactor.full.set(true);
    for _ in 0..2000 {
        hub.machine_mut().send(socket, to, 1000, vec![0; 1000]);
    }
    assert!(!hub.turn(Instant::now()).more);
    assert_eq!(hub.counters().dropped_full, 0);
    reactor.full.set(false);
    hub.mark_writable(socket);
    while hub.turn(Instant::now()).more {}
    assert_eq!((hub.counters().sent, hub.counters().dropped_full), (2000, 0));
}

#[test]
fn a_socket_closed_while_full_holds_nobody_back() {
    let (mut hub, reactor, socket, local) = echo("127.0.0.1:0", SocketKind::Client);
    let to = peer(local).local_addr().unwrap();
    reactor.full.set(true);
    hub.machine_mut().send(socket, to, 4, b"lost".to_vec());
    hub.turn(Instant::now());
    reactor.full.set(false);
    hub.machine_mut().ask(Effect::Unbind { socket });
    let other = hub.machine_mut().bind("127.0.0.1:0", SocketKind::Client);
    hub.machine_mut().send(other, to, 4, b"sent".to_vec());
    hub.turn(Instant::now());
    hub.turn(Instant::now());
    assert_eq!(hub.counters().sent, 1);
    assert_eq!(reactor.registered.get(), 1);
}

#[test]
fn a_taken_port_is_the_answer_to_the_bind() {
    let (mut hub, _, _, local) = echo("127.0.0.1:0", SocketKind::Listening);
    let second = hub.machine_mut().bind(&local.to_string(), SocketKind::Listening);
    hub.turn(Instant::now());
    assert_eq!(hub.machine().bound(second), Err(ErrorKind::AddrInUse));
}

#[test]
fn port_zero_and_the_other_family_are_dropped_without_harm_to_the_socket() {
    let (mut hub, _, socket, local) = echo("127.0.0.1:0", SocketKind::Listening);
    for to in ["127.0.0.1:0", "[::1]:9"] {
        hub.machine_mut().send(socket, to.parse().unwrap(), 1, vec![1, 2]);
    }
    hub.machine_mut().send(SocketId::new(7, 7), local, 1, vec![1]);
    hub.turn(Instant::now());
    let counters = hub.counters();
    assert_eq!((counters.dropped_unsendable, counters.dropped_unbound, counters.sent), (4, 1, 0));
}

#[test]
fn a_late_completion_reaches_the_machine_and_nothing_else() {
    let (mut hub, _, socket, _) = echo("127.0.0.1:0", SocketKind::Client);
    hub.machine_mut().ask(Effect::Unbind { socket });
    hub.turn(Instant::now());
    hub.mark_readable(socket);
    hub.mark_writable(socket);
    let late = Completion::Dialled { pipe: PipeId::new(3, 9), result: Err(ErrorKind::TimedOut) };
    hub.complete(Instant::now(), late.clone());
    assert!(!hub.turn(Instant::now()).more);
    assert_eq!(hub.machine().completions.last(), Some(&late));
}

#[test]
fn requests_are_handed_to_the_runtime() {
    let mut hub = Hub::new(Echo::default(), Direct::default(), Instant::now());
    let query = QueryId::new(1, 1);
    hub.machine_mut().ask(Effect::Resolve { query, host: "db.internal".into() });
    hub.turn(Instant::now());
    assert_eq!(hub.take_requests(), [Request::Resolve { query, host: "db.internal".into() }]);
    assert_eq!(hub.take_requests(), []);
}

#[test]
fn lost_events_leave_a_mark() {
    let mut hub = Hub::new(Echo::default(), Direct::default(), Instant::now());
    (0..3000).for_each(|number| hub.machine_mut().tell(number));
    hub.turn(Instant::now());
    assert_eq!(news(&mut hub), Some(Notice::Lost(1976)));
    assert_eq!(news(&mut hub), Some(Notice::Event(1976)));
    assert_eq!(hub.counters().events_lost, 1976);
}

#[test]
fn a_deadline_is_reported_and_kept() {
    let mut hub = Hub::new(Echo::default(), Direct::default(), Instant::now());
    let at = Instant::now() + Duration::from_secs(60);
    hub.machine_mut().deadline = Some(at);
    assert_eq!(hub.turn(at - Duration::from_secs(1)).deadline, Some(at));
    assert_eq!(news(&mut hub), None);
    assert_eq!(hub.turn(at).deadline, None);
    assert_eq!(news(&mut hub), Some(Notice::Event(99)));
}

#[test]
fn a_step_of_the_wall_clock_reaches_the_machine() {
    let now = Instant::now();
    let mut hub = Hub::new(Echo::default(), Direct::default(), now);
    hub.compare_clocks(now, adit_driver::unix());
    assert_eq!(hub.machine().clock, None);
    hub.compare_clocks(now, Duration::from_secs(4_000_000_000));
    assert_eq!(hub.machine().clock, Some(UnixTime(4_000_000_000)));
    assert_eq!(hub.counters().clock_steps, 1);
}

#[test]
fn a_flood_does_not_keep_a_turn_from_ending() {
    let (mut hub, _, _, local) = echo("127.0.0.1:0", SocketKind::Relayed);
    let peer = peer(local);
    let mut turns = 0;
    for _ in 0..300 {
        peer.send(b"x").unwrap();
    }
    turn_until(&mut hub, |hub| {
        turns += 1;
        hub.counters().received >= 200
    });
    assert!(turns > 1);
    turn_marked(&mut hub);
}

#[test]
fn closing_gives_the_sockets_back() {
    let (mut hub, reactor, _, local) = echo("127.0.0.1:0", SocketKind::Listening);
    hub.close();
    assert_eq!(reactor.registered.get(), 0);
    assert!(UdpSocket::bind(local).is_ok());
    hub.turn(Instant::now());
}
