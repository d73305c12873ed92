//! Allocations whose clients move (RFC 8016).

use super::*;
use crate::stun::attribute;

const HOME: &str = "198.51.100.1:4000";
const AWAY: &str = "198.51.100.2:5000";
const FURTHER: &str = "[2001:db8::77]:6000";

fn bare(builder: Builder) -> Builder {
    builder.requested_transport(17).mobility_ticket(&[])
}

fn ticket(reply: &Reply) -> Vec<u8> {
    assert_eq!(reply.code(), 0);
    reply.message().mobility_ticket().expect("there is a ticket").to_vec()
}

/// A client with an allocation, a channel to [`PEER`] and a ticket.
fn at_home(config: Config) -> (Bench, Client, SocketAddr, Vec<u8>) {
    let mut bench = Bench::new(config);
    let client = bench.client(HOME);
    let granted = bench.call(&client, Method::ALLOCATE, bare);
    bench.bind_channel(&client, 0x4000, PEER);
    (bench, client, granted.relayed(), ticket(&granted))
}

/// The same client at another address.
fn moved(bench: &mut Bench, client: &Client, to: &str) -> Client {
    bench.client_as(to, client.credentials.clone())
}

fn resume(bench: &mut Bench, client: &Client, ticket: &[u8]) -> Reply {
    bench.call(client, Method::REFRESH, |builder| builder.mobility_ticket(ticket))
}

/// Whether data flows both ways at the address of a client.
fn connected(bench: &mut Bench, client: &Client, relayed: SocketAddr) -> (bool, bool) {
    let out = !bench.send(client.address, b"\x40\0\0\x01x").is_empty();
    let back = bench.send_to_relayed(PEER, relayed, b"y");
    (out, back.iter().any(|(_, to, _)| *to == client.address))
}

#[test]
fn an_allocation_goes_with_its_client() {
    let (mut bench, home, relayed, first) = at_home(config());
    bench.advance(100);
    let away = moved(&mut bench, &home, AWAY);
    assert_eq!(bench.refresh(&away, 600).code(), 437, "the relay does not know it there");
    let reply = resume(&mut bench, &away, &first);
    assert_eq!((reply.code(), reply.lifetime()), (0, 600));
    assert_ne!(ticket(&reply), first);
    assert_eq!(
        connected(&mut bench, &away, relayed),
        (true, true),
        "with its port, permissions and channels"
    );
    assert_eq!((bench.relay.allocations(), bench.bound.len()), (1, 3));
    let event = Event::Moved { from: home.address, to: away.address, username: "alice".into() };
    assert!(bench.news.contains(&event));
    // Over another version of IP, and on, by the newest ticket each time.
    let further = moved(&mut bench, &home, FURTHER);
    let next = ticket(&resume(&mut bench, &further, &ticket(&reply)));
    assert_eq!(connected(&mut bench, &further, relayed), (true, true));
    assert_eq!(ticket(&resume(&mut bench, &home, &next)).len(), next.len());
    assert_eq!(connected(&mut bench, &home, relayed), (true, true));
    // It lives as long as it was refreshed for.
    bench.advance(599);
    assert_eq!(bench.relay.allocations(), 1);
    bench.advance(1);
    assert_eq!((bench.relay.allocations(), bench.relay.poll_timeout()), (0, None));
}

#[test]
fn the_old_address_serves_until_something_comes_from_the_new_one() {
    let (mut bench, home, relayed, first) = at_home(config());
    let away = moved(&mut bench, &home, AWAY);
    resume(&mut bench, &away, &first);
    assert_eq!(bench.send(home.address, b"\x40\0\0\x01x").len(), 1, "what was under way arrives");
    assert_eq!(bench.permit(&home, "203.0.113.7:1").code(), 0);
    assert_eq!(
        bench.send_to_relayed(PEER, relayed, b"y")[0].1,
        away.address,
        "peers reach the new one at once"
    );
    bench.send(away.address, b"\x40\0\0\x01x");
    assert!(bench.send(home.address, b"\x40\0\0\x01x").is_empty());
    assert_eq!(bench.permit(&home, "203.0.113.7:1").code(), 437);
    // It is free for another allocation.
    let other = bench.client_as(HOME, Credentials { username: "bob".into(), password: "builder".into() });
    assert_eq!(bench.call(&other, Method::ALLOCATE, bare).code(), 0);
    assert_eq!(connected(&mut bench, &away, relayed), (true, true));
}

