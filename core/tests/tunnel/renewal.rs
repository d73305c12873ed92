//! How a connector keeps, replaces and ends its connections, and what it asks besides pipes.

use std::time::Duration;

use adit_core::connector::{ConnectError, DiscoverError, Event, Failure, OpenError, PermitError};
use adit_core::io::Read;
use adit_core::pki::Revoked;
use adit_core::quic::CloseReason;
use adit_core::time::UnixTime;
use adit_core::tunnel::{Code, MAX_PATHS, RejectCode};

use super::ECHO;
use crate::world::{Node, SECOND, Setup, UNIX, World, addr, target};

const GATEWAY: &str = "spiffe://adit.local/org/acme/gateway/gw/0";

// --- certificates --------------------------------------------------------------------------------------------

#[test]
fn a_new_certificate_serves_new_pipes_and_ends_none() {
    let mut world = World::ready_with(Setup { life: 60 * SECOND, ..Setup::default() });
    let (old, old_there) = world.open(ECHO);
    world.live(30 * SECOND);
    world.renew(3600 * SECOND);
    world.live(SECOND);
    assert_eq!((world.connected(), world.gateway.connections()), (2, 2));
    assert!(!world.at_connector.iter().any(|event| matches!(event, Event::Disconnected { .. })));

    world.live(60 * SECOND);
    let (new, new_there) = world.open(ECHO);
    world.transfer((Node::Connector, old), (Node::Gateway, old_there), b"goes on");
    world.transfer((Node::Connector, new), (Node::Gateway, new_there), b"begins");
    world.close(Node::Connector, old);
    world.live(SECOND);
    assert_eq!(world.gateway.connections(), 1, "the old connection ends with its last pipe");
    world.transfer((Node::Gateway, new_there), (Node::Connector, new), b"goes on too");
}

#[test]
fn pipes_are_opened_as_ever_while_a_connection_is_replaced() {
    let mut world = World::ready();
    let alive = world.gateway.addresses()[0];
    world.open(ECHO);
    // The new connection takes seconds, since it tries a dead address first.
    world.set_addresses(vec![addr("9.0.0.9:1"), alive]);
    world.renew(3600 * SECOND);
    world.live(SECOND);
    let (here, there) = world.open(ECHO);
    assert_eq!(world.connected(), 1);
    world.live(10 * SECOND);
    assert_eq!(world.connected(), 2);
    world.transfer((Node::Connector, here), (Node::Gateway, there), b"over the one before");
}

#[test]
fn a_replacement_that_fails_is_tried_again_and_costs_nothing() {
    let mut world = World::ready();
    let (here, there) = world.open(ECHO);
    world.silent.insert(Node::Connector);
    world.renew(3600 * SECOND);
    world.live(10 * SECOND);
    let failed = |event: &Event| matches!(event, Event::RenewFailed { .. });
    assert!(world.at_connector.iter().any(failed), "{:?}", world.at_connector);
    world.silent.clear();
    world.live(40 * SECOND);
    assert_eq!(world.connected(), 2);
    world.transfer((Node::Connector, here), (Node::Gateway, there), b"goes on");
}

#[test]
fn an_attempt_under_the_old_certificate_does_not_go_on() {
    let mut world = World::ready_with(Setup { life: SECOND, ..Setup::default() });
    world.live(2 * SECOND);
    let here = world.try_open(ECHO);
    world.renew(3600 * SECOND);
    world.live(SECOND);
    assert!(world.is_open(here), "{:?}", world.at_connector);
}

#[test]
fn a_gateway_whose_certificate_runs_out_is_met_again_before_and_not_after() {
    let mut world = World::ready_with(Setup { gateway_life: 1000 * SECOND, ..Setup::default() });
    let (here, there) = world.open(ECHO);
    world.live(850 * SECOND);
    assert_eq!(world.connected(), 1);
    world.live(100 * SECOND);
    assert_eq!(world.connected(), 2, "it might have had a new one");
    world.live(60 * SECOND);
    let late = world.try_open(ECHO);
    world.live(10 * SECOND);
    let Some(Failure::NotConnected(ConnectError::Closed { reason, .. })) = world.failure(late) else {
        panic!("{:?}", world.at_connector)
    };
    assert!(reason.to_string().contains("expired"), "{reason}");
    assert!(world.connected() < 10, "{}", world.connected());
    world.transfer((Node::Connector, here), (Node::Gateway, there), b"goes on");
}

#[test]
fn a_clock_that_is_set_moves_the_end_of_a_certificate() {
    let mut world = World::ready_with(Setup { gateway_life: 1000 * SECOND, ..Setup::default() });
    world.open(ECHO);
    world.connector.handle_clock(world.now, UnixTime(UNIX.0 + 2000));
    world.live(SECOND);
    let late = world.try_open(ECHO);
    world.live(10 * SECOND);
    assert!(matches!(world.failure(late), Some(Failure::NotConnected(_))), "{:?}", world.at_connector);
}

