//! Allocations of TCP (RFC 6062): connections with peers, each of which becomes one with a link of its client.
//!
//! 1. An Allocate that asks for TCP, by TCP or TLS, gets a relayed address on which the relay listens (`allocate`).
//! 2. The client has the relay connect to a peer (`connect`), or a peer connects that has a permission (`attempt`). Either
//!    way the connection gets a number that nobody can guess, and is not read yet: the kernel holds what the peer says.
//! 3. The client opens another link and binds the connection to it by that number (`bind`), within 30 seconds.
//! 4. From then on bytes go both ways as they are (`pipe`), until both ends have finished, one breaks, or the allocation
//!    ends.
//!
//! Send and channels are not for these allocations: a Send indication is dropped, ChannelBind is answered 403.

mod attempt;
mod bind;
mod connect;
mod connections;
mod limits;
mod pipe;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

pub(super) use connections::{Connections, Number};
pub use limits::ConnectionLimits;

use super::Relay;
use super::allocation::AllocationId;
use super::config::IpVersion;
use super::counters::{ConnectionEnd, LinkEnd};
use super::event::Event;
use super::quota::Way;
use super::reply::Refusal;
use crate::io::{Close, Effect, LinkId};
use connections::{Connection, Phase, Timer};

impl Relay {
    /// Enters a connection between `local` and a peer.
    fn begin_connection(
        &mut self,
        now: Instant,
        allocation: AllocationId,
        (local, peer): (SocketAddr, SocketAddr),
        phase: Phase,
    ) -> (Number, LinkId) {
        let number = self.connections.draw(&self.tokens, &mut self.rng);
        let link = self.links.insert_peer(peer, local.ip(), number);
        let (early, streams) = Default::default();
        let connection = Connection { allocation, peer, link, phase, early, streams, moved: now };
        self.connections.insert(now, number, connection);
        (number, link)
    }

    /// Leaves what a peer says to the kernel until its client has bound the connection.
    fn hold(&mut self, number: Number) {
        if let Some(link) = self.connections.get(number).map(|connection| connection.link) {
            self.effect(Effect::PipeLink { link });
            self.effect(Effect::ReadLink { link, read: false });
        }
    }

    fn tell_connected(&mut self, number: Number) {
        self.counters.connections += 1;
        let Some(Connection { allocation, peer, .. }) = self.connections.get(number) else { return };
        let Some(allocation) = self.table.get(*allocation) else { return };
        let (client, hop) = (allocation.five_tuple.client, allocation.hop);
        let username = Arc::clone(&allocation.owner.username);
        self.events.push_back(Event::Connected { client, hop, username, peer: *peer });
    }

    /// The driver has opened a link.
    pub(super) fn link_opened(&mut self, now: Instant, link: LinkId) {
        if let Some((number, _)) = self.links.end_of(link) {
            self.connected(now, number);
        }
    }

    /// The link of a peer has ended, or could not be opened.
    pub(super) fn peer_link_closed(&mut self, number: Number, result: Result<(), ErrorKind>) {
        let kind = result.err().unwrap_or(ErrorKind::ConnectionReset);
        let connecting =
            self.connections.get(number).is_some_and(|it| matches!(it.phase, Phase::Connecting(_)));
        if connecting {
            self.finish_connection(number, ConnectionEnd::Failed, &connect::failure(kind));
        } else {
            self.end_connection(number, ConnectionEnd::Broken);
        }
    }

    /// Ends a connection, both its links and all.
    pub(super) fn end_connection(&mut self, number: Number, reason: ConnectionEnd) {
        let refusal = match reason {
            ConnectionEnd::Denied => Refusal::Forbidden,
            ConnectionEnd::Released => Refusal::AllocationMismatch,
            _ => Refusal::ConnectionFailed,
        };
        self.finish_connection(number, reason, &refusal);
    }

