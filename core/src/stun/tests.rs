//! The vectors of RFC 5769, what the guard lets through and what it does not, and round trips.

mod vectors;

use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::turn::credentials::long_term_key;
use crate::turn::key::{Key, userhash};

const SHORT_TERM_PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// RFC 5769 §2.1.
fn sample_request() -> Vec<u8> {
    hex("00010058 2112a442 b7e7a701bc34d686fa87dfae
         80220010 5354554e207465737420636c69656e74
         00240004 6e0001ff  80290008 932ff9b151263b36
         00060009 6576746a3a68367659 202020
         00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
         80280004 e57a3bcf")
}

/// RFC 5769 §2.2.
fn sample_ipv4_response() -> Vec<u8> {
    hex("0101003c 2112a442 b7e7a701bc34d686fa87dfae
         8022000b 7465737420766563746f72 20
         00200008 0001a147e112a643
         00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7
         80280004 c07d4c96")
}

/// RFC 5769 §2.3.
fn sample_ipv6_response() -> Vec<u8> {
    hex("01010048 2112a442 b7e7a701bc34d686fa87dfae
         8022000b 7465737420766563746f72 20
         00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9
         00080014 a382954e4be67bf11784c97c8292c275bfe3ed41
         80280004 c8fb0b4c")
}

/// RFC 5769 §2.4.
fn sample_long_term_request() -> Vec<u8> {
    hex("00010060 2112a442 78ad3433c6ad72c029da412e
         00060012 e3839ee38388e383aae38383e382afe382b9 0000
         0015001c 662f2f3439396b39353464364f4c33346f4c394653547679363473 41
         0014000b 6578616d706c652e6f7267 00
         00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666")
}

#[test]
fn the_sample_request_is_read_and_verified() {
    let bytes = sample_request();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Request, Method::BINDING));
    assert_eq!(message.transaction().to_vec(), hex("b7e7a701bc34d686fa87dfae"));
    assert_eq!(message.username(), Ok(Some("evtj:h6vY")));
    assert_eq!(message.attribute(attribute::SOFTWARE), Some(&b"STUN test client"[..]));
    assert_eq!(message.verify(SHORT_TERM_PASSWORD), Ok(()));
    assert_eq!(message.verify(b"another"), Err(Mismatch));
    assert_eq!(message.unknown_required(&[attribute::USERNAME]), [0x0024]);
}

#[test]
fn the_sample_responses_tell_the_mapped_address() {
    for (bytes, address) in [
        (sample_ipv4_response(), "192.0.2.1:32853"),
        (sample_ipv6_response(), "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Success, Method::BINDING));
        assert_eq!(message.mapped_address(), Ok(Some(address.parse().unwrap())));
        assert_eq!(message.verify(SHORT_TERM_PASSWORD), Ok(()));
    }
}

#[test]
fn the_sample_request_with_long_term_credentials_is_verified() {
    let bytes = sample_long_term_request();
    let message = Message::parse(&bytes).unwrap();
    let (user, realm) = (message.username().unwrap().unwrap(), message.realm().unwrap().unwrap());
    assert_eq!(user, "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}");
    assert_eq!((realm, message.nonce()), ("example.org", Ok(Some("f//499k954d6OL34oL9FSTvy64sA"))));
    // The RFC's password contains a soft hyphen and a ligature; this is what SASLprep makes of it.
    assert_eq!(message.verify(&long_term_key(user, realm, "TheMatrIX")), Ok(()));
    assert_eq!(message.verify(&long_term_key(user, realm, "thematrix")), Err(Mismatch));
}

/// RFC 8489 Appendix B.1, with erratum 6268.
fn sample_sha256_request() -> Vec<u8> {
    hex("00010090 2112a442 78ad3433c6ad72c029da412e
         001e0020 4a3cf38fef6992bda952c6780417da0f2481941556 9e60b205c46e41407f1704
         00150029 6f624d61744a6f7332414141 43662f2f3439396b39353464364f4c33346f4c394653547679363473 41 000000
         0014000b 6578616d706c652e6f7267 00
         001d0004 00020000
         001c0020 b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65")
}

#[test]
fn the_sample_request_with_sha256_is_read_and_verified() {
    let bytes = sample_sha256_request();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.nonce(), Ok(Some("obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA")));
    assert_eq!((message.realm(), message.username()), (Ok(Some("example.org")), Ok(None)));
    let user = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
    assert_eq!(message.userhash(), Ok(Some(userhash(user, "example.org"))));
    assert_eq!(message.password_algorithm(), Ok(Some(PasswordAlgorithm::Sha256)));
    let key = Key::sha256(user, "example.org", "TheMatrIX");
    assert_eq!((key.verify(&message), message.verify(&key)), (Ok(()), Ok(())));
    assert_eq!(message.verify_by(Integrity::Sha1, &key), Err(Mismatch));
    assert_eq!(Key::sha256(user, "example.org", "thematrix").verify(&message), Err(Mismatch));
    assert_eq!(Key::md5(user, "example.org", "TheMatrIX").verify(&message), Err(Mismatch));
    assert_eq!(message.attributes().count(), 4);
}

/// Both may stand in one message (RFC 8489 §14.6): the second covers the first, and decides.
#[test]
fn an_integrity_with_sha256_covers_one_with_sha1() {
    let mut bytes =
        Builder::new(Class::Request, Method::REFRESH, [7; 12]).realm("r").finish_with_integrity(b"key");
    Integrity::Sha256.append(&mut bytes, b"key");
    let message = Message::parse(&bytes).unwrap();
    assert_eq!((message.verify(b"key"), message.attributes().count()), (Ok(()), 1));
    assert_eq!(message.verify_by(Integrity::Sha1, b"key"), Ok(()));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let believed = Message::parse(&changed)
            .is_ok_and(|message| message.verify_by(Integrity::Sha256, b"key").is_ok());
        assert!(!believed, "byte {at} does not count");
    }
}

/// TURN knows no shortened ones (RFC 8489 §14.6).
#[test]
fn a_shortened_integrity_with_sha256_is_wrong() {
    let whole =
        Builder::new(Class::Request, Method::REFRESH, [7; 12]).finish_signed(Integrity::Sha256, b"key");
    assert_eq!(Message::parse(&whole).unwrap().verify(b"key"), Ok(()));
    for len in [0, 4, 16, 28, 36] {
        let tag: Vec<u8> = whole[24..].iter().copied().cycle().take(len).collect();
        let bytes = Builder::new(Class::Request, Method::REFRESH, [7; 12])
            .raw(attribute::MESSAGE_INTEGRITY_SHA256, &tag)
            .finish();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.has_integrity(), message.verify(b"key")), (true, Err(Mismatch)));
    }
}

