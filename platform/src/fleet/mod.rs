//! The fleet: gateway instances and relays, from their enrolment on; and the way to them for persons.
//!
//! ```text
//!  enrol ─▶ token ─▶ session ─▶ certificate ─▶ heartbeat ─▶ heartbeat ─▶ …
//!                       │                          │
//!                       └── desired state ◀────────┴─▶ health ◀── PONGs of the watcher
//! ```
//!
//! - `enrol`, `nonce`, `token` — who an agent is.
//! - `session`, `certificate`, `heartbeat` — what a gateway instance asks; `relay` — what a relay asks.
//! - `desired` — what is wanted of an instance; `health` — how it is.
//! - `forwarding` — certificates of persons, and from where they come.
//! - `instances` — the platform's own; `duties` — what happens without being asked.

mod certificate;
pub mod desired;
pub mod duties;
mod enrol;
mod forwarding;
pub mod health;
mod heartbeat;
mod instances;
mod nonce;
mod relay;
mod session;
pub(crate) mod settle;
mod token;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::api::App;
use crate::api::caller::Permission;
use crate::api::problem::Problem;
use crate::api::routes::{Needs, Route};
use crate::words;
use crate::words::AgentKind;

/// What the handlers of agents share.
#[derive(Debug, Default)]
pub struct Fleet {
    nonces: nonce::Nonces,
    /// What each instance last reported to this platform instance.
    reported: Mutex<BTreeMap<String, Vec<SocketAddr>>>,
    /// Rung when a gateway instance reports addresses that it did not report before.
    pub(crate) addresses_changed: Notify,
    /// Rung when a relay begins.
    pub(crate) relay_began: Notify,
}

impl Fleet {
    /// Notes the addresses that an instance reports, and wakes the watcher when they are others than before.
    fn note(&self, instance: &str, addresses: &[SocketAddr]) {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.get(instance).is_some_and(|known| known == addresses) {
            return;
        }
        reported.insert(instance.to_owned(), addresses.to_vec());
        drop(reported);
        self.addresses_changed.notify_one();
    }

    /// Forgets what an instance reported: it has ended, or begins anew.
    fn forget(&self, instance: &str) {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).remove(instance);
        self.addresses_changed.notify_one();
    }
}

/// The platform CA, PEM.
async fn platform_ca(app: &App) -> Result<String, Problem> {
    Ok(crate::authority::platform_ca::certificate(app.store.reader()).await?)
}

/// The routes of agents, of persons' connectors, and of platform instances.
pub(crate) fn routes() -> Vec<Route> {
    [first_contact(), of_gateways(), of_relays(), of_forwardings(), of_platform_instances()].concat()
}

fn first_contact() -> Vec<Route> {
    vec![
        Route::post("/v1/enrol", Needs::Nobody, enrol::enrol)
            .limited()
            .named("enrol", "Exchanges an enrolment token for an instance of a gateway, or for a relay.")
            .takes::<words::Enrol>()
            .creates::<words::Enrolled>(),
        Route::get("/v1/auth/nonce", Needs::Nobody, token::nonce)
            .limited()
            .named("getNonce", "A number that the next proof must contain.")
            .answers::<words::Nonce>(),
        Route::post("/v1/auth/token", Needs::Nobody, token::token)
            .limited()
            .named("createAccessToken", "Exchanges a proof of an agent's key for a token that lives shortly.")
            .takes::<words::Proof>()
            .answers::<words::AccessToken>(),
    ]
}

fn of_gateways() -> Vec<Route> {
    let needs = Needs::Agent(AgentKind::Gateway);
    vec![
        Route::post("/v1/gateways/self/session", needs, session::begin)
            .named("beginGatewaySession", "A process of a gateway instance begins.")
            .takes::<words::NewSession>()
            .answers::<words::Session>(),
        Route::delete("/v1/gateways/self/session", needs, session::end)
            .named("endGatewaySession", "A process of a gateway instance ends."),
        Route::post("/v1/gateways/self/certificate", needs, certificate::gateway)
            .named("issueGatewayCertificate", "A certificate for the gateway instance that calls.")
            .takes::<words::CertificateRequest>()
            .answers::<words::Certificate>(),
        Route::post("/v1/gateways/self/heartbeat", needs, heartbeat::heartbeat)
            .named("gatewayHeartbeat", "A gateway instance reports, and is told what is wanted of it.")
            .takes::<words::Heartbeat>()
            .answers::<words::HeartbeatAnswer>(),
    ]
}

fn of_relays() -> Vec<Route> {
    let needs = Needs::Agent(AgentKind::Relay);
    vec![
        Route::post("/v1/relays/self/session", needs, relay::begin)
            .named("beginRelaySession", "A process of a relay begins.")
            .takes::<words::NewSession>()
            .answers::<words::RelaySession>(),
        Route::delete("/v1/relays/self/session", needs, relay::end)
            .named("endRelaySession", "A process of a relay ends."),
        Route::post("/v1/relays/self/certificate", needs, certificate::relay)
            .named("issueRelayCertificate", "A certificate for the relay that calls.")
            .takes::<words::CertificateRequest>()
            .answers::<words::Certificate>(),
        Route::post("/v1/relays/self/heartbeat", needs, relay::heartbeat)
            .named("relayHeartbeat", "A relay reports, and is told its secrets.")
            .takes::<words::RelayHeartbeat>()
            .answers::<words::RelayHeartbeatAnswer>(),
        Route::post(
            "/v1/relays/{relay}/rotate-secret",
            Needs::Permission(Permission::ManageRelays),
            relay::rotate,
        )
        .named(
            "rotateRelaySecret",
            "Makes a new secret for a relay; the old one lives on as long as what it signed.",
        ),
    ]
}

fn of_forwardings() -> Vec<Route> {
    let needs = Needs::Permission(Permission::Forward);
    vec![
        Route::post("/v1/forwardings", needs, forwarding::create)
            .named("createForwarding", "A certificate for the caller that reaches targets behind a gateway.")
            .takes::<words::NewForwarding>()
            .creates::<words::Forwarding>(),
        Route::get("/v1/forwardings/gateways/{gateway}", needs, forwarding::way)
            .named("getWay", "How a gateway is reached now.")
            .answers::<words::Way>(),
        Route::put("/v1/forwardings/addresses", needs, forwarding::set_addresses)
            .named(
                "setConnectorAddresses",
                "Says from where a connector comes, so that the gateway lets it in.",
            )
            .takes::<words::ConnectorAddresses>()
            .answers::<words::Permitted>(),
    ]
}

fn of_platform_instances() -> Vec<Route> {
    vec![
        Route::get("/v1/platform/instances", Needs::Operator, instances::list)
            .named("listPlatformInstances", "The instances of the platform.")
            .lists::<words::PlatformInstance>(),
        Route::delete("/v1/platform/instances/{instance}", Needs::Operator, instances::revoke)
            .named("revokePlatformInstance", "Revokes a platform instance; gateways close its connections."),
    ]
}

#[cfg(test)]
pub(crate) mod tests;
