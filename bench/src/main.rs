//! What Adit costs, measured side by side with what the same work costs without it, in the same run.
//!
//! Figures are CPU time of the process under test, so that other work on the machine does not count, and are given
//! as ratios where there is something to compare with.

#[cfg(feature = "platform")]
mod leases;
#[cfg(feature = "platform")]
mod platform;
#[cfg(feature = "platform")]
mod postgres;
mod relay;
#[cfg(feature = "platform")]
mod usage;

use anyhow::Result;
use clap::Parser;

/// Measure what Adit costs on this machine.
#[derive(Debug, Parser)]
#[command(name = "adit-bench", bin_name = "cargo xtask bench", version, arg_required_else_help = true)]
enum Bench {
    /// The relay: CPU time of each packet, latency, memory, set-up, next to coturn and to bare forwarders.
    Relay(relay::Options),
    /// The relay that is measured, in a process of its own.
    #[command(hide = true)]
    ServeRelay(relay::serve::Options),
    /// The control plane: heartbeats and token exchanges per CPU second, and memory with many gateways.
    #[cfg(feature = "platform")]
    Platform(platform::Options),
    /// Dynamic secrets: leases made and revoked through gateway and relay, next to the same SQL over a direct connection.
    #[cfg(feature = "platform")]
    Leases(leases::Options),
    /// The platform that is measured, in a process of its own.
    #[cfg(feature = "platform")]
    #[command(hide = true)]
    ServePlatform(platform::server::Options),
    /// The relay and the gateway on the way to a server, in a process of their own.
    #[cfg(feature = "platform")]
    #[command(hide = true)]
    ServeWay(leases::way::Options),
}

fn main() -> Result<()> {
    match Bench::parse() {
        Bench::Relay(options) => relay::run(&options),
        Bench::ServeRelay(options) => relay::serve::run(&options),
        #[cfg(feature = "platform")]
        Bench::Platform(options) => platform::run(&options),
        #[cfg(feature = "platform")]
        Bench::Leases(options) => leases::run(&options),
        #[cfg(feature = "platform")]
        Bench::ServePlatform(options) => platform::server::run(options),
        #[cfg(feature = "platform")]
        Bench::ServeWay(options) => leases::way::run(&options),
    }
}

/// Says how far a measurement has come; its figures alone go to the standard output.
fn say(line: &str) {
    eprintln!("{line}");
}
