//! Certificates that count no more, or count otherwise than before.

use std::net::IpAddr;
use std::time::Duration;

use adit_core::connector::{self, ConnectError, Failure};
use adit_core::gateway::{Cause, Event};
use adit_core::io::Read;
use adit_core::pki::Revoked;
use adit_core::quic::CloseReason;
use adit_core::time::UnixTime;
use adit_core::tunnel::{Code, Frame, RejectCode, encode};

use super::ECHO;
use super::pki::{SERIAL, identity};
use crate::world::{Node, SECOND, Setup, UNIX, World, connector_ip};

const HOUR: Duration = Duration::from_secs(3600);

/// A person whose certificate lives for an hour and names one target.
fn a_person() -> Setup {
    Setup {
        role: "person/ada",
        certified: Some(vec![ECHO.to_owned()]),
        targets: vec!["tcp://10.0.0.0/8:*"],
        life: HOUR,
        ..Setup::default()
    }
}

fn closed_because(world: &World, cause: Cause) -> bool {
    let closed = |event: &Event| matches!(event, Event::Disconnected { cause: Some(of), .. } if *of == cause);
    world.at_gateway.iter().any(closed)
}

// --- revoked -------------------------------------------------------------------------------------------------

#[test]
fn who_is_revoked_is_sent_away_at_once_and_does_not_come_back() {
    let by_serial = Revoked::new([SERIAL.as_bytes().to_vec()], []);
    let by_name = Revoked::new([], [identity("connector/c")]);
    for revoked in [by_serial, by_name] {
        let mut world = World::ready();
        let (here, there) = world.open(ECHO);
        world.gateway.set_revoked(world.now, revoked);
        world.live(SECOND / 10);
        assert!(closed_because(&world, Cause::Revoked));
        assert_eq!(world.read_all(Node::Connector, here).1, Read::Reset);
        assert_eq!(world.read_all(Node::Gateway, there).1, Read::Reset);

        let again = world.try_open(ECHO);
        world.live(SECOND);
        assert!(!world.failure(again).unwrap().is_retryable());
        let Some(Failure::NotConnected(ConnectError::Closed { reason, .. })) = world.failure(again) else {
            panic!("{:?}", world.failure(again))
        };
        let words = CloseReason::PeerClosed { code: Code::Revoked as u64, reason: "revoked".into() };
        assert_eq!(reason, words);
        let peer = identity("connector/c");
        assert!(world.at_gateway.contains(&Event::TurnedAway { peer, cause: Cause::Revoked }));
        assert!(!world.at_gateway.iter().any(|event| matches!(event, Event::Refused { .. })));
        assert_eq!(world.dials.len(), 1);

        world.gateway.set_revoked(world.now, Revoked::default());
        world.open(ECHO);
    }
}

#[test]
fn others_notice_nothing_of_a_revocation() {
    let mut world = World::ready();
    let (here, there) = world.open(ECHO);
    world.gateway.set_revoked(world.now, Revoked::new([vec![1, 2, 3]], [identity("connector/d")]));
    world.transfer((Node::Connector, here), (Node::Gateway, there), b"goes on");
}

#[test]
fn a_revoked_platform_takes_its_permits_along() {
    let mut world = World::ready_with(Setup { gateway: |config| config.platform = true, ..Setup::default() });
    world.meet_stranger_as("platform/a", connector_ip());
    world.live(SECOND);
    let elsewhere: IpAddr = [8, 0, 0, 8].into();
    let permit = Frame::Permit { peers: vec![elsewhere], lifetime: HOUR };
    world.stranger().open(&encode(&permit));
    world.live(SECOND);
    world.meet_stranger_as("connector/d", elsewhere);
    world.live(SECOND);
    assert!(world.stranger().closed.is_none());
    world.gateway.set_revoked(world.now, Revoked::new([], [identity("platform/a")]));
    world.live(SECOND);
    assert!(matches!(
        world.stranger().closed,
        Some(CloseReason::PeerClosed { code, .. }) if code == Code::NotPermitted as u64
    ));
}

// --- who is connected ----------------------------------------------------------------------------------------

#[test]
fn a_gateway_tells_who_is_connected() {
    let mut world = World::ready_with(Setup { relays: 2, life: HOUR, ..Setup::default() });
    world.set_addresses(vec![world.gateway.addresses()[1]]);
    let since = world.now;
    world.open(ECHO);
    world.open(ECHO);
    let peers = world.gateway.peers();
    let [peer] = &peers[..] else { panic!("{peers:?}") };
    assert_eq!(peer.identity, identity("connector/c"));
    assert_eq!(peer.serial, SERIAL.as_bytes());
    assert_eq!(peer.not_after, UnixTime(UNIX.0 + 3600));
    assert_eq!((peer.address.ip(), peer.relay, peer.streams), (connector_ip(), 1, 2));
    assert!(peer.since >= since && peer.since < since + SECOND);
}

