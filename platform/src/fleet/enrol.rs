//! Enrolment: a token that works once becomes an instance, or a relay, with a key of its own.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::platform_ca;
use crate::api::App;
use crate::api::extract::Body;
use crate::api::problem::{Code, Problem};
use crate::store::tokens::{Dead, TokenRow};
use crate::store::{
    StoreError, again, gateways, instances, organisations, relay_agents, relay_secrets, tokens,
};
use crate::trust::proof::BadProof;
use crate::trust::token::{Kind, Token};
use crate::trust::{proof, random_id};
use crate::words::{AgentKind, Enrol, Enrolled};

/// The longest public key, in base64: one of a P-256 key has 124 characters.
const MAX_KEY: usize = 256;

pub(super) async fn enrol(
    State(app): State<Arc<App>>,
    Body(request): Body<Enrol>,
) -> Result<(StatusCode, Json<Enrolled>), Problem> {
    let token = read_token(&request)?;
    check_key(&request, &token)?;
    let known = tokens::look_up(app.store.reader(), token.id()).await?;
    let known = known.filter(|known| known.is(&token)).ok_or_else(unknown_token)?;
    known.check(app.clock.now()).map_err(dead)?;
    let (kind, outcome) = match token.kind() {
        Kind::Relay => (AgentKind::Relay, again(|| relay(&app, &known, &request.public_key)).await),
        _ => (AgentKind::Gateway, again(|| gateway(&app, &known, &request.public_key)).await),
    };
    let (id, name) = outcome?.map_err(dead)?;
    tracing::info!(?kind, "an agent is enrolled");
    let organisation = organisations::name(app.store.reader(), &known.organisation).await?;
    let enrolled = Enrolled {
        kind,
        id,
        name,
        organisation: organisation.ok_or_else(unknown_token)?,
        trust_domain: app.trust_domain().to_owned(),
        platform_ca: platform_ca(&app).await?,
        server_time: app.clock.now(),
    };
    Ok((StatusCode::CREATED, Json(enrolled)))
}

fn read_token(request: &Enrol) -> Result<Token, Problem> {
    let token: Token = request.token.parse().map_err(|error| {
        Problem::new(Code::Unauthenticated, format!("The enrolment token does not read: {error}."))
    })?;
    match token.kind() {
        Kind::Gateway | Kind::Relay => Ok(token),
        Kind::Identity | Kind::Access => Err(Problem::new(
            Code::Unauthenticated,
            "This token does not enrol. Make one: adit gateways enrol, or adit relays enrol.",
        )),
    }
}

/// The caller has the private key, and means this very token.
fn check_key(request: &Enrol, token: &Token) -> Result<(), Problem> {
    let bounded = Some(&request.public_key).filter(|text| text.len() <= MAX_KEY);
    let public_key = bounded.and_then(|text| STANDARD.decode(text).ok());
    let public_key = public_key.ok_or_else(|| bad_proof(BadProof::Key))?;
    proof::verify(&public_key, &proof::enrolment(token.id(), &public_key), &request.signature)
        .map_err(bad_proof)
}

fn bad_proof(error: BadProof) -> Problem {
    Problem::bad_request(format!("The key is not enrolled: {error}."))
}

fn unknown_token() -> Problem {
    Problem::new(Code::Unauthenticated, "The enrolment token is not known here. Ask for a new one.")
}

fn dead(why: Dead) -> Problem {
    match why {
        Dead::Spent => Problem::new(
            Code::TokenSpent,
            "The enrolment token has been used. If that was not you, revoke what it enrolled; make a new token.",
        ),
        Dead::Revoked => Problem::new(Code::Revoked, "The enrolment token was revoked. Ask for a new one."),
        Dead::Expired => Problem::new(Code::Expired, "The enrolment token has run out. Ask for a new one."),
    }
}

/// Everything in one transaction: the token is spent for an instance that is there, or neither.
async fn gateway(
    app: &App,
    token: &TokenRow,
    key: &str,
) -> Result<Result<(String, String), Dead>, StoreError> {
    let gateway = gateways::find(&app.store, &token.organisation, None, &token.subject).await?;
    let Some(gateway) = gateway else { return Ok(Err(Dead::Revoked)) };
    let id = random_id();
    let object = format!("gateway:{}/{id}", gateway.name);
    let mut change = app.store.change(&token.organisation, &object).await?;
    if !tokens::spend(&mut change, &token.id).await? {
        return Ok(Err(Dead::Spent));
    }
    instances::enrol(&mut change, &id, &gateway.id, key).await?;
    change.audit("gateway.enrolled", &object, json!({ "token": token.id }));
    change.commit().await?;
    Ok(Ok((id, gateway.name)))
}

/// A relay that is enrolled again is another machine from then on: tokens of the one before end.
async fn relay(app: &App, token: &TokenRow, key: &str) -> Result<Result<(String, String), Dead>, StoreError> {
    let relay = relay_agents::find(app.store.reader(), &token.organisation, &token.subject).await?;
    let Some(relay) = relay else { return Ok(Err(Dead::Revoked)) };
    let object = format!("relay:{}", relay.name);
    let mut change = app.store.change(&token.organisation, &object).await?;
    if !tokens::spend(&mut change, &token.id).await? {
        return Ok(Err(Dead::Spent));
    }
    relay_agents::end_access(&mut change, &relay.id).await?;
    relay_agents::enrol(&mut change, &relay.id, key).await?;
    if relay.public_key.is_empty() {
        relay_secrets::make(&mut change, &relay.id).await?;
    }
    let again = !relay.public_key.is_empty();
    change.audit("relay.enrolled", &object, json!({ "token": token.id, "again": again }));
    change.commit().await?;
    Ok(Ok((relay.id, relay.name)))
}
