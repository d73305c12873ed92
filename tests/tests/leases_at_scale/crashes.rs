//! Lives of leases while the platform, the gateway, the relay and the server crash at random. In the end there is no
//! user without a lease, no active lease without a user, and nothing hangs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use adit_platform::client::{Client, ClientError};
use adit_platform::words::{
    Gateway, HealthState, IssuedLease, Lease, LeaseState, NewLease, RenewLease, RevokedLeases,
};
use adit_tests::adit::World;
use adit_tests::platform::{GATEWAY, Installation, Instance};
use adit_tests::postgres::Postgres;
use adit_tests::process::Running;
use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::world::{SECRET, admin, define, leases, strangers, target, usernames};

/// Everything is looked at often, and what hangs is called so after half a minute.
const TIMES: &str = "heartbeat=1,ping=1,duties=0.2,watcher-claim=2,\
    claim=12,work=5,work-pause=2,stuck=60,lease-duties=0.2,orphan-scan=2";
/// How long one request is tried again, and how long everything may take until it has settled.
const PATIENCE: Duration = Duration::from_secs(240);

/// All parts; each may crash. Ends from the gateway to the server.
struct Site<'w> {
    gateway: Running,
    relay: Running,
    platform: Instance,
    postgres: Postgres,
    installation: &'w Installation<'w>,
    listen: SocketAddr,
}

/// What crashes.
#[derive(Debug, Clone, Copy)]
enum Part {
    Platform,
    Gateway,
    Relay,
    Server,
}

impl<'w> Site<'w> {
    fn new(world: &World, installation: &'w Installation<'w>) -> Self {
        let postgres = Postgres::that_keeps_commits(&world.ports);
        let listen = world.address("127.0.0.1");
        let platform = installation.instance_at(1, listen);
        let relay = installation.relay(&platform);
        let gateway = installation.gateway(&platform, &target(&postgres));
        installation.wait_until_healthy(&platform);
        installation.link(&platform, &target(&postgres));
        Self { gateway, relay, platform, postgres, installation, listen }
    }

    /// Ends a part in the middle of whatever it does, and starts it again after `away`.
    fn crash(&mut self, part: Part, away: Duration) {
        match part {
            Part::Platform => {
                kill(&mut self.platform.running);
                thread::sleep(away);
                self.platform = self.installation.instance_at(1, self.listen);
            }
            Part::Gateway => {
                kill(&mut self.gateway);
                thread::sleep(away);
                self.gateway = self.installation.gateway(&self.platform, &target(&self.postgres));
            }
            Part::Relay => {
                kill(&mut self.relay);
                thread::sleep(away);
                self.relay = self.installation.relay(&self.platform);
            }
            Part::Server => {
                self.postgres.crash();
                thread::sleep(away);
                self.postgres.recover();
            }
        }
    }
}

fn kill(running: &mut Running) {
    running.signal(Signal::KILL);
    let _ = running.wait();
}

/// Random numbers that a run can be told by.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let seed = std::env::var("ADIT_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap()) | 1;
        println!("ADIT_TEST_SEED={seed}");
        Self(seed)
    }

    /// Below `end` (xorshift64*).
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }

    fn part(&mut self) -> Part {
        [Part::Platform, Part::Gateway, Part::Relay, Part::Server][usize::try_from(self.below(4)).unwrap()]
    }
}

/// Does something again until it succeeds or is refused for good.
async fn insist<T, F>(what: &str, mut work: impl FnMut() -> F) -> Result<T, ClientError>
where
    F: Future<Output = Result<T, ClientError>>,
{
    let began = Instant::now();
    loop {
        match work().await {
            Err(error) if !is_final(&error) => {
                assert!(began.elapsed() < PATIENCE, "{what} is tried for ever: {error}");
                sleep(Duration::from_millis(200)).await;
            }
            other => return other,
        }
    }
}

/// What was asked for will never be.
fn is_final(error: &ClientError) -> bool {
    matches!(
        error.code(),
        Some("lease-ended" | "not-found" | "bad-request" | "forbidden" | "idempotency-conflict")
    )
}

/// A pause of at most two seconds, another one for each number: lives are to be hit at every point.
async fn pause(number: usize) {
    sleep(Duration::from_millis(u64::try_from(number * 7_919 % 2_000).unwrap())).await;
}

