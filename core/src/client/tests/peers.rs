//! Permissions and channels (RFC 8656 §9, §12).

use super::*;

/// Coturn answers 400, not 437, to CreatePermission without an allocation.
#[test]
fn a_permission_that_is_refused_all_at_once_makes_the_client_ask_for_its_allocation() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    world.client.permit(world.now, peer().ip()).unwrap();
    world.serve(&mut relay);
    relay.refuse = vec![(Method::CREATE_PERMISSION, 400), (Method::REFRESH, 437)];
    world.live(4 * MINUTE, &mut relay);
    assert_eq!(world.lost(), [&Lost::Forgotten]);
    assert_eq!(world.events.len(), 1);
}

#[test]
fn permissions_and_channels_are_kept_alive() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    world.client.permit(world.now, peer().ip()).unwrap();
    world.client.bind_channel(world.now, peer()).unwrap();
    assert_eq!(world.client.readiness(peer()), Readiness::Pending);
    world.serve(&mut relay);
    assert_eq!(world.client.readiness(peer()), Readiness::Bound);
    assert_eq!(world.events, [Event::ChannelBound { peer: peer() }]);
    world.live(41 * MINUTE, &mut relay);
    assert_eq!(relay.count(Method::CREATE_PERMISSION), 11);
    assert_eq!(relay.count(Method::CHANNEL_BIND), 6);
    assert_eq!(world.events.len(), 1);
}

#[test]
fn permissions_asked_for_early_are_installed_with_the_allocation() {
    let mut world = World::new(config());
    world.client.permit(world.now, peer().ip()).unwrap();
    let v6 = addr("[2001:db8::7]:1").ip();
    world.client.permit(world.now, v6).unwrap();
    world.serve(&mut Relay::default());
    assert!(world.client.permissions.installed(peer().ip()));
    assert!(matches!(world.events[1], Event::PermissionDenied { peer, code: 443, .. } if peer == v6));
    assert_eq!(world.client.peers().count(), 2);
}

#[test]
fn a_forbidden_peer_does_not_cost_the_others_theirs() {
    let mut world = World::allocated(config());
    let mut relay = Relay { refuse: vec![(Method::CREATE_PERMISSION, 403)], ..Relay::default() };
    world.client.permit(world.now, peer().ip()).unwrap();
    world.serve(&mut relay);
    let denied = Event::PermissionDenied { peer: peer().ip(), code: 403, reason: "No".into() };
    assert_eq!(world.events, [denied]);
    relay.refuse.clear();
    world.client.permit(world.now, addr("198.51.100.8:1").ip()).unwrap();
    world.serve(&mut relay);
    assert!(world.client.permissions.installed(addr("198.51.100.8:1").ip()));
    relay.refuse = vec![(Method::CHANNEL_BIND, 403)];
    world.client.bind_channel(world.now, addr("198.51.100.8:1")).unwrap();
    world.serve(&mut relay);
    assert!(matches!(world.events[1], Event::ChannelRefused { code: 403, .. }));
    assert_eq!(world.client.readiness(addr("198.51.100.8:1")), Readiness::Absent);
}

/// An owner that binds again with each datagram of a peer is no burden to the relay.
#[test]
fn a_channel_that_is_forbidden_is_asked_for_now_and_then_and_with_other_credentials() {
    let mut world = World::allocated(config());
    let mut relay = Relay { refuse: vec![(Method::CHANNEL_BIND, 403)], ..Relay::default() };
    for _ in 0..60 {
        world.client.bind_channel(world.now, peer()).unwrap();
        world.live(SECOND, &mut relay);
    }
    assert_eq!(relay.count(Method::CHANNEL_BIND), 1);
    assert_eq!(world.client.readiness(peer()), Readiness::Absent);
    world.live(20 * MINUTE, &mut relay);
    assert_eq!(relay.count(Method::CHANNEL_BIND), 5, "each five minutes");
    assert!(matches!(world.events[..], [Event::ChannelRefused { code: 403, .. }]), "told once");
    relay.refuse.clear();
    world.client.set_credentials(world.now, config().credentials);
    world.serve(&mut relay);
    assert_eq!(world.client.readiness(peer()), Readiness::Bound);
}

#[test]
fn a_permission_that_was_denied_is_asked_for_with_other_credentials() {
    let mut world = World::allocated(config());
    let mut relay = Relay { refuse: vec![(Method::CREATE_PERMISSION, 403)], ..Relay::default() };
    world.client.permit(world.now, peer().ip()).unwrap();
    world.serve(&mut relay);
    world.live(20 * MINUTE, &mut relay);
    assert_eq!(relay.count(Method::CREATE_PERMISSION), 1);
    relay.refuse.clear();
    world.client.set_credentials(world.now, config().credentials);
    world.serve(&mut relay);
    assert!(world.client.permissions.installed(peer().ip()));
}

