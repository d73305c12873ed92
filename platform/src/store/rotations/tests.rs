use super::turns::{self, Failure};
use super::*;
use crate::store::testing::World;
use crate::store::{databases, gateways, organisations, projects};
use crate::words::TlsMode;

/// A rotation of a new organisation in a new store; both ids.
async fn defined(world: &World, mode: RotationMode) -> (String, String) {
    let mut change = world.store.quiet_change("installation").await.unwrap();
    let (acme, _) = organisations::create(&mut change, "acme", "ada", None).await.unwrap();
    change.commit().await.unwrap();
    let mut change = world.store.quiet_change(&acme.id).await.unwrap();
    let project = projects::create(&mut change, "shop").await.unwrap();
    let gateway = gateways::create(&mut change, "gw").await.unwrap();
    let settings = databases::Settings {
        gateway: &gateway.id,
        host: "db.internal",
        port: 5432,
        tls: TlsMode::Disable,
        ca: "",
        dbname: "app",
        admin_user: "adit",
        max_connections: 3,
    };
    let new = databases::New { name: "main", project: &project.id, settings, password: "admin" };
    let database = databases::create(&mut change, &new).await.unwrap();
    let new = NewRotation {
        name: "app".to_owned(),
        database: "main".to_owned(),
        mode,
        users: vec!["a".to_owned(), "b".to_owned()],
        schedule: Schedule::Every(60),
        password: PasswordPolicy::default(),
        pre_hashed: true,
    };
    let id = create(&mut change, &database, &new).await.unwrap();
    change.commit().await.unwrap();
    (acme.id, id)
}

/// Claims the rotation and gives its next user `password`.
async fn turn(world: &World, acme: &str, id: &str, password: &str) {
    let store = &world.store;
    let known = by_id(store, acme, id).await.unwrap().unwrap().claim;
    let claim = turns::claim(store, acme, id, known, store.clock().now() + 60).await.unwrap().unwrap();
    let row = by_id(store, acme, id).await.unwrap().unwrap();
    let mut change = store.quiet_change(acme).await.unwrap();
    assert!(turns::begin(&mut change, id, claim, row.next_user(), password).await.unwrap());
    assert!(turns::settle(&mut change, id, claim, password, store.clock().now() + 60).await.unwrap());
    change.commit().await.unwrap();
}

#[tokio::test]
async fn two_users_take_turns_and_the_password_lies_sealed() {
    let world = World::new().await;
    let (acme, id) = defined(&world, RotationMode::TwoUser).await;
    let row = by_id(&world.store, &acme, &id).await.unwrap().unwrap();
    assert!(row.current(&world.store).unwrap().is_none());
    // With a blank, which no sealed text can have by chance.
    for (password, user) in [("number one", "a"), ("number two", "b"), ("number three", "a")] {
        turn(&world, &acme, &id, password).await;
        let row = by_id(&world.store, &acme, &id).await.unwrap().unwrap();
        let (found, opened) = row.current(&world.store).unwrap().unwrap();
        assert_eq!((found.as_str(), opened.as_str()), (user, password));
        assert!(!row.current.text.contains(password) && !row.is_turning());
    }
    assert_eq!(find(&world.store, &acme, None, "app").await.unwrap().unwrap().turns, 3);
    assert!(find(&world.store, "other", None, &id).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_due_is_done_by_one() {
    let world = World::new().await;
    let store = &world.store;
    let (acme, id) = defined(&world, RotationMode::SingleUser).await;
    assert_eq!(turns::due(store, 9).await.unwrap(), [(acme.clone(), id.clone(), 0)]);
    let until = store.clock().now() + 60;
    let claim = turns::claim(store, &acme, &id, 0, until).await.unwrap().unwrap();
    assert!(turns::due(store, 9).await.unwrap().is_empty());
    assert_eq!(turns::claim(store, &acme, &id, claim, until).await.unwrap(), None);
    let mut change = store.quiet_change(&acme).await.unwrap();
    assert!(!delete(&mut change, &id).await.unwrap(), "somebody works on it");
    assert!(
        !turns::begin(&mut change, &id, claim - 1, 0, "x").await.unwrap(),
        "an older claim writes nothing"
    );
    drop(change);
    store.clock().advance(std::time::Duration::from_secs(61));
    assert_eq!(turns::due(store, 9).await.unwrap().len(), 1, "a claim runs out");
    let mut change = store.quiet_change(&acme).await.unwrap();
    assert!(delete(&mut change, &id).await.unwrap());
}

#[tokio::test]
async fn what_was_due_when_it_was_looked_at_is_not_done_again() {
    let world = World::new().await;
    let store = &world.store;
    let (acme, id) = defined(&world, RotationMode::TwoUser).await;
    let due = turns::due(store, 9).await.unwrap();
    // Another platform instance is faster, and through with it before this one begins.
    turn(&world, &acme, &id, "theirs").await;
    let [(_, _, known)] = due[..] else { panic!("{due:?}") };
    let until = store.clock().now() + 60;
    assert_eq!(turns::claim(store, &acme, &id, known, until).await.unwrap(), None);
    assert_eq!(turns::claim(store, &acme, &id, known + 1, until).await.unwrap(), Some(known + 2));
}

#[tokio::test]
async fn a_failure_keeps_the_pending_password_unless_nobody_was_given_it() {
    let world = World::new().await;
    let store = &world.store;
    let (acme, id) = defined(&world, RotationMode::SingleUser).await;
    let claim = turns::claim(store, &acme, &id, 0, store.clock().now() + 60).await.unwrap().unwrap();
    let mut change = store.quiet_change(&acme).await.unwrap();
    turns::begin(&mut change, &id, claim, 0, "pending").await.unwrap();
    let next_at = store.clock().now() + 5;
    let unknown = Failure { nothing_was_done: false, error: "cut", next_at };
    turns::fail(&mut change, &id, claim, &unknown).await.unwrap();
    change.commit().await.unwrap();
    let row = by_id(store, &acme, &id).await.unwrap().unwrap();
    assert_eq!(row.pending(store).unwrap().unwrap().1.as_str(), "pending");
    let trouble = row.words(next_at, 0).trouble.unwrap();
    assert_eq!((trouble.attempts, trouble.error.as_str(), trouble.stuck), (1, "cut", true));
    let mut change = store.quiet_change(&acme).await.unwrap();
    let certain = Failure { nothing_was_done: true, error: "refused", next_at };
    turns::fail(&mut change, &id, claim, &certain).await.unwrap();
    change.commit().await.unwrap();
    let row = by_id(store, &acme, &id).await.unwrap().unwrap();
    assert!(!row.is_turning() && row.attempts == 2);
}
