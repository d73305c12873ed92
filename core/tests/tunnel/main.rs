//! Pipes from a connector through a relay and a gateway to targets: how they open, end and fail.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod anything;
mod connections;
mod permits;
mod pki;
mod relays;
mod renewal;
mod revoked;
mod stranger;
mod strangers;
mod world;

use std::io::ErrorKind;

use adit_core::connector::Failure;
use adit_core::gateway;
use adit_core::io::{Completion, Direction, Read, Write};
use adit_core::tunnel::RejectCode;
use world::{Dialled, Node, SECOND, Setup, World, addr, noise};

const ECHO: &str = "tcp://10.0.0.1:7";
const NAMED: &str = "tcp://echo.internal:7";

// --- opening -------------------------------------------------------------------------------------------------

#[test]
fn bytes_go_both_ways_and_each_end_is_told() {
    let mut world = World::ready();
    let (here, there) = world.open(ECHO);
    assert_eq!(world.dials[0].1, addr("10.0.0.1:7"));
    let sent = noise(300_000);
    world.transfer((Node::Connector, here), (Node::Gateway, there), &sent);
    world.transfer((Node::Gateway, there), (Node::Connector, here), &sent);

    // Half-close, one way and then the other.
    world.finish(Node::Connector, here);
    world.live(SECOND);
    assert_eq!(world.read_all(Node::Gateway, there), (vec![], Read::Finished));
    assert_eq!(world.read(Node::Connector, here, &mut [0; 9]), Read::Blocked);
    world.transfer((Node::Gateway, there), (Node::Connector, here), b"after the end of the other way");
    world.finish(Node::Gateway, there);
    world.live(SECOND);
    assert!(world.was_woken(Node::Connector, here, Direction::Read));
    assert_eq!(world.read_all(Node::Connector, here), (vec![], Read::Finished));

    world.close(Node::Gateway, there);
    world.close(Node::Connector, here);
    world.live(SECOND);
    assert_eq!((world.gateway.pipes(), world.connector.pipes()), (0, 0));
}

#[test]
fn the_target_may_finish_first() {
    let mut world = World::ready();
    let (here, there) = world.open(ECHO);
    assert_eq!(world.read(Node::Connector, here, &mut [0; 9]), Read::Blocked);
    assert_eq!(world.write(Node::Gateway, there, b"bye"), Write::Accepted(3));
    world.finish(Node::Gateway, there);
    world.live(SECOND);
    assert!(world.was_woken(Node::Connector, here, Direction::Read));
    assert_eq!(world.read_all(Node::Connector, here), (b"bye".to_vec(), Read::Finished));
    world.transfer((Node::Connector, here), (Node::Gateway, there), b"still listening");
}

#[test]
fn early_data_waits_behind_open() {
    let mut world = World::ready();
    world.dialling.insert(addr("10.0.0.1:7"), Dialled::Later);
    let here = world.try_open(ECHO);
    world.live(SECOND);
    assert_eq!(world.write(Node::Connector, here, b"early"), Write::Accepted(5));
    world.finish(Node::Connector, here);
    world.live(SECOND);
    let there = world.dials[0].0;
    assert!(!world.is_open(here));
    world.complete(Completion::Dialled { pipe: there, result: Ok(addr("10.0.0.1:7")) });
    assert_eq!(world.read_all(Node::Gateway, there), (b"early".to_vec(), Read::Finished));
    world.live(SECOND);
    assert!(world.is_open(here));
}

/// A reset overtakes ACCEPT, which is nobody's fault.
#[test]
fn a_target_that_hangs_up_at_once_breaks_no_protocol() {
    let mut world = World::ready();
    world.dialling.insert(addr("10.0.0.1:7"), Dialled::Later);
    let here = world.try_open(ECHO);
    world.live(SECOND);
    let there = world.dials[0].0;
    let dialled = Completion::Dialled { pipe: there, result: Ok(addr("10.0.0.1:7")) };
    world.gateway.handle_completion(world.now, dialled);
    world.close(Node::Gateway, there);
    world.live(SECOND);
    assert_eq!(world.failure(here), Some(Failure::Reset));
    assert!(Failure::Reset.is_retryable());
    assert_eq!((world.gateway.pipes(), world.connector.pipes()), (0, 0));
}

