//! Leases end with what they were made by, and belong to whom they belong.

use adit_tests::postgres::{PASSWORD, USER, client};
use adit_tests::process::{PATIENCE, finish};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Instance, Issued, World, eventually};

/// A person of `acme`, in the project. Its token.
fn member(world: &World, instance: &Instance, name: &str) -> String {
    let made = world.post(instance, "/v1/identities", json!({ "name": name, "kind": "person", "roles": [] }));
    let token = made.expect(201)["token"].as_str().unwrap().to_owned();
    let path = format!("/v1/projects/shop/members/{name}");
    world.ask(instance, &world.admin(), Method::PUT, &path, json!({ "role": "member" })).expect(200);
    token
}

fn lease(world: &World, instance: &Instance, token: &str) -> Issued {
    let body = json!({ "secret": "reader" });
    Issued::of(&world.ask(instance, token, Method::POST, "/v1/leases", body).expect(201))
}

#[test]
fn leases_end_with_membership_and_identity_and_nobody_elses_do() {
    let (world, instance) = World::new(false);
    let (ann, bob) = (member(&world, &instance, "ann"), member(&world, &instance, "bob"));
    let (of_ann, of_bob) = (lease(&world, &instance, &ann), lease(&world, &instance, &bob));
    let get = |token: &str, path: &str| world.send(world.request(&instance, token, Method::GET, path));

    // Each sees its own; the administrator sees both.
    let ids = |body: Value| -> Vec<String> {
        let items = body["items"].as_array().unwrap().clone();
        items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(get(&ann, "/v1/leases").expect(200)), [of_ann.id.as_str()]);
    assert_eq!(ids(get(&world.admin(), "/v1/leases?state=active").expect(200)).len(), 2);
    get(&ann, &format!("/v1/leases/{}", of_bob.id)).problem(404, "not-found");
    let page = get(&world.admin(), "/v1/leases?limit=1&secret=reader").expect(200);
    let next = page["next"].as_str().unwrap().to_owned();
    let rest = get(&world.admin(), &format!("/v1/leases?limit=1&after={next}")).expect(200);
    assert_ne!(ids(page), ids(rest));

    let path = "/v1/projects/shop/members/ann";
    world.delete(&instance, path).expect(204);
    world.wait_for_state(&instance, &of_ann.id, "revoked");
    assert_eq!(world.users(), [of_bob.username.as_str()]);
    world.delete(&instance, "/v1/identities/bob").expect(204);
    world.wait_for_state(&instance, &of_bob.id, "revoked");
    eventually("all are gone", || world.users().is_empty());
}

#[test]
fn a_lease_of_another_organisation_is_as_one_that_is_not_there() {
    let (world, instance) = World::new(false);
    let issued = world.lease(&instance, "reader");
    let operator = world.made.operator_token.to_string();
    let made = world.ask(&instance, &operator, Method::POST, "/v1/orgs", json!({ "name": "globex" }));
    let token = made.expect(201)["admin_token"].as_str().unwrap().to_owned();
    for (method, path) in [
        (Method::GET, "/v1/leases/ID"),
        (Method::DELETE, "/v1/leases/ID"),
        (Method::POST, "/v1/leases/ID/renew"),
        (Method::POST, "/v1/leases/ID/abandon"),
    ] {
        let ask = |id: &str| {
            let path = path.replace("ID", id);
            let answer = world.ask(&instance, &token, method.clone(), &path, json!({}));
            answer.problem(404, "not-found");
            answer.body
        };
        assert_eq!(ask(&issued.id), ask("00000000000000000000"), "{method} {path}");
    }
    let listed = world.send(world.request(&instance, &token, Method::GET, "/v1/leases")).expect(200);
    assert_eq!(listed["items"], json!([]));
    assert_eq!(world.state(&instance, &issued.id), "active");
}

#[test]
fn without_a_link_there_is_no_lease_and_no_renewal_but_an_end() {
    let (world, instance) = World::new(false);
    let issued = world.lease(&instance, "reader");
    let links = world.get(&instance, "/v1/links").expect(200);
    let link = links["items"][0]["id"].as_str().unwrap().to_owned();
    world.delete(&instance, &format!("/v1/links/{link}")).expect(204);
    world.post(&instance, "/v1/leases", json!({ "secret": "reader" })).problem(403, "unknown-target");
    let renew = format!("/v1/leases/{}/renew", issued.id);
    world.post(&instance, &renew, json!({})).problem(403, "unknown-target");
    world.delete(&instance, &format!("/v1/leases/{}", issued.id)).expect(200);
    world.wait_for_state(&instance, &issued.id, "revoked");
    assert!(!world.has_user(&issued.username));
}

