//! Tunnels through networks that are less kind than a link with some loss.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::time::Duration;

use adit_core::connector::Connector;
use adit_core::gateway::Gateway;
use adit_sim::{
    Bursts, Drop, End, Firewall, Handle, KIB, Link, MIB, Nat, Percent, Stream, Target, World, secs,
};

fn assert_echoed(world: &World, streams: &[Stream]) {
    for &stream in streams {
        let party = world.party(stream);
        let (heard, said, of) = (party.received().len(), party.said(), party.sent().len());
        assert!(party.received() == party.sent(), "{stream:?} heard {heard} and said {said} of {of}");
        assert_eq!(world.party(stream).heard_end(), Some(End::Finished));
    }
}

/// A megabyte there and back.
fn assert_carries(world: &mut World, from: Handle<Connector>, through: Handle<Gateway>) {
    let stream = world.open(from, through, "tcp://echo:7");
    world.transfer(stream, MIB);
    world.run_until_quiet();
    assert_echoed(world, &[stream]);
}

#[test]
fn a_gateway_and_a_connector_behind_one_nat_of_any_kind_meet_at_the_relay() {
    for nat in Nat::kinds() {
        let kind = nat.kind();
        let mut world = World::seeded(1);
        let relay = world.relay("a");
        let home = world.home(nat.without_hairpin());
        let gateway = world.gateway("gw").behind(home).on([relay]);
        let stream = world.connector().behind(home).open(gateway, "tcp://echo:7");
        world.transfer(stream, 64 * KIB).at(50.percent()).then(move |world| world.restart_nat(home));
        world.run_until(secs(60), World::all_streams_are_over);
        // The connector's new port is a new way to the gateway; the gateway's costs its allocation.
        world.await_gateway(gateway);
        let stream = world.connector().behind(home).open(gateway, "tcp://echo:7");
        world.transfer(stream, 64 * KIB);
        assert!(world.run_until(secs(120), |world| world.party(stream).is_over()), "{kind:?}");
        assert!(world.received(stream) == world.sent(stream), "{kind:?}");
    }
}

#[test]
fn a_firewall_that_lets_out_nothing_but_turn_is_enough_for_a_gateway() {
    let mut world = World::seeded(1);
    let relay = world.relay("a");
    let firewall = Firewall::stateful().to_ports(&[3478]);
    let gateway = world.gateway("gw").behind(Nat::symmetric()).firewalled(firewall).on([relay]);
    let connector = world.connector().firewalled(Firewall::stateful()).start();
    assert_carries(&mut world, connector, gateway);
    world.run_for(secs(1800));
    assert_carries(&mut world, connector, gateway);
    assert_eq!(world.dropped(Drop::Firewall), 0);
}

#[test]
fn a_firewall_without_udp_keeps_a_gateway_out_and_leaves_nothing_at_the_relay() {
    let mut world = World::seeded(1);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").firewalled(Firewall::without_udp()).on([relay]);
    world.run_for(secs(600));
    assert!(world.addresses(gateway).is_empty());
    assert_eq!((world.machine(relay).allocations(), world.sockets(relay)), (0, 1));
    let asked = world.dropped(Drop::Firewall);
    assert!((10..1000).contains(&asked), "{asked} packets in ten minutes");
    world.set_firewall(gateway, None);
    world.await_gateway(gateway);
}

#[test]
fn losses_in_bursts_are_survived() {
    let mut world = World::seeded(1);
    let relay = world.relay("a");
    world.set_usual_link(Link::default().bursting(Bursts::of(8, 5.per_mille())));
    let gateway = world.gateway("gw").on([relay]);
    let connector = world.connector().start();
    assert_carries(&mut world, connector, gateway);
    assert!(world.dropped(Drop::Lost) > 50);
}

#[test]
fn a_way_that_is_slow_upwards_and_fast_downwards_carries_both() {
    let mut world = World::seeded(1);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    let connector = world.connector().start();
    let slow = Link::of(Duration::from_millis(40)).at_rate(125_000);
    world.set_way(gateway, relay, slow);
    world.set_way(relay, gateway, Link::of(Duration::from_millis(10)).at_rate(2_500_000));
    let before = world.elapsed();
    assert_carries(&mut world, connector, gateway);
    assert!(world.elapsed() - before > secs(8), "a MiB at 125 kB/s");
}

#[test]
fn a_target_that_hangs_is_let_go_when_its_application_is() {
    let mut world = World::seeded(1);
    let relay = world.relay("a");
    world.target("stuck", 1, Target::Hangs);
    let gateway = world.gateway("gw").allowing("tcp://stuck:1").on([relay]);
    let connector = world.connector().start();
    let stream = world.open(connector, gateway, "tcp://stuck:1");
    world.transfer(stream, 8 * MIB);
    world.run_for(secs(60));
    let said = world.party(stream).said();
    assert!((64 * KIB..8 * MIB).contains(&said), "{said} bytes wait somewhere");
    world.hang_up(stream);
    world.run_until_quiet();
    assert_eq!(world.connections(gateway).next().unwrap().said_end(), Some(End::Reset));
    assert_eq!((world.machine(gateway).pipes(), world.open_pipes(gateway)), (0, 0));
}

#[test]
fn many_of_each_find_each_other() {
    let mut world = World::seeded(1);
    let relays: Vec<_> = ["a", "b", "c"].map(|name| world.relay(name)).into();
    world.target("slow", 1, Target::Slow(20_000));
    let gateways = (0..4).map(|number| {
        let on = [relays[number % 3], relays[(number + 1) % 3]];
        world.gateway(&format!("gw-{number}")).allowing("tcp://slow:1").behind(Nat::symmetric()).on(on)
    });
    let gateways: Vec<_> = gateways.collect();
    for &gateway in &gateways {
        assert!(world.run_until(secs(10), |world| world.addresses(gateway).len() == 2));
    }
    let connectors: Vec<_> = (0..3).map(|_| world.connector().start()).collect();
    let mut streams = Vec::new();
    for &connector in &connectors {
        for &gateway in &gateways {
            let echo = world.open(connector, gateway, "tcp://echo:7");
            world.transfer(echo, 64 * KIB);
            streams.push(echo);
            let slow = world.open(connector, gateway, "tcp://slow:1");
            world.transfer(slow, 64 * KIB);
        }
    }
    world.run_for(secs(1));
    world.kill(relays[0]);
    world.run_until_quiet();
    assert_echoed(&world, &streams);
    for &gateway in &gateways {
        let whole = world.connections(gateway).filter(|target| target.received().len() == 64 * KIB).count();
        assert_eq!(whole, 2 * connectors.len());
    }
}
