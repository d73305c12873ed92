//! The platform is gone at each step between the first row and the last statement: at the end no user is without a
//! lease, and no lease without its user.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use adit_platform::fault::Faults;
use adit_platform::leases::STEPS;
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Instance, World, eventually};

/// Whoever comes first to a step stays there.
#[derive(Default)]
pub(crate) struct Trap {
    armed: AtomicBool,
    caught: Mutex<BTreeSet<String>>,
}

impl Trap {
    pub(crate) fn faults(self: &Arc<Self>, is_trapped: fn(&str) -> bool, every_time: bool) -> Faults {
        let trap = self.clone();
        Faults::new(move |step| {
            let is_new = || trap.caught.lock().unwrap().insert(step.to_owned());
            let stays = trap.armed.load(Ordering::SeqCst) && is_trapped(step) && (is_new() || every_time);
            async move {
                if stays {
                    std::future::pending::<()>().await;
                }
            }
        })
    }

    pub(crate) fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has(&self, step: &str) -> bool {
        self.caught.lock().unwrap().contains(step)
    }
}

fn steps_of(part: &str) -> impl Iterator<Item = &'static &'static str> {
    STEPS.iter().filter(move |step| step.starts_with(part))
}

/// Every lease that is not on its way has a user exactly if it is active.
fn users_and_leases_agree(world: &World, instance: &Instance) {
    let listed =
        || world.get(instance, "/v1/leases?limit=500").expect(200)["items"].as_array().unwrap().clone();
    let is_on_its_way = |lease: &Value| lease["state"] == "creating" || lease["state"] == "revoking";
    eventually("no lease is on its way", || !listed().iter().any(is_on_its_way));
    let active: BTreeSet<_> = listed()
        .iter()
        .filter(|lease| lease["state"] == "active")
        .map(|lease| lease["username"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(world.users().into_iter().collect::<BTreeSet<_>>(), active, "{:#?}", listed());
}

#[test]
fn making_a_lease_is_interrupted_at_every_step() {
    let trap = Arc::new(Trap::default());
    let (world, instance) = World::with(false, trap.faults(|step| step.starts_with("lease.create"), false));
    let before = world.lease(&instance, "reader");
    trap.arm();
    for step in steps_of("lease.create") {
        let request = world.request(&instance, &world.admin(), Method::POST, "/v1/leases");
        let request = request.json(&json!({ "secret": "reader", "ttl": 600 }));
        world.in_the_background(async move { drop(request.send().await) });
        eventually(step, || trap.has(step));
    }
    instance.crash();
    let instance = world.start_again();
    world.wait_until_healthy(&instance);
    users_and_leases_agree(&world, &instance);
    assert_eq!(world.state(&instance, &before.id), "active");
    // The server lets everybody in again, too.
    world.lease(&instance, "reader");
}

#[test]
fn renewing_and_revoking_is_interrupted_at_every_step() {
    let trap = Arc::new(Trap::default());
    let is_trapped = |step: &str| step.starts_with("lease.re");
    let (world, instance) = World::with(false, trap.faults(is_trapped, false));
    world.secret(
        &instance,
        json!({ "name": "thorough", "database": "main", "access": "custom",
            "creation": [
                "CREATE ROLE {{username}} LOGIN PASSWORD {{password}} VALID UNTIL {{expiration}}",
                "GRANT USAGE ON SCHEMA public TO {{username}}",
            ],
            "revocation": ["REVOKE USAGE ON SCHEMA public FROM {{username}}", "GRANT USAGE ON SCHEMA public TO {{username}}"],
        }),
    );
    let renewed = world.lease(&instance, "thorough");
    let steps: Vec<_> = steps_of("lease.revoke").collect();
    let leases: Vec<_> = steps.iter().map(|_| world.lease(&instance, "thorough")).collect();
    trap.arm();
    let renew =
        world.request(&instance, &world.admin(), Method::POST, &format!("/v1/leases/{}/renew", renewed.id));
    let renew = renew.json(&json!({ "ttl": 3600 }));
    world.in_the_background(async move { drop(renew.send().await) });
    eventually("the renewal has come so far", || trap.has("lease.renew:lengthened"));
    for (step, issued) in steps.iter().zip(&leases) {
        let path = format!("/v1/leases/{}", issued.id);
        let revoke = world.request(&instance, &world.admin(), Method::DELETE, &path);
        world.in_the_background(async move { drop(revoke.send().await) });
        eventually(step, || trap.has(step));
    }
    instance.crash();
    let instance = world.start_again();
    world.wait_until_healthy(&instance);
    users_and_leases_agree(&world, &instance);
    for issued in &leases {
        assert_eq!(world.state(&instance, &issued.id), "revoked");
        assert_eq!(world.audited(&instance, "lease.revoked", &issued.id), 1);
    }
    assert_eq!(world.users(), [renewed.username.as_str()]);
    let path = format!("/v1/leases/{}/renew", renewed.id);
    eventually("it can be renewed again", || {
        world.post(&instance, &path, json!({ "ttl": 3600 })).status == 200
    });
}

#[test]
fn a_lease_whose_maker_is_gone_with_the_answer_is_not_left_over() {
    let (world, instance) = World::new(false);
    // Nobody reads the answer, and nobody can ask for it again.
    let request = world.request(&instance, &world.admin(), Method::POST, "/v1/leases");
    let request = request.json(&json!({ "secret": "reader" }));
    for _ in 0..5 {
        let request = request.try_clone().unwrap();
        world.outside(async move {
            let _ = tokio::time::timeout(std::time::Duration::from_millis(60), request.send()).await;
        });
    }
    eventually("nothing is on its way", || {
        let listed = world.get(&instance, "/v1/leases").expect(200);
        listed["items"].as_array().unwrap().iter().all(|lease| lease["state"] != "creating")
    });
    users_and_leases_agree(&world, &instance);
}
