//! The world itself, with a small machine: `Tube` numbers what it sends, answers what it gets, and has one pipe
//! that leads to the target that it dialled.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use adit_core::io::{
    Arena, Completion, Datagrams, Direction, Effect, Forwards, Onward, PipeId, QueryId, Read, Run, SocketId,
    SocketKind, To, Transmit, Write,
};
use adit_core::time::{Deadline, UnixTime, Why};
use adit_sim::{Drop, End, Handle, Link, Machine, Nat, Percent, Target, UNIX_START, World, secs};

#[derive(Debug)]
enum Event {
    Effect(Effect),
    Bound(Result<SocketAddr, std::io::ErrorKind>),
    Resolved(Result<Vec<IpAddr>, std::io::ErrorKind>),
    Dialled(Result<SocketAddr, std::io::ErrorKind>),
    Got(SocketAddr, Vec<u8>),
    Clock(UnixTime),
    Rang(Instant),
}

/// Sends back whatever arrives with an `!` in front, through `Forwards`; keeps what arrives with a `?`.
struct Tube {
    sockets: Arena<SocketId, ()>,
    pipes: Arena<PipeId, ()>,
    outgoing: VecDeque<(Transmit, Vec<u8>)>,
    events: VecDeque<Event>,
    alarm: Option<Instant>,
    pipe: Pipe,
}

/// What was written comes back in the reading direction of nobody: both halves are kept apart.
#[derive(Default)]
struct Pipe {
    to_target: VecDeque<u8>,
    from_target: Vec<u8>,
    finished: bool,
    closed: bool,
}

impl Tube {
    fn new(addr: SocketAddr) -> Self {
        let mut sockets = Arena::default();
        let socket = sockets.insert(());
        let bind = Effect::Bind { socket, addr, kind: SocketKind::Client };
        Self {
            sockets,
            pipes: Arena::default(),
            outgoing: VecDeque::new(),
            events: VecDeque::from([Event::Effect(bind)]),
            alarm: None,
            pipe: Pipe::default(),
        }
    }

    fn socket(&self) -> SocketId {
        self.sockets.iter().next().unwrap().0
    }

    fn send(&mut self, to: SocketAddr, stride: usize, bytes: &[u8]) {
        let to = To::Udp { socket: self.socket(), to };
        self.outgoing.push_back((Transmit { to, from: None, ecn: None, stride }, bytes.to_vec()));
    }

    fn dial(&mut self, to: SocketAddr) -> PipeId {
        let pipe = self.pipes.insert(());
        self.events.push_back(Event::Effect(Effect::Dial { pipe, to, timeout: secs(5) }));
        pipe
    }

    fn wake(&mut self, pipe: PipeId) {
        self.events.push_back(Event::Effect(Effect::Wake { pipe, direction: Direction::Read }));
    }
}

impl Machine for Tube {
    type Event = Event;

    fn effect(event: Event) -> Result<Effect, Event> {
        if let Event::Effect(effect) = event { Ok(effect) } else { Err(event) }
    }

    fn handle_datagrams(&mut self, _: Instant, batch: Datagrams<'_>, out: &mut Forwards) {
        for index in 0..batch.len() {
            let bytes = batch.segment(index);
            if bytes.first() == Some(&b'?') {
                self.events.push_back(Event::Got(batch.remote, bytes.to_vec()));
                continue;
            }
            let onward = Onward::Send { socket: batch.socket, to: batch.remote, from: None };
            let (strip, len, prefix) = (1, bytes.len() - 1, Some(*b"?...")); // `!x` becomes `?...x`
            out.push(index, Run { onward, ecn: batch.ecn, strip, len, prefix, segments: index..index + 1 });
        }
    }

    fn handle_completion(&mut self, _: Instant, done: Completion) {
        self.events.push_back(match done {
            Completion::Bound { result, .. } => Event::Bound(result),
            Completion::Resolved { result, .. } => Event::Resolved(result),
            Completion::Dialled { result, .. } => Event::Dialled(result),
            other => panic!("{other:?}"),
        });
    }

    fn handle_clock(&mut self, _: Instant, unix: UnixTime) {
        self.events.push_back(Event::Clock(unix));
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.alarm.is_some_and(|at| at <= now) {
            self.alarm = None;
            self.events.push_back(Event::Rang(now));
        }
    }

    fn poll_transmit(&mut self, _: Instant, _: NonZeroUsize, out: &mut Vec<u8>) -> Option<Transmit> {
        let (transmit, bytes) = self.outgoing.pop_front()?;
        out.extend_from_slice(&bytes);
        Some(transmit)
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn poll_timeout(&self) -> Option<Deadline> {
        Some(Deadline { at: self.alarm?, why: Why::Retry })
    }

    fn pipe_read(&mut self, _: Instant, _: PipeId, buf: &mut [u8]) -> Read {
        let len = buf.len().min(self.pipe.to_target.len()).min(1000);
        if len == 0 {
            return if self.pipe.finished { Read::Finished } else { Read::Blocked };
        }
        buf.iter_mut().zip(self.pipe.to_target.drain(..len)).for_each(|(slot, byte)| *slot = byte);
        Read::Bytes(len)
    }

    fn pipe_write(&mut self, _: Instant, _: PipeId, bytes: &[u8]) -> Write {
        let len = bytes.len().min(700);
        self.pipe.from_target.extend_from_slice(&bytes[..len]);
        Write::Accepted(len)
    }

    fn pipe_close(&mut self, _: Instant, _: PipeId) {
        self.pipe.closed = true;
    }
}

fn host(world: &mut World, name: &str, addr: &str, nat: Option<(Nat, &[IpAddr])>) -> Handle<Tube> {
    let addr: SocketAddr = addr.parse().unwrap();
    let handle = world.host(name, &[addr.ip()], nat);
    world.start(handle, |_, _, _| Tube::new(addr));
    handle
}

fn say(world: &mut World, from: Handle<Tube>, to: &str, stride: usize, bytes: &[u8]) {
    world.call(from, |tube, _| tube.send(to.parse().unwrap(), stride, bytes));
}

fn got(world: &World, at: Handle<Tube>) -> Vec<Vec<u8>> {
    let bytes = |event: &Event| if let Event::Got(_, bytes) = event { Some(bytes.clone()) } else { None };
    world.news(at).iter().filter_map(bytes).collect()
}

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

#[test]
fn a_nat_lets_in_only_what_was_asked_for() {
    let mut world = World::seeded(1);
    let public: [IpAddr; 1] = ["11.0.0.9".parse().unwrap()];
    let inside = host(&mut world, "inside", "10.0.0.2:5", Some((Nat::port_restricted_cone(), &public)));
    let asked = host(&mut world, "asked", "11.0.0.1:5", None);
    let other = host(&mut world, "other", "11.0.0.2:5", None);
    say(&mut world, inside, "11.0.0.1:5", 9, b"?hello");
    world.run_for(secs(1));
    let seen = world
        .news(asked)
        .iter()
        .find_map(|event| if let Event::Got(from, _) = event { Some(*from) } else { None });
    let seen = seen.expect("it arrived").to_string();
    assert!(seen.starts_with("11.0.0.9:"), "{seen}");
    say(&mut world, other, &seen, 9, b"?stranger");
    say(&mut world, asked, &seen, 9, b"?friend");
    world.run_for(secs(1));
    assert_eq!(got(&world, inside), [b"?friend"]);
    world.rebind(inside);
    say(&mut world, asked, &seen, 9, b"?late");
    world.run_for(secs(1));
    assert_eq!(got(&world, inside).len(), 1);
    assert_eq!(world.dropped(Drop::Nat), 2);
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