#[test]
fn a_target_that_the_application_serves_needs_no_rule_and_no_name() {
    let served = |config: &mut gateway::Config| {
        config.targets = config.targets.clone().serving(["tcp://here:1".parse().unwrap()]);
    };
    let mut world = World::ready_with(Setup { gateway: served, ..Setup::default() });
    world.resolves = false;
    let (_, there) = world.open("tcp://here:1");
    assert_eq!(world.dials[0].1, addr("0.0.0.0:1"));
    let (peer, target) = world.gateway.wish(there).unwrap();
    assert!(peer.role.connects());
    assert_eq!(target.to_string(), "tcp://here:1");
    assert_eq!(world.refusal("tcp://here:2"), RejectCode::Denied);
}

#[test]
fn a_writer_that_waits_for_the_connection_is_woken() {
    let mut world = World::ready();
    let here = world.try_open(ECHO);
    assert_eq!(world.write(Node::Connector, here, b"too early"), Write::Blocked);
    world.live(SECOND);
    assert!(world.was_woken(Node::Connector, here, Direction::Write));
    assert_eq!(world.write(Node::Connector, here, b"now"), Write::Accepted(3));
}

#[test]
fn many_pipes_share_one_connection() {
    let mut world = World::ready();
    for _ in 0..200 {
        world.try_open(ECHO);
    }
    world.live(3 * SECOND);
    assert_eq!((world.gateway.pipes(), world.connector.pipes(), world.gateway.connections()), (200, 200, 1));
}

#[test]
fn streams_beyond_the_credit_wait_for_it() {
    let mut world = World::ready_with(Setup {
        gateway: |config| config.quic.max_streams = 2, // one of them is the control stream
        ..Setup::default()
    });
    let (first, at_gateway) = world.open(ECHO);
    let second = world.try_open(ECHO);
    world.live(SECOND);
    assert!(!world.is_open(second) && world.failure(second).is_none());
    world.close(Node::Connector, first);
    world.live(SECOND);
    world.close(Node::Gateway, at_gateway);
    // quinn-proto gives credit with the next packet that it receives; keep-alive sees to one.
    world.live(6 * SECOND);
    assert!(world.is_open(second));
}

// --- targets -------------------------------------------------------------------------------------------------

#[test]
fn each_refusal_has_its_code() {
    let mut world = World::ready();
    assert_eq!(world.refusal("tcp://10.0.0.2:7"), RejectCode::Denied);
    assert_eq!(world.refusal("tcp://10.0.0.1:8"), RejectCode::Denied);
    for (kind, code) in [
        (ErrorKind::ConnectionRefused, RejectCode::Refused),
        (ErrorKind::HostUnreachable, RejectCode::Unreachable),
        (ErrorKind::NetworkUnreachable, RejectCode::Unreachable),
        (ErrorKind::TimedOut, RejectCode::TimedOut),
    ] {
        world.dialling.insert(addr("10.0.0.1:7"), Dialled::Fails(kind));
        assert_eq!(world.refusal(ECHO), code);
    }
    assert_eq!(world.refusal(NAMED), RejectCode::Dns);
    world.live(SECOND);
    assert_eq!((world.gateway.pipes(), world.connector.pipes()), (0, 0));
    assert_eq!(world.gateway.connections(), 1, "a refusal costs no connection");
}

