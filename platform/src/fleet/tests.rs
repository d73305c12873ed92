use std::time::Duration;

use adit_core::pki::{Key, KeyKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::routes::Method;
use crate::api::testing::{Answered, Api};
use crate::store::{instances, watching};
use crate::trust::proof;
use crate::trust::token::Token;

/// An enrolled agent, as its own machine knows it.
pub(crate) struct Agent {
    pub(crate) key: Key,
    pub(crate) id: String,
    token: String,
}

impl Agent {
    pub(crate) async fn of_gateway(api: &Api, gateway: &str) -> Self {
        api.post(&api.admin, "/v1/gateways", json!({ "name": gateway })).await;
        let token = enrolment_token(api, &api.admin, &format!("/v1/gateways/{gateway}")).await;
        Self::enrol(api, &token).await
    }

    async fn of_relay(api: &Api, by: &str, relay: &str) -> Self {
        Self::of_relay_at(api, by, relay, "turn:192.0.2.7:3478?transport=udp").await
    }

    pub(crate) async fn of_relay_at(api: &Api, by: &str, relay: &str, url: &str) -> Self {
        let new = json!({ "name": relay, "urls": [url] });
        api.post(by, "/v1/relays", new).await;
        let token = enrolment_token(api, by, &format!("/v1/relays/{relay}")).await;
        Self::enrol(api, &token).await
    }

    async fn enrol(api: &Api, token: &str) -> Self {
        let key = Key::generate(KeyKind::EcdsaP256);
        let enrolled = api.post("", "/v1/enrol", enrolment(token, &key)).await.expect(201);
        assert_eq!(enrolled["trust_domain"], "adit.test");
        let id = enrolled["id"].as_str().unwrap().to_owned();
        let mut agent = Self { key, id, token: String::new() };
        agent.renew(api).await;
        agent
    }

    async fn renew(&mut self, api: &Api) {
        let token = api.post("", "/v1/auth/token", self.proof(api).await).await.expect(200);
        self.token = token["access_token"].as_str().unwrap().to_owned();
    }

    async fn proof(&self, api: &Api) -> Value {
        let nonce = api.get("", "/v1/auth/nonce").await.expect(200);
        self.proof_of(nonce["nonce"].as_str().unwrap(), api.app.clock.now())
    }

    fn proof_of(&self, nonce: &str, time: u64) -> Value {
        let text = proof::access("adit.test", &self.id, nonce, time);
        let signature = proof::sign(&self.key, &text);
        json!({ "id": self.id, "nonce": nonce, "time": time, "signature": signature })
    }

    pub(crate) async fn post(&self, api: &Api, path: &str, body: Value) -> Answered {
        api.post(&self.token, path, body).await
    }

    pub(crate) async fn session(&self, api: &Api, kind: &str, fingerprint: &str) -> Answered {
        let process = json!({ "fingerprint": fingerprint, "version": "0.1.0" });
        self.post(api, &format!("/v1/{kind}/self/session"), process).await
    }

    pub(crate) async fn heartbeat(&self, api: &Api, session: &Value, report: Value) -> Answered {
        let mut whole = json!({ "session": session["session"], "generation": session["desired"]["generation"],
            "addresses": ["192.0.2.7:5000"], "peers": [], "time": 1,
            "relays": [{ "relay": "r", "addresses": ["192.0.2.7:5000"] }] });
        whole.as_object_mut().unwrap().extend(report.as_object().unwrap().clone());
        self.post(api, "/v1/gateways/self/heartbeat", whole).await
    }
}

fn enrolment(token: &str, key: &Key) -> Value {
    let id = token.parse::<Token>().unwrap().id().to_owned();
    let public_key = key.public().der();
    let signature = proof::sign(key, &proof::enrolment(&id, &public_key));
    json!({ "token": token, "public_key": STANDARD.encode(public_key), "signature": signature })
}

async fn enrolment_token(api: &Api, by: &str, of: &str) -> String {
    let token = api.post(by, &format!("{of}/enrolment-tokens"), json!({})).await.expect(201);
    token["token"].as_str().unwrap().to_owned()
}

async fn relay_that_reports(api: &Api, by: &str, name: &str) -> (Agent, Value) {
    let relay = Agent::of_relay(api, by, name).await;
    let session = relay.session(api, "relays", "aa").await.expect(200);
    (relay, session)
}

#[tokio::test]
async fn an_enrolment_token_works_once_and_nothing_is_half_made() {
    let api = Api::new().await;
    api.post(&api.admin, "/v1/gateways", json!({ "name": "gw" })).await.expect(201);
    let token = enrolment_token(&api, &api.admin, "/v1/gateways/gw").await;
    let key = Key::generate(KeyKind::Ed25519);
    let mut forged = enrolment(&token, &key);
    forged["signature"] = enrolment(&token, &Key::generate(KeyKind::Ed25519))["signature"].clone();
    api.post("", "/v1/enrol", forged).await.problem(400, "bad-request");
    api.post("", "/v1/enrol", enrolment(&token, &key)).await.expect(201);
    api.post("", "/v1/enrol", enrolment(&token, &key)).await.problem(409, "token-spent");
    let gateway = api.get(&api.admin, "/v1/gateways/gw").await.expect(200);
    assert_eq!(gateway["instances"].as_array().unwrap().len(), 1);
    let stranger = Token::new(crate::trust::token::Kind::Gateway, None);
    api.post("", "/v1/enrol", enrolment(&stranger.reveal(), &key)).await.problem(401, "unauthenticated");
    api.post("", "/v1/enrol", enrolment(&api.admin, &key)).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn an_enrolment_token_that_ran_out_says_so() {
    let api = Api::new().await;
    api.post(&api.admin, "/v1/gateways", json!({ "name": "gw" })).await.expect(201);
    let token = enrolment_token(&api, &api.admin, "/v1/gateways/gw").await;
    api.app.clock.advance(Duration::from_secs(25 * 3600));
    let key = Key::generate(KeyKind::Ed25519);
    api.post("", "/v1/enrol", enrolment(&token, &key)).await.problem(401, "expired");
}

#[tokio::test]
async fn a_proof_counts_once_from_its_key_at_the_right_time() {
    let api = Api::new().await;
    let agent = Agent::of_gateway(&api, "gw").await;
    let proof = agent.proof(&api).await;
    api.post("", "/v1/auth/token", proof.clone()).await.expect(200);
    api.post("", "/v1/auth/token", proof.clone()).await.problem(401, "unauthenticated");
    let nonce = api.get("", "/v1/auth/nonce").await.expect(200)["nonce"].as_str().unwrap().to_owned();
    let now = api.app.clock.now();
    api.post("", "/v1/auth/token", agent.proof_of(&nonce, now - 601)).await.problem(400, "clock-skew");
    api.post("", "/v1/auth/token", agent.proof_of(&nonce, now + 610)).await.problem(400, "clock-skew");
    let other = Agent { key: Key::generate(KeyKind::EcdsaP256), id: agent.id.clone(), token: String::new() };
    api.post("", "/v1/auth/token", other.proof_of(&nonce, now)).await.problem(401, "unauthenticated");
    let other = if &nonce[20..21] == "A" { "B" } else { "A" };
    let invented = format!("{}{other}{}", &nonce[..20], &nonce[21..]);
    api.post("", "/v1/auth/token", agent.proof_of(&invented, now)).await.problem(401, "unauthenticated");
    api.post("", "/v1/auth/token", agent.proof_of(&nonce, now - 300)).await.expect(200);
    let late = api.get("", "/v1/auth/nonce").await.expect(200)["nonce"].as_str().unwrap().to_owned();
    api.app.clock.advance(Duration::from_secs(301));
    let late = agent.proof_of(&late, api.app.clock.now());
    api.post("", "/v1/auth/token", late).await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_revoked_instance_gets_no_token_and_its_tokens_end() {
    let api = Api::new().await;
    let agent = Agent::of_gateway(&api, "gw").await;
    agent.session(&api, "gateways", "aa").await.expect(200);
    api.delete(&api.admin, &format!("/v1/gateways/gw/instances/{}", agent.id)).await.expect(204);
    agent.session(&api, "gateways", "aa").await.problem(401, "revoked");
    api.post("", "/v1/auth/token", agent.proof(&api).await).await.problem(401, "revoked");
}

#[tokio::test]
async fn a_copy_on_another_machine_is_refused_while_the_first_reports() {
    let api = Api::new().await;
    let agent = Agent::of_gateway(&api, "gw").await;
    let first = agent.session(&api, "gateways", "aa").await.expect(200);
    agent.session(&api, "gateways", "bb").await.problem(409, "instance-in-use");
    let again = agent.session(&api, "gateways", "aa").await.expect(200);
    agent.heartbeat(&api, &first, json!({})).await.problem(409, "session-ended");
    agent.heartbeat(&api, &again, json!({})).await.expect(200);
    api.app.clock.advance(Duration::from_secs(47));
    let moved = agent.session(&api, "gateways", "bb").await.expect(200);
    agent.heartbeat(&api, &again, json!({})).await.problem(409, "session-ended");
    agent.heartbeat(&api, &moved, json!({})).await.expect(200);
    api.delete(&agent.token, "/v1/gateways/self/session").await.expect(204);
    agent.heartbeat(&api, &moved, json!({})).await.problem(409, "session-ended");
    agent.session(&api, "gateways", "cc").await.expect(200);
    let audit = api.get(&api.admin, "/v1/audit").await.expect(200).to_string();
    assert_eq!(audit.matches("gateway.instance-moved").count(), 2, "{audit}");
}

#[tokio::test]
async fn desired_state_names_relays_with_credentials_and_is_sent_when_it_changes() {
    let api = Api::new().await;
    let agent = Agent::of_gateway(&api, "gw").await;
    let session = agent.session(&api, "gateways", "aa").await.expect(200);
    assert_eq!(session["desired"]["relays"], json!([]));
    assert!(session["desired"]["connector_anchors"].as_str().unwrap().contains("BEGIN CERTIFICATE"));
    let same = agent.heartbeat(&api, &session, json!({})).await.expect(200);
    assert!(same.get("desired").is_none(), "{same}");
    let (_, relay) = relay_that_reports(&api, &api.operator, "shared").await;
    let told = agent.heartbeat(&api, &session, json!({})).await.expect(200);
    let relays = told["desired"]["relays"].as_array().unwrap();
    assert_eq!((relays.len(), &relays[0]["name"]), (1, &json!("shared")));
    let secret = STANDARD.decode(relay["secrets"][0].as_str().unwrap()).unwrap();
    let username = relays[0]["username"].as_str().unwrap();
    let password = adit_core::turn::credentials::time_limited_password(&secret, username);
    assert_eq!(relays[0]["password"], password);
    assert_eq!(username.split(':').nth(1).unwrap(), agent.id);
}

#[tokio::test]
async fn credentials_are_renewed_at_their_age() {
    let api = Api::new().await;
    let agent = Agent::of_gateway(&api, "gw").await;
    let session = agent.session(&api, "gateways", "aa").await.expect(200);
    let expires = |left: u64| json!({ "credentials_expire_at": api.app.clock.now() + left });
    let fresh = agent.heartbeat(&api, &session, expires(16 * 3600 + 60)).await.expect(200);
    assert!(fresh.get("desired").is_none());
    let due = agent.heartbeat(&api, &session, expires(16 * 3600)).await.expect(200);
    assert!(due.get("desired").is_some());
}

#[tokio::test]
async fn an_instance_becomes_healthy_by_its_pong_and_each_change_is_audited_once() {
    let api = Api::new().await;
    let agent = Agent::of_gateway(&api, "gw").await;
    let session = agent.session(&api, "gateways", "aa").await.expect(200);
    let health = agent.heartbeat(&api, &session, json!({})).await.expect(200)["health"].clone();
    assert_eq!(health["state"], "degraded");
    let store = &api.app.store;
    let watched = watching::claim(store, api.app.clock.now() + 45, 10).await.unwrap();
    assert_eq!((watched.len(), watched[0].addresses.len()), (1, 1));
    assert!(watching::pong(store, &api.acme, &agent.id).await.unwrap());
    for _ in 0..2 {
        let health = agent.heartbeat(&api, &session, json!({})).await.expect(200)["health"].clone();
        assert_eq!(health["state"], "healthy");
    }
    let lost = json!({ "relays": [{ "relay": "r", "addresses": [], "lost": "gone" }], "addresses": [] });
    let health = agent.heartbeat(&api, &session, lost).await.expect(200)["health"].clone();
    assert_eq!(health["state"], "degraded");
    let audit = api.get(&api.admin, "/v1/audit").await.expect(200).to_string();
    assert_eq!(audit.matches("gateway.health-changed").count(), 3, "{audit}");
}

#[tokio::test]
async fn certificates_are_for_who_calls_and_nobody_else() {
    let api = Api::new().await;
    let agent = Agent::of_gateway(&api, "gw").await;
    let csr = |key: &Key| json!({ "csr": key.request_pem() });
    let issued = agent.post(&api, "/v1/gateways/self/certificate", csr(&agent.key)).await.expect(200);
    assert!(issued["chain"].as_str().unwrap().matches("BEGIN CERTIFICATE").count() == 2);
    let chain = adit_core::pki::pem::certificates(issued["chain"].as_str().unwrap().as_bytes()).unwrap();
    let leaf = adit_core::pki::PeerInfo::from_leaf(&chain[0]).unwrap();
    assert_eq!(leaf.identity.to_string(), format!("spiffe://adit.test/org/acme/gateway/gw/{}", agent.id));
    let nonsense = json!({ "csr": "nonsense" });
    agent.post(&api, "/v1/gateways/self/certificate", nonsense).await.problem(400, "bad-csr");
    let (relay, _) = relay_that_reports(&api, &api.admin, "own").await;
    let issued = relay.post(&api, "/v1/relays/self/certificate", csr(&relay.key)).await.expect(200);
    assert!(issued["serial"].as_str().unwrap().len() >= 30);
    relay.post(&api, "/v1/gateways/self/certificate", csr(&relay.key)).await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_new_secret_of_a_relay_is_used_once_it_is_fetched_and_the_old_one_lives_on() {
    let api = Api::new().await;
    let (relay, session) = relay_that_reports(&api, &api.admin, "own").await;
    let agent = Agent::of_gateway(&api, "gw").await;
    let first = session["secrets"].as_array().unwrap().clone();
    assert_eq!(first.len(), 1);
    // Seconds tell which secret is newer.
    api.app.clock.advance(Duration::from_secs(2));
    api.post(&api.admin, "/v1/relays/own/rotate-secret", json!({})).await.expect(204);
    api.post(&api.admin, "/v1/relays/own/rotate-secret", json!({})).await.problem(409, "conflict");
    let password_by = |secret: &Value, relay: &Value| {
        let secret = STANDARD.decode(secret.as_str().unwrap()).unwrap();
        let username = relay["username"].as_str().unwrap();
        adit_core::turn::credentials::time_limited_password(&secret, username)
    };
    let before = agent.session(&api, "gateways", "aa").await.expect(200)["desired"]["relays"][0].clone();
    assert_eq!(before["password"], password_by(&first[0], &before));
    let report = json!({ "session": session["session"], "time": 1, "status": { "allocations": 0, "relayed_packets": 0,
        "relayed_bytes": 0, "dropped_packets": 0, "refused_requests": 0, "uptime": 1, "version": "0.1.0" } });
    let told = relay.post(&api, "/v1/relays/self/heartbeat", report).await.expect(200);
    let secrets = told["secrets"].as_array().unwrap().clone();
    assert!(secrets.len() == 2 && secrets[1] == first[0]);
    let after = agent.session(&api, "gateways", "aa").await.expect(200)["desired"]["relays"][0].clone();
    assert_eq!(after["password"], password_by(&secrets[0], &after));
}

#[tokio::test]
async fn a_person_gets_a_certificate_for_linked_targets_and_is_let_in() {
    let api = Api::new().await;
    let agent = Agent::of_gateway(&api, "gw").await;
    let session = agent.session(&api, "gateways", "aa").await.expect(200);
    agent.heartbeat(&api, &session, json!({})).await.expect(200);
    let bob = api.person("bob", &[]).await;
    let key = Key::generate(KeyKind::EcdsaP256);
    let wish = json!({ "gateway": "gw", "csr": key.request_pem(), "targets": ["tcp://db:5432"] });
    api.post(&bob, "/v1/forwardings", wish.clone()).await.problem(403, "forbidden");
    api.post(&api.admin, "/v1/projects", json!({ "name": "p" })).await.expect(201);
    api.call(&api.admin, Method::Put, "/v1/projects/p/members/bob", Some(json!({ "role": "member" }))).await;
    api.post(&bob, "/v1/forwardings", wish.clone()).await.problem(404, "not-found");
    let link = json!({ "project": "p", "gateway": "gw", "targets": ["tcp://db:5432", "tcp://web:80"] });
    api.post(&api.admin, "/v1/links", link).await;
    let forwarding = api.post(&bob, "/v1/forwardings", wish).await.expect(201);
    assert_eq!(forwarding["targets"], json!(["tcp://db:5432"]));
    assert_eq!(forwarding["way"]["instances"][0]["instance"], json!(agent.id));
    let other = json!({ "gateway": "gw", "csr": key.request_pem(), "targets": ["tcp://db:1"] });
    api.post(&bob, "/v1/forwardings", other).await.problem(403, "unknown-target");
    let way = api.get(&bob, "/v1/forwardings/gateways/gw").await.expect(200);
    assert!(way["gateway_anchors"].as_str().unwrap().contains("BEGIN CERTIFICATE"));

    let put = |token: &str, serial: &Value, addresses: Value| {
        let (token, body) = (token.to_owned(), json!({ "serial": serial, "addresses": addresses }));
        let api = &api;
        async move { api.call(&token, Method::Put, "/v1/forwardings/addresses", Some(body)).await }
    };
    let serial = &forwarding["serial"];
    put(&bob, serial, json!(["224.0.0.1"])).await.problem(400, "bad-request");
    put(&bob, &json!("00"), json!(["192.0.2.9"])).await.problem(404, "not-found");
    put(&api.admin, serial, json!(["192.0.2.9"])).await.problem(404, "not-found");
    let permitted = put(&bob, serial, json!(["192.0.2.9"])).await.expect(200);
    assert_eq!(permitted["until"], forwarding["not_after"]);
    let told = agent.heartbeat(&api, &session, json!({})).await.expect(200);
    assert_eq!(told["desired"]["permitted_peers"], json!(["192.0.2.9"]));

    api.delete(&api.admin, "/v1/identities/bob").await.expect(204);
    let told = agent.heartbeat(&api, &session, json!({})).await.expect(200);
    assert_eq!(told["desired"]["permitted_peers"], json!([]));
    assert_eq!(told["desired"]["revoked"]["serials"], json!([serial]));
    assert_eq!(told["desired"]["revoked"]["identities"], json!(["spiffe://adit.test/org/acme/person/bob"]));
}

#[tokio::test]
async fn one_instance_is_watched_by_one_platform_instance() {
    let api = Api::new().await;
    let agent = Agent::of_gateway(&api, "gw").await;
    let session = agent.session(&api, "gateways", "aa").await.expect(200);
    agent.heartbeat(&api, &session, json!({})).await.expect(200);
    let (store, now) = (&api.app.store, api.app.clock.now());
    assert_eq!(watching::claim(store, now + 45, 0).await.unwrap().len(), 0);
    assert_eq!(watching::claim(store, now + 45, 5).await.unwrap().len(), 1);
    assert_eq!(watching::count(store).await.unwrap(), (1, 1));
    let mut change = store.quiet_change(&api.acme).await.unwrap();
    sqlx::query("UPDATE instances SET watcher = 'two'").execute(change.connection()).await.unwrap();
    change.commit().await.unwrap();
    assert_eq!(watching::claim(store, now + 45, 5).await.unwrap().len(), 0, "another one claims it");
    assert!(!watching::pong(store, &api.acme, &agent.id).await.unwrap());
    api.app.clock.advance(Duration::from_secs(46));
    let until = api.app.clock.now() + 45;
    assert_eq!(watching::claim(store, until, 5).await.unwrap().len(), 1, "its claim has run out");
    watching::release(store).await.unwrap();
    assert_eq!(watching::count(store).await.unwrap(), (1, 0));
    let row = instances::find(store.reader(), &api.acme, &agent.id).await.unwrap().unwrap();
    assert_eq!(row.addresses.len(), 1);
}

/// A clock that was set, or a machine that slept: it had counted as gone, and nobody had noticed but who asked then.
#[tokio::test]
async fn a_platform_instance_that_is_back_is_permitted_again() {
    let api = Api::new().await;
    let (store, presence) = (&api.app.store, super::desired::presence(&api.app));
    crate::store::platform_instances::see(store, presence).await.unwrap();
    let addresses = ["192.0.2.50".parse().unwrap()];
    assert!(crate::store::platform_instances::set_addresses(store, &addresses).await.unwrap());
    let agent = Agent::of_gateway(&api, "gw").await;
    api.app.clock.advance(Duration::from_secs(presence));
    crate::store::platform_instances::see(store, presence).await.unwrap();
    let session = agent.session(&api, "gateways", "aa").await.expect(200);
    assert_eq!(session["desired"]["permitted_peers"], json!(["192.0.2.50"]));
    let quiet = agent.heartbeat(&api, &session, json!({})).await.expect(200);
    assert!(quiet.get("desired").is_none(), "it was never gone: {quiet}");
    api.app.clock.advance(Duration::from_secs(presence + 1));
    let session = agent.session(&api, "gateways", "aa").await.expect(200);
    assert_eq!(session["desired"]["permitted_peers"], json!([]));
    crate::store::platform_instances::see(store, presence).await.unwrap();
    let told = agent.heartbeat(&api, &session, json!({})).await.expect(200);
    assert_eq!(told["desired"]["permitted_peers"], json!(["192.0.2.50"]));
}

#[tokio::test]
async fn a_revoked_platform_instance_is_revoked_in_every_organisation() {
    let api = Api::new().await;
    let store = &api.app.store;
    crate::store::platform_instances::see(store, 60).await.unwrap();
    let addresses = ["192.0.2.50".parse().unwrap()];
    assert!(crate::store::platform_instances::set_addresses(store, &addresses).await.unwrap());
    assert!(!crate::store::platform_instances::set_addresses(store, &addresses).await.unwrap());
    let agent = Agent::of_gateway(&api, "gw").await;
    let session = agent.session(&api, "gateways", "aa").await.expect(200);
    assert_eq!(session["desired"]["permitted_peers"], json!(["192.0.2.50"]));
    let listed = api.get(&api.operator, "/v1/platform/instances").await.expect(200);
    assert_eq!(listed["items"][0]["is_alive"], json!(true));
    let path = format!("/v1/platform/instances/{}", store.instance());
    api.delete(&api.admin, &path).await.problem(403, "forbidden");
    api.delete(&api.operator, &path).await.expect(204);
    api.delete(&api.operator, &path).await.problem(404, "not-found");
    let told = agent.heartbeat(&api, &session, json!({})).await.expect(200);
    assert_eq!(told["desired"]["permitted_peers"], json!([]));
    assert_eq!(told["desired"]["revoked"]["identities"], json!(["spiffe://adit.test/org/acme/platform/one"]));
    assert_eq!(
        crate::store::platform_instances::see(store, 60).await.unwrap(),
        crate::store::platform_instances::Seen::Revoked
    );
}
