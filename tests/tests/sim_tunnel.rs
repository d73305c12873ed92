//! Whole tunnels in simulated worlds: what must work, whatever the network does.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::time::Duration;

use adit_core::client::Families;
use adit_core::connector::Connector;
use adit_core::gateway::Gateway;
use adit_core::relay::Relay;
use adit_sim::{End, Handle, KIB, Link, MIB, Nat, Percent, Stream, Target, World, secs};

/// A world with one of each, nothing opened yet.
fn tunnel(mut world: World) -> (World, Handle<Relay>, Handle<Gateway>, Handle<Connector>) {
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    let connector = world.connector().start();
    (world, relay, gateway, connector)
}

/// Every stream came back whole and ended in order.
fn assert_echoed(world: &World, streams: &[Stream]) {
    for &stream in streams {
        assert!(world.received(stream) == world.sent(stream), "{stream:?} differs");
        assert_eq!(world.party(stream).heard_end(), Some(End::Finished));
        assert_eq!(world.party(stream).said_end(), Some(End::Finished));
    }
}

/// A link that does everything that a link may do.
fn hostile() -> Link {
    Link::of(Duration::from_millis(10))
        .jittering(Duration::from_millis(2))
        .losing(5.percent())
        .duplicating(5.percent())
        .reordering(5.percent())
}

/// Moves 10 MB over 50 streams and says what the trace was.
fn move_ten_megabytes(seed: u64) -> (u64, u64) {
    let (mut world, _, gateway, connector) = tunnel(World::seeded(seed));
    world.set_usual_link(hostile());
    let streams: Vec<_> = (0..50).map(|_| world.open(connector, gateway, "tcp://echo:7")).collect();
    for &stream in &streams {
        world.transfer(stream, 10_000_000 / 50);
    }
    world.run_until_quiet();
    assert_echoed(&world, &streams);
    (world.trace().hash(), world.trace().packets())
}

#[test]
fn ten_megabytes_over_fifty_streams_survive_loss_reordering_and_duplication_alike_for_a_seed() {
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(|| move_ten_megabytes(7));
        (move_ten_megabytes(7), other.join().unwrap())
    });
    assert_eq!(first, second);
}