/// A request from the new address, and a Send indication, show as well that the client has arrived.
#[test]
fn whatever_comes_from_the_new_address_ends_the_old_one() {
    for arrival in 0..3 {
        let (mut bench, home, _, first) = at_home(config());
        let away = moved(&mut bench, &home, AWAY);
        resume(&mut bench, &away, &first);
        match arrival {
            0 => assert_eq!(bench.refresh(&away, 600).code(), 0),
            1 => assert_eq!(bench.permit(&away, PEER).code(), 0),
            _ => {
                let send = Builder::new(Class::Indication, Method::SEND, [9; 12]).peer_address(addr(PEER));
                assert_eq!(bench.send(away.address, &send.data(b"x").finish()).len(), 1);
            }
        }
        assert_eq!(bench.refresh(&home, 600).code(), 437);
    }
}

#[test]
fn a_refresh_whose_answer_was_lost_is_answered_again() {
    let (mut bench, home, relayed, first) = at_home(config());
    let away = moved(&mut bench, &home, AWAY);
    let request = away.sign(bench.builder(Method::REFRESH).mobility_ticket(&first));
    let answer = bench.ask(away.address, &request);
    assert_eq!(bench.ask(away.address, &request), answer);
    assert_eq!(bench.send(home.address, b"\x40\0\0\x01x").len(), 1, "that shows nothing about the client");
    // The client moves on without having heard: the old ticket is all that it has.
    let further = moved(&mut bench, &home, FURTHER);
    let second = ticket(&resume(&mut bench, &further, &first));
    assert_eq!(bench.send(home.address, b"\x40\0\0\x01x").len(), 1, "home it was heard of last");
    assert!(bench.send(away.address, b"\x40\0\0\x01x").is_empty());
    assert_eq!(connected(&mut bench, &further, relayed), (true, true));
    // Now it has heard. The old ticket is good for nothing, the new one is.
    assert_eq!(resume(&mut bench, &away, &first).code(), 400);
    assert_eq!(resume(&mut bench, &away, &second).code(), 0);
}

/// Coturn let others resume an allocation.
#[test]
fn a_ticket_moves_nothing_in_other_hands() {
    let (mut bench, home, relayed, first) = at_home(config());
    for credentials in [
        Credentials { username: "bob".to_owned(), password: "builder".to_owned() },
        Credentials::time_limited(SECRET, UnixTime(1_800_000_000), "gw-1"),
    ] {
        let thief = bench.client_as(AWAY, credentials);
        assert_eq!(resume(&mut bench, &thief, &first).code(), 441);
        // Not from an address with an allocation of one's own either.
        assert_eq!(bench.call(&thief, Method::ALLOCATE, bare).code(), 0);
        assert_eq!(resume(&mut bench, &thief, &first).code(), 400);
        assert_eq!(bench.refresh(&thief, 0).code(), 0);
    }
    let mut nobody = home.clone();
    nobody.address = addr(FURTHER);
    bench.renew_nonce(&mut nobody);
    let unsigned = bench.builder(Method::REFRESH).mobility_ticket(&first).finish();
    assert_eq!(Reply(bench.ask(nobody.address, &unsigned)).code(), 401);
    nobody.credentials.password = "wrong".to_owned();
    let wrong = nobody.sign(bench.builder(Method::REFRESH).mobility_ticket(&first));
    assert_eq!(Reply(bench.ask(nobody.address, &wrong)).code(), 401);
    // And from home there is nothing to move.
    assert_eq!(resume(&mut bench, &home, &first).code(), 400);
    assert_eq!(connected(&mut bench, &home, relayed), (true, true));
}

/// Whoever has another allocation at the new address keeps that one.
#[test]
fn an_allocation_moves_to_no_address_that_has_one() {
    let (mut bench, home, relayed, first) = at_home(config());
    let other = bench.client_as(AWAY, Credentials { username: "bob".into(), password: "builder".into() });
    bench.call(&other, Method::ALLOCATE, bare);
    let away = moved(&mut bench, &home, AWAY);
    assert_eq!(resume(&mut bench, &away, &first).code(), 437);
    assert_eq!((bench.relay.allocations(), connected(&mut bench, &home, relayed)), (2, (true, true)));
}

/// Coturn gave the quota back while the allocation lived on.
#[test]
fn an_allocation_that_moves_is_counted_once() {
    let mut config = config();
    (config.user_quota, config.total_quota) = (Some(1), Some(2));
    let (mut bench, home, _, first) = at_home(config);
    let (away, further) = (moved(&mut bench, &home, AWAY), moved(&mut bench, &home, FURTHER));
    let second = ticket(&resume(&mut bench, &away, &first));
    assert_eq!(bench.call(&further, Method::ALLOCATE, bare).code(), 486);
    bench.send(away.address, b"\x40\0\0\x01x");
    assert_eq!(bench.call(&home, Method::ALLOCATE, bare).code(), 486);
    resume(&mut bench, &further, &second);
    assert_eq!(bench.refresh(&further, 0).code(), 0);
    bench.relay.check();
    let sockets = 2;
    assert_eq!(bench.relay.holdings(), Holdings { sockets, ..Holdings::default() });
    assert_eq!(bench.call(&home, Method::ALLOCATE, bare).code(), 0, "and given back once");
}

