//! The reference model: what may become of a stream, given what was done to it.
//!
//! The model knows nothing of packets. It is told who asked for what, and what troubles there were; of a stream that
//! has ended it says whether it had to arrive whole, and if not, what excuses it. Every excuse is as narrow as its
//! reason.

mod script;
mod trouble;

use std::time::Duration;

use adit_core::connector::Failure;
use adit_core::io::PipeId;
use adit_core::tunnel::RejectCode;

use crate::party::{End, Party, Stream};
use crate::plan::Goal;

pub use script::{MARK, script};
pub(crate) use script::{author, shows_mark};
pub use trouble::{Kind, Trouble};

/// The number of what a source says, as the number of its script; no step has it.
pub const SOURCE: u64 = 1 << 32;
/// How much a source says, in bytes.
pub const SOURCE_LEN: usize = 24_000;
/// How much a fragile target takes before it breaks off, in bytes.
pub const FRAGILE_LEN: usize = 3_000;

/// Everything that was asked for, and all troubles.
#[derive(Debug, Default)]
pub struct Model {
    /// The streams.
    pub fates: Vec<Fate>,
    troubles: Vec<Trouble>,
}

/// A stream, with what is known of it.
#[derive(Debug)]
pub struct Fate {
    /// The number of its step, and of its script.
    pub number: usize,
    /// The application's end.
    pub stream: Stream,
    /// The connector's pipe.
    pub pipe: PipeId,
    /// The connector.
    pub by: usize,
    /// The gateway.
    pub through: usize,
    /// What it leads to.
    pub goal: Goal,
    /// When it was asked for, since the beginning of the world.
    pub asked: Duration,
    /// The connector has said that it is open.
    pub opened: bool,
    /// Why the connector could not open it.
    pub failure: Option<Failure>,
    /// The application has hung up.
    pub hung_up: bool,
    /// The connector has died before it could say anything.
    pub orphaned: bool,
    /// It was judged already.
    pub judged: bool,
}

/// What the model says of a stream that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It ended as it should.
    AsItShould,
    /// It did not, and need not have.
    Excused(String),
    /// It did not, for no reason.
    Wrong(String),
}

impl Model {
    /// Notes a trouble.
    pub fn trouble(&mut self, trouble: Trouble) {
        self.troubles.push(trouble);
    }

    /// What is to be said of a stream that has ended at `now`, since the beginning of the world.
    pub fn judge(&self, fate: &Fate, party: &Party, now: Duration) -> Verdict {
        if fate.hung_up {
            return Verdict::Excused("its application hung up".to_owned());
        }
        if fate.failure.is_none() && !fate.opened && !fate.orphaned {
            return Verdict::Wrong("it ended before it was open, and nobody said why".to_owned());
        }
        match fate.goal.objection(fate, party) {
            None => Verdict::AsItShould,
            Some(objection) => match self.excuse(fate, now) {
                Some(trouble) => Verdict::Excused(trouble.to_string()),
                None => Verdict::Wrong(objection),
            },
        }
    }

    /// The trouble that excuses a stream which lived until `now`.
    fn excuse(&self, fate: &Fate, now: Duration) -> Option<&Trouble> {
        let on_the_way = self.troubles.iter().filter(|trouble| trouble.is_on_way(fate.by, fate.through));
        let met: Vec<&Trouble> = on_the_way.filter(|trouble| trouble.meets(fate.asked, now)).collect();
        let silence: Duration = met.iter().map(|trouble| trouble.silence()).sum();
        met.into_iter()
            .find(|trouble| trouble.ends(silence) || (!fate.opened && trouble.hinders(fate.asked, now)))
    }
}

impl Goal {
    /// What is wrong with how a stream to such a target has ended.
    fn objection(self, fate: &Fate, party: &Party) -> Option<String> {
        match self {
            Self::Echo => short_of(fate, party, party.sent()),
            Self::Sink => short_of(fate, party, &[]),
            Self::Source => short_of(fate, party, &script(SOURCE, SOURCE_LEN)),
            // It breaks off whatever it hears, so that there is no end in order; nothing is said by it either.
            Self::Fragile => {
                party.heard_end().filter(|&end| end != End::Reset).map(|_| "nobody broke it off".into())
            }
            Self::Closed => not_rejected(fate, RejectCode::Refused),
            Self::Forbidden => not_rejected(fate, RejectCode::Denied),
        }
    }
}

fn short_of(fate: &Fate, party: &Party, expected: &[u8]) -> Option<String> {
    let ends = [party.heard_end(), party.said_end()];
    let whole = party.received() == expected && ends == [Some(End::Finished); 2];
    (!whole).then(|| {
        let (got, of) = (party.received().len(), expected.len());
        let failure = fate.failure.as_ref().map_or_else(String::new, |failure| format!(": {failure}"));
        format!("it heard {got} of {of} bytes, said {} and ended {ends:?}{failure}", party.said())
    })
}

fn not_rejected(fate: &Fate, wanted: RejectCode) -> Option<String> {
    match &fate.failure {
        Some(Failure::Rejected { code, .. }) if *code == wanted => None,
        other => Some(format!("it was to be rejected as {wanted}, and ended as {other:?}")),
    }
}