#[test]
fn a_name_is_dialled_at_its_allowed_addresses_in_turn() {
    let mut world = World::ready();
    let ips = ["127.0.0.1", "10.0.0.8", "10.0.0.9"].map(|ip| ip.parse().unwrap());
    world.names.insert("echo.internal".into(), ips.to_vec());
    world.dialling.insert(addr("10.0.0.8:7"), Dialled::Fails(ErrorKind::ConnectionRefused));
    world.open(NAMED);
    let dialled: Vec<_> = world.dials.iter().map(|dial| dial.1).collect();
    assert_eq!(dialled, [addr("10.0.0.8:7"), addr("10.0.0.9:7")]);

    world.names.insert("echo.internal".into(), ips[..1].to_vec());
    assert_eq!(world.refusal(NAMED), RejectCode::Denied);
}

#[test]
fn an_address_that_swallows_everything_leaves_time_for_the_next() {
    let mut world = World::ready();
    world
        .names
        .insert("echo.internal".into(), ["10.0.0.8", "10.0.0.9"].map(|ip| ip.parse().unwrap()).to_vec());
    world.dialling.insert(addr("10.0.0.8:7"), Dialled::Later);
    let here = world.try_open(NAMED);
    world.live(SECOND);
    let (there, _, timeout) = world.dials[0];
    world.live(timeout);
    world.complete(Completion::Dialled { pipe: there, result: Err(ErrorKind::TimedOut) });
    world.live(SECOND);
    assert!(world.is_open(here), "{:?}", world.dials);
}

#[test]
fn a_pipe_whose_time_is_over_is_not_dialled_again() {
    let mut world = World::ready();
    world
        .names
        .insert("echo.internal".into(), ["10.0.0.8", "10.0.0.9"].map(|ip| ip.parse().unwrap()).to_vec());
    world.dialling.insert(addr("10.0.0.8:7"), Dialled::Later);
    let here = world.try_open(NAMED);
    world.live(20 * SECOND);
    let there = world.dials[0].0;
    world.complete(Completion::Dialled { pipe: there, result: Err(ErrorKind::TimedOut) });
    world.live(SECOND);
    assert!(matches!(world.failure(here), Some(Failure::Rejected { code: RejectCode::TimedOut, .. })));
    assert_eq!(world.dials.len(), 1);
}

#[test]
fn a_certificate_that_names_targets_opens_no_other() {
    let certified = Some(vec![ECHO.to_owned()]);
    let mut world =
        World::ready_with(Setup { certified, targets: vec!["tcp://10.0.0.0/8:*"], ..Setup::default() });
    world.open(ECHO);
    assert_eq!(world.refusal("tcp://10.0.0.2:7"), RejectCode::Denied);
    assert_eq!(world.refusal("tcp://10.0.0.1:8"), RejectCode::Denied);
}

#[test]
fn more_streams_than_the_gateway_takes_are_busy() {
    let mut world = World::ready_with(Setup { gateway: |config| config.max_streams = 1, ..Setup::default() });
    let (here, there) = world.open(ECHO);
    assert_eq!(world.refusal(ECHO), RejectCode::Busy);
    world.close(Node::Connector, here);
    world.close(Node::Gateway, there);
    world.live(SECOND);
    world.open(ECHO);
}

#[test]
fn an_expired_certificate_opens_nothing_and_ends_nothing() {
    let mut world = World::ready_with(Setup { life: 60 * SECOND, ..Setup::default() });
    let (here, there) = world.open(ECHO);
    world.live(61 * SECOND);
    assert_eq!(world.refusal(ECHO), RejectCode::Draining);
    world.transfer((Node::Connector, here), (Node::Gateway, there), b"goes on");
}

// --- how pipes end -------------------------------------------------------------------------------------------

#[test]
fn a_reader_that_leaves_wakes_the_writer() {
    for (here, there) in [(Node::Connector, Node::Gateway), (Node::Gateway, Node::Connector)] {
        let mut world = World::ready();
        let (connector, gateway) = world.open(ECHO);
        let of = |node| if node == Node::Gateway { gateway } else { connector };
        // The writer fills all windows.
        while let Write::Accepted(_) = world.write(here, of(here), &[7; 65_536]) {
            world.live(SECOND / 100);
        }
        world.live(SECOND);
        world.wakes.clear();
        world.close(there, of(there));
        world.live(SECOND);
        assert!(world.was_woken(here, of(here), Direction::Write));
        assert_eq!(world.write(here, of(here), b"x"), Write::Closed);
        assert_eq!(world.read(here, of(here), &mut [0; 9]), Read::Reset);
    }
}

