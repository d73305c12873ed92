//! What the platform lets us do: certificate, way, and the addresses that it knows us by.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_core::connector::GatewayConfig;
use adit_core::pki::verify::GatewayVerifier;
use adit_core::pki::{Anchors, Certified, Expected, Key, KeyKind, Name, Revoked, pem, tls};
use adit_core::time::{UnixTime, WallCell};
use adit_core::tunnel::{ALPN, Target};
use adit_core::turn::uri::RelayUri;
use adit_platform::client::{Client, Skew, segment};
use adit_platform::words::{ConnectorAddresses, Forwarding, NewForwarding, Permitted, Way};
use adit_tokio::PoolInstance;
use rustls::ClientConfig;

use crate::exit::{Exit, Failure};
use crate::when;

/// Access to one target behind one gateway.
pub(super) struct Access {
    client: Client,
    target: String,
    wall: WallCell,
    own: Certified,
    granted: Forwarding,
    /// When `granted` came.
    since: UnixTime,
    relays: Vec<RelayUri>,
    /// TLS for each instance, made for the present certificate and anchors.
    tls: BTreeMap<String, Arc<ClientConfig>>,
    /// What the platform was told, with which certificate.
    registered: Option<(String, Vec<IpAddr>)>,
}

impl Access {
    pub(super) async fn begin(
        client: Client,
        gateway: &str,
        target: &Target,
        wall: WallCell,
    ) -> Result<Self, Failure> {
        let target = target.to_string();
        let (own, granted) = ask(&client, gateway, &target).await?;
        if let Some(seconds) = Skew::between(when::now().0, granted.server_time).intolerable() {
            tracing::warn!(
                seconds,
                "this machine's clock is not the platform's: certificates may be refused"
            );
        }
        let relays = relays(&granted.way);
        let (since, tls) = (when::now(), BTreeMap::new());
        Ok(Self { client, target, wall, own, granted, since, relays, tls, registered: None })
    }

    /// The gateway's name.
    pub(super) fn gateway(&self) -> &str {
        &self.granted.gateway
    }

    /// The relays that can tell us our address.
    pub(super) fn relays(&self) -> &[RelayUri] {
        &self.relays
    }

    /// Whether the certificate has lived half of its life, or runs out before long.
    pub(super) fn is_half_spent(&self, now: UnixTime) -> bool {
        let life = self.granted.not_after.saturating_sub(self.granted.server_time);
        now.0.saturating_sub(self.since.0) >= life / 2 || now < self.since
    }

    /// Asks how the gateway is reached now; with `renew`, for a new certificate too.
    pub(super) async fn look(&mut self, renew: bool) -> Result<(), Failure> {
        let anchors = self.granted.way.gateway_anchors.clone();
        if renew {
            let gateway = self.granted.gateway.clone();
            (self.own, self.granted) = ask(&self.client, &gateway, &self.target).await?;
            self.since = when::now();
            self.tls.clear();
            tracing::info!("the certificate was renewed");
        } else {
            let path = format!("/v1/forwardings/gateways/{}", segment(&self.granted.gateway));
            self.granted.way = self.client.get(&path).await?;
        }
        if self.granted.way.gateway_anchors != anchors {
            self.tls.clear();
        }
        self.relays = relays(&self.granted.way);
        Ok(())
    }

    /// Whom to trust no more.
    pub(super) fn revoked(&self) -> Revoked {
        let words = &self.granted.way.revoked;
        let serials = words.serials.iter().filter_map(|serial| from_hex(serial));
        Revoked::new(serials, words.identities.iter().filter_map(|identity| identity.parse().ok()))
    }

    /// The gateway's instances, each with TLS that believes only that one.
    pub(super) fn instances(&mut self) -> Result<Vec<PoolInstance>, Failure> {
        let ways = self.granted.way.instances.clone();
        self.tls.retain(|id, _| ways.iter().any(|way| way.instance == *id));
        let instance = |way: adit_platform::words::WayTo| {
            let tls = self.tls(&way.instance)?;
            // No server name is sent: the certificate says who answers.
            let gateway = GatewayConfig { tls, server_name: "gateway".into(), addresses: way.addresses };
            Ok(PoolInstance { id: way.instance, gateway })
        };
        ways.into_iter().map(instance).collect()
    }

