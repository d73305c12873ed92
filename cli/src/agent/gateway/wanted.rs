//! From the words of the platform to what the machine takes: which relays come and go, whom to trust, whom no more.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use adit_core::client::Families;
use adit_core::gateway::{RelayConfig, RelayTrust, RelayWay};
use adit_core::pki::{Anchors, Certified, Expected, Identity, Revoked, Role, tls};
use adit_core::time::WallCell;
use adit_core::tunnel::ALPN;
use adit_core::turn::credentials::Credentials;
use adit_core::turn::uri::RelayUri;
use adit_platform::words::{self, Enrolled, RelayAccess, RelayUse};
use rustls::ServerConfig;

/// How many relays are kept at once, whatever the platform wants.
const MAX_RELAYS: usize = 16;

/// How many characters of a reason the platform is told.
const MAX_REASON: usize = 120;

/// The relays that are kept, by their place in the gateway.
#[derive(Debug, Default)]
pub(super) struct Places {
    kept: BTreeMap<usize, Kept>,
}

#[derive(Debug)]
struct Kept {
    wanted: Wanted,
    addresses: Vec<SocketAddr>,
    lost: Option<String>,
}

/// A relay that the platform wants kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    id: String,
    name: String,
    /// The ways to it that its certificate's pin, or none, is enough for.
    uris: Vec<RelayUri>,
    trust: RelayTrust,
    credentials: Credentials,
    expires_at: u64,
}

/// What is to be done so that what is kept is what is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub(super) add: Vec<Wanted>,
    pub(super) renew: Vec<(usize, Credentials)>,
    pub(super) remove: Vec<usize>,
}

impl Places {
    /// Compares what is kept with what is wanted. Credentials that are renewed are noted as such.
    pub(super) fn changes(&mut self, wanted: &[RelayAccess]) -> Changes {
        let mut wanted: Vec<_> = wanted.iter().filter_map(Wanted::of).take(MAX_RELAYS).collect();
        let mut changes = Changes::default();
        for (&place, kept) in &mut self.kept {
            let same = |wanted: &Wanted| wanted.is_at(&kept.wanted);
            let Some(index) = wanted.iter().position(same) else {
                changes.remove.push(place);
                continue;
            };
            let wanted = wanted.remove(index);
            if wanted.credentials != kept.wanted.credentials {
                changes.renew.push((place, wanted.credentials.clone()));
            }
            kept.wanted = wanted;
        }
        changes.add = wanted;
        changes
    }

    pub(super) fn added(&mut self, place: usize, wanted: Wanted) {
        self.kept.insert(place, Kept { wanted, addresses: Vec::new(), lost: None });
    }

    pub(super) fn removed(&mut self, place: usize) {
        self.kept.remove(&place);
    }

    pub(super) fn allocated(&mut self, place: usize, addresses: &[SocketAddr]) {
        if let Some(kept) = self.kept.get_mut(&place) {
            kept.addresses = addresses.to_vec();
            kept.lost = None;
        }
    }

    /// There is no allocation at `place`. Whether that, or the reason, is news.
    pub(super) fn lost(&mut self, place: usize, reason: String) -> bool {
        let Some(kept) = self.kept.get_mut(&place) else { return false };
        kept.addresses.clear();
        let reason = Some(reason);
        let news = kept.lost != reason;
        kept.lost = reason;
        news
    }

    /// The name of the relay at `place`, for people.
    pub(super) fn name(&self, place: usize) -> String {
        self.kept.get(&place).map_or_else(|| "a former relay".to_owned(), |kept| kept.wanted.name.clone())
    }

    /// What the platform is told.
    pub(super) fn report(&self) -> Vec<RelayUse> {
        let relay = |kept: &Kept| RelayUse {
            relay: kept.wanted.id.clone(),
            addresses: kept.addresses.clone(),
            lost: kept.lost.as_ref().map(|reason| reason.chars().take(MAX_REASON).collect()),
        };
        self.kept.values().map(relay).collect()
    }

    /// When the first credentials run out.
    pub(super) fn first_expiry(&self) -> Option<u64> {
        self.kept.values().map(|kept| kept.wanted.expires_at).min()
    }
}

