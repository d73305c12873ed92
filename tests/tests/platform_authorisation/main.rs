//! Who may do what: every route of the table, for every role, with objects of its own organisation, of another, and
//! with some that do not exist. A route that is not in [`expected`] fails.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod expected;
mod world;

use adit_platform::api::routes::{Route, table};
use serde_json::json;

use expected::{NOT_EXACT, ON_SERVER, Role, allowed};
use world::{Answer, Subject, World};

#[tokio::test]
async fn every_role_may_exactly_what_it_should() {
    let world = World::new().await;
    for route in table() {
        let id = route.operation.id;
        let allowed = allowed(id).unwrap_or_else(|| panic!("{id} is not in the list of what is expected"));
        for role in Role::ALL {
            let subject = world.subject(&route, role, true).await;
            let answer = world.call(&route, role, &subject).await;
            match allowed.contains(&role) {
                true => let_through(&route, role, &answer),
                false => refused(&route, role, &answer),
            }
        }
    }
}

#[track_caller]
fn let_through(route: &Route, role: Role, answer: &Answer) {
    let id = route.operation.id;
    if ON_SERVER.contains(&id) && id.starts_with("test") {
        assert_eq!((answer.status, &answer.body["ok"]), (200, &false.into()), "{id} by {role:?}: {answer:?}");
    } else if ON_SERVER.contains(&id) {
        assert!(
            matches!(answer.code(), "database-failed" | "unavailable" | "conflict" | "lease-ended"),
            "{id} by {role:?}: {answer:?}"
        );
    } else if NOT_EXACT.contains(&id) {
        assert!(!matches!(answer.code(), "unauthenticated" | "forbidden"), "{id} by {role:?}: {answer:?}");
        assert!(answer.status < 500, "{id} by {role:?}: {answer:?}");
    } else {
        assert_eq!(answer.status, route.operation.status.as_u16(), "{id} by {role:?}: {answer:?}");
    }
}

#[track_caller]
fn refused(route: &Route, role: Role, answer: &Answer) {
    let expected = if role == Role::Anonymous { (401, "unauthenticated") } else { (403, "forbidden") };
    assert_eq!((answer.status, answer.code()), expected, "{} by {role:?}: {answer:?}", route.operation.id);
}

#[tokio::test]
async fn what_is_another_organisations_answers_as_what_does_not_exist() {
    let world = World::new().await;
    for route in table().iter().filter(|route| !world::nouns(route).is_empty()) {
        let id = route.operation.id;
        for role in allowed(id).unwrap() {
            let nothing = world.call(route, role, &Subject::nothing(route)).await;
            let foreign = world.call(route, role, &world.foreign(route).await).await;
            assert_eq!(foreign, nothing, "{id} by {role:?}");
            assert_eq!((nothing.status, nothing.code()), (404, "not-found"), "{id} by {role:?}: {nothing:?}");
        }
    }
}

/// A token of one's own identity is not reached by way of another's, an instance not by way of another gateway.
#[tokio::test]
async fn what_belongs_to_something_else_answers_as_what_does_not_exist() {
    let world = World::new().await;
    for route in table().iter().filter(|route| world::nouns(route).len() == 2) {
        let id = route.operation.id;
        if id == "dropOrphan" {
            // Users are the server's, which is asked.
            continue;
        }
        for role in allowed(id).unwrap() {
            let own = world.subject(route, role, true).await;
            let other = world.foreign(route).await;
            let mixed = world.call(route, role, &own.with_last_of(&other)).await;
            let nothing = world.call(route, role, &own.with_last_of(&Subject::nothing(route))).await;
            assert_eq!(mixed, nothing, "{id} by {role:?}");
            assert_eq!(nothing.status, 404, "{id} by {role:?}: {nothing:?}");
        }
    }
}

#[tokio::test]
async fn members_do_not_see_what_is_not_of_their_projects() {
    let world = World::new().await;
    for route in table().iter().filter(|route| !world::nouns(route).is_empty()) {
        let id = route.operation.id;
        for role in allowed(id).unwrap().into_iter().filter(|role| role.is_of_project()) {
            let nothing = world.call(route, role, &Subject::nothing(route)).await;
            let elsewhere = world.subject(route, role, false).await;
            assert_eq!(world.call(route, role, &elsewhere).await, nothing, "{id} by {role:?}");
        }
    }
}

#[tokio::test]
async fn no_list_shows_anything_of_another_organisation() {
    let world = World::new().await;
    for route in table().iter().filter(|route| world::is_list(route)) {
        let id = route.operation.id;
        for role in allowed(id).unwrap().into_iter().filter(|role| *role != Role::Operator) {
            let answer = world.call(route, role, &Subject::nothing(route)).await;
            let text = answer.body.to_string();
            assert!(!text.contains(world::SECRET), "{id} by {role:?}: {text}");
        }
        // And they are not empty for everybody: who owns it sees it.
        if world::holds_objects(id) {
            let text = world.list_as_globex(route).await.body.to_string();
            assert!(text.contains(world::SECRET), "{id}: {text}");
        }
    }
}

#[tokio::test]
async fn a_body_that_names_another_organisations_objects_names_nothing() {
    let world = World::new().await;
    let (own, foreign) = (world.linked(&world.acme).await, world.linked(&world.globex).await);
    let database = world.database(&world.globex, false).await;
    let secret = world.secret(&world.globex, false).await;
    let answer = world.post(&world.acme, "/v1/leases", json!({ "secret": secret })).await;
    assert_eq!((answer.status, answer.code()), (404, "not-found"), "{answer:?}");
    for path in ["/v1/secrets", "/v1/rotations"] {
        let answer = world.post(&world.acme, path, world::of_database(path, "x", &database)).await;
        assert_eq!((answer.status, answer.code()), (404, "not-found"), "{answer:?}");
    }
    for (project, gateway) in [(&own.0, &foreign.1), (&foreign.0, &own.1)] {
        let with = |project: &str, gateway: &str| json!({ "project": project, "gateway": gateway, "targets": ["tcp://db:5432"] });
        let answer = world.post(&world.acme, "/v1/links", with(project, gateway)).await;
        assert_eq!((answer.status, answer.code()), (404, "not-found"), "{answer:?}");
        let answer = world.post(&world.acme, "/v1/databases", world::of_server("x", project, gateway)).await;
        assert_eq!((answer.status, answer.code()), (404, "not-found"), "{answer:?}");
    }
}
