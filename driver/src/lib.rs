//! The runtime-neutral shell around Adit's machines.
//!
//! A machine of `adit_core` knows neither sockets nor clocks. Here it gets them, without deciding who waits:
//!
//! - [`Machine`] and [`Pipes`] are what the machines have in common, for generic driving only.
//! - [`Hub`] owns one machine and its sockets. A [`turn`](Hub::turn) receives batches, feeds the machine, sends
//!   what it wants sent, carries its effects out, and says when the next turn is due. It never blocks.
//! - [`Shared`] is a hub behind one lock, with the wakers of everybody who waits for it.
//! - [`Stream`] is one pipe of a shared hub, as `poll_read`, `poll_write` and `poll_shutdown`.
//!
//! That is all that the relay's thread needs. Asynchronous runtimes share the rest too: [`Gateway`], [`Connector`]
//! and [`forward`] run on anything that is a [`Runtime`], which knows when a socket is ready, sleeps, spawns, looks
//! names up and connects by TCP.

mod buffer;
mod builder;
mod connector;
mod counters;
mod dialler;
mod discovery;
mod drive;
mod events;
mod forward;
mod gateway;
mod hub;
mod join;
mod machine;
mod machines;
mod news;
mod opening;
mod pipe;
mod reactor;
mod runtime;
mod serve;
mod shared;
mod socket;
mod stream;
mod world;

pub use builder::{BuildError, ConnectorBuilder, GatewayBuilder, GatewayError};
pub use connector::Connector;
pub use counters::Counters;
pub use dialler::Dial;
pub use discovery::{Discovered, Found};
pub use events::Notice;
pub use forward::{Forwarded, forward};
pub use gateway::Gateway;
pub use hub::{Hub, Request, Turn};
pub use join::Moved;
pub use machine::{Machine, Pipes};
pub use news::News;
pub use opening::{OpenError, Opener};
pub use pipe::Pipe;
pub use reactor::{Reactor, UdpIo};
pub use runtime::{Alarm, Readiness, Runtime};
pub use shared::{Closer, Shared};
pub use stream::Stream;
pub use world::{clock, random_seed, unix};
