//! The platform's store on both databases: whatever is true of one is true of the other.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

#[path = "platform_store/leases.rs"]
mod leases;

use std::sync::Arc;
use std::time::Duration;

use adit_core::pki::{Key, KeyKind, Office};
use adit_platform::authority::{self, issue, rollover};
use adit_platform::backup::{backup, restore};
use adit_platform::clock::Clock;
use adit_platform::config::DatabaseUrl;
use adit_platform::home::Home;
use adit_platform::init::{Init, InitError, Options, init};
use adit_platform::store::rekey::{forget_old, rekey};
use adit_platform::store::{
    INSTALLATION, OpenError, Store, StoreError, again, audit, organisations, settings, tokens,
};
use adit_platform::trust::token::{Kind, Token};
use adit_tests::ports::Ports;
use adit_tests::postgres::{DATABASE, PASSWORD, Postgres, USER};
use serde_json::json;

/// A platform on one of the databases.
struct World {
    directory: tempfile::TempDir,
    home: Home,
    made: Init,
    store: Store,
}

fn options(database: Option<&DatabaseUrl>) -> Options {
    let mut options = Options::new("https://adit.example", "acme");
    options.database = database.cloned();
    options
}

impl World {
    async fn new(database: Option<&DatabaseUrl>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let made = init(directory.path(), &options(database), Clock::system()).await.unwrap();
        let home = Home::new(directory.path(), database);
        let store = home.open(Clock::system()).await.unwrap();
        Self { directory, home, made, store }
    }

    async fn acme(&self) -> String {
        organisations::find(self.store.reader(), "acme").await.unwrap().unwrap().id
    }
}

/// Databases of one PostgreSQL, each for one test of this file.
struct Databases {
    server: Postgres,
    made: u32,
}

impl Databases {
    fn start() -> Self {
        Self { server: Postgres::start(&Ports::claim()), made: 0 }
    }

