//! `cargo xtask mutants`: breaks the core on purpose, and shows which test notices.
//!
//! Each file of `tests/mutants` is a patch whose first line says what it breaks. Patches are applied one after the
//! other to a copy of the committed sources, whose tests are then run until the first fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

use crate::{has_subcommand, target};

const PATCHES: &str = "tests/mutants";
/// The name of the copy's directory, in which its own `target` is.
const COPY: &str = "mutants";
/// What is tested: the core by its own tests and by those of the simulator.
const PACKAGES: [&str; 4] = ["--package", "adit-core", "--package", "adit-sim"];

/// Options of `cargo xtask mutants`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only the mutants whose name contains this.
    filter: Option<String>,
    /// Only find out whether every patch still applies to what is committed; takes a moment.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted =
        |patch: &PathBuf| options.filter.as_ref().is_none_or(|part| name(patch).contains(part.as_str()));
    let patches: Vec<PathBuf> = patches()?.into_iter().filter(wanted).collect();
    anyhow::ensure!(!patches.is_empty(), "there is no such mutant in {PATCHES}");
    anyhow::ensure!(
        options.check || has_subcommand("nextest"),
        "cargo-nextest is not installed: cargo install --locked cargo-nextest"
    );
    let copy = copy()?;
    for patch in &patches {
        apply(&copy, patch, &["--check"])?;
    }
    if options.check {
        println!("all {} patches apply", patches.len());
        return Ok(());
    }
    let unbroken = test(&copy)?;
    anyhow::ensure!(
        unbroken.status.success(),
        "the tests fail without a mutant already:\n{}",
        said(&unbroken)
    );
    let survivors: Vec<&PathBuf> = patches
        .iter()
        .map(|patch| Ok((patch, is_noticed(&copy, patch)?)))
        .filter_map(|judged: Result<_>| {
            judged.map(|(patch, noticed)| (!noticed).then_some(patch)).transpose()
        })
        .collect::<Result<_>>()?;
    match survivors.len() {
        0 => println!("all {} mutants were noticed", patches.len()),
        alive => bail!("{alive} of {} mutants live: write the tests that notice them", patches.len()),
    }
    Ok(())
}

/// Whether a test notices the mutant. The copy is whole again afterwards.
fn is_noticed(copy: &Path, patch: &Path) -> Result<bool> {
    apply(copy, patch, &[])?;
    let output = test(copy);
    apply(copy, patch, &["--reverse"])?;
    let output = output?;
    let said = said(&output);
    let failed = said.lines().filter_map(|line| line.trim_start().strip_prefix("FAIL [")).next();
    // FAIL [   0.012s] ( 12/372) adit-core relay::tests::…
    let by = failed.and_then(|line| line.rsplit_once(") ")).map(|(_, test)| test.trim());
    let verdict = match (output.status.success(), by) {
        (true, _) => "LIVES".to_owned(),
        (false, Some(test)) => test.to_owned(),
        (false, None) if said.contains("SIGABRT") || said.contains("TIMEOUT") => {
            "a test that ended early".to_owned()
        }
        (false, None) => bail!("{} does not compile:\n{said}", name(patch)),
    };
    println!("{:<44}  {verdict}", name(patch));
    Ok(!output.status.success())
}

fn test(copy: &Path) -> Result<Output> {
    let mut tests = crate::cargo();
    tests.current_dir(copy).args(["nextest", "run", "--color", "never"]).args(PACKAGES);
    // A crowd is held against the clock on the wall: a machine that is busy would notice mutants, too.
    tests.args(["-E", "not binary(crowds)"]);
    // One directory for all mutants, beside the copy: only what a patch touches is compiled again.
    tests.env("CARGO_TARGET_DIR", copy.join("target")).env("RUST_BACKTRACE", "0");
    tests.output().context("cannot run cargo")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The committed sources, in a directory of their own that is not part of this workspace.
fn copy() -> Result<PathBuf> {
    let copy = target().join(COPY);
    if copy.join(".git").exists() {
        git(Command::new("git")
            .arg("-C")
            .arg(&copy)
            .args(["checkout", "--quiet", "--force", "--detach"])
            .arg(head()?))?;
    } else {
        git(Command::new("git").args(["worktree", "prune"]))?;
        git(Command::new("git").args(["worktree", "add", "--quiet", "--detach"]).arg(&copy))?;
    }
    copy.canonicalize().context("the copy is not there")
}

fn head() -> Result<String> {
    let head = Command::new("git").args(["rev-parse", "HEAD"]).output()?;
    Ok(String::from_utf8(head.stdout)?.trim().to_owned())
}

fn apply(copy: &Path, patch: &Path, how: &[&str]) -> Result<()> {
    let patch = patch.canonicalize()?;
    let mut git = Command::new("git");
    git.arg("-C").arg(copy).arg("apply").args(how).arg(&patch);
    anyhow::ensure!(git.status()?.success(), "{} does not apply: mend it", name(&patch));
    Ok(())
}

fn git(command: &mut Command) -> Result<()> {
    anyhow::ensure!(command.status()?.success(), "{command:?} failed");
    Ok(())
}

fn patches() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(PATCHES).context("there are no mutants")?;
    let mut patches: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    patches.sort();
    Ok(patches)
}

fn name(patch: &Path) -> String {
    patch.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