    fn tls(&mut self, instance: &str) -> Result<Arc<ClientConfig>, Failure> {
        if let Some(tls) = self.tls.get(instance) {
            return Ok(Arc::clone(tls));
        }
        let Forwarding { way, organisation, gateway, trust_domain, .. } = &self.granted;
        let anchors = pem::certificates(way.gateway_anchors.as_bytes()).map_err(nonsense)?;
        let anchors = Anchors::new(&anchors).map_err(nonsense)?;
        let expected = Expected {
            organisation: organisation.parse().map_err(nonsense)?,
            trust_domain: trust_domain.parse().map_err(nonsense)?,
        };
        let gateway: Name = gateway.parse().map_err(nonsense)?;
        let only = instance.parse().map_err(nonsense)?;
        let verifier = GatewayVerifier::new(anchors, expected, gateway).only(only);
        let tls = tls::client_config_with(&self.own, verifier, &[ALPN], self.wall.clone());
        let tls = tls.map_err(|error| Failure::new(Exit::Certificate, error))?;
        self.tls.insert(instance.to_owned(), Arc::clone(&tls));
        Ok(tls)
    }

    /// Tells the platform the addresses that were `found`, unless it knows them under the present certificate. In what
    /// time the gateway lets them in.
    pub(super) async fn register(&mut self, mut found: Vec<IpAddr>) -> Result<Option<Duration>, Failure> {
        found.sort();
        let serial = &self.granted.serial;
        match &self.registered {
            // No relay answers now; a new certificate still needs its permission.
            Some((known, addresses)) if found.is_empty() && known != serial => found = addresses.clone(),
            Some((known, addresses)) if known == serial && *addresses == found => return Ok(None),
            _ => {}
        }
        if found.is_empty() {
            return Err(no_relay(self.relays.len()));
        }
        let body = ConnectorAddresses { serial: serial.clone(), addresses: found.clone() };
        let permitted: Permitted = self.client.put("/v1/forwardings/addresses", &body).await?;
        tracing::debug!(addresses = ?found, "the gateway is told to let us in");
        self.registered = Some((serial.clone(), found));
        Ok(Some(Duration::from_secs(permitted.effective_within)))
    }
}

/// A certificate for a new key.
async fn ask(client: &Client, gateway: &str, target: &str) -> Result<(Certified, Forwarding), Failure> {
    let key = Key::generate(KeyKind::EcdsaP256);
    let wish = NewForwarding {
        gateway: gateway.to_owned(),
        targets: vec![target.to_owned()],
        csr: key.request_pem(),
    };
    let granted: Forwarding = client.post("/v1/forwardings", &wish).await?;
    let chain = pem::certificates(granted.chain.as_bytes()).map_err(nonsense)?;
    let own = Certified::new(chain, key).map_err(nonsense)?;
    Ok((own, granted))
}

/// Those that are asked over UDP; a connector has nothing else.
fn relays(way: &Way) -> Vec<RelayUri> {
    let uris = way.relays.iter().filter_map(|url| url.parse::<RelayUri>().ok());
    uris.filter(RelayUri::is_plain_udp).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(byte).collect())?
}

fn nonsense(error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Certificate, format!("what the platform has issued can't be used: {error}"))
        .next("are the platform and this program of one version?")
}

fn no_relay(count: usize) -> Failure {
    let what = match count {
        0 => "the gateway has no relay that could tell us our address".to_owned(),
        count => format!("none of {count} relays answers, so the gateway can't be told to let us in"),
    };
    Failure::new(Exit::RelayUnreachable, what)
        .next("may this machine send UDP to them? adit relays ls shows how they are")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_hex() {
        assert_eq!(from_hex("00ff1A"), Some(vec![0, 255, 26]));
        for text in ["0", "zz", "é"] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn only_relays_that_are_spoken_to_are_asked() {
        let urls = ["turn:192.0.2.1:3478?transport=udp", "turns:192.0.2.1:5349?transport=tcp", "http://x"];
        let way = Way {
            gateway_anchors: String::new(),
            instances: Vec::new(),
            relays: urls.map(String::from).to_vec(),
            revoked: adit_platform::words::Revoked::default(),
        };
        assert_eq!(relays(&way).len(), 1);
    }
}
