//! Adit's machines on a thread of their own: one thread, one mio poll.
//!
//! This is the relay's runtime: nothing but `poll` and [`Hub::turn`](adit_driver::Hub::turn) in a loop. It starts
//! and stops from any application, asynchronous or not:
//!
//! ```
//! use adit_core::relay::{Config, RelayAddress};
//! use adit_core::turn::credentials::Authenticator;
//! use adit_mio::RelayServer;
//!
//! let mut config = Config::new(Authenticator::new("example.org").with_secret(b"shared with gateways"));
//! config.listen = vec!["127.0.0.1:0".parse()?];
//! config.ipv4 = Some(RelayAddress::direct("127.0.0.1".parse()?));
//! let relay = RelayServer::spawn(config)?;
//! println!("it listens on {:?}", relay.addresses());
//! // relay.wait_event(timeout) in a thread, relay.event().await in a task
//! relay.stop();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod reactor;
mod server;
mod worker;

pub use adit_driver::{Counters, Notice};
pub use reactor::{MioReactor, MioSocket};
pub use server::{RelayServer, StartError};
pub use worker::Worker;
