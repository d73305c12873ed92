//! What was measured, as lines of JSON.

use std::time::Duration;

use serde_json::json;

use crate::options::{Server, Setup, Traffic};
use crate::run::Outcome;
use crate::setup::Measured;

/// Of a throughput or a search.
pub(crate) fn load(command: &str, server: &Server, traffic: &Traffic, outcome: &Outcome) {
    let line = json!({
        "command": command,
        "size": traffic.size,
        "allocations": server.allocations,
        "packets_per_second": outcome.rate(),
        "gigabits_per_second": outcome.rate() * f64::from(traffic.size) * 8e-9,
        "loss": outcome.loss(),
        "server_ns_per_packet": nanoseconds(outcome.server) / outcome.received.max(1) as f64,
        "server_cores": outcome.server.as_secs_f64() / outcome.seconds.max(f64::MIN_POSITIVE),
        "generator_cores": outcome.generator.as_secs_f64() / outcome.seconds.max(f64::MIN_POSITIVE),
    });
    println!("{line}");
}

/// Of round trips, which took so many microseconds each.
pub(crate) fn latency(server: &Server, traffic: &Traffic, rate: u64, outcome: &Outcome, times: Vec<f64>) {
    let times = Sorted::new(times);
    let line = json!({
        "command": "latency",
        "size": traffic.size,
        "allocations": server.allocations,
        "rate": rate,
        "round_trips": times.0.len(),
        "loss": outcome.loss(),
        "p50_us": times.percentile(0.5),
        "p99_us": times.percentile(0.99),
        "p999_us": times.percentile(0.999),
        "server_us_per_round_trip": nanoseconds(outcome.server) / 1e3 / outcome.received.max(1) as f64,
    });
    println!("{line}");
}

/// Of allocations.
pub(crate) fn setup(options: &Setup, measured: Measured) {
    let server = &options.server;
    let count = f64::from(server.allocations);
    let Measured { seconds, times, before, after } = measured;
    let times = Sorted::new(times);
    let line = json!({
        "command": "setup",
        "allocations": server.allocations,
        "permissions": server.permissions,
        "parallel": server.parallel,
        "allocations_per_second": count / seconds,
        "p50_us": times.percentile(0.5),
        "p99_us": times.percentile(0.99),
        "server_us_per_allocation": nanoseconds(after.cpu.saturating_sub(before.cpu)) / 1e3 / count,
        "memory_before": before.memory,
        "memory_after": after.memory,
        "bytes_per_allocation": after.memory.saturating_sub(before.memory) as f64 / count,
    });
    println!("{line}");
}

fn nanoseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}

struct Sorted(Vec<f64>);

impl Sorted {
    fn new(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// `None` where nothing was measured.
    fn percentile(&self, share: f64) -> Option<f64> {
        let last = self.0.len().checked_sub(1)?;
        Some(self.0[((self.0.len() as f64 * share) as usize).min(last)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let sorted = Sorted::new((1..=100).rev().map(f64::from).collect());
        assert_eq!((sorted.percentile(0.5), sorted.percentile(0.99)), (Some(51.0), Some(100.0)));
        assert_eq!(sorted.percentile(1.0), Some(100.0));
        assert_eq!(Sorted::new(Vec::new()).percentile(0.5), None);
    }
}
