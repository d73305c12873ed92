//! The table: each figure of each server, how Adit's compares, and whether that is what is aimed at.

use super::Plan;
use super::case::{CASES, Figure, Target, Unit};
use super::figures::{Figures, Name, Summary};
use super::server::Kind;

/// The servers that Adit is compared with.
const COMPARED: [Kind; 3] = [Kind::Coturn, Kind::Mmsg, Kind::Gro];

/// Prints it.
pub(super) fn show(figures: &Figures, servers: &[Kind], plan: Plan) {
    let is_there = |other: &Kind| servers.contains(&Kind::Adit) && servers.contains(other);
    let compared: Vec<Kind> = COMPARED.into_iter().filter(is_there).collect();
    let is_measured = |figure: &Figure, server: &Kind| figures.summary(Name(figure.name), *server).is_some();
    let shown = CASES.iter().flat_map(|case| case.figures);
    let shown = shown.filter(|figure| servers.iter().any(|server| is_measured(figure, server)));
    let mut rows = vec![head(servers, &compared)];
    rows.extend(shown.map(|figure| row(figures, figure, servers, &compared)));
    print(&rows);
    println!(
        "\nMedians of {} [least..most]. ns: CPU nanoseconds of the server for each packet; µs CPU: CPU microseconds of \
         the server; many: {} allocations.",
        plan.repetitions, plan.many
    );
    println!(
        "Batched packets are cut and coalesced by the kernel (GSO, GRO); turn-rs relays them over one hop."
    );
}

fn head(servers: &[Kind], compared: &[Kind]) -> Vec<String> {
    let names = servers.iter().map(|server| server.name().to_owned());
    let ratios = compared.iter().map(|other| format!("÷ {}", other.name()));
    [String::new(), String::new()]
        .into_iter()
        .chain(names)
        .chain(ratios)
        .chain(["aimed at".to_owned()])
        .collect()
}

fn row(figures: &Figures, figure: &Figure, servers: &[Kind], compared: &[Kind]) -> Vec<String> {
    let of = |server: &Kind| figures.summary(Name(figure.name), *server);
    let none = || "–".to_owned();
    let cells =
        servers.iter().map(|server| of(server).map_or_else(none, |summary| figure.unit.cell(summary)));
    let ratios = compared.iter().map(|other| {
        let ratio = of(&Kind::Adit).zip(of(other)).map(|(own, other)| own.median / other.median);
        ratio.filter(|ratio| ratio.is_finite()).map_or_else(none, |ratio| format!("{ratio:.2}"))
    });
    let judged: Vec<_> = figure.targets.iter().filter_map(|target| judge(figures, figure, *target)).collect();
    let front = [figure.name.to_owned(), figure.unit.name().to_owned()];
    front.into_iter().chain(cells).chain(ratios).chain([judged.join("; ")]).collect()
}

/// Columns as wide as what is in them; the first and the last begin on the left.
fn print(rows: &[Vec<String>]) {
    let width = |column| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max()
    };
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or_default();
            let padded = match column == 0 || column + 1 == row.len() {
                true => format!("{cell:<width$}  "),
                false => format!("{cell:>width$}  "),
            };
            line.push_str(&padded);
        }
        println!("{}", line.trim_end());
    }
}

/// What is aimed at, and whether it is reached; `None` where that is not known.
fn judge(figures: &Figures, figure: &Figure, target: Target) -> Option<String> {
    let own = figures.median(Name(figure.name), Kind::Adit)?;
    let (most, said) = match target {
        Target::Of(times, other) => {
            let most = times * figures.median(Name(figure.name), other)?;
            (most, format!("≤ {times} × {}", other.name()))
        }
        Target::OfOwn(times, other) => {
            let other_own = figures.median(Name(other), Kind::Adit)?;
            (times * other_own, format!("≤ {times} × {other} ({:.2} now)", own / other_own))
        }
        Target::Absolute(most) => (most, format!("≤ {} {}", figure.unit.number(most), figure.unit.name())),
    };
    Some(format!("{said}: {}", if own <= most { "yes" } else { "NO" }))
}

impl Unit {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NanosecondsPerPacket => "ns",
            Self::Microseconds => "µs",
            Self::CpuMicroseconds => "µs CPU",
            Self::PacketsPerSecond | Self::PerSecond => "1/s",
            Self::Kibibytes => "KiB",
            Self::Share => "%",
        }
    }

    fn cell(self, summary: Summary) -> String {
        let Summary { median, least, most } = summary;
        format!("{} [{}..{}]", self.number(median), self.number(least), self.number(most))
    }

    fn number(self, value: f64) -> String {
        match self {
            Self::NanosecondsPerPacket | Self::PacketsPerSecond | Self::PerSecond => format!("{value:.0}"),
            Self::Microseconds | Self::CpuMicroseconds => format!("{value:.1}"),
            Self::Kibibytes => format!("{:.2}", value / 1024.0),
            // One of a hundred million is not none.
            Self::Share if value == 0.0 => "none".to_owned(),
            Self::Share => format!("{:.1e}", value * 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_judged_by_medians() {
        let mut figures = Figures::default();
        let figure = &CASES[0].figures[0];
        figures.add(figure, Kind::Adit, Some(1300.0));
        let target = Target::Of(1.3, Kind::Gro);
        assert_eq!(judge(&figures, figure, target), None);
        figures.add(figure, Kind::Gro, Some(1000.0));
        assert_eq!(judge(&figures, figure, target).as_deref(), Some("≤ 1.3 × bare gro: yes"));
        let more = Target::Absolute(1299.0);
        assert_eq!(judge(&figures, figure, more).as_deref(), Some("≤ 1299 ns: NO"));
        let row = row(&figures, figure, &[Kind::Adit, Kind::Gro], &[Kind::Gro]);
        assert_eq!(row[2..5], ["1300 [1300..1300]", "1000 [1000..1000]", "1.30"]);
    }
}