#[test]
fn who_only_waits_to_write_hears_that_the_reader_left() {
    let mut world = World::ready();
    let (here, there) = world.open(ECHO);
    assert_eq!(world.write(Node::Gateway, there, b""), Write::Blocked);
    world.wakes.clear();
    world.close(Node::Connector, here);
    world.live(SECOND);
    assert!(world.was_woken(Node::Gateway, there, Direction::Write));
    assert_eq!(world.write(Node::Gateway, there, b""), Write::Closed);
}

#[test]
fn a_connection_that_is_lost_wakes_everybody() {
    let mut world = World::ready();
    let (here, there) = world.open(ECHO);
    world.wakes.clear();
    world.silent.insert(Node::Connector);
    world.live(120 * SECOND);
    for (node, pipe) in [(Node::Connector, here), (Node::Gateway, there)] {
        assert!(world.was_woken(node, pipe, Direction::Read));
        assert!(world.was_woken(node, pipe, Direction::Write));
        assert_eq!(world.read(node, pipe, &mut [0; 9]), Read::Reset);
        assert_eq!(world.write(node, pipe, b"x"), Write::Closed);
        world.close(node, pipe);
        world.close(node, pipe);
    }
    assert_eq!((world.gateway.pipes(), world.connector.pipes()), (0, 0));
    assert_eq!(world.gateway.connections(), 0);
    world.silent.clear();
    world.open(ECHO);
}

#[test]
fn a_dial_that_outlives_its_connection_leads_nowhere() {
    let mut world = World::ready();
    world
        .names
        .insert("echo.internal".into(), ["10.0.0.8", "10.0.0.9"].map(|ip| ip.parse().unwrap()).to_vec());
    world.dialling.insert(addr("10.0.0.8:7"), Dialled::Later);
    let here = world.try_open(NAMED);
    world.live(SECOND);
    world.connector.close(world.now);
    world.live(SECOND);
    assert!(matches!(world.failure(here), Some(Failure::ConnectionLost(_))));
    let there = world.dials[0].0;
    world.complete(Completion::Dialled { pipe: there, result: Err(ErrorKind::ConnectionRefused) });
    world.live(SECOND);
    assert_eq!(world.dials.len(), 1);
    assert_eq!(world.gateway.pipes(), 0);
}

#[test]
fn cancelled_pipes_cost_no_credit() {
    let mut world =
        World::ready_with(Setup { gateway: |config| config.quic.max_streams = 4, ..Setup::default() });
    for _ in 0..20 {
        let (here, there) = world.open(ECHO);
        world.write(Node::Gateway, there, b"unread");
        world.close(Node::Connector, here);
        world.live(SECOND);
        world.close(Node::Gateway, there);
        world.live(SECOND);
    }
    assert_eq!(world.gateway.connections(), 1);
}

#[test]
fn refused_pipes_cost_no_credit() {
    let mut world =
        World::ready_with(Setup { gateway: |config| config.quic.max_streams = 4, ..Setup::default() });
    for _ in 0..20 {
        assert_eq!(world.refusal("tcp://10.0.0.2:7"), RejectCode::Denied);
    }
    world.open(ECHO);
}

#[test]
fn a_connector_that_gives_no_room_for_an_answer_keeps_no_stream() {
    let mut world = World::ready_with(Setup {
        gateway: |config| config.max_streams = 1,
        connector: |config| {
            config.quic.stream_window = 0;
            config.open_timeout = 1_000 * SECOND;
        },
        ..Setup::default()
    });
    world.try_open("tcp://10.0.0.2:7");
    world.live(11 * SECOND);
    world.try_open(ECHO);
    world.live(SECOND);
    assert_eq!(world.dials.len(), 1, "{:?}", world.at_gateway);
}
