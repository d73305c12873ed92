//! `cargo xtask test`: what a change must pass, in the order in which a mistake is cheapest to find.

use std::process::Command;

use anyhow::Result;

use crate::step::Steps;
use crate::{cargo, conformance, has_subcommand, packages, quietly, sim, target};

/// The workspace.
const WORKSPACE: &str = "Cargo.toml";
/// That of the fuzz targets.
const FUZZ: &str = "fuzz/Cargo.toml";

/// Options of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Also run the tests that are marked as long, and install cargo-deny when it is missing.
    #[arg(long)]
    long: bool,
    /// Check licences, bans and advisories; installs cargo-deny when it is missing (some minutes).
    #[arg(long)]
    deny: bool,
    /// Only print what RFC 8656 and RFC 8489 ask of the relay and the client, and which tests show that it is held.
    #[arg(long, conflicts_with_all = ["long", "deny", "filter"])]
    conformance: bool,
    /// Run only the tests whose name contains this, and skip the checks before them.
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
}

/// Runs the steps and shows a summary, also after a failure.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.conformance {
        return conformance::run();
    }
    packages::ensure(&[packages::POSTGRESQL, packages::COTURN, packages::SYSTEMD])?;
    let mut steps = Steps::default();
    let result = run_all(&mut steps, options);
    steps.summarise();
    result
}

fn run_all(steps: &mut Steps, options: &Options) -> Result<()> {
    if options.filter.is_none() {
        check(steps, options)?;
    }
    // Tests start the binary and the examples; built first, none of them waits for the compiler.
    steps.run("build of adit", cargo().args(["build", "--workspace", "--bins", "--examples"]))?;
    test(steps, options)
}

