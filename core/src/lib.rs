//! The protocol machines of Adit: pure state machines that turn bytes and instants into bytes, events and
//! deadlines.
//!
//! Nothing here opens a socket, reads a clock, starts a thread or draws from a global source of randomness.
//! A driver owns all of that and talks to every machine through the same inherent methods:
//!
//! | call | what it brings or takes |
//! | --- | --- |
//! | `handle_datagrams` | a batch of UDP datagrams from one source, as the kernel coalesced it |
//! | `handle_bytes` | bytes of a TCP or TLS link |
//! | `handle_completion` | the world's answer to an effect (a socket bound, a name resolved, a target dialled) |
//! | `handle_clock` | the wall clock was set, or the machine slept |
//! | `handle_timeout` | time passed; early, late and repeated calls are legal |
//! | `poll_transmit` | the next datagrams to send, in one buffer, ready for segmentation offload |
//! | `poll_event` | the next event or effect |
//! | `poll_timeout` | when to call `handle_timeout` next, and why |
//!
//! After any input the driver drains transmits, then events, then asks for the timeout. Input from the network
//! never errors and never panics: it is handled, or dropped and counted by reason.
//!
//! The rooms, from the ground up; each imports only those above it in this list: [`io`], [`time`], [`rand`],
//! [`stun`], [`turn`], [`pki`], [`relay`], [`client`], [`quic`], [`tunnel`], [`gateway`], [`connector`].

#![deny(clippy::iter_over_hash_type)]

pub mod io;
pub mod rand;
pub mod time;

pub mod stun;
pub mod turn;

pub mod pki;

pub mod client;
pub mod relay;

pub mod quic;
pub mod tunnel;

pub mod connector;
pub mod gateway;
