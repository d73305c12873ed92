//! A platform in the test's own process, which can be stopped anywhere; a relay, a gateway and a PostgreSQL as processes.

use std::fs::{Permissions, set_permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use adit_platform::client::{Client, Trust};
use adit_platform::clock::Clock;
use adit_platform::config::{Config, DatabaseUrl};
use adit_platform::fault::Faults;
use adit_platform::init::{Init, Options, init};
use adit_platform::server::Platform;
use adit_platform::words::{EnrolmentToken, Gateway, HealthState};
use adit_tests::adit::command;
use adit_tests::place::Place;
use adit_tests::ports::Ports;
use adit_tests::postgres::{PASSWORD, Postgres, USER};
use adit_tests::process::{PATIENCE, Running};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// Everything but the platform's instances. The parts end in this order.
pub(crate) struct Site {
    pub(crate) gateway: Option<Running>,
    pub(crate) relay: Option<Running>,
    pub(crate) server: Postgres,
    pub(crate) place: Place,
    pub(crate) ports: Ports,
    pub(crate) made: Init,
    pub(crate) clock: Clock,
    /// Where the first instance is.
    pub(crate) address: SocketAddr,
    /// For how long work is claimed, by instances that start from now on.
    pub(crate) claim: Duration,
    store: Option<DatabaseUrl>,
    /// Where the test itself runs.
    pub(crate) outside: Runtime,
}

impl Site {
    /// The organisation `acme`; the store is in SQLite in the directory `platform-1`, or in the PostgreSQL.
    pub(crate) fn new(store_in_postgres: bool) -> Self {
        let (place, ports) = (Place::new(), Ports::claim());
        let server = Postgres::start(&ports);
        let store = store_in_postgres.then(|| {
            server.superuser(&format!("CREATE DATABASE store OWNER {USER}"));
            let port = server.port();
            DatabaseUrl(format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/store?sslmode=disable"))
        });
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.one()));
        let mut options = Options::new(&format!("https://{address}"), "acme");
        options.database = store.clone();
        let (outside, clock) = (runtime(), Clock::system());
        let made = outside.block_on(init(&place.path("platform-1"), &options, clock.clone())).unwrap();
        let (gateway, relay) = (None, None);
        let claim = Duration::from_secs(12);
        Self { gateway, relay, server, place, ports, made, clock, address, claim, store, outside }
    }

    /// Starts an instance in the directory `directory`, which has the root keys, with a runtime of its own.
    pub(crate) fn platform(
        &self,
        directory: &str,
        address: SocketAddr,
        faults: &Faults,
    ) -> (Platform, Runtime) {
        let (runtime, until) = (runtime(), Instant::now() + PATIENCE);
        loop {
            let config = self.config(directory, address, faults.clone());
            match runtime.block_on(Platform::start_by(config, self.clock.clone())) {
                Ok(platform) => return (platform, runtime),
                // What has crashed takes a moment to let go of its lock and its port.
                Err(error) => assert!(Instant::now() < until, "the platform does not start: {error}"),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// What another instance on the same store, which has to be in PostgreSQL, is started with: a directory with the root
    /// keys, and an address.
    pub(crate) fn second(&self) -> (&'static str, SocketAddr) {
        let name = "platform-2";
        let directory = self.place.path(name);
        if !directory.exists() {
            std::fs::create_dir(&directory).unwrap();
            std::fs::copy(self.place.path("platform-1").join("root-keys"), directory.join("root-keys"))
                .unwrap();
        }
        (name, SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.one())))
    }

    /// Lengths of time that a test can wait for.
    fn config(&self, directory: &str, address: SocketAddr, faults: Faults) -> Config {
        let mut config = Config::new(self.place.path(directory), address);
        let second = Duration::from_secs(1);
        let times = &mut config.times;
        (times.heartbeat, times.ping, times.duties) = (second, second, second);
        times.missed_heartbeats = 60;
        (times.work, times.claim) = (second * 5, self.claim);
        (times.work_pause, times.lease_duties) = (second * 2, second / 5);
        times.stuck = second * 4;
        // Searches of their own would come between those that tests ask for.
        times.orphan_scan = second * 24 * 3600;
        config.relay_peer_networks = vec!["127.0.0.0/8".parse().unwrap()];
        config.connector_bind = Ipv4Addr::LOCALHOST.into();
        config.public_url = Some(format!("https://{}", self.address));
        config.database = self.store.clone();
        config.faults = faults;
        config
    }

    /// Starts a relay and the gateway `gw` with the first instance, and waits until that calls it healthy.
    pub(crate) fn start_agents(&mut self) {
        let (operator, admin) = (self.client(&self.made.operator_token), self.client(&self.made.admin_token));
        let port = self.ports.one();
        let urls = [format!("turn:127.0.0.1:{port}?transport=udp")];
        self.posted(&operator, "/v1/relays", &json!({ "name": "r1", "urls": urls }));
        self.enrolment_token(&operator, "/v1/relays/r1", "relay.token");
        let range = self.ports.range(40);
        let mut relay = self.agent("relay");
        relay.args(["--listen", &format!("127.0.0.1:{port}"), "--allowed-peer-ip", "127.0.0.1"]);
        relay.args(["--grace-period", "0"]);
        relay.args(["--min-port", &range.start().to_string(), "--max-port", &range.end().to_string()]);
        let mut relay = Running::start("adit relay", relay);
        relay.expect_line("listening on");
        self.relay = Some(relay);

        self.posted(&admin, "/v1/gateways", &json!({ "name": "gw" }));
        self.enrolment_token(&admin, "/v1/gateways/gw", "gateway.token");
        self.gateway = Some(self.start_gateway());
        self.wait_until_healthy(self.address);
    }

    pub(crate) fn start_gateway(&self) -> Running {
        let mut gateway = self.agent("gateway");
        gateway.args(["--allow", "tcp://127.0.0.1:*", "--grace-period", "1"]);
        Running::start("adit gateway", gateway)
    }

    /// Waits until the instance at `address` calls the gateway healthy.
    pub(crate) fn wait_until_healthy(&self, address: SocketAddr) {
        let admin = self.client_of(address, &self.made.admin_token);
        wait("the gateway is healthy", PATIENCE * 4, || {
            let gateway: Gateway = self.outside.block_on(admin.get("/v1/gateways/gw")).unwrap();
            gateway.health.state == HealthState::Healthy
        });
    }

    /// A client of the first instance.
    pub(crate) fn client(&self, token: &str) -> Client {
        self.client_of(self.address, token)
    }

    fn client_of(&self, address: SocketAddr, token: &str) -> Client {
        let trust = Trust::from_pem(self.made.platform_ca.as_bytes()).unwrap();
        Client::new(address.to_string().parse().unwrap(), &trust).unwrap().with_token(token)
    }

    fn posted(&self, client: &Client, path: &str, body: &Value) {
        let _: Value = self.outside.block_on(client.post(path, body)).unwrap();
    }

    fn agent(&self, part: &str) -> Command {
        let mut command = command(self.place.root(), &[part, "start"]);
        command.args(["--domain", &format!("https://{}", self.address)]);
        command.args(["--state-dir", &format!("{part}.state"), "--token-file", &format!("{part}.token")]);
        command
    }

    fn enrolment_token(&self, client: &Client, object: &str, file: &str) {
        let path = format!("{object}/enrolment-tokens");
        let token: EnrolmentToken = self.outside.block_on(client.post(&path, &json!({}))).unwrap();
        set_permissions(self.place.write(file, &token.token), Permissions::from_mode(0o600)).unwrap();
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn wait(what: &str, patience: Duration, is_so: impl Fn() -> bool) {
    let until = Instant::now() + patience;
    while !is_so() {
        assert!(Instant::now() < until, "not within {} s: {what}", patience.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    }
}
