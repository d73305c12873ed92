//! A relay that strangers flood, beside connections that say nothing or little, relays on: a client of it loses no datagram,
//! and afterwards the relay holds what it held before.
//!
//! The strangers come from addresses of this machine, 127.0.0.0/8, of which there are enough for every limit per source.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod client;
mod cores;
mod crowd;
mod packets;
mod strangers;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use adit_tests::adit::World;
use adit_tests::monitor::{metric, page};
use adit_tests::papers::RelayPapers;
use adit_tests::process::{PATIENCE, Running};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, setrlimit};

use client::{Client, Trips};
use crowd::Crowd;
use strangers::Strangers;

/// Hostile datagrams a second.
const RATE: u32 = 20_000;
/// How much more memory a relay may hold after the flood than before, in bytes: tables that have grown, and what the
/// allocator keeps. All sources that may be remembered cost some 10 MB of it, and 1,024 sessions some 30.
const GROWTH: u64 = 64 << 20;
/// The same, from when a tenth of the flood has passed to its end: nothing grows with the length of a flood.
const LEAK: u64 = 16 << 20;

/// One at a time: the other would be part of its flood.
static ALONE: Mutex<()> = Mutex::new(());

/// What a flood has done.
struct Outcome {
    /// Round trips before it, and during it.
    quiet: Trips,
    flooded: Trips,
}

#[test]
fn a_flood_of_strangers_costs_a_client_no_datagram() {
    flood(100_000, Duration::from_secs(1), false);
}

#[test]
#[ignore = "takes ten minutes of a quiet machine with two cores, as root: cargo xtask test --long"]
fn ten_million_hostile_datagrams_cost_a_client_nothing() {
    let Outcome { quiet, flooded } = flood(10_000_000, Duration::from_secs(60), true);
    let (quiet, flooded) = (quiet.percentile(99), flooded.percentile(99));
    assert!(flooded <= quiet + quiet / 10, "the 99th percentile of round trips: {flooded:?} for {quiet:?}");
}

/// A relay with everything that strangers can reach.
struct Target {
    _world: World,
    relay: Running,
    at: SocketAddr,
    pages: SocketAddr,
}

impl Target {
    fn start() -> Self {
        let world = World::new();
        let (at, pages) = (world.address("127.0.0.1"), world.address("127.0.0.1"));
        let papers = RelayPapers::new(&world.place);
        let mut command = world.relay_command(&[at]);
        command.args(["--monitor-listen", &pages.to_string(), "--tls-listen", "127.0.0.1:0"]);
        command.arg("--tls-cert").arg(papers.certificate).arg("--tls-key").arg(papers.key);
        // A relay that logs each failure would be measured by its log.
        command.env("RUST_LOG", "warn,adit=info");
        let mut relay = Running::start("adit relay", command);
        relay.expect_line(&format!("listening on {at}"));
        Self { _world: world, relay, at, pages }
    }

    /// Waits until it holds nothing of anybody but the one client.
    fn wait_until_empty(&self) {
        let until = Instant::now() + PATIENCE;
        let held = |name| metric(self.pages, name);
        while held("turn_links_active") + held("turn_sessions_active") > 0 {
            assert!(Instant::now() < until, "it still holds something:\n{}", page(self.pages, "/metrics").1);
            thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(held("turn_allocations_active"), 1);
    }
}

/// Floods a relay with `count` datagrams while a client has its data relayed, which it has for as long as `quiet` before.
/// Where the relay has a core of its own, and its client goes before the strangers on the other, round trips say what the
/// flood costs; else they say who gets a core.
fn flood(count: u64, quiet: Duration, own_core: bool) -> Outcome {
    let _alone = ALONE.lock();
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let target = Target::start();
    let (at, process) = (target.at, target.relay.pid());
    if own_core {
        cores::give_one(process);
    }
    let mut client = Client::start(at, own_core);
    let mut strangers = Strangers::new();

    let ((), quiet) = client.during(|| thread::sleep(quiet));
    let (before, computed) = (resident(process), cpu(process));

    let ((warm, speed), flooded) = crowded(at, || {
        client.during(|| {
            let began = Instant::now();
            strangers.send(at, count / 10, RATE);
            let warm = resident(process);
            strangers.send(at, count - count / 10, RATE);
            (warm, count as f64 / began.elapsed().as_secs_f64())
        })
    });
    let computed = cpu(process) - computed;
    target.wait_until_empty();
    let after = resident(process);

    println!("{count} hostile datagrams, {speed:.0} a second");
    let each = computed.as_nanos() / u128::from(count);
    println!("the relay computed for {each} ns for each, its client and connections included");
    println!("round trips before the flood: {quiet}");
    println!("round trips during it:        {flooded}");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "memory: {:.1} MiB before, {:.1} after a tenth, {:.1} MiB after",
        mib(before),
        mib(warm),
        mib(after)
    );
    println!("{}", reasons(&target));

    assert_eq!((quiet.lost(), flooded.lost()), (0, 0), "datagrams were lost");
    assert!(after <= before + GROWTH, "it holds {} bytes more than before", after - before);
    assert!(after <= warm + LEAK, "it holds {} bytes more than after a tenth", after - warm);
    has_seen_everything(&target);
    Outcome { quiet, flooded }
}

/// Does something while a relay has all the connections that it takes, and some more.
fn crowded<T>(at: SocketAddr, work: impl FnOnce() -> T) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| Crowd::new(at).press(&over));
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}

/// What of a process lies in memory, in bytes.
fn resident(process: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// How long a process has computed.
fn cpu(process: Pid) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).unwrap();
    let of = |thread: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
        Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
    };
    threads.map(of).sum()
}

/// What was dropped, and why.
fn reasons(target: &Target) -> String {
    let (_, text) = page(target.pages, "/metrics");
    let of = ["turn_dropped", "turn_auth", "turn_links_ended", "turn_sessions_ended", "adit_socket_dropped"];
    let told = |line: &&str| of.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0");
    text.lines().filter(told).collect::<Vec<_>>().join("\n")
}

/// A flood that reaches no limit shows nothing.
fn has_seen_everything(target: &Target) {
    for name in [
        r#"turn_dropped_packets_total{reason="malformed"}"#,
        r#"turn_dropped_packets_total{reason="unexpected"}"#,
        r#"turn_dropped_packets_total{reason="no_allocation"}"#,
        r#"turn_dropped_packets_total{reason="over_budget"}"#,
        r#"turn_dropped_packets_total{reason="no_hello"}"#,
        r#"turn_dropped_packets_total{reason="too_many_sessions"}"#,
        r#"turn_auth_failures_total{reason="wrong_password"}"#,
        r#"turn_auth_failures_total{reason="unknown_user"}"#,
        r#"turn_links_ended_total{reason="too_many_opening"}"#,
        r#"turn_links_ended_total{reason="too_many_of_source"}"#,
        r#"turn_links_ended_total{reason="never_spoke"}"#,
        r#"turn_links_ended_total{reason="garbage"}"#,
        r#"turn_sessions_ended_total{reason="too_slow"}"#,
    ] {
        assert!(metric(target.pages, name) > 0, "{name}\n{}", reasons(target));
    }
}
