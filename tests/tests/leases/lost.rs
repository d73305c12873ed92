//! Users that are leases of nobody.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Instance, Issued, World};

pub(crate) fn scan(world: &World, instance: &Instance) -> Vec<(String, bool)> {
    let found = world.post(instance, "/v1/databases/main/scan", json!({})).expect(200);
    let of = |item: &Value| (item["username"].as_str().unwrap().to_owned(), item["ours"].as_bool().unwrap());
    found["items"].as_array().unwrap().iter().map(of).collect()
}

/// Takes the lease's row away, so that its user is nobody's.
fn forget(world: &World, instance: &Instance, lost: &Issued) {
    world.outside(async {
        let mut change = instance.app.store.quiet_change("installation").await.unwrap();
        let forget = sqlx::query::<sqlx::Any>("DELETE FROM leases WHERE id = $1").bind(lost.id.clone());
        forget.execute(change.connection()).await.unwrap();
        change.commit().await.unwrap();
    });
}

/// Longer than any claim and its work last.
pub(crate) const A_WHILE: Duration = Duration::from_secs(20);

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
    forget(&world, &instance, &lost);

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
fn however_many_users_others_have_none_of_ours_is_hidden() {
    let (world, instance) = World::new(false);
    let (lost, living) = (world.lease(&instance, "reader"), world.lease(&instance, "reader"));
    forget(&world, &instance, &lost);
    // More than are noted of one server, and all of them before ours by name.
    world.server.superuser(
        "DO $$ BEGIN FOR n IN 1..1500 LOOP \
         EXECUTE format('CREATE ROLE %I', 'a' || n); \
         EXECUTE format('COMMENT ON ROLE %I IS %L', 'a' || n, \
             'adit lease v1 installation=another epoch=e lease=l code=AAAA'); \
         END LOOP; END $$",
    );
    scan(&world, &instance);
    let ours = world.get(&instance, "/v1/databases/main/orphans?after=b").expect(200);
    let ours = ours["items"].as_array().unwrap();
    assert_eq!(ours.len(), 1, "{ours:?}");
    assert_eq!(
        (ours[0]["username"].as_str(), ours[0]["ours"].as_bool()),
        (Some(&*lost.username), Some(true))
    );
    world.clock.advance(A_WHILE);
    scan(&world, &instance);
    assert!(!world.has_user(&lost.username) && world.has_user(&living.username));
    assert_eq!(world.users().len(), 1_501, "everybody else is there");
}
