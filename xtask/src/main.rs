//! `cargo xtask`: the commands of the workspace. Each installs the system packages that it needs, or says which.

mod checks;
mod conformance;
mod coverage;
mod fuzz;
mod miri;
mod mutants;
mod packages;
mod sim;
mod step;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Parser;

/// The commands of the workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, arg_required_else_help = true)]
enum Task {
    /// Build Adit and show it at work on this machine: `cargo xtask demo [-- --once]`.
    ///
    /// Starts a relay, a gateway, a connector and a throw-away PostgreSQL, and stays up until Ctrl-C.
    /// Installs PostgreSQL first where it is missing (apt, as root or through sudo without a password).
    Demo {
        /// Build with optimisations: a longer build, and figures that mean something.
        #[arg(long)]
        release: bool,
        /// Arguments of `adit demo`, after `--`.
        #[arg(last = true, value_name = "ARGS")]
        arguments: Vec<String>,
    },
    /// Everything that a change must pass: format, lints, documents, licences, and all tests.
    ///
    /// Installs PostgreSQL and coturn first where they are missing (apt, as root or through sudo without a
    /// password). Stops at the first failure.
    Test(checks::Options),
    /// Play simulated worlds with the standard mix of faults: `cargo xtask sim --seed 7` tells one,
    /// `cargo xtask sim --seeds 10000` tries many.
    Sim(sim::Options),
    /// Measure which lines of the core its tests and the simulator's reach; fails below 95 %.
    ///
    /// Prints the lines that nothing reaches, and the share of each room. Installs cargo-llvm-cov and the toolchain's
    /// llvm-tools first where they are missing (some minutes, once); the build with instruments takes some more.
    Coverage(coverage::Options),
    /// Measure what Adit costs on this machine: `cargo xtask bench relay`, `cargo xtask bench platform`,
    /// `cargo xtask bench leases`, `cargo xtask bench -- --help`.
    ///
    /// Installs coturn or PostgreSQL first where it is missing (apt, as root or through sudo without a password).
    Bench {
        /// What is measured, and its options.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        arguments: Vec<String>,
    },
    /// Make up inputs for decoders, machines and whole worlds, and watch: `cargo xtask fuzz [TARGET…] --minutes 60`.
    ///
    /// Needs a nightly compiler; installs cargo-fuzz when it is missing. A crash ends it, with the one command that
    /// replays it. What `fuzz/corpus` holds is replayed by `cargo xtask test`, on the stable compiler.
    Fuzz(fuzz::Options),
    /// Run the core's unit tests that call no foreign code under miri, which needs a nightly compiler.
    Miri,
    /// Break the core on purpose, in every way of `tests/mutants`, and show which test notices.
    ///
    /// Works on a copy in `target/mutants`. A mutant that no test notices, or whose patch does not apply, fails it.
    Mutants(mutants::Options),
}

fn main() -> ExitCode {
    match run(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    std::env::set_current_dir(root()).context("cannot enter the workspace's directory")?;
    match task {
        Task::Demo { release, arguments } => demo(release, &arguments),
        Task::Test(options) => checks::run(&options),
        Task::Coverage(options) => coverage::run(&options),
        Task::Sim(options) => sim::run(&options),
        Task::Bench { arguments } => bench(&arguments),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Miri => miri::run(),
        Task::Mutants(options) => mutants::run(&options),
    }
}

/// Builds the binary, then becomes `adit demo`, so that Ctrl-C and exit statuses are the demo's own.
fn demo(release: bool, arguments: &[String]) -> Result<()> {
    packages::ensure(&[packages::POSTGRESQL])?;
    let mut cargo = cargo();
    cargo.args(["run", "--quiet", "--package", "adit"]).args(release.then_some("--release"));
    cargo.args(["--", "demo"]).args(arguments);
    eprintln!("building adit …");
    Err(cargo.exec()).context("cannot run cargo")
}

/// Builds the benches with optimisations, then becomes them. The relay's need nothing of the platform, whose libraries
/// take most of the time of a build.
fn bench(arguments: &[String]) -> Result<()> {
    let is_relay = arguments.first().is_some_and(|name| name == "relay");
    let needed = if is_relay { packages::COTURN } else { packages::POSTGRESQL };
    // What needs none goes on without it, and what needs it says so.
    if let Err(error) = packages::ensure(&[needed]) {
        eprintln!("{error:#}");
    }
    let mut cargo = cargo();
    cargo.args(["run", "--quiet", "--release", "--package", "adit-bench"]);
    cargo.args(is_relay.then_some("--no-default-features")).arg("--").args(arguments);
    eprintln!("building the benches …");
    Err(cargo.exec()).context("cannot run cargo")
}

/// The cargo that runs this program.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Where cargo puts what it builds: `CARGO_TARGET_DIR`, or `target`.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

fn has_subcommand(name: &str) -> bool {
    quietly(Command::new(format!("cargo-{name}")).args([name, "--version"]))
}

/// Whether `command` succeeds; what it says is not shown.
fn quietly(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn root() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}
