//! What the relay costs, next to another TURN server and to the least that any relay can cost on this machine.
//!
//! 1. `turnload` (`bench/turnload`) is built: it makes allocations, sends, and counts what comes out; and it is the two
//!    bare forwarders, one with a call for many datagrams, one with coalesced bursts besides.
//! 2. Each server runs in a process of its own on the first core, the generator on the second ([`server`]).
//! 3. All servers take turns, so that what else the machine does falls on all alike; each figure ([`case`]) is the
//!    median of the turns, with the least and the most.
//! 4. A table with the targets, and a picture ([`report`], [`plot`]).
//!
//! The figure that means most is the server's CPU time for each packet: rates are also the generator's.

mod case;
mod figures;
mod generator;
mod plot;
mod report;
pub(crate) mod serve;
mod server;

use anyhow::{Result, ensure};
use rustix::process::{Resource, getrlimit};

use crate::say;
use case::{CASES, Case, On};
use figures::{Figures, Name};
use generator::Generator;
use server::{Kind, Running};

/// What is measured.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench relay --quick
  cargo xtask bench relay --servers adit,gro --cases batched")]
pub(crate) struct Options {
    /// Which servers: adit, coturn, turn-rs, and the bare forwarders mmsg and gro.
    #[arg(
        long,
        value_name = "NAMES",
        value_enum,
        value_delimiter = ',',
        default_value = "adit,coturn,turn-rs,mmsg,gro"
    )]
    servers: Vec<Kind>,
    /// Only the cases whose name begins with one of these.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    cases: Vec<String>,
    /// How often each figure is measured.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=99))]
    repetitions: Option<u32>,
    /// Short loads, three repetitions, and fewer allocations: some minutes, and figures that say less.
    #[arg(long)]
    quick: bool,
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
struct Plan {
    repetitions: u32,
    /// Of each load.
    seconds: f64,
    /// Of each rate that is tried.
    search_seconds: f64,
    /// At 80 % of the highest rate.
    loss_seconds: f64,
    /// How many allocations are many.
    many: u32,
}

impl Options {
    fn plan(&self) -> Plan {
        let (repetitions, plan) = match self.quick {
            true => (
                3,
                Plan { repetitions: 0, seconds: 0.5, search_seconds: 0.2, loss_seconds: 5.0, many: 5_000 },
            ),
            false => (
                5,
                Plan {
                    repetitions: 0,
                    seconds: 1.5,
                    search_seconds: 0.5,
                    loss_seconds: 60.0,
                    many: most_allocations(),
                },
            ),
        };
        Plan { repetitions: self.repetitions.unwrap_or(repetitions), ..plan }
    }

    fn wants(&self, case: &Case) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|wanted| case.name.starts_with(wanted.as_str()))
    }
}

/// 20,000 allocations, or as many as the system allows: server and generator have an open file for each, and some more.
fn most_allocations() -> u32 {
    serve::allow_many_files();
    let allowed = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    u32::try_from(allowed.saturating_sub(100)).unwrap_or(u32::MAX).min(20_000)
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    ensure!(cores >= 2, "server and generator need a core each, and there is one");
    let servers = available(&options.servers)?;
    let generator = Generator::build()?;
    let plan = options.plan();
    let mut figures = Figures::default();
    for repetition in 1..=plan.repetitions {
        for &server in &servers {
            say(&format!("{repetition} of {}: {}", plan.repetitions, server.name()));
            for on in [On::Pinned, On::Unpinned, On::Fresh] {
                let cases = CASES.iter().filter(|case| case.on == on && options.wants(case));
                measure(cases, server, &generator, plan, &mut figures)?;
            }
        }
    }
    report::show(&figures, &servers, plan);
    let picture = plot::write(&figures, &servers)?;
    say(&format!("a picture of it is {}", picture.display()));
    Ok(())
}

/// Those of the servers that are installed; says what is not.
fn available(wanted: &[Kind]) -> Result<Vec<Kind>> {
    let (there, absent): (Vec<Kind>, Vec<Kind>) = wanted.iter().partition(|server| server.is_installed());
    for server in absent {
        say(&format!("{} is not installed, so it is left out: {}", server.name(), server.how_to_install()));
    }
    ensure!(!there.is_empty(), "none of the servers is installed");
    Ok(there)
}

/// Runs cases against a server, which is started for all of them, or for each.
fn measure<'a>(
    cases: impl Iterator<Item = &'a Case>,
    server: Kind,
    generator: &Generator,
    plan: Plan,
    figures: &mut Figures,
) -> Result<()> {
    let mut running: Option<Running> = None;
    for case in cases.filter(|case| !case.turn_only || server.is_turn()) {
        let known = |name| figures.median(Name(name), server);
        let Some(arguments) = case.arguments(plan, known) else { continue };
        let process = match running.take() {
            Some(process) if case.on != On::Fresh => process,
            _ => Running::start(server, generator, case.on != On::Unpinned)?,
        };
        match generator.run(&arguments, &process, case.on != On::Unpinned) {
            Ok(line) => {
                for figure in case.figures {
                    figures.add(figure, server, line.get(figure.key).and_then(serde_json::Value::as_f64));
                }
            }
            // One that a server does not master is missing in the table; the others are still of interest.
            Err(error) => say(&format!("{}, {}: {error:#}", server.name(), case.name)),
        }
        running = Some(process);
    }
    Ok(())
}