/// What follows MESSAGE-INTEGRITY-SHA256 is invisible, a MESSAGE-INTEGRITY among it (RFC 8489 §14.6).
#[test]
fn an_integrity_with_sha256_is_not_one_with_sha1() {
    let bytes = Builder::new(Class::Request, Method::BINDING, [7; 12])
        .realm("example.org")
        .raw(attribute::MESSAGE_INTEGRITY_SHA256, &[0; 32])
        .raw(attribute::MESSAGE_INTEGRITY, &[0; 20])
        .username("behind")
        .finish();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.verify_by(Integrity::Sha1, b"key"), Err(Mismatch));
    assert_eq!(message.username(), Ok(None));
    assert_eq!(message.attributes().count(), 1);
}

#[test]
fn what_follows_the_integrity_is_invisible() {
    let mut bytes = Builder::new(Class::Request, Method::REFRESH, [1; 12])
        .lifetime(Duration::from_secs(600))
        .finish_with_integrity(b"key");
    let smuggled = hex("0006000461646d69");
    bytes.extend_from_slice(&smuggled);
    let length = (bytes.len() - HEADER_LEN) as u16;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.verify(b"key"), Ok(()));
    assert_eq!(message.lifetime(), Ok(Some(Duration::from_secs(600))));
    assert_eq!(message.username(), Ok(None));
}

