//! The control plane of Adit: it knows identities, issues each organisation's certificates and time-limited relay
//! credentials, tells gateways what is wanted of them, and finds out whether they answer.
//!
//! ```text
//!  api        HTTPS: one table of routes, each with what it needs; handlers by noun
//!    │ Caller, words
//!  fleet      sessions, desired state, heartbeats, health        connect   one connection per gateway instance
//!    │                                                             │
//!  authority  each organisation's CA, the platform's own           │
//!    │                                                             │
//!  leases     users that live for a while                       servers    sessions with databases' servers
//!  rotations  users that stay, and passwords that do not           │
//!  secrets    of what kind the users of leases are              postgres   the SQL on those servers
//!    │                                                             │
//!  store ◀─────────────────────────────────────────────────────────┘   SQLite or PostgreSQL; audit in every change
//!    │
//!  trust      tokens, pins, proofs, sealing: no I/O
//!  words      what travels over the API        client   the other end of it, for `adit` itself
//! ```

pub mod api;
pub mod authority;
pub mod backup;
pub mod client;
pub mod clock;
pub mod config;
pub mod connect;
pub mod fault;
pub mod fleet;
pub mod home;
pub mod init;
pub mod leases;
pub mod postgres;
pub mod rotations;
mod secrets;
pub mod server;
pub mod servers;
pub mod store;
pub mod trust;
pub mod words;
