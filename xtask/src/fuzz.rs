//! `cargo xtask fuzz`: grows the corpora, keeps what covers more, replays what broke.
//!
//! A nightly compiler builds the targets of `fuzz/` once; each is then run by itself. What libFuzzer finds collects in
//! `fuzz/target/grown` (or below `CARGO_TARGET_DIR`), which nobody commits; `--keep` moves the few inputs that cover something new to `fuzz/corpus`.
//! Our own code has no `unsafe`, so no sanitiser is built in: runs are several times faster without.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{has_subcommand, quietly};

/// The workspace of the targets.
const FUZZ: &str = "fuzz";
/// The longest input that is made up, in bytes.
const MOST_BYTES: u32 = 4096;
/// What an input may take, in seconds, before it counts as one that breaks its target.
const SLOW: u32 = 30;

/// Options of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The targets, by their names in fuzz/fuzz_targets; all of them where none is named.
    targets: Vec<String>,
    /// How long to fuzz in all; each target gets the same share.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Leave out the targets of the platform, whose dependencies take most of the time of a first build.
    #[arg(long)]
    core: bool,
    /// Afterwards, add to fuzz/corpus those of the inputs found that cover what nothing there covers.
    #[arg(long)]
    keep: bool,
    /// Run this one input instead, and show what breaks.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["minutes", "keep", "targets"])]
    replay: Option<PathBuf>,
}

/// What a run of a target came to.
#[derive(Debug, Default)]
struct Report {
    executions: String,
    coverage: String,
    found: usize,
    /// The input that broke it.
    broken: Option<PathBuf>,
    /// What it said last.
    last: VecDeque<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure_tools()?;
    if let Some(input) = &options.replay {
        return replay(input, options.core);
    }
    let targets = chosen(options)?;
    build(options.core, None)?;
    let share = Duration::from_secs(options.minutes * 60) / u32::try_from(targets.len())?;
    for target in &targets {
        let report = grow(target, share)?;
        let Report { executions, coverage, found, .. } = &report;
        println!(
            "{target:>14}  {executions:>9} executions  {coverage:>6} edges and counts  {found:>5} new inputs"
        );
        if let Some(input) = &report.broken {
            report.last.iter().for_each(|line| println!("    {line}"));
            bail!("{target} breaks; replay it with\n  cargo xtask fuzz --replay {}", input.display());
        }
    }
    match options.keep {
        true => targets.iter().try_for_each(|target| keep(target)),
        false => Ok(()),
    }
}

/// A nightly compiler and cargo-fuzz, which is installed where it is missing.
fn ensure_tools() -> Result<()> {
    if !quietly(nightly("rustc").arg("--version")) {
        bail!("fuzzing needs a nightly compiler: rustup toolchain install nightly --profile minimal");
    }
    if !has_subcommand("fuzz") {
        eprintln!("installing cargo-fuzz …");
        let installed = crate::cargo().args(["install", "--locked", "cargo-fuzz"]).status()?.success();
        anyhow::ensure!(installed, "cargo-fuzz cannot be installed: cargo install --locked cargo-fuzz");
    }
    Ok(())
}

/// The targets that were named, or all.
fn chosen(options: &Options) -> Result<Vec<String>> {
    let all = targets(options.core)?;
    match options.targets.iter().find(|name| !all.contains(name)) {
        Some(unknown) => bail!("there is no target {unknown}; there are {}", all.join(", ")),
        None if options.targets.is_empty() => Ok(all),
        None => Ok(options.targets.clone()),
    }
}

/// The names of the programs in the manifest; without those that need the platform where only the core is wanted.
fn targets(core: bool) -> Result<Vec<String>> {
    let manifest = fs::read_to_string(Path::new(FUZZ).join("Cargo.toml"))?;
    let programs = manifest.split("[[bin]]").skip(1);
    let wanted = programs.filter(|program| !core || !program.contains("required-features"));
    let name = |program: &str| program.split('"').nth(1).map(str::to_owned);
    wanted.map(|program| name(program).context("a program without a name in fuzz/Cargo.toml")).collect()
}

fn build(core: bool, target: Option<&str>) -> Result<()> {
    let mut build = nightly("cargo");
    build
        .args(["fuzz", "build", "--sanitizer", "none", "--target-dir"])
        .arg(built())
        .args(core.then_some("--no-default-features"));
    build.args(target).env_remove("CARGO").env_remove("RUSTC");
    eprintln!("building the targets …");
    anyhow::ensure!(build.status().context("cannot run rustup")?.success(), "the targets do not compile");
    Ok(())
}

