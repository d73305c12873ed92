//! The vectors of RFC 5769 and RFC 8489 Appendix B, the other way round: what we write is what they say, byte by byte,
//! and what they say is proved by their own digests.

use aws_lc_rs::{digest, hmac};

use super::*;
use crate::turn::key::{Key, userhash};

const ICE_ID: [u8; 12] = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
const LONG_TERM_ID: [u8; 12] = [0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72, 0xc0, 0x29, 0xda, 0x41, 0x2e];
const MATRIX: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";

/// RFC 5769 pads with blanks in its first three messages, to show that the value of padding does not count; we pad
/// with zeros.
fn padded_with_blanks(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = HEADER_LEN;
    while at < bytes.len() {
        let len = usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        let (end, next) = (at + 4 + len, at + 4 + len.next_multiple_of(4));
        assert!(bytes[end..next].iter().all(|&byte| byte == 0), "padding is written as zeros");
        bytes[end..next].fill(b' ');
        at = next;
    }
    bytes
}

fn signed(mut bytes: Vec<u8>) -> Vec<u8> {
    Integrity::Sha1.append(&mut bytes, SHORT_TERM_PASSWORD);
    integrity::append_fingerprint(&mut bytes);
    bytes
}

#[test]
fn the_sample_request_is_what_we_write() {
    let bytes = Builder::new(Class::Request, Method::BINDING, ICE_ID)
        .raw(attribute::SOFTWARE, b"STUN test client")
        .raw(0x0024, &[0x6e, 0x00, 0x01, 0xff])
        .raw(0x8029, &[0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36])
        .username("evtj:h6vY")
        .finish();
    assert_eq!(signed(padded_with_blanks(bytes)), sample_request());
}

#[test]
fn the_sample_responses_are_what_we_write() {
    for (address, sample) in [
        ("192.0.2.1:32853", sample_ipv4_response()),
        ("[2001:db8:1234:5678:11:2233:4455:6677]:32853", sample_ipv6_response()),
    ] {
        let request = Builder::new(Class::Request, Method::BINDING, ICE_ID).finish();
        let bytes = Builder::success(&Message::parse(&request).unwrap())
            .raw(attribute::SOFTWARE, b"test vector")
            .mapped_address(address.parse().unwrap())
            .finish();
        assert_eq!(signed(padded_with_blanks(bytes)), sample);
    }
}

#[test]
fn the_sample_request_with_long_term_credentials_is_what_we_write() {
    let bytes = Builder::new(Class::Request, Method::BINDING, LONG_TERM_ID)
        .username(MATRIX)
        .nonce("f//499k954d6OL34oL9FSTvy64sA")
        .realm("example.org")
        .finish_with_integrity(&long_term_key(MATRIX, "example.org", "TheMatrIX"));
    assert_eq!(bytes, sample_long_term_request());
}

/// The digests of RFC 8489 Appendix B.1 fit the bytes that the other tests read, so these are the RFC's: USERHASH is
/// that of user and realm, and the integrity is made with the SHA-256 of user, realm and password.
#[test]
fn the_digests_of_the_sample_request_with_sha256_are_right() {
    let bytes = sample_sha256_request();
    let message = Message::parse(&bytes).unwrap();
    let sha256 = |text: String| digest::digest(&digest::SHA256, text.as_bytes());
    let user = sha256(format!("{MATRIX}:example.org"));
    assert_eq!(message.attribute(attribute::USERHASH), Some(user.as_ref()));
    let key = sha256(format!("{MATRIX}:example.org:TheMatrIX"));
    let (covered, tag) = bytes.split_at(bytes.len() - 36);
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
    assert_eq!(hmac::verify(&key, covered, &tag[4..]), Ok(()));
}

#[test]
fn the_sample_request_with_sha256_is_what_we_write() {
    let key = Key::negotiated(PasswordAlgorithm::Sha256, MATRIX, "example.org", "TheMatrIX").unwrap();
    let builder = Builder::new(Class::Request, Method::BINDING, LONG_TERM_ID)
        .userhash(&userhash(MATRIX, "example.org"))
        .nonce("obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA")
        .realm("example.org")
        .password_algorithm(PasswordAlgorithm::Sha256);
    assert_eq!(key.sign(builder), sample_sha256_request());
}