/// The answer to the old credentials comes after the new ones.
#[test]
fn what_was_refused_to_credentials_that_have_been_replaced_is_asked_for_again() {
    let mut world = World::allocated(config());
    let refused = vec![(Method::CREATE_PERMISSION, 403), (Method::CHANNEL_BIND, 403)];
    let mut relay = Relay { refuse: refused, ..Relay::default() };
    world.client.bind_channel(world.now, peer()).unwrap();
    let asked = world.requests();
    assert_eq!(asked.len(), 2);
    world.client.set_credentials(world.now, config().credentials);
    for request in asked {
        let answer = relay.answer(&request).unwrap();
        world.deliver(&answer);
    }
    relay.refuse.clear();
    world.serve(&mut relay);
    assert_eq!(
        (world.client.readiness(peer()), &world.events[..]),
        (Readiness::Bound, &[Event::ChannelBound { peer: peer() }][..])
    );
}

#[test]
fn a_released_channel_rests_before_its_number_serves_another_peer() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    world.client.bind_channel(world.now, peer()).unwrap();
    world.serve(&mut relay);
    world.client.release_channel(peer());
    assert_eq!(world.client.readiness(peer()), Readiness::Absent);
    assert_eq!(world.deliver(b"\x40\0\0\x01x"), [(peer(), b"x".to_vec())], "the relay may still use it");
    let other = addr("198.51.100.8:1");
    world.client.bind_channel(world.now, other).unwrap();
    world.client.bind_channel(world.now, peer()).unwrap();
    world.serve(&mut relay);
    assert_eq!(world.client.channels.bound(other), Some(0x4001));
    assert_eq!(world.client.channels.bound(peer()), Some(0x4000), "the same peer gets it back");
}

/// The relay keeps a binding for ten minutes after it was asked for last; five more keep what is under way from going
/// astray (RFC 8656 §12). Asked for means each time: also by a refresh, and by an answer that comes late.
#[test]
fn a_number_rests_for_five_minutes_after_its_binding_has_run_out() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    let at = |n: u32| SocketAddr::new(IpAddr::from(Ipv4Addr::from(0x0800_0000 + n)), 1);
    world.client.bind_channel(world.now, at(0)).unwrap();
    world.serve(&mut relay);
    // It is refreshed after eight minutes, and given up after nine.
    world.live(9 * MINUTE, &mut relay);
    assert_eq!(relay.count(Method::CHANNEL_BIND), 2);
    world.client.release_channel(at(0));
    // All other numbers serve others, a thousand at a time.
    for n in 1..4096 {
        world.client.bind_channel(world.now, at(n)).unwrap();
        world.client.release_channel(at(n));
    }
    world.serve(&mut relay);
    let stranger = at(5000);
    assert_eq!(world.client.bind_channel(world.now, stranger), Err(BindError::NoNumber));
    // The binding has run out after 18 minutes, the rest ends after 23.
    world.live(14 * MINUTE - SECOND, &mut relay);
    assert_eq!(world.client.bind_channel(world.now, stranger), Err(BindError::NoNumber));
    world.live(SECOND, &mut relay);
    world.client.bind_channel(world.now, stranger).unwrap();
    world.serve(&mut relay);
    assert_eq!(world.client.channels.bound(stranger), Some(0x4000));
}

#[test]
fn a_binding_that_is_answered_after_it_was_given_up_rests_from_then_on() {
    let mut world = World::allocated(config());
    world.client.bind_channel(world.now, peer()).unwrap();
    let asked = world.requests();
    world.client.release_channel(peer());
    world.pass(30 * SECOND);
    for request in asked {
        let granted = Relay::default().answer(&request).unwrap();
        world.deliver(&granted);
    }
    assert_eq!(world.client.readiness(peer()), Readiness::Absent);
    let at = |n: u32| SocketAddr::new(IpAddr::from(Ipv4Addr::from(0x0800_0000 + n)), 1);
    for n in 1..4096 {
        world.client.bind_channel(world.now, at(n)).unwrap();
        world.client.release_channel(at(n));
    }
    let mut relay = Relay::default();
    world.live(15 * MINUTE - SECOND, &mut relay);
    assert_eq!(world.client.bind_channel(world.now, at(5000)), Err(BindError::NoNumber));
    world.live(SECOND, &mut relay);
    assert_eq!(world.client.bind_channel(world.now, at(5000)), Ok(()));
}

#[test]
fn a_peer_has_one_number_as_long_as_the_relay_may_know_it() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    for minutes in [1, 9, 11, 14, 16] {
        world.client.bind_channel(world.now, peer()).unwrap();
        world.serve(&mut relay);
        assert_eq!(world.client.channels.bound(peer()), Some(0x4000));
        world.client.release_channel(peer());
        world.live(minutes * MINUTE, &mut relay);
    }
}

#[test]
fn peers_and_channels_are_limited() {
    let mut world = World::new(config());
    let ip = |n: u32| IpAddr::from(Ipv4Addr::from(0x0800_0000 + n));
    for n in 0..1024 {
        world.client.permit(world.now, ip(n)).unwrap();
    }
    assert_eq!(world.client.permit(world.now, ip(1024)), Err(TooManyPeers(1024)));
    assert_eq!(world.client.permit(world.now, ip(3)), Ok(()));
    assert_eq!(world.client.bind_channel(world.now, peer()), Err(BindError::NoAllocation));
    world.client.forbid(ip(0));
    world.serve(&mut Relay::default());
    for port in 1..=1024 {
        world.client.bind_channel(world.now, SocketAddr::new(ip(1), port)).unwrap();
    }
    assert_eq!(world.client.bind_channel(world.now, SocketAddr::new(ip(1), 1025)), Err(BindError::NoNumber));
}
