//! Password algorithms, and users who hide their names (RFC 8489 §9.2).

use super::*;
use crate::stun::{Integrity, PasswordAlgorithm, attribute};
use crate::turn::key::{Key, userhash};
use crate::turn::nonce::Features;

const OFFERED: [PasswordAlgorithm; 2] = [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5];

fn with_users() -> Config {
    let authenticator = Authenticator::new("adit").with_user("alice", "wonder");
    Config { authenticator, ..config() }
}

/// An Allocate of `client` that has chosen `algorithm`, and the key that it is signed with.
fn allocate(bench: &mut Bench, client: &Client, algorithm: PasswordAlgorithm) -> (Vec<u8>, Key) {
    let Credentials { username, password } = &client.credentials;
    let key = Key::negotiated(algorithm, username, "adit", password).unwrap();
    let builder = bench.builder(Method::ALLOCATE).requested_transport(17);
    let builder = builder.username(username).realm("adit").nonce(&client.nonce);
    (key.sign(builder.password_algorithms(&OFFERED).password_algorithm(algorithm)), key)
}

#[test]
fn challenges_offer_password_algorithms_and_nonces_tell_of_them() {
    let mut bench = Bench::new(config());
    let mut client = bench.client(CLIENT);
    let anonymous = bench.builder(Method::ALLOCATE).finish();
    client.credentials.username = "nobody".to_owned();
    let unknown = client.sign(bench.builder(Method::ALLOCATE));
    client.credentials = Credentials { username: "alice".to_owned(), password: "wrong".to_owned() };
    let wrong = client.sign(bench.builder(Method::ALLOCATE));
    client.credentials.password = "wonder".to_owned();
    client.nonce = "stale".to_owned();
    let stale = client.sign(bench.builder(Method::ALLOCATE));
    for (request, code) in [(anonymous, 401), (unknown, 401), (wrong, 401), (stale, 438)] {
        let reply = Reply(bench.ask(client.address, &request));
        assert_eq!(reply.code(), code);
        assert_eq!(reply.message().password_algorithms(), Ok(Some(OFFERED.to_vec())));
        let features = Features::of(reply.message().nonce().unwrap().unwrap());
        assert!(features.password_algorithms && !features.username_anonymity);
        assert!(reply.0.len() + 28 <= 3 * (request.len() + 28));
    }
}

#[test]
fn whoever_knows_the_password_may_sign_by_either_algorithm() {
    for (port, algorithm) in [(4000, PasswordAlgorithm::Sha256), (4001, PasswordAlgorithm::Md5)] {
        let mut bench = Bench::new(config());
        for credentials in [
            Credentials { username: "alice".to_owned(), password: "wonder".to_owned() },
            Credentials::time_limited(SECRET, UnixTime(1_800_000_000), "gw-1"),
        ] {
            let client = bench.client_as(&format!("198.51.100.{port}:1", port = port % 200), credentials);
            let (request, key) = allocate(&mut bench, &client, algorithm);
            let reply = Reply(bench.ask(client.address, &request));
            assert_eq!(reply.code(), 0);
            assert_eq!(reply.message().verify_by(Integrity::Sha256, &key), Ok(()), "{algorithm:?}");
            assert_eq!(bench.ask(client.address, &request), reply.0, "the same again");
            // Errors are signed alike.
            let refused = bench.builder(Method::ALLOCATE).username(&client.credentials.username);
            let refused = refused.realm("adit").nonce(&client.nonce).password_algorithms(&OFFERED);
            let refused = key.sign(refused.password_algorithm(algorithm));
            let reply = Reply(bench.ask(client.address, &refused));
            assert_eq!((reply.code(), key.verify(&reply.message())), (437, Ok(())));
            bench.advance(3600);
            bench.advance(1);
        }
    }
}

/// A client of RFC 5389 names no algorithm: it gets what it knows.
#[test]
fn who_names_no_algorithm_is_answered_as_ever() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let reply = bench.call(&client, Method::ALLOCATE, |builder| builder.requested_transport(17));
    let key = client.credentials.key("adit");
    assert_eq!((reply.code(), reply.message().verify_by(Integrity::Sha1, &key)), (0, Ok(())));
    assert!(reply.message().verify_by(Integrity::Sha256, &key).is_err());
    // Signed with SHA-256 under the key of old, it is believed, and answered as ever too (RFC 8489 §9.2.4).
    let builder = bench.builder(Method::REFRESH).username("alice").realm("adit").nonce(&client.nonce);
    let reply = Reply(bench.ask(client.address, &builder.finish_signed(Integrity::Sha256, &key)));
    assert_eq!((reply.code(), reply.message().verify_by(Integrity::Sha1, &key)), (0, Ok(())));
}

