//! `cargo xtask coverage`: which lines of the core its own tests and the simulator's reach.
//!
//! Lines of tests themselves do not count: neither files of tests nor the `mod tests` at the end of a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{cargo, has_subcommand, target};

/// What the core must reach, in percent of its lines.
const LEAST: f64 = 95.0;

/// The tests of `tests` that drive the core in simulated worlds. Those with real sockets and processes would show
/// little more, and take many times as long.
const WORLDS: &str = "not package(adit-tests) + binary(/^(sim_|robustness_)/)";

/// Where the report lies. What is built with instruments lies in `target/llvm-cov-target`, so that the usual
/// directory stays as it is.
fn report() -> PathBuf {
    target().join("coverage.lcov")
}

/// Options of `cargo xtask coverage`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Show what the last run has found, without a new one.
    #[arg(long)]
    again: bool,
    /// Count the simulated worlds of `tests` as well; they need the whole workspace to be built with instruments.
    #[arg(long, conflicts_with = "again")]
    worlds: bool,
    /// Only the rooms or files whose path contains this are listed line by line.
    #[arg(value_name = "FILTER", default_value = "")]
    filter: String,
}

/// Measures, and fails below [`LEAST`].
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.again {
        ensure()?;
        measure(options.worlds)?;
    }
    let report = fs::read_to_string(report()).context("there is no report yet: run without --again first")?;
    let files = read(&report, Path::new("core/src"))?;
    show_gaps(&files, &options.filter);
    let total = show_rooms(&files);
    if total.percent() < LEAST {
        bail!("the tests reach {:.1} % of the core's lines; {LEAST} % is the least", total.percent());
    }
    Ok(())
}

/// Installs cargo-llvm-cov and the tools of the toolchain that it calls, where they are missing.
fn ensure() -> Result<()> {
    if !has_subcommand("nextest") {
        bail!("cargo-nextest is not installed: cargo install --locked cargo-nextest");
    }
    if !has_subcommand("llvm-cov") {
        eprintln!("installing cargo-llvm-cov (some minutes) …");
        succeed(cargo().args(["install", "--locked", "--quiet", "cargo-llvm-cov"]))?;
    }
    if !has_tools() {
        eprintln!("installing the component llvm-tools …");
        let mut add = tools("add");
        succeed(add.arg("llvm-tools"))
            .context("cargo-llvm-cov needs llvm-tools: rustup component add llvm-tools")?;
    }
    Ok(())
}

fn tools(what: &str) -> Command {
    let mut rustup = Command::new("rustup");
    rustup.args(["component", what]);
    rustup
}

fn has_tools() -> bool {
    let listed = tools("list").arg("--installed").output();
    listed.is_ok_and(|listed| String::from_utf8_lossy(&listed.stdout).contains("llvm-tools"))
}

fn measure(worlds: bool) -> Result<()> {
    let mut tests = cargo();
    tests.args(["llvm-cov", "nextest", "--lcov", "--no-fail-fast", "--output-path"]).arg(report());
    tests.args(["--package", "adit-core", "--package", "adit-sim"]);
    if worlds {
        tests.args(["--package", "adit-tests", "--filterset", WORLDS]);
    }
    succeed(&mut tests)
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if status.success() { Ok(()) } else { bail!("{command:?} failed ({status})") }
}

/// The lines of one file that can be reached, and how often each was.
type Lines = BTreeMap<usize, u64>;

/// Files by their path below `root`.
type Files = BTreeMap<String, Lines>;

/// Reads what `llvm-cov export --format=lcov` writes: `SF:` begins a file, `DA:line,count` is one line.
fn read(report: &str, root: &Path) -> Result<Files> {
    let root = root.canonicalize().with_context(|| format!("{} is not here", root.display()))?;
    let mut files = Files::new();
    let mut current: Option<(&mut Lines, usize)> = None;
    for line in report.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            current = match Path::new(path).strip_prefix(&root) {
                Ok(below) if !is_test(below) => {
                    let end = end_of_code(&fs::read_to_string(path)?);
                    Some((files.entry(below.display().to_string()).or_default(), end))
                }
                _ => None,
            };
        } else if let (Some((lines, end)), Some(data)) = (&mut current, line.strip_prefix("DA:")) {
            let (number, count) = data.split_once(',').context("a line of the report has no count")?;
            let (number, count) = (number.parse()?, count.parse()?);
            if number < *end {
                lines.insert(number, count);
            }
        }
    }
    if files.is_empty() {
        bail!("the report says nothing about {}", root.display());
    }
    Ok(files)
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs")
}

/// The number of the line from which on a file holds its tests.
fn end_of_code(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let begins = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests");
    lines.windows(2).position(begins).map_or(usize::MAX, |index| index + 1)
}

/// How many lines there are, and how many were reached.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    all: usize,
    reached: usize,
}

impl Share {
    fn add(&mut self, lines: &Lines) {
        self.all += lines.len();
        self.reached += lines.values().filter(|&&count| count > 0).count();
    }

    fn percent(self) -> f64 {
        100.0 * self.reached as f64 / self.all.max(1) as f64
    }
}

/// One line for each room of the core; returns the core's own.
fn show_rooms(files: &Files) -> Share {
    let mut total = Share::default();
    let mut rooms: BTreeMap<&str, Share> = BTreeMap::new();
    for (path, lines) in files {
        let room = path.split('/').next().unwrap_or(path);
        rooms.entry(room).or_default().add(lines);
        total.add(lines);
    }
    for (room, share) in rooms.iter().map(|(room, share)| (*room, share)).chain([("in all", &total)]) {
        println!("{room:12} {:5.1} %   {} of {} lines", share.percent(), share.reached, share.all);
    }
    total
}

/// What no test reaches: each file with the ranges of its lines.
fn show_gaps(files: &Files, filter: &str) {
    for (path, lines) in files.iter().filter(|(path, _)| path.contains(filter)) {
        let gaps = gaps(lines);
        if !gaps.is_empty() {
            println!("core/src/{path}: {}", gaps.join(", "));
        }
    }
    println!();
}

/// Ranges of lines that nothing reaches. Lines that are no code (braces, comments) do not end a range.
fn gaps(lines: &Lines) -> Vec<String> {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    let mut open = false;
    for (&number, &count) in lines {
        match (count, ranges.last_mut()) {
            (0, Some((_, last))) if open => *last = number,
            (0, _) => ranges.push((number, number)),
            _ => {}
        }
        open = count == 0;
    }
    let show = |(first, last)| if first == last { format!("{first}") } else { format!("{first}–{last}") };
    ranges.into_iter().map(show).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_nothing_reaches_are_put_together() {
        let lines = Lines::from([(1, 2), (2, 0), (3, 0), (7, 0), (8, 1), (9, 0)]);
        assert_eq!(gaps(&lines), ["2–7", "9"]);
        let mut share = Share::default();
        share.add(&lines);
        assert_eq!((share.all, share.reached), (6, 2));
    }

    #[test]
    fn tests_are_not_what_is_measured() {
        assert_eq!(end_of_code("fn f() {}\n\n#[cfg(test)]\nmod tests {\n}\n"), 3);
        assert_eq!(end_of_code("#[cfg(test)]\nfn check() {}\nfn f() {}\n"), usize::MAX);
        assert!(is_test(Path::new("relay/tests/data.rs")) && is_test(Path::new("relay/tests.rs")));
        assert!(!is_test(Path::new("relay/table.rs")));
    }
}
