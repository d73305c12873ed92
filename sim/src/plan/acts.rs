//! How steps are carried out, and how those that last are ended.

use std::time::Duration;

use super::{Act, Place, Plan, Stage, Step};
use crate::clock::secs;
use crate::link::Percent;
use crate::model::{Kind, Trouble};

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
            self.model.trouble(Trouble { at, from, until: from + step.act.lasts(), kind });
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
            Act::Burst { .. } => {
                self.bursts -= 1;
                if self.bursts == 0 {
                    self.world.set_usual_link(plan.shape.link);
                }
            }
            Act::Expire { at, .. } => self.jump(at, -PAST_ALL.as_secs().cast_signed()),
            Act::Kill { at, .. } => self.restart(at),
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
        Act::Cut { at, .. } | Act::Sleep { at, .. } => Some((Some(at), Kind::Silence)),
        Act::Burst { .. } => Some((None, Kind::Silence)),
        Act::Rebind { at } => Some((Some(at), Kind::Rebind)),
        Act::Expire { at, .. } => Some((Some(at), Kind::Expiry)),
        Act::Kill { at, .. } => Some((Some(at), Kind::Death)),
        // Streams that are hung up know it. A clock that is wrong by an hour, noise, packets that were tampered with and
        // people without a certificate are no excuse for anything.
        Act::Open { .. } | Act::HangUp { .. } | Act::Jump { .. } => None,
        Act::Noise { .. } | Act::Tamper { .. } | Act::Intrude { .. } => None,
    }
}
