//! Any order of operations, and any answers: the client stays of one mind, and comes to rest when it is closed.

use proptest::prelude::*;

use super::*;

/// What may happen to a client.
#[derive(Debug, Clone)]
enum Step {
    Permit(u8),
    Forbid(u8),
    Bind(u8),
    Release(u8),
    ReleaseAll(u8),
    Encapsulate(u8),
    /// The relay answers what was sent; where that is `Some`, with that code to everything that is signed.
    Answer(Option<u16>),
    /// What was sent gets lost.
    Lose,
    Wait(u16),
    /// To the next deadline.
    Sleep,
    Icmp,
    Clock,
    NewNonce,
    Renew(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let codes = vec![300, 400, 401, 403, 420, 437, 438, 440, 441, 442, 443, 486, 500, 508];
    prop_oneof![
        (0..4u8).prop_map(Step::Permit),
        (0..4u8).prop_map(Step::Forbid),
        (0..6u8).prop_map(Step::Bind),
        (0..6u8).prop_map(Step::Release),
        (0..4u8).prop_map(Step::ReleaseAll),
        (0..6u8).prop_map(Step::Encapsulate),
        Just(Step::Answer(None)),
        Just(Step::Answer(None)),
        prop::sample::select(codes).prop_map(|code| Step::Answer(Some(code))),
        Just(Step::Lose),
        (0..700u16).prop_map(Step::Wait),
        Just(Step::Sleep),
        Just(Step::Sleep),
        Just(Step::Icmp),
        Just(Step::Clock),
        Just(Step::NewNonce),
        (0..2u8).prop_map(Step::Renew),
    ]
}

/// Two addresses of each family, and two ports at the first.
fn at(index: u8) -> SocketAddr {
    match index {
        0..2 => SocketAddr::from(([198, 51, 100, index], 4433)),
        2..4 => SocketAddr::new(addr(&format!("[2001:db8::{index}]:1")).ip(), 4433),
        _ => SocketAddr::from(([198, 51, 100, 0], u16::from(index))),
    }
}

fn run(world: &mut World, relay: &mut Relay, step: Step) {
    let now = world.now;
    match step {
        Step::Permit(peer) => world.client.permit(now, at(peer).ip()).unwrap(),
        Step::Forbid(peer) => world.client.forbid(at(peer).ip()),
        Step::Bind(peer) => drop(world.client.bind_channel(now, at(peer))),
        Step::Release(peer) => world.client.release_channel(at(peer)),
        Step::ReleaseAll(peer) => world.client.release_channels(at(peer).ip()),
        Step::Encapsulate(peer) => {
            let mut out = Vec::new();
            let sent = world.client.encapsulate(now, at(peer), b"data", 4, None, &mut out);
            assert_eq!(sent.is_none(), out.is_empty());
        }
        Step::Answer(code) => answer(world, relay, code),
        Step::Lose => drop(world.requests()),
        Step::Wait(seconds) => world.pass(Duration::from_secs(seconds.into())),
        Step::Sleep => {
            if let Some(deadline) = world.client.poll_timeout() {
                world.pass(deadline.at.saturating_duration_since(now));
            }
        }
        Step::Icmp => {
            let Some(socket) = world.socket else { return };
            let kind = std::io::ErrorKind::ConnectionRefused;
            let error = Completion::TransportError { socket, peer: server(), kind, mtu: None };
            world.client.handle_completion(now, error);
        }
        Step::Clock => world.client.handle_clock(now, UnixTime(1_800_000_000)),
        Step::NewNonce => relay.nonce.push('x'),
        Step::Renew(number) => {
            let (username, password) = (format!("gw{number}"), "secret".to_owned());
            (relay.username, relay.password) = (username.clone(), password.clone());
            world.client.set_credentials(now, Credentials { username, password });
        }
    }
    world.settle();
}

fn answer(world: &mut World, relay: &mut Relay, code: Option<u16>) {
    let methods = [Method::ALLOCATE, Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND];
    relay.refuse = code.into_iter().flat_map(|code| methods.map(|method| (method, code))).collect();
    for request in world.requests() {
        if let Some(response) = relay.answer(&request) {
            world.deliver(&response);
        }
    }
}

/// What must be so at any time.
fn check(world: &World) {
    let client = &world.client;
    client.transactions.check();
    assert_eq!(client.relayed().is_empty(), !matches!(client.state, State::Allocated(_)));
    for peer in (0..6).map(at) {
        let bound = client.readiness(peer) == Readiness::Bound;
        assert_eq!(bound, client.channels.bound(peer).is_some());
        assert!(!bound || !client.relayed().is_empty(), "a channel needs an allocation");
    }
    // Whoever waits for something has a deadline.
    let idle = matches!(client.state, State::Closed) || !world.client.transactions.is_empty();
    assert!(idle || client.poll_timeout().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_order_of_operations_keeps_the_client_of_one_mind(steps in prop::collection::vec(step(), 1..80)) {
        let families = Families::Both;
        let mut world = World::new(Config { families, ..config() });
        let mut relay = Relay::default();
        for step in steps {
            run(&mut world, &mut relay, step);
            check(&world);
        }
        // With a relay that answers, it gets what it wants.
        relay.refuse.clear();
        world.live(10 * MINUTE, &mut relay);
        prop_assert_eq!(world.client.relayed(), [relayed()]);
        prop_assert!(world.client.has_asked_all());
        // And closed, it wants nothing any more.
        world.client.close(world.now);
        world.settle();
        world.serve(&mut relay);
        prop_assert_eq!(world.client.poll_timeout(), None);
        prop_assert_eq!(world.events.iter().filter(|event| **event == Event::Closed).count(), 1);
        prop_assert_eq!(world.requests(), Vec::<Vec<u8>>::new());
    }
}
