//! NATs: what they let in, how long they remember, and who shares one.

use std::net::{IpAddr, SocketAddr};

use adit_sim::{Drop, Handle, Home, Nat, World, secs};

use crate::tube::{Event, Tube, got, host, say};

const SERVER: &str = "11.0.0.1:5";
const PUBLIC: &str = "11.0.0.9";

/// Where the packets that a host got came from.
fn senders(world: &World, at: Handle<Tube>) -> Vec<SocketAddr> {
    let from = |event: &Event| if let Event::Got(from, _) = event { Some(*from) } else { None };
    world.news(at).iter().filter_map(from).collect()
}

/// A server and a home, with the hosts in it and how the server has seen each.
type Scene = (World, Handle<Tube>, Home, Vec<(Handle<Tube>, SocketAddr)>);

/// A server, and a home behind `nat` with `count` hosts, of which each has told the server where it is.
fn home(nat: Nat, count: u8) -> Scene {
    let mut world = World::seeded(1);
    let server = host(&mut world, "server", SERVER, None);
    let home = world.nat_at(nat, &[PUBLIC.parse().unwrap()]);
    let hosts = (0..count).map(|number| {
        let addr: SocketAddr = format!("10.0.0.{}:5", number + 2).parse().unwrap();
        let handle = world.host_in(home, "inside", &[addr.ip()]);
        world.start(handle, |_, _, _| Tube::new(addr));
        world.run_for(secs(1));
        say(&mut world, handle, SERVER, 99, b"?here I am");
        world.run_for(secs(1));
        (handle, *senders(&world, server).last().expect("it arrived"))
    });
    let hosts = hosts.collect();
    (world, server, home, hosts)
}

#[test]
fn a_nat_lets_in_only_what_was_asked_for() {
    let mut world = World::seeded(1);
    let public: [IpAddr; 1] = ["11.0.0.9".parse().unwrap()];
    let inside = host(&mut world, "inside", "10.0.0.2:5", Some((Nat::port_restricted_cone(), &public)));
    let asked = host(&mut world, "asked", "11.0.0.1:5", None);
    let other = host(&mut world, "other", "11.0.0.2:5", None);
    say(&mut world, inside, "11.0.0.1:5", 99, b"?hello");
    world.run_for(secs(1));
    let seen = world
        .news(asked)
        .iter()
        .find_map(|event| if let Event::Got(from, _) = event { Some(*from) } else { None });
    let seen = seen.expect("it arrived").to_string();
    assert!(seen.starts_with("11.0.0.9:"), "{seen}");
    say(&mut world, other, &seen, 99, b"?stranger");
    say(&mut world, asked, &seen, 99, b"?friend");
    world.run_for(secs(1));
    assert_eq!(got(&world, inside), [b"?friend"]);
    world.rebind(inside);
    say(&mut world, asked, &seen, 99, b"?late");
    world.run_for(secs(1));
    assert_eq!(got(&world, inside).len(), 1);
    assert_eq!(world.dropped(Drop::Nat), 2);
}

#[test]
fn hosts_behind_one_nat_share_its_address_and_nothing_else() {
    let (mut world, server, home, hosts) = home(Nat::port_restricted_cone(), 3);
    let public: IpAddr = PUBLIC.parse().unwrap();
    assert!(hosts.iter().all(|(_, seen)| seen.ip() == public));
    for (number, (_, seen)) in hosts.iter().enumerate() {
        let words = format!("?to {number}");
        say(&mut world, server, &seen.to_string(), 99, words.as_bytes());
    }
    world.run_for(secs(1));
    for (number, &(handle, _)) in hosts.iter().enumerate() {
        assert_eq!(got(&world, handle), [format!("?to {number}").as_bytes()]);
        assert_eq!((world.home_of(handle), world.addresses_of(handle)), (Some(home), &[public][..]));
    }
    assert_eq!(world.nat(home).mappings(world.now()), 3);
}

