//! What RFC 8489 and RFC 8656 ask of a client and no other test shows in passing.

use super::*;
use crate::stun::{Icmp, attribute};

/// The one request that waits to be sent.
pub(super) fn request(world: &mut World) -> Vec<u8> {
    let mut requests = world.requests();
    assert_eq!(requests.len(), 1);
    requests.remove(0)
}

/// A client whose signed Allocate waits for an answer, and the request.
pub(super) fn allocating() -> (World, Vec<u8>) {
    let mut world = World::new(config());
    let challenge = Relay::default().answer(&request(&mut world)).unwrap();
    world.deliver(&challenge);
    let signed = request(&mut world);
    (world, signed)
}

#[test]
fn a_configured_lifetime_is_asked_for() {
    let lifetime = Some(20 * MINUTE);
    let mut world = World::new(Config { lifetime, ..config() });
    assert_eq!(Message::parse(&request(&mut world)).unwrap().lifetime(), Ok(lifetime));
    let mut world = World::allocated(Config { lifetime, ..config() });
    world.pass(5 * MINUTE);
    assert_eq!(Message::parse(&request(&mut world)).unwrap().lifetime(), Ok(lifetime));
    let mut world = World::new(config());
    assert_eq!(Message::parse(&request(&mut world)).unwrap().lifetime(), Ok(None));
}

#[test]
fn the_first_request_shows_nothing_and_the_second_all_that_it_must() {
    let mut world = World::new(config());
    let first = request(&mut world);
    let message = Message::parse(&first).unwrap();
    assert_eq!((message.username(), message.realm(), message.nonce()), (Ok(None), Ok(None), Ok(None)));
    assert!(!message.has_integrity());
    let mut relay = Relay::default();
    let challenge = relay.answer(&first).unwrap();
    world.deliver(&challenge);
    let second = request(&mut world);
    let message = Message::parse(&second).unwrap();
    assert_eq!(message.username(), Ok(Some("gw")));
    assert_eq!((message.realm(), message.nonce()), (Ok(Some("adit")), Ok(Some("nonce-1"))));
    assert_eq!(message.verify(&relay.key()), Ok(()));
    assert_ne!(message.transaction(), Message::parse(&first).unwrap().transaction(), "a new transaction");
    // Realm and nonce serve the next request as well.
    world.serve(&mut relay);
    let granted = relay.answer(&second).unwrap();
    world.deliver(&granted);
    world.client.permit(world.now, peer().ip()).unwrap();
    let third = request(&mut world);
    assert_eq!(Message::parse(&third).unwrap().nonce(), Ok(Some("nonce-1")));
}

#[test]
fn transactions_are_not_to_be_guessed() {
    let mut world = World::allocated(config());
    let mut ids = std::collections::BTreeSet::new();
    for port in 1..=100 {
        world.client.bind_channel(world.now, SocketAddr::new(peer().ip(), port)).unwrap();
    }
    for request in world.requests() {
        ids.insert(Message::parse(&request).unwrap().transaction());
    }
    assert_eq!(ids.len(), 101, "the permission and the channels");
    for at in 0..12 {
        let values: std::collections::BTreeSet<u8> = ids.iter().map(|id| id[at]).collect();
        assert!(values.len() > 50, "byte {at} is random");
    }
}

#[test]
fn a_permission_names_an_address_without_a_port() {
    let mut world = World::allocated(config());
    world.client.permit(world.now, peer().ip()).unwrap();
    let asked = request(&mut world);
    let message = Message::parse(&asked).unwrap();
    assert_eq!(message.method(), Method::CREATE_PERMISSION);
    assert_eq!(message.peer_address(), Ok(Some(SocketAddr::new(peer().ip(), 0))));
    assert_eq!(message.peer_addresses().count(), 1);
}

