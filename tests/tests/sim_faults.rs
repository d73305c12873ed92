//! What breaks in simulated worlds, and how the machines find back.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::time::Duration;

use adit_core::client::Lost;
use adit_core::gateway::{self, Gateway, RelayLost};
use adit_sim::{End, Handle, KIB, Nat, World, secs};

fn losses(world: &World, gateway: Handle<Gateway>) -> Vec<RelayLost> {
    let lost = |event: &gateway::Event| match event {
        gateway::Event::RelayLost { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    world.news(gateway).iter().filter_map(lost).collect()
}

/// Runs an echo through `gateway` with a new connector.
fn assert_reachable(world: &mut World, gateway: Handle<Gateway>) {
    let stream = world.connector().open(gateway, "tcp://echo:7");
    world.transfer(stream, 10 * KIB);
    world.run_until_quiet();
    assert!(world.received(stream) == world.sent(stream));
    assert_eq!(world.party(stream).heard_end(), Some(End::Finished));
}

#[test]
fn a_gateway_allocates_again_when_its_relay_was_restarted() {
    let mut world = World::seeded(3);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    world.await_gateway(gateway);
    let before = world.addresses(gateway).to_vec();
    world.restart(relay);
    // Without traffic the next sign of life tells.
    assert!(world.run_until(secs(30), |world| world.addresses(gateway).is_empty()));
    world.await_gateway(gateway);
    assert_ne!(world.addresses(gateway), before);
    assert_eq!(losses(&world, gateway), [RelayLost::Client(Lost::Forgotten)]);
    assert_reachable(&mut world, gateway);
}

#[test]
fn a_gateway_waits_for_a_relay_that_is_not_there_yet() {
    let mut world = World::seeded(3);
    let relay = world.relay("a");
    world.kill(relay);
    let gateway = world.gateway("gw").on([relay]);
    world.run_for(secs(120));
    assert!(losses(&world, gateway).iter().all(|lost| *lost == RelayLost::Client(Lost::Unreachable)));
    assert!(!losses(&world, gateway).is_empty());
    world.restart(relay);
    world.await_gateway(gateway);
    assert_reachable(&mut world, gateway);
}

#[test]
fn one_dead_relay_of_two_leaves_the_gateway_reachable() {
    let mut world = World::seeded(3);
    let (a, b) = (world.relay("a"), world.relay("b"));
    let gateway = world.gateway("gw").on([a, b]);
    assert!(world.run_until(secs(10), |world| world.addresses(gateway).len() == 2));
    world.kill(a);
    assert_reachable(&mut world, gateway);
}

#[test]
fn a_relay_that_vanishes_is_missed_within_a_minute_or_so() {
    let mut world = World::seeded(3);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    world.await_gateway(gateway);
    world.kill(relay);
    assert!(world.run_until(secs(70), |world| world.addresses(gateway).is_empty()));
    assert_eq!(losses(&world, gateway), [RelayLost::Client(Lost::Unreachable)]);
}

#[test]
fn a_wrong_secret_is_called_by_its_name() {
    let mut world = World::seeded(3);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").with_secret(b"another").on([relay]);
    world.run_for(secs(5));
    let lost = losses(&world, gateway);
    assert!(matches!(lost[..], [RelayLost::Client(Lost::Unauthorized { code: 401, .. })]), "{lost:?}");
}

/// RFC 8016: the allocation goes with the gateway, and the stream does not notice.
#[test]
fn a_nat_that_forgets_the_gateway_costs_nothing() {
    let mut world = World::seeded(3);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").behind(Nat::symmetric()).on([relay]);
    let connector = world.connector().start();
    let stream = world.open(connector, gateway, "tcp://echo:7");
    for time in 1..=3 {
        world.run_for(secs(2));
        world.rebind(gateway);
        world.run_for(secs(60));
        world.say(stream, b"tick ");
        world.run_for(secs(1));
        assert_eq!(world.received(stream).len(), time * 5);
    }
    world.finish(stream);
    assert!(losses(&world, gateway).is_empty());
    assert_eq!(world.machine(relay).allocations(), 1);
    assert_reachable(&mut world, gateway);
}

#[test]
fn without_mobility_a_nat_that_forgets_the_gateway_costs_an_allocation_and_no_more() {
    let mut world = World::seeded(3);
    let relay = world.relay_with("a", |config| config.mobility = false);
    let gateway = world.gateway("gw").behind(Nat::symmetric()).on([relay]);
    world.await_gateway(gateway);
    world.rebind(gateway);
    assert!(world.run_until(secs(30), |world| !losses(world, gateway).is_empty()));
    world.await_gateway(gateway);
    assert_reachable(&mut world, gateway);
}

#[test]
fn allocations_permissions_and_channels_live_for_as_long_as_they_are_needed() {
    let mut world = World::seeded(3);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    let connector = world.connector().start();
    let stream = world.open(connector, gateway, "tcp://echo:7");
    for hour in 1..=6 {
        world.run_for(secs(3600));
        world.say(stream, b"tick ");
        world.run_for(secs(1));
        assert_eq!(world.received(stream).len(), hour * 5);
    }
    world.finish(stream);
    assert!(losses(&world, gateway).is_empty());
    assert_reachable(&mut world, gateway);
}

#[test]
fn a_gateway_that_slept_finds_back() {
    let mut world = World::seeded(3);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    world.await_gateway(gateway);
    world.sleep(gateway, secs(3600));
    world.run_for(secs(3600 + 30));
    world.await_gateway(gateway);
    assert_reachable(&mut world, gateway);
}

#[test]
fn clocks_that_jump_leave_a_stream_alone() {
    let mut world = World::seeded(3);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    let connector = world.connector().start();
    let stream = world.open(connector, gateway, "tcp://echo:7");
    world.say(stream, b"before");
    world.run_for(secs(1));
    world.jump(relay, secs(7200));
    world.jump(gateway, secs(3600));
    world.jump_back(connector, secs(300));
    world.run_for(secs(1200));
    world.say(stream, b" and after");
    world.run_for(secs(1));
    assert_eq!(world.received(stream), b"before and after");
    assert!(losses(&world, gateway).is_empty());
}

#[test]
fn streams_of_a_gateway_that_dies_are_reset_and_new_ones_find_the_next() {
    let mut world = World::seeded(3);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    let connector = world.connector().start();
    let stream = world.open(connector, gateway, "tcp://echo:7");
    world.say(stream, b"hello");
    world.run_for(secs(1));
    world.kill(gateway);
    assert!(world.run_until(secs(60), |world| world.party(stream).is_over()));
    assert_eq!(world.party(stream).heard_end(), Some(End::Reset));
    world.restart(gateway);
    let next = world.open(connector, gateway, "tcp://echo:7");
    world.transfer(next, 10 * KIB);
    world.run_until_quiet();
    assert!(world.received(next) == world.sent(next));
}

#[test]
fn a_connector_that_dies_leaves_nothing_behind() {
    let mut world = World::seeded(3);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    let connector = world.connector().start();
    let stream = world.open(connector, gateway, "tcp://echo:7");
    world.say(stream, b"hello");
    world.run_for(secs(1));
    world.kill(connector);
    world.run_for(secs(60));
    assert_eq!((world.machine(gateway).connections(), world.machine(gateway).pipes()), (0, 0));
    assert_eq!(world.connections(gateway).next().unwrap().heard_end(), Some(End::Reset));
}

#[test]
fn the_allocation_of_a_gateway_that_died_runs_out() {
    let mut world = World::seeded(3);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    world.await_gateway(gateway);
    world.kill(gateway);
    world.run_for(secs(590));
    assert_eq!(world.sockets(relay), 2, "one listens, one is relayed");
    world.run_for(secs(40));
    assert_eq!(world.sockets(relay), 1);
}

#[test]
fn a_short_cut_in_the_network_is_sat_out() {
    let mut world = World::seeded(3);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    let stream = world.connector().open(gateway, "tcp://echo:7");
    world.say(stream, b"before");
    world.run_for(secs(1));
    world.set_cut(relay, true);
    world.say(stream, b" and after");
    world.run_for(secs(10));
    world.set_cut(relay, false);
    world.finish(stream);
    world.run_until_quiet();
    assert_eq!(world.received(stream), b"before and after");
    assert!(world.longest_stall(stream) < Duration::from_secs(20));
}

#[test]
fn a_gateway_that_closes_while_its_relay_is_silent_gives_up_its_socket() {
    let mut world = World::seeded(3);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    world.await_gateway(gateway);
    world.kill(relay);
    world.call(gateway, Gateway::close);
    world.run_for(secs(3));
    assert!(world.news(gateway).contains(&gateway::Event::Closed));
    assert_eq!(world.sockets(gateway), 0);
}
