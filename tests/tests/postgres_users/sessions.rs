//! Logins and transactions.

use std::time::{Duration, Instant};

use adit_platform::postgres::{Session, SqlError, column};

use crate::server::Server;

#[tokio::test]
async fn a_transaction_lasts_when_it_is_committed_and_only_then() {
    let server = Server::start();
    let mut session = server.session().await;

    let mut dropped = session.begin(None).await.unwrap();
    dropped.execute("CREATE TABLE public.never (n int)", &[]).await.unwrap();
    let refused = dropped.execute("SELECT 1 / 0", &[]).await.unwrap_err();
    assert!(matches!(&refused, SqlError::Refused { code, .. } if code == "22012"), "{refused}");
    assert!(refused.nothing_was_done());
    drop(dropped);

    let mut kept = session.begin(Some("somebody")).await.unwrap();
    kept.execute("CREATE TABLE public.kept (n int)", &[]).await.unwrap();
    kept.commit().await.unwrap();
    let rows =
        session.query("SELECT relname::text FROM pg_class WHERE relname IN ('kept', 'never')", &[]).await;
    let names: Vec<String> = rows.unwrap().iter().map(|row| column(row, 0).unwrap()).collect();
    assert_eq!(names, ["kept"]);
    assert!(!session.is_broken());
}

#[tokio::test]
async fn two_transactions_with_the_same_lock_wait_for_each_other_and_not_for_ever() {
    let server = Server::start();
    let mut first = server.session().await;
    let mut second =
        Session::over(server.stream().await, &server.login(), Duration::from_secs(2)).await.unwrap();

    let held = first.begin(Some("lease")).await.unwrap();
    second.begin(Some("another")).await.unwrap().rollback().await.unwrap();
    let refused = second.begin(Some("lease")).await.unwrap_err();
    assert!(matches!(&refused, SqlError::Refused { code, .. } if code == "55P03"), "{refused}");
    // Whoever leaves gives it back.
    drop(held);
    second.begin(Some("lease")).await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn a_server_that_takes_too_long_is_given_up_and_ends_the_statement_itself() {
    let server = Server::start();
    let mut session =
        Session::over(server.stream().await, &server.login(), Duration::from_secs(1)).await.unwrap();

    let mut slow = session.begin(None).await.unwrap();
    let began = Instant::now();
    let ended = slow.execute("SELECT pg_sleep(600)", &[]).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(60));
    drop(slow);
    // Either side may have noticed first.
    let by_the_server = matches!(&ended, SqlError::Refused { code, .. } if code == "57014");
    assert!(by_the_server || matches!(ended, SqlError::Interrupted(_)), "{ended}");
    assert_eq!(session.is_broken(), !by_the_server);
    let until = Instant::now() + Duration::from_secs(20);
    let sleeping =
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep(600)'";
    while server.postgres.superuser(sleeping).trim() != "0" {
        assert!(Instant::now() < until, "the server still sleeps");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn whoever_is_not_let_in_is_told_why_and_without_the_password() {
    let server = Server::start();
    let wrong = server.try_session(&server.login_as("app", "wrong-password", "app")).await.unwrap_err();
    assert!(matches!(wrong, SqlError::Login { .. }), "{wrong}");
    assert!(!format!("{wrong} {wrong:?}").contains("wrong-password"));

    let nowhere = server.try_session(&server.login_as("app", "app-password", "nowhere")).await.unwrap_err();
    assert!(matches!(&nowhere, SqlError::Refused { code, .. } if code == "3D000"), "{nowhere}");
    assert!(nowhere.nothing_was_done());
    assert!(!format!("{:?}", server.login()).contains("app-password"));
}

#[tokio::test]
async fn what_statements_of_users_leave_behind_is_forgotten() {
    let server = Server::start();
    let mut session = server.session().await;
    let mut staining = session.begin(None).await.unwrap();
    staining.execute_foreign("SELECT set_config('application_name', 'stain', false)").await.unwrap();
    staining.commit().await.unwrap();
    assert!(session.needs_refresh());
    session.refresh(Duration::from_secs(10)).await.unwrap();
    assert!(!session.needs_refresh());
    let rows = session.query("SELECT current_setting('application_name')", &[]).await.unwrap();
    assert_eq!(column::<String>(&rows[0], 0).unwrap(), "adit");
}

#[tokio::test]
async fn a_server_that_ends_the_connection_leaves_the_outcome_open() {
    let server = Server::start();
    let mut session = server.session().await;
    let mut open = session.begin(None).await.unwrap();
    let _ = server
        .postgres
        .superuser("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
    let ended = open.execute("SELECT 1", &[]).await.unwrap_err();
    assert!(!ended.nothing_was_done(), "{ended}");
    drop(open);
    assert!(session.is_broken());
}
