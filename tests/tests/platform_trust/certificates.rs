//! Certificates and credentials: each for who asks, for what it may reach, and for nobody and nothing else.

use adit_core::pki::identity::Role;
use adit_core::pki::{Key, KeyKind, PeerInfo, pem};
use adit_core::stun::{Builder, Class, Message, Method};
use adit_core::time::UnixTime;
use adit_core::turn::credentials::{Authenticator, Credentials, Refused};
use adit_platform::client::{Client, ClientError};
use adit_platform::words::{CertificateRequest, Forwarding, Gateway, RelayAccess};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, DnType, KeyPair, SanType};
use serde_json::{Value, json};

use super::world::{World, refused};

/// A request with what its maker puts into it.
fn request(fill: impl FnOnce(&mut CertificateParams)) -> CertificateRequest {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    fill(&mut params);
    let csr = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    CertificateRequest { csr }
}

fn common(name: &str) -> CertificateRequest {
    request(|params| params.distinguished_name.push(DnType::CommonName, name))
}

fn uri(uri: &str) -> CertificateRequest {
    request(|params| params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap())))
}

fn dns(name: &str) -> CertificateRequest {
    request(|params| params.subject_alt_names.push(SanType::DnsName(name.try_into().unwrap())))
}

fn leaf(chain: &str) -> PeerInfo {
    PeerInfo::from_leaf(&pem::certificates(chain.as_bytes()).unwrap()[0]).unwrap()
}

#[tokio::test]
async fn a_gateway_instance_gets_no_certificate_for_another_name() {
    let world = World::new().await;
    let (agent, other) = (world.gateway("gw").await, world.gateway("gw").await);
    let before = world.picture().await;
    for wrong in [
        uri(&format!("spiffe://adit.test/org/acme/gateway/other/{}", agent.id)),
        uri(&format!("spiffe://adit.test/org/acme/gateway/gw/{}", other.id)),
        uri(&format!("spiffe://adit.test/org/globex/gateway/gw/{}", agent.id)),
        uri(&format!("spiffe://adit.elsewhere/org/acme/gateway/gw/{}", agent.id)),
        uri("spiffe://adit.test/org/acme/platform/one"),
        uri("spiffe://adit.test/org/acme/person/admin"),
        common(&other.id),
        common("admin"),
        dns("adit.test"),
    ] {
        refused(agent.client.gateway_certificate(&wrong).await, 403, "name-mismatch");
    }
    assert_eq!(world.picture().await, before);
    let own = format!("spiffe://adit.test/org/acme/gateway/gw/{}", agent.id);
    for right in [uri(&own), common(&agent.id), agent.request()] {
        let certificate = agent.client.gateway_certificate(&right).await.unwrap();
        assert_eq!(leaf(&certificate.chain).identity.to_string(), own);
    }
}

#[tokio::test]
async fn a_request_that_does_not_read_is_told() {
    let world = World::new().await;
    let agent = world.gateway("gw").await;
    let before = world.picture().await;
    let good = agent.request().csr;
    let middle = good.len() / 2;
    let swap = if good.as_bytes()[middle] == b'A' { "B" } else { "A" };
    let mut changed = good.clone();
    changed.replace_range(middle..=middle, swap);
    let long = format!("{good}{}", " ".repeat(17 * 1024));
    let certificate = world.made.platform_ca.clone();
    for csr in [String::new(), "nonsense".to_owned(), good[..middle].to_owned(), changed, long, certificate] {
        refused(agent.client.gateway_certificate(&CertificateRequest { csr }).await, 400, "bad-csr");
    }
    let huge = CertificateRequest { csr: "x".repeat(80 * 1024) };
    refused(agent.client.gateway_certificate(&huge).await, 413, "too-large");
    assert_eq!(world.picture().await, before);
}

