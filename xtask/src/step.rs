//! Steps of a longer task: each is announced, timed, and stops the task when it fails.

use std::io::{self, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The steps taken so far, for the summary at the end.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, Outcome)>,
}

#[derive(Debug)]
enum Outcome {
    Passed(Duration),
    Failed(Duration),
    Skipped(&'static str),
}

impl Steps {
    /// Runs `command` with its output shown.
    ///
    /// # Errors
    /// When it cannot be started or exits with another status than 0.
    pub(crate) fn run(&mut self, name: &str, command: &mut Command) -> Result<()> {
        announce(&format!("── {name}"));
        let began = Instant::now();
        let status = command.status().with_context(|| format!("{name}: cannot run {command:?}"))?;
        let took = began.elapsed();
        if !status.success() {
            self.done.push((name.to_owned(), Outcome::Failed(took)));
            bail!("{name} failed ({status})");
        }
        self.done.push((name.to_owned(), Outcome::Passed(took)));
        Ok(())
    }

    /// Says something that belongs to the step that follows.
    pub(crate) fn note(&self, line: &str) {
        announce(&format!("── {line}"));
    }

    /// Records that a step was left out, and why.
    pub(crate) fn skip(&mut self, name: &str, why: &'static str) {
        announce(&format!("── {name}: skipped, {why}"));
        self.done.push((name.to_owned(), Outcome::Skipped(why)));
    }

    /// One line for each step.
    pub(crate) fn summarise(&self) {
        announce("── summary");
        for (name, outcome) in &self.done {
            announce(&match outcome {
                Outcome::Passed(took) => format!("   passed   {:6.1} s  {name}", took.as_secs_f64()),
                Outcome::Failed(took) => format!("   FAILED   {:6.1} s  {name}", took.as_secs_f64()),
                Outcome::Skipped(why) => format!("   skipped            {name} ({why})"),
            });
        }
    }
}

/// A broken pipe is no reason to stop a test run.
fn announce(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
