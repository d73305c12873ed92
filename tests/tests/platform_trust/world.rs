//! A platform over real HTTPS, by a clock that a test can move, and agents that are enrolled with it.

use std::net::Ipv4Addr;

use adit_core::pki::{Key, KeyKind};
use adit_platform::client::{Client, ClientError, Trust};
use adit_platform::clock::Clock;
use adit_platform::config::{Config, Rate};
use adit_platform::init::{Init, Options, init};
use adit_platform::server::Platform;
use adit_platform::trust::proof;
use adit_platform::trust::token::Token;
use adit_platform::words::{
    CertificateRequest, CreatedIdentity, EnrolmentToken, Gateway, Heartbeat, HeartbeatAnswer, NewSession,
    Nonce, Proof, RelaySession, Session,
};
use adit_tests::place::Place;
use serde_json::{Value, json};

pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) clock: Clock,
    pub(crate) made: Init,
    pub(crate) platform: Platform,
}

impl World {
    pub(crate) async fn new() -> Self {
        let endless = Rate { burst: 1_000_000, per_minute: 1_000_000 };
        Self::with(|config| (config.limits.failures, config.limits.first_contact) = (endless, endless)).await
    }

    pub(crate) async fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let (place, clock) = (Place::new(), Clock::system());
        let mut options = Options::new("https://127.0.0.1:1", "acme");
        options.trust_domain = Some("adit.test".to_owned());
        let made = init(&place.path("platform"), &options, clock.clone()).await.unwrap();
        let mut config = Config::new(place.path("platform"), (Ipv4Addr::LOCALHOST, 0).into());
        config.connector_bind = Ipv4Addr::LOCALHOST.into();
        configure(&mut config);
        let platform = Platform::start_by(config, clock.clone()).await.unwrap();
        Self { place, clock, made, platform }
    }

    /// Somebody who has shown no token.
    pub(crate) fn stranger(&self) -> Client {
        self.client_that_trusts(&self.made.platform_ca)
    }

    pub(crate) fn client_that_trusts(&self, ca: &str) -> Client {
        let trust = Trust::from_pem(ca.as_bytes()).unwrap();
        Client::new(self.platform.address().to_string().parse().unwrap(), &trust).unwrap()
    }

    pub(crate) fn admin(&self) -> Client {
        self.stranger().with_token(&self.made.admin_token)
    }

    pub(crate) fn operator(&self) -> Client {
        self.stranger().with_token(&self.made.operator_token)
    }

    /// A new person of the organisation: its token.
    pub(crate) async fn person(&self, name: &str) -> String {
        let new = json!({ "name": name, "kind": "person" });
        self.admin().post::<CreatedIdentity>("/v1/identities", &new).await.unwrap().token
    }

    /// A project of these members, which reaches `targets` through `gateway`.
    pub(crate) async fn link(&self, project: &str, members: &[&str], gateway: &str, targets: &[&str]) {
        let admin = self.admin();
        admin.post::<Value>("/v1/projects", &json!({ "name": project })).await.unwrap();
        for member in members {
            let path = format!("/v1/projects/{project}/members/{member}");
            admin.put::<Value>(&path, &json!({ "role": "member" })).await.unwrap();
        }
        let link = json!({ "project": project, "gateway": gateway, "targets": targets });
        admin.post::<Value>("/v1/links", &link).await.unwrap();
    }

    /// A token for an instance of the gateway, which is made where it is not there yet.
    pub(crate) async fn gateway_token(&self, gateway: &str) -> Token {
        let made = self.admin().post::<Value>("/v1/gateways", &json!({ "name": gateway })).await;
        assert!(made.is_ok() || made.unwrap_err().code() == Some("conflict"));
        self.enrolment_token(&format!("/v1/gateways/{gateway}")).await
    }

    /// A token for a new relay of the organisation.
    pub(crate) async fn relay_token(&self, relay: &str) -> Token {
        let new = json!({ "name": relay, "urls": ["turn:192.0.2.7:3478?transport=udp"] });
        self.admin().post::<Value>("/v1/relays", &new).await.unwrap();
        self.enrolment_token(&format!("/v1/relays/{relay}")).await
    }

    async fn enrolment_token(&self, of: &str) -> Token {
        let token = self.admin().post::<EnrolmentToken>(&format!("{of}/enrolment-tokens"), &json!({})).await;
        token.unwrap().token.parse().unwrap()
    }

    pub(crate) async fn gateway(&self, gateway: &str) -> Agent {
        Agent::enrol(self, &self.gateway_token(gateway).await).await
    }

    pub(crate) async fn relay(&self, relay: &str) -> Agent {
        Agent::enrol(self, &self.relay_token(relay).await).await
    }

    pub(crate) async fn instances(&self, gateway: &str) -> usize {
        let gateway = self.admin().get::<Gateway>(&format!("/v1/gateways/{gateway}")).await.unwrap();
        gateway.instances.len()
    }

    /// Everything that callers could have made.
    pub(crate) async fn picture(&self) -> Value {
        let (admin, operator) = (self.admin(), self.operator());
        let mut picture = json!({ "orgs": operator.get::<Value>("/v1/orgs").await.unwrap() });
        for list in ["identities", "projects", "links", "gateways", "relays", "audit"] {
            picture[list] = admin.get(&format!("/v1/{list}?limit=500")).await.unwrap();
        }
        picture
    }
}

