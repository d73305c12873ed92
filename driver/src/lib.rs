//! The runtime-neutral shell around Adit's machines.
//!
//! A machine of `adit_core` knows neither sockets nor clocks. Here it gets them, without deciding who waits:
//!
//! ```text
//! adit_tokio, adit_smol                      adit_mio                    your own loop
//!        │ Runtime                              │ Reactor                    │ Reactor
//! ┌──────▼─────────────────────────────────┐    │                            │
//! │ Gateway, Connector, forward; builders  │    │                            │
//! │ ┌───────────────────────────────┐      │    │                            │
//! │ │ Shared: a lock, wakers, events│ ◀────┼────┘                            │
//! │ │ ┌───────────────────────────┐ │      │                                 │
//! │ │ │ Hub: sockets, batches     │ │ ◀────┼─────────────────────────────────┘
//! │ │ │ ┌───────────────────────┐ │ │      │
//! │ │ │ │ Machine (adit_core)   │ │ │      │
//! └─┴─┴─┴───────────────────────┴─┴─┴──────┘
//! ```
//!
//! - [`Machine`] and [`Pipes`] are what the machines have in common, for generic driving only.
//! - [`Hub`] owns one machine and its sockets. A [`turn`](Hub::turn) receives batches, feeds the machine, sends
//!   what it wants sent, carries its effects out, and says when the next turn is due. It never blocks.
//! - [`Shared`] is a hub behind one lock, with the wakers of everybody who waits for it.
//! - [`Stream`] is one pipe of a shared hub, as `poll_read`, `poll_write` and `poll_shutdown`.
//!
//! That is all that the relay's thread needs; [`spawn`] turns a hub in a task of a runtime instead. Asynchronous runtimes share the rest too: [`Gateway`], [`Connector`]
//! and [`forward`](fn@forward) run on anything that is a [`Runtime`], which knows when a socket is ready, sleeps,
//! spawns, looks names up and connects by TCP.
//!
//! Who embeds a gateway or a connector under tokio or smol finds the guide in `adit_tokio` or `adit_smol`. This page is
//! for who brings another runtime, or a loop.
//!
//! # A loop
//!
//! A hub needs to be told which sockets may be ready; telling too much costs a call to the kernel each, nothing else.
//! Here is a relay whose reactor tells everything, always:
//!
//! ```
//! use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
//! use std::time::{Duration, Instant};
//! use std::{io, thread};
//!
//! use adit_core::relay::{Config, Event, Relay};
//! use adit_core::turn::credentials::Authenticator;
//! use adit_driver::{Hub, Notice, Reactor, SocketIo, SourceId};
//!
//! struct Always;
//! struct Socket(OwnedFd);
//!
//! impl Reactor for Always {
//!     type Socket = Socket;
//!     fn register(&mut self, _: SourceId, socket: OwnedFd) -> io::Result<Socket> {
//!         Ok(Socket(socket))
//!     }
//!     fn want_writable(&mut self, _: SourceId, _: &mut Socket, _: bool) {}
//!     fn deregister(&mut self, _: SourceId, _: Socket) {}
//! }
//!
//! impl SocketIo for Socket {
//!     fn try_read<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
//!         attempt()
//!     }
//!     fn try_write<T>(&self, attempt: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
//!         attempt()
//!     }
//! }
//!
//! impl AsFd for Socket {
//!     fn as_fd(&self) -> BorrowedFd<'_> {
//!         self.0.as_fd()
//!     }
//! }
//!
//! let mut config = Config::new(Authenticator::new("example.org").with_user("user", "password"));
//! config.listen = vec!["127.0.0.1:0".parse()?];
//! let (clock, now) = adit_driver::clock();
//! let mut hub = Hub::new(Relay::new(config, clock, now, adit_driver::random_seed()), Always, now);
//! let mut listening = None;
//! while listening.is_none() {
//!     let sockets: Vec<_> = hub.sockets().map(|(id, _, interest)| (id, interest)).collect();
//!     for (id, interest) in sockets {
//!         hub.mark_readable(id);
//!         if interest.write {
//!             hub.mark_writable(id);
//!         }
//!     }
//!     let turn = hub.turn(Instant::now());
//!     if let Some(Notice::Event(Event::Listening { local, .. })) = hub.pop_event() {
//!         listening = Some(local);
//!     }
//!     // A better loop sleeps until a socket is ready, and no longer than the deadline.
//!     let longest = Duration::from_millis(if turn.more { 0 } else { 5 });
//!     let left = turn.deadline.map(|at| at.saturating_duration_since(Instant::now()));
//!     thread::sleep(left.map_or(longest, |left| left.min(longest)));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A gateway or connector has [`Request`]s besides: fetch them by [`take_requests`](Hub::take_requests), and
//! [`complete`](Hub::complete) each. `adit_mio` is such a loop, over mio, on a thread.
//!
//! # Another runtime
//!
//! Implement [`Runtime`], with its socket ([`SocketIo`], [`Readiness`]) and its timer ([`Alarm`]), and wrap [`Pipe`] in
//! the runtime's own traits for reading and writing. The two that exist take some two hundred lines each. What must
//! hold:
//!
//! - [`Runtime::register`] and [`Runtime::spawn`] work from any thread, also where the runtime is not entered: a handle
//!   may be used, and the last turn be taken, elsewhere.
//! - [`Readiness`] wakes the task that polled last, and counts an error as ready.
//! - [`Alarm::poll_at`] registers the task at each call and is cheap where the instant has not changed.
//! - A future that is dropped has no effect any more: a dial, a look-up, an accept.
//!
//! # Locks, cancellation, the end
//!
//! The lock of a [`Shared`] is held for one turn or one call, never across a wake-up or an await, and no code of the
//! application runs under it but the closures of [`Shared::with`] and [`Shared::call`] and a gateway's judge. Polling
//! and then not polling again loses nothing: bytes stay in the pipe, events in their queue, and a waker that was left
//! behind is called in vain. [`Closer`] closes the hub when whoever turns it ends, also by a panic; from then on every
//! stream says `ConnectionAborted` and every wait for events `None`, so that nobody waits for a task that is gone.
//!
//! # Errors
//!
//! Bad input from the network is no error: it is dropped, and [`Counters`] say why. [`BuildError`] and
//! [`GatewayError`] are final; [`OpenError::is_retryable`] tells; the errors of a stream are `ConnectionReset`
//! and `BrokenPipe`, after which a new stream may do, and `ConnectionAborted`, which is final.
//!
//! # Requirements
//!
//! Linux, Rust 1.95 (`rust-version` in the manifest), a C compiler for aws-lc-rs. No feature flags.

