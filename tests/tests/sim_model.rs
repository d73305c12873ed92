//! Many small worlds, each made up from its seed, against a model of a stream: every byte arrives once and in order,
//! or the stream is reset; and in the end nothing is left.

use std::time::Duration;

use adit_core::connector::Connector;
use adit_core::gateway::Gateway;
use adit_core::rand::Rng;
use adit_core::relay::Relay;
use adit_sim::{Dependence, End, Handle, KIB, Link, Nat, Percent, Stream, Target, World, secs};

/// How many worlds are tried.
const WORLDS: u64 = 100;

/// What happens in one world.
struct Story {
    world: World,
    rng: Rng,
    relay: Handle<Relay>,
    gateway: Handle<Gateway>,
    connector: Handle<Connector>,
    streams: Vec<Opened>,
    restarted: bool,
}

/// A stream, and what comes back on it where that is not what was said.
struct Opened {
    stream: Stream,
    source: Option<&'static [u8]>,
    /// Its target or its application breaks it off.
    doomed: bool,
}

/// What the source says.
static SOURCE: [u8; 40 * KIB] = [9; 40 * KIB];

impl Story {
    fn begin(seed: u64) -> Self {
        let mut rng = Rng::new(seed_of(seed));
        let mut world = World::seeded(seed);
        world.set_usual_link(any_link(&mut rng));
        world.target("source", 19, Target::Source(SOURCE.to_vec()));
        world.target("fragile", 1, Target::Breaks(3000));
        let relay = world.relay("a");
        let gateway = world.gateway("gw").allowing("tcp://source:19").allowing("tcp://fragile:1");
        let gateway = gateway.configured(|config| config.quic.handshake_timeout = secs(60));
        let gateway =
            if let Some(nat) = any_nat(&mut rng) { gateway.behind(nat) } else { gateway }.on([relay]);
        let connector = world.connector().configured(|config| {
            config.connect_timeout = secs(60);
            config.open_timeout = secs(300);
            config.quic.handshake_timeout = secs(60);
        });
        let connector =
            if let Some(nat) = any_nat(&mut rng) { connector.behind(nat) } else { connector }.start();
        let streams = Vec::new();
        let mut story = Self { world, rng, relay, gateway, connector, streams, restarted: false };
        // A cut may well outlast a handshake; a connection that stands must sit it out.
        story.open("tcp://echo:7");
        story.world.run_until_quiet();
        story
    }

    fn act(&mut self) {
        match self.rng.below(10) {
            0..=4 => self.open("tcp://echo:7"),
            5 => self.open("tcp://source:19"),
            6 => self.open("tcp://fragile:1"),
            7 => self.hang_up(),
            8 => self.break_something(),
            _ => {}
        }
        let pause = Duration::from_millis(u64::from(self.rng.below(400)));
        self.world.run_for(pause);
    }

    fn open(&mut self, target: &str) {
        let stream = self.world.open(self.connector, self.gateway, target);
        let len = self.rng.below(60_000) as usize;
        self.world.transfer(stream, len);
        let source = target.contains("source").then_some(&SOURCE[..]);
        let doomed = target.contains("fragile");
        self.streams.push(Opened { stream, source, doomed });
    }

    fn hang_up(&mut self) {
        let count = u32::try_from(self.streams.len()).expect("few");
        if count > 0 {
            let opened = &mut self.streams[self.rng.below(count) as usize];
            opened.doomed = true;
            self.world.hang_up(opened.stream);
        }
    }

    fn break_something(&mut self) {
        match self.rng.below(12) {
            0..=2 => {
                self.world.set_cut(self.relay, true);
                let pause = u64::from(self.rng.below(2_000));
                self.world.run_for(Duration::from_millis(pause));
                self.world.set_cut(self.relay, false);
            }
            3 | 4 => self.world.jump(self.gateway, secs(100)),
            5 | 6 => self.world.jump_back(self.connector, secs(50)),
            7..=10 => self.world.rebind(self.connector),
            _ => {
                self.restarted = true;
                self.world.restart(self.relay);
            }
        }
    }

    /// Ends the story; how many streams ended in order, and how many there were.
    fn end(mut self) -> (usize, usize) {
        self.world.run_until_quiet();
        let whole = self.streams.iter().filter(|opened| self.is_whole(opened)).count();
        self.world.run_for(secs(60));
        assert_eq!(
            (self.world.machine(self.connector).pipes(), self.world.machine(self.gateway).pipes()),
            (0, 0)
        );
        assert_eq!((self.world.open_pipes(self.connector), self.world.open_pipes(self.gateway)), (0, 0));
        (whole, self.streams.len())
    }

    /// Whether a stream ended in order. What came back is a prefix of what was to come in any case.
    fn is_whole(&self, opened: &Opened) -> bool {
        let stream = opened.stream;
        let (party, received) = (self.world.party(stream), self.world.received(stream));
        let expected = opened.source.unwrap_or(self.world.sent(stream));
        assert!(expected.starts_with(received), "{stream:?} is no prefix");
        let in_order = party.heard_end() == Some(End::Finished) && party.said_end() == Some(End::Finished);
        assert!(!in_order || received.len() == expected.len(), "{stream:?} ended in order, but short");
        assert!(in_order || opened.doomed || self.restarted, "{stream:?} was reset for no reason");
        in_order
    }
}

fn any_link(rng: &mut Rng) -> Link {
    let link = Link::of(Duration::from_millis(1 + u64::from(rng.below(60))));
    link.losing(rng.below(6).percent())
        .duplicating(rng.below(4).percent())
        .reordering(rng.below(6).percent())
        .jittering(Duration::from_millis(u64::from(rng.below(10))))
}

fn any_nat(rng: &mut Rng) -> Option<Nat> {
    let mut dependence = || Dependence::ALL[rng.below(3) as usize];
    let nat = Nat::of(dependence(), dependence());
    (rng.below(3) > 0).then_some(nat)
}

#[test]
fn every_byte_arrives_once_and_in_order_or_its_stream_is_reset() {
    let (mut whole, mut all) = (0, 0);
    for seed in 0..WORLDS {
        println!("world {seed}"); // shown when it fails
        let mut story = Story::begin(seed);
        (0..25).for_each(|_| story.act());
        let (in_order, opened) = story.end();
        whole += in_order;
        all += opened;
    }
    println!("{whole} of {all} streams ended in order");
    assert!(whole * 2 > all, "{whole} of {all} streams ended in order");
}

/// The choices of a world, independent of the world's own chances.
fn seed_of(seed: u64) -> [u8; 32] {
    let mut bytes = [1; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes
}