/// Fuzzes `target` for `time`. What covers more than before is written to its directory below `grown`.
fn grow(target: &str, time: Duration) -> Result<Report> {
    let grown = grown(target)?;
    let mut fuzz = program(target)?;
    fuzz.args([format!("-max_total_time={}", time.as_secs().max(1)), format!("-max_len={MOST_BYTES}")]);
    fuzz.args([format!("-timeout={SLOW}"), format!("-report_slow_units={SLOW}")]).arg("-print_final_stats=1");
    fuzz.arg(&grown).arg(corpus(target)).stderr(Stdio::piped()).stdout(Stdio::null());
    let before = fs::read_dir(&grown)?.count();
    let mut child = fuzz.spawn().with_context(|| format!("cannot run {target}"))?;
    let mut report = Report::default();
    let lines = BufReader::new(child.stderr.take().expect("it is piped"));
    for line in lines.lines() {
        report.read(line?);
    }
    let ended = child.wait()?;
    report.found = fs::read_dir(&grown)?.count().saturating_sub(before);
    if ended.success() {
        // What merely took long was written down as well.
        report.broken = None;
    } else if report.broken.is_none() {
        bail!("{target} ended with {ended}: {}", report.last.make_contiguous().join("\n"));
    }
    Ok(report)
}

impl Report {
    /// Takes what libFuzzer says: `#8192 pulse cov: 512 ft: 1024 …`, `stat::…: n`, `Test unit written to FILE`.
    fn read(&mut self, line: String) {
        let after = |text: &str| line.split_once(text).map(|(_, rest)| rest.trim());
        let word = |text: &str| after(text).and_then(|rest| rest.split(' ').next()).map(str::to_owned);
        if let Some(features) = word(" ft: ") {
            self.coverage = features;
        } else if let Some(executions) = word("stat::number_of_executed_units:") {
            self.executions = executions;
        } else if let Some(input) = after("Test unit written to ") {
            self.broken = Some(input.into());
        } else if self.broken.is_none() && !line.starts_with("stat::") {
            self.last.push_back(line);
            if self.last.len() > 12 {
                self.last.pop_front();
            }
        }
    }
}

/// Moves the inputs that cover what no committed one covers to the corpus: as few as will do.
fn keep(target: &str) -> Result<()> {
    let corpus = corpus(target);
    let before = fs::read_dir(&corpus)?.count();
    let mut merge = program(target)?;
    // Without counts: how often something happens is for libFuzzer, that it happens is for a test.
    merge.args(["-set_cover_merge=1", "-use_counters=0"]).arg(&corpus).arg(grown(target)?);
    let merged = quietly(&mut merge);
    anyhow::ensure!(merged, "{target}: its corpora cannot be merged");
    println!("{target:>14}  {before} inputs were committed, {} are now", fs::read_dir(&corpus)?.count());
    Ok(())
}

/// Runs one input as the fuzzer would, with all that it says.
fn replay(input: &Path, core: bool) -> Result<()> {
    let parent = input.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let target = parent.context("an input lies in a directory that is called like its target")?;
    anyhow::ensure!(targets(core)?.iter().any(|known| known == target), "there is no target {target}");
    anyhow::ensure!(input.is_file(), "there is no file {}", input.display());
    build(core, Some(target))?;
    let ended = program(target)?.env("RUST_BACKTRACE", "1").arg(input).status()?;
    anyhow::ensure!(ended.success(), "{target} breaks ({ended})");
    println!("{target} takes it");
    Ok(())
}

/// A target's program; what breaks it is written to `fuzz/artifacts`.
fn program(target: &str) -> Result<Command> {
    let rustc = nightly("rustc").arg("-vV").output()?;
    let version = String::from_utf8(rustc.stdout)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let artifacts = Path::new(FUZZ).join("artifacts").join(target);
    fs::create_dir_all(&artifacts)?;
    let mut program = Command::new(built().join(host).join("release").join(target));
    program.arg(format!("-artifact_prefix={}/", artifacts.display()));
    Ok(program)
}

fn corpus(target: &str) -> PathBuf {
    Path::new(FUZZ).join("corpus").join(target)
}

/// Where the targets are built. With their own compiler and flags they share nothing with the rest.
fn built() -> PathBuf {
    let elsewhere = std::env::var_os("CARGO_TARGET_DIR").map(|target| Path::new(&target).join(FUZZ));
    elsewhere.unwrap_or_else(|| Path::new(FUZZ).join("target"))
}

fn grown(target: &str) -> Result<PathBuf> {
    let directory = built().join("grown").join(target);
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// A tool of the nightly toolchain.
pub(crate) fn nightly(tool: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", tool]);
    command
}
