//! What the platform must refuse, over real HTTPS: stolen and copied secrets, names of somebody else, clocks that are
//! wrong, requests that are malformed. After each refusal nothing is half-made, and nothing secret lies in the open.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

mod certificates;
mod enrolment;
mod input;
mod proofs;
mod revocation;
mod secrets;
mod sessions;
mod world;
