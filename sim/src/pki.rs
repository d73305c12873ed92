//! The certificates of a world: Ed25519 throughout, from keys and serial numbers that count up, with fixed dates.
//! Nothing about them differs between two runs, their lengths least of all.

use std::time::Duration;

use adit_core::pki::{
    Anchors, Authority, Certified, Expected, Key, Name, Office, Role, Serial, Terms, TrustDomain,
};
use adit_core::time::UnixTime;

use crate::clock::UNIX_START;

const DAY: Duration = Duration::from_secs(86_400);

/// When a certificate is good, seen from when it is issued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// From shortly before, for that long from then on.
    For(Duration),
    /// It ran out the day before.
    Expired,
    /// It begins the day after.
    NotYet,
}

impl Default for Validity {
    fn default() -> Self {
        Self::For(30 * DAY)
    }
}

impl Validity {
    fn terms(self, serial: Serial, start: UnixTime) -> Terms {
        let shifted = |by: i64| UnixTime(start.0.saturating_add_signed(by));
        let day = DAY.as_secs().cast_signed();
        match self {
            Self::For(life) => Terms::new(serial, start, life),
            Self::Expired => Terms { serial, not_before: shifted(-2 * day), not_after: shifted(-day) },
            Self::NotYet => Terms { serial, not_before: shifted(day), not_after: shifted(2 * day) },
        }
    }
}

/// Everybody who issues certificates in a world: any number of organisations, and any number of unrelated
/// authorities that claim to be the same organisation.
#[derive(Debug, Default)]
pub(crate) struct Pki {
    authorities: Vec<Issuers>,
    keys: u32,
    serials: u128,
}

#[derive(Debug)]
struct Issuers {
    organisation: String,
    forged: bool,
    gateways: Authority,
    connectors: Authority,
}

/// A key that can be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyNumber(u32);

/// Who vouches for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vouching {
    pub(crate) organisation: String,
    /// By an authority of the same name that nobody trusts.
    pub(crate) forged: bool,
}

impl Pki {
    /// The chain and the key of a new leaf, issued `now`.
    pub(crate) fn issue(
        &mut self,
        now: UnixTime,
        key: KeyNumber,
        by: &Vouching,
        role: Role,
        targets: Option<&[String]>,
        validity: Validity,
    ) -> Certified {
        let key = key.key();
        let terms = validity.terms(self.serial(), now);
        let issuers = self.issuers(by);
        let authority = if role.connects() { &issuers.connectors } else { &issuers.gateways };
        let leaf = authority.issue(role, targets, &key.public(), terms).expect("the office fits the role");
        let chain = vec![leaf, authority.certificate().clone()];
        Certified::new(chain, key).expect("it was issued for this key")
    }

    /// Whom a connector of `organisation` trusts to vouch for gateways.
    pub(crate) fn gateway_anchors(&mut self, organisation: &str) -> Anchors {
        anchors(&self.issuers(&Vouching::of(organisation)).gateways)
    }

    /// Whom a gateway of `organisation` trusts to vouch for connectors.
    pub(crate) fn connector_anchors(&mut self, organisation: &str) -> Anchors {
        anchors(&self.issuers(&Vouching::of(organisation)).connectors)
    }

    fn issuers(&mut self, by: &Vouching) -> &Issuers {
        let same = |it: &Issuers| it.organisation == by.organisation && it.forged == by.forged;
        if let Some(index) = self.authorities.iter().position(same) {
            return &self.authorities[index];
        }
        let issuers = self.found(by);
        self.authorities.push(issuers);
        self.authorities.last().expect("it was just pushed")
    }

    fn found(&mut self, by: &Vouching) -> Issuers {
        let beginning = UnixTime(UNIX_START.as_secs());
        let mut terms = || Validity::For(3650 * DAY).terms(self.serial(), beginning);
        let [for_root, for_gateways, for_connectors] = [terms(), terms(), terms()];
        let root =
            Authority::root(name(&by.organisation), TrustDomain::default(), &self.new_key().key(), for_root)
                .expect("the dates are sensible");
        let mut below = |office, terms| {
            root.intermediate(office, &self.new_key().key(), terms).expect("a root makes intermediates")
        };
        Issuers {
            organisation: by.organisation.clone(),
            forged: by.forged,
            gateways: below(Office::Gateway, for_gateways),
            connectors: below(Office::Connector, for_connectors),
        }
    }

    /// A key that nobody has yet.
    pub(crate) fn new_key(&mut self) -> KeyNumber {
        self.keys += 1;
        KeyNumber(self.keys)
    }

    fn serial(&mut self) -> Serial {
        self.serials += 1;
        Serial::new(self.serials)
    }
}

impl KeyNumber {
    fn key(self) -> Key {
        let mut seed = [0; 32];
        seed[..4].copy_from_slice(&self.0.to_be_bytes());
        Key::ed25519(seed)
    }
}

impl Vouching {
    pub(crate) fn of(organisation: &str) -> Self {
        Self { organisation: organisation.to_owned(), forged: false }
    }
}

/// Whom both ends of `organisation` expect to meet.
pub(crate) fn expected(organisation: &str) -> Expected {
    Expected { organisation: name(organisation), trust_domain: TrustDomain::default() }
}

/// The name `text`.
///
/// # Panics
/// When it is none.
pub(crate) fn name(text: &str) -> Name {
    text.parse().expect("a scenario's names are names")
}

fn anchors(authority: &Authority) -> Anchors {
    Anchors::new(std::slice::from_ref(authority.certificate())).expect("an authority is an anchor")
}
