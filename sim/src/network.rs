//! Between the hosts: who has which address, what a packet passes on its way, and where it is lost.
//!
//! ```text
//! host ─▶ its firewall ─▶ its NAT ─▶ the link to the receiver ─▶ the receiver's NAT ─▶ firewall ─▶ host
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use adit_core::io::Ecn;
use adit_core::rand::Rng;

use crate::firewall::Firewall;
use crate::nat::Nat;
use crate::trace::Trace;
use crate::ways::Ways;

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
    /// The link was cut, or the receiver slept.
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
    /// It was for another host behind the same NAT, by the NAT's own address, and the NAT does no hairpinning.
    Hairpin,
    /// The sender's firewall did not let it out, or the receiver's did not let it in.
    Firewall,
    /// The machine sent from a socket that it does not have.
    NotBound,
}

/// A host by number.
pub(crate) type HostIndex = usize;

/// A private network with one NAT in front of it, behind which any number of hosts may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Home(pub(crate) usize);

/// Where a packet enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// At the host itself.
    Host(HostIndex),
    /// At the NAT, which knows for whom it is.
    Home(Home),
}

/// A packet that is under way.
pub(crate) struct Sent {
    pub(crate) packet: Packet,
    pub(crate) door: Door,
    pub(crate) arrives: Instant,
    /// When it arrives again.
    pub(crate) again: Option<Instant>,
}

/// The public network.
#[derive(Debug)]
pub(crate) struct Network {
    doors: BTreeMap<IpAddr, Door>,
    places: Vec<Place>,
    homes: Vec<Inside>,
    drops: BTreeMap<Drop, u64>,
    doubled: u64,
    pub(crate) ways: Ways,
    pub(crate) trace: Trace,
    pub(crate) rng: Rng,
}

/// What is between one host and the public network.
#[derive(Debug, Default)]
struct Place {
    public: Vec<IpAddr>,
    home: Option<Home>,
    firewall: Option<Firewall>,
    cut: bool,
    captured: Option<Vec<Packet>>,
}

/// A NAT, and who is behind it.
#[derive(Debug)]
struct Inside {
    nat: Nat,
    hosts: BTreeMap<IpAddr, HostIndex>,
}

impl Network {
    pub(crate) fn new(rng: Rng) -> Self {
        Self {
            doors: BTreeMap::new(),
            places: Vec::new(),
            homes: Vec::new(),
            drops: BTreeMap::new(),
            doubled: 0,
            ways: Ways::default(),
            trace: Trace::default(),
            rng,
        }
    }

    /// Puts a NAT at the public `addresses`, with nobody behind it.
    pub(crate) fn settle(&mut self, mut nat: Nat, addresses: &[IpAddr]) -> Home {
        let home = Home(self.homes.len());
        self.open_doors(addresses, Door::Home(home));
        nat.attach(addresses.to_vec());
        self.homes.push(Inside { nat, hosts: BTreeMap::new() });
        home
    }

    /// Connects the next host under `addresses`: the public ones, or private ones behind a NAT.
    pub(crate) fn connect(&mut self, addresses: &[IpAddr], home: Option<Home>) {
        let host = self.places.len();
        let public = match home {
            Some(Home(index)) => {
                let inside = &mut self.homes[index];
                inside.hosts.extend(addresses.iter().map(|&address| (address, host)));
                inside.nat.external().to_vec()
            }
            None => {
                self.open_doors(addresses, Door::Host(host));
                addresses.to_vec()
            }
        };
        self.places.push(Place { public, home, ..Place::default() });
    }

    fn open_doors(&mut self, addresses: &[IpAddr], door: Door) {
        for &address in addresses {
            let before = self.doors.insert(address, door);
            assert!(before.is_none(), "{address} has a host already");
        }
    }

    /// Where what is sent to `address` enters.
    pub(crate) fn door(&self, address: IpAddr) -> Option<Door> {
        self.doors.get(&address).copied()
    }

    /// The public addresses of a host, or of the NAT in front of it.
    pub(crate) fn addresses_of(&self, host: HostIndex) -> &[IpAddr] {
        &self.places[host].public
    }

