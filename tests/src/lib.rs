//! What the end-to-end tests stand on: the `adit` binary and other people's servers as child processes, each on
//! ports of its own, gone when the test is.
//!
//! Everything here panics with a sentence when the world is not as a test needs it.

pub mod adit;
pub mod build;
pub mod coturn;
pub mod fuzz;
pub mod monitor;
pub mod papers;
pub mod place;
pub mod platform;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod turn;
pub mod turn_tcp;
pub mod wiretap;
