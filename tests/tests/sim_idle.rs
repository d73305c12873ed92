//! What machines do when nobody wants anything of them: how often they wake, measured in virtual hours.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use adit_sim::{Handle, KIB, World, secs};

/// How often the machine of a host wakes in an hour.
fn wakes_in_an_hour<M>(world: &mut World, on: Handle<M>) -> u64 {
    world.run_for(secs(600)); // whatever was begun is over
    let before = world.wakes(on);
    world.run_for(secs(3600));
    world.wakes(on) - before
}

#[test]
fn a_relay_without_clients_sleeps() {
    let mut world = World::seeded(1);
    let relay = world.relay("a");
    assert_eq!(wakes_in_an_hour(&mut world, relay), 0);
}

#[test]
fn a_connector_without_a_connection_sleeps() {
    let mut world = World::seeded(1);
    let connector = world.connector().start();
    assert_eq!(wakes_in_an_hour(&mut world, connector), 0);
}

#[test]
fn a_gateway_that_waits_wakes_for_signs_of_life_and_refreshes_only() {
    let mut world = World::seeded(1);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    world.await_gateway(gateway);
    let wakes = wakes_in_an_hour(&mut world, gateway);
    println!("{wakes} wake-ups of a gateway");
    assert!((100..=GATEWAY).contains(&wakes), "{wakes}");
    // Its permissions, its allocation.
    assert_eq!(wakes_in_an_hour(&mut world, relay), 0, "what is refreshed in time never runs out");
}

#[test]
fn a_connection_at_rest_wakes_its_ends_for_signs_of_life_only() {
    let mut world = World::seeded(1);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    let connector = world.connector().start();
    let stream = world.open(connector, gateway, "tcp://echo:7");
    world.transfer(stream, 64 * KIB);
    world.run_until_quiet();
    let (of_connector, of_gateway) =
        (wakes_in_an_hour(&mut world, connector), wakes_in_an_hour(&mut world, gateway));
    println!("{of_connector} wake-ups of a connector, {of_gateway} of its gateway");
    assert!((100..=CONNECTION).contains(&of_connector), "{of_connector}");
    assert!((100..=CONNECTION + GATEWAY).contains(&of_gateway), "{of_gateway}");
}

/// A sign of life every 25 s, and refreshes every few minutes.
const GATEWAY: u64 = 200;
/// A sign of life every 5 s, from either end, with the timers of QUIC behind each.
const CONNECTION: u64 = 2_000;
