//! Streams: their bytes at both ends, and how they end.

use std::collections::BTreeMap;

use super::{Finding, Law};
use crate::model::{SOURCE, SOURCE_LEN, Verdict, author, script};
use crate::party::{End, Stream};
use crate::plan::{Goal, Stage};

/// What is known of the streams so far.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// How much of what each party heard was compared.
    compared: Vec<usize>,
    /// Whose bytes each target's end hears; each is heard by one only.
    heard_by: BTreeMap<u64, usize>,
    whole: usize,
    excused: usize,
}

impl Streams {
    pub(super) fn tally(&self) -> (usize, usize) {
        (self.whole, self.excused)
    }

    pub(super) fn check(&mut self, stage: &mut Stage) -> Finding {
        self.compared.resize(stage.world.parties().len(), 0);
        for index in 0..stage.model.fates.len() {
            self.application(stage, index)?;
        }
        for index in 0..self.compared.len() {
            self.target(stage, index)?;
        }
        self.ends(stage)
    }

    /// What an application has heard is a prefix of what was to come.
    fn application(&mut self, stage: &Stage, index: usize) -> Finding {
        let fate = &stage.model.fates[index];
        let party = stage.world.party(fate.stream);
        let compared = &mut self.compared[fate.stream.0];
        let new = &party.received()[*compared..];
        if new.is_empty() {
            return Ok(());
        }
        let source;
        let expected = match fate.goal {
            Goal::Echo => party.sent(),
            Goal::Source => {
                source = script(SOURCE, SOURCE_LEN);
                &source
            }
            _ => &[],
        };
        if expected.get(*compared..*compared + new.len()) != Some(new) {
            return Err((Law::Order, format!("the application of #{} hears what was not said", fate.number)));
        }
        *compared += new.len();
        Ok(())
    }

    /// What a target has heard is a prefix of what one application has said, and of no other target's.
    fn target(&mut self, stage: &Stage, index: usize) -> Finding {
        let party = &stage.world.parties()[index];
        let applications = stage.model.fates.iter().map(|fate| fate.stream);
        let intruders = stage.intruders.iter().map(|&(_, stream)| stream);
        if party.received().len() == self.compared[index]
            || applications.chain(intruders).any(|own| own == Stream(index))
        {
            return Ok(());
        }
        // Too little to tell whose it is; the rest will come, or it ends there.
        let Some(number) = author(party.received()) else { return Ok(()) };
        let fate = stage.model.fates.iter().find(|fate| fate.number as u64 == number);
        let Some(fate) = fate else {
            return Err((Law::Order, format!("a target hears bytes of #{number}, which nobody opened")));
        };
        if *self.heard_by.entry(number).or_insert(index) != index {
            return Err((Law::Order, format!("the bytes of #{number} arrive at two targets")));
        }
        let (said, heard) = (stage.world.party(fate.stream).sent(), party.received());
        let compared = &mut self.compared[index];
        if said.get(*compared..heard.len()) != Some(&heard[*compared..]) {
            return Err((Law::Order, format!("the target of #{number} hears what was not said")));
        }
        *compared = heard.len();
        Ok(())
    }

    /// Judges the streams that have ended.
    fn ends(&mut self, stage: &mut Stage) -> Finding {
        let now = stage.world.elapsed();
        for index in 0..stage.model.fates.len() {
            let fate = &stage.model.fates[index];
            let party = stage.world.party(fate.stream);
            if fate.judged || !party.is_over() {
                continue;
            }
            match stage.model.judge(fate, party, now) {
                Verdict::AsItShould => self.whole += 1,
                Verdict::Excused(_) => self.excused += 1,
                Verdict::Wrong(how) => {
                    return Err((
                        Law::Ending,
                        format!("the stream of #{} to {}: {how}", fate.number, fate.goal),
                    ));
                }
            }
            self.heard_wholly(stage, index)?;
            stage.model.fates[index].judged = true;
        }
        Ok(())
    }

    /// Where a sink has finished in order, everything was heard there before.
    fn heard_wholly(&self, stage: &Stage, index: usize) -> Finding {
        let fate = &stage.model.fates[index];
        let party = stage.world.party(fate.stream);
        let in_order = fate.goal == Goal::Sink && party.heard_end() == Some(End::Finished);
        let Some(&target) = self.heard_by.get(&(fate.number as u64)) else { return Ok(()) };
        let heard = stage.world.parties()[target].received().len();
        if in_order && heard != party.sent().len() {
            let of = party.sent().len();
            return Err((
                Law::Order,
                format!("the sink of #{} finished after {heard} of {of} bytes", fate.number),
            ));
        }
        Ok(())
    }
}
