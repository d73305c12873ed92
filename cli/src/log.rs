//! Log lines, and the last words of a command that failed. Both go to standard error.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::exit::Failure;

/// What is logged when RUST_LOG says nothing: the life-cycle of our own parts.
const DEFAULT_FILTER: &str = "warn,adit=info,adit_tokio=info,adit_smol=info,adit_mio=info,adit_driver=info";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

pub(crate) fn start(format: LogFormat) {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_default();
    let (filter, mistake) = filter(&wanted);
    // Lines that nobody takes are lost: tracing would complain of it on the same broken pipe, and panic.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    // A line's own target would stand beside the target that a connector asks for, under one key in JSON.
    let lines = lines.with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Human => lines.with_ansi(may_colour()).compact().init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
    if let Some(mistake) = mistake {
        tracing::warn!("RUST_LOG is not followed: {mistake}");
    }
}

/// What RUST_LOG asks for, or the default and what is wrong with it.
fn filter(wanted: &str) -> (EnvFilter, Option<String>) {
    if wanted.is_empty() {
        return (EnvFilter::new(DEFAULT_FILTER), None);
    }
    match EnvFilter::try_new(wanted) {
        Ok(filter) => (filter, None),
        Err(mistake) => (EnvFilter::new(DEFAULT_FILTER), Some(mistake.to_string())),
    }
}

/// Colours are for terminals, and for those who have not said otherwise (<https://no-color.org>).
fn may_colour() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Says why the program ends. Not a log line: no filter may hide it.
pub(crate) fn report(format: LogFormat, failure: &Failure) {
    match format {
        LogFormat::Human => tell(format_args!("{failure}")),
        LogFormat::Json => {
            let Failure { exit, what, next } = failure;
            let line = json!({ "level": "ERROR", "message": what, "next": next, "status": *exit as u8 });
            tell(format_args!("{line}"));
        }
    }
}

/// Writes a line to standard error, if anybody still reads there.
pub(crate) fn tell(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_told_and_an_empty_one_is_not() {
        assert_eq!(filter("").0.to_string(), EnvFilter::new(DEFAULT_FILTER).to_string());
        assert!(filter("").1.is_none() && filter("debug").1.is_none());
        assert!(filter("adit=loud").1.is_some());
    }
}
