//! The protocol machines of Adit: pure state machines that turn bytes and instants into bytes, events and
//! deadlines.
//!
//! Nothing here opens a socket, reads a clock, starts a thread, awaits, logs or draws from a global source of
//! randomness. Whoever has a loop, with a runtime or without, can drive a machine from it; this page says how. Who
//! wants it done takes `adit-tokio` or `adit-mio`; who wants to see machines at work takes `adit-sim`.
//!
//! | machine | what it is | what it asks the world for |
//! | --- | --- | --- |
//! | [`relay::Relay`] | a TURN server (RFC 8656) | sockets |
//! | [`client::Client`] | one allocation on a TURN server, kept alive | one socket at a time |
//! | [`gateway::Gateway`] | targets, served over QUIC on relayed addresses | sockets, names, connections to targets |
//! | [`connector::Connector`] | pipes to the targets of any number of gateways | sockets |
//!
//! [`quic::Endpoint`], which the last two share, is a machine too, but has no sockets of its own.
//!
//! # A machine and its owner
//!
//! ```text
//!                              ┌────────── a machine ───────────┐
//!  datagrams have arrived ───▶ │ handle_datagrams ─▶ Forwards ──┼─▶ send them on, out of the same buffer
//!  an effect was done ───────▶ │ handle_completion              │
//!  bytes of a link ──────────▶ │ handle_bytes     poll_transmit ┼─▶ datagrams to send
//!  the wall clock was set ───▶ │ handle_clock        poll_event ┼─▶ effects to carry out; news
//!  the deadline has come ────▶ │ handle_timeout    poll_timeout ┼─▶ the next deadline, and why
//!                              └────────────────────────────────┘
//!                                ▲ its own calls: permit, open, pipe_read, close …
//! ```
//!
//! All machines have these methods, with these names, as inherent ones:
//!
//! | call | what it brings or takes |
//! | --- | --- |
//! | `handle_datagrams` | UDP datagrams of one source, as the kernel coalesced them: [`io::Datagrams`] |
//! | `handle_bytes` | bytes of a link, a TCP connection that the machine frames itself |
//! | `handle_completion` | the world's answer to an effect, or an ICMP error: [`io::Completion`] |
//! | `handle_clock` | the wall clock was set, or the computer slept |
//! | `handle_timeout` | time passed; early, late and repeated calls are legal |
//! | `poll_transmit` | the next datagrams to send, ready for segmentation offload: [`io::Transmit`] |
//! | `poll_event` | the next event: an [`io::Effect`] to carry out, or news for the application |
//! | `poll_timeout` | when to call `handle_timeout` next, and why; it only looks, so it may be called often |
//!
//! # A loop of one's own
//!
//! 1. Make the machine from its configuration, a [`time::Clock`], the present instant, and a [`rand::Seed`] from a
//!    true source of randomness.
//! 2. *Settle* it: send what `poll_transmit` gives until it gives nothing; take one event from `poll_event` and carry
//!    it out; begin again until there is no event either.
//! 3. Wait for a datagram, for the answer to an effect, or until the instant of `poll_timeout`.
//! 4. Hand over what came, call `handle_timeout`, and go on with 2.
//!
//! For a machine with one socket, this is all of it:
//!
//! ```
//! use std::io;
//! use std::net::UdpSocket;
//! use std::num::NonZeroUsize;
//! use std::time::{Duration, Instant, SystemTime};
//!
//! use adit_core::client::{Client, Config, Event};
//! use adit_core::io::{Completion, Datagrams, Effect, Forwards, SocketId};
//! use adit_core::time::Clock;
//! use adit_core::turn::credentials::Credentials;
//!
//! type Socket = Option<(SocketId, UdpSocket)>;
//!
//! fn turn(client: &mut Client, socket: &mut Socket) -> io::Result<()> {
//!     client.handle_timeout(Instant::now());
//!     settle(client, socket, Instant::now())?;
//!     let Some((id, udp)) = socket else { return Ok(()) };
//!     let deadline = client.poll_timeout().map_or(Instant::now(), |deadline| deadline.at);
//!     let wait = deadline.saturating_duration_since(Instant::now());
//! #   let wait = wait.min(Duration::from_millis(10));
//!     udp.set_read_timeout(Some(wait.max(Duration::from_millis(1))))?;
//!     let mut buffer = [0; 65_535];
//!     if let Ok((len, remote)) = udp.recv_from(&mut buffer) {
//!         let mut batch = Datagrams::single(*id, remote, &mut buffer[..len]);
//!         let mut forwards = Forwards::default();
//!         client.handle_datagrams(Instant::now(), batch.reborrow(), &mut forwards);
//!         for run in forwards.drain() {
//!             println!("a peer sent {:?}", run.body(&batch, 0));
//!         }
//!     }
//!     Ok(())
//! }
//!
//! fn settle(client: &mut Client, socket: &mut Socket, now: Instant) -> io::Result<()> {
//!     let mut out = Vec::new();
//!     loop {
//!         while client.poll_transmit(now, NonZeroUsize::MIN, &mut out).is_some() {
//!             let (_, udp) = socket.as_ref().expect("a client without a socket sends nothing");
//!             // What can't be sent is lost, like any datagram: the machine repeats what matters.
//!             let _ = udp.send_to(&out, client.server());
//!             out.clear();
//!         }
//!         match client.poll_event() {
//!             Some(Event::Effect(Effect::Bind { socket: id, addr, .. })) => {
//!                 let (_, udp) = socket.insert((id, UdpSocket::bind(addr)?));
//!                 let result = Ok(udp.local_addr()?);
//!                 client.handle_completion(now, Completion::Bound { socket: id, result });
//!             }
//!             Some(Event::Effect(_)) => *socket = None, // Unbind
//!             Some(news) => println!("{news:?}"),
//!             None => return Ok(()),
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let relay = UdpSocket::bind("127.0.0.1:0")?;
//! # let (address, seed) = (relay.local_addr()?, [7; 32]);
//! let credentials = Credentials { username: "user".into(), password: "password".into() };
//! let now = Instant::now();
//! let clock = Clock::new(now, SystemTime::UNIX_EPOCH.elapsed()?);
//! let mut client = Client::new(Config::new(address, credentials), clock, now, seed);
//! let mut socket = None;
//! # relay.set_nonblocking(true)?;
//! # let mut request = [0; 100];
//! # while relay.recv(&mut request).is_err() {
//! turn(&mut client, &mut socket)?;
//! # }
//! # assert_eq!(request[..2], [0, 3], "an Allocate request");
//! # Ok(())
//! # }
//! ```
//!
//! `turn_client_std` among this crate's examples is the same with an end, `turn_client_mio` among those of `adit-mio`
//! is the same beside other things in one poll, and `simulated_network` among those of `adit-sim` has no network at
//! all.
//!
//! # What holds
//!
//! - **Nothing fails because of the network.** What arrives is handled, or dropped and counted by reason; it causes
//!   neither an error nor a panic, and no queue grows without bound.
//! - **Time never runs backwards.** Each `now` is at least as late as the one before. A machine that is given late
//!   instants, or called late, does late what it would have done, and nothing worse.
//! - **Settle after every call**, be it an input or a call of the machine's own. What is wanted does not come out by
//!   itself, and `poll_timeout` counts only when everything else was taken.
//! - **`out` is empty on entry** to `poll_transmit` and holds exactly the [`io::Transmit`] on return: datagrams of
//!   `stride` bytes, the last may be shorter, at most `max_segments` of them. Send each as a datagram of its own, with
//!   one system call where the kernel segments.
//! - **[`io::Forwards`] come first**: they name bytes of the batch that was just handed over, so that they are sent
//!   before its buffer is used again. For a client they hold what peers sent, and go to the owner.
//! - **Identifiers have lives.** The machine picks them; an answer that comes too late names a past life and is
//!   ignored. So an effect may be answered at once, inside the loop that settles, or at any later time.
//! - **A lost datagram is nothing special.** Where a socket does not take one at once, drop it or let a bounded number
//!   wait; never let the machine wait.
//! - **The same inputs give the same outputs**: the seed decides about everything that is random, no hash map is
//!   iterated, and nothing is shared between machines. The one exception is a [`time::WallCell`], which rustls and
//!   quinn-proto read the time of certificates from; the machine sets it itself.
//! - **Machines are `Send`** and never wait for anything: an owner who shares one puts it into a mutex.
//!
//! # Rooms
//!
//! From the ground up; each imports only those above it in this list.
//!
//! | room | what it holds |
//! | --- | --- |
//! | [`io`] | the words that all machines share: batches, transmits, effects and completions, identifiers |
//! | [`time`] | instants and unix time, deadlines |
//! | [`rand`] | injected randomness |
//! | [`stun`] | STUN messages (RFC 8489): a guarded view of what arrives, a builder for what is sent |
//! | [`turn`] | what both ends of a TURN hop share: ChannelData, credentials, nonces, the peer policy, URIs |
//! | [`pki`] | certificates: identities, issuing, verification, TLS configurations |
//! | [`secure`] | the hop to the relay: TLS and DTLS, without I/O |
//! | [`relay`] | the TURN server |
//! | [`client`] | the TURN client |
//! | [`quic`] | quinn-proto over virtual addresses |
//! | [`tunnel`] | the protocol inside: frames, targets, the pump between a stream and a pipe |
//! | [`gateway`] | clients, QUIC and targets |
//! | [`connector`] | QUIC and pipes |
//!
//! # Features, versions, platforms
//!
//! - Everything is always there. The one feature flag, `check`, adds `relay::Relay::check`, which asserts that all of a
//!   relay's indexes agree: for simulations and tests.
//! - It needs Rust 1.95 or later, the `rust-version` of its manifest, and `std` (for maps, `Instant` and `IpAddr`).
//! - All cryptography is that of aws-lc-rs, which is C and assembly: a C compiler is needed, and the platforms are
//!   those of AWS-LC. Everything is tested on `x86_64-unknown-linux-gnu`; nothing in this crate itself is particular to
//!   an operating system.
//! - It does **not** build for `wasm32-unknown-unknown`. That target has no C library for AWS-LC to be compiled
//!   against, and aws-lc-rs does not list it; besides, `std::time::Instant`, which every call takes, can't be made
//!   there. Of the WebAssembly targets aws-lc-rs knows `wasm32-unknown-emscripten`, for which this crate has not been
//!   tried.

#![deny(clippy::iter_over_hash_type, clippy::print_stdout, clippy::print_stderr)]

pub mod io;
pub mod rand;
pub mod time;

pub mod stun;
pub mod turn;

pub mod pki;
pub mod secure;

pub mod client;
pub mod relay;

pub mod quic;
pub mod tunnel;

pub mod connector;
pub mod gateway;

/// An owner may keep a machine on any thread.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<relay::Relay>();
    is_send::<client::Client>();
    is_send::<quic::Endpoint>();
    is_send::<gateway::Gateway>();
    is_send::<connector::Connector>();
};