/// The list of algorithms, with parameters of such as nobody knows: they are padded, but for the last (RFC 8489 §14.11).
#[test]
fn password_algorithms_are_read_with_their_parameters() {
    use PasswordAlgorithm::{Md5, Other, Sha256};
    let read = |value: &[u8]| {
        let bytes = Builder::new(Class::Error, Method::ALLOCATE, [0; 12])
            .raw(attribute::PASSWORD_ALGORITHMS, value)
            .raw(attribute::PASSWORD_ALGORITHM, value)
            .finish();
        let message = Message::parse(&bytes).unwrap();
        (message.password_algorithms().ok().flatten(), message.password_algorithm().ok().flatten())
    };
    assert_eq!(read(&[0, 2, 0, 0]), (Some(vec![Sha256]), Some(Sha256)));
    assert_eq!(read(&[0, 2, 0, 0, 0, 1, 0, 0]), (Some(vec![Sha256, Md5]), None));
    assert_eq!(read(&[0, 9, 0, 3, 7, 7, 7, 0, 0, 1, 0, 0]), (Some(vec![Other(9), Md5]), None));
    assert_eq!(read(&[0, 1, 0, 0, 0, 9, 0, 3, 7, 7, 7]), (Some(vec![Md5, Other(9)]), None));
    assert_eq!(read(&[]), (Some(vec![]), None));
    for bad in [&[0, 2, 0][..], &[0, 2, 0, 1, 7, 0, 0, 0], &[0, 9, 0, 9, 1], &[0, 9, 255, 255]] {
        assert_eq!(read(bad), (None, None), "{bad:?}");
    }
    let bytes = Builder::new(Class::Error, Method::ALLOCATE, [0; 12])
        .password_algorithms(&[Sha256, Md5])
        .password_algorithm(Other(7))
        .userhash(&[5; 32])
        .finish();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.password_algorithms(), Ok(Some(vec![Sha256, Md5])));
    assert_eq!(message.password_algorithm(), Ok(Some(Other(7))));
    assert_eq!(message.userhash(), Ok(Some([5; 32])));
}

#[test]
fn padding_does_not_count_and_neither_does_what_comes_twice() {
    let message = sample_request();
    assert_eq!(message[message.len() - 35..][..3], *b"   ", "blanks behind the username");
    assert_eq!(Message::parse(&message).unwrap().username(), Ok(Some("evtj:h6vY")));
    let twice =
        Builder::new(Class::Request, Method::BINDING, [0; 12]).username("one").username("two").finish();
    assert_eq!(Message::parse(&twice).unwrap().username(), Ok(Some("one")));
}

/// The three bytes behind a number, the seven bits behind a flag: senders write zeros, receivers look away.
#[test]
fn reserved_bits_are_ignored() {
    let bytes = Builder::new(Class::Request, Method::ALLOCATE, [0; 12])
        .raw(attribute::REQUESTED_TRANSPORT, &[17, 1, 2, 3])
        .raw(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 1, 2, 3])
        .raw(attribute::CHANNEL_NUMBER, &[0x40, 0x01, 7, 7])
        .raw(attribute::EVEN_PORT, &[0x7F])
        .raw(attribute::XOR_PEER_ADDRESS, &[0xFF, 1, 0x21, 0x12, 0x21, 0x12, 0xA4, 0x42])
        .raw(attribute::ADDRESS_ERROR_CODE, &[2, 0xFF, 0xFC, 40])
        .raw(attribute::ERROR_CODE, &[0xFF, 0xFF, 0xFC, 86])
        .raw(attribute::ICMP, &[0xFF, 0xFF, 0x06, 0x04, 0, 0, 5, 0])
        .finish();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(message.requested_transport(), Ok(Some(17)));
    assert_eq!(message.requested_family(), Ok(Some(Family::V6)));
    assert_eq!(message.channel_number(), Ok(Some(0x4001)));
    assert_eq!(message.even_port(), Ok(Some(EvenPort { reserve: false })));
    assert_eq!(message.peer_address(), Ok(Some("0.0.0.0:0".parse().unwrap())));
    assert_eq!(message.address_error().unwrap().unwrap().code, 440);
    assert_eq!(message.error_code().unwrap().unwrap().code, 486);
    assert_eq!(message.icmp(), Ok(Some(Icmp { kind: 3, code: 4, data: 1280 })));
}

