//! Plays plans of the standard mix: one seed, told step by step, or many, with progress and a summary. This is what
//! `cargo xtask sim` runs.
//!
//! `seeds one SEED`, `seeds many COUNT FROM THREADS`.

use std::process::ExitCode;

use adit_sim::plan::{Plan, Play, Tally};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (what, numbers) = arguments.split_first().map_or(("", &[][..]), |(what, rest)| (what.as_str(), rest));
    let numbers: Vec<u64> = numbers.iter().filter_map(|number| number.parse().ok()).collect();
    match (what, &numbers[..]) {
        ("one", &[seed]) => one(seed),
        ("many", &[count, from, threads]) => many(count, from, threads),
        _ => {
            eprintln!("usage: seeds one SEED | seeds many COUNT FROM THREADS");
            ExitCode::from(2)
        }
    }
}

/// Tells what happens under a seed, and the few steps that it takes where it fails.
fn one(seed: u64) -> ExitCode {
    let plan = Plan::standard(seed);
    print!("{plan}");
    println!("what happens, in seconds since the beginning of the world:");
    match tell(&plan) {
        true => ExitCode::SUCCESS,
        false => {
            if let Some(failed) = plan.failure() {
                println!("\n{failed}what happens then:");
                tell(&failed.minimised);
            }
            ExitCode::FAILURE
        }
    }
}

/// Plays a plan aloud; whether it breaks no law.
fn tell(plan: &Plan) -> bool {
    match Play::of(plan).telling(|line| println!("  {line}")).run() {
        Ok(outcome) => {
            println!("no law is broken: {outcome:x?}");
            true
        }
        Err(broken) => {
            println!("a law is broken: {broken}");
            false
        }
    }
}

fn many(count: u64, from: u64, threads: u64) -> ExitCode {
    println!("seeds {from}..{} over {threads} threads", from + count);
    let step = (count / 20).max(1);
    let tally = Tally::of(from..from + count, usize::try_from(threads).unwrap_or(1), |played| {
        if played % step == 0 {
            println!("  {played} of {count}");
        }
    });
    for failed in &tally.failed {
        println!("\n{failed}");
    }
    println!("{tally}");
    if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
