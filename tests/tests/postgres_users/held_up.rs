//! What holds up the removal of a user: it is got out of the way, or it is said who has to do what.

use std::time::Duration;

use adit_platform::postgres::users::{self, NewUser};
use adit_platform::postgres::{Session, SqlError};
use adit_platform::words::Owned;
use adit_tests::postgres::USER;

use crate::server::{Server, one, run, usual};

/// A user that may make things.
async fn maker(server: &Server, username: &str) {
    let creation = [
        "CREATE ROLE {{username}} LOGIN PASSWORD {{password}}".to_owned(),
        "GRANT CREATE, USAGE ON SCHEMA public TO {{username}}".to_owned(),
    ];
    users::create(&mut server.session().await, &NewUser { creation: &creation, ..usual(username) })
        .await
        .expect("it can be made");
}

async fn prepare(session: &mut Session, statements: &[&str], gid: &str) {
    run(session, &["BEGIN"]).await;
    run(session, statements).await;
    run(session, &[&format!("PREPARE TRANSACTION '{gid}'")]).await;
}

const PREPARED: &str = "SELECT count(*) FROM pg_prepared_xacts";

#[tokio::test]
async fn what_a_user_has_prepared_is_rolled_back_in_every_database() {
    let server = Server::with_two_phase_commit();
    server.another_database("other \"db\"").await;
    maker(&server, "v-ann").await;
    run(&mut server.session_in("other \"db\"").await, &["GRANT CREATE ON SCHEMA public TO \"v-ann\""]).await;
    let mut own = server.session_of("v-ann", "app").await.unwrap();
    run(&mut own, &["CREATE TABLE kept (n int)"]).await;
    prepare(&mut own, &["CREATE TABLE never (n int)", "LOCK TABLE kept IN ROW SHARE MODE"], "it''s one")
        .await;
    prepare(&mut own, &["INSERT INTO kept VALUES (1)"], "two").await;
    let mut elsewhere = server.session_of("v-ann", "other \"db\"").await.unwrap();
    prepare(&mut elsewhere, &["CREATE TABLE never (n int)"], "three").await;

    server.remove("v-ann", Owned::Reassign).await.unwrap();
    assert!(!server.has_role("v-ann").await);
    let mut admin = server.session().await;
    assert_eq!(one::<i64>(&mut admin, PREPARED).await, 0);
    assert_eq!(
        one::<String>(
            &mut admin,
            "SELECT string_agg(tablename::text, ',') FROM pg_tables \
        WHERE schemaname = 'public'"
        )
        .await,
        "kept"
    );
    assert_eq!(one::<String>(&mut admin, "SELECT current_user::text").await, USER, "it is itself again");
}

#[tokio::test]
async fn a_prepared_transaction_that_cant_be_rolled_back_is_named_with_what_to_do() {
    let server = Server::with_two_phase_commit();
    maker(&server, "v-ann").await;
    let mut own = server.session_of("v-ann", "app").await.unwrap();
    prepare(&mut own, &["CREATE TABLE mine (n int)"], "it''s mine").await;
    let _ = server.postgres.superuser(&format!("REVOKE \"v-ann\" FROM {USER}"));
    let error = users::roll_back_prepared(&mut server.session().await, "v-ann").await.unwrap_err();
    let SqlError::Refused { code, message } = &error else { panic!("{error}") };
    let remedy = "A superuser runs, in the database \"app\": ROLLBACK PREPARED 'it''s mine';";
    assert!(code == "42501" && message.ends_with(remedy), "{error}");
}

#[tokio::test]
async fn a_prepared_transaction_of_somebody_else_that_is_waited_for_is_named() {
    let server = Server::with_two_phase_commit();
    maker(&server, "v-ann").await;
    let mut admin = server.session().await;
    run(&mut admin, &["CREATE TABLE goods (n int)"]).await;
    prepare(&mut admin, &["GRANT SELECT ON goods TO \"v-ann\""], "a grant").await;
    let stream = server.stream().await;
    let mut hasty = Session::over(stream, &server.login(), Duration::from_secs(2)).await.unwrap();
    users::disown(&mut hasty, "v-ann", Owned::Reassign, "l").await.unwrap();
    let error = users::drop(&mut hasty, "v-ann", "l").await.unwrap_err();
    let remedy = "ROLLBACK PREPARED 'a grant'; in the database \"app\", as \"app\" or as a superuser";
    assert!(error.to_string().contains(remedy), "{error}");
    run(&mut admin, &["ROLLBACK PREPARED 'a grant'"]).await;
    server.remove("v-ann", Owned::Reassign).await.unwrap();
}

