//! Who and what is turned away in simulated worlds, and how both ends learn why.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::time::Duration;

use adit_core::connector::{self, ConnectError, Connector, Failure};
use adit_core::gateway::{self, Gateway};
use adit_core::pki::Role;
use adit_core::relay::Relay;
use adit_core::tunnel::RejectCode;
use adit_sim::{Handle, Target, Validity, World, secs};

/// A world with a relay and a gateway on it.
fn with_gateway() -> (World, Handle<Relay>, Handle<Gateway>) {
    let mut world = World::seeded(4);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").on([relay]);
    (world, relay, gateway)
}

/// How opening `target` fails.
fn failure(world: &mut World, from: Handle<Connector>, through: Handle<Gateway>, target: &str) -> Failure {
    let before = world.news(from).len();
    let stream = world.open(from, through, target);
    assert!(world.run_until(secs(60), |world| world.party(stream).is_over()));
    let failed = |event: &connector::Event| match event {
        connector::Event::Failed { failure, .. } => Some(failure.clone()),
        _ => None,
    };
    world.news(from)[before..].iter().find_map(failed).expect("it fails")
}

/// Why no connection came about.
fn not_connected(world: &mut World, from: Handle<Connector>, through: Handle<Gateway>) -> String {
    match failure(world, from, through, "tcp://echo:7") {
        Failure::NotConnected(error @ ConnectError::Closed { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// The code of a rejection.
fn rejected(
    world: &mut World,
    from: Handle<Connector>,
    through: Handle<Gateway>,
    target: &str,
) -> RejectCode {
    match failure(world, from, through, target) {
        Failure::Rejected { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

fn refusals(world: &World, gateway: Handle<Gateway>) -> usize {
    world.news(gateway).iter().filter(|event| matches!(event, gateway::Event::Refused { .. })).count()
}

#[test]
fn a_target_that_is_not_allowed_is_never_dialled() {
    let (mut world, _, gateway) = with_gateway();
    let secret = world.target("secret", 5432, Target::Echo)[0];
    let connector = world.connector().start();
    for target in ["tcp://secret:5432".to_owned(), format!("tcp://{secret}:5432"), "tcp://echo:8".to_owned()]
    {
        assert_eq!(rejected(&mut world, connector, gateway, &target), RejectCode::Denied);
    }
    for target in
        ["tcp://169.254.169.254:80", "tcp://127.0.0.1:22", "tcp://[::ffff:127.0.0.1]:22", "tcp://0.0.0.0:7"]
    {
        assert_eq!(rejected(&mut world, connector, gateway, target), RejectCode::Denied);
    }
    assert_eq!(world.dialled().count(), 0);
}

#[test]
fn a_name_that_leads_to_a_forbidden_address_is_never_dialled() {
    let mut world = World::seeded(4);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").allowing("tcp://db:80").on([relay]);
    world.name("db", &["169.254.169.254".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
    let connector = world.connector().start();
    assert_eq!(rejected(&mut world, connector, gateway, "tcp://db:80"), RejectCode::Denied);
    assert_eq!(world.dialled().count(), 0);
}

#[test]
fn every_way_in_which_a_dial_fails_has_its_code() {
    let mut world = World::seeded(4);
    let relay = world.relay("a");
    let names = ["refuses", "silent", "unreachable", "nobody"];
    let gateway =
        names.iter().fold(world.gateway("gw"), |gateway, name| gateway.allowing(&format!("tcp://{name}:1")));
    let gateway = gateway.on([relay]);
    world.target("refuses", 1, Target::Refuses);
    world.target("silent", 1, Target::Silent);
    world.target("unreachable", 1, Target::Unreachable);
    let connector = world.connector().start();
    let codes = names.map(|name| rejected(&mut world, connector, gateway, &format!("tcp://{name}:1")));
    assert_eq!(codes, [RejectCode::Refused, RejectCode::TimedOut, RejectCode::Unreachable, RejectCode::Dns]);
    assert_eq!((world.machine(gateway).pipes(), world.machine(connector).pipes()), (0, 0));
}

#[test]
fn a_connector_is_held_to_the_targets_of_its_certificate() {
    let (mut world, _, gateway) = with_gateway();
    let connector = world.connector().restricted_to(&["tcp://sink:9"]).start();
    assert_eq!(rejected(&mut world, connector, gateway, "tcp://echo:7"), RejectCode::Denied);
    let stream = world.open(connector, gateway, "tcp://sink:9");
    world.transfer(stream, 1000);
    world.run_until_quiet();
    assert!(world.connections(gateway).next().unwrap().received() == world.sent(stream));
}

#[test]
fn a_person_comes_in_with_the_targets_of_their_certificate() {
    let (mut world, _, gateway) = with_gateway();
    let role = Role::Person { identity: "ada".parse().unwrap() };
    let connector = world.connector().as_role(role).restricted_to(&["tcp://echo:7"]).start();
    let stream = world.open(connector, gateway, "tcp://echo:7");
    world.transfer(stream, 1000);
    world.run_until_quiet();
    assert!(world.received(stream) == world.sent(stream));
    assert_eq!(rejected(&mut world, connector, gateway, "tcp://sink:9"), RejectCode::Denied);
}

#[test]
fn a_connector_with_a_certificate_of_strangers_is_turned_away() {
    let (mut world, _, gateway) = with_gateway();
    let connector = world.connector().vouched_by_a_stranger().start();
    let sentence = not_connected(&mut world, connector, gateway);
    assert!(sentence.contains("CA"), "{sentence}");
    assert!(refusals(&world, gateway) > 0);
    assert_eq!(world.dialled().count(), 0);
}

#[test]
fn a_connector_whose_certificate_has_run_out_is_turned_away() {
    let (mut world, _, gateway) = with_gateway();
    let connector = world.connector().valid(Validity::Expired).start();
    let sentence = not_connected(&mut world, connector, gateway);
    assert!(sentence.contains("expired"), "{sentence}");
    assert!(refusals(&world, gateway) > 0);
}

#[test]
fn a_connector_whose_certificate_has_not_begun_is_turned_away() {
    let (mut world, _, gateway) = with_gateway();
    let connector = world.connector().valid(Validity::NotYet).start();
    not_connected(&mut world, connector, gateway);
    assert!(refusals(&world, gateway) > 0);
}

#[test]
fn a_gateway_s_certificate_makes_no_connector() {
    let (mut world, _, gateway) = with_gateway();
    let role = Role::Gateway { gateway: "gw".parse().unwrap(), instance: "0".parse().unwrap() };
    let connector = world.connector().as_role(role).start();
    not_connected(&mut world, connector, gateway);
    assert!(refusals(&world, gateway) > 0);
}

#[test]
fn a_connector_refuses_a_gateway_of_strangers() {
    let mut world = World::seeded(4);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").vouched_by_a_stranger().on([relay]);
    let connector = world.connector().start();
    let sentence = not_connected(&mut world, connector, gateway);
    assert!(sentence.contains("CA"), "{sentence}");
}

#[test]
fn a_connector_refuses_a_gateway_whose_certificate_has_run_out() {
    let mut world = World::seeded(4);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").valid(Validity::Expired).on([relay]);
    let connector = world.connector().start();
    let sentence = not_connected(&mut world, connector, gateway);
    assert!(sentence.contains("expired"), "{sentence}");
}

#[test]
fn a_connector_of_another_organisation_gets_nowhere() {
    let (mut world, _, gateway) = with_gateway();
    let connector = world.connector().of("umbrella").start();
    let sentence = not_connected(&mut world, connector, gateway);
    assert!(sentence.contains("organisation"), "{sentence}");
    assert_eq!(world.dialled().count(), 0);
}

#[test]
fn a_peer_that_was_not_permitted_hears_nothing() {
    let mut world = World::seeded(4);
    let relay = world.relay("a");
    let gateway = world.gateway("gw").configured(|config| config.permit.clear()).on([relay]);
    let connector = world.connector().start();
    let began = world.elapsed();
    assert!(matches!(
        failure(&mut world, connector, gateway, "tcp://echo:7"),
        Failure::NotConnected(_) | Failure::TimedOut
    ));
    assert!(world.elapsed() - began >= Duration::from_secs(5));
    assert_eq!(world.machine(gateway).connections(), 0);
}

#[test]
fn a_relay_that_forbids_the_peer_says_so_to_the_gateway() {
    let mut world = World::seeded(4);
    let relay =
        world.relay_with("a", |config| config.policy = adit_core::turn::address_policy::Policy::deny_all());
    let gateway = world.gateway("gw").on([relay]);
    world.run_for(secs(10));
    let denied = |event: &gateway::Event| matches!(event, gateway::Event::PermissionDenied { code: 403, .. });
    assert!(world.news(gateway).iter().any(denied), "{:?}", world.news(gateway));
}

#[test]
fn a_connector_whose_certificate_runs_out_opens_nothing_new_and_keeps_what_runs() {
    let (mut world, _, gateway) = with_gateway();
    let connector = world.connector().valid(Validity::For(secs(3600))).start();
    let stream = world.open(connector, gateway, "tcp://echo:7");
    world.say(stream, b"before");
    world.run_for(secs(3700));
    assert_eq!(rejected(&mut world, connector, gateway, "tcp://echo:7"), RejectCode::Draining);
    world.say(stream, b" and after");
    world.run_for(secs(1));
    assert_eq!(world.received(stream), b"before and after");
}
