//! What links do to packets, one by one.

use std::net::SocketAddr;
use std::time::Duration;

use adit_sim::{Bursts, Drop, Handle, Link, Percent, World, secs};

use crate::tube::{Event, Tube, got, host, say};

const A: &str = "11.0.0.1:5";
const B: &str = "11.0.0.2:5";

/// Two hosts with `link` between them.
fn pair(link: Link) -> (World, Handle<Tube>, Handle<Tube>) {
    let mut world = World::seeded(1);
    let (a, b) = (host(&mut world, "a", A, None), host(&mut world, "b", B, None));
    world.set_link(a, b, link);
    world.run_for(secs(1));
    (world, a, b)
}

/// Sends numbers from `a` to `b`, one each millisecond; those that arrived, in the order of arrival.
fn numbers(world: &mut World, a: Handle<Tube>, b: Handle<Tube>, count: u32) -> Vec<u32> {
    for number in 0..count {
        say(world, a, B, 9, &[&b"?"[..], &number.to_be_bytes()].concat());
        world.run_for(Duration::from_millis(1));
    }
    world.run_for(secs(1));
    let number = |bytes: &Vec<u8>| u32::from_be_bytes(bytes[1..].try_into().unwrap());
    got(world, b).iter().map(number).collect()
}

#[test]
fn a_link_without_faults_delivers_all_in_order() {
    let (mut world, a, b) = pair(Link::default());
    assert_eq!(numbers(&mut world, a, b, 500), (0..500).collect::<Vec<_>>());
}

#[test]
fn losses_are_lost_and_counted() {
    let (mut world, a, b) = pair(Link::default().losing(20.percent()));
    let arrived = numbers(&mut world, a, b, 1000);
    assert!(arrived.is_sorted() && (750..850).contains(&arrived.len()), "{}", arrived.len());
    assert_eq!(world.dropped(Drop::Lost), 1000 - arrived.len() as u64);
}

#[test]
fn losses_in_bursts_come_together_in_each_direction_by_itself() {
    let (mut world, a, b) = pair(Link::default().bursting(Bursts::of(20, 10.per_mille())));
    let arrived = numbers(&mut world, a, b, 3000);
    let gaps: Vec<u32> =
        arrived.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|&gap| gap > 0).collect();
    let lost: u32 = gaps.iter().sum();
    assert!((5..60).contains(&gaps.len()), "{gaps:?}");
    assert!(lost as usize > 8 * gaps.len(), "{gaps:?}");
    let (mut world, a, b) = pair(Link::default());
    // From `a` the first packet begins a burst that never ends; answers from `b` know nothing of it.
    let endless = Bursts { end: 0.percent(), ..Bursts::of(1, 100.percent()) };
    world.set_way(a, b, Link::default().bursting(endless));
    say(&mut world, a, B, 99, b"?lost");
    say(&mut world, b, A, 99, b"?kept");
    world.run_for(secs(1));
    assert_eq!((got(&world, a).len(), got(&world, b).len()), (1, 0));
}

#[test]
fn doubles_arrive_twice_and_are_counted() {
    let (mut world, a, b) = pair(Link::default().duplicating(10.percent()));
    let mut arrived = numbers(&mut world, a, b, 1000);
    assert_eq!(arrived.len() as u64, 1000 + world.doubled());
    assert!((60..140).contains(&world.doubled()), "{}", world.doubled());
    arrived.dedup();
    arrived.sort_unstable();
    arrived.dedup();
    assert_eq!(arrived.len(), 1000);
}

#[test]
fn what_is_held_back_is_overtaken_and_arrives() {
    let (mut world, a, b) = pair(Link::default().reordering(10.percent()));
    let mut arrived = numbers(&mut world, a, b, 1000);
    let overtaken = arrived.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!((50..140).contains(&overtaken), "{overtaken}");
    arrived.sort_unstable();
    assert_eq!(arrived, (0..1000).collect::<Vec<_>>());
}

