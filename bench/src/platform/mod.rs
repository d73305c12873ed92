//! The control plane under load.
//!
//! 1. A platform with an empty store, in a process of its own ([`server`]); once on each kind of store.
//! 2. Gateways are made and enrolled through its API, each with its own key ([`fleet`]); its memory before and after.
//! 3. Heartbeats, then token exchanges, from many gateways at once; and, to compare with, an answer over the same
//!    HTTPS that does nothing.

mod fleet;
pub(crate) mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use adit_platform::client::{Client, ClientError};
use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::postgres::{Postgres, Programs};
use crate::say;
use fleet::{Agent, Fleet};
use server::{Kind, Server};

/// What is measured.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask bench platform
  cargo xtask bench platform --gateways 1000 --store sqlite
  cargo xtask bench platform --database postgres://bench@db.internal/bench")]
pub(crate) struct Options {
    /// How many gateways are enrolled.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    gateways: u32,
    /// How many requests are under way at once.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    parallel: u32,
    /// How long each load goes on.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// In what the platform stores; a PostgreSQL is started for the measurement alone.
    #[arg(long, value_enum, default_value_t = Stores::Both, conflicts_with = "database")]
    store: Stores,
    /// An empty PostgreSQL database to store in, which must be yours to fill.
    #[arg(long, value_name = "URL", env = "ADIT_BENCH_DATABASE", hide_env_values = true)]
    database: Option<String>,
}

/// On which stores it is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Stores {
    /// The embedded database.
    Sqlite,
    /// A PostgreSQL that is started for the measurement alone.
    Postgresql,
    /// One after the other.
    Both,
}

/// What one load came to.
struct Rate {
    requests: u64,
    wall: Duration,
    cpu: Duration,
}

/// What was measured on one store.
struct Figures {
    bare: Rate,
    first_beats: Rate,
    beats: Rate,
    tokens: Rate,
    /// Bytes: of an empty platform, with all gateways enrolled, after the load.
    memory: [u64; 3],
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    if let Some(url) = &options.database {
        return runtime.block_on(measure_and_show(options, "the PostgreSQL that was named", Some(url)));
    }
    if options.store != Stores::Postgresql {
        runtime.block_on(measure_and_show(options, "SQLite, embedded", None))?;
    }
    if options.store == Stores::Sqlite {
        return Ok(());
    }
    match Programs::find() {
        Some(programs) => {
            say("starting a PostgreSQL for this measurement");
            let postgres = Postgres::start(&programs)?;
            runtime.block_on(measure_and_show(options, "PostgreSQL", Some(&postgres.url())))
        }
        None => {
            ensure!(options.store == Stores::Both, "{NO_POSTGRESQL}");
            say(NO_POSTGRESQL);
            Ok(())
        }
    }
}

const NO_POSTGRESQL: &str = "PostgreSQL's server programs are neither in PATH nor below /usr/lib/postgresql, so nothing \
    is measured on it. Install them (Debian, Ubuntu: sudo apt-get install postgresql), or name a database with \
    --database postgres://…";

async fn measure_and_show(options: &Options, store: &str, database: Option<&str>) -> Result<()> {
    say(&format!("measuring a platform on {store}"));
    let figures = measure(options, database).await?;
    figures.show(store, options);
    Ok(())
}

async fn measure(options: &Options, database: Option<&str>) -> Result<Figures> {
    let directory = tempfile::Builder::new().prefix("adit-bench-").tempdir()?;
    let server = Server::start(directory.path(), database, Kind::Usual).await?;
    let empty = server.usage()?;

    let bar = progress("enrolling gateways", options.gateways);
    let fleet = Fleet::enrol(&server, options.gateways, options.parallel, &bar).await?;
    bar.finish_and_clear();
    let enrolled = server.usage()?;

    let (seconds, parallel) = (Duration::from_secs(options.seconds.into()), options.parallel as usize);
    say(&format!("{} gateways are enrolled; each report is the first one", options.gateways));
    let first_beats = load(&server, &fleet, parallel, Until::Each, Agent::beat).await?;
    say(&format!("answers that do nothing, heartbeats, token exchanges: {} s each", options.seconds));
    let bare = load(&server, &fleet, parallel, Until::Over(seconds), nothing).await?;
    let beats = load(&server, &fleet, parallel, Until::Over(seconds), Agent::beat).await?;
    let tokens = load(&server, &fleet, parallel, Until::Over(seconds), Agent::exchange).await?;
    let memory = [empty.memory, enrolled.memory, server.usage()?.memory];
    Ok(Figures { bare, first_beats, beats, tokens, memory })
}

