//! What the platform wants of a gateway instance: whom to permit, which relays to use, whom to trust.

use std::net::IpAddr;

use adit_core::time::UnixTime;
use adit_core::turn::address_policy::{Network, Policy};
use adit_core::turn::credential_policy::CredentialPolicy;
use adit_core::turn::credentials::Credentials;
use aws_lc_rs::digest::{SHA256, digest};
use ipnet::IpNet;

use crate::api::App;
use crate::api::problem::Problem;
use crate::authority;
use crate::store::instances::InstanceRow;
use crate::store::relay_agents::RelayRow;
use crate::store::{
    StoreError, organisations, permits, platform_instances, relay_agents, relay_secrets, revocations,
};
use crate::words::{DesiredState, RelayAccess};

/// How many peers one gateway instance permits.
pub const MAX_PEERS: usize = 64;

/// How many relays one gateway instance keeps allocations on.
const MAX_RELAYS: usize = 3;

/// What is wanted of the instance now. The generation is read first: what changes meanwhile comes with the next one.
pub(super) async fn of(app: &App, instance: &InstanceRow) -> Result<DesiredState, Problem> {
    let (store, organisation) = (&app.store, &instance.organisation);
    let generation = organisations::generation(store.reader(), organisation).await?;
    let permitted_peers = permitted(app, organisation, &instance.gateway).await?;
    Ok(DesiredState {
        generation,
        relays: relays(app, instance, &permitted_peers).await?,
        permitted_peers,
        connector_anchors: authority::connector_anchors(store.reader(), organisation, app.clock.now())
            .await?,
        revoked: revocations::running(store, organisation).await?,
        offline_grace: app.config.times.offline_grace.as_secs(),
    })
}

/// The addresses of the platform's connectors first, then those of persons' connectors.
async fn permitted(app: &App, organisation: &str, gateway: &str) -> Result<Vec<IpAddr>, StoreError> {
    let mut peers = platform_addresses(app).await?;
    for address in permits::running(app.store.reader(), organisation, gateway, app.clock.now()).await? {
        if !peers.contains(&address) {
            peers.push(address);
        }
    }
    if peers.len() > MAX_PEERS {
        tracing::warn!(
            peers = peers.len(),
            "a gateway permits at most {MAX_PEERS} addresses; some are left out"
        );
        peers.truncate(MAX_PEERS);
    }
    Ok(peers)
}

