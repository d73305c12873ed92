//! Certificates: read or refused, and no edit of a good one is believed.

use std::sync::LazyLock;
use std::time::Duration;

use adit_core::pki::verify::ConnectorVerifier;
use adit_core::pki::{
    Anchors, Authority, AuthorityInfo, Certified, Expected, Key, Name, Office, PeerInfo, PublicKey, Role,
    Serial, Terms, TrustDomain,
};
use adit_core::time::UnixTime;
use rustls::pki_types::{CertificateDer, UnixTime as TlsTime};
use rustls::server::danger::ClientCertVerifier;

/// When the certificates below begin.
const START: UnixTime = UnixTime(1_800_000_000);

/// The first byte says what the rest is: edits of a good leaf, or a certificate, a key or a request as it is.
pub fn certificates(bytes: &[u8]) {
    let Some((&kind, rest)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => edited_leaf(rest),
        1 => der(rest),
        _ => pem(rest),
    }
}

/// A chain, always the same: Ed25519 signs without chance.
struct Chain {
    leaf: CertificateDer<'static>,
    issuer: CertificateDer<'static>,
    verifier: ConnectorVerifier,
}

static CHAIN: LazyLock<Chain> = LazyLock::new(|| {
    let terms = |number| Terms::new(Serial::new(number), START, Duration::from_secs(86_400));
    let key = Key::ed25519([7; 32]);
    let name = |text: &str| -> Name { text.parse().expect("a name") };
    let root = Authority::root(name("acme"), TrustDomain::default(), &key, terms(1)).expect("a root");
    let issuer = root.intermediate(Office::Connector, &key, terms(2)).expect("an intermediate");
    let role = Role::Connector { id: name("c") };
    let targets = ["tcp://10.0.0.1:5432".to_owned()];
    let leaf = issuer.issue(role, Some(&targets), &key.public(), terms(3)).expect("a leaf");
    let anchors = Anchors::new(&[root.certificate().clone()]).expect("an anchor");
    let expected = Expected { organisation: name("acme"), trust_domain: TrustDomain::default() };
    Chain { leaf, issuer: issuer.certificate().clone(), verifier: ConnectorVerifier::new(anchors, expected) }
});

/// `edits` are triples: where (two bytes), and what the byte there is XORed with. The rest is appended.
pub(super) fn edited(good: &[u8], edits: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let triples = edits.chunks_exact(3);
    bytes.extend_from_slice(triples.remainder());
    for edit in triples {
        let at = usize::from(u16::from_be_bytes([edit[0], edit[1]])) % bytes.len();
        bytes[at] ^= edit[2];
    }
    bytes
}

fn edited_leaf(edits: &[u8]) {
    let chain = &*CHAIN;
    let leaf: CertificateDer<'static> = edited(&chain.leaf, edits).into();
    let now = TlsTime::since_unix_epoch(Duration::from_secs(START.0 + 60));
    let believed = chain.verifier.verify_client_cert(&leaf, std::slice::from_ref(&chain.issuer), now).is_ok();
    assert_eq!(believed, leaf == chain.leaf, "only what was signed is believed");
    der(&leaf);
}

fn der(bytes: &[u8]) {
    let der = CertificateDer::from(bytes);
    if let Ok(info) = PeerInfo::from_leaf(&der) {
        assert_eq!(info.identity.to_string().parse(), Ok(info.identity));
    }
    let _ = (AuthorityInfo::read(&der), Anchors::new(std::slice::from_ref(&der)));
    let _ = PublicKey::from_request(bytes);
}

fn pem(bytes: &[u8]) {
    let _ = (Key::from_pem(bytes), Anchors::from_pem(bytes), Certified::from_pem(bytes, bytes));
    let _ = PublicKey::from_request_pem(bytes);
}