#[test]
fn who_is_revoked_is_left_and_not_met_again() {
    let mut world = World::ready();
    let (here, there) = world.open(ECHO);
    let by_name = Revoked::new(Vec::<Vec<u8>>::new(), [GATEWAY.parse().unwrap()]);
    world.connector.set_revoked(world.now, by_name);
    world.live(SECOND);
    assert_eq!(world.read(Node::Connector, here, &mut [0; 9]), Read::Reset);
    assert_eq!(world.read(Node::Gateway, there, &mut [0; 9]), Read::Reset);
    let late = world.try_open(ECHO);
    world.live(10 * SECOND);
    let failure = world.failure(late);
    assert!(
        matches!(failure, Some(Failure::NotConnected(ConnectError::Revoked { .. }))),
        "{failure:?} {:?}",
        world.at_connector
    );
    let serial = (1_u128 << 126 | 4).to_be_bytes().to_vec();
    world.connector.set_revoked(world.now, Revoked::new([serial], []));
    let late = world.try_open(ECHO);
    world.live(10 * SECOND);
    assert!(world.failure(late).is_some(), "revoked by its serial number now");

    world.connector.set_revoked(world.now, Revoked::default());
    world.open(ECHO);
    assert_eq!(world.gateway.connections(), 1);
}

// --- unused connections --------------------------------------------------------------------------------------

fn idle_after_a_minute() -> Setup {
    Setup { connector: |config| config.idle_timeout = Some(60 * SECOND), ..Setup::default() }
}

#[test]
fn a_connection_that_nobody_uses_ends_and_is_made_again() {
    let mut world = World::ready_with(idle_after_a_minute());
    let (here, _) = world.open(ECHO);
    world.live(300 * SECOND);
    assert_eq!(world.gateway.connections(), 1, "a silent pipe is a pipe");
    world.close(Node::Connector, here);
    world.live(59 * SECOND);
    assert_eq!(world.gateway.connections(), 1);
    world.live(2 * SECOND);
    assert_eq!(world.gateway.connections(), 0);
    let ended = Event::Disconnected { gateway: world.key, reason: CloseReason::LocallyClosed };
    assert!(world.at_connector.contains(&ended));
    world.open(ECHO);
}

#[test]
fn a_connection_that_was_never_used_ends_too() {
    let mut world = World::ready_with(idle_after_a_minute());
    world.connector.connect(world.now, world.key);
    world.live(59 * SECOND);
    assert_eq!(world.gateway.connections(), 1);
    world.live(2 * SECOND);
    assert_eq!(world.gateway.connections(), 0);
}

#[test]
fn a_pipe_in_time_keeps_a_connection() {
    let mut world = World::ready_with(idle_after_a_minute());
    for _ in 0..5 {
        let (here, _) = world.open(ECHO);
        world.close(Node::Connector, here);
        world.live(40 * SECOND);
    }
    assert_eq!(world.connected(), 1);
}

#[test]
fn a_connection_that_is_kept_stays_until_it_is_not() {
    let mut world = World::ready_with(idle_after_a_minute());
    world.connector.keep(world.now, world.key, true);
    world.connector.ping(world.now, world.key);
    world.live(600 * SECOND);
    assert_eq!(world.gateway.connections(), 1);
    world.connector.keep(world.now, world.key, false);
    world.live(61 * SECOND);
    assert_eq!(world.gateway.connections(), 0);
}

#[test]
fn without_a_limit_an_unused_connection_stays() {
    let mut world = World::ready();
    world.connector.connect(world.now, world.key);
    world.live(3600 * SECOND);
    assert_eq!(world.gateway.connections(), 1);
}

// --- how they end --------------------------------------------------------------------------------------------

#[test]
fn a_gateway_is_left_and_met_again() {
    let mut world = World::ready();
    let (here, _) = world.open(ECHO);
    let waits = world.try_open("tcp://10.0.0.1:8");
    world.connector.disconnect(world.now, world.key);
    world.live(SECOND);
    assert_eq!(world.read(Node::Connector, here, &mut [0; 9]), Read::Reset);
    assert!(matches!(world.failure(waits), Some(Failure::ConnectionLost(CloseReason::LocallyClosed))));
    assert_eq!(world.gateway.connections(), 0);
    world.live(60 * SECOND);
    assert_eq!(world.connected(), 1, "nobody asked for another one");
    world.open(ECHO);
}

