//! Whole handshakes in memory: who gets in, who does not, and what each side hears about it.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, CustomExtension, SanType};
use rustls::{CertificateError, ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, ServerName};

use super::leaf::BadLeaf;
use super::pem::BadPem;
use super::tls::{client_config, client_config_with, server_config};
use super::verify::GatewayVerifier;
use super::*;
use crate::rand::Rng;
use crate::time::{UnixTime, WallCell};

const NOW: UnixTime = UnixTime(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const ALPN: &[&[u8]] = &[b"adit/1"];

/// The authorities of one organisation, with fresh keys.
struct Pki {
    gateways: Authority,
    connectors: Authority,
    root: Authority,
    rng: Rng,
}

impl Pki {
    fn new(organisation: &str) -> Self {
        let mut rng = Rng::new([1; 32]);
        let mut terms = || Terms::new(Serial::random(&mut rng), NOW, 365 * DAY);
        let key = || Key::generate(KeyKind::Ed25519);
        let root = Authority::root(name(organisation), TrustDomain::default(), &key(), terms()).unwrap();
        let gateways = root.intermediate(Office::Gateway, &key(), terms()).unwrap();
        let connectors = root.intermediate(Office::Connector, &key(), terms()).unwrap();
        Self { gateways, connectors, root, rng }
    }

    fn gateway(&mut self, gateway: &str) -> Certified {
        self.leaf(Role::Gateway { gateway: name(gateway), instance: Name::zero() }, None)
    }

    fn connector(&mut self) -> Certified {
        self.leaf(connector(), None)
    }

    fn leaf(&mut self, role: Role, targets: Option<&[String]>) -> Certified {
        let key = Key::generate(KeyKind::EcdsaP256);
        let terms = Terms::new(Serial::random(&mut self.rng), NOW, DAY);
        let leaf = self.issuer(&role).issue(role, targets, &key.public(), terms).unwrap();
        Certified::new(vec![leaf], key).unwrap()
    }

    fn issuer(&self, role: &Role) -> &Authority {
        if role.connects() { &self.connectors } else { &self.gateways }
    }
}

/// One side of a handshake: what it shows, whom it trusts, when it lives.
struct Side {
    own: Certified,
    trusts: Anchors,
    expects: Expected,
    at: UnixTime,
}

impl Side {
    fn new(own: Certified, trusts: &Authority) -> Self {
        let expects = Expected {
            organisation: trusts.info().organisation.clone(),
            trust_domain: trusts.info().trust_domain.clone(),
        };
        Self { own, trusts: anchors(trusts), expects, at: NOW }
    }

    fn server(self) -> Arc<ServerConfig> {
        server_config(&self.own, self.trusts, self.expects, ALPN, WallCell::new(self.at)).unwrap()
    }

    fn client(self) -> Arc<ClientConfig> {
        client_config(&self.own, self.trusts, self.expects, name("gw"), ALPN, WallCell::new(self.at)).unwrap()
    }
}

/// The gateway's and the connector's side of a handshake that succeeds.
fn sides(pki: &mut Pki) -> (Side, Side) {
    let (gateway, connector) = (pki.gateway("gw"), pki.connector());
    (Side::new(gateway, &pki.connectors), Side::new(connector, &pki.gateways))
}

/// What each side says in the end: the server, the client.
fn shake(server: Arc<ServerConfig>, client: Arc<ClientConfig>) -> (Result<(), Error>, Result<(), Error>) {
    let mut server = ServerConnection::new(server).unwrap();
    let mut client = ClientConnection::new(client, ServerName::try_from("ignored").unwrap()).unwrap();
    let (mut at_server, mut at_client) = (Ok(()), Ok(()));
    for _ in 0..6 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        at_server = at_server.and(feed(&mut server, &bytes));
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        at_client = at_client.and(feed(&mut client, &bytes));
    }
    let done = !server.is_handshaking() && !client.is_handshaking();
    assert_eq!(done, at_server.is_ok() && at_client.is_ok());
    (at_server, at_client)
}

fn feed<D>(to: &mut rustls::ConnectionCommon<D>, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        to.read_tls(&mut bytes).unwrap();
        to.process_new_packets()?;
    }
    Ok(())
}

