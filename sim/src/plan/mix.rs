//! The standard mix of faults: what a seed makes of a world.

use std::time::Duration;

use adit_core::rand::Rng;

use super::{Act, Goal, Intruder, NatKind, Noise, Place, Plan, Shape, Step, Tampering};
use crate::link::{Link, Percent};
use crate::nat::Dependence;

/// Draws what one kind of step needs.
type Make = fn(&mut Draw) -> Act;

/// What is drawn for a step, with its weight. The weights add up to 100. More than a third of all steps open streams:
/// most faults show themselves on streams only. Next come the faults that everybody meets every day, lost packets and
/// cuts and NATs that forget; what ends most streams, deaths and expiry, is rare, or it would excuse the others.
const WEIGHTS: [(u32, Make); 12] = [
    (38, Draw::open),
    (7, Draw::hang_up),
    (9, Draw::cut),
    (6, Draw::burst),
    (7, Draw::rebind),
    (6, Draw::jump),
    (3, Draw::expire),
    (4, Draw::sleep),
    (5, Draw::kill),
    (5, Draw::noise),
    (7, Draw::tamper),
    (3, Draw::intrude),
];

impl Plan {
    /// The plan of `seed` by the standard mix: one to three of each kind of machine, behind NATs of any kind, links that
    /// lose up to 3 %, and 8 to 31 steps within a minute or two.
    pub fn standard(seed: u64) -> Self {
        let mut rng = Rng::new(seed_of(seed));
        let shape = shape(&mut rng);
        let mut draw = Draw { rng, shape, opened: Vec::new(), number: 0 };
        let steps = draw.steps();
        Self { seed, shape: draw.shape, steps }
    }
}

