//! Plays a plan from its beginning to the end, with the laws looking on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use adit_core::connector::Connector;
use adit_core::gateway::Gateway;

use super::{Act, Goal, Place, Plan, Stage, Step};
use crate::clock::secs;
use crate::invariants::{Broken, Law, Laws, Rest};

/// How much happens between two looks, at most, while there is something going on.
const GLANCE: Duration = Duration::from_millis(500);
/// How long streams may take to end when nothing is done to them any more.
const PATIENCE: Duration = secs(900);
/// After how long everything has recovered, the longest pause of a gateway before it tries a relay again included.
const RECOVERY: Duration = secs(160);
/// How much of that is taken as rest.
const REST: Duration = secs(60);
/// After how long a relay has forgotten what nobody refreshes: the lifetime of an allocation, and some.
const FORGETTING: Duration = secs(700);
/// The numbers of the streams that look whether all is well again.
const LAST: usize = 1_000_000;

/// What became of a plan that broke no law. Equal for equal plans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// The hash of all packets; see [`Trace`](crate::Trace).
    pub hash: u64,
    /// How many packets there were.
    pub packets: u64,
    /// How many streams ended as they should.
    pub whole: usize,
    /// How many need not have, and did not.
    pub excused: usize,
}

/// A law of a caller's own: it looks at the world after each step, and says what is wrong.
type Own<'a> = Box<dyn FnMut(&Stage, &Step) -> Option<String> + 'a>;

/// A plan that is about to be played.
pub struct Play<'a> {
    plan: &'a Plan,
    tell: Box<dyn FnMut(&str) + 'a>,
    own: Vec<Own<'a>>,
    allowed: Vec<String>,
}

impl Plan {
    /// Plays it by the laws.
    ///
    /// # Errors
    /// The first law that is broken.
    pub fn play(&self) -> Result<Outcome, Broken> {
        Play::of(self).run()
    }
}

impl<'a> Play<'a> {
    /// A play by the laws, without a word.
    pub fn of(plan: &'a Plan) -> Self {
        Self { plan, tell: Box::new(|_| {}), own: Vec::new(), allowed: Vec::new() }
    }

    /// Tells what happens, line by line.
    pub fn telling(mut self, tell: impl FnMut(&str) + 'a) -> Self {
        self.tell = Box::new(tell);
        self
    }

    /// Adds a law, which is asked after each step.
    pub fn also(mut self, law: impl FnMut(&Stage, &Step) -> Option<String> + 'a) -> Self {
        self.own.push(Box::new(law));
        self
    }

    /// Lets the gateways allow one more target, be it a wrong one.
    pub fn allowing(mut self, rule: &str) -> Self {
        self.allowed.push(rule.to_owned());
        self
    }