mod asking;
mod buffer;
mod builder;
mod connector;
mod counters;
mod dialler;
mod discovery;
mod drive;
mod error_queue;
mod events;
mod forward;
mod gateway;
mod hub;
mod join;
mod link;
mod machine;
mod machines;
mod news;
mod opening;
mod pipe;
mod pool;
mod reactor;
mod room;
mod runtime;
mod serve;
mod shared;
mod sharing;
mod socket;
mod stream;
mod world;

pub use builder::{BuildError, ConnectorBuilder, GatewayBuilder, GatewayError};
pub use connector::Connector;
pub use counters::Counters;
pub use dialler::Dial;
pub use discovery::{Discovered, Found};
pub use drive::{Driven, Registrar, spawn};
pub use events::Notice;
pub use forward::{Forwarded, forward, forward_pool};
pub use gateway::{Gateway, GatewayProbe};
pub use hub::{Departure, Hub, Request, Turn};
pub use join::Moved;
pub use machine::{Leaving, Machine, Pipes};
pub use news::News;
pub use opening::{DiscoverError, OpenError, Opener, PingError};
pub use pipe::Pipe;
pub use pool::{Pool, PoolInstance};
pub use reactor::{Interest, Reactor, SocketIo, SourceId};
pub use room::{Room, Space};
pub use runtime::{Alarm, Readiness, Runtime};
pub use shared::{Closer, Shared};
pub use sharing::Sharing;
pub use stream::Stream;
pub use world::{clock, random_seed, unix};
