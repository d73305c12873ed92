//! Allocations, connections, and how both are left: by the gateway, by the connector, by a relay.

use std::time::Duration;

use adit_core::connector::{self, ConnectError, Failure};
use adit_core::gateway;
use adit_core::io::{Completion, Read, Write};
use adit_core::quic::CloseReason;
use adit_core::tunnel::RejectCode;

use super::ECHO;
use crate::world::{Node, SECOND, Setup, World, addr, gateways_relay, noise};

// --- allocations -------------------------------------------------------------------------------------------

#[test]
fn an_address_is_told_once_the_peers_are_let_in() {
    let mut world = World::made_of(Setup::default());
    world.live(SECOND / 10);
    assert_eq!(world.gateway.addresses().len(), 1);

    let mut world = World::made_of(Setup { relay: |config| config.max_permissions = 0, ..Setup::default() });
    world.live(SECOND);
    assert!(world.at_gateway.iter().any(|event| matches!(event, gateway::Event::Allocated { .. })));
    assert!(world.gateway.addresses().is_empty(), "a connector would not be let in yet");
    world.live(2 * SECOND);
    assert_eq!(
        world.gateway.addresses().len(),
        1,
        "it may not be let in for another reason: one is told then"
    );
}

// --- connecting ----------------------------------------------------------------------------------------------

#[test]
fn the_second_address_is_tried_when_the_first_is_dead() {
    let mut world = World::ready();
    let alive = world.gateway.addresses()[0];
    world.set_addresses(vec![addr("9.0.0.9:1"), alive]);
    let here = world.try_open(ECHO);
    world.live(10 * SECOND);
    assert!(world.is_open(here));
    let connected = connector::Event::Connected { gateway: world.key, address: alive };
    assert!(world.at_connector.contains(&connected));
}

#[test]
fn no_address_leads_to_a_failure_at_once() {
    let mut world = World::made_of(Setup::default());
    world.live(SECOND);
    let here = world.try_open(ECHO);
    world.live(SECOND / 10);
    assert_eq!(world.failure(here), Some(Failure::NotConnected(ConnectError::NoAddress)));
    world.set_addresses(vec![addr("9.0.0.9:1")]);
    let here = world.try_open(ECHO);
    world.live(6 * SECOND);
    let Some(Failure::NotConnected(ConnectError::Closed { reason, .. })) = world.failure(here) else {
        panic!()
    };
    assert_eq!(reason, CloseReason::TimedOut);
    assert_eq!(world.connector.pipes(), 0);
}

#[test]
fn new_pipes_go_to_the_new_addresses() {
    let mut world = World::ready_with(Setup { relays: 2, ..Setup::default() });
    let both = world.gateway.addresses();
    let (old, old_there) = world.open(ECHO);
    world.set_addresses(vec![both[1]]);
    let (new, new_there) = world.open(ECHO);
    let connected = connector::Event::Connected { gateway: world.key, address: both[1] };
    assert!(world.at_connector.contains(&connected));
    assert_eq!(world.gateway.connections(), 2);
    world.transfer((Node::Connector, old), (Node::Gateway, old_there), b"goes on");
    world.transfer((Node::Connector, new), (Node::Gateway, new_there), b"begins");
    world.close(Node::Connector, old);
    world.live(10 * SECOND);
    assert_eq!(world.gateway.connections(), 1, "the old connection ends with its last pipe");
}

#[test]
fn an_attempt_goes_on_with_the_new_addresses() {
    let mut world = World::ready();
    let alive = world.gateway.addresses();
    world.set_addresses(vec![addr("9.0.0.9:1")]);
    let here = world.try_open(ECHO);
    world.live(SECOND);
    world.set_addresses(alive);
    world.live(10 * SECOND);
    assert!(world.is_open(here), "{:?}", world.at_connector);
}

#[test]
fn a_pipe_that_waits_for_credit_moves_to_the_next_connection() {
    let mut world = World::ready_with(Setup {
        relays: 2,
        gateway: |config| config.quic.max_streams = 2,
        ..Setup::default()
    });
    let both = world.gateway.addresses();
    world.open(ECHO);
    let waits = world.try_open(ECHO);
    world.live(SECOND);
    assert!(!world.is_open(waits));
    world.set_addresses(vec![both[1]]);
    world.live(6 * SECOND);
    assert!(world.is_open(waits));
}

#[test]
fn a_pipe_that_waits_for_its_answer_moves_to_the_next_connection() {
    let mut world = World::ready_with(Setup { relays: 2, ..Setup::default() });
    let both = world.gateway.addresses();
    world.open(ECHO);
    world.silent.insert(Node::Relay(0));
    let waits = world.try_open(ECHO);
    world.live(SECOND);
    assert!(!world.is_open(waits));
    world.set_addresses(vec![both[1]]);
    world.live(SECOND);
    assert!(world.is_open(waits), "{:?}", world.at_connector);
}

