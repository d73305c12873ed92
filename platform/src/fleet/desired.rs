//! What the platform wants of a gateway instance: whom to permit, which relays to use, whom to trust.

use std::net::IpAddr;

use adit_core::time::UnixTime;
use adit_core::turn::address_policy::Network;
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

/// How much of an address a credential permits of each peer, by the version of IP: all of it, and less where a username has
/// no room for so many.
const WIDTHS: [(u8, u8); 3] = [(32, 128), (32, 64), (24, 48)];

/// Credentials whose policy permits the peers that are permitted, and the networks that the platform's operator named:
/// whoever takes them from a gateway reaches nobody else with them. Where a username has no room for all, the networks
/// around them are permitted; where there is none for those, the last ones are left out.
fn credentials(
    networks: &[IpNet],
    id: &str,
    secret: &[u8],
    expires_at: u64,
    peers: &[IpAddr],
) -> Result<Credentials, Problem> {
    let is_named = |peer: &IpAddr| networks.iter().any(|network| network.contains(peer));
    let named = || networks.iter().map(|network| Network::new(network.network(), network.prefix_len()));
    let peers: Vec<IpAddr> = peers.iter().copied().filter(|peer| !is_named(peer)).collect();
    let limited = |networks: &[Network]| {
        let policy = CredentialPolicy { any_public: false, peers: networks.to_vec(), max_allocations: None };
        Credentials::limited(secret, UnixTime(expires_at), id, Some(&policy))
    };
    let mut permitted = Vec::new();
    for widths in WIDTHS {
        permitted = named().collect();
        permitted.extend(around(&peers, widths));
        if let Ok(credentials) = limited(&permitted) {
            return Ok(credentials);
        }
        tracing::warn!(
            peers = peers.len(),
            "credentials have no room for every peer; they permit more instead"
        );
    }
    loop {
        match limited(&permitted) {
            Ok(credentials) => return Ok(credentials),
            Err(error) if permitted.is_empty() => return Err(Problem::internal(error)),
            Err(_) => {
                tracing::warn!(
                    networks = permitted.len(),
                    "credentials have no room for every peer; the last is left out"
                );
                permitted.pop();
            }
        }
    }
}

/// The networks of so many bits around the peers, each once.
fn around(peers: &[IpAddr], (v4, v6): (u8, u8)) -> Vec<Network> {
    let mut networks = Vec::new();
    for &peer in peers {
        let network = Network::new(peer, if peer.is_ipv4() { v4 } else { v6 });
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    networks
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

    fn policy(networks: &[&str], peers: &[IpAddr]) -> CredentialPolicy {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        let credentials = credentials(&networks, "instance", b"s", 1_900_000_000, peers).unwrap();
        assert!(credentials.username.len() <= 508);
        CredentialPolicy::parse(credentials.username.splitn(3, ':').nth(2).unwrap()).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn credentials_permit_those_who_are_permitted_and_nobody_else() {
        let of = policy(&[], &[ip("8.8.8.8"), ip("192.168.7.7"), ip("2606:4700::7")]);
        assert_eq!((of.any_public, of.peers.len()), (false, 3));
        for peer in ["8.8.8.8", "192.168.7.7", "2606:4700::7"] {
            assert!(of.judge(ip(peer)).is_ok(), "{peer}");
        }
        for other in ["8.8.8.9", "1.1.1.1", "192.168.7.8", "2606:4700::8", "127.0.0.1"] {
            assert!(of.judge(ip(other)).is_err(), "{other}");
        }
        assert_eq!(policy(&[], &[]), CredentialPolicy::default());
        let named = policy(&["10.0.0.0/8"], &[ip("10.1.1.1"), ip("8.8.8.8")]);
        assert_eq!(named.peers.len(), 2, "the network, and whom it does not hold");
        assert!(named.judge(ip("10.9.9.9")).is_ok());
    }

    #[test]
    fn credentials_for_many_peers_permit_what_is_around_them() {
        let v6 = |n: u32| ip(&format!("2606:4700:{:x}:{:x}::7", n / 4, n));
        let (few, more, most): (Vec<_>, Vec<_>, Vec<_>) =
            ((0..18).map(v6).collect(), (0..30).map(v6).collect(), (0..64).map(v6).collect());
        assert!(policy(&[], &few).judge(ip("2606:4700:0:1::8")).is_err());
        let around = policy(&[], &more);
        assert!(
            around.judge(ip("2606:4700:0:1::8")).is_ok() && around.judge(ip("2606:4700:0:77::8")).is_err()
        );
        assert!(more.iter().all(|&peer| around.judge(peer).is_ok()));
        let all = policy(&[], &most);
        assert!(most.iter().all(|&peer| all.judge(peer).is_ok()));
        // More than any gateway permits.
        let many: Vec<IpAddr> = (0..600).map(|n| ip(&format!("9.{}.{}.1", n / 256, n % 256))).collect();
        assert!(policy(&[], &many).judge(many[0]).is_ok());
    }
}
