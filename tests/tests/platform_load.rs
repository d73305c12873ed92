//! Two platform instances on one PostgreSQL, and many gateway instances that report to both at once: no report is lost
//! or refused, each verdict is right and written once, and each gateway instance has one watcher.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_core::pki::{Key, KeyKind};
use adit_platform::client::{Client, ClientError, Trust};
use adit_platform::clock::Clock;
use adit_platform::config::{Config, DatabaseUrl, Rate};
use adit_platform::init::{Init, Options, init};
use adit_platform::server::Platform;
use adit_platform::store::{organisations, watching};
use adit_platform::trust::token::Token;
use adit_platform::words::{
    AuditEvent, AuditVerdict, EnrolmentToken, Gateway, HealthState, Heartbeat, HeartbeatAnswer, NewGateway,
    NewSession, Page, RelayUse,
};
use adit_tests::place::Place;
use adit_tests::ports::Ports;
use adit_tests::postgres::Postgres;
use adit_tests::process::PATIENCE;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Gateways, each with one instance.
const AGENTS: u16 = 24;
/// Reports of each, one after the other.
const REPORTS: u16 = 20;
/// After so many seconds without a report an instance is offline.
const SILENCE: u32 = 10;

/// Two platform instances on one store.
struct World {
    platforms: [Platform; 2],
    made: Init,
    _postgres: Postgres,
    _place: Place,
}

impl World {
    async fn new() -> Self {
        let (place, ports) = (Place::new(), Ports::claim());
        let postgres = Postgres::start(&ports);
        let first = place.path("platform-1");
        let mut options = Options::new("https://127.0.0.1:1", "acme");
        options.database = Some(DatabaseUrl(postgres.url()));
        let made = init(&first, &options, Clock::system()).await.unwrap();
        let second = place.path("platform-2");
        fs::create_dir(&second).unwrap();
        fs::copy(first.join("root-keys"), second.join("root-keys")).unwrap();
        let platforms = [start(&first, &postgres).await, start(&second, &postgres).await];
        Self { platforms, made, _postgres: postgres, _place: place }
    }

    fn client(&self, platform: usize) -> Client {
        let trust = Trust::from_pem(self.made.platform_ca.as_bytes()).unwrap();
        Client::new(self.platforms[platform].address().to_string().parse().unwrap(), &trust).unwrap()
    }

    fn admin(&self) -> Client {
        self.client(0).with_token(&self.made.admin_token)
    }

    async fn agents(self: &Arc<Self>) -> Vec<Agent> {
        let mut enrolling = JoinSet::new();
        for number in 0..AGENTS {
            let world = Arc::clone(self);
            enrolling.spawn(async move { Agent::enrol(&world, number).await });
        }
        enrolling.join_all().await
    }

    /// Every gateway, by name.
    async fn gateways(&self) -> BTreeMap<String, Gateway> {
        let all: Page<Gateway> = self.admin().get("/v1/gateways?limit=500").await.unwrap();
        all.items.into_iter().map(|gateway| (gateway.name.clone(), gateway)).collect()
    }

