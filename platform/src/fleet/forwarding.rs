//! Persons' connectors: a certificate for exactly the targets that links allow, the way, and from where they come.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use adit_core::pki::{PublicKey, Role};
use adit_core::tunnel::Target;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::certificate::{of_store, refused};
use super::desired::{self, MAX_PEERS};
use super::session::heartbeat_interval;
use crate::api::App;
use crate::api::caller::Caller;
use crate::api::extract::{Body, Path};
use crate::api::problem::{Code, Problem};
use crate::authority::issue::Issued;
use crate::authority::{self, AuthorityError, csr};
use crate::store::instances::InstanceRow;
use crate::store::{StoreError, again, gateways, instances, links, permits, relay_agents, revocations};
use crate::words::{
    ConnectorAddresses, Forwarding, Gateway, HealthState, NewForwarding, Permitted, Way, WayTo,
};

/// Targets in one certificate.
const MAX_TARGETS: usize = 64;

/// Addresses of one connector.
const MAX_ADDRESSES: usize = 4;

/// Relays that a connector is told of, to learn its address.
const MAX_RELAYS: usize = 8;

pub(super) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(wish): Body<NewForwarding>,
) -> Result<(StatusCode, Json<Forwarding>), Problem> {
    let gateway = gateway(&app, &caller, &wish.gateway).await?;
    let targets = targets(&app, &caller, &gateway, &wish.targets).await?;
    let way = way_to(&app, &caller, &gateway).await?;
    let key = requested_key(&app, &caller, &wish.csr)?;
    let issued = again(|| issue(&app, &caller, &gateway, &targets, &key)).await?.map_err(refused)?;
    let forwarding = Forwarding {
        chain: issued.chain,
        serial: issued.serial,
        not_after: issued.not_after,
        targets,
        way,
        organisation: caller.organisation_name,
        gateway: gateway.name,
        trust_domain: app.trust_domain().to_owned(),
        server_time: app.clock.now(),
    };
    Ok((StatusCode::CREATED, Json(forwarding)))
}

/// The gateway, where a link of the caller leads to it.
async fn gateway(app: &App, caller: &Caller, key: &str) -> Result<Gateway, Problem> {
    let only = (!caller.is_admin()).then_some(caller.identity.as_str());
    let found = gateways::find(&app.store, &caller.organisation, only, key).await?;
    found.ok_or_else(|| Problem::not_found("gateway"))
}

/// What the caller wants and may reach.
async fn targets(
    app: &App,
    caller: &Caller,
    gateway: &Gateway,
    wanted: &[String],
) -> Result<Vec<String>, Problem> {
    let only = (!caller.is_admin()).then_some(caller.identity.as_str());
    let allowed = links::targets(&app.store, &caller.organisation, only, &gateway.id).await?;
    choose(&allowed, wanted)
}

/// Exactly the wanted ones among the allowed ones; all allowed ones where nothing is said.
fn choose(allowed: &BTreeSet<String>, wanted: &[String]) -> Result<Vec<String>, Problem> {
    if wanted.len() > MAX_TARGETS {
        return Err(Problem::bad_request("A certificate names at most 64 targets."));
    }
    let wanted = wanted.iter().map(|text| canonical(text)).collect::<Result<BTreeSet<_>, _>>()?;
    let chosen: Vec<String> = match wanted.is_empty() {
        true => allowed.iter().cloned().collect(),
        false => wanted.intersection(allowed).cloned().collect(),
    };
    if chosen.len() > MAX_TARGETS {
        return Err(Problem::bad_request(format!(
            "Your links allow {} targets, and a certificate names at most 64: say which ones.",
            chosen.len()
        )));
    }
    match chosen.is_empty() {
        true => Err(nothing_allowed(allowed)),
        false => Ok(chosen),
    }
}

fn canonical(text: &str) -> Result<String, Problem> {
    match text.parse::<Target>() {
        Ok(target) => Ok(target.to_string()),
        Err(error) => Err(Problem::bad_request(format!(
            "{text:?} is no target: {error}. One reads tcp://db.internal:5432."
        ))),
    }
}