    /// Ends a connection; `refusal` is for who waits for it to be opened.
    fn finish_connection(&mut self, number: Number, reason: ConnectionEnd, refusal: &Refusal) {
        let Some(connection) = self.connections.remove(number) else { return };
        let how = if reason == ConnectionEnd::Closed { Close::Finish } else { Close::Reset };
        for link in [connection.client(), Some(connection.link)].into_iter().flatten() {
            // One of them may be what has ended.
            if self.links.forget_end(link) {
                self.effect(Effect::CloseLink { link, how });
                if connection.client() == Some(link) {
                    self.counters.end_link(LinkEnd::Bound);
                }
            }
        }
        self.counters.end_connection(reason);
        if let Phase::Connecting(addressee) = &connection.phase {
            return self.reply(addressee.path, addressee.refuse(refusal).into_boxed_slice());
        }
        let Some(allocation) = self.table.get(connection.allocation) else { return };
        let (client, hop) = (allocation.five_tuple.client, allocation.hop);
        let username = Arc::clone(&allocation.owner.username);
        let [to_peer, to_client] = connection.streams.map(|stream| stream.bytes);
        let peer = connection.peer;
        self.events.push_back(Event::Disconnected {
            client,
            hop,
            username,
            peer,
            reason,
            to_peer,
            to_client,
        });
    }

    /// Ends the connections of an allocation that is about to end.
    pub(super) fn end_connections(&mut self, id: AllocationId) {
        self.end_connections_of(id, ConnectionEnd::Released, |_| true);
    }

    /// Ends the connections with one family of peers, whose relayed address is given up.
    pub(super) fn end_family(&mut self, id: AllocationId, version: IpVersion) {
        self.end_connections_of(id, ConnectionEnd::Released, |peer| IpVersion::of(peer.ip()) == version);
    }

    /// Ends the connections of an allocation with peers that its rights do not permit any more.
    pub(super) fn end_unrightful(&mut self, id: AllocationId) {
        let Some(rights) = self.table.get(id).map(|allocation| allocation.owner.rights.clone()) else {
            return;
        };
        self.end_connections_of(id, ConnectionEnd::Denied, |peer| !rights.permit(peer.ip()));
    }

    fn end_connections_of(
        &mut self,
        id: AllocationId,
        reason: ConnectionEnd,
        which: impl Fn(SocketAddr) -> bool,
    ) {
        let theirs = self.connections.of(id).filter(|(_, it)| which(it.peer));
        let numbers: Vec<Number> = theirs.map(|(number, _)| number).collect();
        numbers.into_iter().for_each(|number| self.end_connection(number, reason));
    }

    /// Ends the connections with peers that may not be reached any more.
    pub(super) fn end_denied(&mut self) {
        let (reach, table) = (&self.reach, &self.table);
        let relayed = |version, port| table.is_relayed(version, port);
        let denied =
            |peer: SocketAddr| reach.address(peer.ip()).is_err() || reach.port(peer, relayed).is_err();
        let numbers: Vec<Number> =
            self.connections.iter().filter(|(_, it)| denied(it.peer)).map(|(number, _)| number).collect();
        numbers.into_iter().for_each(|number| self.end_connection(number, ConnectionEnd::Denied));
    }

    /// A connection was neither opened nor bound in time.
    fn waited(&mut self, number: Number) {
        let connecting =
            self.connections.get(number).is_some_and(|it| matches!(it.phase, Phase::Connecting(_)));
        let reason = if connecting { ConnectionEnd::Failed } else { ConnectionEnd::NeverBound };
        self.end_connection(number, reason);
    }

    /// Does what is due.
    pub(super) fn expire_connections(&mut self, now: Instant) {
        while let Some(timer) = self.connections.pop_due(now) {
            match timer {
                Timer::Wait(number) => self.waited(number),
                Timer::Rest(number, to_clients) => {
                    self.has_rested(number, if to_clients { Way::ToClients } else { Way::ToPeers });
                }
                Timer::HalfClosed(number) => {
                    if self.connections.is_forsaken(now, number) {
                        self.end_connection(number, ConnectionEnd::HalfClosed);
                    }
                }
            }
        }
    }
}
