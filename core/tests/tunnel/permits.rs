//! Who may come to a gateway: those whom its owner names, and those whom the platform asks for.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use adit_core::client;
use adit_core::gateway::{Cause, Event};
use adit_core::io::Read;
use adit_core::quic::{CloseReason, StreamId};
use adit_core::tunnel::{Code, Frame, encode};

use super::ECHO;
use super::pki::identity;
use crate::world::{Node, SECOND, Setup, World, connector_ip};

const MINUTE: Duration = Duration::from_secs(60);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Another host than the connector's.
fn elsewhere() -> IpAddr {
    ip("8.0.0.8")
}

fn permit(peers: &[IpAddr], lifetime: Duration) -> Vec<u8> {
    encode(&Frame::Permit { peers: peers.to_vec(), lifetime })
}

/// A world in which somebody of `role` is connected beside the connector, and has its control stream open.
fn with(role: &str, setup: Setup) -> (World, StreamId) {
    let mut world = World::ready_with(setup);
    world.meet_stranger_as(role, connector_ip());
    world.live(SECOND);
    let control = world.stranger().open(&encode(&Frame::Ping([1; 8])));
    world.live(SECOND);
    (world, control)
}

fn with_platform() -> (World, StreamId) {
    with("platform/a", Setup { gateway: |config| config.platform = true, ..Setup::default() })
}

fn ask(world: &mut World, control: StreamId, peers: &[IpAddr], lifetime: Duration) {
    world.stranger().write(control, &permit(peers, lifetime));
    world.live(SECOND);
}

/// The stranger begins anew, from elsewhere; whether it gets in.
fn gets_in_from_elsewhere(world: &mut World) -> bool {
    world.meet_stranger_as("connector/d", elsewhere());
    world.live(15 * SECOND);
    world.stranger().closed.is_none()
}

fn causes(world: &World) -> Vec<Cause> {
    let cause = |event: &Event| match event {
        Event::Disconnected { cause, .. } => *cause,
        Event::TurnedAway { cause, .. } => Some(*cause),
        _ => None,
    };
    world.at_gateway.iter().filter_map(cause).collect()
}

fn closed_with(world: &mut World) -> Option<u64> {
    match world.stranger().closed.clone() {
        Some(CloseReason::PeerClosed { code, .. }) => Some(code),
        _ => None,
    }
}

// --- named by the owner --------------------------------------------------------------------------------------

#[test]
fn who_is_named_later_gets_in_at_once() {
    let mut world = World::ready_with(Setup { relays: 2, ..Setup::default() });
    assert!(!gets_in_from_elsewhere(&mut world));
    world.gateway.set_permitted(world.now, [connector_ip(), elsewhere()]).unwrap();
    world.live(SECOND / 10);
    assert!(gets_in_from_elsewhere(&mut world));
    world.open(ECHO);
}

#[test]
fn who_is_named_no_more_is_sent_away() {
    let mut world = World::ready();
    let (here, there) = world.open(ECHO);
    world.gateway.set_permitted(world.now, [elsewhere()]).unwrap();
    world.live(SECOND);
    assert_eq!(causes(&world), [Cause::NotPermitted]);
    assert_eq!(world.read_all(Node::Connector, here).1, Read::Reset);
    assert_eq!(world.read_all(Node::Gateway, there).1, Read::Reset);
    world.live(10 * SECOND);
    let refused = world.try_open(ECHO);
    world.live(31 * SECOND);
    assert!(world.failure(refused).is_some());
    assert_eq!(world.gateway.connections(), 0);
    assert!(world.gateway.counters().unpermitted > 0, "the relay still lets it through");

    world.gateway.set_permitted(world.now, [connector_ip()]).unwrap();
    world.live(SECOND);
    world.open(ECHO);
}

