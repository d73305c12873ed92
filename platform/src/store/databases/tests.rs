use serde_json::json;

use super::*;
use crate::store::testing::World;
use crate::store::{gateways, organisations, projects};

/// A database of a new organisation in a new store, and the organisation's id.
async fn defined(world: &World) -> (String, String) {
    let mut change = world.store.change("installation", "platform").await.unwrap();
    let (acme, _) = organisations::create(&mut change, "acme", "ada", None).await.unwrap();
    change.audit("organisation.created", "organisation:acme", json!({}));
    change.commit().await.unwrap();
    let mut change = world.store.change(&acme.id, "platform").await.unwrap();
    let project = projects::create(&mut change, "shop").await.unwrap();
    let gateway = gateways::create(&mut change, "gw").await.unwrap();
    let settings = settings(&gateway.id);
    let new = New { name: "main", project: &project.id, settings, password: "first" };
    let id = create(&mut change, &new).await.unwrap();
    change.audit("database.created", "database:main", json!({}));
    change.commit().await.unwrap();
    (acme.id, id)
}

fn settings(gateway: &str) -> Settings<'_> {
    let (host, tls, ca) = ("db.internal", TlsMode::Disable, "");
    Settings { gateway, host, port: 5432, tls, ca, dbname: "app", admin_user: "adit", max_connections: 3 }
}

#[tokio::test]
async fn a_database_is_found_by_name_and_id_in_its_own_organisation_only() {
    let world = World::new().await;
    let (acme, id) = defined(&world).await;
    let row = find(&world.store, &acme, None, "main").await.unwrap().unwrap();
    assert_eq!((&row.id, row.target().as_str()), (&id, "tcp://db.internal:5432"));
    assert_eq!((row.project.as_str(), row.gateway.as_str(), row.max_connections), ("shop", "gw", 3));
    assert!(by_id(&world.store, &acme, &id).await.unwrap().is_some());
    assert!(find(&world.store, "other", None, &id).await.unwrap().is_none());
    assert!(find(&world.store, &acme, Some("nobody"), &id).await.unwrap().is_none());
    assert_eq!(all(&world.store, &acme, None, "", 9).await.unwrap().len(), 1);
    assert_eq!(names_on(&world.store, &acme, &row.project_id).await.unwrap(), ["main"]);
}

#[tokio::test]
async fn its_password_lies_sealed_and_changes_only_where_another_comes() {
    let world = World::new().await;
    let (acme, id) = defined(&world).await;
    let row = by_id(&world.store, &acme, &id).await.unwrap().unwrap();
    assert!(!row.sealed_password.contains("first"));
    let admin = login(&world.store, &row, Some("other")).unwrap();
    assert_eq!((admin.password.as_str(), admin.dbname.as_str()), ("first", "other"));
    for (password, expected) in [(None, "first"), (Some("second"), "second")] {
        let mut change = world.store.quiet_change(&acme).await.unwrap();
        assert!(update(&mut change, &id, &settings(&row.gateway_id), password).await.unwrap());
        change.commit().await.unwrap();
        let row = by_id(&world.store, &acme, &id).await.unwrap().unwrap();
        assert_eq!(login(&world.store, &row, None).unwrap().password.as_str(), expected);
    }
}

#[tokio::test]
async fn work_on_it_is_claimed_by_one() {
    let world = World::new().await;
    let (acme, id) = defined(&world).await;
    let until = world.store.clock().now() + 60;
    let first = claim(&world.store, &acme, &id, false, until).await.unwrap().unwrap();
    assert_eq!(claim(&world.store, &acme, &id, false, until).await.unwrap(), None);
    release(&world.store, &acme, &id, first - 1).await.unwrap();
    assert_eq!(
        claim(&world.store, &acme, &id, false, until).await.unwrap(),
        None,
        "an older claim releases nothing"
    );
    release(&world.store, &acme, &id, first).await.unwrap();
    assert_eq!(claim(&world.store, &acme, &id, false, until).await.unwrap(), Some(first + 1));
    world.store.clock().advance(std::time::Duration::from_secs(61));
    assert_eq!(claim(&world.store, &acme, &id, false, until + 99).await.unwrap(), Some(first + 2));
}

#[tokio::test]
async fn a_root_rotation_that_is_settled_is_not_settled_again() {
    let world = World::new().await;
    let (store, (acme, id)) = (&world.store, defined(&world).await);
    let until = store.clock().now() + 60;
    assert_eq!(claim(store, &acme, &id, true, until).await.unwrap(), None, "nothing is pending");
    let first = claim(store, &acme, &id, false, until).await.unwrap().unwrap();
    let mut change = store.quiet_change(&acme).await.unwrap();
    assert!(root::begin(&mut change, &id, first, "pending").await.unwrap());
    change.commit().await.unwrap();
    release(store, &acme, &id, first).await.unwrap();
    assert_eq!(claim(store, &acme, &id, true, until).await.unwrap(), Some(first + 1));
}
