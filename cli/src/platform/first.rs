//! A first relay and a first gateway, made with the platform itself, before it runs.

use adit_platform::clock::Clock;
use adit_platform::store::{Change, INSTALLATION, StoreError, gateways, organisations, relays, tokens};
use adit_platform::trust::token::{Kind, Pin, Token};
use serde_json::json;
use zeroize::Zeroizing;

use super::init::Init;
use super::{Place, not_opened, store};
use crate::exit::Failure;

/// Who makes them, in the audit.
const ACTOR: &str = "platform";
/// The relay's name.
const RELAY: &str = "relay-1";
/// For how long their tokens are good, in seconds.
const LIFE: u64 = 24 * 3_600;

/// Makes what `flags` ask for. Names and tokens.
pub(super) async fn make(
    place: &Place,
    admin: &Zeroizing<String>,
    flags: &Init,
) -> Result<Vec<(&'static str, Zeroizing<String>)>, Failure> {
    if flags.relay().is_none() && flags.gateway().is_none() {
        return Ok(Vec::new());
    }
    let pin = admin.parse::<Token>().ok().and_then(|token| token.pin());
    let opened = place.home()?.open(Clock::system()).await.map_err(|error| not_opened(&error))?;
    let mut made = Vec::new();
    if let Some(url) = flags.relay() {
        let mut change = opened.change(INSTALLATION, ACTOR).await.map_err(|error| store(&error))?;
        let token = relay(&mut change, &url.to_string(), pin).await.map_err(|error| store(&error))?;
        change.commit().await.map_err(|error| store(&error))?;
        made.push(("relay", token));
    }
    if let Some(name) = flags.gateway() {
        let found = organisations::find(opened.reader(), flags.organisation()).await;
        let organisation = found.map_err(|error| store(&error))?.expect("init has just made it");
        let mut change = opened.change(&organisation.id, ACTOR).await.map_err(|error| store(&error))?;
        let token = gateway(&mut change, name.as_str(), pin).await.map_err(|error| store(&error))?;
        change.commit().await.map_err(|error| store(&error))?;
        made.push(("gateway", token));
    }
    opened.close().await;
    Ok(made)
}

async fn relay(change: &mut Change, url: &str, pin: Option<Pin>) -> Result<Zeroizing<String>, StoreError> {
    let relay = relays::create(change, RELAY, &[url.to_owned()]).await?;
    change.audit("relay.created", &format!("relay:{RELAY}"), json!({ "urls": [url] }));
    enrolment(change, Kind::Relay, &relay.id, RELAY, pin).await
}

async fn gateway(change: &mut Change, name: &str, pin: Option<Pin>) -> Result<Zeroizing<String>, StoreError> {
    let gateway = gateways::create(change, name).await?;
    change.audit("gateway.created", &format!("gateway:{name}"), json!({}));
    enrolment(change, Kind::Gateway, &gateway.id, name, pin).await
}

async fn enrolment(
    change: &mut Change,
    kind: Kind,
    subject: &str,
    name: &str,
    pin: Option<Pin>,
) -> Result<Zeroizing<String>, StoreError> {
    let token = Token::new(kind, pin);
    let expires_at = crate::when::now().0 + LIFE;
    tokens::make(change, &token, subject, Some(expires_at)).await?;
    let (action, object) = match kind {
        Kind::Relay => ("relay.enrolment-token-created", format!("relay:{name}")),
        _ => ("gateway.enrolment-token-created", format!("gateway:{name}")),
    };
    change.audit(action, &object, json!({ "token": token.id(), "expires_at": expires_at }));
    Ok(token.reveal())
}