#[test]
fn who_gives_up_connecting_is_told_so() {
    let mut world = World::ready();
    world.set_addresses(vec![addr("9.0.0.9:1"), addr("9.0.0.9:2")]);
    world.connector.ping(world.now, world.key);
    world.live(SECOND);
    world.connector.disconnect(world.now, world.key);
    world.live(60 * SECOND);
    let told = world.at_connector.iter().filter(|event| matches!(event, Event::ConnectFailed { .. }));
    assert_eq!(told.count(), 1);
    assert_eq!(world.connector.poll_timeout(), None);
}

#[test]
fn a_gateway_that_is_removed_opens_nothing_and_ends_nothing() {
    let mut world = World::ready();
    let (here, there) = world.open(ECHO);
    let (now, key) = (world.now, world.key);
    world.connector.remove_gateway(now, key);
    assert_eq!(world.connector.open(now, key, &target(ECHO)), Err(OpenError::UnknownGateway));
    let peer = addr("10.0.0.1:1").ip();
    assert_eq!(world.connector.permit(now, key, vec![peer], SECOND), Err(PermitError::UnknownGateway));
    world.connector.connect(now, key);
    world.connector.ping(now, key);
    world.live(SECOND);
    world.transfer((Node::Connector, here), (Node::Gateway, there), b"goes on");
    world.close(Node::Connector, here);
    world.live(SECOND);
    assert_eq!(world.gateway.connections(), 0);
    world.live(10 * SECOND);
    assert_eq!(world.connector.poll_timeout(), None);
}

#[test]
fn a_gateway_that_is_removed_before_it_is_met_fails_its_pipes() {
    let mut world = World::ready();
    world.live(SECOND);
    let here = world.try_open(ECHO);
    world.connector.remove_gateway(world.now, world.key);
    world.live(SECOND);
    assert_eq!(world.failure(here), Some(Failure::NotConnected(ConnectError::GivenUp)));
    assert_eq!((world.gateway.connections(), world.connector.pipes()), (0, 0));
    world.live(10 * SECOND);
    assert_eq!(world.connector.poll_timeout(), None);
}

// --- signs of life ---------------------------------------------------------------------------------------------

/// The answers since this was last asked.
fn pongs(world: &mut World) -> Vec<Duration> {
    let events = std::mem::take(&mut world.at_connector).into_iter();
    events.filter_map(|event| if let Event::Pong { rtt, .. } = event { Some(rtt) } else { None }).collect()
}

#[test]
fn a_ping_is_answered_and_connects_where_need_be() {
    let mut world = World::ready();
    world.connector.ping(world.now, world.key);
    world.live(SECOND);
    assert_eq!(pongs(&mut world), [SECOND / 50], "four hops of 5 ms");
    world.connector.ping(world.now, world.key);
    world.live(SECOND);
    assert_eq!(pongs(&mut world).len(), 1);
}

#[test]
fn pings_in_a_row_are_all_answered_for() {
    let mut world = World::ready();
    world.connector.connect(world.now, world.key);
    world.live(SECOND);
    pongs(&mut world);
    for _ in 0..20 {
        world.connector.ping(world.now, world.key);
        world.live(SECOND / 200);
    }
    world.live(SECOND);
    assert!(
        pongs(&mut world).len() >= 16,
        "those that come faster than the answers don't replace each other"
    );
}

#[test]
fn a_ping_that_reaches_nobody_is_told() {
    let mut world = World::ready();
    world.set_addresses(vec![addr("9.0.0.9:1")]);
    world.connector.ping(world.now, world.key);
    world.live(6 * SECOND);
    assert!(world.at_connector.iter().any(|event| matches!(event, Event::ConnectFailed { .. })));
}

// --- permissions -----------------------------------------------------------------------------------------------

/// A connector without a platform may not ask, so that every time it does so costs it the connection.
#[test]
fn a_permit_is_sent_on_every_connection_while_it_lasts() {
    let mut world = World::ready();
    world.connector.connect(world.now, world.key);
    world.live(SECOND);
    let refused = |world: &mut World| {
        let events = std::mem::take(&mut world.at_connector);
        let code = Code::PermitRefused as u64;
        let refused = |event: &&Event| matches!(event, Event::Disconnected { reason: CloseReason::PeerClosed { code: said, .. }, .. } if *said == code);
        events.iter().filter(refused).count()
    };
    let peer = addr("10.0.0.1:1").ip();
    world.connector.permit(world.now, world.key, vec![peer], 60 * SECOND).unwrap();
    world.live(SECOND);
    assert_eq!(refused(&mut world), 1, "it was sent at once");
    world.connector.connect(world.now, world.key);
    world.live(SECOND);
    assert_eq!(refused(&mut world), 1, "and again");
    world.live(60 * SECOND);
    world.connector.connect(world.now, world.key);
    world.live(SECOND);
    assert_eq!(refused(&mut world), 0);

    let many = vec![peer; MAX_PATHS + 1];
    assert_eq!(world.connector.permit(world.now, world.key, many, SECOND), Ok(()), "it is one peer");
    let many = (0..=MAX_PATHS as u32).map(|n| std::net::Ipv4Addr::from(n).into()).collect();
    assert_eq!(world.connector.permit(world.now, world.key, many, SECOND), Err(PermitError::TooMany));
}

