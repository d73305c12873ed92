//! Proofs of an agent's key: each counts once, at this platform, from its key, about now.

use std::time::Duration;

use adit_core::pki::{Key, KeyKind};
use adit_platform::client::{ClientError, Distrust};
use serde_json::Value;
use tokio::task::JoinSet;

use super::world::{World, exchange, nonce, prove, refused};

const MINUTE: u64 = 60;

#[tokio::test]
async fn a_proof_that_was_overheard_is_worth_nothing() {
    let world = World::new().await;
    let agent = world.gateway("gw").await;
    let (nonce, now) = (nonce(&world).await, world.clock.now());
    let proof = agent.proof(&nonce, now);
    exchange(&world, &proof).await.unwrap();
    refused(exchange(&world, &proof).await, 401, "unauthenticated");
    // Nor does its owner use the nonce again.
    refused(exchange(&world, &agent.proof(&nonce, now + 1)).await, 401, "unauthenticated");
}

#[tokio::test]
async fn of_many_who_race_with_one_proof_exactly_one_wins() {
    let world = World::new().await;
    let agent = world.gateway("gw").await;
    let proof = agent.proof(&nonce(&world).await, world.clock.now());
    let mut race = JoinSet::new();
    for _ in 0..8 {
        let (client, proof) = (world.stranger(), proof.clone());
        race.spawn(async move { client.post::<Value>("/v1/auth/token", &proof).await });
    }
    let (won, lost): (Vec<_>, Vec<_>) = race.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    for loser in lost {
        refused(loser, 401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_proof_counts_from_its_key_for_its_id_and_for_this_installation_only() {
    let world = World::new().await;
    let (agent, other) = (world.gateway("gw").await, world.gateway("gw").await);
    let (nonce, now) = (nonce(&world).await, world.clock.now());
    let stranger = Key::generate(KeyKind::EcdsaP256);
    for proof in [
        prove("adit.test", &agent.id, &stranger, &nonce, now),
        prove("adit.test", &agent.id, &other.key, &nonce, now),
        prove("adit.test", "nobody", &agent.key, &nonce, now),
        prove("adit.elsewhere", &agent.id, &agent.key, &nonce, now),
        prove("", &agent.id, &agent.key, &nonce, now),
    ] {
        refused(exchange(&world, &proof).await, 401, "unauthenticated");
    }
    let mut later = agent.proof(&nonce, now);
    later.time += 1;
    refused(exchange(&world, &later).await, 401, "unauthenticated");
    // None of them has used the nonce up.
    exchange(&world, &agent.proof(&nonce, now)).await.unwrap();
}

#[tokio::test]
async fn a_clock_may_be_five_minutes_wrong_and_not_eleven() {
    let world = World::new().await;
    let agent = world.gateway("gw").await;
    for (right, wrong) in [
        (world.clock.now() - 5 * MINUTE, world.clock.now() - 11 * MINUTE),
        (world.clock.now() + 5 * MINUTE, world.clock.now() + 11 * MINUTE),
    ] {
        let nonce = nonce(&world).await;
        refused(exchange(&world, &agent.proof(&nonce, wrong)).await, 400, "clock-skew");
        exchange(&world, &agent.proof(&nonce, right)).await.unwrap();
    }
}

#[tokio::test]
async fn a_machine_whose_clock_is_hours_wrong_learns_the_time_and_gets_in() {
    let world = World::new().await;
    let agent = world.gateway("gw").await;
    let slow = || world.clock.now() - 2 * 3600;
    let (access, skew) = world.stranger().access("adit.test", &agent.id, &agent.key, slow).await.unwrap();
    assert!(skew.intolerable().is_some());
    let client = world.stranger().with_token(&access.access_token);
    client.gateway_certificate(&agent.request()).await.unwrap();
}

#[tokio::test]
async fn nonces_run_out_and_nobody_invents_one() {
    let world = World::new().await;
    let agent = world.gateway("gw").await;
    let (late, now) = (nonce(&world).await, world.clock.now());
    let other = if late.as_bytes()[20] == b'A' { 'B' } else { 'A' };
    let changed = format!("{}{other}{}", &late[..20], &late[21..]);
    for invented in [changed.as_str(), &late[1..], "", "AAAA", &"A".repeat(5000)] {
        refused(exchange(&world, &agent.proof(invented, now)).await, 401, "unauthenticated");
    }
    world.clock.advance(Duration::from_secs(5 * MINUTE + 1));
    refused(exchange(&world, &agent.proof(&late, world.clock.now())).await, 401, "unauthenticated");
}

#[tokio::test]
async fn an_access_token_lives_an_hour() {
    let world = World::new().await;
    let mut agent = world.gateway("gw").await;
    world.clock.advance(Duration::from_secs(3601));
    refused(agent.begin("aa").await, 401, "expired");
    agent.renew(&world).await;
    agent.begin("aa").await.unwrap();
}

#[tokio::test]
async fn what_is_of_one_installation_is_nothing_at_another() {
    let (here, there) = (World::new().await, World::new().await);
    let agent = here.gateway("gw").await;
    let now = there.clock.now();
    refused(exchange(&there, &agent.proof(&nonce(&there).await, now)).await, 401, "unauthenticated");
    refused(exchange(&here, &agent.proof(&nonce(&there).await, now)).await, 401, "unauthenticated");
    for token in [&agent.token, &*here.made.admin_token, &*here.made.operator_token] {
        let client = there.stranger().with_token(token);
        refused(client.get::<Value>("/v1/whoami").await, 401, "unauthenticated");
    }
    // And who was enrolled here does not talk to an impostor.
    let fooled = there.client_that_trusts(&here.made.platform_ca).ca().await;
    assert!(matches!(fooled, Err(ClientError::Untrusted { why: Distrust::Issuer, .. })), "{fooled:?}");
}
