//! The way to the server: a relay and a gateway that have enrolled, in a process of their own, so that what they use is
//! known apart.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use adit_core::pki::{Key, KeyKind};
use adit_core::relay::{Config as RelayConfig, RelayAddress};
use adit_core::turn::address_policy::Policy;
use adit_core::turn::credentials::{Authenticator, Credentials};
use adit_mio::RelayServer;
use adit_platform::client::{Client, Trust};
use adit_platform::trust::token::Token;
use adit_platform::words::{
    CertificateRequest, DesiredState, EnrolmentToken, Gateway as NamedGateway, HealthState, Heartbeat,
    NewGateway, NewRelay, NewSession, Relay, RelayHeartbeat, RelaySession, RelayStatus, RelayUse, Session,
};
use adit_tokio::Gateway;
use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::platform::server::Server;
use crate::usage::Usage;

/// The gateway's name.
pub(super) const GATEWAY: &str = "way";

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// How long the parts may take until they work.
const PATIENCE: Duration = Duration::from_secs(60);
/// The variables by which the tokens come: a command line is shown to everybody.
const TOKENS: [&str; 2] = ["ADIT_BENCH_RELAY_TOKEN", "ADIT_BENCH_GATEWAY_TOKEN"];

/// How it is started.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    domain: String,
    ca: PathBuf,
    relay: SocketAddr,
    target: String,
}

/// The process.
pub(super) struct Way(Child);

impl Way {
    /// Starts it and waits until the platform calls the gateway healthy.
    ///
    /// # Errors
    /// When it does not come so far.
    pub(super) async fn start(platform: &Server, directory: &Path, target: &str) -> Result<Self> {
        let (operator, admin) = (platform.operator(), platform.admin());
        let relay = UdpSocket::bind((LOOPBACK, 0))?.local_addr()?;
        let urls = vec![format!("turn:{relay}?transport=udp")];
        let _: Relay = operator.post("/v1/relays", &NewRelay { name: GATEWAY.to_owned(), urls }).await?;
        let _: NamedGateway = admin.post("/v1/gateways", &NewGateway { name: GATEWAY.to_owned() }).await?;
        let of_relay: EnrolmentToken =
            operator.post(&format!("/v1/relays/{GATEWAY}/enrolment-tokens"), &json!({})).await?;
        let of_gateway: EnrolmentToken =
            admin.post(&format!("/v1/gateways/{GATEWAY}/enrolment-tokens"), &json!({})).await?;
        let ca = directory.join("platform-ca.pem");
        std::fs::write(&ca, platform.anonymous().ca().await?)?;

        let mut serve = Command::new(std::env::current_exe()?);
        serve.args(["serve-way", &platform.anonymous().domain().to_string()]).arg(ca);
        serve
            .args([&relay.to_string(), target])
            .envs(TOKENS.into_iter().zip([of_relay.token, of_gateway.token]));
        serve.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = serve.spawn().context("relay and gateway can't be started")?;
        let output = process.stdout.take().context("its output is a pipe")?;
        let way = Self(process);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(!line.is_empty(), "relay and gateway do not come up");
        way.wait_until_healthy(&admin).await?;
        Ok(way)
    }

    async fn wait_until_healthy(&self, admin: &Client) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let gateway: NamedGateway = admin.get(&format!("/v1/gateways/{GATEWAY}")).await?;
            if gateway.health.state == HealthState::Healthy {
                return Ok(());
            }
            ensure!(Instant::now() < until, "the gateway does not become healthy: {}", gateway.health.reason);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What it has used until now.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn usage(&self) -> Result<Usage> {
        Usage::of(self.0.id())
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing else to do about it.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Serves until it is killed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(serve(options))
}

async fn serve(options: &Options) -> Result<()> {
    let trust = Trust::from_pem(&std::fs::read(&options.ca)?)?;
    let stranger = Client::new(options.domain.parse()?, &trust)?;
    let relay = RelayPart::start(&stranger, options.relay).await?;
    let gateway = GatewayPart::start(&stranger, &options.target).await?;
    println!("ready");
    loop {
        relay.report().await?;
        gateway.report().await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// An agent that has enrolled.
struct Agent {
    client: Client,
    key: Key,
}

impl Agent {
    async fn enrol(stranger: &Client, variable: &str) -> Result<Self> {
        let token: Token = std::env::var(variable)?.parse()?;
        let key = Key::generate(KeyKind::EcdsaP256);
        let enrolled = stranger.enrol(&token, &key).await?;
        let (access, _) = stranger.access(&enrolled.trust_domain, &enrolled.id, &key, unix).await?;
        Ok(Self { client: stranger.with_token(&access.access_token), key })
    }

    fn process(&self) -> NewSession {
        NewSession { fingerprint: "aa".to_owned(), version: "bench".to_owned() }
    }
}

struct RelayPart {
    agent: Agent,
    session: RelaySession,
    _server: RelayServer,
}

impl RelayPart {
    async fn start(stranger: &Client, listen: SocketAddr) -> Result<Self> {
        let agent = Agent::enrol(stranger, TOKENS[0]).await?;
        let session = agent.client.relay_session(&agent.process()).await?;
        let mut authenticator = Authenticator::new(&session.realm);
        for secret in &session.secrets {
            authenticator = authenticator.with_secret(&STANDARD.decode(secret)?);
        }
        let server = RelayServer::spawn(RelayConfig {
            listen: vec![listen.into()],
            ipv4: Some(RelayAddress::direct(LOOPBACK)),
            policy: Policy::default_deny().allow(LOOPBACK),
            ..RelayConfig::new(authenticator)
        })?;
        Ok(Self { agent, session, _server: server })
    }

    async fn report(&self) -> Result<()> {
        let (session, status) = (self.session.session.clone(), RelayStatus::default());
        self.agent.client.relay_heartbeat(&RelayHeartbeat { session, status, time: unix() }).await?;
        Ok(())
    }
}

struct GatewayPart {
    agent: Agent,
    session: Session,
    gateway: Gateway,
}

impl GatewayPart {
    async fn start(stranger: &Client, target: &str) -> Result<Self> {
        let agent = Agent::enrol(stranger, TOKENS[1]).await?;
        let session = agent.client.gateway_session(&agent.process()).await?;
        let csr = CertificateRequest { csr: agent.key.request_pem() };
        let certificate = agent.client.gateway_certificate(&csr).await?;
        let DesiredState { relays, connector_anchors, .. } = &session.desired;
        let relay = relays.first().context("the platform names no relay")?;
        let credentials = Credentials { username: relay.username.clone(), password: relay.password.clone() };
        let gateway = Gateway::builder()
            .certificate(certificate.chain, agent.key.to_pem())
            .trust(connector_anchors.clone())
            .relay(relay.urls.first().context("the relay has no URL")?, credentials)
            .permit(LOOPBACK)
            .allow(target)
            .configure(|config| config.platform = true)
            .spawn()?;
        Ok(Self { agent, session, gateway })
    }

    async fn report(&self) -> Result<()> {
        let addresses = self.gateway.addresses();
        let relay = self.session.desired.relays[0].id.clone();
        let heartbeat = Heartbeat {
            session: self.session.session.clone(),
            generation: self.session.desired.generation,
            relays: vec![RelayUse { relay, addresses: addresses.clone(), lost: None }],
            addresses,
            peers: Vec::new(),
            credentials_expire_at: None,
            time: unix(),
        };
        self.agent.client.gateway_heartbeat(&heartbeat).await?;
        Ok(())
    }
}

fn unix() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_secs()
}