#[test]
fn a_channel_names_its_number_and_its_peer_and_the_same_again() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    let channel = |bytes: &[u8]| {
        let message = Message::parse(bytes).unwrap();
        assert_eq!(message.method(), Method::CHANNEL_BIND);
        (message.channel_number().unwrap(), message.peer_address().unwrap())
    };
    world.client.bind_channel(world.now, peer()).unwrap();
    let requests = world.requests();
    let first = channel(&requests[1]);
    assert_eq!(first, (Some(0x4000), Some(peer())));
    for request in requests {
        let granted = relay.answer(&request).unwrap();
        world.deliver(&granted);
    }
    world.pass(4 * MINUTE);
    world.serve(&mut relay);
    world.pass(4 * MINUTE);
    let again: Vec<_> = world
        .requests()
        .into_iter()
        .filter(|bytes| Message::parse(bytes).unwrap().method() == Method::CHANNEL_BIND)
        .collect();
    assert_eq!(channel(&again[0]), first);
}

#[test]
fn data_on_a_channel_may_come_before_the_answer() {
    let mut world = World::allocated(config());
    world.client.bind_channel(world.now, peer()).unwrap();
    assert_eq!(world.client.readiness(peer()), Readiness::Pending);
    assert_eq!(world.deliver(b"\x40\0\0\x01x"), [(peer(), b"x".to_vec())]);
}

#[test]
fn an_indication_without_peer_or_data_is_dropped() {
    let mut world = World::allocated(config());
    world.client.permit(world.now, peer().ip()).unwrap();
    let indication = || Builder::new(Class::Indication, Method::DATA, [1; 12]);
    assert_eq!(world.deliver(&indication().data(b"x").finish()), []);
    assert_eq!(world.deliver(&indication().peer_address(peer()).finish()), []);
    // ICMP without a peer, or a part of it, is nothing either.
    assert_eq!(world.deliver(&indication().icmp(Icmp { kind: 3, code: 3, data: 0 }).finish()), []);
    assert_eq!(world.deliver(&indication().peer_address(peer()).raw(attribute::ICMP, &[0; 4]).finish()), []);
    assert_eq!((world.client.counters().malformed, world.events.len()), (4, 0));
    assert_eq!(world.deliver(&indication().peer_address(peer()).data(b"x").finish()).len(), 1);
}

#[test]
fn a_shorter_lifetime_is_refreshed_sooner() {
    let mut world = World::new(config());
    world.serve(&mut Relay { lifetime: 2 * MINUTE, ..Relay::default() });
    assert_eq!(world.client.poll_timeout().unwrap().at, world.now + MINUTE);
    world.pass(MINUTE);
    world.serve(&mut Relay { lifetime: MINUTE, ..Relay::default() });
    assert_eq!(world.client.poll_timeout().unwrap().at, world.now + MINUTE / 2);
}

#[test]
fn a_refresh_that_is_granted_nothing_is_nonsense() {
    let mut world = World::allocated(config());
    world.pass(5 * MINUTE);
    world.serve(&mut Relay { lifetime: Duration::ZERO, ..Relay::default() });
    assert_eq!(world.lost(), [&Lost::Nonsense]);
}

#[test]
fn an_allocation_that_was_gone_already_is_given_back_too() {
    let mut world = World::allocated(config());
    world.client.close(world.now);
    world.serve(&mut Relay { refuse: vec![(Method::REFRESH, 437)], ..Relay::default() });
    assert_eq!(world.events, [Event::Closed]);
    // Nobody answers: the end comes when all repetitions have.
    let mut world = World::allocated(config());
    world.client.close(world.now);
    while let Some(deadline) = world.client.poll_timeout() {
        world.pass(deadline.at - world.now);
    }
    assert_eq!(world.events, [Event::Closed]);
}

#[test]
fn a_success_that_holds_what_must_be_understood_and_is_not_fails() {
    let (mut world, signed) = allocating();
    let relay = Relay::default();
    let strange = relay.grant(&Message::parse(&signed).unwrap()).raw(0x7F00, &[]);
    world.deliver(&strange.finish_with_integrity(&relay.key()));
    assert!(world.client.relayed().is_empty());
    world.serve(&mut Relay::default());
    assert_eq!(world.lost(), [&Lost::Nonsense], "what was granted was given back first");
    let (mut world, signed) = allocating();
    let optional = relay.grant(&Message::parse(&signed).unwrap()).raw(0xFF00, &[]);
    world.deliver(&optional.finish_with_integrity(&relay.key()));
    assert_eq!(world.client.relayed(), [relayed()]);
}