    fn url(&self, database: &str) -> DatabaseUrl {
        let port = self.server.port();
        DatabaseUrl(format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/{database}?sslmode=disable"))
    }

    /// An empty database.
    fn next(&mut self) -> DatabaseUrl {
        self.made += 1;
        let name = format!("{DATABASE}{}", self.made);
        self.server.superuser(&format!("CREATE DATABASE {name} OWNER {USER}"));
        self.url(&name)
    }
}

fn run(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(work);
}

#[test]
fn both_databases_keep_what_the_store_promises() {
    let mut databases = Databases::start();
    run(async {
        for database in [None, Some(databases.next())] {
            let world = World::new(database.as_ref()).await;
            a_second_init_changes_nothing(&world, database.as_ref()).await;
            a_change_is_whole_and_audited(&world).await;
            a_token_is_spent_by_one_of_many(&world).await;
            names_are_taken_once(&world).await;
            the_audit_takes_everybody_and_finds_tampering(&world).await;
            certificates_are_issued_and_followed(&world).await;
            a_rekey_is_possible_while_it_runs(&world).await;
            leases::work_on_leases_is_done_once(&world.store, &world.acme().await).await;
        }
    });
}

async fn a_second_init_changes_nothing(world: &World, database: Option<&DatabaseUrl>) {
    let again = init(world.directory.path(), &options(database), Clock::system()).await;
    let error = again.unwrap_err();
    assert!(matches!(error, InitError::Open(OpenError::Locked(_) | OpenError::InUse(_))), "{error}");
    if let Some(url) = database {
        let other = tempfile::tempdir().unwrap();
        let again = init(other.path(), &options(Some(url)), Clock::system()).await;
        assert!(matches!(again, Err(InitError::Open(OpenError::Initialised(_)))));
        let strange = Home::new(other.path(), Some(url)).open(Clock::system()).await.unwrap_err();
        assert!(matches!(strange, OpenError::NoRootKeys(_)), "{strange}");
    }
    world.store.ping().await.unwrap();
}

async fn a_change_is_whole_and_audited(world: &World) {
    let (store, acme) = (&world.store, world.acme().await);
    let mut change = store.change(&acme, "identity:ada").await.unwrap();
    settings::set(change.connection(), "k", "v").await.unwrap();
    assert!(matches!(change.commit().await, Err(StoreError::Unaudited)));
    assert_eq!(settings::get(store.reader(), "k").await.unwrap(), None);

    let generation = organisations::generation(store.reader(), &acme).await.unwrap();
    let mut change = store.quiet_change(&acme).await.unwrap();
    change.bump().await.unwrap();
    change.bump_installation().await.unwrap();
    change.commit().await.unwrap();
    assert_eq!(organisations::generation(store.reader(), &acme).await.unwrap(), generation + 2);

    // Nothing, a number, a text: each is bound and read as it is on both.
    let row = "SELECT $1, CAST($2 AS BIGINT), CAST($3 AS TEXT)";
    let row = sqlx::query_as::<sqlx::Any, (Option<String>, i64, Option<String>)>(row);
    let row = row.bind("text").bind(i64::MAX).bind(None::<String>).fetch_one(store.reader()).await.unwrap();
    assert_eq!(row, (Some("text".to_owned()), i64::MAX, None));
}

async fn a_token_is_spent_by_one_of_many(world: &World) {
    let (store, acme) = (&world.store, world.acme().await);
    let token = Token::new(Kind::Gateway, None);
    let mut change = store.change(&acme, "identity:ada").await.unwrap();
    tokens::make(&mut change, &token, "gw", Some(store.clock().now() + 3600)).await.unwrap();
    change.audit("enrolment-token.made", "gateway:gw", json!({}));
    change.commit().await.unwrap();
    let spend = || {
        let (store, acme, id) = (store.clone(), acme.clone(), token.id().to_owned());
        tokio::spawn(again(move || {
            let (store, acme, id) = (store.clone(), acme.clone(), id.clone());
            async move {
                let mut change = store.quiet_change(&acme).await?;
                let spent = tokens::spend(&mut change, &id).await?;
                change.commit().await?;
                Ok(u32::from(spent))
            }
        }))
    };
    let mut spent = 0;
    for attempt in (0..16).map(|_| spend()).collect::<Vec<_>>() {
        spent += attempt.await.unwrap().unwrap();
    }
    assert_eq!(spent, 1);
    assert!(tokens::purge(store, 100).await.unwrap() == 0);
}

async fn names_are_taken_once(world: &World) {
    let mut change = world.store.change(INSTALLATION, "identity:operator").await.unwrap();
    let taken = organisations::create(&mut change, "acme", "ada", None).await;
    assert!(matches!(taken, Err(StoreError::Conflict)));
    drop(change);
    let mut change = world.store.change(INSTALLATION, "identity:operator").await.unwrap();
    let nobody =
        sqlx::query("INSERT INTO gateways (id, organisation, name, created_at) VALUES ('g', 'none', 'g', 0)");
    let error: StoreError = nobody.execute(change.connection()).await.unwrap_err().into();
    assert!(matches!(error, StoreError::Referenced), "{error}");
}

async fn the_audit_takes_everybody_and_finds_tampering(world: &World) {
    let (store, acme) = (&world.store, world.acme().await);
    let before = audit::verify(store, &acme).await.unwrap().events;
    let writers = (0..8).map(|writer| {
        let (store, acme) = (store.clone(), acme.clone());
        tokio::spawn(async move {
            for n in 0..10 {
                let mut change = store.change(&acme, "identity:ada").await.unwrap();
                change.audit("thing.done", &format!("thing:{writer}/{n}"), json!({ "n": n }));
                change.commit().await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let verdict = audit::verify(store, &acme).await.unwrap();
    assert!(verdict.intact && verdict.events == before + 80, "{verdict:?}");
    let page = audit::list(store.reader(), &acme, 0, None, 50).await.unwrap();
    let after = audit::Cursor::after(page.last().unwrap());
    let rest = audit::list(store.reader(), &acme, 0, Some(&after), 500).await.unwrap();
    assert_eq!((page.len(), page.len() + rest.len()), (50, usize::try_from(verdict.events).unwrap()));

    let tampered = ["UPDATE audit SET object = 'thing:0' WHERE organisation = $1 AND sequence = 7"];
    for statement in tampered {
        let mut change = store.quiet_change(&acme).await.unwrap();
        sqlx::query(statement).bind(&acme).execute(change.connection()).await.unwrap();
        change.commit().await.unwrap();
        let verdict = audit::verify(store, &acme).await.unwrap();
        assert!(!verdict.intact && verdict.breaks[0].contains("event 7"), "{verdict:?}");
    }
}

async fn certificates_are_issued_and_followed(world: &World) {
    let (store, acme) = (&world.store, world.acme().await);
    let key = Key::generate(KeyKind::EcdsaP256).public();
    let day = Duration::from_secs(24 * 3600);
    let mut change = store.change(&acme, "gateway:gw/1").await.unwrap();
    let leaf = issue::gateway(&mut change, "gw", "1", &key, day).await.unwrap();
    change.audit("certificate.issued", "gateway:gw", json!({ "serial": leaf.serial }));
    change.commit().await.unwrap();
    let pace = rollover::Pace { announced: Duration::from_secs(3600), leaf: day };
    assert_eq!(rollover::begin_due(store, pace, 10).await.unwrap(), 0);
    let mut change = store.change(&acme, "identity:ada").await.unwrap();
    rollover::begin(&mut change, Office::Gateway, pace).await.unwrap();
    change.commit().await.unwrap();
    let anchors = authority::gateway_anchors(store.reader(), &acme, store.clock().now()).await.unwrap();
    assert_eq!(anchors.matches("BEGIN CERTIFICATE").count(), 2);
}

async fn a_rekey_is_possible_while_it_runs(world: &World) {
    let done = rekey(&world.home, Clock::system()).await.unwrap();
    assert_eq!((done.root_keys, done.data_keys), (2, 1));
    assert_eq!(forget_old(&world.home, Clock::system()).await.unwrap(), 1);
    let beside = world.home.open_beside(Clock::system()).await.unwrap();
    assert_eq!(beside.installation(), world.store.installation());
}

#[test]
fn a_backup_of_one_database_is_restored_into_the_other() {
    let mut databases = Databases::start();
    run(async {
        for (from, into) in [(None, Some(databases.next())), (Some(databases.next()), None)] {
            let world = World::new(from.as_ref()).await;
            let file = world.directory.path().join("backup");
            let rows = backup(&world.store, &file).await.unwrap();
            assert!(rows > 15);

            let directory = tempfile::tempdir().unwrap();
            let home = Home::new(directory.path(), into.as_ref());
            std::fs::copy(world.home.root_key_file(), home.root_key_file()).unwrap();
            restore(&home, &file, Clock::system()).await.unwrap();
            let store = home.open(Clock::system()).await.unwrap();
            let token: Token = world.made.admin_token.parse().unwrap();
            assert!(tokens::look_up(store.reader(), token.id()).await.unwrap().unwrap().is(&token));
            assert_ne!(store.installation().epoch, world.store.installation().epoch);
            let acme = world.acme().await;
            assert!(audit::verify(&store, &acme).await.unwrap().intact);
            let key = Key::generate(KeyKind::EcdsaP256).public();
            let mut change = store.quiet_change(&acme).await.unwrap();
            issue::platform(&mut change, store.instance(), &key, Duration::from_secs(60)).await.unwrap();

            let over = restore(&world.home, &file, Clock::system()).await.unwrap_err();
            assert!(over.to_string().contains("another process works in"), "{over}");
        }
    });
}

#[test]
fn several_platforms_begin_on_one_postgresql_at_once_and_share_it() {
    let mut databases = Databases::start();
    run(async {
        let url = databases.next();
        let attempts = (0..4).map(|_| {
            let url = url.clone();
            tokio::spawn(async move {
                let directory = tempfile::tempdir().unwrap();
                let made = init(directory.path(), &options(Some(&url)), Clock::system()).await;
                made.ok().map(|_| directory)
            })
        });
        let mut made = Vec::new();
        for attempt in attempts.collect::<Vec<_>>() {
            made.extend(attempt.await.unwrap());
        }
        let [directory] = &made[..] else { panic!("{} of them think that they made it", made.len()) };
        let first = Home::new(directory.path(), Some(&url));
        let second = tempfile::tempdir().unwrap();
        let second = Home::new(second.path(), Some(&url));
        std::fs::copy(first.root_key_file(), second.root_key_file()).unwrap();
        let one = first.open(Clock::system()).await.unwrap();
        let two = second.open(Clock::system()).await.unwrap();
        assert_ne!(one.instance(), two.instance());
        let acme = organisations::find(one.reader(), "acme").await.unwrap().unwrap().id;
        let writers = [Arc::new(one.clone()), Arc::new(two.clone())].map(|store| {
            let acme = acme.clone();
            tokio::spawn(async move {
                for n in 0..20 {
                    let mut change = store.change(&acme, "platform").await.unwrap();
                    change.bump().await.unwrap();
                    change.audit("thing.done", "thing", json!({ "n": n }));
                    change.commit().await.unwrap();
                }
            })
        });
        for writer in writers {
            writer.await.unwrap();
        }
        let verdict = audit::verify(&two, &acme).await.unwrap();
        assert!(verdict.intact && verdict.events >= 41, "{verdict:?}");
        assert!(matches!(first.open(Clock::system()).await, Err(OpenError::InUse(_))));
    });
}
