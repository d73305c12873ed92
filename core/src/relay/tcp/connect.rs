//! Connect: the relay opens a TCP connection with a peer, from the relayed address (RFC 6062 §5.2).

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Instant;

use super::super::Relay;
use super::super::allocation::{Allocation, AllocationId};
use super::super::config::IpVersion;
use super::super::counters::ConnectionEnd;
use super::super::listen::Transport;
use super::super::reply::{Answer, Refusal};
use super::super::request::Request;
use super::connections::{Number, Phase};
use crate::io::Effect;

impl Relay {
    /// Begins to connect; the reply follows when that has ended.
    pub(in super::super) fn connect(
        &mut self,
        now: Instant,
        request: &Request<'_>,
    ) -> Result<Answer, Refusal> {
        let id = self.allocation_of(request)?;
        self.judge_transport(id, Transport::Tcp)?;
        let peer = request.message.peer_address()?.ok_or(Refusal::BadRequest)?;
        if peer.port() == 0 {
            return Err(Refusal::BadRequest);
        }
        let room = self.connections.judge(id, peer);
        if room == Err(ConnectionEnd::Exists) {
            return Err(Refusal::ConnectionExists);
        }
        self.judge_peer(id, request, peer)?;
        self.judge_connection(id, peer)?;
        room.map_err(|_| Refusal::InsufficientCapacity)?;
        let (to, timeout) = (peer, self.connections.limits.connect);
        let from = self.relayed_end(id, peer).ok_or(Refusal::PeerFamilyMismatch)?;
        let phase = Phase::Connecting(Box::new(request.addressee.clone()));
        let (_, link) = self.begin_connection(now, id, (from, peer), phase);
        self.effect(Effect::OpenLink { link, to, from: Some(from), timeout });
        Ok(Answer::Silence)
    }

    /// Whether an allocation is of `transport`.
    ///
    /// # Errors
    /// 403 when not: what is asked for is nothing that it does.
    pub(in super::super) fn judge_transport(
        &self,
        id: AllocationId,
        transport: Transport,
    ) -> Result<(), Refusal> {
        let relays = self.table.get(id).map(|allocation| allocation.relays);
        if relays == Some(transport) { Ok(()) } else { Err(Refusal::Forbidden) }
    }

    /// Whether a connection with a peer, whose address is permitted, may be made: not with the relay's own ports, and not
    /// with the relayed address itself, which would be a connection of one end.
    fn judge_connection(&self, id: AllocationId, peer: SocketAddr) -> Result<(), Refusal> {
        let relayed = |version, port| self.table.is_relayed(version, port);
        self.reach.port(peer, relayed).map_err(|_| Refusal::Forbidden)?;
        let leg = self.table.get(id).and_then(|allocation| allocation.leg(IpVersion::of(peer.ip())));
        let itself = leg.is_some_and(|leg| leg.port == peer.port()) && self.reach.is_here(peer.ip());
        if itself { Err(Refusal::Forbidden) } else { Ok(()) }
    }

    /// The relayed address as the driver knows it, from which a peer is reached.
    pub(super) fn relayed_end(&self, id: AllocationId, peer: SocketAddr) -> Option<SocketAddr> {
        let version = IpVersion::of(peer.ip());
        let leg = self.table.get(id).filter(|it| Allocation::is_live(it))?.leg(version)?;
        Some(SocketAddr::new(self.config.relay_address(version)?.bind, leg.port))
    }

    /// The peer has answered.
    pub(super) fn connected(&mut self, now: Instant, number: Number) {
        let Some(addressee) = self.connections.open(now, number) else { return };
        self.hold(number);
        let success = addressee.key.sign(addressee.success().connection_id(number));
        self.reply(addressee.path, success.into_boxed_slice());
        self.tell_connected(number);
    }
}

/// What a failure to connect is called: the relay's own, or that of the peer or of the way there (RFC 6062 §5.2).
pub(super) fn failure(kind: ErrorKind) -> Refusal {
    match kind {
        ErrorKind::ConnectionRefused
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::NetworkDown
        | ErrorKind::PermissionDenied
        | ErrorKind::AddrInUse
        | ErrorKind::AddrNotAvailable
        | ErrorKind::TimedOut => Refusal::ConnectionFailed,
        _ => Refusal::ServerError,
    }
}