#[test]
fn a_changed_byte_breaks_integrity_and_fingerprint() {
    let key = b"key";
    let bytes = Builder::new(Class::Request, Method::ALLOCATE, [3; 12])
        .requested_transport(17)
        .finish_with_fingerprint(Some(key));
    assert_eq!(Message::parse(&bytes).unwrap().verify(key), Ok(()));
    // Up to the type of FINGERPRINT: with another type it is no fingerprint any more.
    for at in 8..bytes.len() - 8 {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Message::parse(&changed).is_err(), "byte {at} is not covered");
    }
}

#[test]
fn every_byte_of_a_message_and_of_its_signature_counts() {
    let key = b"key";
    let bytes =
        Builder::new(Class::Request, Method::ALLOCATE, [3; 12]).username("me").finish_with_integrity(key);
    assert_eq!(Message::parse(&bytes).unwrap().verify(key), Ok(()));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let believed = Message::parse(&changed).is_ok_and(|message| message.verify(key).is_ok());
        assert!(!believed, "byte {at} does not count");
    }
}

#[test]
fn the_guard_names_what_is_wrong() {
    let parse = |bytes: &[u8]| Message::parse(bytes).map(|_| ()).unwrap_err();
    let mut plain = Builder::new(Class::Request, Method::BINDING, [0; 12]).username("me").finish();
    assert_eq!(parse(&plain[..19]), Malformed::NotStun);
    assert_eq!(parse(&[0x40; 40]), Malformed::NotStun);
    assert_eq!(parse(&plain[..24]), Malformed::Length);
    plain.pop();
    plain.pop();
    assert_eq!(parse(&plain), Malformed::Length, "the padding is missing");
    let odd = {
        let mut bytes = plain.clone();
        bytes[3] = (bytes.len() - HEADER_LEN) as u8;
        bytes
    };
    assert_eq!(parse(&odd), Malformed::Length, "not a multiple of four");
    let long = hex("00010004 2112a442 000000000000000000000000 00060001");
    assert_eq!(parse(&long), Malformed::Truncated);
    let short = hex("00010004 2112a442 000000000000000000000000 00080000");
    assert_eq!(parse(&short), Malformed::Integrity);
    let early = hex("0001000c 2112a442 000000000000000000000000 80280004 00000000 80220000");
    assert_eq!(parse(&early), Malformed::Fingerprint);
    let mut many = Builder::new(Class::Request, Method::BINDING, [0; 12]);
    for _ in 0..65 {
        many = many.raw(0x8022, &[]);
    }
    assert_eq!(parse(&many.finish()), Malformed::TooMany);
}

#[test]
fn a_value_that_makes_no_sense_is_named() {
    let bytes = Builder::new(Class::Request, Method::CHANNEL_BIND, [0; 12])
        .channel_number(0x5000)
        .raw(attribute::USERNAME, &[0xFF, 0xFE])
        .raw(attribute::LIFETIME, &[1, 2])
        .raw(attribute::XOR_PEER_ADDRESS, &[0, 9, 0, 0, 1, 2, 3, 4])
        .raw(attribute::ERROR_CODE, &[])
        .finish();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.channel_number(), Err(BadAttribute(attribute::CHANNEL_NUMBER)));
    assert_eq!(message.username(), Err(BadAttribute(attribute::USERNAME)));
    assert_eq!(message.lifetime(), Err(BadAttribute(attribute::LIFETIME)));
    assert_eq!(message.peer_address(), Err(BadAttribute(attribute::XOR_PEER_ADDRESS)));
    assert_eq!(message.error_code(), Err(BadAttribute(attribute::ERROR_CODE)));
}

