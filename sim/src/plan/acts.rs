//! How steps are carried out, and how those that last are ended.

use std::time::Duration;

use super::{Act, Place, Plan, Stage, Step, Way};
use crate::clock::secs;
use crate::firewall::Firewall;
use crate::link::Percent;
use crate::model::{Kind, Trouble};
use crate::world::{Handle, World};

/// Past all validity: credentials and certificates are good for a month.
const PAST_ALL: Duration = secs(40 * 86_400);

impl Stage {
    /// Carries out a step. False where it makes no sense now: nobody is there, or the stream was never opened.
    pub(super) fn begin(&mut self, plan: &Plan, step: &Step) -> bool {
        let done = self.carry_out(plan, step);
        if done && step.act.lasts() > Duration::ZERO {
            self.lasting.push(step.number);
        }
        if done && let Some((at, kind)) = trouble_of(step.act) {
            let from = self.world.elapsed();
            // A NAT forgets everybody behind it.
            let housemates = at.filter(|_| kind == Kind::Rebind).map(|at| plan.shape.housemates(at));
            for at in housemates.map_or(vec![at], |places| places.into_iter().map(Some).collect()) {
                self.model.trouble(Trouble { at, from, until: from + step.act.lasts(), kind });
            }
        }
        done
    }

    fn carry_out(&mut self, plan: &Plan, step: &Step) -> bool {
        match step.act {
            Act::Open { by, through, goal, bytes } => {
                let there = self.is_running(Place::Connector(by));
                if there {
                    self.open(step.number, by, through, goal, bytes);
                }
                return there;
            }
            Act::HangUp { opened } => return self.hang_up(opened),
            Act::Cut { at, .. } => self.cut(at, true),
            Act::Shut { at, way, .. } => self.shut(at, way, true),
            Act::Forget { at } => {
                let has_one = plan.shape.front(at).firewall;
                if has_one {
                    self.replace_firewall(at, |_| Firewall::stateful());
                    self.reshut(at);
                }
                return has_one;
            }
            Act::Burst { loss, .. } => {
                self.bursts += 1;
                self.world.set_usual_link(plan.shape.link.losing(loss.percent()));
            }
            Act::Rebind { at } => self.rebind(at),
            Act::Jump { at, seconds } => self.jump(at, seconds),
            Act::Expire { at, .. } => self.jump(at, PAST_ALL.as_secs().cast_signed()),
            Act::Sleep { at, lasts } => {
                if !self.is_free(plan, at) {
                    return false;
                }
                self.sleep(at, lasts);
            }
            Act::Kill { at, .. } => {
                if !self.is_free(plan, at) {
                    return false;
                }
                self.kill(at);
            }
            Act::Renew { at } => {
                if !self.is_free(plan, at) {
                    return false;
                }
                self.renew(at);
            }
            Act::Noise { noise, packets } => return self.make_noise(noise, packets, step.number),
            Act::Tamper { relay, which, how } => return self.tamper(relay, which, how),
            Act::Intrude { through, how } => self.intrude(through, how),
        }
        true
    }

    /// Ends what a step began.
    pub(super) fn end(&mut self, plan: &Plan, step: &Step) {
        let Some(index) = self.lasting.iter().position(|&number| number == step.number) else { return };
        self.lasting.remove(index);
        match step.act {
            Act::Cut { at, .. } => self.cut(at, false),
            Act::Shut { at, way, .. } => self.shut(at, way, false),
            Act::Burst { .. } => {
                self.bursts -= 1;
                if self.bursts == 0 {
                    self.world.set_usual_link(plan.shape.link);
                }
            }
            Act::Expire { at, .. } => self.jump(at, -PAST_ALL.as_secs().cast_signed()),
            Act::Kill { at, wiped: false, .. } => self.restart(at),
            Act::Kill { at, wiped: true, .. } => self.reinstall(at),
            _ => {}
        }
    }

    /// Whether the machine at a place runs and does not sleep.
    fn is_free(&self, plan: &Plan, at: Place) -> bool {
        let sleeps = |step: &&Step| matches!(step.act, Act::Sleep { at: other, .. } if other == at);
        let mut sleepers = plan.steps.iter().filter(sleeps);
        self.is_running(at) && !sleepers.any(|step| self.lasting.contains(&step.number))
    }

    fn hang_up(&mut self, opened: usize) -> bool {
        let Some(fate) = self.model.fates.iter_mut().find(|fate| fate.number == opened && !fate.judged)
        else {
            return false;
        };
        let stream = fate.stream;
        if self.world.party(stream).is_over() {
            return false;
        }
        fate.hung_up = true;
        self.world.hang_up(stream);
        true
    }

    fn cut(&mut self, at: Place, cut: bool) {
        let count = self.cuts.entry(at).or_default();
        *count = if cut { *count + 1 } else { *count - 1 };
        let cut = *count > 0;
        match at {
            Place::Relay(number) => self.world.set_cut(self.relays[number], cut),
            Place::Gateway(number) => self.world.set_cut(self.gateways[number], cut),
            Place::Connector(number) => self.world.set_cut(self.connectors[number], cut),
        }
    }