/// Asserts that the server refused with an error that reads like `ours`, and that the client hears `theirs`.
#[track_caller]
fn refused_by_server((server, client): (Result<(), Error>, Result<(), Error>), ours: &str, theirs: &str) {
    let (server, client) = (explain(&server.unwrap_err()), explain(&client.unwrap_err()));
    assert!(server.contains(ours), "server: {server}");
    assert!(client.contains(theirs), "client: {client}");
}

#[track_caller]
fn refused_by_client((server, client): (Result<(), Error>, Result<(), Error>), ours: &str, theirs: &str) {
    refused_by_server((client, server), ours, theirs);
}

#[test]
fn both_sides_of_one_organisation_agree() {
    let mut pki = Pki::new("acme");
    let (gateway, connector) = sides(&mut pki);
    assert_eq!(shake(gateway.server(), connector.client()), (Ok(()), Ok(())));
}

#[test]
fn a_leaf_may_come_with_its_intermediate_and_root() {
    let mut pki = Pki::new("acme");
    let (mut gateway, connector) = sides(&mut pki);
    let key = Key::generate(KeyKind::EcdsaP256);
    let role = gateway.own.identity().role.clone();
    let leaf = pki.gateways.issue(role, None, &key.public(), Terms::new(Serial::new(1), NOW, DAY)).unwrap();
    let chain = vec![leaf, pki.gateways.certificate().clone(), pki.root.certificate().clone()];
    gateway.own = Certified::new(chain, key).unwrap();
    assert_eq!(shake(gateway.server(), connector.client()), (Ok(()), Ok(())));
}

