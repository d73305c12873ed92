//! Leases against a real PostgreSQL behind a real gateway and relay: what they promise while all goes well, and what
//! they keep when it does not. The admin user is no superuser.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod crash;
mod ends;
#[path = "../in_process/mod.rs"]
mod in_process;
mod late;
mod life;
mod lost;
mod restored;
mod two;
mod ways;
mod world;