/// From where connectors of the platform come, each address once, in order.
pub(super) async fn platform_addresses(app: &App) -> Result<Vec<IpAddr>, StoreError> {
    let since = app.clock.now().saturating_sub(presence(app));
    let alive = platform_instances::alive(app.store.reader(), since).await?;
    let mut addresses: Vec<IpAddr> = alive.into_iter().flat_map(|instance| instance.addresses).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// For how many seconds after its last sign of life a platform instance counts.
pub(crate) fn presence(app: &App) -> u64 {
    let times = &app.config.times;
    times.watcher_claim.max(times.duties * 3).as_secs() + 1
}

/// The relays of the instance, with credentials for each.
async fn relays(app: &App, instance: &InstanceRow, peers: &[IpAddr]) -> Result<Vec<RelayAccess>, Problem> {
    let usable = relay_agents::usable(&app.store, &instance.organisation).await?;
    let mut relays = Vec::new();
    for relay in choose(usable, &instance.id) {
        // Between two statements a secret may have gone; the next desired state has another relay.
        if let Some(secret) = relay_secrets::in_use(&app.store, &relay.organisation, &relay.id).await? {
            relays.push(access(app, instance, relay, &secret, peers)?);
        }
    }
    Ok(relays)
}

/// The best relays for an instance: healthy ones where there is one, its organisation's own first, and among equals in
/// an order that is the instance's own and stays, so that gateways spread.
pub(super) fn choose(mut relays: Vec<RelayRow>, instance: &str) -> Vec<RelayRow> {
    if relays.iter().any(RelayRow::is_healthy) {
        relays.retain(RelayRow::is_healthy);
    }
    relays.sort_by_cached_key(|relay| (relay.is_shared(), weight(instance, &relay.id)));
    relays.truncate(MAX_RELAYS);
    relays
}

fn weight(instance: &str, relay: &str) -> [u8; 32] {
    let hash = digest(&SHA256, format!("{instance} {relay}").as_bytes());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn access(
    app: &App,
    instance: &InstanceRow,
    relay: RelayRow,
    secret: &[u8],
    peers: &[IpAddr],
) -> Result<RelayAccess, Problem> {
    let expires_at = app.clock.now().saturating_add(app.config.times.turn_credentials.as_secs());
    let credentials = credentials(&app.config.relay_peer_networks, &instance.id, secret, expires_at, peers)?;
    Ok(RelayAccess {
        id: relay.id,
        name: relay.name,
        urls: relay.urls,
        username: credentials.username,
        password: credentials.password,
        expires_at,
        pin: Some(relay.pin).filter(|pin| !pin.is_empty()),
    })
}

/// Credentials whose policy permits public peers, the networks that the platform's operator named, and of the permitted
/// peers those that are neither. Where a username has no room for all, the last ones are left out.
fn credentials(
    networks: &[IpNet],
    id: &str,
    secret: &[u8],
    expires_at: u64,
    peers: &[IpAddr],
) -> Result<Credentials, Problem> {
    let public = Policy::default_deny();
    let is_named = |peer: &IpAddr| networks.iter().any(|network| network.contains(peer));
    let mut named: Vec<Network> =
        networks.iter().map(|network| Network::new(network.network(), network.prefix_len())).collect();
    named.extend(
        peers
            .iter()
            .filter(|&&peer| public.judge(peer).is_err() && !is_named(&peer))
            .map(|&peer| Network::from(peer)),
    );
    loop {
        let policy = CredentialPolicy { any_public: true, peers: named.clone(), max_allocations: None };
        match Credentials::limited(secret, UnixTime(expires_at), id, Some(&policy)) {
            Ok(credentials) => return Ok(credentials),
            Err(error) if named.is_empty() => return Err(Problem::internal(error)),
            Err(_) => {
                tracing::warn!(
                    networks = named.len(),
                    "credentials have no room for every peer; the last is left out"
                );
                named.pop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::INSTALLATION;
    use crate::words::{Health, HealthState};

    fn relay(id: &str, organisation: &str, state: HealthState) -> RelayRow {
        RelayRow {
            id: id.to_owned(),
            organisation: organisation.to_owned(),
            name: id.to_owned(),
            urls: Vec::new(),
            public_key: "k".to_owned(),
            session: "s".to_owned(),
            fingerprint: String::new(),
            last_heartbeat_at: 1,
            health: Health { state, since: 1, reason: String::new() },
            pin: String::new(),
        }
    }

    fn ids(relays: Vec<RelayRow>) -> Vec<String> {
        relays.into_iter().map(|relay| relay.id).collect()
    }

    #[test]
    fn own_relays_come_first_and_offline_ones_are_left_out_once_one_is_healthy() {
        use HealthState::{Healthy, Offline};
        let all = vec![
            relay("shared", INSTALLATION, Healthy),
            relay("own", "o", Healthy),
            relay("dead", "o", Offline),
        ];
        assert_eq!(ids(choose(all, "i")), ["own", "shared"]);
        assert_eq!(ids(choose(vec![relay("dead", "o", Offline)], "i")), ["dead"]);
    }

    #[test]
    fn gateways_spread_over_equal_relays_and_stay_where_they_are() {
        let all: Vec<_> =
            (0..10).map(|n| relay(&n.to_string(), INSTALLATION, HealthState::Healthy)).collect();
        let first: std::collections::BTreeSet<_> =
            (0..100).map(|n| ids(choose(all.clone(), &format!("i{n}")))[0].clone()).collect();
        assert_eq!(first.len(), 10, "each relay is the first of some instance");
        let (before, after) = (ids(choose(all.clone(), "i")), ids(choose(all[..9].to_vec(), "i")));
        let stays = before.iter().filter(|id| *id != "9").all(|id| after.contains(id));
        assert!(
            before.len() == 3 && stays,
            "the departure of one relay moves nobody else: {before:?} {after:?}"
        );
    }

    #[test]
    fn credentials_name_peers_that_are_not_public_and_never_grow_too_long() {
        let networks = ["10.0.0.0/8".parse().unwrap()];
        let of = |peers: &[IpAddr]| credentials(&networks, "i", b"s", 1_900_000_000, peers).unwrap();
        let policy = |credentials: &Credentials| {
            let text = credentials.username.splitn(3, ':').nth(2).unwrap().to_owned();
            CredentialPolicy::parse(&text).unwrap()
        };
        let private: IpAddr = "192.168.7.7".parse().unwrap();
        let few = of(&[private, "8.8.8.8".parse().unwrap(), "10.1.1.1".parse().unwrap()]);
        assert_eq!(policy(&few).peers.len(), 2, "the network and the private peer");
        assert!(policy(&few).judge(private).is_ok());
        let many: Vec<IpAddr> = (0..200).map(|n| format!("192.168.9.{n}").parse().unwrap()).collect();
        assert!(of(&many).username.len() <= 508);
    }
}
