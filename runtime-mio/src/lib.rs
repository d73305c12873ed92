//! Adit's machines on threads of their own: each has one thread and one mio poll.
//!
//! This is the relay's runtime: nothing but `poll` and [`Hub::turn`](adit_driver::Hub::turn) in a loop.
//!
//! ```text
//!  the application               the thread "adit-relay"
//!  ───────────────               ───────────────────────
//!  RelayServer::spawn ─────────▶ first turn: the listening sockets are bound
//!                                ┌▶ poll: a socket is ready, a deadline has come, or a wake-up
//!  wait_event, event ◀───────────┤  turn: batches in, the relay decides, batches out
//!  counters, allocations ◀──────▶└─ (one lock, held for a turn, never while it waits)
//!  stop, or drop ──────────────▶ the sockets are closed, the thread is joined
//! ```
//!
//! [`RelayServer::spawn_shards`] has the same several times, for machines with several cores: shards that listen on the same
//! addresses, each with its own clients and its part of the ports, and that hand clients over to each other. Its loop is
//! the one above; nothing is shared on the way of data.
//!
//! It starts and stops from any application, asynchronous or not:
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
//!
//! `examples/relay_policy.rs` is a relay with rules of its own about the peers that may be reached;
//! `examples/turn_client_mio.rs` is for who has a mio poll already. A [`Worker`] runs any other
//! [`Machine`](adit_driver::Machine) that asks for nothing but sockets.
//!
//! # Errors
//!
//! Starting is the only thing that can fail: [`StartError`], of which
//! [`is_retryable`](StartError::is_retryable) says whether the same may succeed later. From then on, bad input is
//! dropped and counted, and whatever is refused to a client is an event. [`RelayServer::has_failed`] tells that the
//! thread has ended although nobody has stopped it, which is a bug: start another.
//!
//! # Events, cancellation
//!
//! Events need not be fetched: 1,024 wait, the oldest are lost first, and [`Notice::Lost`] says how many. One thread or
//! task at a time may wait for them. The future of [`RelayServer::event`] may be dropped at any point, and loses none.
//!
//! # Stopping
//!
//! [`RelayServer::stop`], which dropping does too, ends the thread after its present turn and waits for that: some
//! milliseconds. TURN has no way to tell clients, so their allocations are gone without a word. A gateway notices at its
//! next request and asks again, here or at its other relays; streams that went through this relay are lost. From a
//! task it may be called too, since the wait is short, but it is one.
//!
//! [`RelayServer::drain`] before that takes no new allocations, sends new clients elsewhere, and says when the last one has
//! ended. Most of what the configuration says can be changed without stopping: [`RelayServer::change`].
//!
//! # Requirements
//!
//! Linux, Rust 1.95 (`rust-version` in the manifest), a C compiler for aws-lc-rs. No feature flags. It needs no
//! privilege but for ports below 1024, and logs nothing but what ends the thread.

mod post;
mod reactor;
mod server;
mod shards;
mod worker;

pub use adit_driver::{Counters, Notice, Room, Space};
pub use reactor::{MioReactor, MioSocket};
pub use server::{RelayServer, StartError};
pub use shards::RelayProbe;
pub use worker::Worker;