    /// Plays it.
    ///
    /// # Errors
    /// The first law that is broken.
    pub fn run(mut self) -> Result<Outcome, Broken> {
        let played = catch_unwind(AssertUnwindSafe(|| self.play()));
        played.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let how = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Err(Broken { law: Law::Panic, at: Duration::ZERO, how: how.unwrap_or_default() })
        })
    }

    fn play(&mut self) -> Result<Outcome, Broken> {
        let mut stage = Stage::build(self.plan, &self.allowed);
        let mut laws = Laws::default();
        if !stage.get_ready() {
            return broken(&stage, Law::Recovery, "no allocation in five minutes");
        }
        laws.look(&mut stage)?;
        self.steps(&mut stage, &mut laws)?;
        self.streams_end(&mut stage, &mut laws, PATIENCE)?;
        Laws::look_into_relays(&stage)?;
        self.recover(&mut stage, &mut laws)?;
        self.leave(&mut stage, &mut laws)?;
        let (whole, excused) = laws.tally();
        let trace = stage.world.trace();
        Ok(Outcome { hash: trace.hash(), packets: trace.packets(), whole, excused })
    }

    /// Every step at its time, and its end where it lasts.
    fn steps(&mut self, stage: &mut Stage, laws: &mut Laws) -> Result<(), Broken> {
        let start = stage.world.elapsed();
        let begins = self.plan.steps.iter().map(|step| (step.at, false, step));
        let lasting = self.plan.steps.iter().filter(|step| step.act.lasts() > Duration::ZERO);
        let ends = lasting.map(|step| (step.at + step.act.lasts(), true, step));
        let mut beats: Vec<_> = begins.chain(ends).collect();
        beats.sort_by_key(|&(at, _, step)| (at, step.number));
        for (at, ends, step) in beats {
            self.go_on(stage, laws, start + at)?;
            self.beat(stage, laws, step, ends)?;
        }
        Ok(())
    }

    fn beat(&mut self, stage: &mut Stage, laws: &mut Laws, step: &Step, ends: bool) -> Result<(), Broken> {
        let time = stage.world.elapsed().as_secs_f64();
        if ends {
            stage.end(self.plan, step);
            (self.tell)(&format!("{time:>9.3} #{:<2} is over", step.number));
        } else {
            let done = stage.begin(self.plan, step);
            let skipped = if done { "" } else { " (makes no sense now)" };
            (self.tell)(&format!("{time:>9.3} #{:<2} {}{skipped}", step.number, step.act));
        }
        if let Act::Kill { at: Place::Relay(relay), .. } = step.act
            && !stage.is_running(Place::Relay(relay))
        {
            laws.relay_died(relay);
        }
        laws.look(stage)?;
        let found = self.own.iter_mut().find_map(|law| law(stage, step));
        found.map_or(Ok(()), |how| broken(stage, Law::Own, &how))
    }

    /// Goes on until `at`, since the beginning of the world.
    fn go_on(&mut self, stage: &mut Stage, laws: &mut Laws, at: Duration) -> Result<(), Broken> {
        while stage.world.elapsed() < at {
            let left = at - stage.world.elapsed();
            // Where nobody waits for anything, one look is enough for more.
            let glance = if stage.world.all_streams_are_over() { 20 * GLANCE } else { GLANCE };
            stage.world.run_for(left.min(glance));
            self.look(stage, laws)?;
        }
        Ok(())
    }

    fn look(&mut self, stage: &mut Stage, laws: &mut Laws) -> Result<(), Broken> {
        let before: Vec<_> = stage.model.fates.iter().map(|fate| fate.judged).collect();
        laws.look(stage)?;
        let time = stage.world.elapsed().as_secs_f64();
        for (fate, _) in stage.model.fates.iter().zip(before).filter(|(fate, before)| fate.judged && !before)
        {
            let party = stage.world.party(fate.stream);
            let ends = [party.heard_end(), party.said_end()];
            (self.tell)(&format!(
                "{time:>9.3} #{:<2} ended {ends:?} after {} bytes heard{}",
                fate.number,
                party.received().len(),
                fate.failure.as_ref().map_or_else(String::new, |failure| format!(": {failure}")),
            ));
        }
        Ok(())
    }

    fn streams_end(&mut self, stage: &mut Stage, laws: &mut Laws, limit: Duration) -> Result<(), Broken> {
        let end = stage.world.elapsed() + limit;
        while !stage.world.all_streams_are_over() {
            if stage.world.elapsed() >= end {
                let open = stage.model.fates.iter().filter(|fate| !stage.world.party(fate.stream).is_over());
                let open: Vec<_> = open.map(|fate| format!("#{}", fate.number)).collect();
                return broken(stage, Law::Hang, &format!("streams {} do not end", open.join(", ")));
            }
            stage.world.run_for(2 * GLANCE);
            self.look(stage, laws)?;
        }
        Ok(())
    }

    /// After a while every connector reaches the echo through every gateway again.
    fn recover(&mut self, stage: &mut Stage, laws: &mut Laws) -> Result<(), Broken> {
        let resting = stage.world.elapsed() + RECOVERY - REST;
        self.go_on(stage, laws, resting)?;
        let rest = Rest::begin(stage);
        self.go_on(stage, laws, resting + REST)?;
        rest.end(stage)?;
        (self.tell)(&format!("{:>9.3} all is to be well again", stage.world.elapsed().as_secs_f64()));
        let gateways = self.plan.shape.gateways.len();
        for pair in 0..gateways * self.plan.shape.connectors.len() {
            stage.open(LAST + pair, pair / gateways, pair % gateways, Goal::Echo, 3_000);
        }
        self.streams_end(stage, laws, PATIENCE)
    }

    /// Everybody leaves, and nothing is left.
    fn leave(&mut self, stage: &mut Stage, laws: &mut Laws) -> Result<(), Broken> {
        (self.tell)(&format!("{:>9.3} everybody leaves", stage.world.elapsed().as_secs_f64()));
        let intruders: Vec<_> = stage.intruders.iter().map(|&(intruder, _)| intruder).collect();
        for connector in stage.connectors.clone().into_iter().chain(intruders) {
            stage.world.call(connector, Connector::close);
        }
        // Where a goodbye was lost, the other end waits for another word.
        stage.world.run_for(secs(40));
        for gateway in stage.gateways.clone() {
            stage.world.call(gateway, Gateway::close);
        }
        laws.look(stage)?;
        stage.world.run_for(FORGETTING);
        laws.look(stage)?;
        Laws::look_for_leaks(stage)
    }
}

fn broken<T>(stage: &Stage, law: Law, how: &str) -> Result<T, Broken> {
    Err(Broken { law, at: stage.world.elapsed(), how: how.to_owned() })
}
