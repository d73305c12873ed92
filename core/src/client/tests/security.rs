//! Password algorithms, and names that are hidden (RFC 8489 §9.2.5).

use super::claims::request;
use super::*;
use crate::stun::{Integrity, PasswordAlgorithm, attribute};
use crate::turn::key::userhash;

use PasswordAlgorithm::{Md5, Other, Sha256};

const BOTH: &str = "obMatJos2wAAAnonce";
const ALGORITHMS: &str = "obMatJos2gAAAnonce";
const HIDDEN: &str = "obMatJos2QAAAnonce";

/// A client that was given a challenge.
fn challenged(code: u16, fill: impl Fn(Builder) -> Builder) -> World {
    let mut world = World::new(config());
    let first = request(&mut world);
    let challenge = Builder::error(&Message::parse(&first).unwrap(), code, "Who").realm("adit");
    world.deliver(&fill(challenge).finish());
    world
}

fn key(algorithm: PasswordAlgorithm) -> Key {
    Key::negotiated(algorithm, "gw", "adit", "secret").unwrap()
}

#[test]
fn the_first_algorithm_that_is_known_is_used_and_all_are_repeated() {
    for (offered, chosen) in
        [(&[Sha256, Md5][..], Sha256), (&[Md5, Sha256], Md5), (&[Other(7), Sha256], Sha256), (&[Md5], Md5)]
    {
        let mut world = challenged(401, |builder| builder.nonce(ALGORITHMS).password_algorithms(offered));
        let signed = request(&mut world);
        let message = Message::parse(&signed).unwrap();
        assert_eq!(message.password_algorithms(), Ok(Some(offered.to_vec())));
        assert_eq!(message.password_algorithm(), Ok(Some(chosen)));
        assert_eq!((message.username(), message.userhash()), (Ok(Some("gw")), Ok(None)));
        assert_eq!(message.verify_by(Integrity::Sha256, &key(chosen)), Ok(()));
        // Nothing but an answer that is signed alike is believed.
        let grant = || Relay::default().grant(&message);
        world.deliver(&grant().finish_with_integrity(&key(chosen)));
        world.deliver(&key(if chosen == Md5 { Sha256 } else { Md5 }).sign(grant()));
        assert!(world.client.relayed().is_empty());
        assert_eq!(world.client.counters().unsigned, 2);
        world.deliver(&key(chosen).sign(grant()));
        assert_eq!(world.client.relayed(), [relayed()]);
        // And so are later requests, under new credentials too.
        world.pass(5 * MINUTE);
        let refresh = request(&mut world);
        assert_eq!(key(chosen).verify(&Message::parse(&refresh).unwrap()), Ok(()));
        let credentials = Credentials { username: "gw2".into(), password: "new".into() };
        world.client.set_credentials(world.now, credentials);
        let renewed = request(&mut world);
        let new = Key::negotiated(chosen, "gw2", "adit", "new").unwrap();
        assert_eq!(new.verify(&Message::parse(&renewed).unwrap()), Ok(()));
    }
}

/// Parameters of algorithms that nobody here knows are repeated as they are.
#[test]
fn an_offer_is_repeated_byte_by_byte() {
    let offer = [0, 9, 0, 3, 1, 2, 3, 0, 0, 2, 0, 0];
    let mut world =
        challenged(401, |builder| builder.nonce(ALGORITHMS).raw(attribute::PASSWORD_ALGORITHMS, &offer));
    let signed = request(&mut world);
    let message = Message::parse(&signed).unwrap();
    assert_eq!(message.attribute(attribute::PASSWORD_ALGORITHMS), Some(&offer[..]));
}

#[test]
fn a_relay_that_asks_for_hidden_names_gets_no_others() {
    for (nonce, offered) in [(HIDDEN, &[][..]), (BOTH, &[Sha256, Md5])] {
        let mut world = challenged(401, |builder| match offered {
            [] => builder.nonce(nonce),
            offered => builder.nonce(nonce).password_algorithms(offered),
        });
        let signed = request(&mut world);
        let message = Message::parse(&signed).unwrap();
        assert_eq!((message.username(), message.userhash()), (Ok(None), Ok(Some(userhash("gw", "adit")))));
        assert_eq!(message.verify(&key(if offered.is_empty() { Md5 } else { Sha256 })), Ok(()));
    }
}

/// RFC 8489 §14.3: composed, and with plain spaces.
#[test]
fn a_username_outside_ascii_is_sent_prepared() {
    let credentials = Credentials { username: "Rene\u{301}\u{a0}X".into(), password: "s".into() };
    for (nonce, hidden) in [("n", false), (HIDDEN, true)] {
        let mut world = World::new(Config { credentials: credentials.clone(), ..config() });
        let first = request(&mut world);
        let challenge = Builder::error(&Message::parse(&first).unwrap(), 401, "Who").realm("adit");
        world.deliver(&challenge.nonce(nonce).finish());
        let signed = request(&mut world);
        let message = Message::parse(&signed).unwrap();
        let prepared = "Ren\u{e9} X";
        let expected = (!hidden).then_some(prepared);
        assert_eq!((message.username(), message.userhash().unwrap().is_some()), (Ok(expected), hidden));
        assert_eq!(message.verify(&Key::md5(prepared, "adit", "s")), Ok(()));
    }
}

/// The nonce tells what somebody on the way has taken out of the challenge.
#[test]
fn a_challenge_that_was_weakened_on_the_way_is_not_answered() {
    for code in [401, 438] {
        let mut world = challenged(code, |builder| builder.nonce(ALGORITHMS));
        assert_eq!((world.requests().len(), world.lost()), (0, vec![&Lost::Unverified]));
    }
    // Later as well: the allocation ends rather than that the key of old is shown.
    let mut world = World::allocated(config());
    world.pass(5 * MINUTE);
    let refresh = request(&mut world);
    let stale = Builder::error(&Message::parse(&refresh).unwrap(), 438, "Stale").realm("adit").nonce(BOTH);
    world.deliver(&stale.finish());
    assert_eq!((world.requests().len(), world.lost()), (0, vec![&Lost::Unverified]));
}

#[test]
fn a_challenge_with_unknown_algorithms_only_is_not_answered() {
    for offer in [&[0, 9, 0, 0][..], &[], &[0, 2, 0]] {
        let world =
            challenged(401, |builder| builder.nonce(ALGORITHMS).raw(attribute::PASSWORD_ALGORITHMS, offer));
        assert!(matches!(world.lost()[..], [Lost::Unauthorized { code: 401, .. }]));
    }
}

/// RFC 8489 §9.2.5: whatever it says, and however it is signed.
#[test]
fn another_answer_whose_nonce_was_weakened_is_dropped() {
    let mut world = challenged(401, |builder| builder.nonce(ALGORITHMS).password_algorithms(&[Sha256]));
    let signed = request(&mut world);
    let message = Message::parse(&signed).unwrap();
    world.deliver(&key(Sha256).sign(Builder::error(&message, 486, "No").nonce(ALGORITHMS)));
    world.deliver(&key(Sha256).sign(Relay::default().grant(&message).nonce(ALGORITHMS)));
    assert!(world.lost().is_empty() && world.client.relayed().is_empty());
    let whole = Relay::default().grant(&message).nonce(ALGORITHMS).password_algorithms(&[Sha256]);
    world.deliver(&key(Sha256).sign(whole));
    assert_eq!(world.client.relayed(), [relayed()]);
}