#[test]
fn who_comes_back_at_once_is_told_why_it_may_not() {
    let mut world = World::ready();
    world.gateway.set_permitted(world.now, [elsewhere()]).unwrap();
    world.meet_stranger();
    world.live(SECOND);
    assert_eq!(closed_with(&mut world), Some(Code::NotPermitted as u64));
    assert_eq!(causes(&world), [Cause::NotPermitted]);
    assert!(!world.at_gateway.iter().any(|event| matches!(event, Event::Connected { .. })));
}

#[test]
fn all_can_be_replaced_by_as_many_others() {
    let mut world = World::ready();
    world.open(ECHO);
    let many = |first: u32| (0..1024).map(move |n| IpAddr::from(Ipv4Addr::from(first + n)));
    for first in [0x0700_0000, 0x0800_0000] {
        world.gateway.set_permitted(world.now, many(first)).unwrap();
        world.live(SECOND / 10);
    }
    let now = world.now;
    assert_eq!(
        world.gateway.set_permitted(now, (0..1025).map(|n| IpAddr::from(Ipv4Addr::from(n)))),
        Err(client::TooManyPeers(1024))
    );
    world.live(20 * SECOND);
    world.open(ECHO);
}

// --- asked for by the platform -------------------------------------------------------------------------------

#[test]
fn the_platform_lets_a_peer_in_for_a_while() {
    let (mut world, control) = with_platform();
    ask(&mut world, control, &[elsewhere()], 10 * MINUTE);
    let permitted = Event::Permitted { peer: identity("platform/a"), addresses: vec![elsewhere()] };
    assert!(world.at_gateway.contains(&permitted), "{:?}", world.at_gateway);
    assert!(gets_in_from_elsewhere(&mut world));
    world.live(11 * MINUTE);
    assert!(world.stranger().closed.is_none(), "who is connected may go on");
    assert_eq!(world.gateway.connections(), 1);
    assert!(!gets_in_from_elsewhere(&mut world), "and nobody else comes");
}

#[test]
fn a_peer_without_a_connection_is_forgotten_when_its_time_is_over() {
    let (mut world, control) = with_platform();
    ask(&mut world, control, &[elsewhere()], MINUTE);
    world.live(MINUTE);
    // The relay keeps the permission for five minutes, and what comes by it is not listened to.
    assert!(!gets_in_from_elsewhere(&mut world));
    assert_eq!(world.stranger().closed, Some(CloseReason::TimedOut));
}

#[test]
fn more_than_sixty_four_peers_break_the_protocol() {
    let (mut world, control) = with_platform();
    let many: Vec<IpAddr> = (0..65).map(|n| IpAddr::from([8, 1, 0, n])).collect();
    ask(&mut world, control, &many[..64], MINUTE);
    assert!(world.stranger().closed.is_none());
    ask(&mut world, control, &many[64..], MINUTE);
    assert_eq!(closed_with(&mut world), Some(Code::Protocol as u64));
}

#[test]
fn what_is_no_host_breaks_the_protocol() {
    for bad in ["224.0.0.1", "0.0.0.0", "255.255.255.255", "ff02::1", "::"] {
        let (mut world, control) = with_platform();
        ask(&mut world, control, &[elsewhere(), ip(bad)], MINUTE);
        assert_eq!(closed_with(&mut world), Some(Code::Protocol as u64), "{bad}");
        assert_eq!(causes(&world), [Cause::Protocol]);
    }
}

#[test]
fn nobody_but_the_platform_may_ask() {
    let platform = || Setup { gateway: |config| config.platform = true, ..Setup::default() };
    for (role, setup) in [("connector/d", platform()), ("platform/a", Setup::default())] {
        let (mut world, control) = with(role, setup);
        ask(&mut world, control, &[elsewhere()], MINUTE);
        assert_eq!(closed_with(&mut world), Some(Code::PermitRefused as u64), "{role}");
        assert!(world.at_gateway.contains(&Event::PermitRefused { peer: identity(role) }));
        assert_eq!(causes(&world), [Cause::PermitRefused]);
        assert!(!gets_in_from_elsewhere(&mut world));
    }
}
