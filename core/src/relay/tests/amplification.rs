//! Nobody makes the relay send much to somebody else: whatever comes from an address that may be forged is answered by at
//! most three times as many bytes, a Binding request by one and a half times as many, headers of IP and UDP included; and a
//! source has a budget of replies.

use super::secured::{Datagrammer, secured};
use super::*;
use crate::stun::{Integrity, PasswordAlgorithm, attribute};
use crate::turn::key::{Key, userhash};

/// The headers of IPv4 and UDP; those of IPv6 would make every ratio smaller.
const HEADERS: usize = 28;

/// Attributes that have a meaning somewhere, with the length of a value that can be right.
const ATTRIBUTES: [(u16, usize); 30] = [
    (attribute::MAPPED_ADDRESS, 8),
    (attribute::USERNAME, 5),
    (attribute::MESSAGE_INTEGRITY, 20),
    (attribute::ERROR_CODE, 4),
    (attribute::UNKNOWN_ATTRIBUTES, 2),
    (attribute::CHANNEL_NUMBER, 4),
    (attribute::LIFETIME, 4),
    (attribute::XOR_PEER_ADDRESS, 8),
    (attribute::DATA, 100),
    (attribute::REALM, 4),
    (attribute::NONCE, 30),
    (attribute::XOR_RELAYED_ADDRESS, 8),
    (attribute::REQUESTED_ADDRESS_FAMILY, 4),
    (attribute::EVEN_PORT, 1),
    (attribute::REQUESTED_TRANSPORT, 4),
    (attribute::DONT_FRAGMENT, 0),
    (attribute::MESSAGE_INTEGRITY_SHA256, 32),
    (attribute::PASSWORD_ALGORITHM, 4),
    (attribute::USERHASH, 32),
    (attribute::XOR_MAPPED_ADDRESS, 8),
    (attribute::RESERVATION_TOKEN, 8),
    (attribute::ADDITIONAL_ADDRESS_FAMILY, 4),
    (attribute::ADDRESS_ERROR_CODE, 4),
    (attribute::PASSWORD_ALGORITHMS, 8),
    (attribute::ICMP, 8),
    (attribute::MOBILITY_TICKET, 0),
    (attribute::SOFTWARE, 100),
    (attribute::ALTERNATE_SERVER, 8),
    (attribute::FINGERPRINT, 4),
    // RFC 3489's CHANGE-REQUEST, which asked servers to answer elsewhere.
    (0x0003, 4),
];

const CLASSES: [Class; 4] = [Class::Request, Class::Indication, Class::Success, Class::Error];

/// The ways to sign, or not to, of somebody who is not known.
type Signing = fn(Builder) -> Vec<u8>;

const SIGNINGS: [Signing; 11] = [
    Builder::finish,
    |builder| builder.finish_with_fingerprint(None),
    // A user, and a wrong password; nobody's name; credentials that have run out.
    |builder| builder.username("alice").realm("adit").nonce(NONCE).finish_with_integrity(&[1; 16]),
    |builder| builder.username("nobody").realm("adit").nonce(NONCE).finish_with_integrity(&[1; 16]),
    |builder| {
        let expired = Credentials::time_limited(SECRET, UnixTime(1), "gw-1");
        let key = expired.key("adit");
        builder.username(&expired.username).realm("adit").nonce(NONCE).finish_with_integrity(&key)
    },
    // The right password, and a nonce that somebody else was given; another realm.
    |builder| {
        let key = Key::md5("alice", "adit", "wonder");
        builder.username("alice").realm("adit").nonce(NONCE).finish_with_integrity(&key)
    },
    |builder| {
        let key = Key::md5("alice", "elsewhere", "wonder");
        builder.username("alice").realm("elsewhere").nonce(NONCE).finish_with_integrity(&key)
    },
    // A hidden name; algorithms that were offered, and such as were not.
    |builder| {
        let builder = builder.userhash(&userhash("alice", "adit")).realm("adit").nonce(NONCE);
        builder.finish_signed(Integrity::Sha256, &[1; 16])
    },
    |builder| {
        let algorithms = [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5];
        let key = Key::sha256("alice", "adit", "wonder");
        let builder = builder.username("alice").realm("adit").nonce(NONCE);
        key.sign(builder.password_algorithms(&algorithms).password_algorithm(PasswordAlgorithm::Sha256))
    },
    |builder| {
        let builder = builder.username("alice").realm("adit").nonce(NONCE);
        builder.password_algorithm(PasswordAlgorithm::Other(9)).finish_with_integrity(&[1; 16])
    },
    // Nothing but a signature.
    |builder| builder.finish_with_integrity(&[1; 16]),
];

