//! PostgreSQL servers that somebody else runs: logging in over any stream, and the SQL that makes, lengthens and
//! removes users there. Nothing here knows of leases, of the store or of how a stream comes about.

mod error;
mod login;

pub use error::SqlError;
pub use login::Login;
