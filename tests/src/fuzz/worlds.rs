//! Whole worlds: a relay, a gateway and a connector, streams between them, and what may happen to them.
//!
//! Every stream brings what was said, in order and once, up to its end or to a reset; in the end nothing is left.

use std::time::Duration;

use adit_core::connector::Connector;
use adit_core::gateway::Gateway;
use adit_core::relay::Relay;
use adit_sim::{Dependence, End, Handle, Link, Nat, Packet, Percent, Stream, World, secs};
use arbitrary::{Arbitrary, Unstructured};

const MOST_STEPS: usize = 12;
const MOST_STREAMS: usize = 6;

/// What may happen in a world.
#[derive(Debug, Arbitrary)]
enum Step {
    Open {
        len: u16,
    },
    HangUp {
        stream: u8,
    },
    Cut {
        whom: u8,
        milliseconds: u16,
    },
    Rebind {
        gateway: bool,
    },
    Jump {
        whom: u8,
        seconds: u16,
        back: bool,
    },
    Sleep {
        whom: u8,
        milliseconds: u16,
    },
    RestartRelay,
    /// A datagram that was seen before arrives again, perhaps changed.
    Replay {
        whom: u8,
        which: u16,
        at: u16,
        bits: u8,
    },
    Wait {
        milliseconds: u16,
    },
}

/// Runs the world that `bytes` stand for.
pub fn worlds(bytes: &[u8]) {
    let mut unstructured = Unstructured::new(bytes);
    let mut story = Story::begin(unstructured.arbitrary().unwrap_or_default());
    let steps = unstructured.arbitrary_iter::<Step>().into_iter().flatten().flatten();
    for step in steps.take(MOST_STEPS) {
        story.run(step);
    }
    story.end();
}

struct Story {
    world: World,
    relay: Handle<Relay>,
    gateway: Handle<Gateway>,
    connector: Handle<Connector>,
    streams: Vec<Stream>,
}

impl Story {
    /// `shape`: the seed, the network, and the NATs of gateway and connector.
    fn begin([seed, loss, jitter, nats]: [u8; 4]) -> Self {
        let mut world = World::seeded(seed.into());
        let link = Link::of(Duration::from_millis(1 + u64::from(jitter % 60)));
        let link = link.losing(u32::from(loss % 6).percent()).duplicating(u32::from(loss / 64).percent());
        world.set_usual_link(link.jittering(Duration::from_millis(u64::from(jitter / 26))));
        let relay = world.relay("a");
        let builder = world.gateway("gw");
        let gateway = match nat(nats & 0xF) {
            Some(nat) => builder.behind(nat).on([relay]),
            None => builder.on([relay]),
        };
        let builder = world.connector();
        let connector = match nat(nats >> 4) {
            Some(nat) => builder.behind(nat).start(),
            None => builder.start(),
        };
        world.capture(relay);
        world.capture(gateway);
        Self { world, relay, gateway, connector, streams: Vec::new() }
    }

    fn run(&mut self, step: Step) {
        let world = &mut self.world;
        match step {
            Step::Open { len } if self.streams.len() < MOST_STREAMS => {
                let stream = world.open(self.connector, self.gateway, "tcp://echo:7");
                world.transfer(stream, len.into());
                self.streams.push(stream);
            }
            Step::HangUp { stream } if !self.streams.is_empty() => {
                world.hang_up(self.streams[usize::from(stream) % self.streams.len()]);
            }
            Step::Open { .. } | Step::HangUp { .. } => {}
            Step::Cut { whom, milliseconds } => self.cut(whom, Duration::from_millis(milliseconds.into())),
            Step::Rebind { gateway: true } => world.rebind(self.gateway),
            Step::Rebind { gateway: false } => world.rebind(self.connector),
            Step::Jump { whom, seconds, back } => self.jump(whom, secs(seconds.into()), back),
            Step::Sleep { whom, milliseconds } => {
                self.sleep(whom, Duration::from_millis(milliseconds.into()));
            }
            Step::RestartRelay => world.restart(self.relay),
            Step::Replay { whom, which, at, bits } => self.replay(whom, which, (at, bits)),
            Step::Wait { milliseconds } => world.run_for(Duration::from_millis(milliseconds.into())),
        }
        self.world.run_for(Duration::from_millis(20));
    }

    fn cut(&mut self, whom: u8, time: Duration) {
        for cut in [true, false] {
            match whom % 3 {
                0 => self.world.set_cut(self.relay, cut),
                1 => self.world.set_cut(self.gateway, cut),
                _ => self.world.set_cut(self.connector, cut),
            }
            self.world.run_for(if cut { time } else { Duration::ZERO });
        }
    }

    fn jump(&mut self, whom: u8, by: Duration, back: bool) {
        match (whom % 3, back) {
            (0, false) => self.world.jump(self.relay, by),
            (0, true) => self.world.jump_back(self.relay, by),
            (1, false) => self.world.jump(self.gateway, by),
            (1, true) => self.world.jump_back(self.gateway, by),
            (_, false) => self.world.jump(self.connector, by),
            (_, true) => self.world.jump_back(self.connector, by),
        }
    }

    fn sleep(&mut self, whom: u8, time: Duration) {
        match whom % 3 {
            0 => self.world.sleep(self.relay, time),
            1 => self.world.sleep(self.gateway, time),
            _ => self.world.sleep(self.connector, time),
        }
        self.world.run_for(time);
    }

    fn replay(&mut self, whom: u8, which: u16, (at, bits): (u16, u8)) {
        let seen = match whom % 2 {
            0 => self.world.captured(self.relay),
            _ => self.world.captured(self.gateway),
        };
        if seen.is_empty() {
            return;
        }
        let mut packet: Packet = seen[usize::from(which) % seen.len()].clone();
        if !packet.payload.is_empty() {
            let at = usize::from(at) % packet.payload.len();
            packet.payload[at] ^= bits;
        }
        self.world.inject(packet);
    }

    fn end(mut self) {
        self.world.run_until_quiet();
        for &stream in &self.streams {
            let (party, received) = (self.world.party(stream), self.world.received(stream));
            assert!(self.world.sent(stream).starts_with(received), "{stream:?} is no prefix");
            let in_order =
                party.heard_end() == Some(End::Finished) && party.said_end() == Some(End::Finished);
            assert!(!in_order || received.len() == self.world.sent(stream).len(), "{stream:?} ended short");
        }
        self.world.run_for(secs(60));
        assert_eq!(self.world.open_pipes(self.connector), 0);
        assert_eq!(self.world.open_pipes(self.gateway), 0);
        assert_eq!(self.world.machine(self.connector).pipes(), 0);
        assert_eq!(self.world.machine(self.gateway).pipes(), 0);
        self.world.machine(self.relay).check();
    }
}

fn nat(kind: u8) -> Option<Nat> {
    let mapping = *Dependence::ALL.get(usize::from(kind & 3))?;
    Some(Nat::of(mapping, Dependence::ALL[usize::from(kind >> 2) % 3]))
}