// --- our own address -------------------------------------------------------------------------------------------

#[test]
fn a_relay_tells_our_own_address() {
    let mut world = World::made_of(Setup::default());
    let relay = addr("9.0.0.1:3478");
    // Also before the sockets are bound, and asked twice.
    world.connector.discover(world.now, relay);
    world.connector.discover(world.now, relay);
    world.live(SECOND);
    let [Event::Mapped { relay: of, address }] = world.at_connector[..] else {
        panic!("{:?}", world.at_connector)
    };
    assert_eq!((of, address.ip()), (relay, addr("8.0.0.7:0").ip()));

    // It is the address that the gateway sees.
    world.set_addresses(world.gateway.addresses());
    world.open(ECHO);
    world.at_connector.clear();
    world.connector.discover(world.now, relay);
    world.live(SECOND);
    assert_eq!(world.at_connector, [Event::Mapped { relay, address }]);
}

#[test]
fn a_relay_that_does_not_answer_is_asked_four_times() {
    let mut world = World::made_of(Setup::default());
    world.live(SECOND);
    let (relay, before) = (addr("9.0.0.9:3478"), world.carried);
    world.connector.discover(world.now, relay);
    world.live(4 * SECOND);
    assert_eq!((world.at_connector.len(), world.carried - before), (0, 4));
    world.live(SECOND);
    assert_eq!(world.at_connector, [Event::NotMapped { relay, error: DiscoverError::NoAnswer }]);
    assert_eq!(world.connector.poll_timeout(), None);
}

#[test]
fn a_lost_question_is_asked_again() {
    let mut world = World::made_of(Setup::default());
    let relay = addr("9.0.0.1:3478");
    world.silent.insert(Node::Connector);
    world.connector.discover(world.now, relay);
    world.live(SECOND / 10);
    world.silent.clear();
    world.live(SECOND);
    assert!(matches!(world.at_connector[..], [Event::Mapped { .. }]), "{:?}", world.at_connector);
}

#[test]
fn what_somebody_else_answers_does_not_count() {
    let mut world = World::made_of(Setup::default());
    world.live(SECOND);
    let asked = addr("9.0.0.9:3478");
    world.connector.discover(world.now, asked);
    // A Binding success of another transaction, from the relay that was asked and from another; and nonsense.
    let mut answer = vec![0x01, 0x01, 0, 12, 0x21, 0x12, 0xa4, 0x42];
    answer.extend([7; 12]);
    answer.extend([0, 0x20, 0, 8, 0, 1, 0x21, 0x12, 0x21, 0x12, 0xa4, 0x42]);
    for port in 40_001..40_005 {
        for from in [asked, addr("9.0.0.8:3478")] {
            world.inject(from, std::net::SocketAddr::new(addr("8.0.0.7:0").ip(), port), &answer);
            world.inject(from, std::net::SocketAddr::new(addr("8.0.0.7:0").ip(), port), &[0, 1, 2]);
        }
    }
    world.live(SECOND);
    assert_eq!(world.at_connector, []);
    assert!(world.connector.counters().unexpected >= 4, "{:?}", world.connector.counters());
}

#[test]
fn too_many_questions_are_not_asked() {
    let mut world = World::made_of(Setup::default());
    world.live(SECOND);
    for port in 1..=65 {
        world.connector.discover(world.now, std::net::SocketAddr::new(addr("9.0.0.9:0").ip(), port));
    }
    world.live(SECOND);
    let relay = addr("9.0.0.9:65");
    assert_eq!(world.at_connector, [Event::NotMapped { relay, error: DiscoverError::TooMany }]);
    world.connector.close(world.now);
    world.live(SECOND);
    assert_eq!(world.at_connector.len(), 65);
    assert_eq!(world.connector.poll_timeout(), None);
}

#[test]
fn a_certificate_that_has_run_out_is_replaced_in_time() {
    let mut world = World::ready_with(Setup { life: 60 * SECOND, ..Setup::default() });
    world.open(ECHO);
    world.live(70 * SECOND);
    assert_eq!(world.refusal(ECHO), RejectCode::Draining);
    world.renew(3600 * SECOND);
    world.live(SECOND);
    world.open(ECHO);
}
