//! A lease from its beginning to its end.

use std::collections::BTreeSet;
use std::time::Duration;

use adit_tests::postgres::query;
use reqwest::Method;
use serde_json::json;

use crate::world::{Issued, World, answer, eventually};

#[test]
fn a_lease_is_made_renewed_and_revoked() {
    let (world, instance) = World::new(false);
    let issued = world.lease(&instance, "reader");
    assert_eq!(world.psql(&issued, "SELECT name FROM goods").success().trim(), "tea");
    assert!(!world.psql(&issued, "INSERT INTO goods VALUES ('x')").status.success(), "it only reads");
    assert_eq!(world.state(&instance, &issued.id), "active");

    world.clock.advance(Duration::from_secs(100));
    let path = format!("/v1/leases/{}/renew", issued.id);
    let renewed = world.post(&instance, &path, json!({ "ttl": 3600 })).expect(200);
    let expires_at = renewed["expires_at"].as_u64().unwrap();
    assert!(expires_at >= issued.expires_at + 3000, "from now on: {renewed}");
    let valid = format!(
        "SELECT rolvaliduntil > now() + interval '3500 s' FROM pg_roles WHERE rolname = '{}'",
        issued.username
    );
    assert_eq!(world.server.superuser(&valid).trim(), "t", "the server knows it too");
    // Never shorter, and never past its last day.
    let shorter = world.post(&instance, &path, json!({ "ttl": 60 })).expect(200);
    assert_eq!(shorter["expires_at"].as_u64(), Some(expires_at));
    let longest = world.post(&instance, &path, json!({ "ttl": 86400 })).expect(200);
    assert_eq!(longest["expires_at"], longest["max_expires_at"]);
    world.post(&instance, &path, json!({ "ttl": 59 })).problem(400, "bad-request");

    let ended = world.delete(&instance, &format!("/v1/leases/{}", issued.id)).expect(200);
    assert!(ended["state"] == "revoked" || ended["state"] == "revoking", "{ended}");
    world.wait_for_state(&instance, &issued.id, "revoked");
    assert!(!world.has_user(&issued.username));
    world.post(&instance, &path, json!({})).problem(409, "lease-ended");
    for action in ["lease.requested", "lease.created", "lease.renewed", "lease.revoking", "lease.revoked"] {
        assert!(world.audited(&instance, action, &issued.id) > 0, "{action}");
    }
    assert!(!world.audit(&instance).contains(&issued.password));
    let again = world.delete(&instance, &format!("/v1/leases/{}", issued.id)).expect(200);
    assert_eq!(again["state"], "revoked", "done twice is fine");
}

#[test]
fn leases_end_when_their_time_is_over_and_no_sooner() {
    let (world, instance) = World::new(false);
    let short: Vec<_> = (0..8).map(|_| world.lease(&instance, "reader")).collect();
    let long = world.post(&instance, "/v1/leases", json!({ "secret": "reader", "ttl": 3600 })).expect(201);
    let long = Issued::of(&long);
    world.clock.advance(Duration::from_secs(601));
    for issued in &short {
        world.wait_for_state(&instance, &issued.id, "revoked");
        assert_eq!(world.audited(&instance, "lease.revoked", &issued.id), 1);
    }
    assert_eq!(world.users(), [long.username]);
    assert_eq!(world.state(&instance, &long.id), "active");
}

#[test]
fn the_same_request_makes_one_lease() {
    let (world, instance) = World::new(false);
    let admin = world.admin();
    let ask = |key: &str, ttl: u64| {
        let request = world.request(&instance, &admin, Method::POST, "/v1/leases");
        request.header("Idempotency-Key", key).json(&json!({ "secret": "reader", "ttl": ttl }))
    };
    // At once, too.
    let (first, second) = world.outside(async {
        let (first, second) = (tokio::spawn(answer(ask("one", 600))), tokio::spawn(answer(ask("one", 600))));
        (first.await.unwrap(), second.await.unwrap())
    });
    let (first, second) = (Issued::of(&first.expect(201)), Issued::of(&second.expect(201)));
    assert_eq!((&first.id, &first.password), (&second.id, &second.password));
    world.send(ask("one", 700)).problem(409, "idempotency-conflict");
    let other = Issued::of(&world.send(ask("two", 600)).expect(201));
    assert_ne!(other.id, first.id);
    assert_eq!(world.users().len(), 2);

    // Another instance of the platform knows it as well.
    instance.stop();
    let instance = world.start_again();
    let request = world.request(&instance, &admin, Method::POST, "/v1/leases");
    let request = request.header("Idempotency-Key", "one").json(&json!({ "secret": "reader", "ttl": 600 }));
    assert_eq!(Issued::of(&world.send(request).expect(201)).password, first.password);

    // What has ended is not handed out again, and what is old is forgotten.
    world.delete(&instance, &format!("/v1/leases/{}", first.id)).expect(200);
    let request = world.request(&instance, &admin, Method::POST, "/v1/leases");
    let request = request.header("Idempotency-Key", "one").json(&json!({ "secret": "reader", "ttl": 600 }));
    world.send(request).problem(409, "lease-ended");
    world.clock.advance(Duration::from_secs(599));
    world.wait_for_state(&instance, &first.id, "revoked");
    let request = |key: &str| {
        let request = world.request(&instance, &admin, Method::POST, "/v1/leases");
        request.header("Idempotency-Key", key).json(&json!({ "secret": "reader", "ttl": 700 }))
    };
    world.clock.advance(Duration::from_secs(2));
    let fresh = Issued::of(&world.send(request("two")).expect(201));
    assert_ne!(fresh.id, other.id);
}

