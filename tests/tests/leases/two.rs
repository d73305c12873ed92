//! Two platform instances on one PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use adit_platform::fault::Faults;

use crate::crash::Trap;
use crate::world::{World, eventually};

#[test]
fn each_lease_is_ended_once_by_one_of_two_instances() {
    let (world, first) = World::new(true);
    let second = world.start_second(Faults::default());
    let leases: Vec<_> =
        (0..20).map(|number| world.lease(if number % 2 == 0 { &first } else { &second }, "reader")).collect();
    assert_eq!(world.users().len(), leases.len());
    world.clock.advance(Duration::from_secs(601));
    for issued in &leases {
        world.wait_for_state(&first, &issued.id, "revoked");
    }
    let audit = world.audit(&first);
    for issued in &leases {
        for action in ["\"lease.revoking\"", "\"lease.revoked\""] {
            let object = format!("\"lease:{}\"", issued.id);
            let lines = audit.lines().filter(|line| line.contains(action) && line.contains(&object));
            assert_eq!(lines.count(), 1, "{action} of {}", issued.id);
        }
    }
    assert!(world.users().is_empty());
}

#[test]
fn when_one_is_killed_in_the_middle_the_other_finishes() {
    let (world, first) = World::new(true);
    let trap = Arc::new(Trap::default());
    let second = world.start_second(trap.faults(|step| step == "lease.revoke:disabled", true));
    trap.arm();
    let leases: Vec<_> = (0..6).map(|_| world.lease(&first, "reader")).collect();
    world.clock.advance(Duration::from_secs(601));
    // Both want them; the second one gets stuck with those that it gets. If that is none, there is nothing to see.
    let all_gone = || leases.iter().all(|issued| world.state(&first, &issued.id) == "revoked");
    eventually("the second has taken one, or the first all", || {
        trap.has("lease.revoke:disabled") || all_gone()
    });
    second.crash();
    for issued in &leases {
        world.wait_for_state(&first, &issued.id, "revoked");
        assert_eq!(world.audited(&first, "lease.revoked", &issued.id), 1);
    }
    assert!(world.users().is_empty());
}
