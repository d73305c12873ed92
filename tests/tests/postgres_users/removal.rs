//! Users that are removed, whatever they have done meanwhile.

use std::time::Duration;

use adit_platform::postgres::users::{self, NewUser};
use adit_platform::postgres::{Session, SqlError};
use adit_platform::words::Owned;

use crate::server::{Server, one, run, usual};

/// A user that may make things in the admin user's databases.
async fn maker(server: &Server, username: &str) {
    let creation = [
        "CREATE ROLE {{username}} LOGIN PASSWORD {{password}}".to_owned(),
        "GRANT CREATE ON DATABASE {{database}} TO {{username}}".to_owned(),
        "GRANT CREATE, USAGE ON SCHEMA {{schema}} TO {{username}}".to_owned(),
    ];
    let schemas = ["public".to_owned()];
    let new = NewUser { creation: &creation, schemas: &schemas, ..usual(username) };
    users::create(&mut server.session().await, &new).await.expect("it can be made");
}

#[tokio::test]
async fn a_user_with_open_sessions_tables_in_two_databases_and_default_privileges_goes_completely() {
    let server = Server::start();
    server.another_database("other \"db\"").await;
    maker(&server, "v-ann").await;
    run(&mut server.session_in("other \"db\"").await, &["GRANT CREATE ON SCHEMA public TO \"v-ann\""]).await;
    run(
        &mut server.session().await,
        &["CREATE TABLE shared (n int)", "GRANT SELECT ON shared TO \"v-ann\" WITH GRANT OPTION"],
    )
    .await;
    users::create(&mut server.session().await, &usual("v-bob")).await.unwrap();
    let mut own = server.session_of("v-ann", "app").await.unwrap();
    run(
        &mut own,
        &[
            "CREATE TABLE mine (n serial PRIMARY KEY)",
            "INSERT INTO mine DEFAULT VALUES",
            "CREATE SCHEMA my_schema",
            "CREATE FUNCTION my_schema.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE TYPE my_schema.t AS ENUM ('a')",
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO \"v-bob\"",
            "ALTER DEFAULT PRIVILEGES IN SCHEMA my_schema GRANT SELECT ON TABLES TO PUBLIC",
            "GRANT SELECT ON shared TO \"v-bob\"",
            "GRANT SELECT ON mine TO \"v-bob\"",
        ],
    )
    .await;
    let mut elsewhere = server.session_of("v-ann", "other \"db\"").await.unwrap();
    run(&mut elsewhere, &["CREATE TABLE elsewhere (n int)", "CREATE TEMP TABLE fleeting (n int)"]).await;
    let in_transaction = elsewhere.begin(None).await.unwrap();

    let mut admin = server.session().await;
    assert_eq!(users::databases_with(&mut admin, "v-ann").await.unwrap(), ["app", "other \"db\""]);
    server.remove("v-ann", Owned::Reassign).await.unwrap();

    assert!(!server.has_role("v-ann").await);
    assert!(own.query("SELECT 1", &[]).await.is_err(), "its sessions have ended");
    assert!(in_transaction.commit().await.is_err());
    let owner = "SELECT tableowner::text FROM pg_tables WHERE tablename = 'mine'";
    assert!(one::<String>(&mut admin, owner).await.starts_with("adit-heir-"));
    assert_eq!(one::<i64>(&mut admin, "SELECT count(*) FROM mine").await, 1);
    server.remove("v-bob", Owned::Reassign).await.unwrap();
}

#[tokio::test]
async fn what_a_user_owns_is_dropped_where_that_is_wanted_and_nobody_needs_it() {
    let server = Server::start();
    maker(&server, "v-ann").await;
    run(&mut server.session_of("v-ann", "app").await.unwrap(), &["CREATE TABLE mine (n int)"]).await;
    server.remove("v-ann", Owned::Drop).await.unwrap();
    let count = "SELECT count(*) FROM pg_tables WHERE tablename IN ('mine', 'needed')";
    assert_eq!(one::<i64>(&mut server.session().await, count).await, 0);

    maker(&server, "v-bob").await;
    run(&mut server.session_of("v-bob", "app").await.unwrap(), &["CREATE TABLE needed (n int)"]).await;
    run(&mut server.session().await, &["CREATE VIEW others AS SELECT * FROM needed"]).await;
    server.remove("v-bob", Owned::Drop).await.unwrap();
    assert!(!server.has_role("v-bob").await);
    assert_eq!(one::<i64>(&mut server.session().await, count).await, 1, "a view of somebody else is over it");
}

#[tokio::test]
async fn every_step_may_be_repeated_and_a_user_that_is_gone_is_no_error() {
    let server = Server::start();
    maker(&server, "v-ann").await;
    let mut admin = server.session().await;
    for _ in 0..2 {
        assert!(users::disable(&mut admin, "v-ann", "l").await.unwrap());
        users::end_sessions(&mut admin, "v-ann").await.unwrap();
        assert!(users::disown(&mut admin, "v-ann", Owned::Reassign, "l").await.unwrap());
    }
    assert!(matches!(server.session_of("v-ann", "app").await, Err(SqlError::Login { .. })));
    assert!(users::drop(&mut admin, "v-ann", "l").await.unwrap());
    assert!(!users::drop(&mut admin, "v-ann", "l").await.unwrap());
    assert!(!users::disable(&mut admin, "v-ann", "l").await.unwrap());
    assert!(!users::disown(&mut admin, "v-ann", Owned::Drop, "l").await.unwrap());
    assert!(users::databases_with(&mut admin, "v-ann").await.unwrap().is_empty());
    assert_eq!(users::find(&mut admin, "v-ann", "l").await.unwrap(), None);
}

#[tokio::test]
async fn statements_of_the_secret_run_before_the_end() {
    let server = Server::start();
    maker(&server, "v-ann").await;
    let mut admin = server.session().await;
    run(&mut admin, &["CREATE TABLE gone (name text, schema text)"]).await;
    let secret = serde_json::json!({
        "name": "s", "database": "d", "access": "custom", "schemas": ["a'b", "c"],
        "revocation": ["INSERT INTO gone VALUES ({{username:literal}}, {{schema:literal}})"],
    });
    let secret = serde_json::from_value(secret).unwrap();
    users::run_revocation(&mut admin, "v-ann", &secret, "app", "l").await.unwrap();
    let all = "SELECT string_agg(name || ' ' || schema, ',' ORDER BY schema) FROM gone";
    assert_eq!(one::<String>(&mut admin, all).await, "v-ann a'b,v-ann c");
    server.remove("v-ann", Owned::Reassign).await.unwrap();
    users::run_revocation(&mut admin, "v-ann", &secret, "app", "l").await.unwrap();
    assert_eq!(one::<i64>(&mut admin, "SELECT count(*) FROM gone").await, 2);
}

#[tokio::test]
async fn whoever_still_makes_a_user_is_waited_for_in_whichever_database() {
    let server = Server::start();
    server.another_database("other").await;
    let mut making = server.session_in("other").await;
    let open = making.begin(Some("l")).await.unwrap();

    let mut finder =
        Session::over(server.stream().await, &server.login(), Duration::from_secs(2)).await.unwrap();
    let busy = users::find(&mut finder, "v-ann", "l").await.unwrap_err();
    assert!(matches!(&busy, SqlError::Refused { code, .. } if code == "55P03"), "{busy}");
    assert_eq!(users::find(&mut finder, "v-ann", "another").await.unwrap(), None);
    open.commit().await.unwrap();
    assert_eq!(users::find(&mut finder, "v-ann", "l").await.unwrap(), None);
}
