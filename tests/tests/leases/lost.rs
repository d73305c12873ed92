//! Users that are leases of nobody, and platforms that come from a backup.

use std::time::Duration;

use adit_platform::backup::{backup, restore};
use adit_platform::fault::Faults;
use adit_platform::home::Home;
use serde_json::{Value, json};

use crate::world::{Instance, Issued, World, eventually};

fn scan(world: &World, instance: &Instance) -> Vec<(String, bool)> {
    let found = world.post(instance, "/v1/databases/main/scan", json!({})).expect(200);
    let of = |item: &Value| (item["username"].as_str().unwrap().to_owned(), item["ours"].as_bool().unwrap());
    found["items"].as_array().unwrap().iter().map(of).collect()
}

/// Longer than any claim and its work last.
const A_WHILE: Duration = Duration::from_secs(20);

#[test]
fn only_what_is_provably_ours_and_lost_is_dropped() {
    let (world, instance) = World::new(false);
    let (lost, living) = (world.lease(&instance, "reader"), world.lease(&instance, "reader"));
    let sql = |text: &str| world.server.superuser(text);
    sql("CREATE ROLE \"v-admin-reader-0123456789abcdef\" LOGIN");
    let comment = sql(&format!(
        "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = '{}'",
        lost.username
    ));
    sql(&format!("CREATE ROLE copied LOGIN; COMMENT ON ROLE copied IS '{}'", comment.trim()));
    sql("CREATE ROLE theirs LOGIN");
    sql("COMMENT ON ROLE theirs IS 'adit lease v1 installation=another epoch=e lease=l code=AAAA'");
    world.outside(async {
        let mut change = instance.app.store.quiet_change("installation").await.unwrap();
        let forget = sqlx::query::<sqlx::Any>("DELETE FROM leases WHERE id = $1").bind(lost.id.clone());
        forget.execute(change.connection()).await.unwrap();
        change.commit().await.unwrap();
    });

    let expected =
        vec![("copied".to_owned(), false), ("theirs".to_owned(), false), (lost.username.clone(), true)];
    assert_eq!(scan(&world, &instance), expected);
    assert_eq!(scan(&world, &instance), expected, "twice at once is not twice");
    assert!(world.has_user(&lost.username));
    let orphans = world.get(&instance, "/v1/databases/main/orphans").expect(200);
    assert_eq!(orphans["items"].as_array().unwrap().len(), 3);
    for (username, status, code) in [
        ("copied", 409, "conflict"),
        ("theirs", 409, "conflict"),
        (living.username.as_str(), 409, "conflict"),
        ("nobody", 404, "not-found"),
    ] {
        world.delete(&instance, &format!("/v1/databases/main/orphans/{username}")).problem(status, code);
    }
    world.clock.advance(A_WHILE);
    scan(&world, &instance);
    assert!(!world.has_user(&lost.username), "it was seen before, long enough ago");
    assert!(world.audit(&instance).contains("\"orphan.dropped\""));
    for kept in ["copied", "theirs", "v-admin-reader-0123456789abcdef", living.username.as_str()] {
        assert!(world.has_user(kept), "{kept}");
    }
    assert_eq!(world.state(&instance, &living.id), "active");
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

    let directory = world.place.path("platform-2");
    std::fs::create_dir(&directory).unwrap();
    std::fs::copy(world.root_keys(), directory.join("root-keys")).unwrap();
    world.outside(restore(&Home::new(&directory, None), &file, world.clock.clone())).unwrap();
    let instance = world.start("platform-2", world.address(), Faults::default());
    world.wait_until_healthy(&instance);
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
