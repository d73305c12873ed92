//! Sessions: one process of an instance at a time, so that a copied state directory is noticed.

use std::time::Duration;

use adit_platform::words::{RelayHeartbeat, RelayStatus};

use super::world::{Agent, World, exchange, nonce, refused};

/// Who has a copy of the state directory has the key.
async fn copy_of(world: &World, agent: &Agent) -> Agent {
    let proof = agent.proof(&nonce(world).await, world.clock.now());
    let token = exchange(world, &proof).await.unwrap();
    let key = adit_core::pki::Key::from_pem(agent.key.to_pem().as_bytes()).unwrap();
    Agent { key, id: agent.id.clone(), client: world.stranger().with_token(&token), token }
}

#[tokio::test]
async fn a_copied_state_directory_is_refused_while_the_first_reports() {
    let world = World::new().await;
    let agent = world.gateway("gw").await;
    let copy = copy_of(&world, &agent).await;
    let session = agent.begin("aa").await.unwrap();
    refused(copy.begin("bb").await, 409, "instance-in-use");
    // As long as it reports, however long that is.
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(40));
        agent.report(&session).await.unwrap();
        refused(copy.begin("bb").await, 409, "instance-in-use");
    }
}

#[tokio::test]
async fn a_state_directory_may_move_once_the_first_is_silent_and_the_first_is_told() {
    let world = World::new().await;
    let agent = world.gateway("gw").await;
    let moved = copy_of(&world, &agent).await;
    let old = agent.begin("aa").await.unwrap();
    agent.report(&old).await.unwrap();
    world.clock.advance(Duration::from_secs(3 * 15 + 2));
    let new = moved.begin("bb").await.unwrap();
    refused(agent.report(&old).await, 409, "session-ended");
    refused(agent.begin("aa").await, 409, "instance-in-use");
    moved.report(&new).await.unwrap();
    let audit = world.picture().await["audit"].to_string();
    assert_eq!(audit.matches("gateway.instance-moved").count(), 1, "{audit}");
}

#[tokio::test]
async fn the_same_machine_begins_again_at_once_and_a_stop_frees_the_place() {
    let world = World::new().await;
    let agent = world.gateway("gw").await;
    let crashed = agent.begin("aa").await.unwrap();
    let again = agent.begin("aa").await.unwrap();
    refused(agent.report(&crashed).await, 409, "session-ended");
    agent.report(&again).await.unwrap();
    agent.client.end_gateway_session().await.unwrap();
    refused(agent.report(&again).await, 409, "session-ended");
    agent.begin("bb").await.unwrap();
}

#[tokio::test]
async fn a_session_is_of_the_instance_that_began_it() {
    let world = World::new().await;
    let (agent, other) = (world.gateway("gw").await, world.gateway("gw").await);
    let (theirs, own) = (agent.begin("aa").await.unwrap(), other.begin("bb").await.unwrap());
    refused(other.report(&theirs).await, 409, "session-ended");
    agent.report(&theirs).await.unwrap();
    other.report(&own).await.unwrap();
}

#[tokio::test]
async fn a_copied_relay_gets_no_secrets() {
    let world = World::new().await;
    let relay = world.relay("relay").await;
    let copy = copy_of(&world, &relay).await;
    let session = relay.begin_relay("aa").await.unwrap();
    refused(copy.begin_relay("bb").await, 409, "instance-in-use");
    let report = |session: &str| RelayHeartbeat {
        session: session.to_owned(),
        status: RelayStatus::default(),
        time: 1,
    };
    refused(copy.client.relay_heartbeat(&report("guess")).await, 409, "session-ended");
    relay.client.relay_heartbeat(&report(&session.session)).await.unwrap();
}

#[tokio::test]
async fn a_fingerprint_is_hexadecimal_and_short() {
    let world = World::new().await;
    let agent = world.gateway("gw").await;
    for bad in ["", "xyz", "aa\n", &"a".repeat(129)] {
        refused(agent.begin(bad).await, 400, "bad-request");
    }
}
