//! What strangers can do to a relay and to a gateway behind it: next to nothing.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::net::SocketAddr;
use std::time::Duration;

use adit_core::gateway::Gateway;
use adit_core::relay::Relay;
use adit_core::stun::{Builder, Class, Method};
use adit_sim::{Handle, KIB, Packet, World, secs};

fn scene() -> (World, Handle<Relay>, Handle<Gateway>) {
    let mut world = World::seeded(9);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    world.await_gateway(gateway);
    world.run_for(secs(1)); // its permissions
    world.capture(relay);
    (world, relay, gateway)
}

fn listening(world: &World, relay: Handle<Relay>) -> SocketAddr {
    SocketAddr::new(world.addresses_of(relay)[0], 3478)
}

fn packet(from: SocketAddr, to: SocketAddr, payload: Vec<u8>) -> Packet {
    Packet { from, to, ecn: None, payload }
}

fn allocate(number: u32) -> Vec<u8> {
    let mut transaction = [0; 12];
    transaction[..4].copy_from_slice(&number.to_be_bytes());
    Builder::new(Class::Request, Method::ALLOCATE, transaction).requested_transport(17).finish()
}

/// What the relay said to `whom`: how many datagrams, how many bytes with IPv4 and UDP headers.
fn said_to(world: &World, relay: Handle<Relay>, whom: SocketAddr) -> (usize, usize) {
    let replies = world.captured(relay).iter().filter(|packet| packet.to == whom);
    replies.fold((0, 0), |(count, bytes), packet| (count + 1, bytes + packet.payload.len() + 28))
}

#[test]
fn a_source_that_asks_ten_thousand_times_is_answered_a_few_hundred() {
    let (mut world, relay, gateway) = scene();
    let (to, victim) = (listening(&world, relay), "11.66.0.1:53".parse().unwrap());
    let mut asked = 0;
    for number in 0..10_000 {
        let request = allocate(number);
        asked += request.len() + 28;
        world.inject(packet(victim, to, request));
        world.run_for(Duration::from_micros(100));
    }
    let (count, bytes) = said_to(&world, relay, victim);
    assert!((1..=260).contains(&count), "{count} replies in a second");
    assert!(bytes <= 3 * asked * count / 10_000, "{bytes} bytes in {count} replies");
    assert_eq!(world.sockets(relay), 2, "one listens, one is the gateway's");
    assert_reachable(&mut world, gateway);
}

#[test]
fn ten_thousand_sources_leave_no_state_at_the_relay() {
    let (mut world, relay, gateway) = scene();
    let to = listening(&world, relay);
    for number in 0..10_000u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let source = SocketAddr::from(([11, 66, high, low], 4000));
        world.inject(packet(source, to, allocate(number)));
        world.run_for(Duration::from_micros(100));
    }
    assert_eq!(world.sockets(relay), 2);
    assert_reachable(&mut world, gateway);
}

#[test]
fn whoever_is_not_permitted_reaches_nobody_behind_the_relay() {
    let (mut world, relay, gateway) = scene();
    let relayed = world.addresses(gateway)[0];
    let before = world.captured(relay).len();
    let stranger = "11.66.0.1:53".parse().unwrap();
    for _ in 0..1000 {
        world.inject(packet(stranger, relayed, vec![0xC0; 1200]));
    }
    world.run_for(secs(1));
    let came_out =
        world.captured(relay)[before..].iter().filter(|packet| packet.to.ip() != relayed.ip()).count();
    assert_eq!(came_out, 0);
}

#[test]
fn first_packets_from_a_permitted_address_that_make_no_sense_keep_nobody_out() {
    let (mut world, _, gateway) = scene();
    let relayed = world.addresses(gateway)[0];
    for number in 0..3000u16 {
        // The shape of an Initial of QUIC version 1 (RFC 9000 §17.2.2), and nonsense where it should be protected.
        let mut initial = vec![0xC3, 0, 0, 0, 1, 8];
        initial.extend_from_slice(&[number.to_be_bytes(); 4].concat());
        initial.resize(1200, 0x5A);
        let source = SocketAddr::from(([11, 3, 0, 1], 10_000 + number));
        world.inject(packet(source, relayed, initial));
        world.run_for(Duration::from_micros(200));
    }
    assert_eq!(world.machine(gateway).connections(), 0);
    assert_reachable(&mut world, gateway);
}

fn assert_reachable(world: &mut World, gateway: Handle<Gateway>) {
    let stream = world.connector().open(gateway, "tcp://echo:7");
    world.transfer(stream, 10 * KIB);
    world.run_until_quiet();
    assert!(world.received(stream) == world.sent(stream) && !world.received(stream).is_empty());
}
