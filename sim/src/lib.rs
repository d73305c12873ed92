//! Simulated worlds: relays, gateways and connectors under one virtual clock, in one thread, on a network that
//! delays, loses, reorders and duplicates, behind the NATs of RFC 4787.
//!
//! The machines are the real ones of `adit-core`; only the world around them is made up. A world draws all its
//! chances from one seed: the same seed gives the same run, packet by packet, and [`Trace::hash`] proves it.
//!
//! Two relays, a gateway behind a NAT, a connector, and a relay that dies:
//!
//! ```
//! use adit_sim::{KIB, Nat, World, secs};
//!
//! let mut world = World::seeded(7);
//! let (a, b) = (world.relay("a"), world.relay("b"));
//! let gateway = world.gateway("gw").behind(Nat::symmetric()).on([a, b]);
//! let connector = world.connector().start();
//! world.after(secs(5), move |world| world.kill(a));
//! world.run_for(secs(90));
//! let stream = world.open(connector, gateway, "tcp://echo:7");
//! world.transfer(stream, 256 * KIB);
//! world.run_until_quiet();
//!
//! assert!(world.received(stream) == world.sent(stream));
//! assert_eq!(world.addresses(gateway).len(), 1);
//! ```
//!
//! Nothing here waits for real time: an hour of virtual time with an idle tunnel takes milliseconds, and a thousand
//! gateways on ten relays live faster than the clock on the wall (`cargo run --release --example thousand`).
//!
//! # What there is
//!
//! | of | made by | what befalls it |
//! | --- | --- | --- |
//! | relays | [`World::relay`], [`relay_with`](World::relay_with) | [`kill`](World::kill), [`restart`](World::restart), and all that befalls a host |
//! | gateways | [`World::gateway`] … [`on`](GatewayBuilder::on) any number of relays | the same, [`reinstall`](World::reinstall) without what it had kept, papers that run out or are [renewed](World::renew) |
//! | connectors | [`World::connector`] … [`start`](ConnectorBuilder::start) | the same |
//! | hosts | [`World::host`], for a [`Machine`] of one's own | [`set_cut`](World::set_cut), [`sleep`](World::sleep), clocks that [`jump`](World::jump) or [jump back](World::jump_back), addresses that are [taken](World::take) |
//! | NATs | [`Nat`], `behind` it; [`World::home`] for several hosts behind one | expiry, [`rebind`](World::rebind), [`restart_nat`](World::restart_nat), no [hairpin](Nat::without_hairpin) |
//! | firewalls | [`Firewall`], `firewalled` by it, [`set_firewall`](World::set_firewall) | no UDP, one way only, answers only, certain ports only, a short memory |
//! | links | [`Link`], as the [usual](World::set_usual_link) one, [between two](World::set_link) or [one way](World::set_way) | latency, jitter, loss, [`Bursts`], duplication, reordering, a rate with a queue, a black hole for large packets |
//! | targets | [`World::target`], `allowing` it | echo, sink, source, slow, hanging, breaking, refusing, silent: [`Target`] |
//! | streams | [`World::open`] | [`say`](World::say), [`finish`](World::finish), [`hang_up`](World::hang_up), [`transfer`](World::transfer) |
//! | packets | [`World::inject`], also what was [captured](World::captured) | each one that does not arrive is counted: [`Drop`] |
//! | time | [`run_for`](World::run_for), [`run_until`](World::run_until), [`step`](World::step) | [`after`](World::after) a while, something happens |
//!
//! # What a world is not
//!
//! TCP between a gateway and its targets loses nothing and takes no time but a millisecond for the dial. Contents of
//! packets are the machines' own, with fresh keys of TLS in each run; so the trace looks at times, addresses and
//! lengths only.

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
pub use world::{Agent, Behind, ConnectorBuilder, GatewayBuilder, Handle, Point, Transfer, World};

/// 2¹⁰ bytes.
pub const KIB: usize = 1 << 10;
/// 2²⁰ bytes.
pub const MIB: usize = 1 << 20;
