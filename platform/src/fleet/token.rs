//! Access tokens: a proof of the agent's key becomes a token that lives shortly.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::nonce::not_ours;
use crate::api::App;
use crate::api::extract::Body;
use crate::api::problem::{Code, Problem};
use crate::store::{StoreError, again, instances, nonces, relay_agents, tokens};
use crate::trust::proof;
use crate::trust::token::{Kind, Token};
use crate::words::{AccessToken, Nonce, Proof};

pub(super) async fn nonce(State(app): State<Arc<App>>) -> Result<Json<Nonce>, Problem> {
    let (now, life) = (app.clock.now(), app.config.times.nonce.as_secs().max(1));
    let nonce = app.fleet.nonces.make(&app.store, now.saturating_add(life)).await?;
    Ok(Json(Nonce { nonce, expires_in: life, server_time: now }))
}

pub(super) async fn token(
    State(app): State<Arc<App>>,
    Body(proof): Body<Proof>,
) -> Result<Json<AccessToken>, Problem> {
    let now = app.clock.now();
    check_clock(proof.time, now)?;
    let subject = subject(&app, &proof.id).await?.ok_or_else(unproven)?;
    let text = proof::access(app.trust_domain(), &proof.id, &proof.nonce, proof.time);
    let public_key = STANDARD.decode(&subject.public_key).map_err(Problem::internal)?;
    proof::verify(&public_key, &text, &proof.signature).map_err(|_| unproven())?;
    if subject.is_revoked {
        return Err(Problem::new(Code::Revoked, "The instance was revoked. Enrol a new one."));
    }
    let nonce_expires_at = app.fleet.nonces.read(&app.store, &proof.nonce, now).await?;
    let life = app.config.times.access_token.as_secs();
    let issue = || issue(&app, &subject, &proof, nonce_expires_at, now.saturating_add(life));
    let token = again(issue).await?.ok_or_else(not_ours)?;
    Ok(Json(AccessToken { access_token: token.reveal().to_string(), expires_in: life, server_time: now }))
}

/// Before anything is proven, so that a machine with a wrong clock learns the right time.
fn check_clock(theirs: u64, now: u64) -> Result<(), Problem> {
    if theirs.abs_diff(now) <= proof::MAX_SKEW {
        return Ok(());
    }
    let detail = format!(
        "Your clock says {theirs}, the platform's {now}: more than {} s apart. Set the clock.",
        proof::MAX_SKEW
    );
    Err(Problem::new(Code::ClockSkew, detail))
}

/// The same words for an unknown id and a wrong key: nobody learns which ids there are.
fn unproven() -> Problem {
    Problem::new(Code::Unauthenticated, "Nobody is enrolled with this id and this key.")
}

struct Subject {
    id: String,
    organisation: String,
    public_key: String,
    is_revoked: bool,
}

async fn subject(app: &App, id: &str) -> Result<Option<Subject>, StoreError> {
    if let Some(row) = instances::find_anywhere(app.store.reader(), id).await? {
        let is_revoked = row.revoked_at != 0;
        let (id, organisation, public_key) = (row.id, row.organisation, row.public_key);
        return Ok(Some(Subject { id, organisation, public_key, is_revoked }));
    }
    let relay = relay_agents::find_anywhere(app.store.reader(), id).await?;
    let relay = relay.filter(|relay| !relay.public_key.is_empty());
    Ok(relay.map(|relay| Subject {
        id: relay.id,
        organisation: relay.organisation,
        public_key: relay.public_key,
        is_revoked: false,
    }))
}

/// `None` where the nonce was used before.
async fn issue(
    app: &App,
    subject: &Subject,
    proof: &Proof,
    nonce_expires_at: u64,
    expires_at: u64,
) -> Result<Option<Token>, StoreError> {
    let mut change = app.store.quiet_change(&subject.organisation).await?;
    if !nonces::spend(&mut change, &proof.nonce, nonce_expires_at).await? {
        return Ok(None);
    }
    let token = Token::new(Kind::Access, None);
    tokens::make(&mut change, &token, &subject.id, Some(expires_at)).await?;
    change.commit().await?;
    Ok(Some(token))
}
