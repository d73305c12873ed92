//! Revocation: tokens end at once, and every gateway instance hears of the rest with its next heartbeat.

use adit_core::pki::{Key, KeyKind};
use adit_platform::words::{Forwarding, IssuedToken};
use serde_json::{Value, json};

use super::world::{World, exchange, nonce, refused};

#[tokio::test]
async fn a_revoked_person_is_out_at_once_and_gateways_hear_of_it() {
    let world = World::new().await;
    let agent = world.gateway("gw").await;
    let token = world.person("bob").await;
    let bob = world.stranger().with_token(&token);
    world.link("p", &["bob"], "gw", &["tcp://db:5432"]).await;
    let another = world.admin().post::<IssuedToken>("/v1/identities/bob/tokens", &json!({})).await.unwrap();
    let wish = json!({ "gateway": "gw", "csr": Key::generate(KeyKind::EcdsaP256).request_pem() });
    let forwarding = bob.post::<Forwarding>("/v1/forwardings", &wish).await.unwrap();
    let from = json!({ "serial": forwarding.serial, "addresses": ["192.0.2.9"] });
    bob.put::<Value>("/v1/forwardings/addresses", &from).await.unwrap();
    let session = agent.begin("aa").await.unwrap();
    let before = &session.desired;
    assert!(before.revoked.identities.is_empty() && before.permitted_peers.contains(&[192, 0, 2, 9].into()));

    world.admin().delete("/v1/identities/bob").await.unwrap();
    for token in [&token, &another.token] {
        let bob = world.stranger().with_token(token);
        refused(bob.get::<Value>("/v1/whoami").await, 401, "revoked");
        refused(bob.post::<Value>("/v1/forwardings", &wish).await, 401, "revoked");
        refused(bob.put::<Value>("/v1/forwardings/addresses", &from).await, 401, "revoked");
    }
    let after = agent.report(&session).await.unwrap().desired.unwrap();
    assert!(after.generation > before.generation);
    assert_eq!(after.revoked.serials, [forwarding.serial]);
    assert_eq!(after.revoked.identities, ["spiffe://adit.test/org/acme/person/bob"]);
    assert!(!after.permitted_peers.contains(&[192, 0, 2, 9].into()));
    // Nobody becomes bob again.
    let again =
        world.admin().post::<Value>("/v1/identities", &json!({ "name": "bob", "kind": "person" })).await;
    refused(again, 409, "conflict");
    let fresh = world.admin().post::<Value>("/v1/identities/bob/tokens", &json!({})).await;
    assert!(fresh.is_err());
}

#[tokio::test]
async fn a_revoked_token_ends_and_the_others_of_its_identity_go_on() {
    let world = World::new().await;
    let first = world.person("bob").await;
    let second = world.admin().post::<IssuedToken>("/v1/identities/bob/tokens", &json!({})).await.unwrap();
    world.admin().delete(&format!("/v1/identities/bob/tokens/{}", second.info.id)).await.unwrap();
    let client = world.stranger().with_token(&second.token);
    refused(client.get::<Value>("/v1/whoami").await, 401, "revoked");
    world.stranger().with_token(&first).get::<Value>("/v1/whoami").await.unwrap();
}

#[tokio::test]
async fn a_revoked_instance_is_out_at_once_and_its_siblings_are_not() {
    let world = World::new().await;
    let (agent, sibling) = (world.gateway("gw").await, world.gateway("gw").await);
    let session = agent.begin("aa").await.unwrap();
    let theirs = sibling.begin("bb").await.unwrap();
    let serial = agent.client.gateway_certificate(&agent.request()).await.unwrap().serial;
    world.admin().delete(&format!("/v1/gateways/gw/instances/{}", agent.id)).await.unwrap();
    refused(agent.report(&session).await, 401, "revoked");
    refused(agent.begin("aa").await, 401, "revoked");
    refused(agent.client.gateway_certificate(&agent.request()).await, 401, "revoked");
    let proof = agent.proof(&nonce(&world).await, world.clock.now());
    refused(exchange(&world, &proof).await, 401, "revoked");
    let told = sibling.report(&theirs).await.unwrap().desired.unwrap();
    assert!(told.generation > theirs.desired.generation);
    assert_eq!(told.revoked.serials, [serial]);
    let name = format!("spiffe://adit.test/org/acme/gateway/gw/{}", agent.id);
    assert_eq!(told.revoked.identities, [name]);
}

#[tokio::test]
async fn a_target_that_a_link_no_longer_has_takes_certificates_with_it() {
    let world = World::new().await;
    let agent = world.gateway("gw").await;
    let bob = world.stranger().with_token(&world.person("bob").await);
    world.link("p", &["bob"], "gw", &["tcp://db:5432", "tcp://web:80"]).await;
    let wish = json!({ "gateway": "gw", "csr": Key::generate(KeyKind::EcdsaP256).request_pem() });
    let forwarding = bob.post::<Forwarding>("/v1/forwardings", &wish).await.unwrap();
    let session = agent.begin("aa").await.unwrap();
    let narrower = json!({ "project": "p", "gateway": "gw", "targets": ["tcp://web:80"] });
    world.admin().post::<Value>("/v1/links", &narrower).await.unwrap();
    let told = agent.report(&session).await.unwrap().desired.unwrap();
    assert_eq!(told.revoked.serials, [forwarding.serial]);
    assert!(told.revoked.identities.is_empty());
    let again = bob.post::<Forwarding>("/v1/forwardings", &wish).await.unwrap();
    assert_eq!(again.targets, ["tcp://web:80"]);
}
