use serde_json::json;

use super::testing::{World, installation};
use super::*;
use crate::words::AuditVerdict;

async fn audited(world: &World, object: &str) {
    let mut change = world.store.change(INSTALLATION, "platform").await.unwrap();
    change.audit("thing.done", object, json!({ "n": 1 }));
    change.commit().await.unwrap();
}

async fn tamper(world: &World, statement: &'static str) -> AuditVerdict {
    let mut change = world.store.quiet_change(INSTALLATION).await.unwrap();
    sqlx::query(statement).execute(change.connection()).await.unwrap();
    change.commit().await.unwrap();
    audit::verify(&world.store, INSTALLATION).await.unwrap()
}

#[tokio::test]
async fn one_process_has_the_embedded_database() {
    let world = World::new().await;
    let second = Store::open(&world.location(), &world.keys, "one", Clock::system()).await;
    let error = second.unwrap_err();
    assert!(matches!(error, OpenError::Locked(_)) && error.to_string().contains("--database postgres://"));
    let beside =
        Store::open_locked(&world.location(), &world.keys, "two", Clock::system(), None).await.unwrap();
    assert_eq!(beside.installation(), &installation());
}

#[tokio::test]
async fn the_right_root_keys_open_it_and_wrong_ones_are_told() {
    let (directory, keys, location) = World::new().await.end().await;
    let wrong = Store::open(&location, &RootKeys::generate(), "one", Clock::system()).await;
    assert!(matches!(wrong, Err(OpenError::WrongRootKey(_))));
    drop(Store::open(&location, &keys.with_new(), "one", Clock::system()).await.unwrap());
    let nowhere = Location::Sqlite(directory.path().join("nowhere"));
    let nothing = Store::open(&nowhere, &keys, "one", Clock::system()).await;
    assert!(matches!(nothing, Err(OpenError::Nothing(_))));
}

#[tokio::test]
async fn a_second_platform_is_not_made_over_the_first() {
    let (_directory, keys, location) = World::new().await.end().await;
    let again = Store::create(&location, &keys, "one", Clock::system(), installation()).await;
    assert!(matches!(again, Err(OpenError::Initialised(_))));
}

#[tokio::test]
async fn a_change_without_an_audit_event_does_nothing() {
    let world = World::new().await;
    let mut change = world.store.change(INSTALLATION, "platform").await.unwrap();
    settings::set(change.connection(), "k", "v").await.unwrap();
    assert!(matches!(change.commit().await, Err(StoreError::Unaudited)));
    assert_eq!(settings::get(world.store.reader(), "k").await.unwrap(), None);

    let mut change = world.store.quiet_change(INSTALLATION).await.unwrap();
    settings::set(change.connection(), "k", "v").await.unwrap();
    change.commit().await.unwrap();
    assert_eq!(settings::get(world.store.reader(), "k").await.unwrap().as_deref(), Some("v"));
}

#[tokio::test]
async fn a_dropped_change_lets_the_next_one_write() {
    let world = World::new().await;
    for _ in 0..3 {
        let mut change = world.store.change(INSTALLATION, "platform").await.unwrap();
        settings::set(change.connection(), "k", "v").await.unwrap();
        drop(change);
        let quiet = world.store.quiet_change(INSTALLATION).await.unwrap();
        quiet.commit().await.unwrap();
    }
    assert_eq!(settings::get(world.store.reader(), "k").await.unwrap(), None);
}

