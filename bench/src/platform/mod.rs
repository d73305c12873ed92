//! The control plane under load.
//!
//! 1. A platform with an empty store, in a process of its own ([`server`]).
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

use fleet::{Agent, Fleet};
use server::Server;

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many gateways are enrolled.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    gateways: u32,
    /// How many requests are under way at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    parallel: u32,
    /// How long each load goes on, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=600))]
    seconds: u16,
    /// PostgreSQL to store in, as `postgres://…`; the embedded database otherwise.
    #[arg(long, env = "ADIT_BENCH_DATABASE", hide_env_values = true)]
    database: Option<String>,
}

/// What one load came to.
struct Rate {
    requests: u64,
    wall: Duration,
    cpu: Duration,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(measure(options))
}

async fn measure(options: &Options) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("adit-bench-").tempdir()?;
    let server = Server::start(directory.path(), options.database.as_deref()).await?;
    let empty = server.usage()?;

    let bar = progress(options.gateways);
    let fleet = Fleet::enrol(&server, options.gateways, options.parallel, &bar).await?;
    bar.finish_and_clear();
    let enrolled = server.usage()?;

    let seconds = Duration::from_secs(options.seconds.into());
    let parallel = options.parallel as usize;
    let bare = load(&server, &fleet, parallel, seconds, nothing).await?;
    let beats = load(&server, &fleet, parallel, seconds, Agent::beat).await?;
    let tokens = load(&server, &fleet, parallel, seconds, Agent::exchange).await?;
    let loaded = server.usage()?;

    println!("{:<34}{:>12}{:>14}{:>14}{:>12}", "", "requests", "per second", "per CPU s", "ratio");
    row("an empty answer over HTTPS", &bare, &bare);
    row("heartbeat", &beats, &bare);
    row("token exchange (two requests)", &tokens, &bare);
    println!();
    memory("memory, empty", empty.memory, 0, 1);
    memory(
        &format!("memory, {} gateways enrolled", options.gateways),
        enrolled.memory,
        empty.memory,
        options.gateways,
    );
    memory("memory, after the load", loaded.memory, empty.memory, options.gateways);
    Ok(())
}

/// Every agent in turn does `work`, `parallel` of them at once, until `time` is over.
async fn load<F>(
    server: &Server,
    fleet: &Fleet,
    parallel: usize,
    time: Duration,
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
            while began.elapsed() < time {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                work(Arc::clone(&agents[turn % agents.len()])).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), ClientError>(())
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

fn row(name: &str, rate: &Rate, bare: &Rate) {
    let per_second = rate.requests as f64 / rate.wall.as_secs_f64();
    let cost = |rate: &Rate| rate.cpu.as_secs_f64() / rate.requests as f64;
    let (per_cpu, ratio) = (1.0 / cost(rate), cost(rate) / cost(bare));
    println!("{name:<34}{:>12}{per_second:>14.0}{per_cpu:>14.0}{ratio:>12.2}", rate.requests);
}

fn memory(name: &str, bytes: u64, base: u64, gateways: u32) {
    let mib = bytes as f64 / f64::from(1 << 20);
    match base {
        0 => println!("{name:<40}{mib:>10.1} MiB"),
        _ => {
            let each = bytes.saturating_sub(base) as f64 / f64::from(gateways) / 1024.0;
            println!("{name:<40}{mib:>10.1} MiB, {each:.2} KiB more for each gateway");
        }
    }
}

fn progress(gateways: u32) -> ProgressBar {
    let style = ProgressStyle::with_template("enrolling gateways {bar:40} {pos}/{len}, {eta} to go");
    ProgressBar::new(gateways.into()).with_style(style.expect("the template is ours"))
}