/// Whoever has taken an algorithm out of the offer, or put one in, is found out: the client repeats what it was offered.
#[test]
fn another_offer_than_the_relay_s_is_400() {
    use PasswordAlgorithm::{Md5, Other, Sha256};
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let key = |algorithm| Key::negotiated(algorithm, "alice", "adit", "wonder").unwrap();
    let fills: [(&dyn Fn(Builder) -> Builder, PasswordAlgorithm); 8] = [
        (&|builder| builder.password_algorithms(&[Md5]).password_algorithm(Md5), Md5),
        (&|builder| builder.password_algorithms(&[Md5, Sha256]).password_algorithm(Md5), Md5),
        (&|builder| builder.password_algorithms(&[Sha256, Md5, Other(3)]).password_algorithm(Sha256), Sha256),
        (&|builder| builder.password_algorithms(&[]).password_algorithm(Sha256), Sha256),
        (&|builder| builder.password_algorithms(&OFFERED), Sha256),
        (&|builder| builder.password_algorithm(Sha256), Sha256),
        (&|builder| builder.password_algorithms(&OFFERED).password_algorithm(Other(3)), Sha256),
        (&|builder| builder.password_algorithms(&OFFERED).raw(attribute::PASSWORD_ALGORITHM, &[2]), Sha256),
    ];
    for (fill, algorithm) in fills {
        let builder = bench.builder(Method::ALLOCATE).requested_transport(17);
        let builder = fill(builder.username("alice").realm("adit").nonce(&client.nonce));
        let reply = Reply(bench.ask(client.address, &key(algorithm).sign(builder)));
        let message = reply.message();
        assert_eq!((reply.code(), message.realm(), message.nonce()), (400, Ok(None), Ok(None)));
    }
    assert_eq!(bench.relay.allocations(), 0);
}

/// The key is that of the algorithm that was chosen, not of the other one.
#[test]
fn the_algorithm_that_is_named_is_the_one_that_counts() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    for (named, used) in [
        (PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5),
        (PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256),
    ] {
        let builder = bench.builder(Method::ALLOCATE).requested_transport(17);
        let builder = builder.username("alice").realm("adit").nonce(&client.nonce);
        let builder = builder.password_algorithms(&OFFERED).password_algorithm(named);
        let request = Key::negotiated(used, "alice", "adit", "wonder").unwrap().sign(builder);
        assert_eq!(Reply(bench.ask(client.address, &request)).code(), 401);
    }
}

#[test]
fn where_all_users_are_known_by_name_they_may_hide_theirs() {
    let mut bench = Bench::new(with_users());
    let client = bench.client(CLIENT);
    assert!(Features::of(&client.nonce).username_anonymity);
    let mut ask = |hash: &[u8], key: &Key| {
        let builder = bench.builder(Method::ALLOCATE).requested_transport(17);
        let builder = builder.raw(attribute::USERHASH, hash).realm("adit").nonce(&client.nonce);
        let builder = builder.password_algorithms(&OFFERED).password_algorithm(PasswordAlgorithm::Sha256);
        Reply(bench.ask(client.address, &key.sign(builder)))
    };
    let key = Key::sha256("alice", "adit", "wonder");
    let hash = userhash("alice", "adit");
    assert_eq!(ask(&hash, &Key::sha256("alice", "adit", "land")).code(), 401);
    assert_eq!(ask(&userhash("nobody", "adit"), &key).code(), 401);
    assert_eq!(ask(&userhash("alice", "elsewhere"), &key).code(), 401);
    assert_eq!(ask(&hash[1..], &key).code(), 400);
    let granted = ask(&hash, &key);
    assert_eq!((granted.code(), key.verify(&granted.message())), (0, Ok(())));
    let username: Arc<str> = "alice".into();
    let owner = |event: &Event| matches!(event, Event::Allocated { username: name, .. } if *name == username);
    assert!(bench.news.iter().any(owner), "the relay knows whose it is");
}

