//! Certificates and credentials in simulated worlds: what runs out, what is renewed, and what outlives a crash.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::time::Duration;

use adit_core::client::Lost;
use adit_core::connector::{self, Connector};
use adit_core::gateway::{self, Gateway, RelayLost};
use adit_core::pki::Role;
use adit_core::relay::Relay;
use adit_sim::{Handle, KIB, Nat, Stream, Validity, World, secs};

const HOUR: Duration = secs(3600);

fn with_relay() -> (World, Handle<Relay>) {
    let mut world = World::seeded(11);
    let relay = world.relay("a");
    (world, relay)
}

fn losses(world: &World, gateway: Handle<Gateway>) -> Vec<RelayLost> {
    let lost = |event: &gateway::Event| match event {
        gateway::Event::RelayLost { reason, .. } => Some(reason.clone()),
        _ => None,
    };
    world.news(gateway).iter().filter_map(lost).collect()
}

fn echoes(world: &mut World, from: Handle<Connector>, through: Handle<Gateway>) -> bool {
    let stream = world.open(from, through, "tcp://echo:7");
    world.transfer(stream, 10 * KIB);
    world.run_until(secs(120), |world| world.party(stream).is_over());
    world.received(stream) == world.sent(stream)
}

fn keeps_talking(world: &mut World, stream: Stream) -> bool {
    let before = world.received(stream).len();
    world.say(stream, b"tick ");
    world.run_for(secs(2));
    world.received(stream).len() == before + 5
}

/// The sentence with which the last attempt to connect failed.
fn last_failure(world: &World, of: Handle<Connector>) -> String {
    let failed = |event: &connector::Event| match event {
        connector::Event::Failed { failure, .. } => Some(failure.to_string()),
        _ => None,
    };
    world.news(of).iter().rev().find_map(failed).unwrap_or_default()
}

#[test]
fn credentials_that_run_out_cost_the_allocation_and_others_bring_it_back() {
    let (mut world, relay) = with_relay();
    let gateway = world.gateway("gw").credentials_for(secs(900)).on([relay]);
    let connector = world.connector().start();
    assert!(echoes(&mut world, connector, gateway));
    world.run_for(secs(900));
    assert!(world.run_until(HOUR, |world| world.addresses(gateway).is_empty()));
    let lost = losses(&world, gateway);
    assert!(matches!(lost[..], [RelayLost::Client(Lost::Unauthorized { code: 401, .. }), ..]), "{lost:?}");
    // What was allocated with them is gone from the relay too, for good.
    world.run_for(HOUR);
    assert_eq!(world.machine(relay).allocations(), 0);
    world.renew(gateway);
    world.await_gateway(gateway);
    assert!(echoes(&mut world, connector, gateway));
}

#[test]
fn credentials_that_are_renewed_in_time_are_noticed_by_nobody() {
    let (mut world, relay) = with_relay();
    let gateway = world.gateway("gw").behind(Nat::symmetric()).credentials_for(secs(900)).renewing();
    let gateway = gateway.on([relay]);
    let connector = world.connector().start();
    let stream = world.open(connector, gateway, "tcp://echo:7");
    for _ in 0..12 {
        assert!(keeps_talking(&mut world, stream));
        world.run_for(secs(600));
    }
    assert!(losses(&world, gateway).is_empty());
    assert!(echoes(&mut world, connector, gateway));
}

#[test]
fn a_gateway_whose_certificate_runs_out_is_believed_by_nobody_new() {
    let (mut world, relay) = with_relay();
    let gateway = world.gateway("gw").valid(Validity::For(HOUR)).on([relay]);
    let early = world.connector().start();
    let stream = world.open(early, gateway, "tcp://echo:7");
    world.run_for(HOUR + secs(60));
    assert!(keeps_talking(&mut world, stream), "what runs goes on");
    let late = world.connector().start();
    assert!(!echoes(&mut world, late, gateway));
    let sentence = last_failure(&world, late);
    assert!(sentence.contains("expired"), "{sentence}");
    world.renew(gateway);
    assert!(echoes(&mut world, late, gateway));
}

