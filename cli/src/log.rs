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
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    // Lines that nobody takes are lost: tracing would complain of it on the same broken pipe, and panic.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    let lines = lines.with_writer(std::io::stderr);
    match format {
        LogFormat::Human => {
            lines.with_target(false).with_ansi(std::io::stderr().is_terminal()).compact().init();
        }
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
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