/// One life of a lease. It is revoked, left to expire, or left alive, by its number.
async fn live(admin: Client, number: usize) {
    pause(number).await;
    let lease = loop {
        let key = format!("{number}-{:?}", Instant::now()).replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let ttl = if number % 3 == 1 { 60 } else { 3600 };
        let new = NewLease { secret: SECRET.to_owned(), ttl: Some(ttl) };
        let made = insist("a lease", || admin.post_once::<IssuedLease>("/v1/leases", &key, &new)).await;
        match made {
            Ok(issued) => break issued.lease,
            // Nobody knows whether it was made, so it is being removed.
            Err(error) => assert_eq!(error.code(), Some("lease-ended"), "{error}"),
        }
    };
    let path = format!("/v1/leases/{}", lease.id);
    pause(number * 3 + 1).await;
    if number.is_multiple_of(3) {
        let renew = RenewLease { ttl: Some(7200) };
        // It may fail: the lease is what it was then.
        let _ = admin.post::<Lease>(&format!("{path}/renew"), &renew).await;
        let ended = insist("a revocation", || admin.remove::<Lease>(&path)).await.unwrap();
        assert!(matches!(ended.state, LeaseState::Revoking | LeaseState::Revoked), "{ended:?}");
    }
}

/// So many lives, of which `at_once` are under way at a time.
async fn lives_with_crashes(count: usize, at_once: usize) {
    let world = World::new();
    let installation = Installation::new(&world, None, TIMES);
    let mut site = Site::new(&world, &installation);
    let admin = admin(&world, &site.platform.url);
    define(&admin, &site.postgres, SECRET).await;

    let (next, mut lives) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    for _ in 0..at_once {
        let (admin, next) = (admin.clone(), Arc::clone(&next));
        lives.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return;
                }
                live(admin.clone(), number).await;
            }
        });
    }
    let (mut dice, mut crashes) = (Dice::new(), 0);
    while !lives.is_empty() {
        let pause = Duration::from_millis(dice.below(1_500));
        let (part, away) = (dice.part(), Duration::from_millis(dice.below(1_000)));
        let until = Instant::now() + pause;
        while Instant::now() < until && !lives.is_empty() {
            sleep(Duration::from_millis(50)).await;
            while let Some(ended) = lives.try_join_next() {
                ended.unwrap();
            }
        }
        tokio::task::block_in_place(|| site.crash(part, away));
        crashes += 1;
        // So that some lives go on between two crashes, and others are hit by two at once.
        if dice.below(3) > 0 {
            wait_until_healthy(&admin).await;
        }
    }
    println!("{count} lives, {crashes} crashes");
    assert!(crashes >= count / 10, "too few crashes to prove anything");

    wait_until_healthy(&admin).await;
    let settled = settle(&admin).await;
    let active = usernames(&settled, LeaseState::Active);
    assert!(!active.is_empty(), "some were left alive");
    assert_eq!(strangers(&site.postgres), active, "active leases and users on the server are the same");

    let path = format!("/v1/secrets/{SECRET}/leases");
    let _ = admin.remove::<RevokedLeases>(&path).await.unwrap();
    let settled = settle(&admin).await;
    let is_over = |lease: &Lease| matches!(lease.state, LeaseState::Revoked | LeaseState::Failed);
    assert!(settled.iter().all(is_over), "{:?}", settled.iter().find(|lease| !is_over(lease)));
    assert_eq!(strangers(&site.postgres), BTreeSet::new());
}

async fn wait_until_healthy(admin: &Client) {
    let began = Instant::now();
    loop {
        let gateway = admin.get::<Gateway>(&format!("/v1/gateways/{GATEWAY}")).await;
        if gateway.as_ref().is_ok_and(|gateway| gateway.health.state == HealthState::Healthy) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{gateway:?}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until no lease is on its way, and none that should have expired is active; all of them then.
async fn settle(admin: &Client) -> Vec<Lease> {
    let began = Instant::now();
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let moves = |lease: &Lease| match lease.state {
            LeaseState::Creating | LeaseState::Revoking => true,
            // What runs out within the next minute is waited for.
            LeaseState::Active => lease.expires_at < now + 60,
            _ => false,
        };
        let all = leases(admin).await.unwrap();
        let Some(moving) = all.iter().find(|lease| moves(lease)) else { return all };
        let is_stuck = moving.trouble.as_ref().is_some_and(|trouble| trouble.stuck);
        assert!(!is_stuck && began.elapsed() < PATIENCE, "{moving:?}");
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_lives_of_leases_survive_crashes_of_every_part() {
    lives_with_crashes(50, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a quarter of an hour: cargo xtask test --long"]
async fn a_thousand_lives_of_leases_survive_crashes_of_every_part() {
    lives_with_crashes(1_000, 16).await;
}
