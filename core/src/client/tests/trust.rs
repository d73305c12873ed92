//! Refusals that nobody has signed (RFC 8489 §9.2.5), and how often a relay that has no room is asked again (§6.3.4).

use super::claims::{allocating, request};
use super::*;

fn unsigned(request: &[u8], code: u16) -> Vec<u8> {
    Builder::error(&Message::parse(request).unwrap(), code, "No").finish()
}

#[test]
fn an_unsigned_error_counts_as_if_it_had_not_come() {
    let (mut world, signed) = allocating();
    let relay = Relay::default();
    for milliseconds in [500, 1000] {
        world.deliver(&unsigned(&signed, 486));
        assert_eq!(world.lost(), [] as [&Lost; 0]);
        world.pass(Duration::from_millis(milliseconds));
        assert_eq!(
            world.requests(),
            std::slice::from_ref(&signed),
            "it is sent again, as if nobody had answered"
        );
    }
    world.deliver(&unsigned(&signed, 486));
    assert_eq!(world.client.counters().unsigned, 3);
    world.deliver(&relay.grant(&Message::parse(&signed).unwrap()).finish_with_integrity(&relay.key()));
    assert_eq!(world.client.relayed(), [relayed()]);
}

/// One forged datagram would otherwise end an allocation.
#[test]
fn an_unsigned_437_costs_no_allocation() {
    let mut world = World::allocated(config());
    world.pass(5 * MINUTE);
    let refresh = request(&mut world);
    world.deliver(&unsigned(&refresh, 437));
    let granted = Relay::default().answer(&refresh).unwrap();
    world.deliver(&granted);
    world.pass(MINUTE);
    assert_eq!((world.client.relayed(), world.events.len()), (&[relayed()][..], 0));
}

/// Coturn signs no error. In the end there is nothing better than what it says.
#[test]
fn where_nothing_better_comes_an_unsigned_error_counts() {
    let mut world = World::new(config());
    let mut relay = Relay { signs: false, refuse: vec![(Method::ALLOCATE, 508)], ..Relay::default() };
    world.serve(&mut relay);
    world.live(Duration::from_millis(3499), &mut relay);
    assert_eq!(world.lost(), [] as [&Lost; 0]);
    world.live(Duration::from_millis(1), &mut relay);
    assert!(matches!(world.lost()[..], [Lost::Busy { code: 508, .. }]));
    assert_eq!(relay.count(Method::ALLOCATE), 3);
    // And one without a code makes no sense, then as well.
    let (mut world, signed) = allocating();
    let signed = Message::parse(&signed).unwrap();
    world.deliver(&Builder::new(Class::Error, signed.method(), signed.transaction()).finish());
    world.pass(MINUTE);
    world.pass(MINUTE);
    world.pass(MINUTE);
    assert_eq!(world.lost(), [&Lost::Nonsense]);
}

/// RFC 8489 §9.2.5 wants this told from silence.
#[test]
fn where_all_answers_are_forged_that_is_told() {
    for forged in [
        |builder: Builder| builder.finish_with_integrity(b"another key"),
        |builder: Builder| builder.finish(),
    ] {
        let (mut world, signed) = allocating();
        let grant = Relay::default().grant(&Message::parse(&signed).unwrap());
        world.deliver(&forged(grant));
        while world.lost().is_empty() {
            let at = world.client.poll_timeout().unwrap().at;
            world.pass(at - world.now);
        }
        assert_eq!(world.lost(), [&Lost::Unverified]);
    }
}

#[test]
fn a_late_unsigned_error_counts_at_the_next_repetition() {
    let (mut world, signed) = allocating();
    for _ in 0..4 {
        let at = world.client.poll_timeout().unwrap().at;
        world.pass(at - world.now);
    }
    world.deliver(&unsigned(&signed, 442));
    let at = world.client.poll_timeout().unwrap().at;
    world.pass(at - world.now);
    assert!(matches!(world.lost()[..], [Lost::Refused { code: 442, .. }]));
}

#[test]
fn a_437_to_allocate_is_followed_by_an_attempt_from_another_address() {
    let mut world = World::new(config());
    let first = world.socket;
    let mut relay = Relay { refuse: vec![(Method::ALLOCATE, 437)], ..Relay::default() };
    world.serve(&mut relay);
    assert_eq!(world.lost(), [&Lost::Forgotten]);
    relay.refuse.clear();
    world.live(MINUTE, &mut relay);
    assert_ne!(world.socket, first, "the relay may still have an allocation of the old one");
    assert_eq!((world.client.relayed(), world.lost().len()), (&[relayed()][..], 1));
}

#[test]
fn a_relay_that_has_no_room_for_a_peer_is_asked_four_times_more() {
    for code in [500, 508, 599] {
        let mut world = World::allocated(config());
        let mut relay = Relay { refuse: vec![(Method::CREATE_PERMISSION, code)], ..Relay::default() };
        world.client.permit(world.now, peer().ip()).unwrap();
        world.serve(&mut relay);
        world.live(149 * SECOND, &mut relay);
        assert_eq!((relay.count(Method::CREATE_PERMISSION), world.events.len()), (4, 0));
        world.live(60 * MINUTE, &mut relay);
        assert_eq!(relay.count(Method::CREATE_PERMISSION), 5, "after 10, 20, 40 and 80 s, and then no more");
        assert!(matches!(world.events[..], [Event::PermissionDenied { code: denied, .. }] if denied == code));
        // The owner may think otherwise.
        relay.refuse.clear();
        world.client.permit(world.now, peer().ip()).unwrap();
        world.serve(&mut relay);
        assert!(world.client.permissions.installed(peer().ip()));
    }
}

#[test]
fn a_relay_that_has_no_room_for_a_channel_is_asked_four_times_more() {
    let mut world = World::allocated(config());
    let mut relay = Relay { refuse: vec![(Method::CHANNEL_BIND, 508)], ..Relay::default() };
    world.client.bind_channel(world.now, peer()).unwrap();
    world.serve(&mut relay);
    world.live(60 * MINUTE, &mut relay);
    assert_eq!(relay.count(Method::CHANNEL_BIND), 5);
    assert!(matches!(world.events[..], [Event::ChannelRefused { code: 508, .. }]));
    assert_eq!(world.client.readiness(peer()), Readiness::Absent);
    // Who binds again with each datagram asks no more often.
    relay.refuse.clear();
    world.client.bind_channel(world.now, peer()).unwrap();
    assert_eq!(world.requests().len(), 0);
    world.client.release_channel(peer());
    world.client.bind_channel(world.now, peer()).unwrap();
    world.serve(&mut relay);
    assert_eq!(world.client.readiness(peer()), Readiness::Bound);
}

/// Where there is room again in between, the count begins anew.
#[test]
fn refusals_are_counted_in_a_row() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    world.client.permit(world.now, peer().ip()).unwrap();
    world.serve(&mut relay);
    for _ in 0..3 {
        relay.refuse = vec![(Method::CREATE_PERMISSION, 508)];
        world.live(4 * MINUTE + 30 * SECOND, &mut relay);
        assert!(!world.client.permissions.installed(peer().ip()));
        relay.refuse.clear();
        world.live(90 * SECOND, &mut relay);
        assert!(world.client.permissions.installed(peer().ip()));
    }
    assert_eq!(world.events, []);
    assert!(relay.count(Method::CREATE_PERMISSION) > 10);
}
