//! The way to a database's server: what a test says of one that leads nowhere, and who is shown a password when it changes.

use adit_tests::postgres::PASSWORD;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{Answer, Instance, World, answer};

fn change(world: &World, instance: &Instance, body: Value) -> Answer {
    world.ask(instance, &world.admin(), Method::PATCH, "/v1/databases/main", body)
}

/// What the test of `object` found: whether it is well, and the last thing that was looked at.
fn tested(world: &World, instance: &Instance, object: &str) -> (bool, Value) {
    let report = world.post(instance, &format!("{object}/test"), json!({})).expect(200);
    (report["ok"].as_bool().unwrap(), report["checks"].as_array().unwrap().last().unwrap().clone())
}

#[track_caller]
fn fails(world: &World, instance: &Instance, object: &str, what: &str, remedy: &str) {
    let (ok, last) = tested(world, instance, object);
    assert!(!ok && last["ok"] == false, "{object}: {last}");
    assert!(last["name"].as_str().unwrap().contains(what), "{object}: {last}");
    assert!(last["remedy"].as_str().unwrap().contains(remedy), "{object}: {last}");
    assert!(!last.to_string().contains(PASSWORD), "{last}");
}

#[test]
fn a_test_of_what_lets_nobody_in_says_what_to_do() {
    let (mut world, instance) = World::new(false);
    let all = ["/v1/databases/main", "/v1/secrets/reader", "/v1/rotations/app"];
    world.server.superuser("CREATE ROLE one LOGIN");
    let schedule = json!({ "every": 86_400 });
    let rotation = json!({ "name": "app", "database": "main", "mode": "single-user", "users": ["one"],
        "schedule": schedule });
    world.post(&instance, "/v1/rotations", rotation).expect(201);
    for object in all {
        assert!(tested(&world, &instance, object).0, "{object}");
    }
    change(&world, &instance, json!({ "admin_password": "another" })).expect(200);
    for object in all {
        fails(&world, &instance, object, "may log in", "adit databases change main --admin-user app");
    }
    change(&world, &instance, json!({ "admin_password": PASSWORD, "tls": "require" })).expect(200);
    for object in all {
        fails(&world, &instance, object, "TLS", "adit databases change main --tls");
    }
    let back = json!({ "admin_password": PASSWORD, "tls": "disable", "database": "nothing" });
    change(&world, &instance, back).expect(200);
    fails(&world, &instance, all[0], "\"nothing\" is there", "CREATE DATABASE \"nothing\";");
    drop(world.gateway.take());
    fails(&world, &instance, all[0], "is reached", "adit gateways show gw");
}

/// An authority.
fn authority() -> String {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap().pem()
}

#[test]
fn a_password_that_only_the_platform_knows_follows_where_certificates_show_the_same_server() {
    let (world, instance) = World::new(false);
    let (ca, stranger) = (authority(), authority());
    let port = world.server.port();
    let target = |(host, port)| format!("tcp://{host}:{port}");
    let (address, name) = ("127.0.0.1", "db.example.com");
    let targets = [(address, port), (address, port + 1), (name, port), (name, port + 1)].map(target);
    world.post(&instance, "/v1/gateways", json!({ "name": "other" })).expect(201);
    for gateway in ["gw", "other"] {
        let link = json!({ "project": "shop", "gateway": gateway, "targets": targets });
        world.post(&instance, "/v1/links", link).expect(201);
    }
    // Without names in certificates, it is given for one way only.
    let elsewhere =
        [json!({ "gateway": "other" }), json!({ "port": port + 1 }), json!({ "tls": "verify-full" })];
    for body in elsewhere {
        change(&world, &instance, body).problem(400, "bad-request");
    }
    let verified = json!({ "tls": "verify-full", "ca": ca, "admin_password": PASSWORD });
    change(&world, &instance, verified).expect(200);
    // An address is another machine elsewhere, whatever its certificate says.
    for body in [json!({ "gateway": "other" }), json!({ "port": port + 1 })] {
        change(&world, &instance, body).problem(400, "bad-request");
    }
    change(&world, &instance, json!({ "host": name, "admin_password": PASSWORD })).expect(200);

    let changed = change(&world, &instance, json!({ "gateway": "other", "port": port + 1 })).expect(200);
    assert_eq!((&changed["gateway"], &changed["port"]), (&json!("other"), &json!(port + 1)));
    let elsewhere = [
        json!({ "host": "localhost" }),
        json!({ "tls": "require" }),
        json!({ "ca": stranger }),
        json!({ "ca": "" }),
        json!({ "gateway": "gw", "tls": "verify-ca" }),
    ];
    for body in elsewhere {
        change(&world, &instance, body).problem(400, "bad-request");
    }
    change(&world, &instance, json!({ "gateway": "gw", "port": port })).expect(200);
}

#[test]
fn many_changes_at_once_leave_each_other_a_connection_to_the_store() {
    let (world, instance) = World::new(true);
    let changes: Vec<_> = (2..42)
        .map(|count| {
            let way = world.request(&instance, &world.admin(), Method::PATCH, "/v1/databases/main");
            way.json(&json!({ "gateway": "gw", "max_connections": count }))
        })
        .collect();
    let answers = world.outside(async {
        let mut all = tokio::task::JoinSet::new();
        changes.into_iter().for_each(|change| drop(all.spawn(answer(change))));
        all.join_all().await
    });
    answers.into_iter().for_each(|answer| drop(answer.expect(200)));
}