const NONCE: &str = "obMatJos2gAAAAAAAAAAAAAAAAAAAAA";

/// A relay whose budget does not end.
fn generous() -> Config {
    let reply_budget = ReplyBudget { rate: 1_000_000, burst: 1_000_000 };
    Config { reply_budget, ..config() }
}

impl Bench {
    /// What a datagram gets, in bytes on the wire; nothing goes to anybody else.
    fn reply_to(&mut self, from: SocketAddr, datagram: &[u8]) -> usize {
        let sent = self.send(from, datagram);
        assert!(sent.len() <= 1, "one reply");
        assert!(sent.iter().all(|&(_, to, _)| to == from), "to the sender");
        sent.iter().map(|(_, _, bytes)| bytes.len() + HEADERS).sum()
    }

    /// Sends a message, and says whether it was answered: by no more than it may be.
    fn probe(&mut self, from: SocketAddr, message: &[u8]) -> bool {
        let (sent, got) = (message.len() + HEADERS, self.reply_to(from, message));
        let binding = Message::parse(message).is_ok_and(|message| message.method() == Method::BINDING);
        let (times, over) = if binding { (3, 2) } else { (3, 1) };
        assert!(over * got <= times * sent, "{got} bytes for {sent}: {message:02x?}");
        got > 0
    }
}

fn builder(class: Class, method: u16) -> Builder {
    Builder::new(class, Method::new(method), [7; 12])
}

#[test]
fn no_method_of_any_class_gets_much() {
    let mut bench = Bench::new(generous());
    let mut answered = Vec::new();
    for from in [CLIENT, "[2001:db8::77]:4000"].map(addr) {
        for method in 0..0x1000 {
            for class in CLASSES {
                if bench.probe(from, &builder(class, method).finish()) {
                    answered.push((class, method));
                }
            }
        }
    }
    let requests = [0x001, 0x003, 0x004, 0x008, 0x009, 0x00A, 0x00B].map(|method| (Class::Request, method));
    assert_eq!(answered, [requests, requests].concat());
}

#[test]
fn no_attribute_and_no_credentials_get_much() {
    let mut bench = Bench::new(generous());
    let mut answered = 0;
    for from in [CLIENT, "[2001:db8::77]:4000"].map(addr) {
        for method in [0x001, 0x003, 0x004, 0x006, 0x007, 0x008, 0x009, 0x00A, 0x00B, 0x00C] {
            for class in CLASSES {
                for (kind, len) in ATTRIBUTES {
                    // Of other lengths in requests only, signed and not.
                    let lens = if class == Class::Request { &[len, 0, 3, 255][..] } else { &[len][..] };
                    for &len in lens {
                        for sign in SIGNINGS {
                            let message = sign(builder(class, method).raw(kind, &vec![1; len]));
                            answered += usize::from(bench.probe(from, &message));
                        }
                    }
                }
            }
        }
    }
    assert!(answered > 5000, "it answers, or there would be nothing to see: {answered}");
    assert_eq!((bench.relay.allocations(), bench.dropped(Drop::OverBudget)), (0, 0));
}

#[test]
fn no_unknown_attribute_gets_much() {
    let mut bench = Bench::new(generous());
    for kind in 0..0x8000 {
        for method in [Method::BINDING, Method::ALLOCATE] {
            bench.probe(addr(CLIENT), &builder(Class::Request, method.codepoint()).raw(kind, &[]).finish());
        }
    }
    // As many as a request has room for, each named in the reply.
    for count in [1, 2, 3, 16, 63] {
        for method in [Method::BINDING, Method::ALLOCATE] {
            let request = builder(Class::Request, method.codepoint());
            let request = (0..count).fold(request, |request, kind| request.raw(0x7F00 + kind, &[]));
            assert!(bench.probe(addr(CLIENT), &request.finish()), "{count}");
        }
    }
}

/// Whoever runs the relay may choose a long realm; a request that is too small for it gets silence.
#[test]
fn a_realm_of_any_length_makes_no_amplifier() {
    for len in [1, 40, 50, 60, 70, 127] {
        let authenticator = Authenticator::new("r".repeat(len)).with_user("alice", "wonder");
        let mut bench = Bench::new(Config { authenticator, ..generous() });
        for sign in SIGNINGS {
            for padding in [0, 40, 200] {
                let request = builder(Class::Request, 0x003).raw(attribute::SOFTWARE, &vec![1; padding]);
                bench.probe(addr(CLIENT), &sign(request));
            }
        }
    }
}