/// An enrolled agent, as its own machine knows it.
pub(crate) struct Agent {
    pub(crate) key: Key,
    pub(crate) id: String,
    pub(crate) token: String,
    /// Shows the token.
    pub(crate) client: Client,
}

impl Agent {
    pub(crate) async fn enrol(world: &World, token: &Token) -> Self {
        let key = Key::generate(KeyKind::EcdsaP256);
        let enrolled = world.stranger().enrol(token, &key).await.unwrap();
        let mut agent = Self { key, id: enrolled.id, token: String::new(), client: world.stranger() };
        agent.renew(world).await;
        agent
    }

    /// Takes a new access token.
    pub(crate) async fn renew(&mut self, world: &World) {
        let proof = self.proof(&nonce(world).await, world.clock.now());
        self.token = exchange(world, &proof).await.unwrap();
        self.client = world.stranger().with_token(&self.token);
    }

    pub(crate) fn proof(&self, nonce: &str, time: u64) -> Proof {
        prove("adit.test", &self.id, &self.key, nonce, time)
    }

    pub(crate) async fn begin(&self, fingerprint: &str) -> Result<Session, ClientError> {
        self.client.gateway_session(&process(fingerprint)).await
    }

    pub(crate) async fn begin_relay(&self, fingerprint: &str) -> Result<RelaySession, ClientError> {
        self.client.relay_session(&process(fingerprint)).await
    }

    pub(crate) async fn report(&self, session: &Session) -> Result<HeartbeatAnswer, ClientError> {
        let report = Heartbeat {
            session: session.session.clone(),
            generation: session.desired.generation,
            addresses: vec!["192.0.2.7:5000".parse().unwrap()],
            relays: Vec::new(),
            peers: Vec::new(),
            credentials_expire_at: None,
            time: 1,
        };
        self.client.gateway_heartbeat(&report).await
    }

    /// A request that names nobody.
    pub(crate) fn request(&self) -> CertificateRequest {
        CertificateRequest { csr: self.key.request_pem() }
    }
}

fn process(fingerprint: &str) -> NewSession {
    NewSession { fingerprint: fingerprint.to_owned(), version: "0.1.0".to_owned() }
}

pub(crate) async fn nonce(world: &World) -> String {
    world.stranger().get::<Nonce>("/v1/auth/nonce").await.unwrap().nonce
}

pub(crate) fn prove(audience: &str, id: &str, key: &Key, nonce: &str, time: u64) -> Proof {
    let signature = proof::sign(key, &proof::access(audience, id, nonce, time));
    Proof { id: id.to_owned(), nonce: nonce.to_owned(), time, signature }
}

/// A proof becomes an access token.
pub(crate) async fn exchange(world: &World, proof: &Proof) -> Result<String, ClientError> {
    let token = world.stranger().post::<Value>("/v1/auth/token", proof).await?;
    Ok(token["access_token"].as_str().unwrap().to_owned())
}

/// It came to this problem, with words on what to do.
#[track_caller]
pub(crate) fn refused<T>(outcome: Result<T, ClientError>, status: u16, code: &str) {
    let problem = match outcome {
        Err(ClientError::Problem { problem, .. }) => problem,
        Err(other) => panic!("{other:?} instead of {code}"),
        Ok(_) => panic!("it was not refused with {code}"),
    };
    assert_eq!(
        (problem.status, problem.kind.as_str()),
        (status, &*format!("urn:adit:problem:{code}")),
        "{problem:?}"
    );
    assert!(problem.detail.ends_with('.') && problem.detail != problem.title, "{problem:?}");
}
