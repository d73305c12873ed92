//! Adit's machines on a thread of their own: one thread, one mio poll.
//!
//! This is the relay's runtime: nothing but `poll` and [`Hub::turn`](adit_driver::Hub::turn) in a loop. It starts
//! and stops from any application, asynchronous or not.

mod reactor;
mod server;
mod worker;

pub use adit_driver::{Counters, Notice};
pub use reactor::{MioReactor, MioSocket};
pub use server::{RelayServer, StartError};
pub use worker::Worker;
