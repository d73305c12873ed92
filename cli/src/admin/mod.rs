//! The platform's API from a terminal: one file for each noun.
//!
//! For people a command prints a table or a sentence and what comes next; with `--json` it prints what the API
//! answered. [`session`] is what most commands have in common. A new token or password is printed alone on standard output, so that it can be redirected, or goes to `--out`.

mod answer;
pub(crate) mod audit;
pub(crate) mod databases;
mod definition;
pub(crate) mod gateways;
pub(crate) mod identities;
pub(crate) mod leases;
pub(crate) mod links;
pub(crate) mod orgs;
mod output;
pub(crate) mod projects;
pub(crate) mod relays;
pub(crate) mod rotations;
pub(crate) mod secrets;
mod session;
mod tokens;
pub(crate) mod wait;

pub(crate) use answer::Answer;
pub(crate) use output::{Output, ago, joined, word};
pub(crate) use session::path;
