//! The cases: what the generator does in each, which of its figures count, and what is aimed at.

use super::Plan;
use super::server::Kind;

/// One run of the generator.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) on: On,
    /// It is about allocations, which the bare forwarders have not.
    pub(super) turn_only: bool,
    /// The arguments that are the same in every run.
    fixed: &'static str,
    length: Length,
    pub(super) figures: &'static [Figure],
}

/// On what a case is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum On {
    /// A server on a core of its own, which serves other cases, too.
    Pinned,
    /// A server that goes where the kernel wants it, as the generator does.
    Unpinned,
    /// A server that has served nobody.
    Fresh,
}

/// What differs between a quick run and a thorough one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Load,
    /// A load on many allocations.
    Many,
    Search,
    /// At 80 % of the highest rate that was found.
    MostOf(&'static str),
    /// So many allocations.
    Allocations(u32),
    /// As many as are many.
    ManyAllocations,
}

/// One figure of a case.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    /// Its name in the generator's report.
    pub(super) key: &'static str,
    pub(super) unit: Unit,
    pub(super) targets: &'static [Target],
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// CPU nanoseconds of the server for each packet.
    NanosecondsPerPacket,
    /// Microseconds.
    Microseconds,
    /// CPU microseconds of the server.
    CpuMicroseconds,
    /// Packets per second.
    PacketsPerSecond,
    /// Allocations per second.
    PerSecond,
    /// Bytes, shown as KiB.
    Kibibytes,
    /// A share, shown in percent.
    Share,
}

/// What Adit's figure is aimed to be at most.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// So many times that of another server.
    Of(f64, Kind),
    /// So many times another figure of its own.
    OfOwn(f64, &'static str),
    /// So much.
    Absolute(f64),
}

const NS: &str = "server_ns_per_packet";
const BATCHED: &[Target] = &[Target::Of(1.3, Kind::Gro)];
/// The kernel's part grows with the number of sockets, which the bare forwarder shows.
const MANY: &[Target] = &[Target::OfOwn(1.1, FEW), Target::Of(1.3, Kind::Gro)];
const SINGLE: &[Target] = &[Target::Of(1.1, Kind::Mmsg)];
const UNBATCHED: &[Target] = &[Target::Of(1.1, Kind::Mmsg), Target::Of(0.8, Kind::Coturn)];

const fn cost(name: &'static str, targets: &'static [Target]) -> Figure {
    Figure { name, key: NS, unit: Unit::NanosecondsPerPacket, targets }
}

const fn time(name: &'static str, key: &'static str, targets: &'static [Target]) -> Figure {
    Figure { name, key, unit: Unit::Microseconds, targets }
}

const fn load(name: &'static str, on: On, fixed: &'static str, figures: &'static [Figure]) -> Case {
    Case { name, on, turn_only: false, fixed, length: Length::Load, figures }
}

const fn setup(name: &'static str, length: Length, fixed: &'static str, figures: &'static [Figure]) -> Case {
    Case { name, on: On::Fresh, turn_only: true, fixed, length, figures }
}

const fn memory(name: &'static str) -> Figure {
    Figure { name, key: "bytes_per_allocation", unit: Unit::Kibibytes, targets: &[Target::Absolute(4096.0)] }
}

const fn setup_cost(name: &'static str, targets: &'static [Target]) -> Figure {
    Figure { name, key: "server_us_per_allocation", unit: Unit::CpuMicroseconds, targets }
}

