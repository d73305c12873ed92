//! Requests and their answers: repeated, refused, forged, renewed (RFC 8489 §6, §9).

use super::*;

#[test]
fn an_unanswered_request_is_sent_seven_times_and_then_given_up() {
    let mut world = World::new(config());
    let first = world.requests();
    let begin = world.now;
    let mut sent = vec![0];
    while world.lost().is_empty() {
        let at = world.client.poll_timeout().unwrap().at;
        world.pass(at - world.now);
        let again = world.requests();
        if !again.is_empty() {
            assert_eq!(again, first, "a retransmission is the same, byte for byte");
            sent.push((world.now - begin).as_millis());
        }
    }
    // RFC 8489 §6.2.1: RTO 500 ms, Rc 7, Rm 16.
    assert_eq!(sent, [0, 500, 1500, 3500, 7500, 15_500, 31_500]);
    assert_eq!((world.now - begin).as_millis(), 39_500);
    assert_eq!(world.events[0], Event::Unanswered { since: Duration::from_millis(3500) });
    assert_eq!(world.lost(), [&Lost::Unreachable]);
}

#[test]
fn attempts_come_from_new_sockets_after_growing_delays() {
    let mut world = World::new(config());
    let mut sockets = vec![world.socket.unwrap()];
    let mut delays = Vec::new();
    for _ in 0..10 {
        let socket = world.socket.unwrap();
        let kind = std::io::ErrorKind::ConnectionRefused;
        let error = Completion::TransportError { socket, peer: server(), kind, mtu: None };
        world.client.handle_completion(world.now, error);
        world.settle();
        let Some(Event::Lost { reason: Lost::Rejected { .. }, retry_in }) = world.events.pop() else {
            panic!()
        };
        delays.push(retry_in);
        assert_eq!(world.client.poll_timeout().unwrap().at, world.now + retry_in);
        world.pass(retry_in);
        sockets.push(world.socket.unwrap());
        assert_eq!(world.requests().len(), 1);
    }
    let within = |delay: Duration, base: u64| {
        let base = Duration::from_secs(base);
        base * 3 / 4 <= delay && delay <= base * 5 / 4
    };
    for (delay, base) in delays.iter().zip([1, 2, 4, 8, 16, 32, 48, 48, 48, 48]) {
        assert!(within(*delay, base), "{delay:?} is not about {base} s");
    }
    sockets.dedup();
    assert_eq!(sockets.len(), 11);
}

#[test]
fn wrong_credentials_are_told_from_an_unreachable_relay() {
    let mut world = World::new(config());
    let mut relay = Relay { password: "another".into(), ..Relay::default() };
    world.serve(&mut relay);
    assert!(matches!(world.lost()[..], [Lost::Unauthorized { code: 401, .. }]));
    assert!(world.lost()[0].to_string().contains("does not accept the credentials"));
    // New credentials are tried at once.
    let credentials = Credentials { username: "gw".into(), password: "another".into() };
    world.client.set_credentials(world.now, credentials);
    world.settle();
    world.serve(&mut relay);
    assert_eq!(world.client.relayed(), [relayed()]);
}

#[test]
fn a_stale_nonce_is_replaced_once_per_nonce() {
    let mut world = World::allocated(config());
    let mut relay = Relay { nonce: "nonce-2".into(), ..Relay::default() };
    world.live(6 * MINUTE, &mut relay);
    assert_eq!((relay.count(Method::REFRESH), world.events.len()), (1, 0));
    // A relay that calls its own nonce stale gets no third attempt.
    relay.refuse = vec![(Method::REFRESH, 438)];
    world.live(5 * MINUTE, &mut relay);
    assert!(matches!(world.lost()[..], [Lost::Unauthorized { code: 438, .. }]));
}

#[test]
fn codes_are_reported_by_what_to_do_about_them() {
    for (code, expected) in
        [(486, "no room"), (508, "no room"), (442, "refuses"), (403, "does not accept"), (300, "drained")]
    {
        let mut world = World::new(config());
        let mut relay = Relay { refuse: vec![(Method::ALLOCATE, code)], ..Relay::default() };
        world.serve(&mut relay);
        let sentence = world.lost()[0].to_string();
        assert!(sentence.contains(expected) && sentence.contains(&code.to_string()), "{sentence}");
        relay.refuse.clear();
        world.live(MINUTE, &mut relay);
        assert_eq!(world.client.relayed(), [relayed()]);
    }
}

#[test]
fn renewed_credentials_are_shown_at_once_and_441_costs_the_allocation() {
    let mut world = World::allocated(config());
    let renewed = Credentials { username: "gw2".into(), password: "new".into() };
    world.client.set_credentials(world.now, renewed);
    let mut relay = Relay { username: "gw2".into(), password: "new".into(), ..Relay::default() };
    world.serve(&mut relay);
    assert_eq!((relay.asked.as_slice(), world.events.len()), (&[Method::REFRESH][..], 0));
    relay.refuse = vec![(Method::REFRESH, 441)];
    world.live(6 * MINUTE, &mut relay);
    assert!(matches!(world.lost()[..], [Lost::Unauthorized { code: 441, .. }]));
    assert_eq!(world.client.relayed(), [relayed()], "there is a new allocation");
}

#[test]
fn a_forged_success_is_not_believed() {
    let mut world = World::new(config());
    let mut relay = Relay::default();
    let challenge = relay.answer(&world.requests().remove(0)).unwrap();
    world.deliver(&challenge);
    let request = world.requests().remove(0);
    let message = Message::parse(&request).unwrap();
    let grant = || relay.grant(&message);
    world.deliver(&grant().finish());
    world.deliver(&grant().finish_with_integrity(b"another key"));
    assert_eq!(world.client.counters().unsigned, 2);
    // Another transaction, another method.
    world.deliver(&Builder::new(Class::Success, Method::ALLOCATE, [0; 12]).finish());
    world.deliver(&Builder::new(Class::Success, Method::REFRESH, message.transaction()).finish());
    world.deliver(&request);
    assert_eq!(world.client.counters().unexpected, 3);
    assert!(world.client.relayed().is_empty() && world.events.is_empty());
    world.deliver(&relay.grant(&message).finish_with_integrity(&relay.key()));
    assert_eq!(world.client.relayed(), [relayed()]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1000))]

    #[test]
    fn nothing_from_the_network_panics(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120),
        stride in 1usize..150,
    ) {
        let mut world = World::allocated(config());
        world.client.bind_channel(world.now, peer()).unwrap();
        world.deliver_from(server(), &bytes, stride);
        // The same as the body of a response to a request that waits.
        for request in world.requests() {
            let request = Message::parse(&request).unwrap();
            for class in [Class::Success, Class::Error] {
                let mut response =
                    Builder::new(class, request.method(), request.transaction()).even_port(EvenPort { reserve: true }).finish();
                response.extend_from_slice(&bytes[..bytes.len() / 4 * 4]);
                let length = (response.len() - stun::HEADER_LEN) as u16;
                response[2..4].copy_from_slice(&length.to_be_bytes());
                world.deliver(&response);
            }
        }
        world.pass(100 * SECOND);
    }
}