#[test]
fn another_seed_is_another_world() {
    let trace = |seed| {
        let (mut world, _, gateway, connector) = tunnel(World::seeded(seed));
        world.set_usual_link(hostile());
        let stream = world.open(connector, gateway, "tcp://echo:7");
        world.transfer(stream, 64 * KIB);
        world.run_until_quiet();
        world.trace().hash()
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

#[test]
fn every_kind_of_nat_in_front_of_the_gateway_works() {
    for nat in Nat::kinds() {
        let kind = nat.kind();
        let mut world = World::seeded(1);
        let relay = world.relay("a");
        let gateway = world.gateway("gw").behind(nat).on([relay]);
        let stream = world.connector().open(gateway, "tcp://echo:7");
        world.transfer(stream, 64 * KIB);
        world.run_until_quiet();
        assert!(world.received(stream) == world.sent(stream), "{kind:?}");
    }
}

#[test]
fn every_kind_of_nat_in_front_of_the_connector_works() {
    for nat in Nat::kinds() {
        let kind = nat.kind();
        let mut world = World::seeded(1);
        let relay = world.relay("a");
        let gateway = world.gateway("gw").on([relay]);
        let stream = world.connector().behind(nat).open(gateway, "tcp://echo:7");
        world.transfer(stream, 64 * KIB);
        world.run_until_quiet();
        assert!(world.received(stream) == world.sent(stream), "{kind:?}");
    }
}

#[test]
fn symmetric_nats_on_both_sides_work() {
    let mut world = World::seeded(1);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").behind(Nat::symmetric()).on([relay]);
    let stream = world.connector().behind(Nat::symmetric()).open(gateway, "tcp://echo:7");
    world.transfer(stream, MIB);
    world.run_until_quiet();
    assert_echoed(&world, &[stream]);
}

#[test]
fn a_stream_outlives_a_nat_of_its_connector_that_forgets() {
    let mut world = World::seeded(7);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    let connector = world.connector().behind(Nat::symmetric()).start();
    let stream = world.open(connector, gateway, "tcp://echo:7");
    world.transfer(stream, 4 * MIB).at(50.percent()).then(move |world| world.rebind(connector));
    world.run_until_quiet();
    assert_echoed(&world, &[stream]);
}

#[test]
fn an_idle_tunnel_keeps_its_way_through_impatient_nats() {
    let mut world = World::seeded(7);
    let relay = world.relay("a");
    let impatient = || Nat::symmetric().expiring_after(secs(30));
    let gateway = world.gateway("gw").behind(impatient()).on([relay]);
    let connector = world.connector().behind(impatient()).start();
    let stream = world.open(connector, gateway, "tcp://echo:7");
    world.say(stream, b"before");
    world.run_for(secs(1800));
    world.say(stream, b" and after");
    world.run_for(secs(1));
    assert_eq!(world.received(stream), b"before and after");
}

#[test]
fn a_gateway_that_waits_behind_an_impatient_nat_stays_reachable() {
    let mut world = World::seeded(7);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").behind(Nat::symmetric().expiring_after(secs(30))).on([relay]);
    world.await_gateway(gateway);
    for minutes in [1, 3, 10, 30] {
        world.run_for(secs(60 * minutes));
        let stream = world.connector().open(gateway, "tcp://echo:7");
        world.transfer(stream, KIB);
        world.run_until_quiet();
        assert_echoed(&world, &[stream]);
        world.run_for(secs(60));
    }
}

#[test]
fn a_tunnel_works_over_ipv6() {
    let (mut world, _, gateway, connector) = tunnel(World::seeded(6).over(Families::V6));
    let stream = world.open(connector, gateway, "tcp://echo:7");
    world.transfer(stream, MIB);
    world.run_until_quiet();
    assert_echoed(&world, &[stream]);
    assert!(world.addresses(gateway).iter().all(std::net::SocketAddr::is_ipv6));
}

#[test]
fn a_gateway_with_both_families_is_reached_by_each() {
    let (mut world, _, gateway, connector) = tunnel(World::seeded(6).over(Families::Both));
    world.await_gateway(gateway);
    let addresses = world.addresses(gateway).to_vec();
    let count = |v4: bool| addresses.iter().filter(|address| address.is_ipv4() == v4).count();
    assert_eq!((count(true), count(false)), (1, 1));
    let key = world.gateway_key(connector, gateway);
    for address in addresses {
        let target = "tcp://echo:7".parse().unwrap();
        let pipe = world.call(connector, |connector, now| {
            connector.set_addresses(now, key, vec![address]);
            connector.open(now, key, &target).unwrap()
        });
        let stream = world.attend(connector, pipe);
        world.transfer(stream, 64 * KIB);
        world.run_until_quiet();
        assert_echoed(&world, &[stream]);
    }
}

#[test]
fn bytes_wait_for_a_slow_way_and_none_is_lost() {
    let (mut world, _, gateway, connector) = tunnel(World::seeded(5));
    world.set_usual_link(Link::of(Duration::from_millis(30)).at_rate(250_000));
    let stream = world.open(connector, gateway, "tcp://echo:7");
    world.transfer(stream, MIB);
    world.run_until_quiet();
    assert_echoed(&world, &[stream]);
    assert!(world.elapsed() > secs(4), "250 kB/s carry a MiB in no less than four seconds");
}

#[test]
fn the_narrowest_path_carries_bulk() {
    for (families, mtu) in [(Families::V4, 1280), (Families::V6, 1300)] {
        let (mut world, _, gateway, connector) = tunnel(World::seeded(5).over(families));
        world.set_usual_link(Link::default().with_mtu(mtu));
        let stream = world.open(connector, gateway, "tcp://echo:7");
        world.transfer(stream, MIB);
        world.run_until_quiet();
        assert_echoed(&world, &[stream]);
    }
}

#[test]
fn each_direction_of_a_stream_ends_by_itself() {
    let (mut world, _, gateway, connector) = tunnel(World::seeded(5));
    world.target("source", 19, Target::Source(vec![7; 300_000]));
    let gateway_too = {
        let relay = world.relay("b");
        world.gateway("gw-2").allowing("tcp://source:19").on([relay])
    };
    let reader = world.open(connector, gateway_too, "tcp://source:19");
    let writer = world.open(connector, gateway, "tcp://sink:9");
    world.run_for(secs(5));
    assert_eq!(
        (world.received(reader).len(), world.party(reader).heard_end()),
        (300_000, Some(End::Finished))
    );
    assert_eq!(world.party(reader).said_end(), None);
    world.say(reader, b"still listening?");
    world.finish(reader);
    world.transfer(writer, 300_000);
    world.run_until_quiet();
    assert_eq!(world.connections(gateway_too).next().unwrap().received(), b"still listening?");
    assert!(world.connections(gateway).next().unwrap().received() == world.sent(writer));
}

#[test]
fn who_only_listens_may_say_so_before_there_is_a_connection() {
    let mut world = World::seeded(5);
    let relay = world.relay("a");
    world.target("source", 19, Target::Source(vec![7; 1000]));
    let gateway = world.gateway("gw").allowing("tcp://source:19").on([relay]);
    let stream = world.connector().open(gateway, "tcp://source:19");
    world.finish(stream);
    world.run_until_quiet();
    assert_eq!(world.received(stream).len(), 1000);
    assert_eq!(world.party(stream).heard_end(), Some(End::Finished));
}

#[test]
fn a_target_that_breaks_off_resets_its_stream_and_no_other() {
    let (mut world, relay, _, connector) = tunnel(World::seeded(5));
    world.target("fragile", 1, Target::Breaks(1000));
    let gateway = world.gateway("gw-2").allowing("tcp://fragile:1").on([relay]);
    let healthy = world.open(connector, gateway, "tcp://echo:7");
    let broken = world.open(connector, gateway, "tcp://fragile:1");
    world.transfer(broken, 64 * KIB);
    world.transfer(healthy, 64 * KIB);
    world.run_until_quiet();
    assert_eq!(world.party(broken).heard_end(), Some(End::Reset));
    assert_echoed(&world, &[healthy]);
}

#[test]
fn an_application_that_hangs_up_closes_the_target_s_connection() {
    let (mut world, _, gateway, connector) = tunnel(World::seeded(5));
    let stream = world.open(connector, gateway, "tcp://echo:7");
    world.say(stream, b"hello");
    world.run_for(secs(1));
    world.hang_up(stream);
    world.run_until_quiet();
    let target = world.connections(gateway).next().unwrap();
    assert_eq!((target.received(), target.heard_end()), (&b"hello"[..], Some(End::Reset)));
}

#[test]
fn five_hundred_streams_share_one_connection() {
    let (mut world, _, gateway, connector) = tunnel(World::seeded(5));
    let streams: Vec<_> = (0..500).map(|_| world.open(connector, gateway, "tcp://echo:7")).collect();
    for &stream in &streams {
        world.transfer(stream, 2 * KIB);
    }
    world.run_until_quiet();
    assert_echoed(&world, &streams);
    assert_eq!(world.machine(gateway).connections(), 1);
}

#[test]
fn the_relay_never_sees_the_plaintext() {
    let (mut world, relay, gateway, connector) = tunnel(World::seeded(5));
    world.capture(relay);
    let marker = b"the marker that no relay may see";
    let stream = world.open(connector, gateway, "tcp://echo:7");
    for _ in 0..100 {
        world.say(stream, marker);
    }
    world.finish(stream);
    world.run_until_quiet();
    assert_echoed(&world, &[stream]);
    let captured = world.captured(relay);
    assert!(captured.iter().map(|packet| packet.payload.len()).sum::<usize>() > 4 * 100 * marker.len());
    // Half a marker is sought, so that one which is split over two packets is found as well.
    for half in [&marker[..16], &marker[16..]] {
        assert!(!captured.iter().any(|packet| packet.payload.windows(16).any(|window| window == half)));
    }
}

#[test]
fn everything_goes_back_to_nothing() {
    let (mut world, relay, gateway, connector) = tunnel(World::seeded(5));
    let streams: Vec<_> = (0..20).map(|_| world.open(connector, gateway, "tcp://echo:7")).collect();
    for &stream in &streams {
        world.transfer(stream, 10 * KIB);
    }
    world.run_until_quiet();
    world.run_for(secs(5));
    assert_eq!((world.machine(connector).pipes(), world.machine(gateway).pipes()), (0, 0));
    assert_eq!((world.open_pipes(connector), world.open_pipes(gateway)), (0, 0));
    assert_eq!(world.sockets(relay), 2, "one listens, one is relayed");

    world.call(connector, Connector::close);
    world.run_for(secs(5));
    assert_eq!(world.machine(gateway).connections(), 0);
    world.call(gateway, Gateway::close);
    world.run_for(secs(5));
    assert_eq!((world.sockets(relay), world.sockets(gateway)), (1, 0));
}