#[test]
fn hosts_behind_one_nat_reach_each_other_by_its_address() {
    let (mut world, server, _, hosts) = home(Nat::full_cone(), 2);
    let [(a, seen_a), (b, seen_b)] = hosts[..] else { unreachable!() };
    say(&mut world, a, &seen_b.to_string(), 99, b"!hello");
    world.run_for(secs(1));
    assert_eq!(got(&world, a), [b"?...hello"]);
    say(&mut world, a, &seen_b.to_string(), 99, b"?who?");
    world.run_for(secs(1));
    // RFC 4787 REQ-9a: what went through the NAT comes from it.
    assert_eq!(senders(&world, b), [seen_a]);
    assert_eq!(got(&world, server).len(), 2, "nothing else left the house");
}

#[test]
fn a_nat_without_hairpin_keeps_its_hosts_apart_but_for_their_own_addresses() {
    let (mut world, _, _, hosts) = home(Nat::full_cone().without_hairpin(), 2);
    let [(a, _), (b, seen_b)] = hosts[..] else { unreachable!() };
    say(&mut world, a, &seen_b.to_string(), 99, b"?by the nat");
    world.run_for(secs(1));
    assert_eq!(world.dropped(Drop::Hairpin), 1);
    say(&mut world, a, "10.0.0.3:5", 99, b"?next door");
    world.run_for(secs(1));
    assert_eq!(got(&world, b), [b"?next door"]);
    assert_eq!(senders(&world, b), ["10.0.0.2:5".parse().unwrap()]);
}

#[test]
fn hairpinned_packets_pass_the_filter_like_all_others() {
    let (mut world, _, _, hosts) = home(Nat::port_restricted_cone(), 2);
    let [(a, seen_a), (b, seen_b)] = hosts[..] else { unreachable!() };
    say(&mut world, a, &seen_b.to_string(), 99, b"?uninvited");
    world.run_for(secs(1));
    assert_eq!((got(&world, b).len(), world.dropped(Drop::Nat)), (0, 1));
    say(&mut world, b, &seen_a.to_string(), 99, b"?come in");
    say(&mut world, a, &seen_b.to_string(), 99, b"?invited");
    world.run_for(secs(1));
    assert_eq!((got(&world, a).len(), got(&world, b).len()), (1, 1));
}

#[test]
fn only_what_goes_out_keeps_a_mapping_up() {
    let (mut world, server, _, hosts) = home(Nat::full_cone().expiring_after(secs(30)), 1);
    let [(inside, seen)] = hosts[..] else { unreachable!() };
    for _ in 0..4 {
        say(&mut world, server, &seen.to_string(), 99, b"?are you there");
        world.run_for(secs(10));
    }
    assert_eq!(got(&world, inside).len(), 3);
    assert_eq!(world.dropped(Drop::Nat), 1);
    let (mut world, server, _, hosts) = home_that_is_kept_up();
    let [(inside, seen)] = hosts[..] else { unreachable!() };
    say(&mut world, server, &seen.to_string(), 99, b"?are you there");
    world.run_for(secs(1));
    assert_eq!(got(&world, inside).len(), 1);
}

/// Ten minutes in which the inside says something each twenty seconds, behind a NAT that forgets in thirty.
fn home_that_is_kept_up() -> Scene {
    let (mut world, server, home, hosts) = home(Nat::full_cone().expiring_after(secs(30)), 1);
    for _ in 0..30 {
        world.run_for(secs(20));
        say(&mut world, hosts[0].0, SERVER, 99, b"?still here");
    }
    world.run_for(secs(1));
    (world, server, home, hosts)
}

#[test]
fn a_nat_that_restarts_gives_everybody_behind_it_another_port() {
    let (mut world, server, home, hosts) = home(Nat::symmetric(), 2);
    world.restart_nat(home);
    assert_eq!(world.nat(home).mappings(world.now()), 0);
    for &(inside, before) in &hosts {
        say(&mut world, server, &before.to_string(), 99, b"?to nobody");
        say(&mut world, inside, SERVER, 99, b"?here I am");
        world.run_for(secs(1));
        assert_ne!(*senders(&world, server).last().unwrap(), before);
        assert!(got(&world, inside).is_empty());
    }
    assert_eq!(world.dropped(Drop::Nat), 2);
}