    /// Shuts the firewall one more time in some way, or opens it again.
    fn shut(&mut self, at: Place, way: Way, shut: bool) {
        let (out, inward) = self.shut.entry(at).or_default();
        for count in [(out, Way::In), (inward, Way::Out)].into_iter().filter(|&(_, other)| way != other) {
            *count.0 = if shut { *count.0 + 1 } else { *count.0 - 1 };
        }
        self.reshut(at);
    }

    /// Shuts the firewall in the ways in which it is to be shut at present, and in no other.
    fn reshut(&mut self, at: Place) {
        let (out, inward) = self.shut.get(&at).copied().unwrap_or_default();
        self.replace_firewall(at, |firewall| firewall.shut(out > 0, inward > 0));
    }

    fn replace_firewall(&mut self, at: Place, by: impl FnOnce(Firewall) -> Firewall) {
        fn replace<M>(world: &mut World, on: Handle<M>, by: impl FnOnce(Firewall) -> Firewall) {
            let before = world.firewall(on).cloned().unwrap_or_else(Firewall::open);
            world.set_firewall(on, Some(by(before)));
        }
        match at {
            Place::Relay(number) => replace(&mut self.world, self.relays[number], by),
            Place::Gateway(number) => replace(&mut self.world, self.gateways[number], by),
            Place::Connector(number) => replace(&mut self.world, self.connectors[number], by),
        }
    }

    fn rebind(&mut self, at: Place) {
        match at {
            Place::Relay(number) => self.world.rebind(self.relays[number]),
            Place::Gateway(number) => self.world.rebind(self.gateways[number]),
            Place::Connector(number) => self.world.rebind(self.connectors[number]),
        }
    }

    fn jump(&mut self, at: Place, seconds: i64) {
        let by = Duration::from_secs(seconds.unsigned_abs());
        match (at, seconds >= 0) {
            (Place::Relay(number), true) => self.world.jump(self.relays[number], by),
            (Place::Relay(number), false) => self.world.jump_back(self.relays[number], by),
            (Place::Gateway(number), true) => self.world.jump(self.gateways[number], by),
            (Place::Gateway(number), false) => self.world.jump_back(self.gateways[number], by),
            (Place::Connector(number), true) => self.world.jump(self.connectors[number], by),
            (Place::Connector(number), false) => self.world.jump_back(self.connectors[number], by),
        }
    }

    fn sleep(&mut self, at: Place, lasts: Duration) {
        match at {
            Place::Relay(number) => self.world.sleep(self.relays[number], lasts),
            Place::Gateway(number) => self.world.sleep(self.gateways[number], lasts),
            Place::Connector(number) => self.world.sleep(self.connectors[number], lasts),
        }
    }

    fn kill(&mut self, at: Place) {
        match at {
            Place::Relay(number) => self.world.kill(self.relays[number]),
            Place::Gateway(number) => self.world.kill(self.gateways[number]),
            Place::Connector(number) => {
                self.orphan(number);
                self.world.kill(self.connectors[number]);
            }
        }
    }

    /// Relays have no papers.
    fn renew(&mut self, at: Place) {
        match at {
            Place::Relay(_) => {}
            Place::Gateway(number) => self.world.renew(self.gateways[number]),
            Place::Connector(number) => self.world.renew(self.connectors[number]),
        }
    }

    /// A relay has its secrets from its configuration, and so it has them again.
    fn reinstall(&mut self, at: Place) {
        match at {
            Place::Relay(number) => self.world.restart(self.relays[number]),
            Place::Gateway(number) => self.world.reinstall(self.gateways[number]),
            Place::Connector(number) => self.world.reinstall(self.connectors[number]),
        }
    }

    fn restart(&mut self, at: Place) {
        match at {
            Place::Relay(number) => self.world.restart(self.relays[number]),
            Place::Gateway(number) => self.world.restart(self.gateways[number]),
            Place::Connector(number) => self.world.restart(self.connectors[number]),
        }
    }
}

/// What a step may be blamed for.
fn trouble_of(act: Act) -> Option<(Option<Place>, Kind)> {
    match act {
        Act::Cut { at, .. } | Act::Sleep { at, .. } | Act::Shut { at, .. } => Some((Some(at), Kind::Silence)),
        Act::Forget { at } => Some((Some(at), Kind::Forgetting)),
        Act::Burst { .. } => Some((None, Kind::Silence)),
        Act::Rebind { at } => Some((Some(at), Kind::Rebind)),
        Act::Expire { at, .. } => Some((Some(at), Kind::Expiry)),
        Act::Kill { at, .. } => Some((Some(at), Kind::Death)),
        // Streams that are hung up know it. A clock that is wrong by an hour, other papers, noise, packets that were
        // tampered with and people without a certificate are no excuse for anything.
        Act::Open { .. } | Act::HangUp { .. } | Act::Jump { .. } | Act::Renew { .. } => None,
        Act::Noise { .. } | Act::Tamper { .. } | Act::Intrude { .. } => None,
    }
}
