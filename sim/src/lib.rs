//! Simulated worlds: relays, gateways and connectors under one virtual clock, in one thread, on a network that
//! delays, loses, reorders and duplicates, behind the NATs of RFC 4787.
//!
//! The machines are the real ones of `adit-core`; only the world around them is made up. A world draws all its
//! chances from one seed: the same seed gives the same run, packet by packet, and [`Trace::hash`] proves it.
//!
//! From the ground up: [`Link`] is what a packet suffers, [`Nat`] what its addresses suffer, [`Party`] is one end
//! of a byte stream, and [`World`] moves time and packets between hosts.
//!
//! ```
//! use adit_sim::{KIB, Nat, Percent, World};
//!
//! let mut world = World::seeded(7);
//! let relay = world.relay("a");
//! let gateway = world.gateway("gw").behind(Nat::symmetric()).on([relay]);
//! let connector = world.connector().behind(Nat::full_cone()).start();
//! let stream = world.open(connector, gateway, "tcp://echo:7");
//!
//! world.transfer(stream, 256 * KIB).at(50.percent()).then(move |world| world.rebind(connector));
//!
//! world.run_until_quiet();
//! assert!(world.received(stream) == world.sent(stream));
//! ```
//!
//! Nothing here waits for real time: an hour of virtual time with an idle tunnel takes milliseconds.

mod clock;
mod firewall;
mod host;
pub mod invariants;
mod link;
mod machine;
mod machines;
pub mod model;
mod nat;
mod network;
mod party;
mod pki;
pub mod plan;
mod queue;
mod target;
mod trace;
mod ways;
mod world;

pub use clock::{UNIX_START, secs};
pub use firewall::Firewall;
pub use link::{Bursts, Link, Odds, Percent};
pub use machine::Machine;
pub use nat::{Dependence, Nat};
pub use network::{Drop, Home, Packet};
pub use party::{End, Party, Stream};
pub use pki::Validity;
pub use target::Target;
pub use trace::Trace;
pub use world::{Behind, ConnectorBuilder, GatewayBuilder, Handle, Point, Transfer, World};

/// 2¹⁰ bytes.
pub const KIB: usize = 1 << 10;
/// 2²⁰ bytes.
pub const MIB: usize = 1 << 20;