    pub(crate) fn home_of(&self, host: HostIndex) -> Option<Home> {
        self.places[host].home
    }

    pub(crate) fn nat(&self, home: Home) -> &Nat {
        &self.homes[home.0].nat
    }

    pub(crate) fn nat_mut(&mut self, home: Home) -> &mut Nat {
        &mut self.homes[home.0].nat
    }

    pub(crate) fn set_cut(&mut self, host: HostIndex, cut: bool) {
        self.places[host].cut = cut;
    }

    pub(crate) fn set_firewall(&mut self, host: HostIndex, firewall: Option<Firewall>) {
        self.places[host].firewall = firewall;
    }

    pub(crate) fn firewall(&self, host: HostIndex) -> Option<&Firewall> {
        self.places[host].firewall.as_ref()
    }

    pub(crate) fn capture(&mut self, host: HostIndex) {
        self.places[host].captured.get_or_insert_default();
    }

    pub(crate) fn captured(&self, host: HostIndex) -> &[Packet] {
        self.places[host].captured.as_deref().unwrap_or_default()
    }

    pub(crate) fn take_captured(&mut self, host: HostIndex) -> Vec<Packet> {
        self.places[host].captured.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn dropped(&self, reason: Drop) -> u64 {
        self.drops.get(&reason).copied().unwrap_or(0)
    }

    pub(crate) fn drop(&mut self, reason: Drop) {
        *self.drops.entry(reason).or_default() += 1;
    }

    pub(crate) fn doubled(&self) -> u64 {
        self.doubled
    }
}

/// Packets.
impl Network {
    /// Sends `packet` out of `host`. `elapsed` is the time since the beginning.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        elapsed: Duration,
        host: HostIndex,
        packet: Packet,
    ) -> Option<Sent> {
        let sent = self.leave(now, elapsed, host, packet).map_err(|reason| self.drop(reason)).ok()?;
        self.doubled += u64::from(sent.again.is_some());
        Some(sent)
    }

