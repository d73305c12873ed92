//! Five hundred leases, twenty at a time, and two installations on one server.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use adit_platform::client::Client;
use adit_platform::clock::Clock;
use adit_platform::config::Config;
use adit_platform::server::Platform;
use adit_platform::words::{IssuedLease, Lease, LeaseState, NewLease, Orphan, Page, RenewLease};
use adit_tests::adit::World;
use adit_tests::platform::Installation;
use adit_tests::postgres::Postgres;
use adit_tests::process::Running;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_postgres::NoTls;

use super::world::{SECRET, admin, define, leases, strangers, target, usernames, users};

const LEASES: usize = 500;
const AT_ONCE: usize = 20;
/// The life of a lease before it is renewed, and from then on, in seconds: the platform's clock is moved past both, and
/// certificates begin ten minutes in the past.
const LIFE: u64 = 120;
const LONGER: u64 = 560;
/// How long the machine may take for something that is done five hundred times.
const PATIENCE: Duration = Duration::from_secs(180);

/// An installation with everything on the way to the server. Ends from the gateway to the platform.
struct Site<'w> {
    _gateway: Running,
    _relay: Running,
    platform: Platform,
    _installation: Installation<'w>,
    admin: Client,
}

impl<'w> Site<'w> {
    async fn new(world: &'w World, postgres: &Postgres, secret: &str, clock: &Clock) -> Self {
        let installation = Installation::new(world, None, "heartbeat=1");
        let platform = start(world, &installation, clock).await;
        let url = platform.public_url().to_owned();
        let relay = installation.relay(&url);
        let gateway = installation.gateway(&url, &target(postgres));
        installation.wait_until_healthy(&url);
        installation.link(&url, &target(postgres));
        let admin = admin(world, &url);
        define(&admin, postgres, secret).await;
        Self { _gateway: gateway, _relay: relay, platform, _installation: installation, admin }
    }
}

async fn start(world: &World, installation: &Installation<'_>, clock: &Clock) -> Platform {
    let listen = world.address("127.0.0.1");
    let mut config = Config::new(installation.directory(1), listen);
    config.public_url = Some(format!("https://{listen}"));
    config.connector_bind = Ipv4Addr::LOCALHOST.into();
    config.relay_peer_networks = vec!["127.0.0.0/8".parse().unwrap()];
    let (second, times) = (Duration::from_secs(1), &mut config.times);
    (times.heartbeat, times.ping, times.duties, times.watcher_claim) = (second, second, second, second * 2);
    // When the clock is moved nobody falls silent by that.
    (times.missed_heartbeats, times.lease_duties, times.grace) = (1_000, second / 4, second);
    Platform::start_by(config, clock.clone()).await.unwrap()
}

/// Makes `count` leases of `secret`, [`AT_ONCE`] at a time, and renews each as soon as it is made.
async fn lease(admin: &Client, secret: &'static str, count: usize) -> Vec<(IssuedLease, Lease)> {
    let (next, mut workers) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..AT_ONCE {
        let (admin, next) = (admin.clone(), Arc::clone(&next));
        workers.spawn(async move {
            let mut made = Vec::new();
            while next.fetch_add(1, Ordering::Relaxed) < count {
                let new = NewLease { secret: secret.to_owned(), ttl: Some(LIFE) };
                let issued: IssuedLease = admin.post("/v1/leases", &new).await.unwrap();
                let path = format!("/v1/leases/{}/renew", issued.lease.id);
                let renewed = admin.post(&path, &RenewLease { ttl: Some(LONGER) }).await.unwrap();
                made.push((issued, renewed));
            }
            made
        });
    }
    workers.join_all().await.into_iter().flatten().collect()
}

async fn log_in(postgres: &Postgres, issued: &IssuedLease) -> Result<(), tokio_postgres::Error> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(postgres.port()).dbname(&issued.dbname);
    config.user(&issued.lease.username).password(&issued.password);
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    client.simple_query("SELECT 1").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_leases_live_as_long_as_they_should_beside_another_installation() {
    let (world, other_world) = (World::new(), World::new());
    let postgres = Postgres::start(&world.ports);
    let clock = Clock::system();
    let site = Site::new(&world, &postgres, SECRET, &clock).await;
    let other = Site::new(&other_world, &postgres, "another", &Clock::system()).await;

    let began = Instant::now();
    let made = lease(&site.admin, SECRET, LEASES).await;
    println!("{LEASES} leases were made and renewed in {:?}", began.elapsed());
    assert!(
        began.elapsed() < Duration::from_secs(LONGER - 2 * LIFE),
        "the machine is too slow for this test"
    );
    let theirs = lease(&other.admin, "another", 5).await;
    for (issued, renewed) in &made {
        assert_eq!(renewed.state, LeaseState::Active);
        assert!(renewed.expires_at > issued.lease.expires_at, "{renewed:?}");
    }
    let names: BTreeSet<String> = made.iter().map(|(issued, _)| issued.lease.username.clone()).collect();
    assert_eq!(names.len(), LEASES, "each has a user of its own");
    assert_eq!(users(&postgres, &names), names);
    log_in(&postgres, &made[LEASES / 2].0).await.unwrap();

    // Past what they were made for, before what they were renewed to.
    clock.advance(Duration::from_secs(LIFE + 10));
    sleep(Duration::from_secs(3)).await;
    assert_eq!(users(&postgres, &names), names, "none ends before its time");

    clock.advance(Duration::from_secs(LONGER - LIFE));
    let began = Instant::now();
    loop {
        let left = users(&postgres, &names);
        if left.is_empty() {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{} users are left", left.len());
        sleep(Duration::from_millis(200)).await;
    }
    println!("{LEASES} leases expired and were gone after {:?}", began.elapsed());
    let settled = settle(&site.admin).await;
    assert_eq!(usernames(&settled, LeaseState::Revoked), names);
    assert!(settled.iter().all(|lease| lease.trouble.is_none()), "nothing hindered");
    assert!(log_in(&postgres, &made[LEASES / 2].0).await.is_err());

    // The other installation's users are there, and are none of the first one's orphans, however often it looks.
    for _ in 0..3 {
        let found: Page<Orphan> = site.admin.post("/v1/databases/db/scan", &json!({})).await.unwrap();
        assert!(found.items.iter().all(|orphan| !orphan.ours), "{:?}", found.items);
    }
    let their_names: BTreeSet<String> =
        theirs.iter().map(|(issued, _)| issued.lease.username.clone()).collect();
    assert_eq!(strangers(&postgres), their_names);
    log_in(&postgres, &theirs[0].0).await.unwrap();
    site.platform.stop().await;
    other.platform.stop().await;
}

/// Waits until no lease is on its way; all of them then.
async fn settle(admin: &Client) -> Vec<Lease> {
    let began = Instant::now();
    loop {
        let all = leases(admin).await.unwrap();
        let moving = |lease: &Lease| matches!(lease.state, LeaseState::Creating | LeaseState::Revoking);
        if !all.iter().any(moving) {
            return all;
        }
        assert!(began.elapsed() < PATIENCE, "{:?}", all.into_iter().find(moving));
        sleep(Duration::from_millis(200)).await;
    }
}
