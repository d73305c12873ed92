//! A client whose address changes (RFC 8016).

use super::claims::request;
use super::*;

/// A relay that gives tickets.
struct Mobile {
    relay: Relay,
    /// How many it has given.
    given: u8,
}

impl Mobile {
    fn new() -> Self {
        Self { relay: Relay::default(), given: 0 }
    }

    fn answer(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let request = Message::parse(bytes).unwrap();
        let answer = self.relay.answer(bytes)?;
        let success = Message::parse(&answer).unwrap().class() == Class::Success;
        if success && request.mobility_ticket().is_some() {
            self.given += 1;
            let grant = self.relay.grant(&request).mobility_ticket(&[self.given; 3]);
            return Some(grant.finish_with_integrity(&self.relay.key()));
        }
        Some(answer)
    }

    fn serve(&mut self, world: &mut World) {
        for _ in 0..100 {
            for request in world.requests() {
                if let Some(answer) = self.answer(&request) {
                    world.deliver(&answer);
                }
            }
        }
        assert_eq!(world.requests(), [] as [Vec<u8>; 0]);
    }
}

fn mobile() -> (World, Mobile) {
    let (mut world, mut relay) = (World::new(config()), Mobile::new());
    relay.serve(&mut world);
    assert_eq!((world.client.relayed(), relay.given), (&[relayed()][..], 1));
    world.client.bind_channel(world.now, peer()).unwrap();
    relay.serve(&mut world);
    world.events.clear();
    relay.relay.asked.clear();
    (world, relay)
}

fn ticket(bytes: &[u8]) -> Option<Vec<u8>> {
    Message::parse(bytes).unwrap().mobility_ticket().map(<[u8]>::to_vec)
}

/// What a NAT does that was restarted: the relay hears the client from elsewhere, and knows no allocation there.
#[test]
fn an_allocation_that_is_not_known_at_this_address_is_had_back_by_its_ticket() {
    for method in [Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        let (mut world, mut relay) = mobile();
        relay.relay.refuse = vec![(method, 437)];
        let refused = loop {
            let at = world.client.poll_timeout().unwrap().at;
            world.pass(at - world.now);
            let requests = world.requests();
            let hit =
                requests.iter().find(|bytes| Message::parse(bytes).unwrap().method() == method).cloned();
            for bytes in requests.iter().filter(|bytes| Some(*bytes) != hit.as_ref()) {
                let answer = relay.answer(bytes).unwrap();
                world.deliver(&answer);
            }
            if let Some(hit) = hit {
                break relay.answer(&hit).unwrap();
            }
        };
        world.deliver(&refused);
        relay.relay.refuse.clear();
        let resumption = request(&mut world);
        assert_eq!(Message::parse(&resumption).unwrap().method(), Method::REFRESH);
        assert_eq!(ticket(&resumption), Some(vec![1; 3]));
        let answer = relay.answer(&resumption).unwrap();
        world.deliver(&answer);
        relay.serve(&mut world);
        assert_eq!(
            (world.client.relayed(), world.events.as_slice()),
            (&[relayed()][..], &[][..]),
            "{method:?}"
        );
        assert_eq!(world.client.readiness(peer()), Readiness::Bound);
        assert!(world.client.permissions.installed(peer().ip()));
        // The newest ticket is the one that counts.
        world.client.rebind(world.now);
        world.settle();
        assert_eq!(ticket(&request(&mut world)), Some(vec![2; 3]));
    }
}

#[test]
fn a_relay_that_has_really_forgotten_is_asked_once_and_then_left() {
    for code in [400, 405, 437] {
        let (mut world, mut relay) = mobile();
        relay.relay.refuse = vec![(Method::REFRESH, code)];
        world.client.rebind(world.now);
        world.settle();
        relay.serve(&mut world);
        assert_eq!((world.lost(), relay.relay.count(Method::REFRESH)), (vec![&Lost::Forgotten], 1), "{code}");
        relay.relay.refuse.clear();
        world.live(MINUTE, &mut relay.relay);
        assert_eq!(world.client.relayed(), [relayed()]);
    }
}

/// A relay that takes the ticket, and knows no allocation the next moment, is not asked without end.
#[test]
fn a_relay_that_is_not_of_one_mind_is_left() {
    let (mut world, mut relay) = mobile();
    relay.relay.refuse = vec![(Method::CREATE_PERMISSION, 437)];
    world.client.permit(world.now, addr("198.51.100.8:1").ip()).unwrap();
    for _ in 0..10 {
        for request in world.requests() {
            let answer = relay.answer(&request).unwrap();
            world.deliver(&answer);
        }
    }
    assert_eq!((world.lost(), relay.given), (vec![&Lost::Forgotten], 2));
}

#[test]
fn rebinding_takes_the_allocation_to_another_socket() {
    let (mut world, mut relay) = mobile();
    let before = world.socket;
    world.client.rebind(world.now);
    world.settle();
    assert_ne!(world.socket, before);
    assert_eq!(world.client.relayed(), [relayed()], "it is still there");
    relay.serve(&mut world);
    relay.relay.asked.sort();
    assert_eq!(relay.relay.asked, [Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND]);
    assert_eq!((world.events.as_slice(), relay.given), (&[][..], 2));
    world.live(30 * MINUTE, &mut relay.relay);
    assert_eq!((world.client.relayed(), world.events.len()), (&[relayed()][..], 0));
    assert!(relay.relay.count(Method::CHANNEL_BIND) > 3, "all is kept alive as before");
    // And it is given back as before.
    world.client.rebind(world.now);
    world.client.close(world.now);
    world.settle();
    relay.serve(&mut world);
    assert_eq!(world.events, [Event::Closed]);
    assert_eq!(world.client.poll_timeout(), None);
}

#[test]
fn without_a_ticket_rebinding_means_a_new_allocation() {
    let mut world = World::allocated(config());
    let before = world.socket;
    world.client.rebind(world.now);
    world.settle();
    assert_ne!(world.socket, before);
    assert!(world.client.relayed().is_empty());
    let first = request(&mut world);
    assert_eq!(Message::parse(&first).unwrap().method(), Method::ALLOCATE);
}

/// Coturn, unless it is told to give tickets, answers 405, and signs nothing.
#[test]
fn a_relay_that_gives_no_tickets_gives_an_allocation_all_the_same() {
    for signs in [true, false] {
        let mut world = World::new(config());
        let mut relay = Relay { signs, ..Relay::default() };
        let mut asked = Vec::new();
        for _ in 0..10 {
            for bytes in world.requests() {
                let wanted = ticket(&bytes).is_some();
                asked.push(wanted);
                relay.refuse = if wanted { vec![(Method::ALLOCATE, 405)] } else { Vec::new() };
                let answer = relay.answer(&bytes).unwrap();
                world.deliver(&answer);
            }
        }
        assert_eq!(world.client.relayed(), [relayed()]);
        assert_eq!(asked, [true, true, false], "unsigned, signed, and without");
        world.client.rebind(world.now);
        world.settle();
        assert_eq!(ticket(&request(&mut world)), None, "it is not asked again");
    }
    let mut world = World::new(Config { mobility: false, ..config() });
    assert_eq!(ticket(&request(&mut world)), None);
}