#[test]
fn a_user_that_was_there_before_is_never_touched() {
    let (world, instance) = World::new(false);
    world.server.superuser("CREATE ROLE keeper LOGIN");
    // The statements make another user's membership, and fail: nothing stays.
    world.secret(
        &instance,
        json!({ "name": "bad", "database": "main", "access": "custom", "creation": [
            "CREATE ROLE {{username}} LOGIN PASSWORD {{password}}",
            "GRANT no_such_role TO {{username}}",
        ] }),
    );
    let failed = world.post(&instance, "/v1/leases", json!({ "secret": "bad" }));
    failed.problem(502, "database-failed");
    let detail = failed.body["detail"].as_str().unwrap();
    assert!(detail.contains("no_such_role"), "{detail}");
    let listed = world.get(&instance, "/v1/leases?secret=bad").expect(200);
    assert_eq!(listed["items"][0]["state"], "failed", "{listed}");
    assert_eq!(world.users(), ["keeper"]);
}

#[test]
fn a_database_does_not_move_away_from_leases_that_live() {
    let (world, instance) = World::new(false);
    let issued = world.lease(&instance, "reader");
    let change =
        |body: Value| world.ask(&instance, &world.admin(), Method::PATCH, "/v1/databases/main", body);
    // The password goes nowhere that it was not given for.
    change(json!({ "host": "localhost" })).problem(400, "bad-request");
    change(json!({ "tls": "require" })).problem(400, "bad-request");
    let port = world.server.port();
    let target = format!("tcp://localhost:{port}");
    let link =
        json!({ "project": "shop", "gateway": "gw", "targets": [format!("tcp://127.0.0.1:{port}"), target] });
    world.post(&instance, "/v1/links", link).expect(201);
    let there = json!({ "host": "localhost", "admin_password": PASSWORD });
    change(there.clone()).problem(409, "conflict");
    assert!(world.has_user(&issued.username));
    assert_ne!(world.get(&instance, "/v1/secrets/reader").expect(200)["prepared_at"], Value::Null);

    world.delete(&instance, "/v1/secrets/reader/leases").expect(200);
    world.wait_for_state(&instance, &issued.id, "revoked");
    change(there).expect(200);
    // Nothing is known of the new place.
    assert_eq!(world.get(&instance, "/v1/secrets/reader").expect(200)["prepared_at"], Value::Null);
}

#[test]
fn what_others_have_granted_in_one_database_keeps_nothing_in_the_next() {
    let (world, instance) = World::new(false);
    let issued = world.lease(&instance, "owner");
    let username = &issued.username;
    let _ = world.server.superuser(&format!("CREATE DATABASE zoo OWNER {USER}"));
    let in_zoo = |sql: &str| {
        let mut psql = client("psql", "127.0.0.1", world.server.port());
        psql.env("PGDATABASE", "zoo").args(["-X", "-A", "-t", "-c", sql]);
        finish("psql", psql, PATIENCE).success()
    };
    in_zoo(&format!("CREATE TABLE animals (n int); GRANT SELECT ON animals TO \"{username}\""));
    let is_granted = || in_zoo("SELECT relacl FROM pg_class WHERE relname = 'animals'").contains(username);
    assert!(is_granted());
    let strangers = format!(
        "CREATE ROLE stranger; CREATE SCHEMA theirs AUTHORIZATION stranger; SET ROLE stranger; \
         CREATE TABLE theirs.t (n int); GRANT SELECT ON theirs.t TO {USER}, \"{username}\""
    );
    let _ = world.server.superuser(&strangers);

    world.delete(&instance, &format!("/v1/leases/{}", issued.id)).expect(200);
    eventually("what the platform may take back is taken back", || !is_granted());
    let shown = || world.get(&instance, &format!("/v1/leases/{}", issued.id)).expect(200);
    eventually("it says who has granted what", || shown()["trouble"].to_string().contains("stranger"));
    assert_eq!(shown()["state"], "revoking");
    let _ = world.server.superuser(&format!("SET ROLE stranger; REVOKE ALL ON theirs.t FROM \"{username}\""));
    world.wait_for_state(&instance, &issued.id, "revoked");
    assert!(!world.has_user(username));
}
