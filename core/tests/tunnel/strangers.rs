//! A gateway and connectors that do not keep to the protocol, or leave at the wrong moment.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use adit_core::io::{Completion, Read, Write};
use adit_core::quic::{CloseReason, StreamId};
use adit_core::tunnel::{Code, Frame, Open, RejectCode, encode};

use super::world::{Dialled, Node, SECOND, Setup, World, addr, target};
use super::{ECHO, NAMED};

fn open(to: &str) -> Vec<u8> {
    let deadline = Duration::from_secs(30);
    encode(&Frame::Open(Open { target: target(to), deadline, trace: None }))
}

fn ping() -> Vec<u8> {
    encode(&Frame::Ping([1; 8]))
}

fn permit(peers: &[&str], seconds: u64) -> Vec<u8> {
    let peers = peers.iter().map(|ip| ip.parse().unwrap()).collect();
    encode(&Frame::Permit { peers, lifetime: Duration::from_secs(seconds) })
}

/// A world with a stranger whose connection stands and whose control stream is open.
fn met() -> World {
    met_with(Setup::default())
}

fn met_with(setup: Setup) -> World {
    let mut world = World::ready_with(setup);
    world.meet_stranger();
    world.live(SECOND);
    let control = world.stranger().open(&ping());
    world.live(SECOND);
    let (frames, end) = world.stranger().frames(control);
    assert!(matches!(frames[..], [Frame::Paths(_), Frame::Pong(_)]), "{frames:?}");
    assert_eq!(end, Read::Blocked);
    world
}

fn closed_with(world: &mut World, code: Code) -> bool {
    world.live(SECOND);
    let closed = world.stranger().closed.clone();
    matches!(closed, Some(CloseReason::PeerClosed { code: with, .. }) if with == code as u64)
}

/// The control stream: the first that a connector opens.
fn control() -> StreamId {
    StreamId::new(quinn_proto::Side::Client, quinn_proto::Dir::Bi, 0)
}

/// The answer on a stream: the code of REJECT.
fn rejected(world: &mut World, stream: StreamId) -> Option<RejectCode> {
    match world.stranger().frames(stream) {
        (frames, Read::Finished) => match frames[..] {
            [Frame::Reject { code, .. }] => Some(code),
            _ => None,
        },
        _ => None,
    }
}

#[test]
fn what_may_not_stand_on_the_control_stream_ends_the_connection() {
    for (bytes, code) in [
        (permit(&["10.0.0.9"], 60), Code::PermitRefused),
        (open(ECHO), Code::Protocol),
        (encode(&Frame::Paths(vec![])), Code::Protocol),
        (vec![0, 0], Code::Protocol),
    ] {
        let mut world = met();
        world.stranger().write(control(), &bytes);
        assert!(closed_with(&mut world, code), "{:?}", world.stranger().closed);
        assert_eq!(world.gateway.connections(), 0);
    }
}

#[test]
fn the_control_stream_ends_with_the_connection_only() {
    let mut world = met();
    world.stranger().finish(control());
    assert!(closed_with(&mut world, Code::Protocol));
    let mut world = met();
    world.stranger().stop(control());
    assert!(closed_with(&mut world, Code::Protocol));
}

#[test]
fn a_stream_that_does_not_begin_with_open_is_a_bad_request() {
    let mut world = met();
    for bytes in [ping(), vec![9, 0], encode(&Frame::Accept(addr("10.0.0.1:7")))] {
        let stream = world.stranger().open(&bytes);
        world.live(SECOND);
        assert_eq!(rejected(&mut world, stream), Some(RejectCode::BadRequest));
        assert!(world.stranger().stopped.contains(&stream));
    }
    assert!(world.dials.is_empty());
}

#[test]
fn a_stream_that_says_nothing_is_given_up() {
    let mut world = met();
    let silent = world.stranger().open(&[]);
    let slow = world.stranger().open(&open(ECHO)[..5]);
    let ended = world.stranger().open(&open(ECHO)[..5]);
    world.stranger().finish(ended);
    world.live(SECOND);
    assert_eq!(world.stranger().frames(ended), (vec![], Read::Reset));
    world.live(35 * SECOND);
    assert_eq!(rejected(&mut world, silent), Some(RejectCode::BadRequest), "those behind it tell of it");
    assert_eq!(rejected(&mut world, slow), Some(RejectCode::BadRequest));
}

