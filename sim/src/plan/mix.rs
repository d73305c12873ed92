//! The standard mix of faults: what a seed makes of a world.

use std::time::Duration;

use adit_core::rand::Rng;

use super::{
    Act, Behind, Front, Goal, HomeKind, Intruder, NatKind, Noise, Place, Plan, Shape, Step, Tampering, Way,
};
use crate::link::{Link, Percent};
use crate::nat::Dependence;

/// Draws what one kind of step needs.
type Make<'a> = fn(&mut Draw<'a>) -> Act;

/// By how many seconds clocks are set back in a plan at most, all together: certificates are dated back by ten minutes.
const MOST_BACK: u32 = 480;

impl Plan {
    /// The plan of `seed` by the standard mix: one to three of each kind of machine, behind NATs of any kind and
    /// firewalls, some of them at home together, links that lose up to 3 %, and 8 to 31 steps within a minute or two.
    pub fn standard(seed: u64) -> Self {
        let mut rng = Rng::new(seed_of(seed));
        Self::chosen(seed, |bound| rng.below(bound))
    }

    /// A plan of the standard mix where somebody else makes the choices: `choose` is given a bound, never 0, and returns
    /// a number below it. The chances in the world are those of `seed`.
    pub fn chosen(seed: u64, mut choose: impl FnMut(u32) -> u32) -> Self {
        let mut draw = Draw::new(&mut choose);
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

/// The choices that somebody makes.
struct Choices<'a>(&'a mut dyn FnMut(u32) -> u32);

impl Choices<'_> {
    fn below(&mut self, bound: u32) -> u32 {
        (self.0)(bound)
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == 0
    }

    fn index(&mut self, count: usize) -> usize {
        self.below(u32::try_from(count).expect("small")) as usize
    }

    fn any<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    fn ms(&mut self, most: u32) -> Duration {
        Duration::from_millis(self.below(most).into())
    }
}

/// The shape of a plan.
impl Choices<'_> {
    fn shape(&mut self) -> Shape {
        let link = Link::of(Duration::from_millis(1) + self.ms(50))
            .jittering(self.ms(8))
            .losing(self.below(4).percent())
            .duplicating(self.below(4).percent())
            .reordering(self.below(5).percent());
        // In half of all plans some are at home together.
        let home = self.one_in(2);
        Shape {
            relays: self.count(),
            home: HomeKind { nat: self.nat(), hairpins: self.one_in(2) },
            gateways: (0..self.count()).map(|_| self.front(home)).collect(),
            connectors: (0..self.count()).map(|_| self.front(home)).collect(),
            link,
        }
    }

    fn count(&mut self) -> usize {
        self.any(&[1, 1, 2, 3])
    }

    /// Two in three are behind a NAT, one in four behind a firewall of its own.
    fn front(&mut self, home: bool) -> Front {
        let behind = match self.below(6) {
            0 | 1 => Behind::Nothing,
            2 | 3 if home => Behind::Home,
            _ => Behind::Nat(self.nat()),
        };
        Front { firewall: self.one_in(4), behind }
    }

    /// Its patience is 30 s at least, the shortest that is common; RFC 4787 asks for more.
    fn nat(&mut self) -> NatKind {
        let (mapping, filtering) = (self.any(&Dependence::ALL), self.any(&Dependence::ALL));
        NatKind { mapping, filtering, expiry: Duration::from_secs(self.any(&[30, 60, 120])) }
    }
}

/// Draws the steps of one plan.
struct Draw<'a> {
    choices: Choices<'a>,
    shape: Shape,
    opened: Vec<usize>,
    number: usize,
    /// By how many seconds clocks were set back.
    back: u32,
}

