//! How a command ends: with a status that scripts can tell apart and a sentence that says what to do next.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

use adit_platform::client::{BadTrust, ClientError};

/// The exit statuses, as `adit --help` shows them.
pub(crate) const TABLE: &str = "\
Exit status:
   0  success, or ended as it was told to (Ctrl-C, SIGTERM)
   1  something else failed, such as writing a file
   2  the command line is wrong
   3  a configuration file is wrong, missing or contradicts itself
   4  a certificate was refused, by the other side, by us, or before we started
   5  the relay can't be reached
   6  the relay refuses the credentials, or grants no allocation
   7  a local address is taken or can't be bound
   8  the target is denied: the gateway does not allow it
   9  the target is allowed but refuses or can't be reached from the gateway
  10  the gateway can't be reached
  11  the platform can't be reached, or can't show that it is the platform
  12  the platform refuses, or the database's server that it asked";

/// Why the program ends; the numbers are those of [`TABLE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Other = 1,
    Usage = 2,
    Config = 3,
    Certificate = 4,
    RelayUnreachable = 5,
    RelayRefused = 6,
    Address = 7,
    TargetDenied = 8,
    TargetUnreachable = 9,
    GatewayUnreachable = 10,
    PlatformUnreachable = 11,
    PlatformRefused = 12,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The end of a command that did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The status.
    pub(crate) exit: Exit,
    /// What went wrong.
    pub(crate) what: String,
    /// What to do about it; empty where `what` says it.
    pub(crate) next: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl fmt::Display) -> Self {
        Self { exit, what: what.to_string(), next: String::new() }
    }

    /// A configuration file, or a file that it names, is wrong.
    pub(crate) fn config(what: impl fmt::Display) -> Self {
        Self::new(Exit::Config, what)
    }

    /// The same, with what to do next.
    pub(crate) fn next(mut self, next: impl fmt::Display) -> Self {
        self.next = next.to_string();
        self
    }

    /// The same, with the configuration file that it was found in.
    pub(crate) fn within(mut self, file: &Path) -> Self {
        self.what = format!("{}: {}", file.display(), self.what);
        self
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = match &error {
            ClientError::Problem { .. } if !error.is_retryable() => Exit::PlatformRefused,
            // The platform was reached, and a database's server was not, or refused.
            ClientError::Problem { .. } if error.code() == Some("database-failed") => Exit::PlatformRefused,
            _ => Exit::PlatformUnreachable,
        };
        Self::new(exit, error.what()).next(error.advice())
    }
}

impl From<BadTrust> for Failure {
    fn from(error: BadTrust) -> Self {
        Self::config(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if !self.next.is_empty() {
            write!(f, "\n next: {}", self.next)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_stands_in_the_table() {
        let numbers = TABLE.lines().skip(1).map(|line| line[..4].trim().parse::<u8>().unwrap());
        let last = Exit::PlatformRefused as u8;
        assert!(numbers.eq(0..=last));
    }
}