/// Runs `statements` as the role `stranger`, of which the admin user is a member for no longer than that.
async fn as_stranger(server: &Server, statements: &[&str]) {
    let _ = server.postgres.superuser(&format!("GRANT stranger TO {USER}"));
    let mut admin = server.session().await;
    run(&mut admin, &["SET ROLE stranger"]).await;
    run(&mut admin, statements).await;
    let _ = server.postgres.superuser(&format!("REVOKE stranger FROM {USER}"));
}

/// The error of the removal of `v-ann`, which ends with the statements that help.
async fn held_up(server: &Server, expected: &str) -> String {
    let error = server.remove("v-ann", Owned::Reassign).await.expect_err("something is left");
    let SqlError::Refused { code, message } = error else { panic!("{error}") };
    assert!(code == expected && message.contains("granted by \"stranger\""), "{code} {message}");
    assert!(server.session_of("v-ann", "app").await.is_err(), "it has no login any more");
    message
}

/// Does what an error advises.
async fn heed(server: &Server, message: &str) {
    let (_, remedy) = message.split_once("in the database \"app\": ").expect("it advises something");
    let remedies: Vec<_> = remedy.split("; ").map(|sql| sql.trim_end_matches(';')).collect();
    as_stranger(server, &remedies).await;
}

#[tokio::test]
async fn what_strangers_have_granted_is_named_with_who_takes_it_back() {
    let server = Server::start();
    maker(&server, "v-ann").await;
    let _ = server.postgres.superuser("CREATE ROLE stranger");
    let mut admin = server.session().await;
    run(&mut admin, &["CREATE TABLE ours (n int)", "GRANT SELECT ON ours TO \"v-ann\""]).await;
    run(&mut admin, &["GRANT CREATE ON DATABASE app TO stranger"]).await;
    // The admin user has a right on these, too.
    let made = [
        "CREATE SCHEMA theirs",
        "CREATE TABLE theirs.\"T t\" (n int, m int)",
        "GRANT SELECT ON theirs.\"T t\" TO app, \"v-ann\"",
        "GRANT UPDATE (m) ON theirs.\"T t\" TO app, \"v-ann\"",
        "CREATE FUNCTION theirs.f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "GRANT EXECUTE ON FUNCTION theirs.f(int) TO \"v-ann\"",
    ];
    as_stranger(&server, &made).await;
    let message = held_up(&server, "2BP01").await;
    assert!(!message.contains("ours"), "what could be taken back was: {message}");
    for on in ["ON TABLE theirs.\"T t\"", "(m) ON TABLE theirs.\"T t\"", "ON FUNCTION theirs.f(integer)"] {
        let remedy = format!("SET ROLE \"stranger\"; REVOKE ALL {on} FROM \"v-ann\" CASCADE; RESET ROLE;");
        assert!(message.contains(&remedy), "{remedy}\n{message}");
    }
    heed(&server, &message).await;
    server.remove("v-ann", Owned::Reassign).await.unwrap();

    // And none at all on this one.
    maker(&server, "v-ann").await;
    as_stranger(&server, &["CREATE SEQUENCE theirs.s", "GRANT USAGE ON SEQUENCE theirs.s TO \"v-ann\""])
        .await;
    let message = held_up(&server, "42501").await;
    assert!(message.contains("REVOKE ALL ON SEQUENCE theirs.s FROM \"v-ann\" CASCADE;"), "{message}");
    heed(&server, &message).await;
    server.remove("v-ann", Owned::Reassign).await.unwrap();
    assert!(!server.has_role("v-ann").await);
}