#[test]
fn jitter_lets_packets_overtake_each_other() {
    let (mut world, a, b) = pair(Link::default().jittering(Duration::from_millis(5)));
    let arrived = numbers(&mut world, a, b, 200);
    assert!(arrived.len() == 200 && !arrived.is_sorted());
}

#[test]
fn a_link_may_be_slow_in_one_direction_only() {
    let (mut world, a, b) = pair(Link::default());
    world.set_way(a, b, Link::of(Duration::from_millis(300)));
    world.set_way(b, a, Link::of(Duration::from_millis(7)));
    let start = world.elapsed();
    say(&mut world, a, B, 99, b"!there and back");
    assert!(world.run_until(secs(1), |world| !got(world, a).is_empty()));
    assert_eq!(world.elapsed() - start, Duration::from_millis(307));
}

#[test]
fn a_link_with_a_rate_queues_and_then_drops() {
    let mut world = World::seeded(1);
    world.set_usual_link(Link::default().at_rate(10_000));
    let a = host(&mut world, "a", "11.0.0.1:5", None);
    let b = host(&mut world, "b", "11.0.0.2:5", None);
    world.run_for(secs(1));
    for _ in 0..100 {
        say(&mut world, a, "11.0.0.2:5", 100, &[b'?'; 72]); // 100 bytes with its headers: 10 ms
    }
    world.run_for(secs(2));
    assert_eq!(got(&world, b).len(), 11);
    assert_eq!(world.dropped(Drop::Queue), 89);
}

#[test]
fn a_queue_that_empties_takes_packets_again() {
    let (mut world, a, b) = pair(Link::default().at_rate(10_000));
    for _ in 0..2 {
        (0..20).for_each(|_| say(&mut world, a, B, 100, &[b'?'; 72]));
        world.run_for(secs(1));
    }
    assert_eq!((got(&world, b).len(), world.dropped(Drop::Queue)), (22, 18));
}

#[test]
fn what_does_not_fit_vanishes_without_a_word() {
    let (mut world, a, b) = pair(Link::default().with_mtu(1280));
    say(&mut world, a, B, 2000, &[b'?'; 1252]);
    say(&mut world, a, B, 2000, &[b'?'; 1253]);
    world.run_for(secs(1));
    assert_eq!((got(&world, b).len(), world.dropped(Drop::TooLarge)), (1, 1));
    let errors = |event: &Event| !matches!(event, Event::Bound(Ok(_)));
    assert!(!world.news(a).iter().any(errors), "{:?}", world.news(a));
}

#[test]
fn what_does_not_fit_or_is_cut_off_is_dropped_and_counted() {
    let mut world = World::seeded(1);
    let a = host(&mut world, "a", "11.0.0.1:5", None);
    let b = host(&mut world, "b", "11.0.0.2:5", None);
    world.run_for(secs(1));
    say(&mut world, a, "11.0.0.2:5", 2000, &[b'?'; 1473]);
    say(&mut world, a, "11.0.0.2:6", 2000, b"?");
    say(&mut world, a, "11.0.0.3:6", 2000, b"?");
    world.run_for(secs(1));
    world.set_cut(b, true);
    say(&mut world, a, "11.0.0.2:5", 2000, b"?");
    world.run_for(secs(1));
    assert!(got(&world, b).is_empty());
    assert!(
        [Drop::TooLarge, Drop::NoSocket, Drop::NoHost, Drop::Cut].iter().all(|&why| world.dropped(why) == 1)
    );
}

#[test]
fn a_link_that_is_set_during_a_run_holds_from_then_on() {
    let (mut world, a, b) = pair(Link::default().losing(100.percent()));
    say(&mut world, a, B, 99, b"?lost");
    world.set_link(a, b, Link::default());
    say(&mut world, a, B, 99, b"?kept");
    world.run_for(secs(1));
    let addr: SocketAddr = A.parse().unwrap();
    assert!(matches!(world.news(b), [Event::Bound(_), Event::Got(from, _)] if *from == addr));
}
