//! After everything that a boot flow does, no secret lies in the database or in the log.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use adit_core::pki::{Key, KeyKind};
use adit_platform::trust::token::Token;
use adit_platform::words::{Forwarding, IssuedToken, RelayHeartbeat, RelayStatus};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tracing_subscriber::filter::LevelFilter;

use super::world::{World, exchange, nonce, refused};

/// Everything that was logged.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes all that is logged in this process, by every thread, at every level.
    fn begin() -> Self {
        let log = Self::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        log
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What must not be found, in each form that it may have been written in.
#[derive(Default)]
struct Secrets(Vec<(&'static str, Vec<u8>)>);

impl Secrets {
    fn text(&mut self, what: &'static str, text: &str) {
        assert!(text.len() >= 16, "{what} is too short to be looked for");
        self.0.push((what, text.as_bytes().to_vec()));
    }

    fn bytes(&mut self, what: &'static str, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let listed: Vec<String> = bytes.iter().map(u8::to_string).collect();
        self.0.push((what, bytes.to_vec()));
        for form in [STANDARD_NO_PAD.encode(bytes), URL_SAFE_NO_PAD.encode(bytes), hex, listed.join(", ")] {
            self.text(what, &form);
        }
    }

    /// The whole token, its last part, and the secret in that.
    fn token(&mut self, what: &'static str, token: &str) {
        let last = token.rsplit_once(&format!("_{}_", token.parse::<Token>().unwrap().id())).unwrap().1;
        self.text(what, token);
        // The last bytes are a pin, which is none, and a checksum.
        self.text(what, &last[..40]);
        self.bytes(what, &URL_SAFE_NO_PAD.decode(last).unwrap()[..32]);
    }

    fn key(&mut self, what: &'static str, key: &Key) {
        let der = key.der().secret_der();
        self.bytes(what, der);
        for line in key.to_pem().lines().filter(|line| !line.starts_with('-') && line.len() >= 16) {
            self.text(what, line);
        }
    }

    #[track_caller]
    fn are_not_in(&self, place: &str, bytes: &[u8]) {
        for (what, secret) in &self.0 {
            assert!(
                !contains(bytes, secret),
                "{what} is in {place}, as {:?}",
                String::from_utf8_lossy(secret)
            );
        }
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some((&first, rest)) = needle.split_first() else { return true };
    let mut begins = haystack.iter().enumerate().filter(|&(_, &byte)| byte == first);
    begins.any(|(at, _)| haystack[at + 1..].starts_with(rest))
}

/// All files of the platform's but the one that is for keys.
fn files(directory: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.is_file() && !path.ends_with("root-keys"));
    files.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

#[tokio::test]
async fn no_token_key_or_password_is_in_the_database_or_in_the_log() {
    let log = Log::begin();
    let world = World::new().await;
    let mut secrets = Secrets::default();
    secrets.token("the operator's token", &world.made.operator_token);
    secrets.token("the administrator's token", &world.made.admin_token);
    boot(&world, &mut secrets).await;
    use_it(&world, &mut secrets).await;
    let directory = world.place.path("platform");
    let log_is_long = |log: &[u8]| contains(log, b"answered") && log.len() > 10_000;
    let running = files(&directory);
    assert!(running.iter().any(|(name, bytes)| name.ends_with(".db-wal") && contains(bytes, b"gw-of-acme")));
    world.platform.stop().await;
    for (name, bytes) in running.into_iter().chain(files(&directory)) {
        secrets.are_not_in(&name, &bytes);
    }
    let logged = log.bytes();
    assert!(log_is_long(&logged), "{}", String::from_utf8_lossy(&logged));
    secrets.are_not_in("the log", &logged);
}

/// A relay and a gateway instance, from their tokens to their credentials.
async fn boot(world: &World, secrets: &mut Secrets) {
    let tokens = [world.relay_token("relay").await, world.gateway_token("gw-of-acme").await];
    let [relay, gateway] = tokens.each_ref();
    for token in &tokens {
        secrets.token("an enrolment token", &token.reveal());
    }
    let relay = super::world::Agent::enrol(world, relay).await;
    let gateway = super::world::Agent::enrol(world, gateway).await;
    for agent in [&relay, &gateway] {
        secrets.key("an agent's key", &agent.key);
        secrets.token("an access token", &agent.token);
    }
    let began = relay.begin_relay("aa").await.unwrap();
    relay.client.relay_certificate(&relay.request()).await.unwrap();
    world.admin().post::<Value>("/v1/relays/relay/rotate-secret", &json!({})).await.unwrap();
    let report = RelayHeartbeat { session: began.session, status: RelayStatus::default(), time: 1 };
    let told = relay.client.relay_heartbeat(&report).await.unwrap();
    assert_eq!(told.secrets.len(), 2);
    for secret in told.secrets.iter().chain(&began.secrets) {
        secrets.bytes("a relay's secret", &STANDARD.decode(secret).unwrap());
    }
    let session = gateway.begin("aa").await.unwrap();
    gateway.client.gateway_certificate(&gateway.request()).await.unwrap();
    gateway.report(&session).await.unwrap();
    assert_eq!(session.desired.relays.len(), 1);
    for access in &session.desired.relays {
        secrets.text("a TURN password", &access.password);
    }
}

/// A person who forwards and is revoked, and requests that are refused: what is refused is not logged either.
async fn use_it(world: &World, secrets: &mut Secrets) {
    let bob = world.person("bob").await;
    secrets.token("a person's token", &bob);
    let second = world.admin().post::<IssuedToken>("/v1/identities/bob/tokens", &json!({})).await.unwrap();
    secrets.token("a further token", &second.token);
    world.link("p", &["bob"], "gw-of-acme", &["tcp://db:5432"]).await;
    let key = Key::generate(KeyKind::EcdsaP256);
    secrets.key("a person's key", &key);
    let bob = world.stranger().with_token(&bob);
    let wish = json!({ "gateway": "gw-of-acme", "csr": key.request_pem() });
    bob.post::<Forwarding>("/v1/forwardings", &wish).await.unwrap();
    let misplaced = json!({ "name": world.made.admin_token.as_str() });
    refused(bob.post::<Value>("/v1/enrol", &misplaced).await, 400, "bad-request");
    let path = format!("/v1/gateways/{}", world.made.admin_token.as_str());
    refused(world.admin().get::<Value>(&path).await, 404, "not-found");
    world.admin().delete("/v1/identities/bob").await.unwrap();
    refused(bob.get::<Value>("/v1/whoami").await, 401, "revoked");
    let agent = world.gateway("gw-of-acme").await;
    let proof = agent.proof(&nonce(world).await, world.clock.now());
    secrets.token("another access token", &exchange(world, &proof).await.unwrap());
    secrets.key("another agent's key", &agent.key);
}

#[test]
fn what_is_looked_for_would_be_found() {
    let mut secrets = Secrets::default();
    let token = Token::new(adit_platform::trust::token::Kind::Identity, None);
    secrets.token("a token", &token.reveal());
    let key = Key::generate(KeyKind::EcdsaP256);
    secrets.key("a key", &key);
    let found = |text: &[u8]| secrets.0.iter().any(|(_, secret)| contains(text, secret));
    assert!(found(format!("x{}y", &*token.reveal()).as_bytes()));
    assert!(found(key.to_pem().as_bytes()) && found(key.der().secret_der()));
    // The store's hash of a token is none of its forms.
    let hash = digest(&SHA256, token.id().as_bytes());
    assert!(!found(hash.as_ref()) && !found(token.hash().as_bytes()) && !found(token.id().as_bytes()));
}