impl<'a> Draw<'a> {
    /// What is drawn for a step, with its weight. The weights add up to 100. More than a third of all steps open streams:
    /// most faults show themselves on streams only. Next come the faults that everybody meets every day, lost packets and
    /// cuts, firewalls and NATs that forget; what ends most streams, deaths and expiry, is rare, or it would excuse the
    /// others.
    const WEIGHTS: [(u32, Make<'a>); 15] = [
        (38, Self::open),
        (6, Self::hang_up),
        (7, Self::cut),
        (5, Self::shut),
        (2, Self::forget),
        (5, Self::burst),
        (6, Self::rebind),
        (5, Self::jump),
        (3, Self::expire),
        (4, Self::sleep),
        (5, Self::kill),
        (5, Self::renew),
        (3, Self::noise),
        (4, Self::tamper),
        (2, Self::intrude),
    ];

    fn new(choose: &'a mut dyn FnMut(u32) -> u32) -> Self {
        let mut choices = Choices(choose);
        let shape = choices.shape();
        Self { choices, shape, opened: Vec::new(), number: 0, back: 0 }
    }

    fn steps(&mut self) -> Vec<Step> {
        let count = 8 + self.choices.index(24);
        let mut at = Duration::ZERO;
        let step = |number| {
            self.number = number;
            // Half of the steps come within the life of the one before, the others when it has long settled.
            let pause = self.choices.any(&[300, 6_000]);
            at += self.choices.ms(pause);
            let act = self.act();
            Step { number, at, act }
        };
        (0..count).map(step).collect()
    }

    fn act(&mut self) -> Act {
        let mut left = self.choices.below(100);
        for (weight, make) in Self::WEIGHTS {
            if left < weight {
                return make(self);
            }
            left -= weight;
        }
        unreachable!("the weights add up to 100")
    }

    fn open(&mut self) -> Act {
        self.opened.push(self.number);
        let goal = match self.choices.below(20) {
            0..=10 => Goal::Echo,
            11..=13 => Goal::Sink,
            14..=16 => Goal::Source,
            17 => Goal::Fragile,
            18 => Goal::Closed,
            _ => Goal::Forbidden,
        };
        let most = if self.choices.one_in(8) { 300_000 } else { 20_000 };
        Act::Open { by: self.connector(), through: self.gateway(), goal, bytes: self.choices.index(most) }
    }

    fn hang_up(&mut self) -> Act {
        match self.opened.is_empty() {
            true => self.open(),
            false => Act::HangUp { opened: self.choices.any(&self.opened) },
        }
    }

    fn cut(&mut self) -> Act {
        Act::Cut { at: self.place(), lasts: self.time() }
    }

    fn shut(&mut self) -> Act {
        let way = self.choices.any(&[Way::Both, Way::Out, Way::In]);
        // Firewalls that are set wrong for long are like cuts; what is new is one way only.
        let lasts = if self.choices.one_in(8) { self.time() } else { self.short() };
        Act::Shut { at: self.agent(), way, lasts }
    }

    /// Where nobody has a firewall, a NAT forgets.
    fn forget(&mut self) -> Act {
        let gateways = (0..self.shape.gateways.len()).map(Place::Gateway);
        let connectors = (0..self.shape.connectors.len()).map(Place::Connector);
        let has_firewall = |at: &Place| self.shape.front(*at).firewall;
        let places: Vec<_> = gateways.chain(connectors).filter(has_firewall).collect();
        if places.is_empty() { self.rebind() } else { Act::Forget { at: self.choices.any(&places) } }
    }

    fn burst(&mut self) -> Act {
        Act::Burst { loss: 10 + self.choices.below(60), lasts: self.short() }
    }

    fn rebind(&mut self) -> Act {
        let gateway = self.choices.one_in(3);
        Act::Rebind {
            at: if gateway { Place::Gateway(self.gateway()) } else { Place::Connector(self.connector()) },
        }
    }

    /// Far less than anything is good for.
    fn jump(&mut self) -> Act {
        let left = MOST_BACK - self.back;
        let seconds = if left == 0 || self.choices.one_in(2) {
            i64::from(self.choices.below(3600))
        } else {
            let back = self.choices.below(left.min(60));
            self.back += back;
            -i64::from(back)
        };
        Act::Jump { at: self.place(), seconds }
    }

    fn expire(&mut self) -> Act {
        Act::Expire { at: self.place(), lasts: self.time() }
    }

    fn sleep(&mut self) -> Act {
        Act::Sleep { at: self.place(), lasts: self.time() }
    }

    /// One agent in three loses its disk as well.
    fn kill(&mut self) -> Act {
        let at = self.place();
        let wiped = !matches!(at, Place::Relay(_)) && self.choices.one_in(3);
        Act::Kill { at, down: self.time(), wiped }
    }

    fn renew(&mut self) -> Act {
        Act::Renew { at: self.agent() }
    }

    fn noise(&mut self) -> Act {
        let noise = [Noise::ToRelayed, Noise::Allocate, Noise::Junk, Noise::Handshake, Noise::ToConnector];
        Act::Noise { noise: self.choices.any(&noise), packets: 1 + self.choices.index(20) }
    }

    fn tamper(&mut self) -> Act {
        let how = match self.choices.below(5) {
            0 => Tampering::Again,
            1 | 2 => Tampering::Flipped { bit: self.choices.below(1_000_000) },
            3 => Tampering::Short { left: self.choices.below(1_000_000) },
            _ => Tampering::Moved,
        };
        let relay = self.choices.index(self.shape.relays);
        Act::Tamper { relay, which: self.choices.below(1_000_000), how }
    }

    fn intrude(&mut self) -> Act {
        let how = [
            Intruder::Forged,
            Intruder::Expired,
            Intruder::NotYet,
            Intruder::Elsewhere,
            Intruder::Restricted,
        ];
        Act::Intrude { through: self.gateway(), how: self.choices.any(&how) }
    }

    /// Mostly a moment that is sat out, now and then longer than a connection lives.
    fn time(&mut self) -> Duration {
        if self.choices.one_in(4) {
            Duration::from_secs(20 + u64::from(self.choices.below(40)))
        } else {
            self.short()
        }
    }

    fn short(&mut self) -> Duration {
        Duration::from_millis(100) + self.choices.ms(3_000)
    }

    fn place(&mut self) -> Place {
        match self.choices.below(3) {
            0 => Place::Relay(self.choices.index(self.shape.relays)),
            1 => Place::Gateway(self.gateway()),
            _ => Place::Connector(self.connector()),
        }
    }

    fn agent(&mut self) -> Place {
        match self.choices.below(2) {
            0 => Place::Gateway(self.gateway()),
            _ => Place::Connector(self.connector()),
        }
    }

    fn gateway(&mut self) -> usize {
        self.choices.index(self.shape.gateways.len())
    }

    fn connector(&mut self) -> usize {
        self.choices.index(self.shape.connectors.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_add_up() {
        assert_eq!(Draw::WEIGHTS.iter().map(|&(weight, _)| weight).sum::<u32>(), 100);
    }

    #[test]
    fn whatever_is_chosen_clocks_are_not_set_back_beyond_all_validity() {
        let back_again_and_again = |bound: u32| if bound == 100 { 70 } else { bound - 1 };
        let plans = [Plan::chosen(1, back_again_and_again), Plan::chosen(1, |_| 0)];
        assert!(plans[0].steps.iter().all(|step| matches!(step.act, Act::Jump { seconds: ..=0, .. })));
        let seeds = (0..200).map(Plan::standard);
        for plan in plans.into_iter().chain(seeds) {
            let back = |step: &Step| match step.act {
                Act::Jump { seconds, .. } => u64::try_from(-seconds).unwrap_or(0),
                _ => 0,
            };
            assert!(plan.steps.iter().map(back).sum::<u64>() <= MOST_BACK.into());
        }
    }

    #[test]
    fn the_mix_has_everything() {
        let plans: Vec<_> = (0..200).map(Plan::standard).collect();
        let steps = || plans.iter().flat_map(|plan| &plan.steps).map(|step| step.act);
        let kinds: std::collections::HashSet<_> = steps().map(|act| std::mem::discriminant(&act)).collect();
        assert_eq!(kinds.len(), Draw::WEIGHTS.len());
        assert!(steps().any(|act| matches!(act, Act::Kill { wiped: true, .. })));
        let at_home = |plan: &&Plan| plan.shape.housemates(Place::Connector(0)).len() > 1;
        assert!(plans.iter().filter(at_home).count() > 10);
    }
}