fn check(steps: &mut Steps, options: &Options) -> Result<()> {
    steps.run("format", cargo().args(["fmt", "--all", "--check"]))?;
    steps
        .run("lints", cargo().args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    load_generator(steps)?;
    documents(steps)?;
    oldest(steps)?;
    apart(steps)?;
    semver(steps)?;
    deny(steps, options)
}

/// The benches' load generator is a package of its own, which nothing above has looked at.
fn load_generator(steps: &mut Steps) -> Result<()> {
    let package = &["--manifest-path", "bench/turnload/Cargo.toml"];
    let target = &["--target-dir", "target/turnload"];
    let lints = &["--all-targets", "--", "--deny", "warnings"];
    steps.run("load generator: format", cargo().arg("fmt").args(package).arg("--check"))?;
    steps.run("load generator: lints", cargo().arg("clippy").args(package).args(target).args(lints))?;
    steps.run("load generator: tests", cargo().arg("test").args(package).args(target))
}

/// What stands in the core's private files links as well; for the others the public face is enough.
fn documents(steps: &mut Steps) -> Result<()> {
    let own: &[_] = &["--package", "adit-core", "--document-private-items"];
    for (name, which) in [("documents for ourselves", own), ("documents", &["--workspace"])] {
        let mut doc = cargo();
        doc.args(["doc", "--no-deps"]).args(which).env("RUSTDOCFLAGS", "--deny warnings");
        steps.run(name, &mut doc)?;
    }
    Ok(())
}

/// The oldest Rust that the manifest allows compiles everything. Where it is the one at work, the tests say so.
fn oldest(steps: &mut Steps) -> Result<()> {
    let name = "oldest Rust";
    let oldest = concat!(env!("CARGO_PKG_RUST_VERSION"), ".0");
    let rustc = Command::new("rustc").arg("--version").output()?;
    if String::from_utf8_lossy(&rustc.stdout).starts_with(&format!("rustc {oldest} ")) {
        steps.skip(name, "it is the one that everything else runs with");
        return Ok(());
    }
    if !quietly(Command::new("rustup").args(["run", oldest, "rustc", "--version"])) {
        steps.skip(
            name,
            concat!("it is not installed: rustup toolchain install ", env!("CARGO_PKG_RUST_VERSION"), ".0"),
        );
        return Ok(());
    }
    let mut check = Command::new("rustup");
    check.args(["run", oldest, "cargo", "check", "--workspace", "--all-targets"]);
    // A directory of its own, or everything would be compiled again by the other one.
    steps.run(name, check.arg("--target-dir").arg(target().join("oldest")))
}

/// What is compiled otherwise than in the workspace: the fuzz targets, with the lock that they have, and what they need
/// without the platform.
fn apart(steps: &mut Steps) -> Result<()> {
    let mut lints = cargo();
    lints.args(["clippy", "--package", "adit-tests", "--lib", "--no-default-features"]);
    steps.run("lints without the platform", lints.args(["--", "--deny", "warnings"]))?;
    let mut lints = cargo();
    lints
        .args(["clippy", "--locked", "--manifest-path", FUZZ, "--target-dir"])
        .arg(target().join("fuzz-check"));
    // Nothing is linked, so libFuzzer need not be there; its build script would compile it.
    lints.args(["--", "--deny", "warnings"]).env("CUSTOM_LIBFUZZER_PATH", "/nonexistent");
    steps.run("lints of the fuzz targets", &mut lints)
}

/// What others embed.
const LIBRARIES: [&str; 5] = ["adit-core", "adit-driver", "adit-tokio", "adit-smol", "adit-mio"];

/// Nothing that the last release promised is broken without a version that says so.
fn semver(steps: &mut Steps) -> Result<()> {
    let name = "promises of the last release";
    let tag = Command::new("git").args(["describe", "--tags", "--abbrev=0", "--match", "v*"]).output()?;
    if !tag.status.success() {
        steps.skip(name, "there is no release to compare with yet");
        return Ok(());
    }
    if !has_subcommand("semver-checks") {
        steps.skip(name, "it is not installed: cargo install --locked cargo-semver-checks");
        return Ok(());
    }
    let tag = String::from_utf8_lossy(&tag.stdout);
    let mut check = cargo();
    check.args(["semver-checks", "check-release", "--baseline-rev", tag.trim()]);
    steps.run(name, check.args(LIBRARIES.iter().flat_map(|library| ["--package", library])))
}

fn deny(steps: &mut Steps, options: &Options) -> Result<()> {
    let name = "licences, bans, sources";
    if !has_subcommand("deny") {
        if !(options.deny || options.long) {
            steps.skip(name, "cargo-deny is not installed (--deny installs it)");
            return Ok(());
        }
        steps.run("install of cargo-deny", cargo().args(["install", "--locked", "cargo-deny"]))?;
    }
    steps.run(name, &mut denied(WORKSPACE, &["licenses", "bans", "sources"]))?;
    steps.run("the same of the fuzz targets", &mut denied(FUZZ, &["licenses", "bans", "sources"]))?;
    if !quietly(cargo().args(["deny", "fetch", "db"])) {
        steps.skip("advisories", "their database cannot be fetched from here");
        return Ok(());
    }
    steps.run("advisories", &mut denied(WORKSPACE, &["advisories"]))?;
    steps.run("advisories on the fuzz targets", &mut denied(FUZZ, &["advisories"]))
}

/// What one configuration denies to a workspace.
fn denied(manifest: &str, what: &[&str]) -> Command {
    let mut deny = cargo();
    deny.args([
        "deny",
        "--locked",
        "--manifest-path",
        manifest,
        "--all-features",
        "check",
        "--config",
        "deny.toml",
    ]);
    deny.args(what);
    deny
}

/// The tests that run a whole gateway.
const WHOLE: [&str; 4] = ["end_to_end", "interoperability", "failures", "address_file"];

fn test(steps: &mut Steps, options: &Options) -> Result<()> {
    let filter = options.filter.as_deref();
    let nextest = has_subcommand("nextest");
    let mut tests = cargo();
    match nextest {
        true => tests
            .args(["nextest", "run", "--workspace", "--no-fail-fast"])
            .args(filter)
            .args(options.long.then_some("--run-ignored=all")),
        false => tests
            .args(["test", "--workspace"])
            .args(filter)
            .args(options.long.then_some(["--", "--include-ignored"]).into_iter().flatten()),
    };
    // Said here, since a test that passes says nothing.
    let first = std::env::var("ADIT_SEED").unwrap_or_else(|_| sim::fresh().to_string());
    steps.note(&format!("simulated worlds from seed {first} on; ADIT_SEED={first} tries the same again"));
    steps.run("tests", tests.env("ADIT_SEED", first))?;
    if filter.is_some() {
        return Ok(());
    }
    // Of the whole workspace again: one package alone has other features, and compiles anew.
    let mut once_more = cargo();
    match nextest {
        true => {
            let whole = WHOLE.map(|name| format!("binary({name})")).join(" + ");
            let whole = format!("package(adit-tests) & ({whole})");
            once_more.args(["nextest", "run", "--workspace", "--no-fail-fast", "-E", &whole])
        }
        false => once_more.args(["test", "--workspace"]).args(WHOLE.iter().flat_map(|name| ["--test", name])),
    };
    steps.run("tests with gateways under smol", once_more.env("ADIT_RUNTIME", "smol"))?;
    match nextest {
        // It leaves them out.
        true => steps.run("examples in documents", cargo().args(["test", "--workspace", "--doc"])),
        false => Ok(()),
    }
}
