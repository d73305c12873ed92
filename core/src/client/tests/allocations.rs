//! How an allocation comes, stays and goes (RFC 8656 §7, §8).

use super::*;

#[test]
fn an_allocation_takes_a_challenge_and_an_answer() {
    let mut world = World::new(config());
    let mut relay = Relay::default();
    world.serve(&mut relay);
    let mapped = Some(addr("203.0.113.9:4000"));
    let allocated = Event::Allocated { relayed: vec![relayed()], mapped, lifetime: 10 * MINUTE };
    assert_eq!(world.events, [allocated]);
    assert_eq!(world.client.relayed(), [relayed()]);
    assert_eq!(relay.asked, [Method::ALLOCATE]);
}

#[test]
fn both_families_are_asked_for_as_the_rfc_wants_it() {
    let mut world = World::new(Config { families: Families::Both, ..config() });
    let request = world.requests().remove(0);
    let message = Message::parse(&request).unwrap();
    assert_eq!(message.requested_family(), Ok(None));
    assert_eq!(message.additional_family(), Ok(Some(Family::V6)));
    let mut relay = Relay { relayed: vec![addr("[2001:db8::1]:50001"), relayed()], ..Relay::default() };
    let response = relay.answer(&request).unwrap();
    world.deliver(&response);
    world.serve(&mut relay);
    assert_eq!(world.client.relayed(), [relayed(), addr("[2001:db8::1]:50001")]);

    let world = World::new(Config { families: Families::V6, ..config() }).requests().remove(0);
    assert_eq!(Message::parse(&world).unwrap().requested_family(), Ok(Some(Family::V6)));
}

#[test]
fn one_family_will_do_where_the_relay_refuses_two() {
    let mut world = World::new(Config { families: Families::Both, ..config() });
    let mut relay = Relay { refuse: vec![(Method::ALLOCATE, 440)], ..Relay::default() };
    for request in world.requests() {
        let challenge = relay.answer(&request).unwrap();
        world.deliver(&challenge);
    }
    let refused = relay.answer(&world.requests().remove(0)).unwrap();
    relay.refuse.clear();
    world.deliver(&refused);
    let request = world.requests().remove(0);
    assert_eq!(Message::parse(&request).unwrap().additional_family(), Ok(None));
    let granted = relay.answer(&request).unwrap();
    world.deliver(&granted);
    assert_eq!(world.client.relayed(), [relayed()]);
}

#[test]
fn an_allocation_is_refreshed_at_half_its_lifetime() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    world.live(60 * MINUTE, &mut relay);
    assert_eq!(relay.asked, [Method::REFRESH; 12]);
    assert!(world.events.is_empty());
}

#[test]
fn a_relay_is_never_left_alone_for_longer_than_a_nat_remembers() {
    let mut world = World::allocated(Config { keep_alive: Duration::from_secs(25), ..config() });
    let mut relay = Relay::default();
    world.live(5 * MINUTE, &mut relay);
    assert_eq!(relay.asked, [Method::REFRESH; 12]);
    relay.refuse = vec![(Method::REFRESH, 437)];
    world.live(Duration::from_secs(30), &mut relay);
    assert_eq!(world.lost()[0], &Lost::Forgotten);
}

#[test]
fn a_forgotten_allocation_is_replaced_by_a_new_one() {
    for method in [Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        let mut world = World::allocated(config());
        let mut relay = Relay { refuse: vec![(method, 437)], ..Relay::default() };
        world.client.permit(world.now, peer().ip()).unwrap();
        world.client.bind_channel(world.now, peer()).unwrap();
        world.live(5 * MINUTE, &mut relay);
        assert_eq!(world.lost()[0], &Lost::Forgotten, "{method:?}");
        relay.refuse.clear();
        world.live(2 * MINUTE, &mut relay);
        assert_eq!(world.client.relayed(), [relayed()]);
        assert!(world.client.permissions.installed(peer().ip()), "the permission is kept");
        assert_eq!(world.client.readiness(peer()), Readiness::Absent, "the channel is not");
    }
}

#[test]
fn an_answer_that_makes_no_sense_ends_the_attempt() {
    let mut world = World::new(config());
    let relay = Relay { relayed: vec![], ..Relay::default() };
    let mut relay = relay;
    world.serve(&mut relay);
    assert_eq!(world.lost(), [&Lost::Nonsense]);
}

#[test]
fn after_a_sleep_everything_is_refreshed_at_once() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    world.client.bind_channel(world.now, peer()).unwrap();
    world.serve(&mut relay);
    relay.asked.clear();
    world.client.handle_clock(world.now, UnixTime(1_800_000_000));
    world.client.handle_clock(world.now, UnixTime(1_800_000_001));
    world.serve(&mut relay);
    relay.asked.sort();
    assert_eq!(relay.asked, [Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND]);
    // While waiting, the next attempt begins at once.
    let mut world = World::new(config());
    world.serve(&mut Relay { password: "x".into(), ..Relay::default() });
    world.client.handle_clock(world.now, UnixTime(1_800_000_000));
    world.settle();
    assert_eq!(world.requests().len(), 1);
}

#[test]
fn closing_gives_the_allocation_back() {
    let mut world = World::allocated(config());
    world.client.close(world.now);
    let requests = world.requests();
    assert_eq!(Message::parse(&requests[0]).unwrap().lifetime(), Ok(Some(Duration::ZERO)));
    let released = Relay::default().answer(&requests[0]).unwrap();
    world.deliver(&released);
    assert_eq!(world.events, [Event::Closed]);
    assert_eq!(world.client.poll_timeout(), None);
    world.client.close(world.now);
    assert_eq!(world.events.len(), 1);
    // Without an allocation there is nothing to wait for.
    let mut world = World::new(config());
    world.client.close(world.now);
    world.settle();
    assert_eq!(world.events, [Event::Closed]);
}

#[test]
fn a_socket_that_cannot_be_bound_is_reported() {
    let now = start();
    let mut client = Client::new(config(), Clock::new(now, SECOND), now, [1; 32]);
    let Some(Event::Effect(Effect::Bind { socket, .. })) = client.poll_event() else { panic!() };
    let kind = std::io::ErrorKind::PermissionDenied;
    client.handle_completion(now, Completion::Bound { socket, result: Err(kind) });
    assert!(matches!(client.poll_event(), Some(Event::Lost { reason: Lost::NoSocket { .. }, .. })));
    // A late answer of the old socket changes nothing.
    client.handle_completion(now, Completion::Bound { socket, result: Ok(addr("10.0.0.1:1")) });
    assert_eq!(client.poll_event(), None);
}
