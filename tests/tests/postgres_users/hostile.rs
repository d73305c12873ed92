//! Names and passwords that try to be SQL.

use adit_platform::postgres::users::{self, NewUser};
use adit_platform::postgres::{groups, scram};
use adit_platform::words::{Access, Owned};

use crate::server::{Server, one, run, usual};

const EVIL: [&str; 6] = [
    "a\"; DROP TABLE kept; --",
    "a'; DROP TABLE kept; --",
    "{{password}} {{username}}",
    "$$; DROP TABLE kept; $$",
    "a\\'; DROP TABLE kept; --",
    "ä\n/* */ \u{202e}\"\"''",
];

#[tokio::test]
async fn whatever_a_user_its_mark_and_its_password_are_they_are_only_that() {
    let server = Server::start();
    let mut admin = server.session().await;
    run(&mut admin, &["CREATE TABLE kept (n int)"]).await;
    let creation =
        ["CREATE ROLE {{username}} LOGIN PASSWORD {{password}} VALID UNTIL {{expiration}}".to_owned()];
    for name in EVIL {
        for (creation, pre_hashed) in [(&[][..], true), (&creation[..], false)] {
            // Clear or as a verifier, the password has to let the user in.
            let password = if pre_hashed { "{{username}}'\"\\$$;--" } else { name };
            let new = NewUser { creation, pre_hashed, password, comment: name, ..usual(name) };
            users::create(&mut admin, &new).await.unwrap();
            let login = server.login_as(name, password, "app");
            let mut own = server.try_session(&login).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(one::<String>(&mut own, "SELECT current_user::text").await, name);
            assert_eq!(users::find(&mut admin, name, name).await.unwrap(), Some(Some(name.to_owned())));
            server.remove(name, Owned::Reassign).await.unwrap();
            assert!(!server.has_role(name).await);
        }
    }
    run(&mut admin, &["SELECT * FROM kept"]).await;
}

#[tokio::test]
async fn whatever_schemas_databases_and_groups_are_called_they_are_only_that() {
    let server = Server::start();
    for (number, name) in EVIL.into_iter().enumerate() {
        server.another_database(name).await;
        let mut admin = server.session_in(name).await;
        let quoted = name.replace('"', "\"\"");
        run(&mut admin, &["CREATE TABLE kept (n int)", &format!("CREATE SCHEMA \"{quoted}\"")]).await;
        run(&mut admin, &[&format!("CREATE TABLE \"{quoted}\".\"{quoted}\" (n int)")]).await;
        let schemas = [name.to_owned()];
        groups::prepare(&mut admin, name, Access::ReadWrite, &schemas).await.unwrap();

        let (user, creation) = (
            format!("v-{number}"),
            [
                "CREATE ROLE {{username}} LOGIN PASSWORD {{password}}".to_owned(),
                "GRANT CONNECT ON DATABASE {{database}} TO {{username}}".to_owned(),
                "GRANT CREATE ON SCHEMA {{schema}} TO {{username}}".to_owned(),
            ],
        );
        let new = NewUser { creation: &creation, schemas: &schemas, database: name, ..usual(&user) };
        users::create(&mut admin, &new).await.unwrap();
        assert_eq!(users::databases_with(&mut admin, &user).await.unwrap(), [name]);
        server.remove(&user, Owned::Drop).await.unwrap();
        assert!(groups::remove(&mut admin, name).await.unwrap());
        run(&mut admin, &["SELECT * FROM kept"]).await;
    }
}

#[tokio::test]
async fn a_verifier_that_tries_to_be_sql_is_a_password_at_worst() {
    let server = Server::start();
    let mut admin = server.session().await;
    users::create(&mut admin, &usual("v-ann")).await.unwrap();
    for evil in EVIL {
        users::set_password(&mut admin, "v-ann", evil, "l").await.unwrap();
        let _ = server.try_session(&server.login_as("v-ann", evil, "app")).await.unwrap();
    }
    let superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = 'v-ann'";
    users::set_password(&mut admin, "v-ann", &format!("{}' SUPERUSER --", scram::verifier("x")), "l")
        .await
        .unwrap();
    assert!(!one::<bool>(&mut admin, superuser).await);
}

#[tokio::test]
async fn functions_and_operators_that_a_user_makes_are_never_run_as_the_admin_user() {
    let server = Server::start();
    let mut admin = server.session().await;
    let creation = [
        "CREATE ROLE {{username}} LOGIN PASSWORD {{password}}".to_owned(),
        "GRANT CREATE ON SCHEMA {{schema}} TO {{username}}".to_owned(),
    ];
    let schemas = ["public".to_owned()];
    let new = NewUser { creation: &creation, schemas: &schemas, ..usual("v-ann") };
    users::create(&mut admin, &new).await.unwrap();
    // What fits the arguments better than PostgreSQL's own would be chosen.
    let mut own = server.session_of("v-ann", "app").await.unwrap();
    run(
        &mut own,
        &[
            "CREATE FUNCTION public.trap(oid, regclass) RETURNS bool LANGUAGE plpgsql \
             AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$",
            "CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = public.trap)",
        ],
    )
    .await;
    let trapped = "SELECT count(*) FROM pg_shdepend WHERE refclassid = 'pg_catalog.pg_authid'::regclass";
    assert!(admin.query(trapped, &[]).await.is_err(), "the trap works");
    assert_eq!(users::databases_with(&mut admin, "v-ann").await.unwrap(), ["app"]);
    server.remove("v-ann", Owned::Drop).await.unwrap();

    // Statements of users mean what they mean everywhere else.
    run(&mut admin, &["CREATE TABLE unqualified (n int)"]).await;
    let creation = [creation[0].clone(), "GRANT SELECT ON unqualified TO {{username}}".to_owned()];
    users::create(&mut admin, &NewUser { creation: &creation, ..usual("v-bob") }).await.unwrap();
    run(&mut server.session_of("v-bob", "app").await.unwrap(), &["SELECT * FROM unqualified"]).await;
}
