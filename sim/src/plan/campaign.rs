//! Many seeds, over several threads; what fails is cut down and told.

use std::fmt::{Display, Formatter};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Outcome, Plan, minimise};
use crate::invariants::Broken;

/// How often a plan that failed is played again to cut it down.
const TRIES: usize = 300;

/// A seed whose plan breaks a law.
#[derive(Debug)]
pub struct Failed {
    /// The whole plan.
    pub plan: Plan,
    /// What it breaks.
    pub broken: Broken,
    /// The steps that it takes to break the same law.
    pub minimised: Plan,
}

/// What became of many seeds.
#[derive(Debug, Default)]
pub struct Tally {
    /// How many were played.
    pub played: u64,
    /// Those that failed, in the order of their seeds.
    pub failed: Vec<Failed>,
    /// How many packets there were.
    pub packets: u64,
    /// How many streams ended as they should.
    pub whole: usize,
    /// How many need not have, and did not.
    pub excused: usize,
    /// All traces in one number, in whatever order they were made.
    pub hash: u64,
}

impl Plan {
    /// What it breaks, and the few steps that this takes; nothing where it breaks nothing.
    pub fn failure(&self) -> Option<Failed> {
        let broken = self.play().err()?;
        let same = |plan: &Self| plan.play().is_err_and(|other| other.law == broken.law);
        let minimised = minimise(self, TRIES, same);
        Some(Failed { plan: self.clone(), broken, minimised })
    }
}

impl Tally {
    /// Plays the standard plans of `seeds` over that many threads. `told` hears how many were played, after each.
    pub fn of(seeds: Range<u64>, threads: usize, told: impl Fn(u64) + Sync) -> Self {
        let next = AtomicU64::new(seeds.start);
        let tally = Mutex::new(Self::default());
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if !seeds.contains(&seed) {
                    return;
                }
                let plan = Plan::standard(seed);
                let result = plan.play();
                let failed = if result.is_err() { plan.failure() } else { None };
                let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                tally.add(result.ok(), failed);
                told(tally.played);
            }
        };
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        tally.failed.sort_by_key(|failed| failed.plan.seed);
        tally
    }

    fn add(&mut self, outcome: Option<Outcome>, failed: Option<Failed>) {
        self.played += 1;
        self.failed.extend(failed);
        if let Some(outcome) = outcome {
            self.packets += outcome.packets;
            self.whole += outcome.whole;
            self.excused += outcome.excused;
            self.hash = self.hash.wrapping_add(outcome.hash);
        }
    }
}

impl Display for Failed {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {} breaks a law: {}", self.plan.seed, self.broken)?;
        writeln!(f, "replay it with: cargo xtask sim --seed {}", self.plan.seed)?;
        writeln!(f, "{} of its {} steps are enough:", self.minimised.steps.len(), self.plan.steps.len())?;
        write!(f, "{}", self.minimised)
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { played, failed, packets, whole, excused, hash } = self;
        write!(
            f,
            "{played} seeds, {} failed; {whole} streams as they should, {excused} excused; {packets} packets, \
             trace {hash:016x}",
            failed.len()
        )
    }
}
