//! The `relays` of a gateway's file: where each is, and by what its certificate is known.

use std::fmt;
use std::path::{Path, PathBuf};

use adit_core::gateway::{RelayTrust, RelayWay};
use adit_core::pki::{Anchors, pem};
use adit_core::secure::Pin;
use adit_core::time::WallCell;
use adit_core::turn::uri::RelayUri;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::toml_file::Text;
use crate::exit::{Exit, Failure};
use crate::files;

/// One relay: its URI, or a table.
#[derive(Debug)]
pub(super) struct RelayToml(Table);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    urls: Vec<Text<RelayUri>>,
    pin: Option<Text<Pin>>,
    #[serde(default)]
    trust_anchor: Vec<PathBuf>,
}

/// A relay, by all its ways.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Relay {
    uris: Vec<RelayUri>,
    trust: RelayTrust,
}

impl<'de> Deserialize<'de> for RelayToml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RelayToml;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a relay's URI, or a table with `urls`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RelayToml, E> {
                let uri = Text::deserialize(StrDeserializer::new(text))?;
                Ok(RelayToml(Table { urls: vec![uri], pin: None, trust_anchor: Vec::new() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RelayToml, A::Error> {
                Table::deserialize(MapAccessDeserializer::new(map)).map(RelayToml)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// All of them; files are named relative to `base`.
pub(super) fn load(relays: Vec<RelayToml>, base: &Path) -> Result<Vec<Relay>, Failure> {
    if relays.is_empty() {
        return Err(Failure::config("relays is empty, so the gateway could be reached nowhere")
            .next("name one: relays = [\"turn:relay.example:3478?transport=udp\"]"));
    }
    relays.into_iter().map(|RelayToml(table)| table.load(base)).collect()
}

impl Table {
    fn load(self, base: &Path) -> Result<Relay, Failure> {
        let uris: Vec<RelayUri> = self.urls.into_iter().map(|Text(uri)| uri).collect();
        if uris.is_empty() {
            return Err(Failure::config("urls is empty, so this relay could be reached nowhere"));
        }
        let pin = self.pin.map(|Text(pin)| pin);
        let anchors = anchors(&self.trust_anchor, base)?;
        // Asked for only where they count: an operating system has a hundred and more.
        let by_name = pin.is_none() && anchors.is_none();
        let public = by_name && uris.iter().any(|uri| uri.secure);
        let relay =
            Relay { uris, trust: RelayTrust { pin, anchors, public: public.then(public_anchors).flatten() } };
        relay.ways(&WallCell::default())?;
        Ok(relay)
    }
}

fn anchors(paths: &[PathBuf], base: &Path) -> Result<Option<Anchors>, Failure> {
    let mut certificates = Vec::new();
    for path in paths {
        let text = files::read(&base.join(path), "the relay's trust-anchor")?;
        let unusable =
            |error| Failure::new(Exit::Certificate, format!("{} can't be used: {error}", path.display()));
        certificates.extend(pem::certificates(&text).map_err(unusable)?);
    }
    if certificates.is_empty() {
        return Ok(None);
    }
    let anchors = Anchors::new(&certificates);
    anchors
        .map(Some)
        .map_err(|error| Failure::new(Exit::Certificate, format!("a relay's trust-anchor: {error}")))
}

fn public_anchors() -> Option<Anchors> {
    Anchors::usable(&rustls_native_certs::load_native_certs().certs)
}

impl Relay {
    /// The ways to it, for a machine whose clock is `wall`.
    pub(crate) fn ways(&self, wall: &WallCell) -> Result<Vec<RelayWay>, Failure> {
        let way = |uri: &RelayUri| {
            RelayWay::of(uri, &self.trust, wall).map_err(|error| {
                Failure::config(format!("{uri}: {error}"))
                    .next("write it as { urls = [\"turns:…\"], pin = \"…\" } or with trust-anchor = [\"relay-ca.pem\"]")
            })
        };
        self.uris.iter().map(way).collect()
    }
}

impl fmt::Display for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uris: Vec<String> = self.uris.iter().map(ToString::to_string).collect();
        f.write_str(&uris.join(", or "))?;
        match &self.trust {
            RelayTrust { pin: Some(pin), .. } => write!(f, " (pinned: {pin})"),
            RelayTrust { anchors: Some(_), .. } => f.write_str(" (known by its own authority)"),
            RelayTrust { public: Some(_), .. } => f.write_str(" (known by public authorities)"),
            RelayTrust { .. } => Ok(()),
        }
    }
}
