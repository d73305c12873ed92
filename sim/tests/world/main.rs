//! The world itself, with a small machine instead of those of `adit-core`.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

mod firewalls;
mod links;
mod nats;
mod targets;
mod tube;

use std::net::SocketAddr;
use std::time::Duration;

use adit_core::io::{Arena, Effect, QueryId};
use adit_sim::{Drop, End, Link, Percent, Target, UNIX_START, World, secs};

use tube::{Event, Tube, got, host, say};

#[test]
fn packets_of_one_transmit_go_there_and_back() {
    let mut world = World::seeded(1);
    let a = host(&mut world, "a", "11.0.0.1:5", None);
    host(&mut world, "b", "11.0.0.2:5", None);
    world.run_for(secs(1));
    say(&mut world, a, "11.0.0.2:5", 2, b"!a!b!");
    let start = world.elapsed();
    assert!(world.run_until(secs(1), |world| got(world, a).len() == 3));
    assert_eq!(got(&world, a), [&b"?...a"[..], b"?...b", b"?..."]);
    assert_eq!(world.elapsed() - start, 2 * Link::default().latency);
    assert!(!world.step());
}

#[test]
fn a_bind_says_why_it_failed() {
    let mut world = World::seeded(1);
    let taken = world.host("a", &["11.0.0.1".parse().unwrap()], None);
    world.take(taken, "11.0.0.1:5".parse().unwrap());
    world.start(taken, |_, _, _| Tube::new("11.0.0.1:5".parse().unwrap()));
    let elsewhere = world.host("b", &["11.0.0.2".parse().unwrap()], None);
    world.start(elsewhere, |_, _, _| Tube::new("11.0.0.3:5".parse().unwrap()));
    world.run_for(secs(1));
    assert!(matches!(world.news(taken), [Event::Bound(Err(std::io::ErrorKind::AddrInUse))]));
    assert!(matches!(world.news(elsewhere), [Event::Bound(Err(std::io::ErrorKind::AddrNotAvailable))]));
}

fn trace_of(seed: u64) -> u64 {
    let mut world = World::seeded(seed);
    let link = Link::default().losing(5.percent()).duplicating(5.percent()).reordering(5.percent());
    world.set_usual_link(link.jittering(Duration::from_millis(3)));
    let a = host(&mut world, "a", "11.0.0.1:5", None);
    host(&mut world, "b", "11.0.0.2:5", None);
    world.run_for(secs(1));
    for _ in 0..1000 {
        say(&mut world, a, "11.0.0.2:5", 9, b"!x");
        world.run_for(Duration::from_micros(700));
    }
    world.run_for(secs(1));
    world.trace().hash()
}

#[test]
fn a_seed_decides_every_packet() {
    assert_eq!(trace_of(3), trace_of(3));
    assert_ne!(trace_of(3), trace_of(4));
}

#[test]
fn bytes_move_between_a_pipe_and_an_echo() {
    let mut world = World::seeded(1);
    world.place("10.77.0.1:7".parse().unwrap(), Target::Echo);
    let a = host(&mut world, "a", "11.0.0.1:5", None);
    let words: Vec<u8> = (0u32..100_000).flat_map(u32::to_be_bytes).collect();
    let pipe = world.call(a, |tube, _| {
        tube.pipe.to_target.extend(&words);
        tube.dial("10.77.0.1:7".parse().unwrap())
    });
    world.run_for(secs(1));
    assert_eq!(world.machine(a).pipe.from_target, words);
    assert!(!world.machine(a).pipe.closed);
    world.call(a, |tube, _| {
        tube.pipe.finished = true;
        tube.wake(pipe);
    });
    assert!(world.machine(a).pipe.closed && world.open_pipes(a) == 0);
    let target = world.connections(a).next().unwrap();
    assert_eq!((target.heard_end(), target.said_end()), (Some(End::Finished), Some(End::Finished)));
}

#[test]
fn a_dial_ends_as_its_target_wants() {
    let mut world = World::seeded(1);
    let ends = [
        ("10.77.0.1:1", Target::Refuses, Some(std::io::ErrorKind::ConnectionRefused)),
        ("10.77.0.2:1", Target::Silent, Some(std::io::ErrorKind::TimedOut)),
        ("10.77.0.3:1", Target::Unreachable, Some(std::io::ErrorKind::HostUnreachable)),
        ("10.77.0.4:1", Target::Source(vec![7; 9]), None),
    ];
    for (at, target, end) in ends {
        let at: SocketAddr = at.parse().unwrap();
        world.place(at, target);
        let a =
            host(&mut world, "a", &format!("11.0.0.{}:5", at.ip().to_string().as_bytes()[8] - b'0'), None);
        world.call(a, |tube, _| tube.dial(at));
        world.run_for(secs(6));
        let Some(Event::Dialled(result)) = world.news(a).last() else { panic!("no answer") };
        assert_eq!(result.err(), end);
    }
    assert_eq!(world.dialled().count(), 4);
}

#[test]
fn names_are_resolved_after_a_while() {
    let mut world = World::seeded(1);
    world.name("echo", &["10.77.0.1".parse().unwrap()]);
    let a = host(&mut world, "a", "11.0.0.1:5", None);
    for name in ["echo", "10.1.2.3", "nobody"] {
        world.call(a, |tube, _| {
            let query = Arena::<QueryId, ()>::default().insert(());
            tube.events.push_back(Event::Effect(Effect::Resolve { query, host: name.to_owned() }));
        });
    }
    world.run_for(secs(1));
    let answers: Vec<_> = world
        .news(a)
        .iter()
        .filter_map(
            |event| if let Event::Resolved(result) = event { Some(result.clone().ok()) } else { None },
        )
        .collect();
    let ip = |text: &str| Some(vec![text.parse().unwrap()]);
    assert_eq!(answers, [ip("10.77.0.1"), ip("10.1.2.3"), None]);
}

#[test]
fn a_sleeper_rings_late_and_learns_the_time() {
    let mut world = World::seeded(1);
    let a = host(&mut world, "a", "11.0.0.1:5", None);
    world.call(a, |tube, now| tube.alarm = Some(now + secs(10)));
    world.run_for(secs(1));
    world.sleep(a, secs(99));
    world.run_for(secs(98));
    assert_eq!(world.news(a).len(), 1);
    world.run_for(secs(2));
    let now = world.now();
    let [_, Event::Clock(unix), Event::Rang(at)] = world.news(a) else { panic!("{:?}", world.news(a)) };
    assert_eq!((unix.0, *at), (UNIX_START.as_secs() + 100, now - secs(1)));
    world.jump(a, secs(1000));
    let Some(Event::Clock(unix)) = world.news(a).last() else { panic!("no clock") };
    assert_eq!(unix.0, UNIX_START.as_secs() + 1101);
}

#[test]
fn the_dead_get_no_mail() {
    let mut world = World::seeded(1);
    let a = host(&mut world, "a", "11.0.0.1:5", None);
    let b = host(&mut world, "b", "11.0.0.2:5", None);
    world.run_for(secs(1));
    say(&mut world, a, "11.0.0.2:5", 9, b"?x");
    world.kill(b);
    world.run_for(secs(1));
    assert_eq!(world.dropped(Drop::NoSocket), 1);
    world.start(b, |_, _, _| Tube::new("11.0.0.2:5".parse().unwrap()));
    world.run_for(secs(1));
    assert!(matches!(world.news(b), [Event::Bound(Ok(_))]));
}
