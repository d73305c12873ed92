//! Users that are made and lengthened.

use std::time::Duration;

use adit_platform::postgres::mark::{self, Finding, Key, Mark};
use adit_platform::postgres::users::{self, Lengthened, NewUser};
use adit_platform::postgres::{SqlError, scram};
use adit_platform::words::Owned;
use adit_tests::postgres::USER;

use crate::server::{SECRET, Server, one, run, usual};

/// Until when a user can log in, in seconds from now on by the server's clock.
async fn remaining(server: &Server, username: &str) -> i64 {
    let sql = format!(
        "SELECT extract(epoch FROM rolvaliduntil - clock_timestamp())::bigint FROM pg_roles WHERE rolname = '{username}'"
    );
    one(&mut server.session().await, &sql).await
}

#[tokio::test]
async fn a_user_logs_in_with_a_password_that_the_server_never_saw() {
    let server = Server::start();
    let mut session = server.session().await;
    users::create(&mut session, &usual("v-ann")).await.unwrap();

    let mut own = server.session_of("v-ann", "app").await.unwrap();
    assert_eq!(one::<String>(&mut own, "SELECT current_user::text").await, "v-ann");
    let stored = server.postgres.superuser("SELECT rolpassword FROM pg_authid WHERE rolname = 'v-ann'");
    assert!(stored.starts_with("SCRAM-SHA-256$4096:"), "{stored}");
    assert!(server.try_session(&server.login_as("v-ann", "another", "app")).await.is_err());
    let left = remaining(&server, "v-ann").await;
    assert!((3500..=3630).contains(&left), "an hour, and the margin: {left}");
}

#[tokio::test]
async fn settings_of_the_admin_user_change_nothing_about_the_end_of_a_life() {
    let server = Server::start();
    run(
        &mut server.session().await,
        &[
            &format!("ALTER ROLE {USER} SET datestyle = 'SQL, DMY'"),
            &format!("ALTER ROLE {USER} SET timezone = 'Asia/Tokyo'"),
            &format!("ALTER ROLE {USER} SET standard_conforming_strings = off"),
        ],
    )
    .await;
    let mut session = server.session().await;
    let odd = NewUser { username: "v-\\'; --", comment: "a \\' mark", ..usual("v-odd") };
    users::create(&mut session, &odd).await.unwrap();
    users::create(&mut session, &usual("v-ann")).await.unwrap();
    assert!((3500..=3630).contains(&remaining(&server, "v-ann").await));
    let found = users::find(&mut session, "v-\\'; --", "x").await.unwrap();
    assert_eq!(found, Some(Some("a \\' mark".to_owned())));
}

#[tokio::test]
async fn a_user_is_lengthened_from_now_on_and_never_in_vain() {
    let server = Server::start();
    let mut session = server.session().await;
    let short = NewUser { remaining: Duration::from_secs(60), ..usual("v-ann") };
    users::create(&mut session, &short).await.unwrap();
    let mut it = Lengthened {
        username: "v-ann",
        remaining: Duration::from_secs(7200),
        renewal: &[],
        schemas: &[],
        database: "app",
        lock: "v-ann",
    };
    users::lengthen(&mut session, &it).await.unwrap();
    assert!((7100..=7230).contains(&remaining(&server, "v-ann").await));

    let renewal = ["ALTER ROLE {{username}} CONNECTION LIMIT 7 VALID UNTIL {{expiration}}".to_owned()];
    (it.renewal, it.remaining) = (&renewal, Duration::from_secs(100));
    users::lengthen(&mut session, &it).await.unwrap();
    assert!((60..=130).contains(&remaining(&server, "v-ann").await));
    let limit = one::<i32>(&mut session, "SELECT rolconnlimit FROM pg_roles WHERE rolname = 'v-ann'").await;
    assert_eq!(limit, 7);

    it.username = "v-nobody";
    let refused = users::lengthen(&mut session, &it).await.unwrap_err();
    assert!(matches!(&refused, SqlError::Refused { code, .. } if code == "42704"), "{refused}");
}

#[tokio::test]
async fn a_user_that_is_not_made_whole_is_not_made_at_all() {
    let server = Server::start();
    let mut session = server.session().await;
    let creation = [
        "CREATE ROLE {{username}} LOGIN PASSWORD {{password}} VALID UNTIL {{expiration}}".to_owned(),
        "GRANT nothing_of_this_name TO {{username}}".to_owned(),
    ];
    let refused = users::create(&mut session, &NewUser { creation: &creation, ..usual("v-ann") }).await;
    assert!(matches!(&refused, Err(SqlError::Refused { code, .. }) if code == "42704"), "{refused:?}");
    assert!(!server.has_role("v-ann").await);

    // One that makes no user is noticed too.
    let none = ["SELECT {{username:literal}}, {{password}}".to_owned()];
    let refused =
        users::create(&mut session, &NewUser { creation: &none, ..usual("v-ann") }).await.unwrap_err();
    assert!(refused.nothing_was_done(), "{refused}");
    users::create(&mut session, &usual("v-ann")).await.unwrap();
    let again = users::create(&mut session, &usual("v-ann")).await.unwrap_err();
    assert!(matches!(&again, SqlError::Refused { code, .. } if code == "42710"), "{again}");
}

