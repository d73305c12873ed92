//! Tests of what is defined.

use std::time::{SystemTime, UNIX_EPOCH};

use adit_platform::postgres::checks;
use adit_platform::words::{NewSecret, TestReport};
use adit_tests::postgres::USER;
use serde_json::{Value, json};

use crate::server::{Server, one, run};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

fn secret(change: Value) -> NewSecret {
    let mut secret = json!({ "name": "s", "database": "d", "access": "read-only", "schemas": ["public"] });
    secret.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
    serde_json::from_value(secret).expect("a secret")
}

/// What is not as it has to be, with what to do about it.
fn failing(report: &TestReport) -> String {
    let failing = report.checks.iter().filter(|check| !check.ok);
    failing.map(|check| format!("{}: {:?}: {:?}\n", check.name, check.found, check.remedy)).collect()
}

#[tokio::test]
async fn a_usual_admin_user_is_found_good_and_nothing_stays() {
    let server = Server::start();
    let mut session = server.session().await;
    let report = checks::database(&mut session, now()).await.unwrap();
    assert!(report.ok, "{}", failing(&report));
    assert!(report.server_version.unwrap().starts_with(char::is_numeric));
    assert!(report.clock_ahead.unwrap().abs() <= 30);
    let report = checks::secret(&mut session, &secret(json!({})), Some("adit-g"), now()).await.unwrap();
    assert!(report.ok, "{}", failing(&report));
    let roles = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'adit%'";
    assert_eq!(one::<i64>(&mut session, roles).await, 0);
    assert_eq!(one::<i64>(&mut session, "SELECT count(*) FROM pg_default_acl").await, 0);
}

#[tokio::test]
async fn a_missing_right_is_named_with_the_statement_that_gives_it() {
    let server = Server::start();
    let mut session = server.session().await;
    let _ = server.postgres.superuser(&format!("ALTER ROLE {USER} NOCREATEROLE NOINHERIT"));
    let report = checks::database(&mut session, now()).await.unwrap();
    assert!(!report.ok);
    assert!(failing(&report).contains("ALTER ROLE \\\"app\\\" CREATEROLE;"), "{}", failing(&report));
    assert!(failing(&report).contains("ALTER ROLE \\\"app\\\" INHERIT;"), "{}", failing(&report));
}

#[tokio::test]
async fn clocks_that_differ_are_told() {
    let server = Server::start();
    let report = checks::database(&mut server.session().await, now() + 120).await.unwrap();
    assert!(!report.ok && failing(&report).contains("s behind"), "{}", failing(&report));
    let report = checks::database(&mut server.session().await, now() - 120).await.unwrap();
    assert!(!report.ok && failing(&report).contains("s ahead"), "{}", failing(&report));
}

#[tokio::test]
async fn objects_and_schemas_that_are_not_the_admin_users_to_grant_are_named() {
    let server = Server::start();
    let mut session = server.session().await;
    run(
        &mut session,
        &[
            "CREATE ROLE stranger NOLOGIN",
            "GRANT stranger TO SESSION_USER",
            "CREATE SCHEMA theirs AUTHORIZATION stranger",
            "SET ROLE stranger",
            "CREATE TABLE theirs.\"odd;\" (n int)",
            "RESET ROLE",
            "REVOKE stranger FROM SESSION_USER",
        ],
    )
    .await;
    let theirs = secret(json!({ "schemas": ["theirs"] }));
    let report = checks::secret(&mut session, &theirs, Some("adit-g"), now()).await.unwrap();
    let text = failing(&report);
    assert!(
        text.contains("GRANT USAGE ON SCHEMA \\\"theirs\\\" TO \\\"app\\\" WITH GRANT OPTION;"),
        "{text}"
    );
    assert!(
        text.contains("GRANT SELECT ON TABLE \\\"theirs\\\".\\\"odd;\\\" TO \\\"app\\\" WITH GRANT OPTION;"),
        "{text}"
    );

    let nowhere = secret(json!({ "schemas": ["nowhere"] }));
    let report = checks::secret(&mut session, &nowhere, Some("adit-g"), now()).await.unwrap();
    assert!(failing(&report).contains("CREATE SCHEMA \\\"nowhere\\\";"), "{}", failing(&report));
}

#[tokio::test]
async fn statements_are_tried_out_and_the_one_that_fails_is_named() {
    let server = Server::start();
    let mut session = server.session().await;
    let custom = |creation: &[&str], revocation: &[&str]| {
        secret(json!({ "access": "custom", "creation": creation, "revocation": revocation }))
    };
    let create = "CREATE ROLE {{username}} LOGIN PASSWORD {{password}}";
    let good = custom(
        &[create, "GRANT CREATE ON SCHEMA {{schema}} TO {{username}}"],
        &["SELECT {{username:literal}}"],
    );
    let report = checks::secret(&mut session, &good, None, now()).await.unwrap();
    assert!(report.ok, "{}", failing(&report));

    let bad = custom(&[create, "GRANT nobody TO {{username}}"], &[]);
    let report = checks::secret(&mut session, &bad, None, now()).await.unwrap();
    assert!(
        failing(&report).contains("creation: statement 2: role \\\"nobody\\\" does not exist"),
        "{}",
        failing(&report)
    );
    let bad = custom(&[create], &["DROP TABLE nothing"]);
    let report = checks::secret(&mut session, &bad, None, now()).await.unwrap();
    assert!(failing(&report).contains("revocation: statement 1"), "{}", failing(&report));
    let roles = "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'adit%'";
    assert_eq!(one::<i64>(&mut session, roles).await, 0);
}

#[tokio::test]
async fn users_to_be_rotated_are_there_may_log_in_and_can_be_given_a_password() {
    let server = Server::start();
    let mut session = server.session().await;
    run(
        &mut session,
        &[
            "CREATE ROLE a LOGIN PASSWORD 'x'",
            "CREATE ROLE b NOLOGIN",
            "CREATE ROLE c LOGIN VALID UNTIL '2001-01-01'",
        ],
    )
    .await;
    let before = server.postgres.superuser("SELECT rolpassword FROM pg_authid WHERE rolname = 'a'");
    let users = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let report = checks::rotation(&mut session, &users(&["a"]), now()).await.unwrap();
    assert!(report.ok, "{}", failing(&report));
    assert_eq!(server.postgres.superuser("SELECT rolpassword FROM pg_authid WHERE rolname = 'a'"), before);

    let report = checks::rotation(&mut session, &users(&["b", "c", "d\"", "postgres"]), now()).await.unwrap();
    let text = failing(&report);
    for expected in [
        "ALTER ROLE \\\"b\\\" LOGIN;",
        "ALTER ROLE \\\"c\\\" VALID UNTIL 'infinity';",
        "CREATE ROLE \\\"d\\\"\\\"\\\" LOGIN;",
        "\"postgres\" can be given a password",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("SCRAM"));
}
