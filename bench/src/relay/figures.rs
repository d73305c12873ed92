//! What was measured: by figure and server, once for each repetition.

use std::collections::BTreeMap;

use super::case::Figure;
use super::server::Kind;

/// The name of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(pub(super) &'static str);

/// All that was measured.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<(Name, Kind), Vec<f64>>);

/// One figure of one server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Figures {
    /// Adds what one repetition has given; a report may lack it.
    pub(super) fn add(&mut self, figure: &Figure, server: Kind, value: Option<f64>) {
        self.0.entry((Name(figure.name), server)).or_default().extend(value);
    }

    /// `None` where it was not measured.
    pub(super) fn summary(&self, name: Name, server: Kind) -> Option<Summary> {
        let mut values = self.0.get(&(name, server))?.clone();
        values.sort_by(f64::total_cmp);
        let middle = values.get(values.len() / 2)?;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[values.len() / 2 - 1], *middle),
            _ => *middle,
        };
        Some(Summary { median, least: *values.first()?, most: *values.last()? })
    }

    pub(super) fn median(&self, name: Name, server: Kind) -> Option<f64> {
        self.summary(name, server).map(|summary| summary.median)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::case::CASES;

    #[test]
    fn the_median_stands_between_the_least_and_the_most() {
        let (mut figures, figure) = (Figures::default(), &CASES[0].figures[0]);
        let name = Name(figure.name);
        assert_eq!(figures.summary(name, Kind::Adit), None);
        for value in [Some(3.0), None, Some(1.0), Some(8.0)] {
            figures.add(figure, Kind::Adit, value);
        }
        let summary = Summary { median: 3.0, least: 1.0, most: 8.0 };
        assert_eq!(figures.summary(name, Kind::Adit), Some(summary));
        figures.add(figure, Kind::Adit, Some(4.0));
        assert_eq!(figures.median(name, Kind::Adit), Some(3.5));
        assert_eq!(figures.median(name, Kind::Coturn), None);
    }
}
