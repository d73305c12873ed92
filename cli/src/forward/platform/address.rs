//! How relays see us: STUN Binding from the connector's own socket.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use adit_core::turn::uri::{Host, RelayUri};
use adit_tokio::Connector;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// How long to wait for an answer at all, names included.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long for further answers once there is one.
const FURTHER: Duration = Duration::from_millis(500);
/// How many addresses the platform takes.
const MAX: usize = 4;

/// The addresses by which the `relays` see us, in the order of their answers; none where none answers.
pub(super) async fn discover(connector: &Connector, relays: &[RelayUri]) -> Vec<IpAddr> {
    let mut asked = JoinSet::new();
    for relay in relays {
        asked.spawn(ask(connector.clone(), relay.clone()));
    }
    let mut found: Vec<IpAddr> = Vec::new();
    let mut end = Instant::now() + PATIENCE;
    while let Ok(Some(answer)) = timeout_at(end, asked.join_next()).await {
        for ip in answer.unwrap_or_default() {
            if found.is_empty() {
                end = end.min(Instant::now() + FURTHER);
            }
            if !found.contains(&ip) && found.len() < MAX {
                found.push(ip);
            }
        }
    }
    found
}

/// How one relay sees us, in either family.
async fn ask(connector: Connector, relay: RelayUri) -> Vec<IpAddr> {
    let addresses: Vec<SocketAddr> = match &relay.host {
        Host::Address(ip) => vec![(*ip, relay.port).into()],
        Host::Name(name) => match tokio::net::lookup_host((name.as_str(), relay.port)).await {
            Ok(addresses) => addresses.collect(),
            Err(error) => {
                tracing::debug!(%error, "a relay's name can't be resolved");
                Vec::new()
            }
        },
    };
    let first = |v4: bool| addresses.iter().copied().find(move |address| address.is_ipv4() == v4);
    let one = async |address: Option<SocketAddr>| match address {
        Some(address) => connector.discover(address).await.ok().map(|mapped| mapped.ip().to_canonical()),
        None => None,
    };
    let (v4, v6) = tokio::join!(one(first(true)), one(first(false)));
    v4.into_iter().chain(v6).collect()
}
