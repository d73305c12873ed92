//! Loads a TURN server (RFC 8656) over UDP, counts what comes through, and what it costs the server; and forwards
//! between the same sockets as barely as a machine can, so that there is something to compare with.
//!
//! - A packet counts where it comes out: at the peer on the way up, at the client on the way down.
//! - Clients and peer are one thread, so that they can be kept on one core and the server on another.
//! - Each figure is a line of JSON on the standard output.
//!
//! Only `batch` holds `unsafe` code; its head says why.

mod batch;
mod field;
mod forwarder;
mod options;
mod packet;
mod process;
mod report;
mod run;
mod setup;
mod socket;
mod stun;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use field::Field;
use options::{Command, Latency, Options, Search, Setup, Throughput};
use run::{Outcome, Pace, Run};

/// How long a load goes on before it is measured, in seconds.
const WARM_UP: f64 = 0.3;
/// The rate below which nothing is searched, in packets per second.
const LOWEST_RATE: f64 = 10_000.0;
/// The rate at which a search warms up, in packets per second.
const WARM_RATE: u64 = 20_000;
/// How many rates are tried at most.
const MOST_TRIES: usize = 14;
/// A rate with this share of its packets lost is too high.
const MOST_LOSS: f64 = 0.01;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if let Some(cpu) = options.cpu {
        process::pin(cpu)?;
    }
    process::allow_many_files();
    match &options.command {
        Command::Throughput(options) => throughput(options),
        Command::Search(options) => search(options),
        Command::Latency(options) => latency(options),
        Command::Setup(options) => setup(options),
        Command::Forward(options) => forwarder::run(options),
    }
}

fn throughput(options: &Throughput) -> Result<()> {
    let mut field = Field::open(&options.server, &options.traffic)?;
    let pace = options.rate.map_or(Pace::Window(options.window), Pace::Rate);
    Run::new(&options.server, &options.traffic, &mut field).load(pace, WARM_UP);
    let outcome = Run::new(&options.server, &options.traffic, &mut field).load(pace, options.traffic.seconds);
    report::load("throughput", &options.server, &options.traffic, &outcome);
    field.leave();
    Ok(())
}

/// The highest rate at which nearly nothing is lost, between rates that were kept and rates that were not.
fn search(options: &Search) -> Result<()> {
    let mut field = Field::open(&options.server, &options.traffic)?;
    let mut load = |rate, seconds| {
        Run::new(&options.server, &options.traffic, &mut field).load(Pace::Rate(rate), seconds)
    };
    load(WARM_RATE, WARM_UP);
    let (mut kept, mut lost) = (LOWEST_RATE, None::<f64>);
    let mut best: Option<Outcome> = None;
    for _ in 0..MOST_TRIES {
        let rate = lost.map_or(kept * 2.0, |lost| f64::midpoint(kept, lost));
        let outcome = load(rate as u64, options.traffic.seconds);
        // What the generator itself cannot offer ends the search upwards.
        let is_offered = outcome.offered() >= 0.9 * rate;
        if outcome.loss() < MOST_LOSS {
            kept = rate;
            if best.as_ref().is_none_or(|best| outcome.rate() > best.rate()) {
                best = Some(outcome);
            }
        }
        if outcome.loss() >= MOST_LOSS || !is_offered {
            lost = Some(lost.map_or(rate, |lost| lost.min(rate)));
        }
        if lost.is_some_and(|lost| (lost - kept) / lost < 0.04) {
            break;
        }
    }
    report::load("search", &options.server, &options.traffic, &best.unwrap_or_default());
    field.leave();
    Ok(())
}

fn latency(options: &Latency) -> Result<()> {
    let mut field = Field::open(&options.server, &options.traffic)?;
    let run = Run::new(&options.server, &options.traffic, &mut field);
    let (outcome, times) = run.round_trips(options.rate, options.traffic.seconds);
    report::latency(&options.server, &options.traffic, options.rate, &outcome, times);
    field.leave();
    Ok(())
}

fn setup(options: &Setup) -> Result<()> {
    let measured = setup::measure(options)?;
    report::setup(options, measured);
    Ok(())
}