#[test]
fn what_ends_while_it_moves_leaves_nothing() {
    for end in 0..3 {
        let (mut bench, home, _, first) = at_home(config());
        let away = moved(&mut bench, &home, AWAY);
        resume(&mut bench, &away, &first);
        match end {
            0 => drop(bench.advance(600)),
            1 => assert_eq!(bench.relay.revoke(bench.now, "alice"), 1),
            // Its client ends it from where it was: what it says is signed.
            _ => assert_eq!(bench.refresh(&home, 0).code(), 0),
        }
        bench.settle();
        bench.relay.check();
        let sockets = 2;
        assert_eq!(bench.relay.holdings(), Holdings { sockets, ..Holdings::default() });
    }
}

#[test]
fn an_allocation_can_be_ended_from_another_address() {
    let (mut bench, home, _, first) = at_home(config());
    let away = moved(&mut bench, &home, AWAY);
    let end = bench.builder(Method::REFRESH).mobility_ticket(&first).lifetime(Duration::ZERO);
    let end = away.sign(end);
    let answer = Reply(bench.ask(away.address, &end));
    assert_eq!((answer.code(), answer.lifetime(), bench.relay.allocations()), (0, 0, 0));
    assert_eq!(bench.ask(away.address, &end), answer.0, "its answer was lost");
    assert_eq!(resume(&mut bench, &away, &first).code(), 437);
}

#[test]
fn what_is_no_ticket_moves_nothing() {
    let (mut bench, home, relayed, first) = at_home(config());
    let away = moved(&mut bench, &home, AWAY);
    for at in 0..first.len() {
        let mut forged = first.clone();
        forged[at] ^= 1;
        assert_eq!(resume(&mut bench, &away, &forged).code(), 400, "byte {at}");
    }
    for forged in [&[][..], &first[1..], &[0; 40], &[7; 500]] {
        assert_eq!(resume(&mut bench, &away, forged).code(), 400);
    }
    // One of another relay, such as this one was before it was restarted.
    let mut other = Bench::new(config());
    other.relay = Relay::new(config(), Clock::new(other.now, UNIX), other.now, [8; 32]);
    other.bound.clear();
    other.settle();
    let stranger = other.client(AWAY);
    assert_eq!(resume(&mut other, &stranger, &first).code(), 400);
    assert_eq!(connected(&mut bench, &home, relayed), (true, true));
}

#[test]
fn who_asks_for_no_ticket_gets_none_and_a_relay_may_give_none_at_all() {
    let mut bench = Bench::new(config());
    let client = bench.client(HOME);
    let reply = bench.call(&client, Method::ALLOCATE, |builder| builder.requested_transport(17));
    assert_eq!((reply.code(), reply.message().mobility_ticket()), (0, None));
    let away = moved(&mut bench, &client, AWAY);
    let full = |builder: Builder| builder.requested_transport(17).mobility_ticket(b"x");
    assert_eq!(bench.call(&away, Method::ALLOCATE, full).code(), 400);

    let mut bench = Bench::new(Config { mobility: false, ..config() });
    let client = bench.client(HOME);
    assert_eq!(bench.call(&client, Method::ALLOCATE, bare).code(), 405);
    assert_eq!(bench.relay.allocations(), 0);
    bench.allocate(&client);
    assert_eq!(resume(&mut bench, &client, b"x").code(), 405);
}

/// Tickets tell nobody anything, and no two are the same.
#[test]
fn tickets_are_sealed() {
    let (mut bench, home, _, first) = at_home(config());
    let mut seen = std::collections::BTreeSet::from([first.clone()]);
    let (mut at, mut ticket_now) = (home.clone(), first);
    for port in 5000..5020 {
        at = moved(&mut bench, &at, &format!("198.51.100.9:{port}"));
        ticket_now = ticket(&resume(&mut bench, &at, &ticket_now));
        assert!(ticket_now.len() == 41 && seen.insert(ticket_now.clone()));
    }
    for place in 0..41 {
        let values: std::collections::BTreeSet<u8> = seen.iter().map(|ticket| ticket[place]).collect();
        assert!(values.len() > 5, "byte {place} says nothing");
    }
    assert_eq!(attribute::MOBILITY_TICKET, 0x8030);
}
