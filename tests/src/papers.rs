//! Certificates and keys of one organisation as PEM, for programs that embed a gateway or a connector.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adit_core::pki::{Authority, Key, KeyKind, Office, Role, Serial, Terms, pem};
use adit_core::rand::Rng;
use adit_core::time::UnixTime;

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
