//! Enrolment tokens: each works once, for what it was made for, as a whole, in its time.

use std::time::Duration;

use adit_core::pki::{Key, KeyKind};
use adit_platform::client::ClientError;
use adit_platform::config::Rate;
use adit_platform::trust::proof;
use adit_platform::trust::token::{Kind, Token};
use adit_platform::words::Enrol;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use tokio::task::JoinSet;

use super::world::{Agent, World, refused};

/// What somebody sends who holds `token`, or some of it, and knows the id in it.
fn enrolment(token: &str, id: &str, key: &Key) -> Enrol {
    let public_key = key.public().der();
    let signature = proof::sign(key, &proof::enrolment(id, &public_key));
    Enrol { token: token.to_owned(), public_key: STANDARD.encode(public_key), signature }
}

async fn enrol(world: &World, request: &Enrol) -> Result<Value, ClientError> {
    world.stranger().post("/v1/enrol", request).await
}

/// A token that reads well, with a secret that its maker invented.
fn forged(kind: &str, id: &str) -> String {
    let head = format!("adit_{kind}_{id}_");
    let mut body = vec![7; 32];
    let sum = digest(&SHA256, &[head.as_bytes(), &body].concat());
    body.extend(&sum.as_ref()[..4]);
    head + &URL_SAFE_NO_PAD.encode(body)
}

#[tokio::test]
async fn a_stolen_token_opens_nothing_after_its_use() {
    let world = World::new().await;
    let token = world.gateway_token("gw").await;
    let owner = Agent::enrol(&world, &token).await;
    let before = world.picture().await;
    let thief = Key::generate(KeyKind::EcdsaP256);
    refused(world.stranger().enrol(&token, &thief).await, 409, "token-spent");
    refused(world.stranger().enrol(&token, &owner.key).await, 409, "token-spent");
    let thief = world.stranger().with_token(&token.reveal());
    refused(thief.get::<Value>("/v1/whoami").await, 401, "unauthenticated");
    refused(thief.post::<Value>("/v1/gateways/self/session", &()).await, 401, "unauthenticated");
    assert_eq!(world.picture().await, before);
    owner.begin("aa").await.unwrap();
}

#[tokio::test]
async fn of_many_who_race_for_a_token_exactly_one_wins() {
    let world = World::new().await;
    for token in [world.gateway_token("gw").await, world.relay_token("relay").await] {
        let mut race = JoinSet::new();
        for _ in 0..8 {
            let (client, token) = (world.stranger(), token.clone());
            race.spawn(async move { client.enrol(&token, &Key::generate(KeyKind::EcdsaP256)).await });
        }
        let (won, lost): (Vec<_>, Vec<_>) = race.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 7));
        for loser in lost {
            refused(loser, 409, "token-spent");
        }
    }
    assert_eq!(world.instances("gw").await, 1);
}

#[tokio::test]
async fn a_token_that_was_cut_changed_or_invented_enrols_nobody() {
    let world = World::new().await;
    let (token, relay) = (world.gateway_token("gw").await, world.relay_token("relay").await);
    let (whole, id) = (token.reveal().to_string(), token.id());
    let before = world.picture().await;
    let key = Key::generate(KeyKind::EcdsaP256);
    let cut = whole[..whole.len() - 1].to_owned();
    let extended = format!("{whole}A");
    let renamed = whole.replace("adit_gateway_", "adit_relay_");
    let stranger = Token::new(Kind::Gateway, None);
    let invented = stranger.reveal().to_string();
    for (text, id) in [
        (cut.as_str(), id),
        (&extended, id),
        (&renamed, id),
        (&forged("gateway", id), id),
        (&forged("relay", id), id),
        (&forged("gateway", relay.id()), relay.id()),
        (&invented, stranger.id()),
        (&world.made.admin_token, world.made.admin_token.parse::<Token>().unwrap().id()),
        ("", id),
        ("adit_gateway__", id),
        (&"x".repeat(10_000), id),
    ] {
        refused(enrol(&world, &enrolment(text, id, &key)).await, 401, "unauthenticated");
    }
    assert_eq!(world.picture().await, before);
    // Nobody has spoilt it for whom it is.
    Agent::enrol(&world, &token).await;
    Agent::enrol(&world, &relay).await;
}

#[tokio::test]
async fn a_key_that_the_caller_does_not_have_is_not_enrolled() {
    let world = World::new().await;
    let token = world.gateway_token("gw").await;
    let (key, other) = (Key::generate(KeyKind::EcdsaP256), Key::generate(KeyKind::Ed25519));
    let right = enrolment(&token.reveal(), token.id(), &key);
    let theirs = enrolment(&token.reveal(), token.id(), &other);
    let elsewhere = enrolment(&token.reveal(), "another-token", &key);
    for wrong in [
        Enrol { public_key: theirs.public_key.clone(), ..right.clone() },
        Enrol { signature: theirs.signature.clone(), ..right.clone() },
        Enrol { signature: elsewhere.signature, ..right.clone() },
        Enrol { signature: "?".to_owned(), ..right.clone() },
        Enrol { public_key: "?".to_owned(), ..right.clone() },
        Enrol { public_key: STANDARD.encode([0x30; 64]), ..right.clone() },
        Enrol { public_key: "A".repeat(4096), ..right.clone() },
    ] {
        refused(enrol(&world, &wrong).await, 400, "bad-request");
    }
    assert_eq!(world.instances("gw").await, 0);
    enrol(&world, &right).await.unwrap();
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_with_its_gateway() {
    let world = World::new().await;
    let (late, orphan) = (world.gateway_token("gw").await, world.gateway_token("gone").await);
    let key = Key::generate(KeyKind::EcdsaP256);
    world.admin().delete("/v1/gateways/gone").await.unwrap();
    refused(world.stranger().enrol(&orphan, &key).await, 401, "unauthenticated");
    world.clock.advance(Duration::from_secs(24 * 3600 + 1));
    refused(world.stranger().enrol(&late, &key).await, 401, "expired");
    assert_eq!(world.instances("gw").await, 0);
}

#[tokio::test]
async fn who_guesses_is_slowed_down_and_who_knows_is_not() {
    let few = Rate { burst: 3, per_minute: 1 };
    let world =
        World::with(|config| (config.limits.first_contact, config.limits.failures) = (few, few)).await;
    let guess = Token::new(Kind::Gateway, None);
    let key = Key::generate(KeyKind::EcdsaP256);
    for _ in 0..3 {
        refused(world.stranger().enrol(&guess, &key).await, 401, "unauthenticated");
    }
    let slowed = world.stranger().enrol(&guess, &key).await;
    assert!(slowed.as_ref().is_err_and(|error| error.retry_after().is_some()));
    refused(slowed, 429, "rate-limited");
    let guesser = world.stranger().with_token(&Token::new(Kind::Identity, None).reveal());
    for _ in 0..3 {
        refused(guesser.get::<Value>("/v1/whoami").await, 401, "unauthenticated");
    }
    refused(guesser.get::<Value>("/v1/whoami").await, 429, "rate-limited");
    world.admin().get::<Value>("/v1/whoami").await.unwrap();
}