#[test]
fn the_handshake_prefers_the_hybrid_key_exchange() {
    let (gateway, connector) = sides(&mut Pki::new("acme"));
    let groups = |groups: &[&'static dyn rustls::crypto::SupportedKxGroup]| groups[0].name();
    let hybrid = rustls::NamedGroup::X25519MLKEM768;
    assert_eq!(groups(&gateway.server().crypto_provider().kx_groups), hybrid);
    assert_eq!(groups(&connector.client().crypto_provider().kx_groups), hybrid);
}

#[test]
fn an_authority_of_the_same_name_is_unknown_all_the_same() {
    let (mut pki, other) = (Pki::new("acme"), Pki::new("acme"));
    let (mut gateway, connector) = sides(&mut pki);
    gateway.trusts = anchors(&other.connectors);
    refused_by_server(shake(gateway.server(), connector.client()), "unknown CA", "unknown CA");

    let (gateway, mut connector) = sides(&mut pki);
    connector.trusts = anchors(&other.gateways);
    refused_by_client(shake(gateway.server(), connector.client()), "unknown CA", "unknown CA");
}

#[test]
fn certificates_have_a_beginning_and_an_end() {
    let mut pki = Pki::new("acme");
    for (at, ours) in [(NOW.0 + 86_401, "has expired"), (NOW.0 - 601, "not valid yet")] {
        let (mut gateway, connector) = sides(&mut pki);
        gateway.at = UnixTime(at);
        refused_by_server(shake(gateway.server(), connector.client()), ours, "expired, or is not valid yet");

        let (gateway, mut connector) = sides(&mut pki);
        connector.at = UnixTime(at);
        refused_by_client(shake(gateway.server(), connector.client()), ours, "expired, or is not valid yet");
    }
}

#[test]
fn another_organisation_is_refused_by_both_sides() {
    let (mut pki, mut other) = (Pki::new("acme"), Pki::new("evil"));
    let (gateway, mut connector) = sides(&mut pki);
    connector.own = other.connector();
    let outcome = shake(gateway.server(), connector.client());
    refused_by_server(outcome, "another organisation", "another organisation");

    let (mut gateway, connector) = sides(&mut pki);
    gateway.own = other.gateway("gw");
    let outcome = shake(gateway.server(), connector.client());
    refused_by_client(outcome, "another organisation", "another organisation");
}

#[test]
fn another_trust_domain_is_refused() {
    let (mut gateway, connector) = sides(&mut Pki::new("acme"));
    gateway.expects.trust_domain = "elsewhere".parse().unwrap();
    let outcome = shake(gateway.server(), connector.client());
    refused_by_server(outcome, "trust domain", "trust domain");
}

#[test]
fn a_gateways_certificate_is_no_connectors_even_under_the_same_root() {
    let mut pki = Pki::new("acme");
    let (mut gateway, mut connector) = sides(&mut pki);
    gateway.trusts = anchors(&pki.root);
    connector.own = pki.gateway("gw");
    refused_by_server(shake(gateway.server(), connector.client()), "wrong role", "wrong role");
}

#[test]
fn a_connectors_certificate_is_no_gateways_even_under_the_same_root() {
    let mut pki = Pki::new("acme");
    let (mut gateway, mut connector) = sides(&mut pki);
    connector.trusts = anchors(&pki.root);
    gateway.own = pki.connector();
    refused_by_client(shake(gateway.server(), connector.client()), "wrong role", "wrong role");
}

#[test]
fn the_extended_key_usage_counts_whatever_the_name_says() {
    let mut pki = Pki::new("acme");
    // The gateways' authority signs a connector's name, with the usage that it may give.
    let (leaf, key) = forged(&pki.gateways, &["spiffe://adit.local/org/acme/connector/c"], &[]);
    let (mut gateway, mut connector) = sides(&mut pki);
    gateway.trusts = anchors(&pki.gateways);
    connector.own = Certified::new(vec![leaf], key).unwrap();
    refused_by_server(shake(gateway.server(), connector.client()), "wrong role", "wrong role");
}

#[test]
fn another_gateway_is_not_the_one_that_was_meant() {
    let mut pki = Pki::new("acme");
    let (mut gateway, connector) = sides(&mut pki);
    gateway.own = pki.gateway("other");
    let outcome = shake(gateway.server(), connector.client());
    refused_by_client(outcome, "gateway `other`, and not `gw`", "another gateway");
}

#[test]
fn another_instance_is_believed_unless_one_was_meant() {
    let mut pki = Pki::new("acme");
    for (meant, believed) in [(None, true), (Some("7"), true), (Some("8"), false)] {
        let (mut gateway, connector) = sides(&mut pki);
        gateway.own = pki.leaf(Role::Gateway { gateway: name("gw"), instance: name("7") }, None);
        let Side { own, trusts, expects, at } = connector;
        let mut verifier = GatewayVerifier::new(trusts, expects, name("gw"));
        if let Some(instance) = meant {
            verifier = verifier.only(name(instance));
        }
        let client = client_config_with(&own, verifier, ALPN, WallCell::new(at)).unwrap();
        let outcome = shake(gateway.server(), client);
        if believed {
            assert_eq!(outcome, (Ok(()), Ok(())), "{meant:?}");
        } else {
            refused_by_client(outcome, "instance `7` of the gateway, and not `8`", "another gateway");
        }
    }
}

#[test]
fn a_gateway_wants_a_certificate() {
    let (gateway, connector) = sides(&mut Pki::new("acme"));
    let mut config = ClientConfig::clone(&connector.client());
    config.client_auth_cert_resolver = Arc::new(ShowsNothing);
    let (server, client) = shake(gateway.server(), Arc::new(config));
    assert_eq!(server, Err(Error::NoCertificatesPresented));
    assert!(explain(&client.unwrap_err()).contains("none was sent"));
}

#[test]
fn a_leaf_names_exactly_one_identity() {
    let pki = Pki::new("acme");
    let me = "spiffe://adit.local/org/acme/connector/c";
    for (uris, error) in [
        (&[][..], BadLeaf::Uris(0)),
        (&[me, me], BadLeaf::Uris(2)),
        (&["https://acme.example/"], BadLeaf::Identity(identity::BadIdentity::Scheme)),
        (&["spiffe://adit.local"], BadLeaf::Identity(identity::BadIdentity::Path)),
    ] {
        let (leaf, _) = forged(&pki.connectors, uris, &[]);
        assert_eq!(PeerInfo::from_leaf(&leaf), Err(error), "{uris:?}");
    }
    assert_eq!(PeerInfo::from_leaf(&CertificateDer::from(vec![0x30, 0])), Err(BadLeaf::Malformed));
}

#[test]
fn targets_are_read_where_they_belong_and_refused_where_they_are_unclear() {
    let mut pki = Pki::new("acme");
    let targets = ["tcp://10.0.0.1:5432".to_owned()];
    let person = Role::Person { identity: name("ada") };
    let issued = pki.leaf(person.clone(), Some(&targets));
    assert_eq!(issued.info().targets.as_deref(), Some(&targets[..]));
    assert_eq!(pki.leaf(connector(), Some(&targets)).info().targets.as_deref(), Some(&targets[..]));
    assert_eq!(pki.connector().info().targets, None);

    let key = Key::generate(KeyKind::Ed25519).public();
    let terms = Terms::new(Serial::new(1), NOW, DAY);
    let without = pki.connectors.issue(person, None, &key, terms);
    assert_eq!(without, Err(issue::IssueError::Targets(BadTargets::Role)));

    let me = "spiffe://adit.local/org/acme/connector/c";
    let good = targets::encode(&targets).unwrap();
    for (uri, extensions, error) in [
        (me, vec![good.clone(), good.clone()], BadLeaf::Targets(BadTargets::Malformed)),
        (me, vec![vec![0x30, 1]], BadLeaf::Targets(BadTargets::Malformed)),
        (me, vec![vec![0x30, 0]], BadLeaf::Targets(BadTargets::Number)),
        ("spiffe://adit.local/org/acme/person/p", vec![], BadLeaf::Targets(BadTargets::Role)),
        ("spiffe://adit.local/org/acme/platform/p", vec![good], BadLeaf::Targets(BadTargets::Role)),
    ] {
        let (leaf, _) = forged(&pki.connectors, &[uri], &extensions);
        assert_eq!(PeerInfo::from_leaf(&leaf), Err(error), "{uri} {extensions:?}");
    }
}

#[test]
fn a_leaf_that_is_unclear_is_refused_in_the_handshake() {
    let person = "spiffe://adit.local/org/acme/person/ada";
    for (uris, said) in [(&[][..], "0 URIs"), (&[person][..], "a person's certificate names its targets")] {
        let mut pki = Pki::new("acme");
        let (gateway, connector) = sides(&mut pki);
        let (leaf, key) = forged(&pki.connectors, uris, &[]);
        let chain = rustls::sign::CertifiedKey::new(vec![leaf], signer(&key));
        let mut config = ClientConfig::clone(&connector.client());
        config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(chain));
        let outcome = shake(gateway.server(), Arc::new(config));
        assert!(matches!(outcome.0, Err(Error::InvalidCertificate(CertificateError::Other(_)))));
        refused_by_server(outcome, said, "no identity");
    }
}

