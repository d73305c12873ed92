//! What a byte costs under each runtime, in one run:
//! `cargo test --release -p adit-tests --test parity -- --ignored --nocapture what_a_byte_costs`.
//!
//! Only the threads of the runtimes are counted, on which gateway and connector run; relay and targets have their
//! own. The runtimes take turns, so that whatever else the machine does meets both.

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use adit_smol::Smol;
use adit_tokio::Tokio;

use crate::real::Real;
use crate::runtimes::Parlour;
use crate::stage::{FLOOD, Stage, What};

const ROUNDS: usize = 5;
const CHUNK: usize = 64 * 1024;

#[derive(Default)]
struct Cost {
    bytes: u64,
    wall: Duration,
    cpu: Duration,
    rates: Vec<f64>,
}

#[test]
#[ignore = "a measurement, for release builds"]
fn what_a_byte_costs() {
    let mut costs: BTreeMap<(&str, &str), Cost> = BTreeMap::new();
    for round in 0..=ROUNDS {
        // The first round only warms up.
        let mut into = BTreeMap::new();
        let costs = if round == 0 { &mut into } else { &mut costs };
        measure::<Tokio>("tokio", costs);
        measure::<Smol>("smol", costs);
    }
    for ((what, runtime), cost) in &costs {
        let rate = cost.bytes as f64 / 1e6 / cost.wall.as_secs_f64();
        let price = cost.cpu.as_nanos() as f64 / cost.bytes as f64;
        println!(
            "{what:9} {runtime:6} {rate:7.0} MB/s  {price:6.2} ns of CPU per byte; rounds {:.0?}",
            cost.rates
        );
    }
    for what in ["download", "upload"] {
        let price = |runtime| {
            let cost = &costs[&(what, runtime)];
            cost.cpu.as_secs_f64() / cost.bytes as f64
        };
        println!("{what}: smol takes {:.2} of tokio's CPU", price("smol") / price("tokio"));
    }
}

#[test]
#[ignore = "a measurement of the whole process, to be run alone"]
fn an_idle_tunnel_costs_nothing() {
    idle::<Tokio>("tokio");
    idle::<Smol>("smol");
}

fn idle<R: Parlour>(name: &str) {
    let mut stage = Real::<R>::start();
    let _stream = stage.open(What::Echo).unwrap();
    let (time, before) = (Duration::from_secs(3), cpu());
    std::thread::sleep(time);
    let share = (cpu() - before).as_secs_f64() / time.as_secs_f64();
    println!("{name}: an idle tunnel takes {:.3} % of a CPU", share * 100.0);
    assert!(share < 0.02);
}

fn measure<R: Parlour>(name: &'static str, costs: &mut BTreeMap<(&'static str, &'static str), Cost>) {
    let mut stage = Real::<R>::start();
    let mut down = stage.open(What::Flood).ok();
    let mut up = stage.open(What::Sink).ok();
    let mut note = |what, work: &mut dyn FnMut()| {
        let (start, before) = (Instant::now(), cpu());
        work();
        let (wall, cpu) = (start.elapsed(), cpu().saturating_sub(before));
        let cost = costs.entry((what, name)).or_default();
        cost.bytes += FLOOD as u64;
        cost.wall += wall;
        cost.cpu += cpu;
        cost.rates.push(FLOOD as f64 / 1e6 / wall.as_secs_f64());
    };
    let runtime = stage.runtime.clone();
    note("download", &mut || on(&runtime, download::<R>(down.take().unwrap())));
    note("upload", &mut || on(&runtime, upload::<R>(up.take().unwrap())));
}

/// Does `work` on the runtime itself, as an application would.
fn on<R: Parlour>(runtime: &R, work: impl Future<Output = ()> + Send + 'static) {
    let (tell, told) = mpsc::channel();
    runtime.spawn(async move {
        work.await;
        tell.send(()).unwrap();
    });
    told.recv().unwrap();
}

async fn download<R: Parlour>(mut stream: R::Stream) {
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    while total < FLOOD {
        total += R::read_some(&mut stream, &mut buffer).await.unwrap();
    }
}

async fn upload<R: Parlour>(mut stream: R::Stream) {
    let buffer = vec![7; CHUNK];
    for _ in 0..FLOOD / CHUNK {
        R::write(&mut stream, &buffer).await.unwrap();
    }
    R::finish(&mut stream).await.unwrap();
    // The end comes back when all has arrived.
    R::read_some(&mut stream, &mut [0]).await.unwrap();
}

/// The time that all threads but those of relay and targets have run.
fn cpu() -> Duration {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    let times = threads.filter_map(|thread| {
        let name = fs::read_to_string(thread.path().join("comm")).ok()?;
        let others = ["adit-relay", "target"].iter().any(|other| name.starts_with(other));
        // Nanoseconds on a CPU, then in the queue, then the number of turns.
        let schedstat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let time = schedstat.split_whitespace().next()?.parse().ok()?;
        (!others).then_some(Duration::from_nanos(time))
    });
    times.sum()
}