#[test]
fn a_pipe_whose_first_bytes_are_on_their_way_does_not_move() {
    let mut world = World::ready_with(Setup { relays: 2, ..Setup::default() });
    let both = world.gateway.addresses();
    world.open(ECHO);
    world.silent.insert(Node::Relay(0));
    let waits = world.try_open(ECHO);
    world.live(SECOND);
    assert_eq!(world.connector.pipe_write(world.now, waits, b"INSERT"), Write::Accepted(6));
    world.set_addresses(vec![both[1]]);
    world.live(60 * SECOND);
    assert!(world.failure(waits).is_some(), "what was written may have arrived, so it is not written again");
}

#[test]
fn a_connector_that_closes_stays_closed() {
    let mut world = World::ready_with(Setup { relays: 2, ..Setup::default() });
    let mut addresses = world.gateway.addresses();
    addresses.insert(0, addr("9.0.0.9:1"));
    world.set_addresses(addresses);
    let here = world.try_open(ECHO);
    world.live(SECOND);
    world.connector.close(world.now);
    world.live(60 * SECOND);
    assert!(world.failure(here).is_some());
    assert_eq!(world.gateway.connections(), 0);
    assert_eq!(world.connector.poll_timeout(), None);
}

// --- the gateway leaves --------------------------------------------------------------------------------------

#[test]
fn a_draining_gateway_opens_nothing_and_ends_nothing() {
    let mut world = World::ready();
    let (here, there) = world.open(ECHO);
    world.gateway.drain(world.now);
    world.live(SECOND);
    assert!(world.at_connector.contains(&connector::Event::Draining { gateway: world.key }));
    assert_eq!(world.refusal(ECHO), RejectCode::Draining);
    world.transfer((Node::Connector, here), (Node::Gateway, there), b"goes on");
}

#[test]
fn a_gateway_that_closes_says_so_and_gives_its_allocations_back() {
    let mut world = World::ready_with(Setup { relays: 2, ..Setup::default() });
    let (here, there) = world.open(ECHO);
    assert_eq!(world.allocations(), 2);
    world.at_connector.clear();
    world.gateway.close(world.now);
    world.live(SECOND);
    assert_eq!(world.allocations(), 0);
    assert!(world.at_gateway.contains(&gateway::Event::Closed));
    let said = |event: &connector::Event| {
        matches!(
            event,
            connector::Event::Disconnected { reason: CloseReason::PeerClosed { code: 0, .. }, .. }
        )
    };
    assert!(world.at_connector.iter().any(said), "{:?}", world.at_connector);
    assert_eq!(world.read(Node::Connector, here, &mut [0; 9]), Read::Reset);
    assert_eq!(world.read(Node::Gateway, there, &mut [0; 9]), Read::Reset);
    assert_eq!(world.gateway.poll_timeout(), None);
}

#[test]
fn closing_does_not_wait_for_a_relay_that_is_gone() {
    let mut world = World::ready();
    world.silent.insert(Node::Relay(0));
    world.gateway.close(world.now);
    world.live(3 * SECOND);
    assert!(world.at_gateway.contains(&gateway::Event::Closed));
    assert_eq!(world.gateway.poll_timeout(), None);
}

#[test]
fn a_gateway_that_has_closed_holds_nothing() {
    let nameless = |config: &mut gateway::Config| config.relays[1].ways[0].host = "relay.internal".into();
    let mut world = World::made_of(Setup { relays: 2, gateway: nameless, ..Setup::default() });
    world.resolves = false;
    world.live(SECOND);
    let addresses = world.gateway.addresses();
    world.set_addresses(addresses);
    // The first packets of a handshake arrive, and the relay is gone before it has bound a channel for the answer.
    world.try_open(ECHO);
    world.live(SECOND / 80);
    world.silent.insert(Node::Relay(0));
    world.live(SECOND / 80);
    let before = world.gateway.holdings();
    assert!(before.connections == 1 && before.parked > 1000 && before.queries == 1, "{before:?}");

    world.gateway.close(world.now);
    assert_eq!(world.gateway.holdings().queries, 0);
    world.live(3 * SECOND);
    assert!(world.at_gateway.contains(&gateway::Event::Closed));
    assert_eq!(world.gateway.holdings(), gateway::Holdings::default());
    assert!(world.gateway.counters().no_channel > 0, "what waited was given up, and counted");
    assert_eq!(world.gateway.poll_timeout(), None);
}

#[test]
fn a_relay_whose_name_is_known_too_late_is_not_asked_any_more() {
    let nameless = |config: &mut gateway::Config| config.relays[0].ways[0].host = "relay.internal".into();
    let mut world = World::made_of(Setup { gateway: nameless, ..Setup::default() });
    world.resolves = false;
    world.live(SECOND);
    let query = world.queries[0];
    world.gateway.close(world.now);
    let done = Completion::Resolved { query, result: Ok(vec!["9.0.0.1".parse().unwrap()]) };
    world.gateway.handle_completion(world.now, done);
    assert_eq!(world.gateway.add_relay(world.now, gateways_relay(0)), 1);
    world.live(3 * SECOND);
    assert!(world.at_gateway.contains(&gateway::Event::Closed));
    assert_eq!((world.gateway.holdings(), world.allocations()), (gateway::Holdings::default(), 0));
}

