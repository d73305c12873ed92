//! A thousand spoilt datagrams to each machine, in the middle of its work: none panics, and nobody else notices.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by failing")]

mod hostile;

use std::cell::RefCell;
use std::io::ErrorKind;
use std::time::Duration;

use adit_core::connector::Connector;
use adit_core::gateway::Gateway;
use adit_core::io::{Completion, Id, LinkId, PipeId, QueryId, SocketId};
use adit_core::relay::Relay;
use adit_core::time::UnixTime;
use adit_sim::{End, Handle, KIB, Machine, Packet, Stream, UNIX_START, World, secs};
use hostile::spoil;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{TestCaseError, TestRunner};

/// A tunnel at work, and what its machines have got so far.
struct Scene {
    world: World,
    relay: Handle<Relay>,
    gateway: Handle<Gateway>,
    connector: Handle<Connector>,
    stream: Stream,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::seeded(11);
        let relay = world.relay("a");
        let gateway = world.gateway("gw").on([relay]);
        let connector = world.connector().start();
        world.capture(relay);
        world.capture(gateway);
        world.capture(connector);
        let stream = world.open(connector, gateway, "tcp://echo:7");
        world.say(stream, &[7; 20 * KIB]);
        world.run_for(secs(300));
        world.say(stream, &[8; 20 * KIB]);
        world.run_for(secs(1));
        Self { world, relay, gateway, connector, stream }
    }

    /// Every datagram that reached the host of `on`.
    fn inbox<M: Machine>(&self, on: Handle<M>) -> Vec<Packet> {
        let addresses = self.world.addresses_of(on);
        let inward = |packet: &&Packet| addresses.contains(&packet.to.ip());
        self.world.captured(on).iter().filter(inward).cloned().collect()
    }

    /// The stream has lost nothing, and a new one can be opened.
    fn assert_well(mut self) {
        let Self { connector, gateway, stream, .. } = self;
        self.world.say(stream, b"the end");
        self.world.finish(stream);
        let next = self.world.open(connector, gateway, "tcp://echo:7");
        self.world.transfer(next, 10 * KIB);
        self.world.run_until_quiet();
        for stream in [stream, next] {
            assert!(self.world.received(stream) == self.world.sent(stream));
            assert_eq!(self.world.party(stream).heard_end(), Some(End::Finished));
        }
    }
}

/// Runs a thousand cases of `strategy` against one scene.
fn thousand<S: Strategy>(scene: Scene, strategy: S, act: impl Fn(&mut Scene, S::Value)) {
    let scene = RefCell::new(scene);
    let mut runner = TestRunner::new(ProptestConfig { cases: 1000, ..ProptestConfig::default() });
    let ended = runner.run(&strategy, |case| {
        act(&mut scene.borrow_mut(), case);
        Ok::<_, TestCaseError>(())
    });
    ended.unwrap();
    scene.into_inner().assert_well();
}

/// Spoilt copies of what `on` has got, from where it has got it and from strangers.
fn bombard<M: Machine>(on: impl Fn(&Scene) -> Handle<M>) {
    let scene = Scene::new();
    let inbox = scene.inbox(on(&scene));
    assert!(inbox.len() > 10);
    let strategy =
        (any::<Index>(), prop::collection::vec(spoil(), 1..4), prop::bool::weighted(0.2), 0u64..50);
    thousand(scene, strategy, |scene, (which, spoils, strange, pause)| {
        for spoil in spoils {
            let mut packet = which.get(&inbox).clone();
            packet.payload = spoil.apply(packet.payload);
            if strange {
                packet.from.set_port(packet.from.port() ^ 1);
            }
            scene.world.inject(packet);
        }
        scene.world.run_for(Duration::from_millis(pause));
    });
}

#[test]
fn a_relay_takes_any_datagram() {
    bombard(|scene| scene.relay);
}

#[test]
fn a_gateway_and_its_client_take_any_datagram() {
    bombard(|scene| scene.gateway);
}

#[test]
fn a_connector_takes_any_datagram() {
    bombard(|scene| scene.connector);
}

