//! `adit demo`: all parts and a private PostgreSQL on this machine, and a proof that the tunnel works.
//!
//! Platform, relay, gateway and connector are processes of their own, started as anybody would start them: relay and
//! gateway enrol with tokens. Between gateway and relay stands a tap, which sees what the relay sees. Nothing is left
//! behind.

mod lease;
mod part;
mod parts;
mod picture;
mod postgres;
mod proof;
mod stop;
mod tap;
mod world;

use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::exit::{Exit, Failure};
use crate::log::tell;
use picture::Picture;
use stop::{Interrupted, Stop};
use world::World;

/// Show Adit at work on this machine, with a private PostgreSQL.
///
/// Starts a platform, a relay and a gateway that enrol there with tokens, a connector with a certificate for one
/// target, and a throw-away PostgreSQL; reads a row and runs pgbench through the tunnel, leases a database user of its
/// own that reads the row and is gone when the lease is revoked, and stays up until Ctrl-C with the psql line to try. A
/// tap between gateway and relay counts what passes there, and looks for the row's text in it. Nothing is left behind.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  adit demo
  adit demo --once       # ends after the proof, with status 0")]
pub(crate) struct Demo {
    /// End after the proof, with status 0, instead of staying up until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// The local port that leads to the database; 0 takes a free one.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// How long pgbench works through the tunnel, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
}

/// Starts everything, shows the proof, and stays up until it is told to end.
pub(crate) fn run(demo: &Demo) -> Result<(), Failure> {
    match show(demo) {
        // Without --once, to be told to end is a good end at any time.
        Err(error) if error.is::<Interrupted>() && !demo.once => Ok(()),
        result => result.map_err(|error| Failure::new(Exit::Other, format!("{error:#}"))),
    }
}

/// Whatever has been started ends with the world, also on the way out of an error.
fn show(demo: &Demo) -> Result<()> {
    let stop = Stop::on_signals()?;
    let mut world = World::start(demo.port, &stop)?;
    let proof = proof::show(&mut world, demo.seconds, &stop)?;
    let mut picture = Picture::new(&world, &proof, io::stdout().is_terminal() && !demo.once);
    picture.draw(&world);
    if !demo.once {
        picture.invite(&world);
        stay(&mut world, &mut picture, &stop)?;
        tell(format_args!("\nstopping …"));
    }
    Ok(())
}

/// Redraws the picture each second until a signal comes or a part fails.
fn stay(world: &mut World, picture: &mut Picture, stop: &Stop) -> Result<()> {
    while !stop.is_asked() {
        world.check()?;
        picture.redraw(world);
        for _ in 0..10 {
            if !stop.is_asked() {
                thread::sleep(Duration::from_millis(100));
            }
        }
    }
    Ok(())
}
