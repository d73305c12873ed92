//! What users leave behind is of no use to those who come after them.

use adit_platform::postgres::users::{self, NewUser};
use adit_platform::postgres::{Session, SqlError};
use adit_platform::words::Owned;
use adit_tests::postgres::USER;

use crate::server::{Server, one, run, usual};

/// The heir of the admin user.
const HEIR: &str = "(SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'adit-heir-'))::text";

/// A user that may make things in `schema`, and `more`.
async fn maker(server: &Server, username: &str, schema: &str, more: &[&str]) {
    let mut creation = vec![
        "CREATE ROLE {{username}} LOGIN PASSWORD {{password}}".to_owned(),
        "GRANT CREATE ON DATABASE {{database}} TO {{username}}".to_owned(),
    ];
    creation.extend(more.iter().map(|&sql| sql.to_owned()));
    let schemas = [schema.to_owned()];
    let new = NewUser { creation: &creation, schemas: &schemas, ..usual(username) };
    users::create(&mut server.session().await, &new).await.expect("it can be made");
}

const MAY_CREATE: &str = "GRANT CREATE, USAGE ON SCHEMA {{schema}} TO {{username}}";

/// What stands in the way of `sql`.
async fn refusal(session: &mut Session, sql: &str) -> String {
    match session.query(sql, &[]).await {
        Err(SqlError::Refused { code, message }) => format!("{code} {message}"),
        other => panic!("{sql}: {other:?}"),
    }
}

#[tokio::test]
async fn functions_and_views_of_a_user_do_not_run_as_the_admin_user_afterwards() {
    let server = Server::start();
    let mut admin = server.session().await;
    run(&mut admin, &["CREATE TABLE kept (n int)"]).await;
    maker(&server, "v-ann", "public", &[MAY_CREATE, "GRANT SELECT ON kept TO {{username}}"]).await;
    run(
        &mut server.session_of("v-ann", "app").await.unwrap(),
        &[
            "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS \
             $$ BEGIN CREATE ROLE mallory LOGIN CREATEROLE; END $$",
            "CREATE VIEW v AS SELECT * FROM kept",
            "CREATE SCHEMA \"My \"\"own\"\"\"",
            "CREATE FUNCTION \"My \"\"own\"\"\".g() RETURNS text LANGUAGE sql SECURITY DEFINER \
             AS 'SELECT current_user::text'",
            "CREATE TYPE t AS ENUM ('a')",
            "CREATE OPERATOR public.<<<< (LEFTARG = int, RIGHTARG = int, FUNCTION = int4lt)",
            "CREATE TABLE mine (n int)",
            "CREATE PUBLICATION p FOR TABLE mine",
            "GRANT SELECT ON v TO PUBLIC",
            "GRANT USAGE ON SCHEMA \"My \"\"own\"\"\" TO PUBLIC",
        ],
    )
    .await;
    server.remove("v-ann", Owned::Reassign).await.unwrap();

    users::create(&mut admin, &usual("v-bob")).await.unwrap();
    let mut bob = server.session_of("v-bob", "app").await.unwrap();
    assert!(refusal(&mut bob, "SELECT f()").await.starts_with("42501"));
    assert!(refusal(&mut bob, "SELECT * FROM v").await.starts_with("42501"));
    assert!(!server.has_role("mallory").await);
    let heir = one::<String>(&mut admin, &format!("SELECT {HEIR}")).await;
    assert_eq!(one::<String>(&mut bob, "SELECT \"My \"\"own\"\"\".g()").await, heir);
    let owners = "SELECT string_agg(DISTINCT pg_get_userbyid(owner)::text, ',') FROM \
         (SELECT proowner FROM pg_proc WHERE proname IN ('f', 'g') \
         UNION ALL SELECT relowner FROM pg_class WHERE relname IN ('v', 'mine') \
         UNION ALL SELECT nspowner FROM pg_namespace WHERE nspname LIKE 'My%' \
         UNION ALL SELECT pubowner FROM pg_publication) AS them (owner)";
    assert_eq!(one::<String>(&mut admin, owners).await, heir);

    // What it was lent it does not keep, and it is the owner of what it owns.
    let rights = format!(
        "SELECT has_schema_privilege({HEIR}, 'public', 'CREATE') OR has_database_privilege({HEIR}, 'app', 'CREATE') \
         OR NOT has_schema_privilege({HEIR}, 'My \"own\"', 'CREATE')"
    );
    assert!(!one::<bool>(&mut admin, &rights).await);
    assert!(server.session_of(&heir, "app").await.is_err());
}

