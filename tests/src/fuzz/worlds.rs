//! Whole worlds: plans of the standard mix whose choices the fuzzer makes, held against the laws and the model.
//!
//! What it finds is a plan as a seed might have made it; `adit_sim::plan::minimise` cuts it down like any other.

use adit_sim::plan::{Plan, minimise};
use arbitrary::Unstructured;

/// How often a plan that breaks a law is played again to cut it down.
const TRIES: usize = 100;

/// Plays the plan that `bytes` stand for.
pub fn worlds(bytes: &[u8]) {
    let plan = plan(bytes);
    if let Err(broken) = plan.play() {
        let same = |plan: &Plan| plan.play().is_err_and(|other| other.law == broken.law);
        panic!("{broken}\n{}", minimise(&plan, TRIES, same));
    }
}

/// The first byte is the seed of the world's chances; each of the others, or several, is a choice. Where they are used
/// up, the first of what there is is chosen.
fn plan(bytes: &[u8]) -> Plan {
    let mut choices = Unstructured::new(bytes);
    let seed = choices.arbitrary::<u8>().unwrap_or_default();
    Plan::chosen(seed.into(), |bound| choices.int_in_range(0..=bound - 1).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_bytes_are_another_plan() {
        let (zeros, ones) = (plan(&[0; 200]), plan(&[1; 200]));
        assert_eq!(zeros, plan(&[0; 200]));
        assert_ne!((zeros.shape, zeros.steps), (ones.shape, ones.steps));
        assert_eq!(plan(&[]), plan(&[0]), "what is missing is zero");
    }
}