/// In the order in which they are run and shown. Packets are sent up to a peer, or both ways; batched ones are cut
/// and coalesced by the kernel, as QUIC sends and receives them.
pub(super) const CASES: &[Case] = &[
    load(
        "batched 64 B up",
        On::Pinned,
        "throughput --gso --gro --size 64",
        &[cost("batched 64 B up", BATCHED)],
    ),
    load("batched 200 B up", On::Pinned, "throughput --gso --gro --size 200", &[cost(FEW, BATCHED)]),
    load(
        "batched 1200 B up",
        On::Pinned,
        "throughput --gso --gro --size 1200",
        &[cost("batched 1200 B up", BATCHED)],
    ),
    load(
        "batched 64 B both ways",
        On::Pinned,
        "throughput --gso --gro --size 64 --direction both",
        &[cost("batched 64 B both ways", BATCHED)],
    ),
    load(
        "batched 200 B both ways",
        On::Pinned,
        "throughput --gso --gro --size 200 --direction both",
        &[cost("batched 200 B both ways", BATCHED)],
    ),
    load(
        "batched 1200 B both ways",
        On::Pinned,
        "throughput --gso --gro --size 1200 --direction both",
        &[cost("batched 1200 B both ways", BATCHED)],
    ),
    load(
        "batched one allocation",
        On::Pinned,
        "throughput --gso --gro --size 1200 --allocations 1 --window 64",
        &[cost("batched one allocation, 1200 B up", &[])],
    ),
    load("unbatched 200 B up", On::Pinned, "throughput --size 200", &[cost("unbatched 200 B up", UNBATCHED)]),
    load(
        "unbatched 200 B down",
        On::Pinned,
        "throughput --size 200 --direction down",
        &[cost("unbatched 200 B down", UNBATCHED)],
    ),
    load(
        "unbatched single packets",
        On::Pinned,
        "throughput --size 200 --burst 1",
        &[cost("unbatched 200 B up, each of another client", SINGLE)],
    ),
    load(
        "latency 200 B",
        On::Pinned,
        "latency --size 200 --rate 1000",
        &[
            time("latency 200 B, p50", "p50_us", &[Target::Of(1.1, Kind::Gro)]),
            time("latency 200 B, p99", "p99_us", &[Target::Of(1.0, Kind::Coturn)]),
        ],
    ),
    load(
        "latency 1200 B",
        On::Pinned,
        "latency --size 1200 --rate 1000",
        &[
            time("latency 1200 B, p50", "p50_us", &[Target::Of(1.1, Kind::Gro)]),
            time("latency 1200 B, p99", "p99_us", &[Target::Of(1.0, Kind::Coturn)]),
        ],
    ),
    Case {
        length: Length::Search,
        ..load("rate 200 B", On::Pinned, "search --gso --gro --size 200", &[rate(HIGHEST)])
    },
    Case {
        length: Length::Search,
        ..load(
            "rate 1200 B",
            On::Pinned,
            "search --gso --gro --size 1200",
            &[rate("highest rate, 1200 B up")],
        )
    },
    Case {
        length: Length::MostOf(HIGHEST),
        ..load(
            "loss",
            On::Pinned,
            "throughput --gso --gro --size 200",
            &[Figure { name: "loss at 80 % of it", key: "loss", unit: Unit::Share, targets: &[] }],
        )
    },
    Case {
        length: Length::Many,
        ..load(
            "many",
            On::Fresh,
            "throughput --gso --gro --size 200",
            &[cost("batched 200 B up, many allocations", MANY)],
        )
    },
    load(
        "unpinned 200 B up",
        On::Unpinned,
        "throughput --gso --gro --size 200",
        &[cost("batched 200 B up, not pinned", &[])],
    ),
    load(
        "unpinned 1200 B up",
        On::Unpinned,
        "throughput --gso --gro --size 1200",
        &[cost("batched 1200 B up, not pinned", &[])],
    ),
    setup(
        "setup one by one",
        Length::Allocations(400),
        "setup --parallel 1",
        &[setup_cost("set-up one by one, CPU of each", &[]), time("set-up one by one, p50", "p50_us", &[])],
    ),
    setup(
        "setup 1,000",
        Length::Allocations(1_000),
        "setup --parallel 32 --permissions 2",
        &[
            setup_cost("set-up of 1,000, CPU of each", &[Target::Absolute(100.0)]),
            Figure { name: "set-ups", key: "allocations_per_second", unit: Unit::PerSecond, targets: &[] },
            memory("memory of each of 1,000"),
        ],
    ),
    setup(
        "setup many",
        Length::ManyAllocations,
        "setup --parallel 32 --permissions 2",
        &[
            setup_cost("set-up of many, CPU of each", &[Target::Absolute(100.0)]),
            memory("memory of each of many"),
        ],
    ),
];

/// The figure that others are compared with.
const FEW: &str = "batched 200 B up";
/// The rate of which 80 % are tried.
const HIGHEST: &str = "highest rate, 200 B up";

const fn rate(name: &'static str) -> Figure {
    Figure { name, key: "packets_per_second", unit: Unit::PacketsPerSecond, targets: &[] }
}

impl Case {
    /// The generator's arguments; `None` where what they follow from was not measured.
    pub(super) fn arguments(
        &self,
        plan: Plan,
        known: impl Fn(&'static str) -> Option<f64>,
    ) -> Option<Vec<String>> {
        let more = match self.length {
            Length::Load => format!("--seconds {}", plan.seconds),
            Length::Many => format!("--seconds {} --allocations {}", plan.seconds, plan.many),
            Length::Search => format!("--seconds {}", plan.search_seconds),
            Length::MostOf(rate) => {
                format!("--seconds {} --rate {:.0}", plan.loss_seconds, 0.8 * known(rate)?)
            }
            Length::Allocations(count) => format!("--allocations {count}"),
            Length::ManyAllocations => format!("--allocations {}", plan.many),
        };
        let all = [self.fixed, &more];
        Some(all.iter().flat_map(|part| part.split_whitespace()).map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_another_is_compared_with_is_there() {
        let figures: Vec<_> = CASES.iter().flat_map(|case| case.figures).collect();
        let is_there = |name| figures.iter().any(|figure| figure.name == name);
        for target in figures.iter().flat_map(|figure| figure.targets) {
            assert!(!matches!(target, Target::OfOwn(_, name) if !is_there(*name)), "{target:?}");
        }
        assert!(CASES.iter().all(|case| !matches!(case.length, Length::MostOf(name) if !is_there(name))));
    }

    #[test]
    fn no_two_figures_have_one_name() {
        let names: Vec<_> = CASES.iter().flat_map(|case| case.figures).map(|figure| figure.name).collect();
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
