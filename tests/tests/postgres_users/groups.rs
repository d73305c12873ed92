//! Group roles.

use adit_platform::postgres::users::{self, NewUser};
use adit_platform::postgres::{SqlError, groups};
use adit_platform::words::{Access, Owned};

use crate::server::{Server, one, run, usual};

const ODD: &str = "it's \"odd\"";

async fn world(server: &Server) -> [String; 2] {
    run(
        &mut server.session().await,
        &[
            "CREATE SCHEMA \"it's \"\"odd\"\"\"",
            "CREATE TABLE \"it's \"\"odd\"\"\".\"a;b\" (n serial)",
            "CREATE TABLE plain (n int)",
        ],
    )
    .await;
    ["public".to_owned(), ODD.to_owned()]
}

#[tokio::test]
async fn readers_read_what_is_there_and_what_comes_and_write_nothing() {
    let server = Server::start();
    let schemas = world(&server).await;
    let mut admin = server.session().await;
    assert!(!groups::is_prepared(&mut admin, "adit-g").await.unwrap());
    for _ in 0..2 {
        groups::prepare(&mut admin, "adit-g", Access::ReadOnly, &schemas).await.unwrap();
        assert!(groups::is_prepared(&mut admin, "adit-g").await.unwrap());
    }
    users::create(&mut admin, &NewUser { group: Some("adit-g"), ..usual("v-ann") }).await.unwrap();
    run(&mut admin, &["CREATE TABLE later (n int)"]).await;

    let mut own = server.session_of("v-ann", "app").await.unwrap();
    for table in ["plain", "later", "\"it's \"\"odd\"\"\".\"a;b\""] {
        run(&mut own, &[&format!("SELECT * FROM {table}")]).await;
        let refused = own.query(&format!("INSERT INTO {table} VALUES (1)"), &[]).await.unwrap_err();
        assert!(matches!(&refused, SqlError::Refused { code, .. } if code == "42501"), "{refused}");
    }
    assert!(own.query("CREATE TABLE public.mine (n int)", &[]).await.is_err());

    // Nothing is granted to the user itself, so that its end touches no object.
    assert!(users::databases_with(&mut admin, "v-ann").await.unwrap().is_empty());
    server.remove("v-ann", Owned::Reassign).await.unwrap();
    assert!(groups::remove(&mut admin, "adit-g").await.unwrap());
    assert!(!groups::remove(&mut admin, "adit-g").await.unwrap());
    assert!(!server.has_role("adit-g").await);
}

#[tokio::test]
async fn writers_write_tables_and_use_sequences() {
    let server = Server::start();
    let schemas = world(&server).await;
    let mut admin = server.session().await;
    groups::prepare(&mut admin, "adit-g", Access::ReadWrite, &schemas).await.unwrap();
    users::create(&mut admin, &NewUser { group: Some("adit-g"), ..usual("v-ann") }).await.unwrap();
    run(&mut admin, &["CREATE TABLE later (n serial)"]).await;
    let mut own = server.session_of("v-ann", "app").await.unwrap();
    for table in ["later", "\"it's \"\"odd\"\"\".\"a;b\""] {
        run(&mut own, &[&format!("INSERT INTO {table} DEFAULT VALUES"), &format!("DELETE FROM {table}")])
            .await;
    }
    assert!(own.query("DROP TABLE plain", &[]).await.is_err());
}

#[tokio::test]
async fn a_table_that_is_not_the_admin_users_to_grant_hinders_nobody() {
    let server = Server::start();
    let schemas = world(&server).await;
    let mut admin = server.session().await;
    // Owned by a role of which the admin user is a member, and by one of which it is not.
    run(&mut admin, &["CREATE ROLE team NOLOGIN", "GRANT team TO SESSION_USER"]).await;
    run(&mut admin, &["CREATE TABLE theirs (n int)", "GRANT CREATE ON SCHEMA public TO team"]).await;
    run(&mut admin, &["ALTER TABLE theirs OWNER TO team", "CREATE TABLE foreign_one (n int)"]).await;
    run(&mut admin, &["CREATE ROLE stranger NOLOGIN", "GRANT stranger TO SESSION_USER"]).await;
    run(&mut admin, &["GRANT CREATE ON SCHEMA public TO stranger"]).await;
    run(&mut admin, &["ALTER TABLE foreign_one OWNER TO stranger", "REVOKE stranger FROM SESSION_USER"])
        .await;

    groups::prepare(&mut admin, "adit-g", Access::ReadOnly, &schemas).await.unwrap();
    let reads = |table: &str| format!("SELECT has_table_privilege('adit-g', '{table}', 'SELECT')");
    assert!(one::<bool>(&mut admin, &reads("theirs")).await);
    assert!(!one::<bool>(&mut admin, &reads("foreign_one")).await);
    run(&mut admin, &["SET ROLE team", "CREATE TABLE public.team_later (n int)", "RESET ROLE"]).await;
    assert!(one::<bool>(&mut admin, &reads("team_later")).await);
}

#[tokio::test]
async fn a_role_of_somebody_else_and_a_schema_that_is_not_there_are_refused() {
    let server = Server::start();
    let mut admin = server.session().await;
    run(&mut admin, &["CREATE ROLE humans NOLOGIN"]).await;
    let taken = groups::prepare(&mut admin, "humans", Access::ReadOnly, &["public".to_owned()]).await;
    assert!(matches!(&taken, Err(SqlError::Refused { code, .. }) if code == "42710"), "{taken:?}");
    assert!(!groups::remove(&mut admin, "humans").await.unwrap());
    assert!(server.has_role("humans").await);
    let nowhere = groups::prepare(&mut admin, "adit-g", Access::ReadOnly, &["x'; --".to_owned()]).await;
    assert!(matches!(&nowhere, Err(SqlError::Refused { code, .. }) if code == "3F000"), "{nowhere:?}");
    assert!(!server.has_role("adit-g").await, "nothing half-made");
}
