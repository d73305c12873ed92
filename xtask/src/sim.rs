//! `cargo xtask sim`: simulated worlds from seeds, one told step by step, or many.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::{cargo, target};

/// Options of `cargo xtask sim`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Play this seed aloud; where it breaks a law, find the few steps that this takes.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Play that many seeds, and sum up.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them; fresh ones by default.
    #[arg(long, value_name = "SEED", conflicts_with = "seed")]
    from: Option<u64>,
    /// Build with optimisations: some minutes of building, which many seeds repay.
    #[arg(long)]
    release: bool,
}

/// Builds the player, then becomes it. Of the whole workspace: one package alone has other features, and compiles anew.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut build = cargo();
    build.args(["build", "--quiet", "--workspace", "--example", "seeds"]);
    build.args(options.release.then_some("--release"));
    eprintln!("building the simulator …");
    if !build.status().context("cannot run cargo")?.success() {
        bail!("the simulator does not build");
    }
    let profile = if options.release { "release" } else { "debug" };
    let mut player = Command::new(target().join(profile).join("examples/seeds"));
    match options.seed {
        Some(seed) => player.args(["one", &seed.to_string()]),
        None => {
            let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
            let numbers = [options.seeds, options.from.unwrap_or_else(fresh), threads as u64];
            player.arg("many").args(numbers.map(|number| number.to_string()))
        }
    };
    Err(player.exec()).context("cannot run the simulator")
}

/// A seed that nobody has tried.
pub(crate) fn fresh() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
