//! Between the hosts: who has which address, what a packet passes on its way, and where it is lost.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_core::io::Ecn;
use adit_core::rand::Rng;

use crate::link::Link;
use crate::nat::Nat;
use crate::trace::Trace;

/// One UDP datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The sender, as the public network sees it.
    pub from: SocketAddr,
    /// The receiver, as the sender sees it.
    pub to: SocketAddr,
    /// The ECN codepoint.
    pub ecn: Option<Ecn>,
    /// The UDP payload.
    pub payload: Vec<u8>,
}

/// Why a packet did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drop {
    /// The link lost it.
    Lost,
    /// The link was cut.
    Cut,
    /// The link's queue was full.
    Queue,
    /// It was larger than the link's MTU.
    TooLarge,
    /// Nobody has the address.
    NoHost,
    /// Nobody has bound the port.
    NoSocket,
    /// The receiver's NAT knew no mapping, or its filter refused the sender.
    Nat,
    /// The machine sent from a socket that it does not have.
    NotBound,
}

/// A host by number.
pub(crate) type HostIndex = usize;

/// The public network.
#[derive(Debug)]
pub(crate) struct Network {
    places: BTreeMap<IpAddr, HostIndex>,
    nats: BTreeMap<HostIndex, Nat>,
    links: BTreeMap<(HostIndex, HostIndex), Link>,
    usual: Link,
    cut: BTreeMap<HostIndex, bool>,
    busy: BTreeMap<(HostIndex, HostIndex), Instant>,
    captures: BTreeMap<HostIndex, Vec<Packet>>,
    drops: BTreeMap<Drop, u64>,
    pub(crate) trace: Trace,
    pub(crate) rng: Rng,
}

impl Network {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            places: BTreeMap::new(),
            nats: BTreeMap::new(),
            links: BTreeMap::new(),
            usual: Link::default(),
            cut: BTreeMap::new(),
            busy: BTreeMap::new(),
            captures: BTreeMap::new(),
            drops: BTreeMap::new(),
            trace: Trace::default(),
            rng,
        }
    }

    /// Connects a host under `addresses`, the public ones.
    pub(crate) fn connect(&mut self, host: HostIndex, addresses: &[IpAddr], nat: Option<Nat>) {
        for &address in addresses {
            let before = self.places.insert(address, host);
            assert!(before.is_none(), "{address} has a host already");
        }
        if let Some(mut nat) = nat {
            nat.attach(addresses.to_vec());
            self.nats.insert(host, nat);
        }
    }

    /// Who gets what is sent to `address`.
    pub(crate) fn host_at(&self, address: IpAddr) -> Option<HostIndex> {
        self.places.get(&address).copied()
    }

    /// The public addresses of a host.
    pub(crate) fn addresses_of(&self, host: HostIndex) -> Vec<IpAddr> {
        self.places.iter().filter(|&(_, &at)| at == host).map(|(&address, _)| address).collect()
    }

    pub(crate) fn set_usual_link(&mut self, link: Link) {
        self.usual = link;
    }

    pub(crate) fn set_link(&mut self, a: HostIndex, b: HostIndex, link: Link) {
        self.links.insert((a.min(b), a.max(b)), link);
    }

    pub(crate) fn set_cut(&mut self, host: HostIndex, cut: bool) {
        self.cut.insert(host, cut);
    }

    pub(crate) fn nat(&mut self, host: HostIndex) -> Option<&mut Nat> {
        self.nats.get_mut(&host)
    }

    pub(crate) fn capture(&mut self, host: HostIndex) {
        self.captures.entry(host).or_default();
    }

    pub(crate) fn captured(&self, host: HostIndex) -> &[Packet] {
        self.captures.get(&host).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn dropped(&self, reason: Drop) -> u64 {
        self.drops.get(&reason).copied().unwrap_or(0)
    }

    pub(crate) fn drop(&mut self, reason: Drop) {
        *self.drops.entry(reason).or_default() += 1;
    }

    /// Sends `packet` out of `host`; returns the packet as the public network sees it, its receiver, and when its
    /// copies arrive there. `elapsed` is the time since the beginning.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        elapsed: Duration,
        host: HostIndex,
        mut packet: Packet,
    ) -> Option<(Packet, HostIndex, [Option<Instant>; 2])> {
        if let Some(nat) = self.nats.get_mut(&host) {
            let Some(outer) = nat.outward(now, &mut self.rng, packet.from, packet.to) else {
                self.drop(Drop::NoHost);
                return None;
            };
            packet.from = outer;
        }
        self.trace.record(elapsed, packet.from, packet.to, packet.payload.len());
        self.record(host, &packet);
        let Some(receiver) = self.host_at(packet.to.ip()) else {
            self.drop(Drop::NoHost);
            return None;
        };
        match self.pass(now, (host, receiver), &packet) {
            Ok(copies) => Some((packet, receiver, copies)),
            Err(reason) => {
                self.drop(reason);
                None
            }
        }
    }

    /// Takes `packet` in at `host`; returns the inner address that it is for.
    pub(crate) fn receive(&mut self, now: Instant, host: HostIndex, packet: &Packet) -> Option<SocketAddr> {
        if self.is_cut(host) {
            self.drop(Drop::Cut);
            return None;
        }
        self.record(host, packet);
        let Some(nat) = self.nats.get_mut(&host) else {
            return Some(packet.to);
        };
        let inner = nat.inward(now, packet.to, packet.from);
        if inner.is_none() {
            self.drop(Drop::Nat);
        }
        inner
    }

    fn record(&mut self, host: HostIndex, packet: &Packet) {
        if let Some(capture) = self.captures.get_mut(&host) {
            capture.push(packet.clone());
        }
    }

    fn is_cut(&self, host: HostIndex) -> bool {
        self.cut.get(&host).copied().unwrap_or(false)
    }

    fn pass(
        &mut self,
        now: Instant,
        (from, to): (HostIndex, HostIndex),
        packet: &Packet,
    ) -> Result<[Option<Instant>; 2], Drop> {
        let link = self.links.get(&(from.min(to), from.max(to))).copied().unwrap_or(self.usual);
        let headers = if packet.to.is_ipv4() { 28 } else { 48 };
        let size = packet.payload.len() + headers;
        if size > link.mtu {
            return Err(Drop::TooLarge);
        }
        if self.is_cut(from) {
            return Err(Drop::Cut);
        }
        let leaves = self.queue(now, (from, to), &link, size)?;
        let crossings = link.crossings(&mut self.rng);
        if crossings[0].is_none() {
            self.drop(Drop::Lost);
        }
        Ok(crossings.map(|crossing| crossing.map(|time| leaves + time)))
    }

    /// When a packet of `size` bytes has left the queue in front of the link.
    fn queue(
        &mut self,
        now: Instant,
        way: (HostIndex, HostIndex),
        link: &Link,
        size: usize,
    ) -> Result<Instant, Drop> {
        let Some(rate) = link.rate else { return Ok(now) };
        let free = self.busy.entry(way).or_insert(now);
        let begins = now.max(*free);
        if begins.duration_since(now) > Link::QUEUE {
            return Err(Drop::Queue);
        }
        *free = begins + Duration::from_nanos(size as u64 * 1_000_000_000 / rate.max(1));
        Ok(*free)
    }
}