#[test]
fn no_more_leases_live_than_may() {
    let (world, instance) = World::new(true);
    world.secret(
        &instance,
        json!({ "name": "few", "database": "main", "access": "read-only", "max_leases": 3 }),
    );
    let admin = world.admin();
    let answers = world.outside(async {
        let asked: Vec<_> = (0..8)
            .map(|_| {
                let request = world.request(&instance, &admin, Method::POST, "/v1/leases");
                tokio::spawn(answer(request.json(&json!({ "secret": "few" }))))
            })
            .collect();
        let mut answers = Vec::new();
        for one in asked {
            answers.push(one.await.unwrap());
        }
        answers
    });
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 3, "{answers:?}");
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        refused.problem(409, "too-many-leases");
    }
    let made = answers.iter().find(|answer| answer.status == 201).unwrap();
    let issued = Issued::of(&made.body);
    world.delete(&instance, &format!("/v1/leases/{}", issued.id)).expect(200);
    world.wait_for_state(&instance, &issued.id, "revoked");
    world.lease(&instance, "few");
    let names: BTreeSet<_> = world.users().into_iter().collect();
    assert_eq!(names.len(), 3);

    let revoked = world.delete(&instance, "/v1/secrets/few/leases").expect(200);
    assert_eq!(revoked["revoking"], 3);
    eventually("all are gone", || world.users().is_empty());
}

#[test]
fn a_group_that_somebody_has_dropped_is_made_again() {
    let (world, instance) = World::new(false);
    let first = world.lease(&instance, "reader");
    world.delete(&instance, &format!("/v1/leases/{}", first.id)).expect(200);
    world.wait_for_state(&instance, &first.id, "revoked");
    let shown = world.get(&instance, "/v1/secrets/reader").expect(200);
    let group = shown["group"].as_str().unwrap();
    let port = world.server.port();
    let _ = query("127.0.0.1", port, &format!("DROP OWNED BY \"{group}\"; DROP ROLE \"{group}\""));
    let second = world.lease(&instance, "reader");
    assert_eq!(world.psql(&second, "SELECT name FROM goods").success().trim(), "tea");
}

#[test]
fn whatever_a_user_has_is_gone_with_it() {
    let (world, instance) = World::new(false);
    let issued = world.lease(&instance, "owner");
    let sql = "CREATE TABLE mine (x int); \
        ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC; \
        GRANT SELECT ON mine TO PUBLIC; CREATE SEQUENCE counted; CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'";
    let _ = world.psql(&issued, sql).success();
    let mut open = world.psql_command(&issued, "SELECT pg_sleep(300)").spawn().unwrap();
    let active = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", issued.username);
    eventually("a session is open", || world.server.superuser(&active).trim() == "1");

    world.delete(&instance, &format!("/v1/leases/{}", issued.id)).expect(200);
    world.wait_for_state(&instance, &issued.id, "revoked");
    assert!(!world.has_user(&issued.username));
    assert!(!open.wait().unwrap().success(), "the open session was ended");
    let owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'mine'";
    let owner = query("127.0.0.1", world.server.port(), owner);
    assert!(owner.trim().starts_with("adit-heir-"), "it was handed over: {owner}");
}

#[test]
fn a_server_that_is_away_is_tried_until_it_is_there_or_the_lease_is_given_up() {
    let (mut world, instance) = World::new(false);
    let (first, second) = (world.lease(&instance, "reader"), world.lease(&instance, "reader"));
    drop(world.gateway.take());
    for issued in [&first, &second] {
        let ended = world.delete(&instance, &format!("/v1/leases/{}", issued.id)).expect(200);
        assert_eq!(ended["state"], "revoking");
    }
    let trouble = |id: &str| world.get(&instance, &format!("/v1/leases/{id}")).expect(200)["trouble"].clone();
    eventually("it says what hinders it", || trouble(&first.id)["attempts"].as_u64() > Some(0));
    eventually("it is stuck", || trouble(&first.id)["stuck"] == true);
    eventually("that is audited", || world.audited(&instance, "lease.stuck", &first.id) == 1);
    world.post(&instance, "/v1/leases", json!({ "secret": "reader" })).problem(502, "database-failed");

    let given_up = world.post(&instance, &format!("/v1/leases/{}/abandon", second.id), json!({}));
    assert_eq!(given_up.expect(200)["state"], "abandoned");
    world.gateway = Some(world.start_gateway());
    world.wait_until_healthy(&instance);
    world.wait_for_state(&instance, &first.id, "revoked");
    assert!(!world.has_user(&first.username) && world.has_user(&second.username));
    assert_eq!(world.audited(&instance, "lease.stuck", &first.id), 1);
}