#[test]
fn whatever_the_builder_writes_is_read_again() {
    let v4: SocketAddr = "192.0.2.7:4242".parse().unwrap();
    let v6: SocketAddr = "[2001:db8::7]:4343".parse().unwrap();
    let bytes = Builder::new(Class::Error, Method::ALLOCATE, [9; 12])
        .error_code(&ErrorCode { code: 438, reason: "Stale Nonce".into() })
        .relayed_address(v4)
        .relayed_address(v6)
        .peer_address(v6)
        .channel_number(0x4001)
        .requested_transport(17)
        .requested_family(Family::V6)
        .additional_family(Family::Other(9))
        .address_error(Family::V6, 440, "no")
        .unknown_attributes(&[0x0033, 0x0044])
        .alternate_server(v4)
        .even_port(EvenPort { reserve: true })
        .reservation_token([5; 8])
        .dont_fragment()
        .icmp(Icmp { kind: 127, code: 511, data: 0xDEAD_BEEF })
        .data(b"bytes")
        .finish();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.class(), Class::Error);
    assert_eq!(message.error_code(), Ok(Some(ErrorCode { code: 438, reason: "Stale Nonce".into() })));
    assert_eq!(message.relayed_addresses().collect::<Result<Vec<_>, _>>(), Ok(vec![v4, v6]));
    assert_eq!(message.peer_address(), Ok(Some(v6)));
    assert_eq!(message.channel_number(), Ok(Some(0x4001)));
    assert_eq!(message.requested_transport(), Ok(Some(17)));
    assert_eq!(message.requested_family(), Ok(Some(Family::V6)));
    assert_eq!(message.additional_family(), Ok(Some(Family::Other(9))));
    let missing = AddressError { family: Family::V6, code: 440, reason: "no".into() };
    assert_eq!(message.address_error(), Ok(Some(missing)));
    assert_eq!(message.unknown_attributes(), Ok(vec![0x0033, 0x0044]));
    assert_eq!(message.alternate_server(), Ok(Some(v4)));
    assert_eq!(message.even_port(), Ok(Some(EvenPort { reserve: true })));
    assert_eq!(message.reservation_token(), Ok(Some([5; 8])));
    assert_eq!(message.dont_fragment(), Ok(true));
    assert_eq!(message.icmp(), Ok(Some(Icmp { kind: 127, code: 511, data: 0xDEAD_BEEF })));
    assert_eq!(message.data(), Some(&b"bytes"[..]));
    assert_eq!(&bytes[message.data_range().unwrap()], b"bytes");
}

#[test]
fn an_indication_of_the_data_path_is_a_message_like_any_other() {
    for peer in ["192.0.2.7:4242", "[2001:db8::7]:4343"] {
        let peer: SocketAddr = peer.parse().unwrap();
        let mut out = b"before".to_vec();
        let added = write_indication(&mut out, Method::DATA, &[4; 12], peer, b"abcde");
        let bytes = &out[6..];
        assert_eq!(added, bytes.len());
        let built = Builder::new(Class::Indication, Method::DATA, [4; 12]).peer_address(peer).data(b"abcde");
        assert_eq!(bytes, built.finish());
        let message = Message::parse(bytes).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
        assert_eq!((message.peer_address(), message.data()), (Ok(Some(peer)), Some(&b"abcde"[..])));
    }
    assert_eq!(
        write_indication(&mut Vec::new(), Method::SEND, &[0; 12], "[::1]:1".parse().unwrap(), &[0; 65_530]),
        0
    );
}

/// Touches everything that a message offers, so that a panic anywhere in it shows.
fn read_everything(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else { return };
    let _ = (message.username(), message.realm(), message.nonce(), message.error_code());
    let _ = (message.unknown_attributes(), message.alternate_server(), message.lifetime());
    let _ = (message.channel_number(), message.requested_transport(), message.even_port());
    let _ = (message.reservation_token(), message.requested_family(), message.additional_family());
    let _ = (message.address_error(), message.mapped_address(), message.data_range());
    let _ = (message.relayed_addresses().count(), message.peer_addresses().count());
    let _ = (
        message.dont_fragment(),
        message.icmp(),
        message.userhash(),
        message.password_algorithms(),
        message.password_algorithm(),
    );
    let _ = (message.unknown_required(&[]), message.verify(b"key"), message.class(), message.method());
}

