//! `/metrics`: what is written on it, and how.

use std::fmt;
use std::sync::Arc;

use adit_driver::Counters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::Subject;

/// A page that is being written.
pub(crate) struct Page<'a>(DescriptorEncoder<'a>);

/// The whole page of `part`.
pub(super) fn write(
    part: &'static str,
    ready: bool,
    subject: Option<Arc<dyn Subject>>,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { part, ready, subject }));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

/// One reading.
struct Scrape {
    part: &'static str,
    ready: bool,
    subject: Option<Arc<dyn Subject>>,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").field("part", &self.part).finish_non_exhaustive()
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        page.build(self.part)?;
        page.gauge("adit_ready", "Whether the part serves, as /readyz has it", u64::from(self.ready))?;
        match &self.subject {
            Some(subject) => subject.measure(&mut page),
            None => Ok(()),
        }
    }
}

impl Page<'_> {
    /// A total since the start. `name` is without its suffix, `_total`.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    /// Totals that differ in one label, whose values are those of an enum.
    pub(crate) fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            let labels = [(label, snake(of))];
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// A number at present.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(signed(value)).encode(family)
    }

    /// Numbers that differ in one label.
    pub(crate) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            let labels = [(label, of)];
            ConstGauge::new(signed(value)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// What the sockets of a part have moved and dropped.
    pub(crate) fn sockets(&mut self, counters: &Counters) -> fmt::Result {
        let both = |received, sent| [("received", received), ("sent", sent)];
        let datagrams = both(counters.received, counters.sent);
        self.counters("adit_socket_datagrams", "Datagrams of the sockets", "direction", datagrams)?;
        let calls = both(counters.receive_calls, counters.send_calls);
        self.counters("adit_socket_calls", "Calls to the kernel that moved them", "direction", calls)?;
        let dropped = [
            ("full", counters.dropped_full),
            ("unbound", counters.dropped_unbound),
            ("large", counters.dropped_large),
            ("unsendable", counters.dropped_unsendable),
            ("error", counters.dropped_error),
        ];
        self.counters("adit_socket_dropped", "Datagrams that were not sent", "reason", dropped)?;
        self.counter("adit_socket_receive_errors", "Calls to receive that failed", counters.receive_errors)?;
        self.counter("adit_clock_steps", "Times that the wall clock was set", counters.clock_steps)?;
        self.counter("adit_events_lost", "Events that nobody fetched in time", counters.events_lost)
    }

    fn build(&mut self, part: &'static str) -> fmt::Result {
        let labels =
            [("part", part), ("version", env!("CARGO_PKG_VERSION")), ("commit", env!("ADIT_COMMIT"))];
        let info = Info::new(labels);
        let help = "What was built, and which part of it runs";
        info.encode(self.0.encode_descriptor("adit_build", help, None, MetricType::Info)?)
    }
}

/// A gauge has a sign; nothing that is counted here comes near its end.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The name of an enum's variant as a label has it: `not_there` for `NotThere`.
fn snake(name: &str) -> String {
    let mut label = String::with_capacity(name.len() + 4);
    for (place, letter) in name.chars().enumerate() {
        if letter.is_ascii_uppercase() && place > 0 {
            label.push('_');
        }
        label.push(if letter == '-' { '_' } else { letter.to_ascii_lowercase() });
    }
    label
}