#[test]
fn nothing_outlives_its_issuer_and_nobody_exceeds_an_office() {
    let pki = Pki::new("acme");
    let key = Key::generate(KeyKind::Ed25519);
    let late = Terms::new(Serial::new(1), NOW, 366 * DAY);
    let not_after = UnixTime(NOW.0 + 365 * 86_400);
    let outlives = issue::IssueError::Outlives { not_after };
    assert_eq!(pki.connectors.issue(connector(), None, &key.public(), late), Err(outlives));
    assert_eq!(pki.root.intermediate(Office::Gateway, &key, late).unwrap_err(), outlives);

    let terms = Terms::new(Serial::new(1), NOW, DAY);
    let office = issue::IssueError::Office;
    assert_eq!(pki.gateways.issue(connector(), None, &key.public(), terms), Err(office));
    assert_eq!(pki.root.issue(connector(), None, &key.public(), terms), Err(office));
    assert_eq!(pki.gateways.intermediate(Office::Connector, &key, terms).unwrap_err(), office);

    let backwards = Terms { not_after: UnixTime(5), not_before: UnixTime(5), ..terms };
    let dates = issue::IssueError::Dates;
    assert_eq!(pki.connectors.issue(connector(), None, &key.public(), backwards), Err(dates));
}

#[test]
fn authorities_are_loaded_with_their_own_key_only() {
    let key = Key::generate(KeyKind::Ed25519);
    let terms = Terms::new(Serial::new(1), NOW, DAY);
    let root = Authority::root(name("acme"), TrustDomain::default(), &key, terms).unwrap();
    let again = Authority::load(root.certificate().clone(), &key).unwrap();
    assert_eq!((again.info().office, again.info().organisation.as_str()), (Office::Root, "acme"));
    let other = Key::generate(KeyKind::Ed25519);
    let mismatch = Authority::load(root.certificate().clone(), &other).unwrap_err();
    assert_eq!(mismatch, issue::LoadError::KeyMismatch);
    let leaf = Pki::new("acme").connector();
    let no_authority = Authority::load(leaf.chain()[0].clone(), &other).unwrap_err();
    assert_eq!(no_authority, issue::LoadError::NoAuthority);
}