#[test]
fn an_error_without_a_code_ends_the_attempt() {
    let (mut world, signed) = allocating();
    let signed = Message::parse(&signed).unwrap();
    let error = Builder::new(Class::Error, signed.method(), signed.transaction());
    world.deliver(&error.finish_with_integrity(&Relay::default().key()));
    assert_eq!(world.lost(), [&Lost::Nonsense]);
}

#[test]
fn an_error_that_holds_what_must_be_understood_and_is_not_fails() {
    for (kind, expected) in [(0x7F00, "makes no sense"), (0xFF00, "no room")] {
        let (mut world, signed) = allocating();
        let error = Builder::error(&Message::parse(&signed).unwrap(), 486, "No").raw(kind, &[]);
        world.deliver(&error.finish_with_integrity(&Relay::default().key()));
        assert!(world.lost()[0].to_string().contains(expected), "{:?}", world.lost());
    }
    // A challenge as well: it is not answered.
    let mut world = World::new(config());
    let first = request(&mut world);
    let challenge = Builder::error(&Message::parse(&first).unwrap(), 401, "Who").realm("adit").nonce("n");
    world.deliver(&challenge.raw(0x7F00, &[]).finish());
    assert_eq!(world.lost(), [&Lost::Nonsense]);
}

#[test]
fn an_error_with_a_wrong_signature_is_not_believed() {
    let (mut world, signed) = allocating();
    let error = |code| Builder::error(&Message::parse(&signed).unwrap(), code, "No");
    world.deliver(&error(486).finish_with_integrity(b"another key"));
    assert_eq!((world.lost(), world.client.counters().unsigned), (vec![], 1));
    world.deliver(&error(486).finish_with_integrity(&Relay::default().key()));
    assert!(matches!(world.lost()[..], [Lost::Busy { code: 486, .. }]));
}

#[test]
fn a_challenge_without_what_it_takes_ends_the_attempt() {
    let mut world = World::new(config());
    let first = request(&mut world);
    world.deliver(&Builder::error(&Message::parse(&first).unwrap(), 401, "Who").nonce("n").finish());
    assert!(matches!(world.lost()[..], [Lost::Unauthorized { code: 401, .. }]), "there is no realm");
    let mut world = World::new(config());
    let first = request(&mut world);
    world.deliver(&Builder::error(&Message::parse(&first).unwrap(), 401, "Who").realm("adit").finish());
    assert!(matches!(world.lost()[..], [Lost::Unauthorized { code: 401, .. }]), "there is no nonce");
    // A 438 may leave the realm out: it is known.
    let (mut world, signed) = allocating();
    world.deliver(&Builder::error(&Message::parse(&signed).unwrap(), 438, "Stale").nonce("n-2").finish());
    let again = request(&mut world);
    let message = Message::parse(&again).unwrap();
    assert_eq!((message.realm(), message.nonce()), (Ok(Some("adit")), Ok(Some("n-2"))));
}

#[test]
fn an_allocation_of_addresses_that_cannot_be_read_is_no_allocation() {
    let unknown = [0, 7, 0, 0, 1, 2, 3, 4];
    let builds: [&dyn Fn(Builder) -> Builder; 5] = [
        &|builder| builder.raw(attribute::XOR_RELAYED_ADDRESS, &unknown).lifetime(10 * MINUTE),
        &|builder| builder.relayed_address("0.0.0.0:0".parse().unwrap()).lifetime(10 * MINUTE),
        &|builder| {
            builder
                .relayed_address(relayed())
                .raw(attribute::XOR_MAPPED_ADDRESS, &unknown)
                .lifetime(10 * MINUTE)
        },
        &|builder| builder.relayed_address(relayed()),
        &|builder| builder.relayed_address(relayed()).lifetime(10 * MINUTE).raw(0x7F00, &[]),
    ];
    for build in builds {
        let (mut world, signed) = allocating();
        let mut relay = Relay::default();
        let success = build(Builder::success(&Message::parse(&signed).unwrap()));
        world.deliver(&success.finish_with_integrity(&relay.key()));
        assert!(world.client.relayed().is_empty() && world.lost().is_empty());
        let released = request(&mut world);
        let message = Message::parse(&released).unwrap();
        assert_eq!((message.method(), message.lifetime()), (Method::REFRESH, Ok(Some(Duration::ZERO))));
        let answer = relay.answer(&released).unwrap();
        world.deliver(&answer);
        assert_eq!(world.lost(), [&Lost::Nonsense]);
        world.live(MINUTE, &mut relay);
        assert_eq!(world.client.relayed(), [relayed()], "the next one is another");
    }
}

