//! The few steps that a failure needs: delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating
//! Failure-Inducing Input", 2002).

use super::{Plan, Step};

/// The smallest plan that still `fails`, as far as `tries` calls of it can tell: without any one of its steps it would not
/// fail any more, unless the tries have run out. A plan that does not fail is returned as it is.
pub fn minimise(plan: &Plan, tries: usize, mut fails: impl FnMut(&Plan) -> bool) -> Plan {
    let mut best = plan.clone();
    let mut left = tries;
    let mut parts = 2;
    while !best.steps.is_empty() {
        let size = best.steps.len().div_ceil(parts);
        let without = |at: usize| Plan { steps: except(&best.steps, at * size, size), ..best.clone() };
        let mut candidates = (0..best.steps.len().div_ceil(size)).map(without);
        let smaller = candidates.find(|candidate| {
            let try_it = left > 0;
            left -= usize::from(try_it);
            try_it && fails(candidate)
        });
        match smaller {
            Some(plan) => {
                best = plan;
                parts = parts.saturating_sub(1).max(2);
            }
            None if size == 1 || left == 0 => break,
            None => parts = (parts * 2).min(best.steps.len()),
        }
    }
    best
}

fn except(steps: &[Step], from: usize, count: usize) -> Vec<Step> {
    let to = (from + count).min(steps.len());
    [&steps[..from], &steps[to..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(plan: &Plan) -> Vec<usize> {
        plan.steps.iter().map(|step| step.number).collect()
    }

    #[test]
    fn what_does_not_matter_is_left_out() {
        let plan = Plan::standard(2);
        assert!(plan.steps.len() > 6);
        for wanted in [vec![0], vec![1, 4], vec![0, 2, 5], vec![]] {
            let needs = |plan: &Plan| wanted.iter().all(|number| numbers(plan).contains(number));
            assert_eq!(numbers(&minimise(&plan, 1000, needs)), wanted);
        }
    }

    #[test]
    fn the_tries_are_bounded() {
        let plan = Plan::standard(2);
        let mut tries = 0;
        let count = |_: &Plan| {
            tries += 1;
            false
        };
        assert_eq!(minimise(&plan, 5, count), plan);
        assert_eq!(tries, 5);
    }
}
