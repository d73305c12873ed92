//! Certificates of agents: the key is theirs, the name is the platform's to say.

use std::sync::Arc;

use adit_core::pki::{PublicKey, Role};
use adit_core::turn::uri::{Host, RelayUri};
use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::api::App;
use crate::api::caller::Agent;
use crate::api::extract::Body;
use crate::api::problem::{Code, Problem};
use crate::authority::csr::BadRequest;
use crate::authority::issue::Issued;
use crate::authority::{self, AuthorityError, csr};
use crate::store::{StoreError, again, relay_agents};
use crate::trust::pin;
use crate::words::{Certificate, CertificateRequest};

pub(super) async fn gateway(
    State(app): State<Arc<App>>,
    agent: Agent,
    Body(request): Body<CertificateRequest>,
) -> Result<Json<Certificate>, Problem> {
    let (gateway, instance) = (&agent.name, &agent.id);
    let role = Role::Gateway {
        gateway: gateway.parse().map_err(Problem::internal)?,
        instance: instance.parse().map_err(Problem::internal)?,
    };
    let spiffe = authority::issue::spiffe(app.trust_domain(), &agent.organisation_name, role);
    let spiffe = spiffe.map_err(refused)?;
    let key = csr::check(&request.csr, &[&spiffe, instance]).map_err(|error| refused(error.into()))?;
    let life = app.config.times.gateway_leaf;
    let issued = again(|| async {
        let mut change = app.store.change(&agent.organisation, &agent.actor()).await?;
        let issued = authority::issue::gateway(&mut change, gateway, instance, &key, life).await;
        let issued = match of_store(issued)? {
            Ok(issued) => issued,
            Err(refusal) => return Ok(Err(refusal)),
        };
        change.audit("gateway.certificate-issued", &agent.actor(), shown(&issued));
        change.commit().await?;
        Ok(Ok(issued))
    })
    .await?;
    Ok(Json(answer(&app, issued.map_err(refused)?)))
}

pub(super) async fn relay(
    State(app): State<Arc<App>>,
    agent: Agent,
    Body(request): Body<CertificateRequest>,
) -> Result<Json<Certificate>, Problem> {
    let row = relay_agents::find(app.store.reader(), &agent.organisation, &agent.id).await?;
    let row = row.ok_or_else(|| Problem::not_found("relay"))?;
    let hosts = hosts(&row.urls);
    let own: Vec<&str> = [&agent.id, &agent.name].into_iter().chain(&hosts).map(String::as_str).collect();
    let key = csr::check(&request.csr, &own).map_err(|error| refused(error.into()))?;
    let issued = again(|| issue_to_relay(&app, &agent, &hosts, &key)).await?;
    Ok(Json(answer(&app, issued.map_err(refused)?)))
}

/// Gateways are told when the key is another than before.
async fn issue_to_relay(
    app: &App,
    agent: &Agent,
    hosts: &[String],
    key: &PublicKey,
) -> Result<Result<Issued, AuthorityError>, StoreError> {
    let life = app.config.times.relay_leaf;
    let mut change = app.store.change(&agent.organisation, &agent.actor()).await?;
    let issued = authority::platform_ca::relay(&mut change, &agent.id, hosts, key, life).await;
    let issued = match of_store(issued)? {
        Ok(issued) => issued,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let pin = STANDARD.encode(pin::of_key(&key.der()));
    if relay_agents::set_pin(&mut change, &agent.id, &pin).await? {
        change.bump().await?;
    }
    change.audit("relay.certificate-issued", &agent.actor(), shown(&issued));
    change.commit().await?;
    Ok(Ok(issued))
}

/// The hosts in the URLs of a relay, each once, in order.
fn hosts(urls: &[String]) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    for url in urls.iter().filter_map(|url| url.parse::<RelayUri>().ok()) {
        let host = match url.host {
            Host::Name(name) => name,
            Host::Address(ip) => ip.to_string(),
        };
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

fn shown(issued: &Issued) -> serde_json::Value {
    json!({ "serial": issued.serial, "not_after": issued.not_after })
}

fn answer(app: &App, issued: Issued) -> Certificate {
    let Issued { chain, serial, not_after, .. } = issued;
    Certificate { chain, serial, not_after, server_time: app.clock.now() }
}

/// Takes failures of the store apart from refusals: the former may be tried again.
pub(super) fn of_store<T>(
    outcome: Result<T, AuthorityError>,
) -> Result<Result<T, AuthorityError>, StoreError> {
    match outcome {
        Err(AuthorityError::Store(error)) => Err(error),
        other => Ok(other),
    }
}

/// What the caller is told when no certificate is issued.
pub(super) fn refused(error: AuthorityError) -> Problem {
    match error {
        AuthorityError::Request(error @ BadRequest::Mismatch(_)) => Problem::new(
            Code::NameMismatch,
            format!("{error}. Leave the names out: the platform knows who calls."),
        ),
        AuthorityError::Request(error) => Problem::new(Code::BadCsr, format!("{error}.")),
        AuthorityError::Store(error) => error.into(),
        other => Problem::internal(other),
    }
}
