//! A picture: what each packet costs each server, as bars.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::case::{CASES, Figure, Unit};
use super::figures::{Figures, Name};
use super::server::Kind;

/// Pixels.
const BAR: usize = 14;
const GAP: usize = 16;
const LEFT: usize = 300;
const PLOT: usize = 560;
const RIGHT: usize = 90;
const TOP: usize = 70;

/// Writes it to `target/bench/relay.svg`, and returns where that is.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(figures: &Figures, servers: &[Kind]) -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench");
    fs::create_dir_all(&directory)?;
    let path = directory.canonicalize()?.join("relay.svg");
    fs::write(&path, draw(figures, servers))?;
    Ok(path)
}

fn draw(figures: &Figures, servers: &[Kind]) -> String {
    let shown: Vec<&Figure> = CASES
        .iter()
        .flat_map(|case| case.figures)
        .filter(|figure| figure.unit == Unit::NanosecondsPerPacket)
        .filter(|figure| servers.iter().any(|server| figures.median(Name(figure.name), *server).is_some()))
        .collect();
    let of = |figure: &Figure, server| figures.summary(Name(figure.name), server);
    let all = shown.iter().flat_map(|figure| servers.iter().filter_map(|server| of(figure, *server)));
    let most = all.map(|summary| summary.median).fold(1.0, f64::max);
    let group = servers.len() * BAR + GAP;
    let (width, height) = (LEFT + PLOT + RIGHT, TOP + shown.len() * group + GAP);

    let mut svg = String::new();
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="12">"#
    );
    let _ = writeln!(svg, r#"<rect width="{width}" height="{height}" fill="white"/>"#);
    let _ = writeln!(
        svg,
        r#"<text x="{GAP}" y="24" font-size="16">What a packet costs a relay: CPU nanoseconds, less is better</text>"#
    );
    for (index, server) in servers.iter().enumerate() {
        let x = GAP + index * 130;
        let _ = writeln!(svg, r#"<rect x="{x}" y="40" width="12" height="12" fill="{}"/>"#, colour(*server));
        let _ = writeln!(svg, r#"<text x="{}" y="51">{}</text>"#, x + 18, server.name());
    }
    for (row, figure) in shown.iter().enumerate() {
        let y = TOP + row * group;
        let _ = writeln!(
            svg,
            r#"<text x="{}" y="{}" text-anchor="end">{}</text>"#,
            LEFT - 8,
            y + group / 2,
            figure.name
        );
        for (index, server) in servers.iter().enumerate() {
            let Some(summary) = of(figure, *server) else { continue };
            let (y, length) = (y + index * BAR, PLOT as f64 * summary.median / most);
            let colour = colour(*server);
            let _ = writeln!(
                svg,
                r#"<rect x="{LEFT}" y="{y}" width="{length:.1}" height="{}" fill="{colour}"/>"#,
                BAR - 2
            );
            let _ = writeln!(
                svg,
                r#"<text x="{:.1}" y="{}" font-size="10">{:.0}</text>"#,
                LEFT as f64 + length + 4.0,
                y + BAR - 4,
                summary.median
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn colour(server: Kind) -> &'static str {
    match server {
        Kind::Adit => "#0b6e4f",
        Kind::Coturn => "#c8553d",
        Kind::TurnRs => "#e0a458",
        Kind::Mmsg => "#9aa5b1",
        Kind::Gro => "#52606d",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_has_a_bar_in_each_figure_that_was_measured() {
        let (mut figures, figure) = (Figures::default(), &CASES[0].figures[0]);
        figures.add(figure, Kind::Adit, Some(400.0));
        figures.add(figure, Kind::Gro, Some(300.0));
        let svg = draw(&figures, &[Kind::Adit, Kind::Gro, Kind::Mmsg]);
        assert!(svg.contains(figure.name) && svg.contains(">400<") && svg.contains(">300<"));
        assert_eq!(svg.matches("<rect").count(), 1 + 3 + 2, "the ground, the legend, two bars");
    }
}
