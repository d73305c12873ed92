//! A relay, a gateway and the platform's connector on this machine: nothing is made up but the API's transport.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use adit_core::relay::{Config as RelayConfig, RelayAddress};
use adit_core::turn::address_policy::Policy;
use adit_core::turn::credentials::{Authenticator, Credentials};
use adit_mio::RelayServer;
use adit_tokio::Gateway;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::ConnectError;
use crate::api::testing::Api;
use crate::fleet::duties;
use crate::fleet::tests::Agent;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const PATIENCE: Duration = Duration::from_secs(60);

/// The API in lengths of time that a test can wait for.
async fn platform() -> Api {
    Api::with(|config| {
        let second = Duration::from_secs(1);
        (config.times.heartbeat, config.times.ping, config.times.duties) = (second, second, second);
        config.times.missed_heartbeats = 30;
        config.relay_peer_networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await
}

/// A relay that has enrolled and works with the secret that it was given.
async fn relay(api: &Api) -> (RelayServer, Agent) {
    let server = RelayServer::spawn(RelayConfig {
        listen: vec![SocketAddr::new(LOOPBACK, 0).into()],
        ipv4: Some(RelayAddress::direct(LOOPBACK)),
        policy: Policy::default_deny().allow(LOOPBACK),
        ..RelayConfig::new(Authenticator::new("adit.test"))
    })
    .unwrap();
    let url = format!("turn:{}?transport=udp", server.addresses()[0]);
    let agent = Agent::of_relay_at(api, &api.operator, "shared", &url).await;
    let session = agent.session(api, "relays", "aa").await.expect(200);
    let secret = STANDARD.decode(session["secrets"][0].as_str().unwrap()).unwrap();
    server.set_authenticator(&Authenticator::new("adit.test").with_secret(&secret));
    (server, agent)
}

/// Reports until the answer is as `is` wants it.
async fn report(
    api: &Api,
    agent: &Agent,
    session: &Value,
    more: Value,
    is: impl Fn(&Value) -> bool,
) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = agent.heartbeat(api, session, more.clone()).await.expect(200);
        if is(&answer) {
            return answer;
        }
        assert!(Instant::now() < until, "{answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A gateway as the desired state wants it.
async fn gateway(api: &Api, agent: &Agent, desired: &Value) -> Gateway {
    let csr = json!({ "csr": agent.key.request_pem() });
    let issued = agent.post(api, "/v1/gateways/self/certificate", csr).await.expect(200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let relay = &desired["relays"][0];
    let (username, password) = (text(&relay["username"]), text(&relay["password"]));
    Gateway::builder()
        .certificate(text(&issued["chain"]), agent.key.to_pem())
        .trust(text(&desired["connector_anchors"]))
        .relay(&text(&relay["urls"][0]), Credentials { username, password })
        .permit(LOOPBACK)
        .allow("tcp://127.0.0.1:*")
        .configure(|config| config.platform = true)
        .spawn()
        .unwrap()
}

async fn addresses(gateway: &Gateway) -> Vec<SocketAddr> {
    let until = Instant::now() + PATIENCE;
    while gateway.addresses().is_empty() {
        assert!(Instant::now() < until, "there is no allocation");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    gateway.addresses()
}

/// A target that sends back what it gets.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((LOOPBACK, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_answers_is_healthy_and_streams_are_opened_through_it() {
    let api = platform().await;
    let (relay, _agent) = relay(&api).await;
    let mut tasks = JoinSet::new();
    duties::spawn(&api.app, &mut tasks).await.unwrap();
    let agent = Agent::of_gateway(&api, "gw").await;
    let session = agent.session(&api, "gateways", "aa").await.expect(200);

    // The platform learns its own address from the relay, and says whom to let in.
    let nothing = json!({ "addresses": [], "relays": [], "generation": 0 });
    let is_told = |answer: &Value| answer["desired"]["permitted_peers"] == json!(["127.0.0.1"]);
    let desired = report(&api, &agent, &session, nothing, is_told).await["desired"].clone();
    let gateway = gateway(&api, &agent, &desired).await;
    let addresses = addresses(&gateway).await;
    assert_eq!(relay.allocations(), 1);

    let working = json!({ "generation": desired["generation"], "addresses": addresses,
        "relays": [{ "relay": desired["relays"][0]["id"], "addresses": addresses }] });
    let is_healthy = |answer: &Value| answer["health"]["state"] == json!("healthy");
    report(&api, &agent, &session, working.clone(), is_healthy).await;

    let shown = api.get(&api.admin, "/v1/gateways/gw").await.expect(200);
    let (id, target) = (shown["id"].as_str().unwrap(), format!("tcp://{}", echo().await));
    let mut stream = api.app.open(&api.acme, id, &target.parse().unwrap()).await.unwrap();
    stream.write_all(b"through").await.unwrap();
    let mut back = [0; 7];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"through");
    assert_eq!(gateway.connections(), 1, "one connection for the watcher and for streams");

    // A revoked instance loses the platform's connection.
    api.delete(&api.admin, &format!("/v1/gateways/gw/instances/{}", agent.id)).await.expect(204);
    let ended = tokio::time::timeout(PATIENCE, stream.read(&mut back)).await.expect("the stream ends");
    assert!(!matches!(ended, Ok(read) if read > 0));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let gone = api.app.open(&api.acme, id, &target.parse().unwrap()).await;
    assert!(matches!(gone, Err(ConnectError::NoInstance)), "{:?}", gone.err());
    tasks.shutdown().await;
    duties::leave(&api.app).await;
}
