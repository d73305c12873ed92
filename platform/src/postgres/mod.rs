//! PostgreSQL servers that somebody else runs: logging in over any stream, and the SQL that makes, lengthens and
//! removes users there. Nothing here knows of leases, of the store or of how a stream comes about.
//!
//! - `session` — one login and its transactions, each with deadlines and a lock. `tls` — whom a login believes.

mod error;
mod login;
mod session;
mod tls;

pub use error::SqlError;
pub use login::Login;
pub use session::{Params, Session, Transaction, column};
pub use tls::check_ca;
