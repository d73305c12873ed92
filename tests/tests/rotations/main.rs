//! Passwords that change on a real server behind a real gateway and relay: nobody who does as told fails, and no crash
//! loses the password that works.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

#[path = "../in_process/mod.rs"]
mod in_process;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use adit_platform::client::ClientError;
use adit_platform::words::Credentials;
use serde_json::json;

use world::{ADMIN, ADMIN_PASSWORD, World, lets_in};

#[test]
fn whoever_reads_before_logging_in_never_fails_with_two_users() {
    let world = World::new();
    world.rotation("app", "two-user", &["one", "two"]);
    let (over, port) = (Arc::new(AtomicBool::new(false)), world.postgres().port());
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (admin, over) = (world.admin(), over.clone());
            world.outer().spawn(async move {
                let (mut logins, mut seen) = (0, std::collections::BTreeSet::new());
                while !over.load(Ordering::Relaxed) {
                    let read: Credentials = admin.get("/v1/rotations/app/credentials").await.unwrap();
                    assert!(lets_in(port, &read.username, &read.password).await, "login {logins} failed");
                    seen.insert(read.password);
                    logins += 1;
                }
                (logins, seen)
            })
        })
        .collect();
    let mut passwords = vec![world.credentials("app").unwrap()];
    for _ in 0..4 {
        std::thread::sleep(Duration::from_secs(4));
        world.advance(Duration::from_secs(60));
        world.post("/v1/rotations/app/rotate", &json!({}));
        passwords.push(world.credentials("app").unwrap());
    }
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        let (logins, seen) = world.outer().block_on(reader).unwrap();
        assert!(logins > 4 && seen.len() > 2, "{logins} logins with {} passwords", seen.len());
    }
    // In turn: the user before is still let in, its password of two turns ago is not.
    let users: Vec<_> = passwords.iter().map(|read| read.username.as_str()).collect();
    assert_eq!(users, ["one", "two", "one", "two", "one"]);
    assert!(world.lets_in("two", &passwords[3].password) && !world.lets_in("one", &passwords[2].password));
    // Nobody may be hurried.
    let hurried = world.try_post("/v1/rotations/app/rotate", &json!({})).unwrap_err();
    assert!(hurried.to_string().contains("stays valid"), "{hurried}");
}

#[test]
fn whoever_reads_while_the_only_user_changes_waits_for_less_than_a_second() {
    let world = World::new();
    world.rotation("app", "single-user", &["one"]);
    let over = Arc::new(AtomicBool::new(false));
    let (admin, ended) = (world.admin(), over.clone());
    let reader = world.outer().spawn(async move {
        let mut longest = Duration::ZERO;
        while !ended.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let read: Result<Credentials, ClientError> = admin.get("/v1/rotations/app/credentials").await;
            read.unwrap();
            longest = longest.max(begun.elapsed());
        }
        longest
    });
    let mut windows = Vec::new();
    for _ in 0..5 {
        let before = world.credentials("app").unwrap();
        world.post("/v1/rotations/app/rotate", &json!({}));
        windows.push(world.between("rotate:pending", "rotate:settled"));
        let after = world.credentials("app").unwrap();
        assert!(world.lets_in("one", &after.password) && !world.lets_in("one", &before.password));
    }
    over.store(true, Ordering::Relaxed);
    let longest = world.outer().block_on(reader).unwrap();
    windows.sort();
    println!("the window was {windows:?}; whoever read waited for {longest:?} at most");
    assert!(windows[2] < Duration::from_secs(1), "{windows:?}");
}

#[test]
fn a_crash_at_any_step_of_a_turn_loses_no_password() {
    let mut world = World::new();
    world.rotation("app", "single-user", &["one"]);
    for step in ["rotate:pending", "rotate:altered", "rotate:verified", "rotate:settled"] {
        let before = world.credentials("app").unwrap();
        world.crash_at(step, "/v1/rotations/app/rotate");
        world.until_settled(step, |world| world.credentials("app").is_ok());
        let after = world.credentials("app").unwrap();
        assert_ne!(before.password, after.password, "{step}");
        assert!(world.lets_in("one", &after.password), "{step}: the platform does not know the password");
        assert!(!world.lets_in("one", &before.password), "{step}: the old password still works");
        assert_eq!(world.shown("app").trouble, None, "{step}");
    }
}

#[test]
fn a_crash_at_any_step_of_a_root_rotation_loses_no_password() {
    let mut world = World::new();
    let mut before = ADMIN_PASSWORD.to_owned();
    for step in ["root:pending", "root:altered", "root:verified", "root:settled"] {
        world.crash_at(step, "/v1/databases/main/rotate");
        world.until_settled(step, |world| world.admin_password().is_some_and(|now| now != before));
        let after = world.admin_password().unwrap();
        assert!(world.lets_in(ADMIN, &after), "{step}: the platform does not know the password");
        assert!(!world.lets_in(ADMIN, &before), "{step}: the old password still works");
        before = after;
    }
    // It goes on working with it.
    world.rotation("app", "single-user", &["one"]);
}

#[test]
fn a_user_is_changed_by_one_only() {
    let world = World::new();
    world.rotation("app", "two-user", &["one", "two"]);
    let of = |users: &[&str]| {
        let mode = if users.len() == 2 { "two-user" } else { "single-user" };
        json!({ "name": "b", "database": "main", "mode": mode, "users": users, "schedule": { "cron": "0 3 * * *" } })
    };
    for users in [&["two"][..], &[ADMIN], &["three", "one"]] {
        let refused = world.try_post("/v1/rotations", &of(users)).unwrap_err().to_string();
        assert!(refused.contains("belongs to"), "{refused}");
    }
    // A second database as the same user is one more that a root rotation would lock out.
    let second = |user: &str| {
        json!({
            "name": "second", "project": "shop", "gateway": "gw", "host": "127.0.0.1",
            "port": world.postgres().port(), "tls": "disable", "admin_user": user, "admin_password": ADMIN_PASSWORD,
        })
    };
    let refused = world.try_post("/v1/databases", &second("two")).unwrap_err().to_string();
    assert!(refused.contains("The rotation app"), "{refused}");
    world.post("/v1/databases", &second(ADMIN));
    let refused = world.try_post("/v1/databases/main/rotate", &json!({})).unwrap_err().to_string();
    assert!(refused.contains("The database second"), "{refused}");
    assert!(world.lets_in(ADMIN, ADMIN_PASSWORD));
    world.outer().block_on(world.admin().delete("/v1/databases/second")).unwrap();
    world.post("/v1/databases/main/rotate", &json!({}));
    assert!(!world.lets_in(ADMIN, ADMIN_PASSWORD));
    // And what it is refused leaves no trace.
    let missing = world.try_post("/v1/rotations", &of(&["nobody"])).unwrap();
    assert!(missing["trouble"]["error"].as_str().unwrap().contains("nobody"), "{missing}");
}

#[test]
fn what_is_due_is_turned_once_by_two_instances() {
    let world = World::with_two_instances();
    world.rotation_every(60, "app", "two-user", &["one", "two"]);
    let before = world.credentials("app").unwrap();
    // Both see that it is due. The second one claims it only after the first one is through with it.
    world.meeting.begin();
    world.advance(Duration::from_secs(61));
    world.until_settled("the first one turns it", |world| world.turns("app") == 2);
    world.meeting.end();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(world.turns("app"), 2);
    // Nobody was hurried: who has read before still logs in.
    assert!(world.lets_in(&before.username, &before.password));
}