impl Wanted {
    /// The relay by all of its URLs that can be used. Those that are secured need its certificate's pin.
    fn of(access: &RelayAccess) -> Option<Self> {
        let pin = access.pin.as_ref().and_then(|pin| pin.parse().ok());
        let trust = RelayTrust { pin, ..RelayTrust::default() };
        let can_be_used = |uri: &RelayUri| RelayWay::of(uri, &trust, &WallCell::default()).is_ok();
        let uris = access.urls.iter().filter_map(|url| url.parse::<RelayUri>().ok());
        let uris: Vec<_> = uris.filter(can_be_used).collect();
        if uris.is_empty() {
            tracing::warn!(relay = access.name, "none of the relay's URLs can be used here; it is left out");
            return None;
        }
        let (username, password) = (access.username.clone(), access.password.clone());
        Some(Self {
            id: access.id.clone(),
            name: access.name.clone(),
            uris,
            trust,
            credentials: Credentials { username, password },
            expires_at: access.expires_at,
        })
    }

    /// Whether it is the same relay in the same place. Where nothing is secured, its certificate does not matter.
    fn is_at(&self, other: &Self) -> bool {
        let secured = self.uris.iter().any(|uri| uri.secure);
        self.id == other.id && self.uris == other.uris && (!secured || self.trust == other.trust)
    }

    /// How the machine keeps it, whose clock is `wall`.
    pub(super) fn config(&self, wall: &WallCell) -> RelayConfig {
        let ways = self.uris.iter().filter_map(|uri| RelayWay::of(uri, &self.trust, wall).ok());
        RelayConfig { ways: ways.collect(), credentials: self.credentials.clone(), families: Families::Both }
    }
}

/// The name that our certificate must have.
pub(super) fn identity(enrolled: &Enrolled) -> Option<Identity> {
    Some(Identity {
        trust_domain: enrolled.trust_domain.parse().ok()?,
        organisation: enrolled.organisation.parse().ok()?,
        role: Role::Gateway { gateway: enrolled.name.parse().ok()?, instance: enrolled.id.parse().ok()? },
    })
}

/// Whom to trust as connectors.
pub(super) fn trusted(pem: &str) -> Result<Anchors, String> {
    Anchors::from_pem(pem.as_bytes()).map_err(|error| format!("the connectors' authorities: {error}"))
}

/// TLS with our certificate, for connectors of our organisation.
pub(super) fn server_tls(
    own: &Certified,
    anchors: Anchors,
    enrolled: &Enrolled,
    wall: WallCell,
) -> Result<Arc<ServerConfig>, String> {
    let identity = identity(enrolled).ok_or("the names of the organisation and the gateway are none")?;
    let expected = Expected { organisation: identity.organisation, trust_domain: identity.trust_domain };
    tls::server_config(own, anchors, expected, &[ALPN], wall).map_err(|error| error.to_string())
}

/// Who is revoked. What can't be read names nobody whom this gateway could let in.
pub(super) fn revoked(words: &words::Revoked) -> Revoked {
    let serials = words.serials.iter().filter_map(|serial| unhex(serial));
    Revoked::new(serials, words.identities.iter().filter_map(|identity| identity.parse().ok()))
}

/// Bytes in lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    // A number may be written without the zero in front.
    let text = if text.len() % 2 == 1 { format!("0{text}") } else { text.to_owned() };
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let pairs = digits?;
    let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits make a byte");
    Some(pairs.chunks_exact(2).map(byte).collect())
}

#[cfg(test)]
mod tests {
    use adit_core::client::Over;

    use super::*;

    fn relay(id: &str, url: &str, username: &str) -> RelayAccess {
        RelayAccess {
            id: id.into(),
            name: format!("relay-{id}"),
            urls: vec!["turns:a:443?transport=tcp".into(), url.into()],
            username: username.into(),
            password: "p".into(),
            expires_at: username.len() as u64,
            pin: None,
        }
    }

