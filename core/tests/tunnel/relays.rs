//! Relays that die, for a while or for good, while others live on.

use std::time::Duration;

use adit_core::client::Lost;
use adit_core::gateway::{Event, RelayLost, Standing};

use super::ECHO;
use crate::world::{Node, SECOND, Setup, World};

const MINUTE: Duration = Duration::from_secs(60);

/// The pauses before the attempts on the first relay.
fn pauses(world: &World) -> Vec<Duration> {
    let pause = |event: &Event| match event {
        Event::RelayLost { relay: 0, retry_in, .. } => Some(*retry_in),
        _ => None,
    };
    world.at_gateway.iter().filter_map(pause).collect()
}

/// Each is longer than the one before until a minute is near, and no two gateways would come at the same time.
fn assert_growing_with_jitter(pauses: &[Duration]) {
    assert!(pauses.len() > 10, "{pauses:?}");
    for pair in pauses.windows(2) {
        assert!(pair[1] > pair[0] || pair[1] >= 36 * SECOND, "{pauses:?}");
    }
    assert!(pauses.iter().all(|&pause| pause <= MINUTE), "{pauses:?}");
    let last = &pauses[pauses.len() - 3..];
    assert!(last[0] != last[1] && last[1] != last[2], "{pauses:?}");
}

#[test]
fn a_relay_that_stays_dead_is_tried_ever_less_often_and_the_other_serves() {
    for host in ["9.0.0.1", "relay.internal"] {
        let named =
            |config: &mut adit_core::gateway::Config| config.relays[0].ways[0].host = "relay.internal".into();
        let by_name = host == "relay.internal";
        let mut world = World::made_of(Setup {
            relays: 2,
            gateway: if by_name { named } else { |_| {} },
            ..Setup::default()
        });
        world.names.insert("relay.internal".into(), vec!["9.0.0.1".parse().unwrap()]);
        world.live(3 * SECOND);
        let both = world.gateway.addresses();
        world.set_addresses(both.clone());
        assert_eq!(both.len(), 2);
        assert!(matches!(world.gateway.relays()[0].standing, Standing::Allocated { .. }));

        world.silent.insert(Node::Relay(0));
        let died = world.now;
        world.set_addresses(vec![both[1]]);
        let (here, there) = world.open(ECHO);
        world.live(30 * MINUTE);
        world.transfer((Node::Connector, here), (Node::Gateway, there), b"goes on");
        assert_growing_with_jitter(&pauses(&world));
        assert_eq!(world.gateway.addresses(), [both[1]]);

        let states = world.gateway.relays();
        let [dead, alive] = &states[..] else { panic!("{states:?}") };
        assert_eq!((dead.relay, dead.host.as_str(), dead.port), (0, host, 3478));
        let Standing::Lost { since, reason: RelayLost::Client(Lost::Unreachable) } = dead.standing else {
            panic!("{dead:?}")
        };
        assert!(since > died && since < died + 2 * MINUTE);
        assert!(dead.relayed.is_empty());
        assert_eq!((alive.relay, &alive.relayed[..]), (1, &both[1..]));

        // It comes back, and is found within a minute and an attempt.
        world.silent.clear();
        world.live(2 * MINUTE);
        assert_eq!(world.gateway.addresses().len(), 2);
    }
}

#[test]
fn a_dead_relay_that_is_removed_is_tried_no_more() {
    let mut world = World::ready_with(Setup { relays: 2, ..Setup::default() });
    world.silent.insert(Node::Relay(0));
    world.live(10 * MINUTE);
    world.gateway.remove_relay(world.now, 0);
    world.live(MINUTE);
    world.at_gateway.clear();
    let before = world.carried;
    world.live(10 * MINUTE);
    assert!(pauses(&world).is_empty());
    // What is left is the other relay's: a refresh and its answer every 25 s, and permissions.
    assert!(world.carried - before < 100, "{} datagrams", world.carried - before);
    let states = world.gateway.relays();
    assert!(matches!(&states[..], [alive] if alive.relay == 1), "{states:?}");
}

#[test]
fn a_name_that_is_not_found_is_looked_up_ever_less_often() {
    let mut world = World::made_of(Setup {
        relays: 2,
        gateway: |config| config.relays[0].ways[0].host = "nowhere.internal".into(),
        ..Setup::default()
    });
    let began = world.now;
    world.live(20 * MINUTE);
    assert_growing_with_jitter(&pauses(&world));
    let standing = &world.gateway.relays()[0].standing;
    let Standing::Lost { since, reason: RelayLost::Unresolved(_) } = *standing else {
        panic!("{standing:?}")
    };
    assert_eq!(since, began);
    world.names.insert("nowhere.internal".into(), vec!["9.0.0.1".parse().unwrap()]);
    world.live(2 * MINUTE);
    assert_eq!(world.gateway.addresses().len(), 2);
}