/// A call that a driver may make at an odd time.
#[derive(Debug, Clone)]
enum Odd {
    Timeout,
    Clock(u64),
    Done(Completion),
    Bytes(Vec<u8>),
    Pipe(PipeId),
}

fn odd() -> impl Strategy<Value = Odd> {
    let generation = || 0u32..3;
    let id = move || (50u32..60, generation());
    let kind = || {
        prop::sample::select(vec![ErrorKind::AddrInUse, ErrorKind::TimedOut, ErrorKind::ConnectionRefused])
    };
    let socket = move || id().prop_map(|(index, life)| SocketId::new(index, life));
    let pipe = move || id().prop_map(|(index, life)| PipeId::new(index, life));
    let peer = || "11.9.9.9:9".parse().unwrap();
    let done = prop_oneof![
        (socket(), kind()).prop_map(|(socket, kind)| Completion::Bound { socket, result: Err(kind) }),
        socket().prop_map(move |socket| Completion::Bound { socket, result: Ok(peer()) }),
        (socket(), kind()).prop_map(move |(socket, kind)| Completion::TransportError {
            socket,
            peer: peer(),
            kind,
            mtu: None
        }),
        (id(), kind()).prop_map(|((index, life), kind)| {
            Completion::Resolved { query: QueryId::new(index, life), result: Err(kind) }
        }),
        id().prop_map(|(index, life)| Completion::Resolved {
            query: QueryId::new(index, life),
            result: Ok(vec![])
        }),
        pipe().prop_map(move |pipe| Completion::Dialled { pipe, result: Ok(peer()) }),
        (pipe(), kind()).prop_map(|(pipe, kind)| Completion::Dialled { pipe, result: Err(kind) }),
        id().prop_map(move |(index, life)| Completion::LinkOpened {
            link: LinkId::new(index, life),
            local: peer(),
            remote: peer()
        }),
        (id(), kind()).prop_map(|((index, life), kind)| Completion::LinkClosed {
            link: LinkId::new(index, life),
            result: Err(kind)
        }),
        id().prop_map(|(index, life)| Completion::Writable { link: LinkId::new(index, life) }),
    ];
    prop_oneof![
        Just(Odd::Timeout),
        (0u64..20_000).prop_map(|later| Odd::Clock(UNIX_START.as_secs() + later)),
        done.prop_map(Odd::Done),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(Odd::Bytes),
        pipe().prop_map(Odd::Pipe),
    ]
}

/// Makes odd calls: what they name has never been, or is no more.
macro_rules! be_odd {
    ($machine:ident) => {
        thousand(Scene::new(), (odd(), 0u64..50), |scene, (odd, pause)| {
            scene.world.call(scene.$machine, |machine, now| match odd {
                Odd::Timeout => machine.handle_timeout(now),
                Odd::Clock(unix) => machine.handle_clock(now, UnixTime(unix)),
                Odd::Done(done) => machine.handle_completion(now, done),
                Odd::Bytes(bytes) => machine.handle_bytes(now, LinkId::new(0, 0), &bytes),
                Odd::Pipe(pipe) => be_odd!($machine, machine, now, pipe),
            });
            scene.world.run_for(Duration::from_millis(pause));
        })
    };
    (relay, $machine:ident, $now:ident, $pipe:ident) => {{
        let _ = ($now, $pipe);
    }};
    ($other:ident, $machine:ident, $now:ident, $pipe:ident) => {{
        let _ = $machine.pipe_read($now, $pipe, &mut [0; 9]);
        let _ = $machine.pipe_write($now, $pipe, b"x");
        $machine.pipe_finish($now, $pipe);
        $machine.pipe_close($now, $pipe);
    }};
}

#[test]
fn a_relay_takes_odd_calls() {
    be_odd!(relay);
}

#[test]
fn a_gateway_takes_odd_calls() {
    be_odd!(gateway);
}

#[test]
fn a_connector_takes_odd_calls() {
    be_odd!(connector);
}
