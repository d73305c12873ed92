//! A platform, a relay and a gateway that it tells what to do, as processes over real HTTPS: from enrolment to
//! addresses, through an absence of the platform, to revocation.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use adit_platform::client::{Client, ClientError, Trust};
use adit_platform::clock::Clock;
use adit_platform::config::Config;
use adit_platform::init::{Init, Options, init};
use adit_platform::server::Platform;
use adit_platform::words::{EnrolmentToken, Gateway, HealthState, Instance, NewGateway, NewRelay, Relay};
use adit_tests::adit::command;
use adit_tests::place::Place;
use adit_tests::ports::Ports;
use adit_tests::process::{PATIENCE, Running};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A platform and its operator and administrator.
struct World {
    place: Place,
    ports: Ports,
    made: Init,
    address: SocketAddr,
    platform: Option<Platform>,
}

impl World {
    async fn new() -> Self {
        let (place, ports) = (Place::new(), Ports::claim());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.one()));
        let options = Options::new(&format!("https://{address}"), "acme");
        let made = init(&place.path("platform"), &options, Clock::system()).await.unwrap();
        let mut world = Self { place, ports, made, address, platform: None };
        world.start().await;
        world
    }

    /// Starts the platform, in lengths of time that a test can wait for.
    async fn start(&mut self) {
        let mut config = Config::new(self.place.path("platform"), self.address);
        let second = Duration::from_secs(1);
        (config.times.heartbeat, config.times.ping, config.times.duties) = (second, second, second);
        config.times.missed_heartbeats = 5;
        config.relay_peer_networks = vec!["127.0.0.0/8".parse().unwrap()];
        config.connector_bind = Ipv4Addr::LOCALHOST.into();
        self.platform = Some(Platform::start(config).await.unwrap());
    }

    async fn stop(&mut self) {
        self.platform.take().unwrap().stop().await;
    }

    fn client(&self, token: &str) -> Client {
        let trust = Trust::from_pem(self.made.platform_ca.as_bytes()).unwrap();
        Client::new(self.address.to_string().parse().unwrap(), &trust).unwrap().with_token(token)
    }

    fn admin(&self) -> Client {
        self.client(&self.made.admin_token)
    }

    /// Makes a shared relay, and starts it.
    async fn relay(&self, name: &str) -> Running {
        let operator = self.client(&self.made.operator_token);
        let port = self.ports.one();
        let urls = vec![format!("turn:127.0.0.1:{port}?transport=udp")];
        let _: Relay = operator.post("/v1/relays", &NewRelay { name: name.into(), urls }).await.unwrap();
        self.token(&operator, &format!("/v1/relays/{name}"), name).await;
        let mut relay = Running::start("adit relay", self.relay_command(name, port));
        relay.expect_line("listening on");
        relay
    }

    fn relay_command(&self, name: &str, port: u16) -> Command {
        let range = self.ports.range(30);
        let mut relay = self.agent("relay", name);
        relay.args(["--listen", &format!("127.0.0.1:{port}"), "--allowed-peer-ip", "127.0.0.1"]);
        relay.args(["--grace-period", "0"]);
        relay.args(["--min-port", &range.start().to_string(), "--max-port", &range.end().to_string()]);
        relay
    }

    /// Makes a gateway with a token for one instance.
    async fn gateway(&self, name: &str) {
        let admin = self.admin();
        let _: Gateway = admin.post("/v1/gateways", &NewGateway { name: name.into() }).await.unwrap();
        self.token(&admin, &format!("/v1/gateways/{name}"), name).await;
    }

    /// Writes an enrolment token into the file `<name>.token`.
    async fn token(&self, client: &Client, object: &str, name: &str) {
        let token: EnrolmentToken =
            client.post(&format!("{object}/enrolment-tokens"), &json!({})).await.unwrap();
        let path = self.place.write(&format!("{name}.token"), &token.token);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn agent(&self, part: &str, name: &str) -> Command {
        let mut command = command(self.place.root(), &[part, "start"]);
        let state = format!("{name}.state");
        command.args(["--domain", &format!("https://{}", self.address), "--state-dir", &state]);
        if self.place.path(&format!("{name}.token")).exists() {
            command.args(["--token-file", &format!("{name}.token")]);
        }
        command
    }

    fn gateway_command(&self, name: &str) -> Command {
        let mut gateway = self.agent("gateway", name);
        gateway.args(["--allow", "tcp://127.0.0.1:*", "--grace-period", "1"]);
        gateway
    }

    fn start_gateway(&self, name: &str) -> Running {
        Running::start("adit gateway", self.gateway_command(name))
    }

    /// The one instance of a gateway, once it is as `is` wants it.
    async fn instance(&self, gateway: &str, is: impl Fn(&Instance) -> bool) -> Instance {
        let until = Instant::now() + PATIENCE;
        loop {
            let found: Result<Gateway, ClientError> =
                self.admin().get(&format!("/v1/gateways/{gateway}")).await;
            let instance = found.unwrap().instances.into_iter().next();
            match instance {
                Some(instance) if is(&instance) => return instance,
                _ if Instant::now() > until => panic!("the instance is not as it should be: {instance:?}"),
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// It answers the platform, end to end.
fn is_up(instance: &Instance) -> bool {
    instance.health.state == HealthState::Healthy
}

/// Waits in a thread of its own, so that the platform goes on.
fn expect(running: &mut Running, text: &str) -> String {
    tokio::task::block_in_place(|| running.expect_line(text))
}

fn end(running: Running) {
    tokio::task::block_in_place(|| drop(running));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_enrols_once_and_is_up_each_time() {
    let world = World::new().await;
    let relay = world.relay("r1").await;
    world.gateway("gw").await;
    let mut gateway = world.start_gateway("gw");
    expect(&mut gateway, "is reached at");
    let instance = world.instance("gw", is_up).await;
    assert_eq!(instance.addresses.len(), 1, "{instance:?}");
    assert_eq!(instance.relays[0].lost, None);
    end(gateway);
    world.instance("gw", |instance| instance.health.state == HealthState::Offline).await;

    // From now on the key is enough.
    std::fs::remove_file(world.place.path("gw.token")).unwrap();
    for name in ["key.pem", "certificate.pem", "identity.json", "instructions.json"] {
        let metadata = std::fs::metadata(world.place.path("gw.state").join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
    let mut gateway = world.start_gateway("gw");
    expect(&mut gateway, "is reached at");
    let again = world.instance("gw", is_up).await;
    assert_eq!(again.id, instance.id);
    end(gateway);
    end(relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_platform_is_away_both_begin_with_what_they_have_kept() {
    let mut world = World::new().await;
    let mut relay = world.relay("r1").await;
    world.gateway("gw").await;
    let mut gateway = world.start_gateway("gw");
    expect(&mut gateway, "is reached at");
    world.instance("gw", is_up).await;
    world.stop().await;
    end(gateway);

    let relay_url = relay.said();
    let port = relay_url.lines().find_map(|line| line.split_once("listening on 127.0.0.1:")).unwrap().1;
    let port = port.trim().parse().unwrap();
    end(relay);
    relay = Running::start("adit relay", world.relay_command("r1", port));
    expect(&mut relay, "listening on");
    let mut gateway = world.start_gateway("gw");
    expect(&mut gateway, "is reached at");
    expect(&mut gateway, "begins with what it was last told");

    world.start().await;
    expect(&mut gateway, "the platform is reached");
    world.instance("gw", is_up).await;
    end(gateway);
    end(relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_revoked_ends_with_its_own_status() {
    let world = World::new().await;
    let relay = world.relay("r1").await;
    world.gateway("gw").await;
    let mut gateway = world.start_gateway("gw");
    expect(&mut gateway, "is reached at");
    let instance = world.instance("gw", |instance| !instance.addresses.is_empty()).await;
    world.admin().delete(&format!("/v1/gateways/gw/instances/{}", instance.id)).await.unwrap();
    let status = tokio::task::block_in_place(|| gateway.wait());
    assert_eq!(status.code(), Some(12), "{}", gateway.said());
    assert!(gateway.said().contains("revoked"));
    end(relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_the_state_directory_waits_and_says_why() {
    let world = World::new().await;
    let relay = world.relay("r1").await;
    world.gateway("gw").await;
    let mut gateway = world.start_gateway("gw");
    expect(&mut gateway, "is reached at");
    let mut second = world.start_gateway("gw");
    expect(&mut second, "another process runs with the state directory");

    let copied =
        Command::new("cp").args(["-r", "gw.state", "copy.state"]).current_dir(world.place.root()).status();
    assert!(copied.unwrap().success());
    let mut copy = world.start_gateway("copy");
    expect(&mut copy, "another process works as this one");
    world.instance("gw", is_up).await;
    end(gateway);
    expect(&mut copy, "is reached at");
    world.instance("gw", is_up).await;
    end(copy);
    end(relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relays_new_secret_ends_no_allocation() {
    let world = World::new().await;
    let mut relay = world.relay("r1").await;
    world.gateway("gw").await;
    let mut gateway = world.start_gateway("gw");
    expect(&mut gateway, "is reached at");
    let before = world.instance("gw", is_up).await;
    let operator = world.client(&world.made.operator_token);
    let _: Value = operator.post("/v1/relays/r1/rotate-secret", &json!({})).await.unwrap();
    expect(&mut relay, "has changed who may use the relay secrets=2");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = world.instance("gw", is_up).await;
    assert_eq!(after.addresses, before.addresses);
    end(gateway);
    end(relay);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_works_once_and_for_its_own_kind() {
    let world = World::new().await;
    world.gateway("gw").await;
    let mut first = world.start_gateway("gw");
    expect(&mut first, "enrolled");
    std::fs::copy(world.place.path("gw.token"), world.place.path("other.token")).unwrap();
    let mut second = Running::start("adit gateway", world.gateway_command("other"));
    let status = tokio::task::block_in_place(|| second.wait());
    assert_eq!(status.code(), Some(12), "{}", second.said());
    let mut relay = Running::start("adit relay", world.relay_command("other", world.ports.one()));
    let status = tokio::task::block_in_place(|| relay.wait());
    assert_eq!(status.code(), Some(2), "{}", relay.said());
    first.signal(Signal::TERM);
    assert!(tokio::task::block_in_place(|| first.wait()).success());
}
