//! Platforms that come from a backup: what they know works, and what they cannot know ends nothing by itself.

use std::path::Path;
use std::time::Duration;

use adit_platform::backup::{backup, restore};
use adit_platform::fault::Faults;
use adit_platform::home::Home;
use adit_tests::postgres::PASSWORD;
use serde_json::json;

use crate::lost::{A_WHILE, scan};
use crate::world::{Instance, Issued, World, eventually};

/// The platform in another directory, from a backup and the root keys; the one before has ended.
fn from_backup(world: &World, file: &Path) -> Instance {
    let directory = world.place.path("platform-2");
    std::fs::create_dir(&directory).unwrap();
    std::fs::copy(world.root_keys(), directory.join("root-keys")).unwrap();
    world.outside(restore(&Home::new(&directory, None), file, world.clock.clone())).unwrap();
    let instance = world.start("platform-2", world.address, Faults::default());
    world.wait_until_healthy(&instance);
    instance
}

#[test]
fn after_a_restoration_nothing_is_ended_before_an_administrator_confirms() {
    let (world, instance) = World::new(false);
    // The gateway's clock stays where it is: certificates of a platform that is far ahead are not valid for it yet.
    let lease = || {
        let made = world.post(&instance, "/v1/leases", json!({ "secret": "reader", "ttl": 300 }));
        Issued::of(&made.expect(201))
    };
    let (kept, revoked) = (lease(), lease());
    let file = world.path("backup");
    world.outside(backup(&instance.app.store, &file)).unwrap();
    let later = world.lease(&instance, "reader");
    instance.stop();

    let instance = from_backup(&world, &file);
    world.clock.advance(Duration::from_secs(301));
    let restored = world.get(&instance, "/v1/restored").expect(200);
    assert_eq!(restored, json!({ "paused": true, "leases": 2 }));

    // What runs out waits, and what is unknown is only told.
    assert_eq!(scan(&world, &instance), [(later.username.clone(), false)]);
    world.clock.advance(A_WHILE);
    scan(&world, &instance);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(world.users().len(), 3);
    assert_eq!(world.state(&instance, &kept.id), "active");
    // What somebody asks for is done, and what is new is as ever.
    world.delete(&instance, &format!("/v1/leases/{}", revoked.id)).expect(200);
    world.wait_for_state(&instance, &revoked.id, "revoked");
    let fresh = world.lease(&instance, "reader");
    world.delete(&instance, &format!("/v1/leases/{}", fresh.id)).expect(200);
    world.wait_for_state(&instance, &fresh.id, "revoked");

    world.post(&instance, "/v1/restored/confirm", json!({})).expect(200);
    assert_eq!(world.get(&instance, "/v1/restored").expect(200)["paused"], false);
    world.wait_for_state(&instance, &kept.id, "revoked");
    assert_eq!(scan(&world, &instance), [], "it was found before, long enough ago");
    eventually("none is left", || world.users().is_empty());
}

/// A rotation of the one user `user`, which is made too.
fn rotation(world: &World, instance: &Instance, name: &str, user: &str, every: u64) {
    world.server.superuser(&format!("CREATE ROLE {user} LOGIN"));
    let rotation = json!({
        "name": name, "database": "main", "mode": "single-user", "users": [user], "schedule": { "every": every },
    });
    world.post(instance, "/v1/rotations", rotation).expect(201);
    eventually("its first turn", || credentials(world, instance, name).is_some());
}

/// With what to log in as the user of a rotation.
fn credentials(world: &World, instance: &Instance, rotation: &str) -> Option<Issued> {
    let read = world.get(instance, &format!("/v1/rotations/{rotation}/credentials"));
    let text = |name: &str| read.body[name].as_str().unwrap().to_owned();
    (read.status == 200).then(|| Issued {
        id: rotation.to_owned(),
        username: text("username"),
        password: text("password"),
        expires_at: 0,
    })
}

/// Whether whoever reads the credentials of a rotation is let in with them.
fn lets_in(world: &World, instance: &Instance, rotation: &str) -> bool {
    let read = credentials(world, instance, rotation).unwrap();
    world.psql(&read, "SELECT 1").status.success()
}

fn is_admin(world: &World, password: &str) -> bool {
    let admin = Issued {
        id: String::new(),
        username: adit_tests::postgres::USER.to_owned(),
        password: password.to_owned(),
        expires_at: 0,
    };
    world.psql(&admin, "SELECT 1").status.success()
}

#[test]
fn databases_secrets_and_rotations_from_a_backup_work() {
    let (world, instance) = World::new(false);
    // Only the platform knows this one.
    world.post(&instance, "/v1/databases/main/rotate", json!({})).expect(200);
    assert!(!is_admin(&world, PASSWORD));
    rotation(&world, &instance, "steady", "one", 240);
    rotation(&world, &instance, "turned", "two", 86_400);
    let read = credentials(&world, &instance, "steady").unwrap();
    let kept = world.lease(&instance, "reader");
    let file = world.path("backup");
    world.outside(backup(&instance.app.store, &file)).unwrap();
    // This the backup does not know.
    world.post(&instance, "/v1/rotations/turned/rotate", json!({})).expect(200);
    instance.stop();

    let instance = from_backup(&world, &file);
    assert_eq!(credentials(&world, &instance, "steady").unwrap().password, read.password);
    assert!(lets_in(&world, &instance, "steady"));
    assert_eq!(world.psql(&kept, "SELECT name FROM goods").success().trim(), "tea");
    let fresh = world.lease(&instance, "reader");
    assert_eq!(world.psql(&fresh, "SELECT name FROM goods").success().trim(), "tea");
    let tested = world.post(&instance, "/v1/databases/main/test", json!({})).expect(200);
    assert_eq!(tested["ok"], true, "{tested}");
    // Whoever asks for it gets a password that works, whatever the server has heard since.
    assert!(!lets_in(&world, &instance, "turned"));
    world.post(&instance, "/v1/rotations/turned/rotate", json!({})).expect(200);
    assert!(lets_in(&world, &instance, "turned"));

    // What is due waits until somebody confirms, and is done then.
    world.clock.advance(Duration::from_secs(241));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(credentials(&world, &instance, "steady").unwrap().password, read.password);
    world.post(&instance, "/v1/restored/confirm", json!({})).expect(200);
    eventually("it turns", || {
        credentials(&world, &instance, "steady").is_some_and(|now| now.password != read.password)
    });
    assert!(lets_in(&world, &instance, "steady"));
    assert!(!world.psql(&read, "SELECT 1").status.success());
    for issued in [&kept, &fresh] {
        world.delete(&instance, &format!("/v1/leases/{}", issued.id)).expect(200);
        world.wait_for_state(&instance, &issued.id, "revoked");
        assert!(!world.has_user(&issued.username));
    }
    world.post(&instance, "/v1/databases/main/rotate", json!({})).expect(200);
}