#[test]
fn an_open_in_pieces_is_whole_in_the_end() {
    let mut world = met();
    let bytes = open(ECHO);
    let stream = world.stranger().open(&bytes[..1]);
    for byte in &bytes[1..] {
        world.live(SECOND / 10);
        world.stranger().write(stream, &[*byte]);
    }
    world.stranger().write(stream, b"and data");
    world.live(SECOND);
    assert!(matches!(world.stranger().frames(stream).0[..], [Frame::Accept(_)]));
    let there = world.dials[0].0;
    assert_eq!(world.read_all(Node::Gateway, there), (b"and data".to_vec(), Read::Blocked));
}

#[test]
fn a_deadline_of_nothing_is_over_at_once() {
    let mut world = met();
    let open = Open { target: target(ECHO), deadline: Duration::ZERO, trace: None };
    let stream = world.stranger().open(&encode(&Frame::Open(open)));
    world.live(SECOND);
    assert_eq!(rejected(&mut world, stream), Some(RejectCode::TimedOut));
    assert_eq!(world.gateway.pipes(), 0);
}

#[test]
fn who_leaves_while_a_name_is_resolved_leaves_nothing_behind() {
    for whole_connection in [false, true] {
        let mut world = met();
        world.resolves = false;
        let stream = world.stranger().open(&open(NAMED));
        world.live(SECOND);
        let now = world.now;
        match whole_connection {
            true => world.stranger().leave(now),
            false => world.stranger().stop(stream),
        }
        world.live(SECOND);
        let query = world.queries.pop().unwrap();
        let result = Ok(vec!["10.0.0.8".parse().unwrap()]);
        world.complete(Completion::Resolved { query, result });
        world.live(SECOND);
        assert!(world.dials.is_empty());
        assert_eq!(world.gateway.pipes(), 0);
    }
}

#[test]
fn who_leaves_while_a_target_is_dialled_leaves_nothing_behind() {
    for whole_connection in [false, true] {
        for result in [Ok(addr("10.0.0.1:7")), Err(ErrorKind::ConnectionRefused)] {
            let mut world = met();
            world.dialling.insert(addr("10.0.0.1:7"), Dialled::Later);
            let stream = world.stranger().open(&open(ECHO));
            world.live(SECOND);
            let now = world.now;
            match whole_connection {
                true => world.stranger().leave(now),
                false => world.stranger().stop(stream),
            }
            world.live(SECOND);
            let pipe = world.dials[0].0;
            world.complete(Completion::Dialled { pipe, result });
            world.live(SECOND);
            if result.is_ok() {
                assert_eq!(world.write(Node::Gateway, pipe, b""), Write::Closed);
                world.close(Node::Gateway, pipe);
            }
            assert_eq!(world.gateway.pipes(), 0);
        }
    }
}

#[test]
fn answers_that_nobody_reads_do_not_pile_up() {
    let mut world = met();
    let pings = ping().repeat(2_000);
    for _ in 0..100 {
        let conn = world.stranger().conn();
        let _ = world.stranger().quic.write(conn, control(), &pings);
        world.live(SECOND / 10);
    }
    // Once they are read, all goes on.
    for _ in 0..200 {
        world.stranger().frames(control());
        world.live(SECOND / 10);
    }
    world.stranger().write(control(), &ping());
    world.live(SECOND);
    assert!(matches!(world.stranger().frames(control()).0[..], [Frame::Pong(_)]));
}

#[test]
fn noise_from_many_ports_takes_no_channels() {
    let mut world = World::ready();
    let relayed = world.gateway.addresses()[0];
    let mut unknown_version = [0xc3; 1200];
    (unknown_version[5], unknown_version[14]) = (8, 8);
    let before = world.carried;
    for port in 1..=1_000 {
        let from = SocketAddr::new([8, 0, 0, 7].into(), port);
        world.inject(from, relayed, &[0x40; 20]);
        world.inject(from, relayed, &unknown_version);
        world.live(SECOND / 100);
    }
    world.live(SECOND);
    // Twice each by way of the relay; the second is answered with the version of QUIC that is spoken, and the first is
    // too short for an answer.
    assert_eq!(world.carried - before, 6_000);
    world.open(ECHO);
}
