//! What the relay listens on: each address by UDP, TCP or both, on one port.

use std::fmt;
use std::io::ErrorKind;
use std::net::{AddrParseError, SocketAddr};
use std::str::FromStr;

use super::Relay;
use super::event::Event;
use crate::io::{Effect, ListenerKind, SocketId, SocketKind};

/// How often another free port is tried whose TCP side turns out to be taken.
const MOST_TRIES: u32 = 16;

/// An address on which clients are served. From a [`SocketAddr`], or parsed from text, it is one for UDP and TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The address. Port 0 is any free one, the same for UDP and TCP.
    pub addr: SocketAddr,
    /// Over what.
    pub transports: Transports,
}

/// Over what clients come to a listening address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transports {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// Both.
    Both,
}

/// What carries TURN to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

impl Listen {
    /// For UDP only.
    pub fn udp(addr: SocketAddr) -> Self {
        Self { addr, transports: Transports::Udp }
    }

    /// For TCP only.
    pub fn tcp(addr: SocketAddr) -> Self {
        Self { addr, transports: Transports::Tcp }
    }

    fn has(self, transport: Transport) -> bool {
        match self.transports {
            Transports::Both => true,
            Transports::Udp => transport == Transport::Udp,
            Transports::Tcp => transport == Transport::Tcp,
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(addr: SocketAddr) -> Self {
        Self { addr, transports: Transports::Both }
    }
}

impl FromStr for Listen {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        text.parse::<SocketAddr>().map(Self::from)
    }
}

/// One listening address, and how far it is.
#[derive(Debug)]
pub(super) struct Entrance {
    wish: Listen,
    /// Bound, and not told yet: TCP may not get the same port.
    udp: Option<(SocketId, SocketAddr)>,
    /// What was told.
    open: Option<Open>,
    tries: u32,
}

/// A listening address that is open.
#[derive(Debug, Clone, Copy)]
struct Open {
    local: SocketAddr,
    /// Where it is one for UDP.
    udp: Option<SocketId>,
}

impl Relay {
    /// Asks for the sockets of all listening addresses.
    pub(super) fn open_entrances(&mut self) {
        for wish in self.config.listen.clone() {
            self.entrances.push(Entrance { wish, udp: None, open: None, tries: 0 });
            self.open_entrance(self.entrances.len() - 1);
        }
    }

    /// What it listens on, with the ports that were found, in the order of the configuration: for the other shards. Those
    /// that could not be bound are missing.
    pub fn listening(&self) -> Vec<Listen> {
        let open = self.entrances.iter().filter_map(|entrance| Some((entrance, entrance.open?)));
        open.map(|(entrance, open)| Listen { addr: open.local, ..entrance.wish }).collect()
    }

    /// The socket of a listening address for UDP, and that address as it is bound.
    pub(super) fn entrance(&self, index: usize) -> Option<(SocketId, SocketAddr)> {
        let open = self.entrances.get(index)?.open?;
        Some((open.udp?, open.local))
    }

    fn open_entrance(&mut self, index: usize) {
        let Listen { addr, .. } = self.entrances[index].wish;
        if self.entrances[index].wish.has(Transport::Udp) {
            let socket = self.table.listen(index, Transport::Udp);
            self.effect(Effect::Bind { socket, addr, kind: SocketKind::Listening });
        } else {
            let listener = self.table.listen(index, Transport::Tcp);
            self.effect(Effect::Listen { listener, addr, kind: ListenerKind::Clients });
        }
    }

    /// A listening socket was bound, or could not be.
    pub(super) fn entrance_bound(
        &mut self,
        (index, transport): (usize, Transport),
        socket: SocketId,
        result: Result<SocketAddr, ErrorKind>,
    ) {
        let Entrance { wish, udp, open, tries } = &mut self.entrances[index];
        match (result, transport) {
            (Ok(local), Transport::Udp) if wish.has(Transport::Tcp) => {
                *udp = Some((socket, local));
                let addr = SocketAddr::new(wish.addr.ip(), local.port());
                let listener = self.table.listen(index, Transport::Tcp);
                self.effect(Effect::Listen { listener, addr, kind: ListenerKind::Clients });
            }
            (Ok(local), _) => {
                let by_udp =
                    udp.map(|(socket, _)| socket).or((transport == Transport::Udp).then_some(socket));
                *open = Some(Open { local, udp: by_udp });
                let udp = udp.take().map(|(socket, local)| (socket, local, Transport::Udp));
                for (socket, local, transport) in udp.into_iter().chain([(socket, local, transport)]) {
                    self.reach.listens(local);
                    self.events.push_back(Event::Listening { socket, local, transport });
                }
            }
            (Err(ErrorKind::AddrInUse), Transport::Tcp)
                if wish.addr.port() == 0 && udp.is_some() && *tries < MOST_TRIES =>
            {
                *tries += 1;
                let taken = udp.take();
                self.table.stop_listening(socket);
                if let Some((socket, _)) = taken {
                    self.table.stop_listening(socket);
                    self.effect(Effect::Unbind { socket });
                }
                self.open_entrance(index);
            }
            (Err(kind), _) => {
                let addr = wish.addr;
                self.table.stop_listening(socket);
                self.events.push_back(Event::ListenFailed { addr, transport, kind });
            }
        }
    }
}
