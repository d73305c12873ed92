//! The reference model: what may become of a stream, given what was done to it.
//!
//! The model knows nothing of packets. It is told who asked for what, and what troubles there were; of a stream that
//! has ended it says whether it had to arrive whole, and if not, what excuses it. Every excuse is as narrow as its
//! reason.

mod script;
mod trouble;

use std::collections::BTreeSet;
use std::time::Duration;

use adit_core::connector::Failure;
use adit_core::io::PipeId;
use adit_core::tunnel::RejectCode;

use crate::party::{End, Party, Stream};
use crate::plan::{Goal, Place};

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
#[derive(Debug)]
pub struct Model {
    /// The streams.
    pub fates: Vec<Fate>,
    troubles: Vec<Trouble>,
    /// How many relays there are.
    relays: usize,
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
    /// The relays by which it may go: those of the connections that its connector had to its gateway from when it was
    /// asked for until it was open.
    pub ways: BTreeSet<usize>,
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
    /// The model of a world with that many relays.
    pub fn of(relays: usize) -> Self {
        Self { fates: Vec::new(), troubles: Vec::new(), relays }
    }

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
        let on_the_way = self.troubles.iter().filter(|trouble| trouble.is_on_way(fate));
        let met = on_the_way.filter(|trouble| trouble.meets(fate.asked, now));
        let found = blamed(met.collect(), fate, now);
        found.or_else(|| if fate.opened { None } else { self.no_way(fate, now) })
    }

    /// A stream that was never open need not be where no relay was well all the while. One that was well is enough: the
    /// connector tries the addresses of all.
    fn no_way(&self, fate: &Fate, now: Duration) -> Option<&Trouble> {
        let blamed_at = |relay| {
            let here = self.troubles.iter().filter(|trouble| trouble.at == Some(Place::Relay(relay)));
            blamed(here.filter(|trouble| trouble.bars(fate.asked, now)).collect(), fate, now)
        };
        let all: Option<Vec<&Trouble>> = (0..self.relays).map(blamed_at).collect();
        all?.first().copied()
    }
}

/// The one of these troubles that ends a stream, or hinders one that is not open yet.
fn blamed<'a>(met: Vec<&'a Trouble>, fate: &Fate, now: Duration) -> Option<&'a Trouble> {
    let silence: Duration = met.iter().map(|trouble| trouble.silence()).sum();
    met.into_iter()
        .find(|trouble| trouble.ends(silence) || (!fate.opened && trouble.hinders(fate.asked, now, silence)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::secs;

    /// A world with two relays, where something was done from second 100 on.
    fn model(troubles: impl IntoIterator<Item = (Option<Place>, u64, Kind)>) -> Model {
        let mut model = Model::of(2);
        for (at, lasts, kind) in troubles {
            model.trouble(Trouble { at, from: secs(100), until: secs(100 + lasts), kind });
        }
        model
    }

    /// A stream that was asked for in that second, over a connection by one of these relays.
    fn fate(asked: u64, opened: bool, ways: &[usize]) -> Fate {
        Fate {
            number: 0,
            stream: Stream(0),
            pipe: adit_core::io::Id::new(0, 0),
            by: 0,
            through: 0,
            goal: Goal::Echo,
            asked: secs(asked),
            ways: ways.iter().copied().collect(),
            opened,
            failure: None,
            hung_up: false,
            orphaned: false,
            judged: false,
        }
    }

    /// Whether a stream that was lost in second 200 is excused.
    fn is_excused(model: &Model, fate: &Fate) -> bool {
        model.excuse(fate, secs(200)).is_some()
    }

    #[test]
    fn a_dead_relay_excuses_those_that_went_by_it() {
        let model = model([(Some(Place::Relay(0)), 1, Kind::Death)]);
        assert!(is_excused(&model, &fate(90, true, &[0])));
        assert!(is_excused(&model, &fate(130, false, &[0])), "its connection seemed to stand");
        assert!(!is_excused(&model, &fate(90, true, &[1])));
        assert!(!is_excused(&model, &fate(150, true, &[0])), "by then it went by another allocation");
    }

    #[test]
    fn who_asks_when_a_connection_has_long_gone_is_not_excused_while_another_relay_lives() {
        let dead = (Some(Place::Relay(0)), 60, Kind::Death);
        let one = model([dead]);
        for asked in [141, 155, 190] {
            assert!(!is_excused(&one, &fate(asked, false, &[])), "{asked}");
        }
        assert!(!is_excused(&one, &fate(110, false, &[])), "it had no connection: the other answers");
        let both = model([dead, (Some(Place::Relay(1)), 60, Kind::Death)]);
        assert!(is_excused(&both, &fate(155, false, &[])));
        assert!(is_excused(&both, &fate(190, false, &[])), "there may be no new allocation yet");
    }

    #[test]
    fn a_short_silence_of_a_relay_excuses_nobody_who_is_open() {
        for (lasts, excused) in [(7, false), (8, true)] {
            let model = model([(Some(Place::Relay(0)), lasts, Kind::Silence)]);
            assert_eq!(is_excused(&model, &fate(99, true, &[0])), excused);
            assert!(!is_excused(&model, &fate(99, true, &[1])));
        }
    }

    #[test]
    fn a_firewall_that_forgets_hinders_those_who_come_in_and_ends_nothing_by_itself() {
        let gateway = model([(Some(Place::Gateway(0)), 0, Kind::Forgetting)]);
        assert!(!is_excused(&gateway, &fate(99, true, &[0])));
        assert!(is_excused(&gateway, &fate(120, false, &[0])));
        assert!(!is_excused(&gateway, &fate(136, false, &[0])));
        let connector = model([(Some(Place::Connector(0)), 0, Kind::Forgetting)]);
        assert!(!is_excused(&connector, &fate(100, false, &[0])));
    }
}
