//! A thousand random byte strings and a thousand broken valid ones to each decoder of core: none panics.

mod hostile;

use std::net::SocketAddr;
use std::time::Duration;

use adit_core::pki::{Anchors, Role, TrustDomain};
use adit_core::pki::{
    Authority, Certified, Identity, Key, KeyKind, Office, PeerInfo, PublicKey, Serial, Terms,
};
use adit_core::stun::{Builder, Class, Message, Method};
use adit_core::time::UnixTime;
use adit_core::tunnel::{Frame, FrameReader, Open, RejectCode, encode};
use adit_core::turn::address_policy::Policy;
use adit_core::turn::channel_data;
use adit_core::turn::uri::RelayUri;
use hostile::hostile;
use proptest::prelude::*;

fn addr() -> SocketAddr {
    "[2a0a:ad17::1]:5000".parse().expect("an address")
}

fn stun_messages() -> Vec<Vec<u8>> {
    let request = || {
        Builder::new(Class::Request, Method::ALLOCATE, [7; 12])
            .username("1800000000:gw")
            .realm("adit")
            .nonce("obMatJos2AAAA")
            .requested_transport(17)
            .lifetime(Duration::from_secs(600))
    };
    let data = Builder::new(Class::Indication, Method::DATA, [9; 12]).peer_address(addr()).data(b"payload");
    vec![
        request().finish(),
        request().finish_with_integrity(&[1; 16]),
        request().finish_with_fingerprint(Some(&[1; 16])),
        data.finish(),
        Builder::new(Class::Error, Method::REFRESH, [8; 12]).unknown_attributes(&[0x7777]).finish(),
        Builder::new(Class::Success, Method::ALLOCATE, [8; 12])
            .relayed_address(addr())
            .mapped_address(addr())
            .finish(),
    ]
}

/// Everything that can be asked of a message.
fn read_everything(message: &Message<'_>) {
    let _ = (message.method(), message.class(), message.transaction(), message.verify(&[1; 16]));
    let _ = (message.username(), message.realm(), message.nonce(), message.error_code(), message.lifetime());
    let _ = (message.channel_number(), message.requested_transport(), message.even_port(), message.data());
    let _ = (message.requested_family(), message.additional_family(), message.address_error());
    let _ = (message.mapped_address(), message.peer_address(), message.unknown_attributes());
    let _ = (message.alternate_server(), message.reservation_token(), message.unknown_required(&[]));
    let _ =
        (message.relayed_addresses().count(), message.peer_addresses().count(), message.attributes().count());
}

fn frames() -> Vec<Vec<u8>> {
    let open = |target: &str| {
        let target = target.parse().expect("a target");
        Frame::Open(Open { target, deadline: Duration::from_secs(5), trace: Some([3; 16]) })
    };
    let rejected = Frame::Reject { code: RejectCode::Denied, sentence: "not allowed".to_owned() };
    let frames =
        [open("tcp://db.internal:5432"), open("tcp://[::1]:1"), rejected, Frame::Paths(vec![addr(); 3])];
    frames.iter().map(encode).collect()
}

/// Reads `bytes` as a stream that arrives in pieces of `step`.
fn read_frames(bytes: &[u8], step: usize) {
    let (mut reader, mut rest) = (FrameReader::default(), bytes);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(rest.len().min(step).min(reader.wants()));
        match reader.feed(now) {
            Ok(Some(_)) => reader = FrameReader::default(),
            Ok(None) => {}
            Err(_) => return,
        }
        rest = later;
    }
}

fn certificates() -> Vec<Vec<u8>> {
    let terms = |number| Terms::new(Serial::new(number), UnixTime(1_800_000_000), Duration::from_secs(9999));
    let key = Key::generate(KeyKind::Ed25519);
    let name = |text: &str| text.parse().expect("a name");
    let root = Authority::root(name("acme"), TrustDomain::default(), &key, terms(1)).expect("a root");
    let issuer = root.intermediate(Office::Connector, &key, terms(2)).expect("an intermediate");
    let role = Role::Connector { id: name("c") };
    let targets = ["tcp://10.0.0.1:5432".to_owned()];
    let leaf = issuer.issue(role, Some(&targets), &key.public(), terms(3)).expect("a leaf");
    vec![root.certificate().to_vec(), issuer.certificate().to_vec(), leaf.to_vec()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn stun_messages_are_read_or_refused(bytes in hostile(stun_messages())) {
        if let Ok(message) = Message::parse(&bytes) {
            read_everything(&message);
        }
    }

    #[test]
    fn channel_data_is_read_or_refused(bytes in hostile(vec![[&channel_data::header(0x4001, 5)[..], b"hello"].concat()])) {
        if let Some((number, len)) = channel_data::parse(&bytes) {
            prop_assert!(channel_data::NUMBERS.contains(&number));
            prop_assert!(channel_data::HEADER_LEN + len <= bytes.len());
        }
    }

    #[test]
    fn frames_are_read_or_refused_however_they_are_cut(bytes in hostile(frames()), step in 1usize..99) {
        read_frames(&bytes, step);
    }

    #[test]
    fn certificates_are_read_or_refused(bytes in hostile(certificates())) {
        let der = bytes.clone().into();
        let _ = (PeerInfo::from_leaf(&der), PublicKey::from_request(&bytes));
        let _ = (Anchors::new(std::slice::from_ref(&der)), Anchors::from_pem(&bytes));
        let _ = (Key::from_pem(&bytes), Certified::from_pem(&bytes, &bytes));
    }

    #[test]
    fn texts_are_read_or_refused(bytes in hostile(vec![
        b"turn:relay.example:3478?transport=udp".to_vec(),
        b"spiffe://adit.local/org/acme/gateway/gw/0".to_vec(),
        b"tcp://[fd00::1]:5432".to_vec(),
    ])) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = (text.parse::<RelayUri>(), text.parse::<Identity>(), text.parse::<adit_core::tunnel::Target>());
    }

    #[test]
    fn every_address_is_judged(octets in any::<[u8; 16]>()) {
        let policy = Policy::default_deny();
        let _ = (policy.judge(octets.into()), policy.judge([octets[0], octets[1], octets[2], octets[3]].into()));
    }
}
