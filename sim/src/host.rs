//! One machine with what a driver would hold for it: its sockets, its wall clock, the parties at its pipes.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use adit_core::io::{PipeId, SocketId};
use adit_core::time::Deadline;

use crate::clock::Skew;
use crate::machine::Driven;
use crate::party::Stream;

pub(crate) struct Host {
    pub(crate) name: String,
    /// Its own addresses: private ones behind a NAT.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) machine: Option<Box<dyn Driven>>,
    /// Grows with every machine that lived here, so that nothing meant for one reaches the next.
    pub(crate) life: u32,
    pub(crate) skew: Skew,
    /// Nothing reaches the machine before.
    pub(crate) asleep: Option<Instant>,
    pub(crate) deadline: Option<Deadline>,
    pub(crate) sockets: Sockets,
    pub(crate) pipes: BTreeMap<PipeId, Stream>,
    pub(crate) woken: VecDeque<PipeId>,
    /// How often a deadline of its machines has come.
    pub(crate) wakes: u64,
    /// Addresses that somebody else on this host has bound.
    pub(crate) taken: Vec<SocketAddr>,
}

impl Host {
    pub(crate) fn new(name: &str, addresses: Vec<IpAddr>) -> Self {
        Self {
            name: name.to_owned(),
            addresses,
            machine: None,
            life: 0,
            skew: Skew::default(),
            asleep: None,
            deadline: None,
            sockets: Sockets::default(),
            pipes: BTreeMap::new(),
            woken: VecDeque::new(),
            wakes: 0,
            taken: Vec::new(),
        }
    }

    /// Binds as the kernel would: port 0 takes the next free one.
    pub(crate) fn bind(&mut self, socket: SocketId, addr: SocketAddr) -> Result<SocketAddr, ErrorKind> {
        if !addr.ip().is_unspecified() && !self.addresses.contains(&addr.ip()) {
            return Err(ErrorKind::AddrNotAvailable);
        }
        if self.taken.contains(&addr) {
            return Err(ErrorKind::AddrInUse);
        }
        self.sockets.bind(socket, addr)
    }

    /// The address that a packet from `socket` to `to` carries.
    pub(crate) fn source(
        &self,
        socket: SocketId,
        from: Option<IpAddr>,
        to: SocketAddr,
    ) -> Option<SocketAddr> {
        let bound = self.sockets.addr(socket)?;
        if bound.is_ipv4() != to.is_ipv4() {
            return None;
        }
        let ip = if bound.ip().is_unspecified() {
            from.or_else(|| self.addresses.iter().copied().find(|ip| ip.is_ipv4() == to.is_ipv4()))?
        } else {
            bound.ip()
        };
        Some(SocketAddr::new(ip, bound.port()))
    }

    /// Forgets everything that died with the machine.
    pub(crate) fn vacate(&mut self) {
        self.machine = None;
        self.life += 1;
        self.deadline = None;
        self.sockets = Sockets::default();
        self.pipes.clear();
        self.woken.clear();
    }
}

/// The UDP sockets of one host.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    by_id: BTreeMap<SocketId, SocketAddr>,
    by_addr: BTreeMap<SocketAddr, SocketId>,
    last_port: u16,
}

impl Sockets {
    /// The first port that is given to who asks for any.
    const EPHEMERAL: u16 = 32_768;

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn addr(&self, socket: SocketId) -> Option<SocketAddr> {
        self.by_id.get(&socket).copied()
    }

    /// The socket that takes what is sent to `addr`.
    pub(crate) fn at(&self, addr: SocketAddr) -> Option<SocketId> {
        let any = if addr.is_ipv4() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        };
        self.by_addr.get(&addr).or_else(|| self.by_addr.get(&SocketAddr::new(any, addr.port()))).copied()
    }

    pub(crate) fn unbind(&mut self, socket: SocketId) {
        if let Some(addr) = self.by_id.remove(&socket) {
            self.by_addr.remove(&addr);
        }
    }

    fn bind(&mut self, socket: SocketId, mut addr: SocketAddr) -> Result<SocketAddr, ErrorKind> {
        assert!(!self.by_id.contains_key(&socket), "{socket:?} is bound already");
        if addr.port() == 0 {
            addr = self.ephemeral(addr);
        }
        if self.by_addr.contains_key(&addr) {
            return Err(ErrorKind::AddrInUse);
        }
        self.by_id.insert(socket, addr);
        self.by_addr.insert(addr, socket);
        Ok(addr)
    }
    fn ephemeral(&mut self, mut addr: SocketAddr) -> SocketAddr {
        loop {
            self.last_port = self.last_port.checked_add(1).unwrap_or_default().max(Self::EPHEMERAL);
            addr.set_port(self.last_port);
            if !self.by_addr.contains_key(&addr) {
                return addr;
            }
        }
    }
}
