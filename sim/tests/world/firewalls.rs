//! Firewalls in front of hosts.

use adit_sim::{Drop, Firewall, Handle, Nat, World, secs};

use crate::tube::{Event, Tube, got, host, say};

const INSIDE: &str = "10.0.0.2:5";

/// A server on each of two ports, and a host behind `firewall` and a NAT that lets everything in.
fn scene(firewall: Firewall) -> (World, [Handle<Tube>; 2], Handle<Tube>) {
    let mut world = World::seeded(1);
    let servers =
        [host(&mut world, "turn", "11.0.0.1:3478", None), host(&mut world, "other", "11.0.0.2:53", None)];
    let nat = (Nat::full_cone(), &["11.0.0.9".parse().unwrap()][..]);
    let inside = host(&mut world, "inside", INSIDE, Some(nat));
    world.set_firewall(inside, Some(firewall));
    world.run_for(secs(1));
    (world, servers, inside)
}

fn seen_from(world: &World, server: Handle<Tube>) -> String {
    let from = |event: &Event| if let Event::Got(from, _) = event { Some(from.to_string()) } else { None };
    world.news(server).iter().find_map(from).expect("it arrived")
}

#[test]
fn a_firewall_without_udp_lets_nothing_out_or_in() {
    let (mut world, servers, inside) = scene(Firewall::without_udp());
    say(&mut world, inside, "11.0.0.1:3478", 99, b"?hello");
    world.run_for(secs(1));
    assert!(got(&world, servers[0]).is_empty());
    assert_eq!((world.dropped(Drop::Firewall), world.trace().packets()), (1, 0));
    world.set_firewall(inside, None);
    say(&mut world, inside, "11.0.0.1:3478", 99, b"?hello");
    world.run_for(secs(1));
    world.set_firewall(inside, Some(Firewall::without_udp()));
    let seen = seen_from(&world, servers[0]);
    say(&mut world, servers[0], &seen, 99, b"?hello");
    world.run_for(secs(1));
    assert!(got(&world, inside).is_empty());
    assert_eq!(world.dropped(Drop::Firewall), 2);
}

#[test]
fn a_stateful_firewall_lets_in_what_was_asked_for_and_nobody_else() {
    let (mut world, [asked, other], inside) = scene(Firewall::stateful());
    say(&mut world, inside, "11.0.0.1:3478", 99, b"?hello");
    world.run_for(secs(1));
    let seen = seen_from(&world, asked);
    say(&mut world, other, &seen, 99, b"?stranger");
    say(&mut world, asked, &seen, 99, b"?friend");
    world.run_for(secs(1));
    assert_eq!(got(&world, inside), [b"?friend"]);
    world.run_for(secs(30));
    say(&mut world, asked, &seen, 99, b"?late");
    world.run_for(secs(1));
    assert_eq!(got(&world, inside).len(), 1);
    assert_eq!((world.dropped(Drop::Firewall), world.dropped(Drop::Nat)), (2, 0));
}

#[test]
fn a_firewall_lets_out_only_to_the_ports_that_it_names() {
    let (mut world, [turn, other], inside) = scene(Firewall::stateful().to_ports(&[3478]));
    say(&mut world, inside, "11.0.0.1:3478", 99, b"!hello");
    say(&mut world, inside, "11.0.0.2:53", 99, b"?hello");
    world.run_for(secs(1));
    assert_eq!(got(&world, inside), [b"?...hello"]);
    assert!(got(&world, turn).is_empty() && got(&world, other).is_empty());
    assert_eq!(world.dropped(Drop::Firewall), 1);
}