fn nothing_allowed(allowed: &BTreeSet<String>) -> Problem {
    let shown: Vec<&str> = allowed.iter().map(String::as_str).take(MAX_TARGETS).collect();
    let detail = match shown.is_empty() {
        true => "Your projects have no link to this gateway.".to_owned(),
        false => format!("Your links to this gateway allow: {}.", shown.join(", ")),
    };
    Problem::new(Code::UnknownTarget, detail)
}

/// The key of a request that names nobody, or the caller.
fn requested_key(app: &App, caller: &Caller, request: &str) -> Result<PublicKey, Problem> {
    let role = Role::Person { identity: caller.name.parse().map_err(Problem::internal)? };
    let spiffe = authority::issue::spiffe(app.trust_domain(), &caller.organisation_name, role);
    let spiffe = spiffe.map_err(refused)?;
    csr::check(request, &[&spiffe, &caller.name, &caller.identity]).map_err(|error| refused(error.into()))
}

/// The certificate, and a note of what it is for.
async fn issue(
    app: &App,
    caller: &Caller,
    gateway: &Gateway,
    targets: &[String],
    key: &PublicKey,
) -> Result<Result<Issued, AuthorityError>, StoreError> {
    let mut change = app.change(caller).await?;
    let life = app.config.times.connector_leaf;
    let issued =
        authority::issue::person(&mut change, &caller.identity, &caller.name, targets, key, life).await;
    let issued = match of_store(issued)? {
        Ok(issued) => issued,
        Err(refusal) => return Ok(Err(refusal)),
    };
    permits::forward(&mut change, &issued.serial, &caller.identity, &gateway.id, issued.not_after).await?;
    let detail = json!({ "serial": issued.serial, "targets": targets, "not_after": issued.not_after });
    change.audit("forwarding.issued", &format!("gateway:{}", gateway.name), detail);
    change.commit().await?;
    Ok(Ok(issued))
}

pub(super) async fn way(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(gateway_key): Path<String>,
) -> Result<Json<Way>, Problem> {
    let gateway = gateway(&app, &caller, &gateway_key).await?;
    Ok(Json(way_to(&app, &caller, &gateway).await?))
}

async fn way_to(app: &App, caller: &Caller, gateway: &Gateway) -> Result<Way, Problem> {
    let organisation = &caller.organisation;
    let instances = instances::in_session(&app.store, organisation, &gateway.id).await?;
    Ok(Way {
        gateway_anchors: authority::gateway_anchors(app.store.reader(), organisation, app.clock.now())
            .await?,
        relays: relays(app, organisation, &instances).await?,
        instances: ways(instances),
        revoked: revocations::running(&app.store, organisation).await?,
    })
}

/// Those that have an address and report, the healthy ones first.
fn ways(mut instances: Vec<InstanceRow>) -> Vec<WayTo> {
    instances.retain(|row| !row.addresses.is_empty() && row.health.state != HealthState::Offline);
    instances.sort_by_key(|row| row.health.state != HealthState::Healthy);
    instances.into_iter().map(|row| WayTo { instance: row.id, addresses: row.addresses }).collect()
}

/// The URLs of the relays that the instances use, and of others where there are few: what a relay sees of a connector
/// depends on where the relay is.
async fn relays(app: &App, organisation: &str, instances: &[InstanceRow]) -> Result<Vec<String>, StoreError> {
    let used: BTreeSet<&str> =
        instances.iter().flat_map(|row| &row.relays).map(|relay| relay.relay.as_str()).collect();
    let mut relays = relay_agents::usable(&app.store, organisation).await?;
    relays.sort_by_key(|relay| (!used.contains(relay.id.as_str()), !relay.is_healthy()));
    Ok(relays.into_iter().filter_map(|relay| relay.urls.into_iter().next()).take(MAX_RELAYS).collect())
}

pub(super) async fn set_addresses(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(wish): Body<ConnectorAddresses>,
) -> Result<Json<Permitted>, Problem> {
    let addresses = check_addresses(&wish.addresses)?;
    let serial = wish.serial.to_ascii_lowercase();
    let forwarding = permits::forwarding(&app.store, &caller.organisation, &caller.identity, &serial).await?;
    let forwarding =
        forwarding.ok_or_else(|| Problem::not_found("certificate of yours that is still good"))?;
    let gateway = &forwarding.gateway;
    let until = forwarding.not_after;
    again(|| permit(&app, &caller, gateway, &serial, &addresses, until)).await??;
    app.connect.permit(&caller.organisation, gateway, &addresses, until.saturating_sub(app.clock.now()));
    Ok(Json(Permitted { until, effective_within: heartbeat_interval(&app) }))
}

