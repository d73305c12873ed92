//! A user that is made after its lease has ended: whoever ended that has found none.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use adit_platform::fault::Faults;
use reqwest::Method;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::world::{Instance, LONG, World, answer, eventually};

/// Longer than the test takes: what ends a claim is the clock, which the test moves.
const CLAIM: Duration = Duration::from_secs(240);

/// Where whoever is about to make a user waits, once it is shut.
struct Gate {
    shut: AtomicBool,
    waiting: AtomicUsize,
    made: AtomicUsize,
    open: Semaphore,
}

impl Gate {
    fn new() -> Arc<Self> {
        let (waiting, made) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { shut: AtomicBool::new(false), waiting, made, open: Semaphore::new(0) })
    }

    fn faults(self: &Arc<Self>) -> Faults {
        let gate = self.clone();
        Faults::new(move |step| {
            let (gate, step) = (gate.clone(), step.to_owned());
            async move { gate.pass(&step).await }
        })
    }

    async fn pass(&self, step: &str) {
        if !self.shut.load(Ordering::SeqCst) {
            return;
        }
        match step {
            "lease.create:turn" => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                self.open.acquire().await.unwrap().forget();
            }
            "lease.create:committed" => drop(self.made.fetch_add(1, Ordering::SeqCst)),
            _ => {}
        }
    }
}

fn creating(world: &World, instance: &Instance) -> Vec<String> {
    let listed = world.get(instance, "/v1/leases?state=creating").expect(200);
    let items = listed["items"].as_array().unwrap();
    items.iter().map(|lease| lease["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_user_that_comes_after_its_lease_has_ended_goes_at_once() {
    let gate = Gate::new();
    let (world, instance) = World::that_claims_for(CLAIM, false, gate.faults());
    let living = world.lease(&instance, "reader");
    gate.shut.store(true, Ordering::SeqCst);
    let (sender, answers) = mpsc::channel();
    for _ in 0..2 {
        let request = world.request(&instance, &world.admin(), Method::POST, "/v1/leases");
        let (request, sender) = (request.json(&json!({ "secret": "reader", "ttl": 600 })), sender.clone());
        world.in_the_background(async move { sender.send(answer(request).await).unwrap() });
    }
    eventually("both are about to be made", || gate.waiting.load(Ordering::SeqCst) == 2);

    // Somebody revokes one; of the other, the time is over in which it had to be made.
    let late = creating(&world, &instance);
    assert_eq!(late.len(), 2);
    let path = format!("/v1/leases/{}", late[0]);
    let revoke = world.request(&instance, &world.admin(), Method::DELETE, &path);
    world.in_the_background(async move { drop(revoke.send().await) });
    world.wait_for_state(&instance, &late[0], "revoking");
    world.clock.advance(CLAIM + Duration::from_secs(1));
    for id in &late {
        world.wait_for_state(&instance, id, "revoked");
    }
    assert_eq!(gate.made.load(Ordering::SeqCst), 0);

    gate.open.add_permits(2);
    for _ in 0..2 {
        answers.recv_timeout(LONG).unwrap().problem(409, "lease-ended");
    }
    assert_eq!(gate.made.load(Ordering::SeqCst), 2, "both were made all the same");
    assert_eq!(world.users(), [living.username.as_str()]);
    for id in &late {
        assert_eq!(world.state(&instance, id), "revoked");
    }
}
