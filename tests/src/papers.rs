//! Certificates and keys of one organisation as PEM, for programs that embed a gateway or a connector.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adit_core::pki::{Authority, Key, KeyKind, Office, Role, Serial, ServerAuthority, Terms, pem};
use adit_core::rand::Rng;
use adit_core::secure::Pin;
use adit_core::time::UnixTime;

use crate::place::Place;

/// The gateway `gw-1`, the connector `laptop`, and who vouches for them.
#[derive(Debug, Clone)]
pub struct Papers {
    /// The gateway's own.
    pub gateway: Paper,
    /// The connector's own.
    pub connector: Paper,
    /// Whom connectors trust.
    pub gateway_ca: String,
    /// Whom gateways trust.
    pub connector_ca: String,
}

/// A certificate chain, leaf first, and the leaf's key.
#[derive(Debug, Clone)]
pub struct Paper {
    /// The chain.
    pub chain: String,
    /// The key.
    pub key: String,
}

impl Papers {
    /// Those of the organisation `acme`, good for an hour.
    ///
    /// # Panics
    /// When none can be issued.
    #[must_use]
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
        let now = UnixTime(since.as_secs());
        let mut rng = Rng::new([7; 32]);
        let mut terms = || Terms::new(Serial::random(&mut rng), now, Duration::from_secs(3600));
        let key = || Key::generate(KeyKind::EcdsaP256);
        let (organisation, domain) =
            ("acme".parse().expect("a name"), "test.adit".parse().expect("a domain"));
        let root = Authority::root(organisation, domain, &key(), terms()).expect("a root");
        let mut issue = |office, role| {
            let authority = root.intermediate(office, &key(), terms()).expect("an intermediate");
            let own = key();
            let leaf = authority.issue(role, None, &own.public(), terms()).expect("a leaf");
            let chain = pem::encode_certificates([&leaf, authority.certificate()]);
            (Paper { chain, key: own.to_pem() }, pem::encode_certificates([authority.certificate()]))
        };
        let name = |text: &str| text.parse().expect("a name");
        let role = Role::Gateway { gateway: name("gw-1"), instance: name("0") };
        let (gateway, gateway_ca) = issue(Office::Gateway, role);
        let (connector, connector_ca) = issue(Office::Connector, Role::Connector { id: name("laptop") });
        Self { gateway, connector, gateway_ca, connector_ca }
    }
}

impl Default for Papers {
    fn default() -> Self {
        Self::new()
    }
}

/// A relay's certificate for `127.0.0.1`, in files.
#[derive(Debug)]
pub struct RelayPapers {
    /// `relay.pem`.
    pub certificate: PathBuf,
    /// `relay.key`.
    pub key: PathBuf,
    /// `relay-ca.pem`: who has issued it, directly.
    pub authority: PathBuf,
    /// Its pin.
    pub pin: String,
}

impl RelayPapers {
    /// Writes new ones to `place`, good for an hour. The key is ECDSA, which DTLS wants.
    ///
    /// # Panics
    /// When none can be issued.
    #[must_use]
    pub fn new(place: &Place) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock stands after 1970");
        let terms =
            |serial| Terms::new(Serial::new(serial), UnixTime(since.as_secs()), Duration::from_secs(3600));
        let (own, key) = (Key::generate(KeyKind::EcdsaP256), Key::generate(KeyKind::EcdsaP256));
        let authority = ServerAuthority::new("relays", &own, terms(1)).expect("an authority");
        let hosts = ["127.0.0.1".to_owned()];
        let leaf = authority.issue(&hosts, &key.public(), terms(2)).expect("a leaf");
        Self {
            certificate: place.write("relay.pem", &pem::encode_certificates([&leaf])),
            key: place.write("relay.key", &key.to_pem()),
            authority: place.write("relay-ca.pem", &pem::encode_certificates([authority.certificate()])),
            pin: Pin::of(&leaf).expect("a certificate has one").to_string(),
        }
    }
}