// --- renewed -------------------------------------------------------------------------------------------------

#[test]
fn a_new_configuration_is_for_new_connections() {
    let mut world = World::ready_with(Setup { relays: 2, ..Setup::default() });
    let (here, there) = world.open(ECHO);
    let wall = world.gateway.wall().clone();
    world.gateway.set_tls(world.now, world.pki.distrustful(wall.clone(), UNIX)).unwrap();
    world.transfer((Node::Connector, here), (Node::Gateway, there), b"goes on");
    world.meet_stranger();
    world.live(SECOND);
    assert!(matches!(world.stranger().closed, Some(CloseReason::TlsRefusedByPeer { .. })));

    let (_, tls) = world.pki.gateway(UNIX, 24 * HOUR);
    world.gateway.set_tls(world.now, tls).unwrap();
    world.meet_stranger();
    world.live(SECOND);
    assert_eq!(world.stranger().closed, None);
    world.transfer((Node::Gateway, there), (Node::Connector, here), b"and on");
}

// --- run out -------------------------------------------------------------------------------------------------

#[test]
fn a_person_opens_exactly_what_the_certificate_names_and_the_gateway_allows() {
    let named = ["tcp://10.0.0.1:7", "tcp://10.0.0.2:7", "tcp://192.168.0.1:7"].map(str::to_owned);
    let mut world = World::ready_with(Setup { certified: Some(named.to_vec()), ..a_person() });
    world.open(ECHO);
    world.open("tcp://10.0.0.2:7");
    for other in ["tcp://10.0.0.1:8", "tcp://10.0.0.3:7", "tcp://192.168.0.1:7", "tcp://echo.internal:7"] {
        assert_eq!(world.refusal(other), RejectCode::Denied, "{other}");
    }
    assert_eq!(world.dials.len(), 2);
}

#[test]
fn a_person_s_connection_ends_two_hours_after_the_certificate() {
    let mut world = World::ready_with(a_person());
    let (here, there) = world.open(ECHO);
    world.live(HOUR);
    assert_eq!(world.refusal(ECHO), RejectCode::Draining);
    world.live(2 * HOUR - 60 * SECOND);
    world.transfer((Node::Connector, here), (Node::Gateway, there), b"goes on");
    assert!(!closed_because(&world, Cause::Expired));
    world.live(60 * SECOND);
    assert!(closed_because(&world, Cause::Expired));
    assert_eq!(world.read_all(Node::Gateway, there).1, Read::Reset);
    let told = |event: &connector::Event| {
        matches!(event, connector::Event::Disconnected { reason: CloseReason::PeerClosed { code, .. }, .. }
            if *code == Code::Expired as u64)
    };
    assert!(world.at_connector.iter().any(told), "{:?}", world.at_connector);
}

#[test]
fn a_clock_that_is_set_moves_the_end_with_it() {
    let mut world = World::ready_with(a_person());
    let (_, there) = world.open(ECHO);
    world.gateway.handle_clock(world.now, UnixTime(UNIX.0 + 2 * 3600));
    world.live(SECOND);
    world.gateway.handle_clock(world.now, UnixTime(UNIX.0 + 2 * 3600 + 1));
    world.live(HOUR - 5 * SECOND);
    assert!(!closed_because(&world, Cause::Expired));
    world.live(10 * SECOND);
    assert!(closed_because(&world, Cause::Expired));
    assert_eq!(world.read_all(Node::Gateway, there).1, Read::Reset);
}

#[test]
fn a_stream_gets_as_old_as_it_may() {
    let mut world =
        World::ready_with(Setup { gateway: |config| config.max_stream_age = Some(HOUR), ..Setup::default() });
    let (old, old_there) = world.open(ECHO);
    world.live(HOUR / 2);
    let (new, new_there) = world.open(ECHO);
    assert_eq!(world.read(Node::Connector, old, &mut [0; 9]), Read::Blocked);
    world.live(HOUR / 2);
    assert_eq!(world.read_all(Node::Connector, old).1, Read::Reset);
    assert_eq!(world.read_all(Node::Gateway, old_there).1, Read::Reset);
    let target = ECHO.parse().unwrap();
    assert!(world.at_gateway.contains(&Event::TooOld { peer: identity("connector/c"), target }));
    world.transfer((Node::Connector, new), (Node::Gateway, new_there), b"goes on");
    world.close(Node::Gateway, old_there);
    assert_eq!(world.gateway.pipes(), 1);
}
