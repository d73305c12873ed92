//! Why work on a server fails, and what is known of its outcome.

use thiserror::Error;
use tokio_postgres::error::SqlState;

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