    /// Waits until each gateway instance that reports has a watcher.
    async fn wait_until_watched(&self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut shares = Vec::new();
            for platform in &self.platforms {
                shares.push(watching::count(&platform.app().store).await.unwrap());
            }
            let fair = u32::from(AGENTS) / 2;
            let is_shared = shares.iter().all(|&(_, mine)| mine <= fair + 1);
            if is_shared && shares.iter().map(|&(_, mine)| mine).sum::<u32>() == u32::from(AGENTS) {
                return;
            }
            assert!(Instant::now() < until, "the watch is not shared: {shares:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn start(directory: &Path, postgres: &Postgres) -> Platform {
    let mut config = Config::new(directory.to_owned(), (Ipv4Addr::LOCALHOST, 0).into());
    config.database = Some(DatabaseUrl(postgres.url()));
    config.connector_bind = Ipv4Addr::LOCALHOST.into();
    config.limits.first_contact = Rate { burst: 10_000, per_minute: 10_000 };
    let times = &mut config.times;
    (times.heartbeat, times.missed_heartbeats) = (Duration::from_secs(1), SILENCE);
    // What answered once is well for as long as this test takes; its addresses lead nowhere.
    (times.duties, times.ping) = (Duration::from_millis(200), Duration::from_secs(120));
    times.watcher_claim = Duration::from_secs(120);
    Platform::start(config).await.unwrap()
}

/// A gateway instance, as far as the API can tell.
struct Agent {
    world: Arc<World>,
    number: u16,
    id: String,
    key: Key,
    token: String,
    session: String,
}

impl Agent {
    async fn enrol(world: &Arc<World>, number: u16) -> Self {
        let name = format!("gw-{number}");
        let admin = world.admin();
        let _: Gateway = admin.post("/v1/gateways", &NewGateway { name: name.clone() }).await.unwrap();
        let path = format!("/v1/gateways/{name}/enrolment-tokens");
        let token: EnrolmentToken = admin.post(&path, &json!({})).await.unwrap();
        let token: Token = token.token.parse().unwrap();
        let key = Key::generate(KeyKind::EcdsaP256);
        let enrolled = world.client(usize::from(number % 2)).enrol(&token, &key).await.unwrap();
        let (id, world) = (enrolled.id, Arc::clone(world));
        let mut agent = Self { world, number, id, key, token: String::new(), session: String::new() };
        agent.renew(0).await.unwrap();
        let new = NewSession { fingerprint: format!("{number:064x}"), version: "test".to_owned() };
        agent.session = agent.client(1).gateway_session(&new).await.unwrap().session;
        agent
    }

    fn client(&self, platform: usize) -> Client {
        self.world.client(platform).with_token(&self.token)
    }

    /// A new access token; every platform instance takes it.
    async fn renew(&mut self, platform: usize) -> Result<(), ClientError> {
        let now = || Clock::system().now();
        let domain = self.world.platforms[0].app().trust_domain().to_owned();
        let (access, _) = self.world.client(platform).access(&domain, &self.id, &self.key, now).await?;
        self.token = access.access_token;
        Ok(())
    }

    /// The address of its report with this number: another one in each.
    fn address(&self, report: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 1 + self.number * (REPORTS + 2) + report).into()
    }

    async fn report(&self, number: u16, platform: usize) -> Result<HeartbeatAnswer, ClientError> {
        let addresses = vec![self.address(number)];
        let relay = RelayUse { relay: "r".to_owned(), addresses: addresses.clone(), lost: None };
        let heartbeat = Heartbeat {
            session: self.session.clone(),
            generation: 0,
            addresses,
            relays: vec![relay],
            peers: Vec::new(),
            credentials_expire_at: None,
            time: Clock::system().now(),
        };
        self.client(platform).gateway_heartbeat(&heartbeat).await
    }

    /// All its reports, each to the other platform instance than the one before, and a token in between.
    async fn report_all(mut self) -> Self {
        for number in 0..REPORTS {
            let answer = self.report(number, usize::from((number + self.number) % 2)).await.unwrap();
            assert_eq!(answer.health.state, HealthState::Degraded, "nobody has answered yet");
            assert!(answer.desired.is_some(), "it has put nothing into effect");
            if number == REPORTS / 2 {
                self.renew(usize::from(self.number % 2)).await.unwrap();
            }
        }
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_agents_report_to_two_instances_on_one_postgresql() {
    let world = Arc::new(World::new().await);
    let agents = world.agents().await;

    // Everybody reports at once, while somebody changes what gateways must know.
    let mut reporting: JoinSet<_> = agents.into_iter().map(Agent::report_all).collect();
    let admin = world.admin();
    admin.post::<Value>("/v1/projects", &json!({ "name": "shop" })).await.unwrap();
    for number in 0..AGENTS / 2 {
        let link =
            json!({ "project": "shop", "gateway": format!("gw-{number}"), "targets": ["tcp://db:5432"] });
        admin.post::<Value>("/v1/links", &link).await.unwrap();
    }
    let mut agents = Vec::new();
    while let Some(agent) = reporting.join_next().await {
        agents.push(agent.unwrap());
    }
    let gateways = world.gateways().await;
    assert_eq!(gateways.len(), usize::from(AGENTS));
    for agent in &agents {
        let instance = &gateways[&format!("gw-{}", agent.number)].instances[0];
        assert_eq!(instance.addresses, [agent.address(REPORTS - 1)], "the last report counts");
    }

    // An answer counts when it comes from the one watcher.
    world.wait_until_watched().await;
    let organisation = organisations::find(world.platforms[0].app().store.reader(), "acme").await;
    let organisation = organisation.unwrap().unwrap().id;
    for agent in &agents {
        let mut noted = 0;
        for platform in &world.platforms {
            let is_noted = watching::pong(&platform.app().store, &organisation, &agent.id).await.unwrap();
            noted += u32::from(is_noted);
        }
        assert_eq!(noted, 1, "gw-{} has one watcher", agent.number);
    }
    let mut reporting = JoinSet::new();
    for agent in agents {
        reporting.spawn(async move {
            let answer = agent.report(REPORTS, usize::from(agent.number % 2)).await.unwrap();
            (agent, answer.health.state)
        });
    }
    let (mut silent, mut loud) = (BTreeSet::new(), Vec::new());
    for (agent, state) in reporting.join_all().await {
        assert_eq!(state, HealthState::Healthy, "gw-{}", agent.number);
        match agent.number % 3 {
            0 => drop(silent.insert(format!("gw-{}", agent.number))),
            _ => loud.push(agent),
        }
    }

    // A third falls silent, and only those are called so.
    let until = Instant::now() + PATIENCE * 2;
    loop {
        for agent in &loud {
            agent.report(REPORTS, usize::from(agent.number % 2)).await.unwrap();
        }
        let gateways = world.gateways().await;
        let offline = |gateway: &Gateway| gateway.instances[0].health.state == HealthState::Offline;
        let found: BTreeSet<_> = gateways
            .values()
            .filter(|gateway| offline(gateway))
            .map(|gateway| gateway.name.clone())
            .collect();
        assert!(found.is_subset(&silent), "{found:?}");
        if found == silent {
            break;
        }
        assert!(Instant::now() < until, "not all that are silent are offline: {found:?}");
        sleep(Duration::from_millis(500)).await;
    }

    // Both instances have judged, and each change was written once, in chains that are whole.
    let events = health_events(&admin).await;
    for gateway in &silent {
        let mut fell = events.iter().filter(|event| event.object.starts_with(&format!("gateway:{gateway}/")));
        let fell = fell
            .by_ref()
            .filter(|event| event.detail["to"] == "offline" && event.detail["from"] == "healthy");
        assert_eq!(fell.count(), 1, "{gateway}");
    }
    let verdict: AuditVerdict = admin.get("/v1/audit/verify").await.unwrap();
    assert!(verdict.intact && verdict.events > 0, "{:?}", verdict.breaks);
}

async fn health_events(admin: &Client) -> Vec<AuditEvent> {
    let (mut events, mut after) = (Vec::new(), String::new());
    loop {
        let page: Page<AuditEvent> = admin.get(&format!("/v1/audit?limit=500{after}")).await.unwrap();
        events.extend(page.items.into_iter().filter(|event| event.action == "gateway.health-changed"));
        match page.next {
            Some(next) => after = format!("&after={}", adit_platform::client::segment(&next)),
            None => return events,
        }
    }
}