#[test]
fn ed25519_keys_give_the_same_certificates_every_time() {
    let make = || {
        let key = Key::ed25519([3; 32]);
        let terms = Terms::new(Serial::new(7), NOW, DAY);
        Authority::root(name("acme"), TrustDomain::default(), &key, terms).unwrap().certificate().clone()
    };
    assert_eq!(make(), make());
}

#[test]
fn a_key_must_fit_its_certificate() {
    let own = Pki::new("acme").connector();
    let stranger = Key::generate(KeyKind::EcdsaP256);
    let chain = own.chain().to_vec();
    assert_eq!(Certified::new(chain, stranger).unwrap_err(), tls::BadCertified::KeyMismatch);
}

#[derive(Debug)]
struct ShowsNothing;

impl rustls::client::ResolvesClientCert for ShowsNothing {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// What is printed for people or into a log holds no key.
#[test]
fn nothing_that_is_printed_holds_a_key() {
    let mut pki = Pki::new("acme");
    let gateway = pki.gateway("gw-1");
    let key = Key::generate(KeyKind::Ed25519);
    let secret = format!("{:?}", key.der().secret_der());
    let bytes = secret.trim_matches(['[', ']']);
    for shown in [format!("{key:?}"), format!("{gateway:?}"), format!("{:?}", pki.root)] {
        assert!(!shown.contains(bytes) && !shown.contains("pair"), "{shown}");
    }
    assert!(format!("{gateway:?}").contains("gw-1"));
    let again = Key::from_pem(key.to_pem().as_bytes()).unwrap();
    assert_eq!(again.sign(b"message"), key.clone().sign(b"message"), "a copy signs alike");
}

#[test]
fn who_trusts_somebody_names_somebody() {
    assert_eq!(Anchors::new(&[]).unwrap_err(), BadPem::Empty);
    assert_eq!(Anchors::new(&[CertificateDer::from(vec![1, 2, 3])]).unwrap_err(), BadPem::Broken);
    assert_eq!(Anchors::from_pem(b"").unwrap_err(), BadPem::Empty);
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn connector() -> Role {
    Role::Connector { id: name("c") }
}

fn anchors(authority: &Authority) -> Anchors {
    Anchors::new(std::slice::from_ref(authority.certificate())).unwrap()
}

/// A leaf as an honest authority would not make it.
fn forged(by: &Authority, uris: &[&str], targets: &[Vec<u8>]) -> (CertificateDer<'static>, Key) {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    params.extended_key_usages = vec![match by.info().office {
        Office::Gateway => rcgen::ExtendedKeyUsagePurpose::ServerAuth,
        _ => rcgen::ExtendedKeyUsagePurpose::ClientAuth,
    }];
    params.custom_extensions = targets
        .iter()
        .map(|content| CustomExtension::from_oid_content(targets::OID, content.clone()))
        .collect();
    let key = Key::generate(KeyKind::EcdsaP256);
    (params.signed_by(&key.public().0, by.issuer()).unwrap().into(), key)
}

fn signer(key: &Key) -> Arc<dyn rustls::sign::SigningKey> {
    rustls::crypto::aws_lc_rs::sign::any_supported_type(key.der()).unwrap()
}