    /// Does what `places` say, with places that count up from `next`.
    fn apply(places: &mut Places, wanted: &[RelayAccess], next: usize) -> Changes {
        let changes = places.changes(wanted);
        for (index, wanted) in changes.add.iter().enumerate() {
            places.added(next + index, wanted.clone());
        }
        changes.remove.iter().for_each(|&place| places.removed(place));
        changes
    }

    #[test]
    fn relays_come_go_and_are_renewed() {
        let mut places = Places::default();
        let (a, b) = (relay("a", "turn:a", "u"), relay("b", "turn:b", "u"));
        assert_eq!(apply(&mut places, &[a.clone(), b.clone()], 0).add.len(), 2);
        assert_eq!(places.changes(&[b.clone(), a.clone()]), Changes::default(), "their order is no change");
        let renewed = relay("a", "turn:a", "longer");
        let changes = apply(&mut places, &[renewed.clone(), b], 2);
        let credentials = Credentials { username: "longer".into(), password: "p".into() };
        assert_eq!(changes, Changes { renew: vec![(0, credentials)], ..Changes::default() });
        assert_eq!(places.first_expiry(), Some(1));
        assert_eq!(apply(&mut places, &[renewed], 2).remove, [1]);
        assert_eq!((places.report().len(), places.first_expiry()), (1, Some(6)));
    }

    #[test]
    fn a_relay_that_has_moved_is_another_one() {
        let mut places = Places::default();
        apply(&mut places, &[relay("a", "turn:old", "u")], 0);
        let changes = apply(&mut places, &[relay("a", "turn:new", "u")], 1);
        assert_eq!((changes.add.len(), changes.remove), (1, vec![0]));
    }

    #[test]
    fn a_relay_without_a_pin_is_not_used_by_what_is_secured() {
        let mut places = Places::default();
        assert_eq!(
            places.changes(&[relay("a", "turns:b:443", "u"), relay("b", "nonsense", "u")]),
            Changes::default()
        );
        let pinned = RelayAccess {
            pin: Some("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".into()),
            ..relay("a", "turns:b?transport=udp", "u")
        };
        let changes = places.changes(std::slice::from_ref(&pinned));
        let over: Vec<_> =
            changes.add[0].config(&WallCell::default()).ways.iter().map(|way| way.transport.over()).collect();
        assert_eq!(over, [Over::Tls, Over::Dtls]);
        let changes = apply(&mut places, std::slice::from_ref(&pinned), 0);
        assert_eq!(changes.add.len(), 1);
        let renewed = RelayAccess { pin: None, urls: vec!["turn:b".into()], ..pinned };
        assert_eq!(apply(&mut places, &[renewed], 1).remove, [0], "another certificate is another relay");
        let many: Vec<_> = (0..99).map(|n| relay(&n.to_string(), "turn:a", "u")).collect();
        assert_eq!(places.changes(&many).add.len(), MAX_RELAYS);
    }

    #[test]
    fn a_loss_is_news_once() {
        let mut places = Places::default();
        apply(&mut places, &[relay("a", "turn:a", "u")], 0);
        places.allocated(0, &["192.0.2.1:1".parse().unwrap()]);
        assert!(places.lost(0, "gone".into()) && !places.lost(0, "gone".into()));
        assert!(places.lost(0, "silent".into()) && !places.lost(7, "gone".into()));
        let [report] = &places.report()[..] else { panic!("one relay") };
        assert_eq!((report.addresses.len(), report.lost.as_deref()), (0, Some("silent")));
        places.allocated(0, &["192.0.2.1:1".parse().unwrap()]);
        assert_eq!(places.report()[0].lost, None);
    }

    #[test]
    fn serials_are_read_as_they_are_written() {
        for bytes in [vec![0x81, 2], vec![1], vec![0, 255]] {
            assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        }
        assert_eq!((unhex("1ff"), unhex("xy"), unhex("+1")), (Some(vec![1, 255]), None, None));
        let words = words::Revoked {
            serials: vec!["zz".into(), "81".into()],
            identities: vec!["spiffe://d/org/o/person/ada".into(), "nobody".into()],
        };
        let ada = "spiffe://d/org/o/person/ada".parse().unwrap();
        assert_eq!(revoked(&words), Revoked::new([vec![0x81]], [ada]));
    }
}