/// When a load ends.
#[derive(Debug, Clone, Copy)]
enum Until {
    /// When each agent has had one turn.
    Each,
    /// When this much time is over.
    Over(Duration),
}

/// Every agent in turn does `work`, `parallel` of them at once.
async fn load<F>(
    server: &Server,
    fleet: &Fleet,
    parallel: usize,
    until: Until,
    work: fn(Arc<Agent>) -> F,
) -> Result<Rate>
where
    F: Future<Output = Result<(), ClientError>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicU64::new(0));
    let (before, began) = (server.usage()?, Instant::now());
    let workers = (0..parallel).map(|_| {
        let (agents, next, done) = (fleet.agents(), Arc::clone(&next), Arc::clone(&done));
        tokio::spawn(async move {
            loop {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let is_over = match until {
                    Until::Each => turn >= agents.len(),
                    Until::Over(time) => began.elapsed() >= time,
                };
                if is_over {
                    return Ok::<(), ClientError>(());
                }
                work(Arc::clone(&agents[turn % agents.len()])).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await?.context("a request failed under load")?;
    }
    let (requests, wall) = (done.load(Ordering::Relaxed), began.elapsed());
    ensure!(requests > 0, "not one request was answered");
    Ok(Rate { requests, wall, cpu: server.usage()?.cpu.saturating_sub(before.cpu) })
}

/// The least that a request can be: `/healthz`, which asks nothing and nobody.
async fn nothing(agent: Arc<Agent>) -> Result<(), ClientError> {
    Client::text(agent.client(), "/healthz").await.map(drop)
}

impl Figures {
    fn show(&self, store: &str, options: &Options) {
        let gateways = options.gateways;
        println!("\n{store}, {gateways} gateways, {} requests at once", options.parallel);
        println!("{:<34}{:>12}{:>14}{:>14}{:>12}", "", "requests", "per second", "per CPU s", "ratio");
        let rows = [
            ("an empty answer over HTTPS", &self.bare),
            ("first heartbeat: a watch begins", &self.first_beats),
            ("heartbeat", &self.beats),
            ("token exchange (two requests)", &self.tokens),
        ];
        for (name, rate) in rows {
            let per_second = rate.requests as f64 / rate.wall.as_secs_f64();
            let (per_cpu, ratio) = (1.0 / rate.cost(), rate.cost() / self.bare.cost());
            println!("{name:<34}{:>12}{per_second:>14.0}{per_cpu:>14.0}{ratio:>12.1}", rate.requests);
        }
        let [empty, enrolled, loaded] = self.memory;
        println!();
        for (name, bytes) in [("empty", empty), ("all enrolled", enrolled), ("after the load", loaded)] {
            let each = bytes.saturating_sub(empty) as f64 / f64::from(gateways) / 1024.0;
            let mib = bytes as f64 / f64::from(1 << 20);
            println!("memory, {name:<26}{mib:>12.1} MiB {each:>12.2} KiB more for each gateway");
        }
        println!("\nCPU seconds are the platform's own: the database server's are not among them.");
    }
}

impl Rate {
    /// Seconds of CPU time for each request.
    fn cost(&self) -> f64 {
        self.cpu.as_secs_f64() / self.requests as f64
    }
}

/// Shown on a terminal only; elsewhere the stages are said.
pub(crate) fn progress(what: &str, count: u32) -> ProgressBar {
    say(&format!("{what}: {count}"));
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len}, {eta} to go");
    ProgressBar::new(count.into()).with_style(style.expect("the template is ours"))
}