#[tokio::test]
async fn an_agent_is_let_in_where_agents_of_its_kind_are_and_nowhere_else() {
    let world = World::new().await;
    let (gateway, relay) = (world.gateway("gw").await, world.relay("relay").await);
    let before = world.picture().await;
    refused(relay.begin("aa").await, 403, "forbidden");
    refused(relay.client.gateway_certificate(&relay.request()).await, 403, "forbidden");
    refused(gateway.begin_relay("aa").await, 403, "forbidden");
    refused(gateway.client.relay_certificate(&gateway.request()).await, 403, "forbidden");
    for agent in [&gateway, &relay] {
        for path in ["/v1/whoami", "/v1/gateways", "/v1/relays", "/v1/identities", "/v1/audit"] {
            refused(agent.client.get::<Value>(path).await, 403, "forbidden");
        }
        refused(agent.client.post::<Value>("/v1/forwardings", &json!({})).await, 403, "forbidden");
    }
    for person in [world.admin(), world.operator()] {
        refused(person.post::<Value>("/v1/gateways/self/session", &json!({})).await, 403, "forbidden");
        refused(person.post::<Value>("/v1/relays/self/certificate", &json!({})).await, 403, "forbidden");
    }
    assert_eq!(world.picture().await, before);
}

#[tokio::test]
async fn a_relay_gets_a_certificate_for_its_own_hosts_only() {
    let world = World::new().await;
    let relay = world.relay("relay").await;
    for wrong in [dns("relay.example"), common("127.0.0.1"), dns("adit.test"), common("other")] {
        refused(relay.client.relay_certificate(&wrong).await, 403, "name-mismatch");
    }
    for right in [common("192.0.2.7"), common("relay"), relay.request()] {
        relay.client.relay_certificate(&right).await.unwrap();
    }
}

#[tokio::test]
async fn credentials_for_one_relay_are_refused_at_another() {
    let world = World::new().await;
    let mut relays = Vec::new();
    for name in ["a", "b"] {
        let agent = world.relay(name).await;
        let session = agent.begin_relay("aa").await.unwrap();
        let door = session.secrets.iter().fold(Authenticator::new(&session.realm), |door, secret| {
            door.with_secret(&STANDARD.decode(secret).unwrap())
        });
        relays.push((name, door, session.realm));
    }
    let gateway = world.gateway("gw").await;
    let desired = gateway.begin("aa").await.unwrap().desired;
    assert_eq!(desired.relays.len(), 2);
    for access in &desired.relays {
        for (name, door, realm) in &relays {
            let judged = allocate(access, realm, door, world.clock.now());
            match access.name == *name {
                true => assert_eq!(judged, Ok(gateway.id.clone())),
                false => assert_eq!(judged, Err(Refused::WrongPassword)),
            }
        }
    }
    let (access, (_, door, realm)) = (&desired.relays[0], &relays[0]);
    let access = RelayAccess { name: "a".to_owned(), ..access.clone() };
    assert!(allocate(&access, realm, door, access.expires_at + 1).is_err(), "they run out");
}

/// What the relay behind `door` says to an Allocate with these credentials: whose it is.
fn allocate(access: &RelayAccess, realm: &str, door: &Authenticator, now: u64) -> Result<String, Refused> {
    let credentials = Credentials { username: access.username.clone(), password: access.password.clone() };
    let bytes = Builder::new(Class::Request, Method::ALLOCATE, [1; 12])
        .username(&credentials.username)
        .realm(realm)
        .nonce("nonce")
        .finish_with_integrity(&credentials.key(realm));
    door.authenticate(&Message::parse(&bytes).unwrap(), UnixTime(now)).map(|account| account.id)
}

async fn forward(person: &Client, targets: &[&str], csr: &str) -> Result<Forwarding, ClientError> {
    person.post("/v1/forwardings", &json!({ "gateway": "gw", "targets": targets, "csr": csr })).await
}

#[tokio::test]
async fn a_persons_certificate_holds_exactly_the_targets_that_links_allow() {
    let world = World::new().await;
    world.gateway("gw").await;
    let (bob, eve) = (world.person("bob").await, world.person("eve").await);
    let (bob, eve) = (world.stranger().with_token(&bob), world.stranger().with_token(&eve));
    world.link("p", &["bob"], "gw", &["tcp://db:5432", "tcp://web:80"]).await;
    world.link("q", &["eve"], "gw", &["tcp://secret:1"]).await;
    let csr = Key::generate(KeyKind::EcdsaP256).request_pem();
    for (wanted, given) in [
        (&["tcp://db:5432"][..], &["tcp://db:5432"][..]),
        (&["tcp://db:5432", "tcp://secret:1"], &["tcp://db:5432"]),
        (&[], &["tcp://db:5432", "tcp://web:80"]),
    ] {
        let forwarding = forward(&bob, wanted, &csr).await.unwrap();
        let leaf = leaf(&forwarding.chain);
        assert_eq!(leaf.targets.as_deref().unwrap(), given);
        assert_eq!(forwarding.targets, given);
        assert!(matches!(leaf.identity.role, Role::Person { identity } if identity.as_str() == "bob"));
    }
    for foreign in ["tcp://secret:1", "tcp://db:5433", "tcp://other:5432"] {
        refused(forward(&bob, &[foreign], &csr).await, 403, "unknown-target");
    }
    for nonsense in ["db", "http://db:80", "tcp://db:0:0", ""] {
        refused(forward(&bob, &[nonsense], &csr).await, 400, "bad-request");
    }
    refused(forward(&eve, &["tcp://db:5432"], &csr).await, 403, "unknown-target");
    world.admin().delete("/v1/projects/q/members/eve").await.unwrap();
    refused(forward(&eve, &["tcp://secret:1"], &csr).await, 403, "forbidden");
}