/// Whatever becomes of giving it back: the attempt ends, and so does the client where its owner closes it meanwhile.
#[test]
fn an_allocation_that_is_of_no_use_is_given_back_once() {
    let refused = |code| Relay { refuse: vec![(Method::REFRESH, code)], ..Relay::default() };
    for (mut relay, close) in
        [(refused(437), false), (refused(400), false), (Relay::default(), true), (refused(508), true)]
    {
        let (mut world, signed) = allocating();
        let success = Builder::success(&Message::parse(&signed).unwrap()).lifetime(MINUTE);
        world.deliver(&success.finish_with_integrity(&relay.key()));
        if close {
            world.client.close(world.now);
        }
        world.serve(&mut relay);
        assert_eq!(relay.count(Method::REFRESH), 1);
        assert_eq!((world.lost().len(), world.events == [Event::Closed]), (usize::from(!close), close));
    }
    let (mut world, signed) = allocating();
    let success = Builder::success(&Message::parse(&signed).unwrap()).lifetime(MINUTE);
    world.deliver(&success.finish_with_integrity(&Relay::default().key()));
    world.requests();
    while world.lost().is_empty() {
        let at = world.client.poll_timeout().unwrap().at;
        world.pass(at - world.now);
    }
    assert_eq!(world.lost(), [&Lost::Nonsense], "nobody has answered");
}

/// Every reason says what to do, and what the relay said about it is shown without control characters.
#[test]
fn every_loss_has_a_sentence() {
    let reason = "no\u{7}pe".to_owned();
    let kind = std::io::ErrorKind::HostUnreachable;
    for (lost, part) in [
        (Lost::Unreachable, "UDP is let out"),
        (Lost::Unverified, "not signed with the password"),
        (Lost::Rejected { kind }, "can't be reached"),
        (Lost::Unauthorized { code: 401, reason: reason.clone() }, "401 \"nope\""),
        (Lost::Forgotten, "437"),
        (Lost::Busy { code: 486, reason: reason.clone() }, "486 \"nope\""),
        (Lost::Elsewhere { server: Some(server()) }, "points to 192.0.2.1:3478"),
        (Lost::Elsewhere { server: None }, "use another one"),
        (Lost::Refused { code: 442, reason }, "442 \"nope\""),
        (Lost::Nonsense, "is a TURN server"),
        (Lost::NoSocket { kind }, "no UDP socket"),
    ] {
        assert!(lost.to_string().contains(part), "{lost}");
    }
}

#[test]
fn a_relay_that_points_elsewhere_is_quoted() {
    let (mut world, signed) = allocating();
    let other = addr("192.0.2.2:3478");
    let error = Builder::error(&Message::parse(&signed).unwrap(), 300, "Try").alternate_server(other);
    world.deliver(&error.finish_with_integrity(&Relay::default().key()));
    assert_eq!(world.lost(), [&Lost::Elsewhere { server: Some(other) }]);
}

#[test]
fn the_answer_to_a_damaged_copy_of_a_request_costs_no_allocation() {
    let (mut world, mut relay) = (World::allocated(config()), Relay::default());
    world.client.bind_channel(world.now, peer()).unwrap();
    let requests = world.requests();
    for request in &requests {
        let request = Message::parse(request).unwrap();
        world.deliver(&Builder::error(&request, 401, "Who").realm("adit").nonce("nonce-1").finish());
    }
    assert!(world.lost().is_empty());
    for request in requests {
        let answer = relay.answer(&request).unwrap();
        world.deliver(&answer);
    }
    assert_eq!(world.client.readiness(peer()), Readiness::Bound);
}