// --- relays --------------------------------------------------------------------------------------------------

#[test]
fn a_relay_without_channels_left_still_relays() {
    let mut world = World::ready_with(Setup { relay: |config| config.max_channels = 0, ..Setup::default() });
    let (here, there) = world.open(ECHO);
    world.transfer((Node::Connector, here), (Node::Gateway, there), &noise(50_000));
    world.transfer((Node::Gateway, there), (Node::Connector, here), &noise(50_000));
}

#[test]
fn a_relay_that_forgets_everything_is_used_again() {
    let mut world = World::ready();
    let (here, _) = world.open(ECHO);
    let before = world.gateway.addresses();
    world.restart_relay(0);
    world.live(30 * SECOND);
    assert_ne!(world.gateway.addresses(), before);
    assert_eq!(world.allocations(), 1);
    // The new address came by the old connection, so nobody waits for that to time out.
    let next = world.try_open(ECHO);
    world.live(SECOND);
    assert!(world.is_open(next), "{:?}", world.at_connector);
    world.live(60 * SECOND);
    assert_eq!(world.read(Node::Connector, here, &mut [0; 9]), Read::Reset);
    assert_eq!(world.gateway.connections(), 1);
}

#[test]
fn relays_come_and_go() {
    let mut world = World::ready_with(Setup { relays: 2, ..Setup::default() });
    assert_eq!((world.allocations(), world.gateway.addresses().len()), (2, 2));
    let second = world.gateway.addresses()[1];
    world.gateway.remove_relay(world.now, 0);
    assert_eq!(world.gateway.addresses(), [second]);
    world.live(SECOND);
    assert_eq!(world.allocations(), 1);
    assert!(world.at_gateway.contains(&gateway::Event::Addresses(vec![second])));

    assert_eq!(world.gateway.add_relay(world.now, gateways_relay(0)), 0, "the place is free again");
    world.live(SECOND);
    assert_eq!((world.allocations(), world.gateway.addresses().len()), (2, 2));
    world.gateway.remove_relay(world.now, 7);
}

#[test]
fn a_relay_that_goes_while_its_name_is_looked_up_is_not_taken_for_the_next() {
    let mut world = World::made_of(Setup { relays: 0, ..Setup::default() });
    world.resolves = false;
    let mut named = gateways_relay(0);
    named.ways[0].host = "relay.example".into();
    let place = world.gateway.add_relay(world.now, named.clone());
    world.live(SECOND);
    world.gateway.remove_relay(world.now, place);
    assert_eq!(world.gateway.add_relay(world.now, named), place);
    world.live(SECOND);
    let [old, new] = world.queries[..] else { panic!("two queries") };
    for query in [old, new] {
        let result = Ok(vec![addr("9.0.0.1:1").ip()]);
        world.complete(Completion::Resolved { query, result });
    }
    world.live(SECOND);
    assert_eq!(world.gateway.addresses().len(), 0, "there is no relay in this world");
    world.gateway.close(world.now);
    world.live(3 * SECOND);
    assert!(world.at_gateway.contains(&gateway::Event::Closed));
}

#[test]
fn the_next_address_of_a_relay_s_name_is_tried() {
    let mut world = World::made_of(Setup {
        gateway: |config| config.relays[0].ways[0].host = "relay.internal".into(),
        ..Setup::default()
    });
    let ips = ["9.0.0.9", "9.0.0.1"].map(|ip| ip.parse().unwrap());
    world.names.insert("relay.internal".into(), ips.to_vec());
    world.live(120 * SECOND);
    assert_eq!(world.gateway.addresses().len(), 1, "{:?}", world.at_gateway);

    // The relay moves, and its name with it.
    world.silent.insert(Node::Relay(0));
    world.names.insert("relay.internal".into(), ips[..1].to_vec());
    world.live(300 * SECOND);
    assert_eq!(world.gateway.addresses(), []);
    world.silent.clear();
    world.names.insert("relay.internal".into(), ips[1..].to_vec());
    world.live(120 * SECOND);
    assert_eq!(world.gateway.addresses().len(), 1, "{:?}", world.at_gateway);
}

#[test]
fn a_pipe_lives_for_hours() {
    let mut world = World::ready();
    let (here, there) = world.open(ECHO);
    for _ in 0..24 {
        world.live(Duration::from_secs(300));
        world.transfer((Node::Connector, here), (Node::Gateway, there), b"still");
    }
    assert_eq!((world.gateway.connections(), world.allocations()), (1, 1));
}
