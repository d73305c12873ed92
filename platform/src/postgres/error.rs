//! Why work on a server fails, and what is known of its outcome.

use std::error::Error as _;
use std::io;

use thiserror::Error;
use tokio_postgres::error::{DbError, SqlState};

/// The longest message of a server that is passed on, in characters.
const MAX_MESSAGE: usize = 1000;

/// Why work on a server failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SqlError {
    /// The server was not reached: nothing was done.
    #[error("the server is not reached: {0}")]
    Unreachable(String),
    /// TLS with it did not come about: nothing was done.
    #[error("no TLS with the server: {0}")]
    Tls(String),
    /// It does not let the user in: nothing was done.
    #[error("the server does not let the user {user:?} in: {message}")]
    Login {
        /// The user.
        user: String,
        /// What the server says.
        message: String,
    },
    /// It refused a statement; the transaction was rolled back.
    #[error("the server refuses ({code}): {message}")]
    Refused {
        /// The SQLSTATE.
        code: String,
        /// What it says, and its hint.
        message: String,
    },
    /// The connection ended or time ran out in the middle: what was done is unknown.
    #[error("the connection to the server ended in the middle: {0}")]
    Interrupted(String),
}

impl SqlError {
    /// Why a statement failed.
    pub(super) fn of(error: &tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            // After FATAL the connection ends, and whether a COMMIT took effect is not said.
            Some(db) if matches!(db.severity(), "FATAL" | "PANIC") => Self::Interrupted(words(db)),
            Some(db) => Self::Refused { code: db.code().code().to_owned(), message: words(db) },
            None => Self::Interrupted(chain(error)),
        }
    }

    /// Why `user` is not logged in.
    pub(super) fn of_login(error: &tokio_postgres::Error, user: &str) -> Self {
        if let Some(db) = error.as_db_error() {
            return match &db.code().code()[..2] {
                "28" => Self::Login { user: user.to_owned(), message: words(db) },
                "53" | "57" | "08" => Self::Unreachable(format!("it says: {}", words(db))),
                _ => Self::Refused { code: db.code().code().to_owned(), message: words(db) },
            };
        }
        let cause = error.source();
        let io = cause.and_then(|cause| cause.downcast_ref::<io::Error>());
        if let Some(tls) =
            io.and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref::<rustls::Error>())
        {
            return Self::Tls(format!("{tls}; see the database's TLS mode, CA and host"));
        }
        let text = chain(error);
        if text.contains("does not support TLS") {
            let advice = "the server offers none: turn it on there (ssl = on), or set the database's TLS mode to disable";
            return Self::Tls(advice.to_owned());
        }
        if io.is_none() && text.starts_with("authentication error") {
            return Self::Login { user: user.to_owned(), message: text };
        }
        Self::Unreachable(text)
    }

    /// The same, without any of `secrets`: what a server complains of it likes to quote.
    #[must_use]
    pub fn without(mut self, secrets: &[&str]) -> Self {
        let text = match &mut self {
            Self::Unreachable(text) | Self::Tls(text) | Self::Interrupted(text) => text,
            Self::Login { message, .. } | Self::Refused { message, .. } => message,
        };
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            *text = text.replace(secret, "(secret)");
        }
        self
    }

    /// Whether nothing of the transaction took effect, for certain.
    pub fn nothing_was_done(&self) -> bool {
        !matches!(self, Self::Interrupted(_))
    }

    /// Whether the same transaction may succeed at once: serialisation failures, deadlocks, and catalogue rows that
    /// another one changed at the same time (`XX000`, "tuple concurrently updated").
    pub fn is_collision(&self) -> bool {
        match self {
            Self::Refused { code, message } => {
                code == SqlState::T_R_SERIALIZATION_FAILURE.code()
                    || code == SqlState::T_R_DEADLOCK_DETECTED.code()
                    || (code == SqlState::INTERNAL_ERROR.code() && message.contains("concurrently"))
            }
            _ => false,
        }
    }
}

/// What the server says: its message, what it adds, and what it advises.
fn words(error: &DbError) -> String {
    let mut text = error.message().to_owned();
    for (before, more) in [(": ", error.detail()), (" Hint: ", error.hint())] {
        if let Some(more) = more {
            text.push_str(before);
            text.push_str(more);
        }
    }
    text.chars().take(MAX_MESSAGE).collect()
}

/// An error and its causes.
fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.chars().take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_quotes_of_a_secret_is_taken_out() {
        let error =
            SqlError::Refused { code: "42601".into(), message: "syntax error at or near \"s3cret\"".into() };
        let clean = error.without(&["", "s3cret"]).to_string();
        assert_eq!(clean, "the server refuses (42601): syntax error at or near \"(secret)\"");
    }

    #[test]
    fn only_collisions_are_tried_again_at_once() {
        let refused =
            |code: &str, message: &str| SqlError::Refused { code: code.into(), message: message.into() };
        assert!(refused("40P01", "deadlock detected").is_collision());
        assert!(refused("XX000", "tuple concurrently updated").is_collision());
        assert!(!refused("XX000", "cache lookup failed").is_collision());
        assert!(!refused("42501", "permission denied").is_collision());
        assert!(!SqlError::Interrupted("x".into()).is_collision());
    }
}
