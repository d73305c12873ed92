//! The two sockets of a connector: one for IPv4, and one for IPv6 only. Every gateway is reached from its family.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Event;
use crate::io::{Arena, Effect, SocketId, SocketKind};

/// The number of IPv4's socket, as QUIC's ways name it.
const V4: u32 = 0;
/// The number of IPv6's socket.
const V6: u32 = 1;

#[derive(Debug)]
pub(super) struct Sockets {
    ids: [SocketId; 2],
    states: [State; 2],
}

/// What has become of a socket: nothing yet, or whether it could be bound.
type State = Option<Result<(), ErrorKind>>;

/// Which families can be used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Families {
    v4: Result<(), ErrorKind>,
    v6: Result<(), ErrorKind>,
}

impl Families {
    /// The number of the socket for `address`.
    ///
    /// # Errors
    /// What prevented that socket from being bound.
    pub(super) fn via(&self, address: SocketAddr) -> Result<u32, ErrorKind> {
        match address {
            SocketAddr::V4(_) => self.v4.map(|()| V4),
            SocketAddr::V6(_) => self.v6.map(|()| V6),
        }
    }
}

impl Sockets {
    /// Asks for both sockets, on these local addresses.
    pub(super) fn new((v4, v6): (Ipv4Addr, Ipv6Addr), out: &mut VecDeque<Event>) -> Self {
        let mut arena = Arena::<SocketId, ()>::default();
        let mut bind = |addr: SocketAddr| {
            let socket = arena.insert(());
            out.push_back(Event::Effect(Effect::Bind { socket, addr, kind: SocketKind::Client }));
            socket
        };
        let ids = [bind((v4, 0).into()), bind((v6, 0).into())];
        Self { ids, states: [None; 2] }
    }

    /// A bind has ended; the families, once both have.
    pub(super) fn bound(
        &mut self,
        socket: SocketId,
        result: Result<SocketAddr, ErrorKind>,
    ) -> Option<Families> {
        let index = self.ids.iter().position(|&id| id == socket)?;
        self.states[index] = Some(result.map(drop));
        self.families()
    }

    /// Which families can be used; `None` while that is not known yet.
    pub(super) fn families(&self) -> Option<Families> {
        let [Some(v4), Some(v6)] = self.states else { return None };
        Some(Families { v4, v6 })
    }

    /// The number of `socket`.
    pub(super) fn via(&self, socket: SocketId) -> Option<u32> {
        [V4, V6].into_iter().find(|&via| self.ids[via as usize] == socket)
    }

    /// The socket of that number, if it is bound.
    pub(super) fn socket(&self, via: u32) -> Option<SocketId> {
        let index = via as usize;
        matches!(self.states.get(index)?, Some(Ok(()))).then(|| self.ids[index])
    }
}