#[tokio::test]
async fn a_person_gets_no_certificate_for_another_name_and_chooses_no_targets_by_its_request() {
    let world = World::new().await;
    world.gateway("gw").await;
    world.person("eve").await;
    let bob = world.stranger().with_token(&world.person("bob").await);
    world.link("p", &["bob", "eve"], "gw", &["tcp://db:5432"]).await;
    let before = world.picture().await;
    for wrong in [
        uri("spiffe://adit.test/org/acme/person/eve"),
        uri("spiffe://adit.test/org/acme/platform/one"),
        common("eve"),
    ] {
        refused(forward(&bob, &[], &wrong.csr).await, 403, "name-mismatch");
    }
    refused(forward(&bob, &[], "nonsense").await, 400, "bad-csr");
    assert_eq!(world.picture().await, before);
    // The extension of targets, with one in it that no link allows: SEQUENCE of UTF8String.
    let text = b"tcp://vault:1";
    let content = [&[0x30, text.len() as u8 + 2, 0x0C, text.len() as u8], &text[..]].concat();
    let smuggled = request(|params| {
        let oid = &[2, 25, 3_884_442_951_449_346_698];
        params.custom_extensions.push(CustomExtension::from_oid_content(oid, content));
    });
    match forward(&bob, &[], &smuggled.csr).await {
        Ok(forwarding) => assert_eq!(leaf(&forwarding.chain).targets.unwrap(), ["tcp://db:5432"]),
        refusal => refused(refusal, 400, "bad-csr"),
    }
}

#[tokio::test]
async fn only_the_holder_of_a_certificate_says_from_where_it_comes() {
    let world = World::new().await;
    let agent = world.gateway("gw").await;
    let session = agent.begin("aa").await.unwrap();
    let (bob, eve) = (world.person("bob").await, world.person("eve").await);
    let (bob, eve) = (world.stranger().with_token(&bob), world.stranger().with_token(&eve));
    world.link("p", &["bob", "eve"], "gw", &["tcp://db:5432"]).await;
    let csr = Key::generate(KeyKind::EcdsaP256).request_pem();
    let serial = forward(&bob, &[], &csr).await.unwrap().serial;
    let from = |serial: &str, addresses: &[&str]| json!({ "serial": serial, "addresses": addresses });
    let path = "/v1/forwardings/addresses";
    refused(eve.put::<Value>(path, &from(&serial, &["192.0.2.66"])).await, 404, "not-found");
    refused(world.admin().put::<Value>(path, &from(&serial, &["192.0.2.66"])).await, 404, "not-found");
    refused(bob.put::<Value>(path, &from("00", &["192.0.2.66"])).await, 404, "not-found");
    for bad in [&["224.0.0.1"][..], &["0.0.0.0"], &["255.255.255.255"], &[]] {
        refused(bob.put::<Value>(path, &from(&serial, bad)).await, 400, "bad-request");
    }
    bob.put::<Value>(path, &from(&serial, &["192.0.2.9"])).await.unwrap();
    let told = agent.report(&session).await.unwrap().desired.unwrap().permitted_peers;
    assert!(told.contains(&[192, 0, 2, 9].into()) && !told.contains(&[192, 0, 2, 66].into()), "{told:?}");
    let shown = eve.get::<Gateway>("/v1/gateways/gw").await.unwrap();
    assert!(shown.instances.iter().all(|instance| instance.peers.is_empty()));
}
