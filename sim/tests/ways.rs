//! Several ways to a relay, on networks that let some of them through.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use adit_core::client::{Over, Transport};
use adit_core::gateway::{Gateway, RelayWay, Standing};
use adit_core::relay::{Listen, Relay};
use adit_sim::{End, Firewall, Handle, KIB, Link, Nat, Percent, World, secs};

/// A relay that serves UDP and TCP, and a gateway behind a firewall that knows both ways.
fn scene(seed: u64, firewall: Firewall) -> (World, Handle<Relay>, Handle<Gateway>) {
    let mut world = World::seeded(seed);
    let relay = world.relay_with("a", |config| {
        for listen in &mut config.listen {
            *listen = Listen::from(listen.addr);
        }
    });
    let both = |config: &mut adit_core::gateway::Config| {
        for relay in &mut config.relays {
            let tcp = RelayWay { transport: Transport::Tcp, ..relay.ways[0].clone() };
            relay.ways.insert(0, tcp);
        }
    };
    let nat = Nat::symmetric();
    let gateway = world.gateway("gw").behind(nat).firewalled(firewall).configured(both).on([relay]);
    (world, relay, gateway)
}

fn over(world: &World, gateway: Handle<Gateway>) -> Option<Over> {
    let states = world.machine(gateway).relays();
    matches!(states[0].standing, Standing::Allocated { .. }).then_some(states[0].over)
}

fn assert_carries(world: &mut World, gateway: Handle<Gateway>) {
    let stream = world.connector().open(gateway, "tcp://echo:7");
    world.transfer(stream, 256 * KIB);
    assert!(world.run_until(secs(120), |world| world.party(stream).is_over()));
    assert!(world.received(stream) == world.sent(stream));
}

#[test]
fn udp_is_the_way_where_both_work() {
    let (mut world, _, gateway) = scene(1, Firewall::stateful());
    world.await_gateway(gateway);
    assert_eq!(over(&world, gateway), Some(Over::Udp));
    assert_carries(&mut world, gateway);
}

#[test]
fn a_network_that_drops_udp_is_crossed_by_tcp() {
    let (mut world, _, gateway) = scene(2, Firewall::without_udp());
    world.run_for(secs(6));
    assert_eq!(over(&world, gateway), Some(Over::Tcp), "after four seconds of patience");
    assert_carries(&mut world, gateway);
}

#[test]
fn tcp_carries_a_tunnel_through_loss_and_little_room() {
    let (mut world, _, gateway) = scene(3, Firewall::without_udp());
    world.set_usual_link(Link::default().losing(1.percent()).at_rate(200_000));
    world.await_gateway(gateway);
    assert_carries(&mut world, gateway);
}

#[test]
fn a_gateway_comes_back_to_udp_and_no_stream_is_lost_by_that() {
    let (mut world, _, gateway) = scene(4, Firewall::without_udp());
    world.await_gateway(gateway);
    let before = world.addresses(gateway).to_vec();
    let connector = world.connector().start();
    let stream = world.open(connector, gateway, "tcp://echo:7");
    world.say(stream, b"over TCP");
    world.run_for(secs(120));
    assert_eq!(over(&world, gateway), Some(Over::Tcp), "it is tried, and does not work");
    world.set_firewall(gateway, Some(Firewall::stateful()));
    world.run_for(secs(300));
    assert_eq!(over(&world, gateway), Some(Over::Udp));
    assert_ne!(
        world.addresses(gateway),
        before,
        "another allocation, and the addresses of the first are not told"
    );
    world.say(stream, b", and still");
    world.finish(stream);
    assert!(world.run_until(secs(60), |world| world.party(stream).is_over()));
    assert_eq!(world.party(stream).heard_end(), Some(End::Finished));
    assert!(world.received(stream) == world.sent(stream));
    assert_carries(&mut world, gateway);
    // Nobody uses the first allocation any more.
    world.run_for(secs(600));
    assert_eq!(world.machine(gateway).holdings().sockets, 1);
}

#[test]
fn a_gateway_whose_relay_is_started_again_comes_back_over_tcp() {
    let (mut world, relay, gateway) = scene(5, Firewall::without_udp());
    world.await_gateway(gateway);
    world.kill(relay);
    world.run_for(secs(30));
    assert_eq!(over(&world, gateway), None);
    world.restart(relay);
    world.run_for(secs(90));
    assert_eq!(over(&world, gateway), Some(Over::Tcp));
    assert_carries(&mut world, gateway);
}

#[test]
fn the_same_seed_gives_the_same_world_with_links_in_it() {
    let hash = || {
        let (mut world, _, gateway) = scene(6, Firewall::without_udp());
        world.await_gateway(gateway);
        assert_carries(&mut world, gateway);
        world.trace().hash()
    };
    assert_eq!(hash(), hash());
}