/// Each once, in order; unicast, and nothing that could mean this very machine.
fn check_addresses(addresses: &[IpAddr]) -> Result<Vec<IpAddr>, Problem> {
    let canonical: BTreeSet<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
    if canonical.is_empty() || canonical.len() > MAX_ADDRESSES {
        return Err(Problem::bad_request("A connector has 1 to 4 addresses."));
    }
    if canonical.iter().any(|address| !is_unicast(address)) {
        return Err(Problem::bad_request("Each address must be of one host: no multicast, no broadcast."));
    }
    Ok(canonical.into_iter().collect())
}

fn is_unicast(address: &IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(ip) if ip.octets()[0] == 0 || ip.octets()[0] >= 240);
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

/// Permits them. Only where an address is new to the gateway its instances are told.
async fn permit(
    app: &App,
    caller: &Caller,
    gateway: &str,
    serial: &str,
    addresses: &[IpAddr],
    until: u64,
) -> Result<Result<(), Problem>, StoreError> {
    let platform = desired::platform_addresses(app).await?;
    let mut change = app.store.quiet_change(&caller.organisation).await?;
    let before =
        permits::running(change.connection(), &caller.organisation, gateway, app.clock.now()).await?;
    permits::set(&mut change, gateway, serial, addresses, until).await?;
    let after = permits::running(change.connection(), &caller.organisation, gateway, app.clock.now()).await?;
    if after.len() > before.len() && platform.len() + after.len() > MAX_PEERS {
        return Ok(Err(Problem::conflict(format!(
            "A gateway lets in {MAX_PEERS} addresses at once, and these would be more. Try again later."
        ))));
    }
    if after.iter().any(|address| !before.contains(address)) || after.len() < before.len() {
        change.bump().await?;
    }
    change.commit().await?;
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(targets: &[&str]) -> BTreeSet<String> {
        targets.iter().map(|target| (*target).to_owned()).collect()
    }

    #[test]
    fn a_certificate_gets_what_was_asked_for_and_is_allowed() {
        let links = allowed(&["tcp://db:5432", "tcp://web:80"]);
        assert_eq!(choose(&links, &[]).unwrap(), ["tcp://db:5432", "tcp://web:80"]);
        let wanted = ["tcp://db:5432".to_owned(), "tcp://other:1".to_owned()];
        assert_eq!(choose(&links, &wanted).unwrap(), ["tcp://db:5432"]);
        let none = choose(&links, &["tcp://other:1".to_owned()]).unwrap_err();
        assert!(none.code == Code::UnknownTarget && none.detail.contains("tcp://web:80"), "{none:?}");
        assert_eq!(choose(&links, &["nonsense".to_owned()]).unwrap_err().code, Code::BadRequest);
        assert_eq!(choose(&allowed(&[]), &[]).unwrap_err().code, Code::UnknownTarget);
    }

    #[test]
    fn more_targets_than_fit_must_be_named() {
        let many: BTreeSet<String> = (1..=65).map(|port| format!("tcp://db:{port}")).collect();
        assert_eq!(choose(&many, &[]).unwrap_err().code, Code::BadRequest);
        assert_eq!(choose(&many, &["tcp://db:7".to_owned()]).unwrap(), ["tcp://db:7"]);
    }

    #[test]
    fn addresses_of_connectors_are_those_of_hosts() {
        let check = |texts: &[&str]| {
            let addresses: Vec<IpAddr> = texts.iter().map(|text| text.parse().unwrap()).collect();
            check_addresses(&addresses)
        };
        assert_eq!(check(&["192.0.2.1", "::ffff:192.0.2.1"]).unwrap().len(), 1);
        for bad in ["224.0.0.1", "255.255.255.255", "0.0.0.0", "::", "ff02::1"] {
            assert!(check(&[bad]).is_err(), "{bad}");
        }
        assert!(check(&[]).is_err());
        assert!(check(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"]).is_err());
    }
}
