//! Plans by hand: what each kind of fault may do to streams, and what it must not.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::time::Duration;

use adit_sim::plan::{Act, Behind, Front, Goal, HomeKind, NatKind, Outcome, Place, Plan, Shape, Step, Way};
use adit_sim::{Dependence, Link, secs};

const NAT: NatKind =
    NatKind { mapping: Dependence::AddressAndPort, filtering: Dependence::AddressAndPort, expiry: secs(30) };
const FIREWALL: Front = Front { firewall: true, ..Front::OPEN };
const HOME: Front = Front { behind: Behind::Home, ..Front::OPEN };

/// A stream that is open for a while at 20 kB/s or so, as it is echoed over a slow link.
const LONG: Act = Act::Open { by: 0, through: 0, goal: Goal::Echo, bytes: 300_000 };
const SHORT: Act = Act::Open { by: 0, through: 0, goal: Goal::Echo, bytes: 100 };

/// What becomes of one connector and one gateway, both behind `front`, when these things happen, each at its second.
fn play(relays: usize, front: Front, acts: &[(u64, Act)]) -> Outcome {
    let steps = acts.iter().enumerate();
    let steps = steps.map(|(number, &(at, act))| Step { number, at: secs(at), act });
    let shape = Shape {
        relays,
        home: HomeKind { nat: NAT, hairpins: false },
        gateways: vec![front],
        connectors: vec![front],
        link: Link::of(Duration::from_millis(20)).at_rate(40_000),
    };
    Plan { seed: 5, shape, steps: steps.collect() }.play().unwrap()
}

/// How many streams came to nothing, and whether the others are all of the rest and the one at the end.
fn lost(outcome: Outcome, opened: usize) -> usize {
    assert_eq!(outcome.whole + outcome.excused, opened + 1, "{outcome:?}");
    outcome.excused
}

#[test]
fn who_asks_long_after_one_of_two_relays_has_died_is_served_by_the_other() {
    let dies = |relay| Act::Kill { at: Place::Relay(relay), down: secs(60), wiped: false };
    for relay in [0, 1] {
        let outcome = play(2, Front::OPEN, &[(0, SHORT), (2, dies(relay)), (45, SHORT), (60, SHORT)]);
        assert_eq!(lost(outcome, 3), 0, "relay {relay}");
    }
    // The law of endings would have said so if they had not been; where both are dead, it need not.
    let outcome = play(2, Front::OPEN, &[(0, SHORT), (2, dies(0)), (2, dies(1)), (45, SHORT)]);
    assert_eq!(lost(outcome, 2), 1);
}

#[test]
fn a_firewall_that_is_shut_for_a_moment_either_way_ends_no_stream() {
    for way in [Way::Both, Way::Out, Way::In] {
        for at in [Place::Gateway(0), Place::Connector(0)] {
            for front in [Front::OPEN, FIREWALL] {
                let shut = Act::Shut { at, way, lasts: secs(3) };
                assert_eq!(lost(play(1, front, &[(0, LONG), (2, shut)]), 1), 0, "{way} at {at}");
            }
        }
    }
}

#[test]
fn a_firewall_that_is_shut_for_longer_than_a_connection_lives_ends_what_goes_through_it() {
    for way in [Way::Both, Way::Out, Way::In] {
        let shut = Act::Shut { at: Place::Connector(0), way, lasts: secs(50) };
        assert_eq!(lost(play(1, FIREWALL, &[(0, LONG), (2, shut)]), 1), 1, "{way}");
    }
}

#[test]
fn a_firewall_that_forgets_ends_no_stream() {
    for at in [Place::Gateway(0), Place::Connector(0)] {
        assert_eq!(lost(play(1, FIREWALL, &[(0, LONG), (2, Act::Forget { at })]), 1), 0, "{at}");
    }
}

#[test]
fn other_papers_are_noticed_by_no_stream() {
    let renew = |at| Act::Renew { at };
    let both =
        [(2, renew(Place::Gateway(0))), (3, renew(Place::Connector(0))), (4, renew(Place::Gateway(0)))];
    let acts = [&[(0, LONG)], &both[..], &[(4, SHORT), (6, SHORT)]].concat();
    assert_eq!(lost(play(1, Front::OPEN, &acts), 3), 0);
}

#[test]
fn a_machine_that_has_lost_its_disk_enrols_again_and_is_reached() {
    for at in [Place::Gateway(0), Place::Connector(0), Place::Relay(0)] {
        let dies = Act::Kill { at, down: secs(1), wiped: true };
        assert_eq!(lost(play(1, Front::OPEN, &[(0, LONG), (2, dies)]), 1), 1, "{at}");
    }
}

#[test]
fn who_shares_a_nat_without_hairpins_is_reached_by_way_of_the_relay() {
    assert_eq!(lost(play(1, HOME, &[(0, LONG), (1, SHORT)]), 2), 0);
    // It forgets both, whosever it is said to be: the gateway's allocation is what is lost.
    let forgets = Act::Rebind { at: Place::Connector(0) };
    play(1, HOME, &[(0, LONG), (2, forgets), (60, SHORT)]);
}