#[test]
fn certificates_that_are_renewed_in_time_last_for_two_days() {
    let (mut world, relay) = with_relay();
    let gateway = world.gateway("gw").valid(Validity::For(24 * HOUR)).renewing().on([relay]);
    let connector = world.connector().valid(Validity::For(HOUR)).renewing().start();
    for _ in 0..4 {
        world.run_for(12 * HOUR);
        assert!(echoes(&mut world, connector, gateway), "{}", last_failure(&world, connector));
    }
    // Others that come for the first time find it as good.
    let late = world.connector().start();
    assert!(echoes(&mut world, late, gateway));
}

#[test]
fn a_connector_whose_certificate_was_renewed_is_let_in_again() {
    let (mut world, relay) = with_relay();
    let gateway = world.gateway("gw").on([relay]);
    let connector = world.connector().valid(Validity::For(HOUR)).start();
    world.run_for(2 * HOUR);
    assert!(!echoes(&mut world, connector, gateway));
    world.renew(connector);
    assert!(echoes(&mut world, connector, gateway), "{}", last_failure(&world, connector));
}

#[test]
fn a_gateway_that_crashes_comes_back_as_who_it_was() {
    let (mut world, relay) = with_relay();
    let gateway = world.gateway("gw").on([relay]);
    let connector = world.connector().start();
    assert!(echoes(&mut world, connector, gateway));
    let before = world.certificate(gateway).chain().to_vec();
    world.kill(gateway);
    world.run_for(secs(30));
    world.restart(gateway);
    assert_eq!(world.certificate(gateway).chain(), before);
    assert!(echoes(&mut world, connector, gateway));
}

#[test]
fn a_gateway_that_lost_its_disk_comes_back_as_another_instance() {
    let (mut world, relay) = with_relay();
    let gateway = world.gateway("gw").on([relay]);
    let connector = world.connector().start();
    assert!(echoes(&mut world, connector, gateway));
    let before = world.certificate(gateway).identity().clone();
    world.reinstall(gateway);
    let after = world.certificate(gateway).identity().clone();
    let [Role::Gateway { instance: first, .. }, Role::Gateway { instance: second, .. }] =
        [before.role, after.role]
    else {
        panic!("gateways have instances")
    };
    assert_ne!(first, second);
    assert!(echoes(&mut world, connector, gateway), "{}", last_failure(&world, connector));
}

#[test]
fn papers_that_ran_out_during_a_crash_are_of_no_use_until_they_are_renewed() {
    let (mut world, relay) = with_relay();
    let gateway = world.gateway("gw").credentials_for(HOUR).valid(Validity::For(HOUR)).on([relay]);
    world.await_gateway(gateway);
    world.kill(gateway);
    world.run_for(2 * HOUR);
    world.restart(gateway);
    world.run_for(secs(60));
    assert!(world.addresses(gateway).is_empty());
    assert!(!losses(&world, gateway).is_empty());
    world.renew(gateway);
    world.await_gateway(gateway);
    let connector = world.connector().start();
    assert!(echoes(&mut world, connector, gateway));
}

#[test]
fn whoever_was_dead_or_asleep_when_renewal_was_due_renews_afterwards() {
    let (mut world, relay) = with_relay();
    let gateway = world.gateway("gw").credentials_for(HOUR).renewing().on([relay]);
    let other = world.gateway("other").credentials_for(HOUR).renewing().on([relay]);
    world.await_gateway(gateway);
    world.await_gateway(other);
    world.kill(gateway);
    world.sleep(other, 2 * HOUR);
    world.run_for(2 * HOUR);
    world.restart(gateway);
    world.run_for(secs(90));
    let connector = world.connector().start();
    for through in [gateway, other] {
        world.await_gateway(through);
        assert!(echoes(&mut world, connector, through));
    }
}

#[test]
fn a_relay_whose_clock_runs_ahead_finds_credentials_run_out_early() {
    let (mut world, relay) = with_relay();
    let gateway = world.gateway("gw").credentials_for(HOUR).on([relay]);
    world.await_gateway(gateway);
    world.jump(relay, 2 * HOUR);
    assert!(world.run_until(HOUR / 2, |world| world.addresses(gateway).is_empty()));
    world.jump_back(relay, 2 * HOUR);
    world.await_gateway(gateway);
}