#[tokio::test]
async fn a_right_that_an_heir_needs_and_the_admin_user_cant_grant_is_asked_for() {
    let server = Server::start();
    let mut admin = server.session().await;
    run(&mut admin, &["CREATE ROLE makers NOLOGIN", "CREATE ROLE stranger NOLOGIN"]).await;
    run(&mut admin, &["GRANT stranger TO SESSION_USER", "CREATE SCHEMA closed AUTHORIZATION stranger"]).await;
    run(&mut admin, &["GRANT CREATE, USAGE ON SCHEMA closed TO makers"]).await;
    run(&mut admin, &["REVOKE stranger FROM SESSION_USER"]).await;
    for username in ["v-ann", "v-bob"] {
        maker(&server, username, "closed", &["GRANT makers TO {{username}}"]).await;
    }
    let mut ann = server.session_of("v-ann", "app").await.unwrap();
    run(&mut ann, &["CREATE TABLE closed.t (n int)", "CREATE TYPE closed.e AS ENUM ('a')"]).await;
    server.remove("v-ann", Owned::Reassign).await.expect("relations and types need no right");

    let make = "CREATE FUNCTION closed.f() RETURNS int LANGUAGE sql AS 'SELECT 1'";
    run(&mut server.session_of("v-bob", "app").await.unwrap(), &[make]).await;
    let heir = one::<String>(&mut admin, &format!("SELECT {HEIR}")).await;
    let grant = format!("GRANT CREATE ON SCHEMA \"closed\" TO \"{heir}\";");
    for _ in 0..2 {
        let error = server.remove("v-bob", Owned::Reassign).await.unwrap_err();
        let SqlError::Refused { code, message } = &error else { panic!("{error}") };
        assert!(code == "42501" && message.ends_with(&grant), "{error}");
        assert!(server.session_of("v-bob", "app").await.is_err(), "it has no login any more");
    }
    run(&mut admin, &["GRANT stranger TO SESSION_USER", &grant, "REVOKE stranger FROM SESSION_USER"]).await;
    server.remove("v-bob", Owned::Reassign).await.unwrap();
    assert!(!server.has_role("v-bob").await);
    let owner = "SELECT proowner::regrole::text FROM pg_proc WHERE proname = 'f'";
    assert_eq!(one::<String>(&mut admin, owner).await, format!("\"{heir}\""));
}

#[tokio::test]
async fn a_user_that_owns_a_database_ends_too() {
    let server = Server::start();
    for (number, (owned, right)) in
        [(Owned::Drop, "CREATEDB"), (Owned::Reassign, "CREATEDB"), (Owned::Drop, "NOCREATEDB")]
            .into_iter()
            .enumerate()
    {
        let (username, database) = (format!("v-{number}"), format!("theirs {number}"));
        maker(&server, &username, "public", &[MAY_CREATE, "ALTER ROLE {{username}} CREATEDB"]).await;
        let mut own = server.session_of(&username, "app").await.unwrap();
        run(&mut own, &[&format!("CREATE DATABASE \"{database}\""), "CREATE TABLE mine (n int)"]).await;
        let mut inside = server.session_of(&username, &database).await.unwrap();
        let made = [
            "CREATE TABLE t (n int)",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE PUBLICATION p FOR TABLE t",
        ];
        run(&mut inside, &made).await;
        let _ = server.postgres.superuser(&format!("ALTER ROLE {USER} {right}"));
        server.remove(&username, owned).await.unwrap();
        assert!(!server.has_role(&username).await);
        let mut admin = server.session_in(&database).await;
        let is_heirs = format!(
            "SELECT pg_get_userbyid(datdba)::text = {HEIR} FROM pg_database WHERE datname = '{database}'"
        );
        assert!(one::<bool>(&mut admin, &is_heirs).await);
        let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        assert_eq!(one::<i64>(&mut admin, tables).await, i64::from(owned == Owned::Reassign));
        let mut app = server.session().await;
        run(&mut app, &["DROP TABLE IF EXISTS mine"]).await;
    }
}

#[tokio::test]
async fn an_heir_that_may_do_something_inherits_nothing() {
    let server = Server::start();
    let mut admin = server.session().await;
    maker(&server, "v-ann", "public", &[MAY_CREATE]).await;
    run(&mut server.session_of("v-ann", "app").await.unwrap(), &["CREATE TABLE a (n int)"]).await;
    server.remove("v-ann", Owned::Reassign).await.unwrap();
    let heir = one::<String>(&mut admin, &format!("SELECT {HEIR}")).await;
    run(&mut admin, &["CREATE ROLE others NOLOGIN"]).await;
    maker(&server, "v-bob", "public", &[MAY_CREATE]).await;
    run(&mut server.session_of("v-bob", "app").await.unwrap(), &["CREATE TABLE b (n int)"]).await;
    let heir = format!("\"{heir}\"");
    for (change, back) in [
        (format!("ALTER ROLE {heir} LOGIN"), format!("ALTER ROLE {heir} NOLOGIN")),
        (format!("ALTER ROLE {heir} SUPERUSER"), format!("ALTER ROLE {heir} NOSUPERUSER")),
        (format!("ALTER ROLE {heir} CREATEROLE"), format!("ALTER ROLE {heir} NOCREATEROLE")),
        (format!("GRANT others TO {heir}"), format!("REVOKE others FROM {heir}")),
    ] {
        let _ = server.postgres.superuser(&change);
        let error = server.remove("v-bob", Owned::Reassign).await.unwrap_err();
        assert!(error.to_string().contains(&format!("ALTER ROLE {heir} NOLOGIN")), "{change}: {error}");
        let _ = server.postgres.superuser(&back);
    }
    let _ = server.postgres.superuser(&format!("REVOKE {heir} FROM {USER}"));
    server.remove("v-bob", Owned::Reassign).await.expect("membership is made good");
}