/// The choices of a plan, independent of the chances in its world.
fn seed_of(seed: u64) -> [u8; 32] {
    let mut bytes = [0x91; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    bytes
}

fn shape(rng: &mut Rng) -> Shape {
    let count = |rng: &mut Rng| [1, 1, 2, 3][rng.below(4) as usize];
    let nats = |rng: &mut Rng| (0..count(rng)).map(|_| nat(rng)).collect();
    let ms = |rng: &mut Rng, most| Duration::from_millis(u64::from(rng.below(most)));
    let link = Link::of(Duration::from_millis(1) + ms(rng, 50))
        .jittering(ms(rng, 8))
        .losing(rng.below(4).percent())
        .duplicating(rng.below(4).percent())
        .reordering(rng.below(5).percent());
    Shape { relays: count(rng), gateways: nats(rng), connectors: nats(rng), link }
}

/// Two in three are behind a NAT. Its patience is 30 s at least, the shortest that is common; RFC 4787 asks for more.
fn nat(rng: &mut Rng) -> Option<NatKind> {
    let mut any = || Dependence::ALL[rng.below(3) as usize];
    let (mapping, filtering) = (any(), any());
    let expiry = Duration::from_secs([30, 60, 120][rng.below(3) as usize]);
    (rng.below(3) > 0).then_some(NatKind { mapping, filtering, expiry })
}

/// Draws the steps of one plan.
struct Draw {
    rng: Rng,
    shape: Shape,
    opened: Vec<usize>,
    number: usize,
}

impl Draw {
    fn steps(&mut self) -> Vec<Step> {
        let count = 8 + self.below(24);
        let mut at = Duration::ZERO;
        let step = |number| {
            self.number = number;
            // Half of the steps come within the life of the one before, the others when it has long settled.
            let pause = if self.below(2) == 0 { 300 } else { 6_000 };
            at += Duration::from_millis(self.rng.below(pause).into());
            let act = self.act();
            Step { number, at, act }
        };
        (0..count).map(step).collect()
    }

    fn act(&mut self) -> Act {
        let mut left = self.rng.below(100);
        for (weight, make) in WEIGHTS {
            if left < weight {
                return make(self);
            }
            left -= weight;
        }
        unreachable!("the weights add up to 100")
    }

    fn open(&mut self) -> Act {
        self.opened.push(self.number);
        let goal = match self.below(20) {
            0..=10 => Goal::Echo,
            11..=13 => Goal::Sink,
            14..=16 => Goal::Source,
            17 => Goal::Fragile,
            18 => Goal::Closed,
            _ => Goal::Forbidden,
        };
        let most = if self.below(8) == 0 { 300_000 } else { 20_000 };
        Act::Open { by: self.connector(), through: self.gateway(), goal, bytes: self.below(most) }
    }

    fn hang_up(&mut self) -> Act {
        match self.opened.len() {
            0 => self.open(),
            count => {
                let index = self.below(count);
                Act::HangUp { opened: self.opened[index] }
            }
        }
    }

    fn cut(&mut self) -> Act {
        Act::Cut { at: self.place(), lasts: self.time() }
    }

    fn burst(&mut self) -> Act {
        Act::Burst { loss: 10 + self.rng.below(60), lasts: self.short() }
    }

    fn rebind(&mut self) -> Act {
        let gateway = self.below(3) == 0;
        Act::Rebind {
            at: if gateway { Place::Gateway(self.gateway()) } else { Place::Connector(self.connector()) },
        }
    }

    /// Far less than anything is good for, and back by less than certificates are dated back.
    fn jump(&mut self) -> Act {
        let seconds =
            if self.below(2) == 0 { i64::from(self.rng.below(3600)) } else { -i64::from(self.rng.below(60)) };
        Act::Jump { at: self.place(), seconds }
    }

    fn expire(&mut self) -> Act {
        Act::Expire { at: self.place(), lasts: self.time() }
    }

    fn sleep(&mut self) -> Act {
        Act::Sleep { at: self.place(), lasts: self.time() }
    }

    fn kill(&mut self) -> Act {
        Act::Kill { at: self.place(), down: self.time() }
    }

    fn noise(&mut self) -> Act {
        let noise = [Noise::ToRelayed, Noise::Allocate, Noise::Junk, Noise::Handshake, Noise::ToConnector];
        Act::Noise { noise: noise[self.below(noise.len())], packets: 1 + self.below(20) }
    }

    fn tamper(&mut self) -> Act {
        let how = match self.below(5) {
            0 => Tampering::Again,
            1 | 2 => Tampering::Flipped { bit: self.rng.below(1_000_000) },
            3 => Tampering::Short { left: self.rng.below(1_000_000) },
            _ => Tampering::Moved,
        };
        Act::Tamper { relay: self.below(self.shape.relays), which: self.rng.below(1_000_000), how }
    }

    fn intrude(&mut self) -> Act {
        let how = [
            Intruder::Forged,
            Intruder::Expired,
            Intruder::NotYet,
            Intruder::Elsewhere,
            Intruder::Restricted,
        ];
        Act::Intrude { through: self.gateway(), how: how[self.below(how.len())] }
    }

    /// Mostly a moment that is sat out, now and then longer than a connection lives.
    fn time(&mut self) -> Duration {
        if self.below(4) == 0 {
            Duration::from_secs(20 + u64::from(self.rng.below(40)))
        } else {
            self.short()
        }
    }

    fn short(&mut self) -> Duration {
        Duration::from_millis(100 + u64::from(self.rng.below(3_000)))
    }

    fn place(&mut self) -> Place {
        match self.below(3) {
            0 => Place::Relay(self.below(self.shape.relays)),
            1 => Place::Gateway(self.gateway()),
            _ => Place::Connector(self.connector()),
        }
    }

    fn gateway(&mut self) -> usize {
        self.below(self.shape.gateways.len())
    }

    fn connector(&mut self) -> usize {
        self.below(self.shape.connectors.len())
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.below(u32::try_from(bound).expect("small")) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_add_up_and_every_kind_of_step_comes_up() {
        assert_eq!(WEIGHTS.iter().map(|(weight, _)| weight).sum::<u32>(), 100);
        let steps: Vec<_> = (0..200).flat_map(|seed| Plan::standard(seed).steps).collect();
        let mut kinds: Vec<_> = steps.iter().map(|step| std::mem::discriminant(&step.act)).collect();
        kinds.dedup();
        let distinct = kinds.iter().enumerate().filter(|&(at, kind)| !kinds[..at].contains(kind)).count();
        assert_eq!(distinct, WEIGHTS.len());
    }

    #[test]
    fn a_seed_is_one_plan() {
        assert_eq!(Plan::standard(5), Plan::standard(5));
        assert_ne!(Plan::standard(5), Plan::standard(6));
    }
}