fn samples() -> [Vec<u8>; 6] {
    let allocate = Builder::new(Class::Request, Method::ALLOCATE, [3; 12])
        .requested_transport(17)
        .lifetime(Duration::from_secs(600))
        .error_code(&ErrorCode { code: 401, reason: "who".into() })
        .peer_address("192.0.2.7:1".parse().unwrap())
        .channel_number(0x4000)
        .finish_with_integrity(b"key");
    [
        sample_request(),
        sample_ipv4_response(),
        sample_ipv6_response(),
        sample_long_term_request(),
        sample_sha256_request(),
        allocate,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        read_everything(&bytes);
    }

    #[test]
    fn random_attributes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = Builder::new(Class::Request, Method::ALLOCATE, [0; 12]).finish();
        bytes.extend_from_slice(&body[..body.len() / 4 * 4]);
        let length = (bytes.len() - HEADER_LEN) as u16;
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        read_everything(&bytes);
    }

    #[test]
    fn mutated_messages_never_panic(
        which in 0usize..6,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = samples()[which].clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        read_everything(&bytes);
        read_everything(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn methods_and_classes_survive_the_wire(method in 0u16..0x1000, class in 0usize..4, id in any::<[u8; 12]>()) {
        let class = [Class::Request, Class::Indication, Class::Success, Class::Error][class];
        let bytes = Builder::new(class, Method::new(method), id).finish();
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!((message.class(), message.method()), (class, Method::new(method)));
        prop_assert_eq!(message.transaction(), id);
    }

    /// Any attributes at all, signed or not: what is read is what was written, in its order.
    #[test]
    fn any_message_is_read_as_it_was_written(
        class in 0usize..4,
        method in 0u16..0x1000,
        id in any::<[u8; 12]>(),
        attributes in proptest::collection::vec((0x7000u16..0x9000, proptest::collection::vec(any::<u8>(), 0..40)), 0..20),
        key in proptest::option::of(any::<[u8; 16]>()),
        fingerprint in any::<bool>(),
    ) {
        let class = [Class::Request, Class::Indication, Class::Success, Class::Error][class];
        // FINGERPRINT is the builder's own.
        let attributes: Vec<_> = attributes.into_iter().filter(|(kind, _)| *kind != attribute::FINGERPRINT).collect();
        let mut builder = Builder::new(class, Method::new(method), id);
        for (kind, value) in &attributes {
            builder = builder.raw(*kind, value);
        }
        let bytes = match (key, fingerprint) {
            (key, true) => builder.finish_with_fingerprint(key.as_ref().map(|key| &key[..])),
            (Some(key), false) => builder.finish_with_integrity(&key),
            (None, false) => builder.finish(),
        };
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!((message.class(), message.method()), (class, Method::new(method)));
        prop_assert_eq!((message.transaction(), message.bytes()), (id, &bytes[..]));
        let read: Vec<_> = message.attributes().map(|(kind, value)| (kind, value.to_vec())).collect();
        prop_assert_eq!(read, attributes);
        prop_assert_eq!(message.has_integrity(), key.is_some());
        if let Some(key) = key {
            prop_assert_eq!(message.verify(&key), Ok(()));
            prop_assert_eq!(message.verify(&[&key[..], b"!"].concat()), Err(Mismatch));
        }
        for cut in 0..bytes.len() {
            prop_assert!(Message::parse(&bytes[..cut]).is_err(), "a part of a message is none");
        }
    }

    #[test]
    fn any_address_is_read_as_it_was_written(address: SocketAddr, id: [u8; 12]) {
        let address = SocketAddr::new(address.ip(), address.port());
        let bytes = Builder::new(Class::Success, Method::ALLOCATE, id)
            .mapped_address(address).relayed_address(address).peer_address(address).finish();
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.mapped_address(), Ok(Some(address)));
        prop_assert_eq!(message.relayed_addresses().next(), Some(Ok(address)));
        prop_assert_eq!(message.peer_address(), Ok(Some(address)));
    }
}