#[tokio::test]
async fn an_untouched_audit_is_intact_and_lists_in_pages() {
    let world = World::new().await;
    for n in 0..5 {
        audited(&world, &format!("thing:{n}")).await;
    }
    let verdict = audit::verify(&world.store, INSTALLATION).await.unwrap();
    assert_eq!(verdict, AuditVerdict { intact: true, events: 6, breaks: Vec::new() });
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = audit::list(world.store.reader(), INSTALLATION, 0, after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(audit::Cursor::after(last).to_string().parse().unwrap());
        seen.extend(page.into_iter().map(|event| event.sequence));
    }
    assert_eq!(seen, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_changed_removed_or_reordered_event_is_found() {
    for (statement, told) in [
        ("UPDATE audit SET actor = 'identity:mallory' WHERE sequence = 2", "event 2"),
        ("UPDATE audit SET detail = '{}' WHERE sequence = 3", "event 3"),
        ("DELETE FROM audit WHERE sequence = 2", "event 2"),
        ("DELETE FROM audit WHERE sequence = 4", "events 4 to 4"),
        ("DELETE FROM audit", "events 1 to 4"),
        ("UPDATE audit SET sequence = 5 - sequence WHERE sequence IN (1, 4)", "event 1"),
        ("DELETE FROM audit_heads", "not recorded"),
        ("UPDATE audit_heads SET sequence = 3", "end of instance one"),
    ] {
        let world = World::new().await;
        for n in 0..3 {
            audited(&world, &format!("thing:{n}")).await;
        }
        let verdict = match statement.contains("5 - sequence") {
            // Swapped by way of a number that is not in use.
            true => {
                tamper(&world, "UPDATE audit SET sequence = -1 WHERE sequence = 1").await;
                tamper(&world, "UPDATE audit SET sequence = 1 WHERE sequence = 4").await;
                tamper(&world, "UPDATE audit SET sequence = 4 WHERE sequence = -1").await
            }
            false => tamper(&world, statement).await,
        };
        assert!(!verdict.intact && verdict.breaks[0].contains(told), "{statement}: {verdict:?}");
    }
}

#[tokio::test]
async fn a_token_is_spent_once_and_told_why_it_is_dead() {
    use crate::trust::token::{Kind, Token};
    let world = World::new().await;
    let token = Token::new(Kind::Gateway, None);
    let mut change = world.store.change(INSTALLATION, "platform").await.unwrap();
    let until = world.store.clock().now() + 60;
    tokens::make(&mut change, &token, "gw", Some(until)).await.unwrap();
    change.audit("token.made", "gateway:gw", json!({}));
    change.commit().await.unwrap();

    let row = tokens::look_up(world.store.reader(), token.id()).await.unwrap().unwrap();
    let now = world.store.clock().now();
    assert!(row.is(&token) && !row.is(&Token::new(Kind::Gateway, None)));
    assert_eq!((row.check(now), row.check(now + 61)), (Ok(()), Err(tokens::Dead::Expired)));

    let mut change = world.store.quiet_change(INSTALLATION).await.unwrap();
    assert!(tokens::spend(&mut change, token.id()).await.unwrap());
    assert!(!tokens::spend(&mut change, token.id()).await.unwrap());
    change.commit().await.unwrap();
    let row = tokens::look_up(world.store.reader(), token.id()).await.unwrap().unwrap();
    assert_eq!(row.check(now), Err(tokens::Dead::Spent));
}

#[tokio::test]
async fn an_organisation_has_an_administrator_and_a_generation_that_grows() {
    let world = World::new().await;
    let mut change = world.store.change(INSTALLATION, "identity:op").await.unwrap();
    let (acme, admin) = organisations::create(&mut change, "acme", "ada", None).await.unwrap();
    change.commit().await.unwrap();
    let reader = world.store.reader();
    let token = tokens::look_up(reader, admin.token.id()).await.unwrap().unwrap();
    assert_eq!((&token.organisation, &token.subject), (&acme.id, &admin.id));
    assert_eq!(organisations::find(reader, "acme").await.unwrap(), Some(acme.clone()));
    assert_eq!(organisations::find(reader, INSTALLATION).await.unwrap(), None);
    assert_eq!(organisations::list(reader, "", 10).await.unwrap(), vec![acme.clone()]);

    let before = organisations::generation(reader, &acme.id).await.unwrap();
    let mut change = world.store.quiet_change(&acme.id).await.unwrap();
    change.bump().await.unwrap();
    change.bump_installation().await.unwrap();
    change.commit().await.unwrap();
    assert_eq!(organisations::generation(reader, &acme.id).await.unwrap(), before + 2);

    let mut change = world.store.change(INSTALLATION, "identity:op").await.unwrap();
    let taken = organisations::create(&mut change, "acme", "ada", None).await;
    assert!(matches!(taken, Err(StoreError::Conflict)));
}