/// The hundreds are 3 to 5, the number below them 0 to 99, and the reason is text (RFC 8489 §14.8, RFC 8656 §18.12).
/// Codes from 600 on exist no more than others: whatever holds one has failed.
#[test]
fn a_code_that_is_none_is_no_error_code() {
    let codes = |value: &[u8]| {
        let bytes = Builder::new(Class::Error, Method::ALLOCATE, [0; 12])
            .raw(attribute::ERROR_CODE, value)
            .raw(attribute::ADDRESS_ERROR_CODE, value)
            .finish();
        let message = Message::parse(&bytes).unwrap();
        let codes = (message.error_code(), message.address_error());
        (codes.0.map(|error| error.unwrap().code), codes.1.map(|error| error.unwrap().code))
    };
    for (class, number, code) in [(3, 0, 300), (4, 37, 437), (5, 99, 599)] {
        assert_eq!(codes(&[0, 0, class, number, b'n', b'o']), (Ok(code), Ok(code)));
    }
    let bad = (Err(BadAttribute(attribute::ERROR_CODE)), Err(BadAttribute(attribute::ADDRESS_ERROR_CODE)));
    for value in [&[0, 0, 2, 99][..], &[0, 0, 6, 0], &[0, 0, 4, 100], &[0, 0, 4, 255], &[0, 0, 4], &[]] {
        assert_eq!(codes(value), bad, "{value:?}");
    }
    assert_eq!(codes(&[0, 0, 4, 37, 0xFF]), bad, "no text");
}

/// RFC 5389 let a reason have 763 bytes: so many are read.
#[test]
fn a_reason_of_763_bytes_is_read() {
    let reason = "ä".repeat(381) + "a";
    let error = ErrorCode { code: 400, reason };
    let bytes = Builder::new(Class::Error, Method::ALLOCATE, [0; 12]).error_code(&error).finish();
    assert_eq!(Message::parse(&bytes).unwrap().error_code(), Ok(Some(error)));
}

#[test]
fn reserved_bits_are_written_as_zeros() {
    let bytes = Builder::new(Class::Request, Method::ALLOCATE, [0; 12])
        .requested_transport(17)
        .requested_family(Family::V6)
        .channel_number(0x4001)
        .even_port(EvenPort { reserve: true })
        .address_error(Family::V6, 508, "no")
        .icmp(Icmp { kind: 3, code: 4, data: 1280 })
        .error_code(&ErrorCode { code: 437, reason: String::new() })
        .finish();
    let message = Message::parse(&bytes).unwrap();
    let value = |kind| message.attribute(kind).unwrap();
    assert_eq!(value(attribute::REQUESTED_TRANSPORT), [17, 0, 0, 0]);
    assert_eq!(value(attribute::REQUESTED_ADDRESS_FAMILY), [2, 0, 0, 0]);
    assert_eq!(value(attribute::CHANNEL_NUMBER), [0x40, 0x01, 0, 0]);
    assert_eq!(value(attribute::EVEN_PORT), [0x80]);
    assert_eq!(value(attribute::ADDRESS_ERROR_CODE), [2, 0, 5, 8, b'n', b'o']);
    assert_eq!(value(attribute::ERROR_CODE), [0, 0, 4, 37]);
    assert_eq!(value(attribute::ICMP), [0, 0, 3 << 1, 4, 0, 0, 5, 0]);
}

/// The numbers of RFC 8656 §17, on the wire with the bits of the class between theirs.
#[test]
fn the_methods_have_their_numbers_on_the_wire() {
    for (class, method, kind) in [
        (Class::Request, Method::BINDING, [0x00, 0x01]),
        (Class::Request, Method::ALLOCATE, [0x00, 0x03]),
        (Class::Error, Method::ALLOCATE, [0x01, 0x13]),
        (Class::Request, Method::REFRESH, [0x00, 0x04]),
        (Class::Indication, Method::SEND, [0x00, 0x16]),
        (Class::Indication, Method::DATA, [0x00, 0x17]),
        (Class::Request, Method::CREATE_PERMISSION, [0x00, 0x08]),
        (Class::Success, Method::CHANNEL_BIND, [0x01, 0x09]),
    ] {
        assert_eq!(Builder::new(class, method, [0; 12]).finish()[..2], kind);
    }
}