/// Usernames of time-limited credentials are made up by others: no hash tells which one it is.
#[test]
fn where_usernames_are_made_up_elsewhere_nobody_is_asked_to_hide_theirs() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    assert!(!Features::of(&client.nonce).username_anonymity);
    // A user with a name may, all the same.
    let builder = bench.builder(Method::ALLOCATE).requested_transport(17);
    let builder = builder.userhash(&userhash("alice", "adit")).realm("adit").nonce(&client.nonce);
    let request = builder.finish_with_integrity(&client.credentials.key("adit"));
    assert_eq!(Reply(bench.ask(client.address, &request)).code(), 0);
}

/// RFC 8489 §14.3, §9.2.2: however name, password and realm are written.
#[test]
fn names_and_passwords_outside_ascii_are_prepared_by_opaque_string() {
    let (composed, apart) = ("Ren\u{e9}e\u{a0}X", "Rene\u{301}e X");
    for (there, here) in [(composed, apart), (apart, composed)] {
        let authenticator = Authenticator::new("caf\u{e9}").with_user(there, there);
        let mut bench = Bench::new(Config { authenticator, ..config() });
        let credentials = Credentials { username: here.to_owned(), password: here.to_owned() };
        let challenge = bench.builder(Method::ALLOCATE).requested_transport(17).finish();
        let challenge = Reply(bench.ask(addr(CLIENT), &challenge));
        let nonce = challenge.message().nonce().unwrap().unwrap().to_owned();
        assert_eq!(challenge.message().realm(), Ok(Some("caf\u{e9}")));
        let key = credentials.key("cafe\u{301}");
        let request = bench.builder(Method::ALLOCATE).requested_transport(17);
        let request = request.username(&credentials.sent_username()).realm("caf\u{e9}").nonce(&nonce);
        let reply = Reply(bench.ask(addr(CLIENT), &request.finish_with_integrity(&key)));
        assert_eq!((reply.code(), key.verify(&reply.message())), (0, Ok(())));
    }
}

/// A challenge is at most three times as large as its request, so that a long realm costs it what is not needed.
#[test]
fn a_long_realm_leaves_room_for_less() {
    for (len, reason, algorithms) in
        [(44, true, true), (45, false, true), (56, false, true), (68, false, false)]
    {
        let realm = "r".repeat(len);
        let authenticator = Authenticator::new(realm.as_str()).with_user("alice", "wonder");
        let mut bench = Bench::new(Config { authenticator, ..config() });
        let request = bench.builder(Method::ALLOCATE).requested_transport(17).finish();
        let reply = Reply(bench.ask(addr(CLIENT), &request));
        let message = reply.message();
        let features = Features::of(message.nonce().unwrap().unwrap());
        assert_eq!((reply.code(), message.realm()), (401, Ok(Some(realm.as_str()))));
        assert_eq!(!message.error_code().unwrap().unwrap().reason.is_empty(), reason, "{len}");
        assert_eq!(message.password_algorithms().unwrap().is_some(), algorithms, "{len}");
        assert_eq!((features.password_algorithms, features.username_anonymity), (algorithms, algorithms));
        // Each can be answered.
        let nonce = message.nonce().unwrap().unwrap().to_owned();
        let credentials = Credentials { username: "alice".to_owned(), password: "wonder".to_owned() };
        let request = bench.builder(Method::ALLOCATE).requested_transport(17).username("alice");
        let request = request.realm(&realm).nonce(&nonce).finish_with_integrity(&credentials.key(&realm));
        assert_eq!(Reply(bench.ask(addr(CLIENT), &request)).code(), 0);
    }
    let authenticator = Authenticator::new("r".repeat(69)).with_user("alice", "wonder");
    let mut bench = Bench::new(Config { authenticator, ..config() });
    let request = bench.builder(Method::ALLOCATE).requested_transport(17).finish();
    assert!(bench.send(addr(CLIENT), &request).is_empty());
    assert_eq!(bench.dropped(Drop::Amplifying), 1);
}

/// The nonce is the relay's as long as nobody touches what it tells.
#[test]
fn a_nonce_whose_bits_were_changed_is_438() {
    let mut bench = Bench::new(config());
    let mut client = bench.client(CLIENT);
    let untouched = client.nonce.clone();
    for nonce in [untouched.replacen("gAAA", "AAAA", 1), untouched["obMatJos2gAAA".len()..].to_owned()] {
        assert_ne!(nonce, untouched);
        client.nonce = nonce;
        let request = client.sign(bench.builder(Method::ALLOCATE).requested_transport(17));
        assert_eq!(Reply(bench.ask(client.address, &request)).code(), 438);
    }
}