    /// Takes `packet` in at `door`; returns whom it is for, and the inner address.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        door: Door,
        packet: &Packet,
    ) -> Option<(HostIndex, SocketAddr)> {
        self.enter(now, door, packet).map_err(|reason| self.drop(reason)).ok()
    }

    fn leave(
        &mut self,
        now: Instant,
        elapsed: Duration,
        host: HostIndex,
        mut packet: Packet,
    ) -> Result<Sent, Drop> {
        if let Some(firewall) = &mut self.places[host].firewall
            && !firewall.lets_out(now, packet.from, packet.to)
        {
            return Err(Drop::Firewall);
        }
        let neighbour = self.neighbour(host, packet.to.ip());
        if let Some(Home(index)) = self.places[host].home
            && neighbour.is_none()
        {
            let nat = &mut self.homes[index].nat;
            packet.from = nat.outward(now, &mut self.rng, packet.from, packet.to).ok_or(Drop::NoHost)?;
        }
        self.trace.record(elapsed, packet.from, packet.to, traced(&packet.payload));
        self.record(host, &packet);
        let door = neighbour.map(Door::Host).or_else(|| self.door(packet.to.ip())).ok_or(Drop::NoHost)?;
        let receiver = self.receiver(host, door, packet.to)?;
        let headers = if packet.to.is_ipv4() { 28 } else { 48 };
        let (way, size) = ((host, receiver), packet.payload.len() + headers);
        if size > self.ways.link(way).mtu {
            return Err(Drop::TooLarge);
        }
        if self.places[host].cut {
            return Err(Drop::Cut);
        }
        let (arrives, again) = self.ways.cross(now, &mut self.rng, way, size)?;
        Ok(Sent { packet, door, arrives, again })
    }

    fn enter(&mut self, now: Instant, door: Door, packet: &Packet) -> Result<(HostIndex, SocketAddr), Drop> {
        let (host, inner) = match door {
            Door::Host(host) => (host, packet.to),
            Door::Home(Home(index)) => {
                let Inside { nat, hosts } = &mut self.homes[index];
                let inner = nat.inward(now, packet.to, packet.from).ok_or(Drop::Nat)?;
                (*hosts.get(&inner.ip()).ok_or(Drop::NoHost)?, inner)
            }
        };
        let place = &mut self.places[host];
        if place.cut {
            return Err(Drop::Cut);
        }
        if let Some(firewall) = &mut place.firewall
            && !firewall.lets_in(now, inner, packet.from)
        {
            return Err(Drop::Firewall);
        }
        self.record(host, packet);
        Ok((host, inner))
    }

    /// When `size` bytes of a stream that leave `host` now for the address `to` have arrived, and where. Behind a NAT
    /// nobody can be connected to.
    pub(crate) fn stream_to(
        &mut self,
        now: Instant,
        host: HostIndex,
        to: SocketAddr,
        size: usize,
    ) -> Result<(HostIndex, Instant), Drop> {
        let Door::Host(there) = self.door(to.ip()).ok_or(Drop::NoHost)? else { return Err(Drop::Nat) };
        self.stream_between(now, host, there, to.port(), size).map(|arrives| (there, arrives))
    }

    /// When `size` bytes of a stream that leave `host` now have arrived at another; `port` is that of the end that
    /// listens. What is lost is sent again after a while, as TCP does.
    pub(crate) fn stream_between(
        &mut self,
        now: Instant,
        host: HostIndex,
        there: HostIndex,
        port: u16,
        size: usize,
    ) -> Result<Instant, Drop> {
        const SEGMENT: usize = 1400;
        const HEADERS: usize = 40;
        const RETRANSMIT: Duration = Duration::from_millis(200);
        const ATTEMPTS: u32 = 16;
        for place in [host, there].map(|host| &self.places[host]) {
            if place.cut {
                return Err(Drop::Cut);
            }
            if place.firewall.as_ref().is_some_and(|firewall| !firewall.lets_streams(port)) {
                return Err(Drop::Firewall);
            }
        }
        let mut arrives = now;
        for begin in (0..size).step_by(SEGMENT) {
            let len = (size - begin).min(SEGMENT) + HEADERS;
            let mut attempt = 0;
            let at = loop {
                match self.ways.cross(now + RETRANSMIT * attempt, &mut self.rng, (host, there), len) {
                    Ok((at, _)) => break at,
                    Err(reason) if attempt == ATTEMPTS => return Err(reason),
                    Err(_) => attempt += 1,
                }
            };
            arrives = arrives.max(at);
        }
        Ok(arrives)
    }

    /// The host behind the same NAT that has `address` there: its packets never leave the house.
    fn neighbour(&self, host: HostIndex, address: IpAddr) -> Option<HostIndex> {
        let Home(index) = self.places[host].home?;
        self.homes[index].hosts.get(&address).copied()
    }

    /// Who will get what enters at `door`, as far as can be said now: it decides over the link. A NAT without a
    /// mapping has anybody's.
    fn receiver(&self, from: HostIndex, door: Door, to: SocketAddr) -> Result<HostIndex, Drop> {
        let home = match door {
            Door::Host(host) => return Ok(host),
            Door::Home(home) => home,
        };
        let Inside { nat, hosts } = &self.homes[home.0];
        if self.places[from].home == Some(home) && !nat.hairpins() {
            return Err(Drop::Hairpin);
        }
        let owner = nat.inner(to).and_then(|inner| hosts.get(&inner.ip()));
        owner.or_else(|| hosts.values().next()).copied().ok_or(Drop::NoHost)
    }

    fn record(&mut self, host: HostIndex, packet: &Packet) {
        if let Some(captured) = &mut self.places[host].captured {
            captured.push(packet.clone());
        }
    }
}

/// The length that a trace has of a packet. Those of DTLS's handshake (RFC 6347 §4.1: content types 20 to 22) depend on
/// signatures, whose lengths differ from run to run.
fn traced(payload: &[u8]) -> usize {
    match payload.first() {
        Some(20..=22) => 0,
        _ => payload.len(),
    }
}
