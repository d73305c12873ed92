//! PostgreSQL servers that somebody else runs: logging in over any stream, and the SQL that makes, lengthens and
//! removes users there. Nothing here knows of leases, of the store or of how a stream comes about.
//!
//! - `session` — one login and its transactions, each with deadlines and a lock. `tls` — whom a login believes.
//! - `template` — statements that users define, over `lex` and `quote`. `username`, `password` — what is filled in.
//! - `users` — made, lengthened and removed. `groups` — what the users of a secret may do.
//! - `checks` — what the admin user may not do, and who can change that.
//! - `scram` — what a server keeps of a password. `mark` — by what an installation knows users that it has made.

pub mod checks;
mod error;
pub mod groups;
mod lex;
mod login;
pub mod mark;
pub mod password;
mod quote;
mod retry;
pub mod scram;
mod session;
pub mod template;
mod tls;
pub mod username;
pub mod users;

pub use error::SqlError;
pub use login::Login;
pub use quote::{MAX_NAME, check_name};
pub use session::{Params, Session, Transaction, column};
pub use tls::check_ca;
