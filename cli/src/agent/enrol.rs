//! Enrolment: a token that works once becomes an identity of this machine.
//!
//! The key is made here, and kept before it is shown, so that an attempt whose answer was lost is repeated with the
//! same one. The token is not kept: once the platform knows the key, nobody needs it.

use std::path::Path;
use std::time::Duration;

use adit_core::pki::Key;
use adit_platform::client::{Backoff, Client, ClientError, Distrust, Domain, Trust};
use adit_platform::trust::token::{Kind, Token};
use adit_platform::words::AgentKind;

use super::flags::Platform;
use super::state::{Membership, State, TrustedBy};
use crate::exit::{Exit, Failure};
use crate::{files, token};

/// An agent that has an identity, and a client that knows the platform.
pub(super) struct Member {
    pub(super) state: State,
    pub(super) key: Key,
    pub(super) membership: Membership,
    pub(super) client: Client,
}

/// Opens the state directory and enrols where that was not done yet. As long as the platform is away it is tried again.
pub(super) async fn join(flags: &Platform, domain: &Domain, kind: AgentKind) -> Result<Member, Failure> {
    let state = State::open(&flags.state_dir(word(kind)))?;
    let key = state.key()?;
    let membership = match state.membership()? {
        Some(membership) => membership,
        None => {
            let token = read_token(flags, kind)?;
            let membership = enrol(flags, domain, &token, &key).await?;
            check_kind(&membership, kind)?;
            state.set_membership(&membership)?;
            tracing::info!(name = membership.enrolled.name, "enrolled; the token is not needed any more");
            membership
        }
    };
    check_kind(&membership, kind)?;
    let trust = trust(flags, &membership)?;
    Ok(Member { client: Client::new(domain.clone(), &trust)?, state, key, membership })
}

fn read_token(flags: &Platform, kind: AgentKind) -> Result<Token, Failure> {
    let (wanted, command) = match kind {
        AgentKind::Gateway => (Kind::Gateway, "adit gateways enrol NAME"),
        AgentKind::Relay => (Kind::Relay, "adit relays enrol NAME"),
    };
    let Some(path) = &flags.token_file else {
        let directory = flags.state_dir(word(kind));
        let what = format!("{} holds no identity yet, so a token is needed", directory.display());
        let next = format!("{command} makes one for an administrator; give it with --token-file");
        return Err(Failure::new(Exit::Usage, what).next(next));
    };
    token::read(path, wanted)
}

async fn enrol(flags: &Platform, domain: &Domain, token: &Token, key: &Key) -> Result<Membership, Failure> {
    let trusted = match (&flags.ca_file, token.pin()) {
        (Some(path), _) => authorities(path)?,
        (None, Some(pin)) => Trust::Pinned(pin),
        (None, None) => Trust::Public,
    };
    let client = Client::new(domain.clone(), &trusted)?;
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    let mut told = None;
    let enrolled = loop {
        let error = match client.enrol(token, key).await {
            Ok(enrolled) => break enrolled,
            Err(error) if may_pass(&error) => error,
            Err(error) => return Err(error.into()),
        };
        let why = error.to_string();
        if told.as_ref() != Some(&why) {
            tracing::warn!("not enrolled yet, trying again: {why}");
        }
        told = Some(why);
        tokio::time::sleep(backoff.pause().max(error.retry_after().unwrap_or_default())).await;
    };
    let own_ca = matches!(trusted, Trust::Pinned(_));
    let trust = if own_ca { TrustedBy::PlatformCa } else { TrustedBy::Public };
    Ok(Membership { enrolled, trust })
}

/// Whether enrolment may succeed without anybody doing something about it. A machine's clock is often set only a while
/// after its start.
fn may_pass(error: &ClientError) -> bool {
    error.is_retryable() || matches!(error, ClientError::Untrusted { why: Distrust::NotYet, .. })
}

/// By what the platform's certificate is known from now on.
fn trust(flags: &Platform, membership: &Membership) -> Result<Trust, Failure> {
    match (&flags.ca_file, membership.trust) {
        (Some(path), _) => authorities(path),
        (None, TrustedBy::PlatformCa) => Ok(Trust::from_pem(membership.enrolled.platform_ca.as_bytes())?),
        (None, TrustedBy::Public) => Ok(Trust::Public),
    }
}

fn authorities(path: &Path) -> Result<Trust, Failure> {
    let pem = files::read(path, "the authority of the platform's certificate")?;
    Trust::from_pem(&pem).map_err(|error| Failure::from(error).within(path))
}

fn check_kind(membership: &Membership, kind: AgentKind) -> Result<(), Failure> {
    if membership.enrolled.kind == kind {
        return Ok(());
    }
    let is = word(membership.enrolled.kind);
    Err(Failure::config(format!("the state directory is that of a {is}, and this is a {}", word(kind)))
        .next("each agent needs a state directory of its own: --state-dir"))
}

fn word(kind: AgentKind) -> &'static str {
    match kind {
        AgentKind::Gateway => "gateway",
        AgentKind::Relay => "relay",
    }
}