#[tokio::test]
async fn what_the_server_says_of_a_statement_shows_no_password() {
    let server = Server::start();
    let mut session = server.session().await;
    for pre_hashed in [true, false] {
        let creation = ["CREATE ROLE {{username}} LOGIN PASSWORD {{password}} {{password}}".to_owned()];
        let new = NewUser { creation: &creation, pre_hashed, ..usual("v-ann") };
        let refused = users::create(&mut session, &new).await.unwrap_err();
        let shown = format!("{refused} {refused:?}");
        assert!(shown.contains("(secret)"), "the server quotes it: {shown}");
        assert!(!shown.contains(SECRET) && !shown.contains("SCRAM"), "{shown}");
    }
}

#[tokio::test]
async fn a_user_that_a_checker_of_passwords_wants_in_clear_can_be_had() {
    let server = Server::start();
    let mut session = server.session().await;
    users::create(&mut session, &NewUser { pre_hashed: false, ..usual("v-ann") }).await.unwrap();
    let _ = server.session_of("v-ann", "app").await.unwrap();
}

#[tokio::test]
async fn marks_are_found_and_told_apart() {
    let server = Server::start();
    let mut session = server.session().await;
    let (key, other) = (Key::new([1; 32].into()), Key::new([2; 32].into()));
    let mark = |installation: &str| Mark {
        installation: installation.to_owned(),
        epoch: "e1".to_owned(),
        lease: "l1".to_owned(),
    };
    let comments = [
        ("v-foreign", mark("i2").comment(&other, "v-foreign")),
        ("v-forged", mark("i1").comment(&key, "v-ours")),
        ("v-human", "adit is nice".to_owned()),
        ("v-ours", mark("i1").comment(&key, "v-ours")),
    ];
    for (name, comment) in &comments {
        users::create(&mut session, &NewUser { comment, ..usual(name) }).await.unwrap();
    }
    let found = users::marked(&mut session).await.unwrap();
    let read = |user: &users::Marked| {
        (user.username.clone(), mark::read(&key, "i1", &user.username, Some(&user.comment)))
    };
    let expected = [
        ("v-foreign".to_owned(), Finding::Foreign("i2".to_owned())),
        ("v-forged".to_owned(), Finding::Forged),
        ("v-ours".to_owned(), Finding::Valid(mark("i1"))),
    ];
    assert_eq!(found.iter().map(read).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_password_is_replaced_and_the_admin_users_own_too() {
    let server = Server::start();
    let mut session = server.session().await;
    users::create(&mut session, &usual("v-ann")).await.unwrap();
    users::set_password(&mut session, "v-ann", &scram::verifier("another-password"), "x").await.unwrap();
    assert!(server.session_of("v-ann", "app").await.is_err());
    let _ = server.try_session(&server.login_as("v-ann", "another-password", "app")).await.unwrap();
    users::set_password(&mut session, USER, &scram::verifier("a-new-one"), "x").await.unwrap();
    let _ = server.try_session(&server.login_as(USER, "a-new-one", "app")).await.unwrap();
}

#[tokio::test]
async fn many_users_at_once_come_and_go() {
    let server = std::sync::Arc::new(Server::start());
    server.another_database("other").await;
    run(
        &mut server.session().await,
        &["CREATE TABLE common (n int)", "CREATE ROLE readers NOLOGIN", "GRANT readers TO SESSION_USER"],
    )
    .await;
    let mut lives = tokio::task::JoinSet::new();
    for number in 0..20 {
        let server = server.clone();
        lives.spawn(async move {
            let creation = [
                "CREATE ROLE {{username}} LOGIN PASSWORD {{password}}".to_owned(),
                "GRANT SELECT ON common TO {{username}}".to_owned(),
                "GRANT CREATE ON DATABASE {{database}} TO {{username}}".to_owned(),
            ];
            let name = format!("v-{number}");
            let custom = NewUser { creation: &creation, ..usual(&name) };
            let grouped = NewUser { group: Some("readers"), ..usual(&name) };
            let new = if number % 2 == 0 { custom } else { grouped };
            users::create(&mut server.session().await, &new).await.unwrap();
            server.remove(&name, Owned::Reassign).await.unwrap();
        });
    }
    lives.join_all().await;
    let left = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'v-%'";
    assert_eq!(one::<i64>(&mut server.session().await, left).await, 0);
}