/// The smallest ClientHello that begins a session; or its first part.
fn small_hello(number: u8, fragment: Option<usize>) -> Vec<u8> {
    let body = [&[0xFE, 0xFD][..], &[7; 32], &[0], &[0], &[0, 2, 0xC0, 0x2B], &[1, 0]].concat();
    let len = body.len() as u8;
    let body = &body[..fragment.unwrap_or(body.len())];
    let whole = if fragment.is_some() { len + 1 } else { len };
    let message = [&[1, 0, 0, whole, 0, number, 0, 0, 0, 0, 0, body.len() as u8][..], body].concat();
    let record =
        [&[22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, number, 0, message.len() as u8][..], &message].concat();
    assert!(number > 0 || crate::secure::hello::check(&record).is_ok());
    record
}

#[test]
fn no_first_flight_of_dtls_gets_much() {
    let (mut bench, trust) = secured(|config| config.reply_budget = generous().reply_budget);
    let real = Datagrammer::new(&bench, CLIENT, trust).next().unwrap();
    let record = |kind: u8, body: &[u8]| {
        [&[kind, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 9, 0, body.len() as u8][..], body].concat()
    };
    let cut = small_hello(0, Some(42));
    let mut others: Vec<Vec<u8>> =
        (20..=25).flat_map(|kind| [record(kind, &[1]), record(kind, &[2; 60])]).collect();
    others.extend([vec![22], cut.clone(), small_hello(1, None), small_hello(0, None), real.clone()]);
    // A message of no length, and a part of one.
    others.push(record(22, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    others.push(record(22, &[1, 0, 0, 42, 0, 1, 0, 0, 0, 0, 0, 0]));
    others.push(record(22, &[16, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]));
    for from in ["198.51.100.9:9", "[2001:db8::9]:9"].map(addr) {
        for first in [&real, &small_hello(0, None), &cut] {
            for other in &others {
                let (mut sent, mut got) = (first.len() + HEADERS, bench.reply_to(from, first));
                assert!(got <= 3 * sent, "at once: {got} for {sent}");
                // Time makes it say nothing, and what else may follow from the same address, now and then, no more.
                for _ in 0..12 {
                    for (_, _, bytes) in bench.advance_by(Duration::from_millis(500)) {
                        got += bytes.len() + HEADERS;
                    }
                    assert!(got <= 3 * sent, "with time: {got} for {sent}");
                    sent += other.len() + HEADERS;
                    got += bench.reply_to(from, other);
                    assert!(got <= 3 * sent, "again: {got} for {sent}, {other:02x?}");
                }
                bench.advance(20);
                assert_eq!(bench.relay.holdings().sessions, 0, "nobody was there");
            }
        }
    }
}

/// A first flight that is repeated costs the budget of its source, as a request does.
#[test]
fn the_budget_of_replies_counts_what_dtls_says_too() {
    let (mut bench, trust) = secured(|_| ());
    let hello = Datagrammer::new(&bench, CLIENT, trust).next().unwrap();
    for _ in 0..1000 {
        bench.reply_to(addr(CLIENT), &hello);
    }
    assert_eq!(bench.dropped(Drop::OverBudget), 800);
    assert!(!bench.probe(addr("198.51.100.1:77"), &builder(Class::Request, 1).finish()));
}

#[test]
fn the_budget_of_a_source_holds_at_its_edge() {
    // Whatever is asked, and from whichever port; of IPv6 a /64 is one source.
    for (ours, others) in [
        (["198.51.100.1:1", "198.51.100.1:2"], "198.51.100.2:1"),
        (["[2001:db8:0:7::1]:1", "[2001:db8:0:7:ffff:ffff:ffff:ffff]:2"], "[2001:db8:0:8::1]:1"),
    ] {
        let mut bench = Bench::new(config());
        let ask = |bench: &mut Bench, count: usize| -> usize {
            (0..count)
                .filter(|number| {
                    let method = [0x001, 0x003, 0x004, 0x008, 0x009][number % 5];
                    let message = SIGNINGS[number % SIGNINGS.len()](builder(Class::Request, method));
                    bench.probe(addr(ours[number % 2]), &message)
                })
                .count()
        };
        assert_eq!(ask(&mut bench, 200), 200, "the burst");
        assert_eq!(ask(&mut bench, 1), 0, "and not one more");
        assert!(bench.probe(addr(others), &builder(Class::Request, 1).finish()), "others have their own");
        // A reply has grown after a fiftieth of a second, not before.
        bench.advance_by(Duration::from_micros(19_900));
        assert_eq!(ask(&mut bench, 1), 0);
        bench.advance_by(Duration::from_micros(100));
        assert_eq!(ask(&mut bench, 2), 1);
        bench.advance(1);
        assert_eq!(ask(&mut bench, 100), 50, "a second's worth");
        bench.advance(4);
        assert_eq!(ask(&mut bench, 300), 200, "no more than the burst is ever saved up");
    }
}
