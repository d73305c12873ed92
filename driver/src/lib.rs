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
//! What is left to a runtime is small: a [`Reactor`] that knows when a socket is ready, a sleep until the
//! deadline, and the answers to [`Request`]s (look a name up, dial a target).

mod buffer;
mod counters;
mod events;
mod hub;
mod machine;
mod machines;
mod opening;
mod reactor;
mod shared;
mod socket;
mod stream;
mod world;

pub use counters::Counters;
pub use events::Notice;
pub use hub::{Hub, Request, Turn};
pub use machine::{Machine, Pipes};
pub use opening::{OpenError, Opener};
pub use reactor::{Reactor, UdpIo};
pub use shared::{Closer, Shared};
pub use stream::{Stream, Watch};
pub use world::{clock, random_seed, unix};
