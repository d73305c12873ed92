//! Who is connected, and who may no longer be.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::{Sessions, wake};
use crate::gateway::{Cause, Event, Step};
use crate::io::{Direction, PipeId};
use crate::pki::{Identity, PeerInfo, Revoked, Role};
use crate::quic::{ConnId, Endpoint};
use crate::time::UnixTime;

/// A connector that is connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub identity: Identity,
    /// The serial number of its certificate, big-endian, as the certificate has it.
    pub serial: Vec<u8>,
    /// The last second of the certificate's validity.
    pub not_after: UnixTime,
    /// Where it comes from, as the relay sees it.
    pub address: SocketAddr,
    /// The place of the relay that it comes by.
    pub relay: usize,
    /// How many streams it has, those included that are not open yet.
    pub streams: usize,
    /// Since when it is connected.
    pub since: Instant,
}

impl Sessions {
    /// Everybody who is connected.
    pub(in crate::gateway) fn peers(&self, quic: &Endpoint) -> Vec<Peer> {
        let peer = |(&conn, session): (&ConnId, &super::Session)| {
            let way = quic.way(conn)?;
            Some(Peer {
                identity: session.peer.identity.clone(),
                serial: session.peer.serial.clone(),
                not_after: session.peer.not_after,
                address: way.remote,
                relay: way.via as usize,
                streams: self.streams_of(conn).len(),
                since: session.since,
            })
        };
        self.sessions.iter().filter_map(peer).collect()
    }

    /// Whether somebody from `ip` is connected.
    pub(in crate::gateway) fn any_from(&self, step: &Step<'_>, ip: IpAddr) -> bool {
        self.sessions.keys().any(|&conn| step.address(conn) == Some(ip))
    }

    /// Why somebody whose certificate was verified is not let in nevertheless.
    pub(super) fn objection(&self, step: &Step<'_>, conn: ConnId, peer: &PeerInfo) -> Option<Cause> {
        if self.revoked.covers(peer) {
            return Some(Cause::Revoked);
        }
        let permitted = step.address(conn).is_some_and(|ip| step.permits.admits(ip));
        (!permitted).then_some(Cause::NotPermitted)
    }

    /// Those that `revoked` covers are let in no more, and those that are in have to go.
    pub(in crate::gateway) fn set_revoked(&mut self, step: &mut Step<'_>, revoked: Revoked) {
        self.revoked = revoked.clone();
        self.end_where(step, Cause::Revoked, |peer, _| revoked.covers(peer));
    }

    /// Nobody from `ip` is permitted any more.
    pub(in crate::gateway) fn cut(&mut self, step: &mut Step<'_>, ip: IpAddr) {
        self.end_where(step, Cause::NotPermitted, |_, from| from == Some(ip));
    }

    // --- what becomes too old --------------------------------------------------------------------------------

    /// The wall clock was set: what depends on it ends at another instant.
    pub(in crate::gateway) fn handle_clock(&mut self, step: &Step<'_>) {
        let conns: Vec<ConnId> = self.sessions.keys().copied().collect();
        for conn in conns {
            self.watch_expiry(step, conn);
        }
    }

    /// A person may not work for ever with a certificate that has run out. For machines, those who open something new
    /// need a new one.
    pub(super) fn watch_expiry(&mut self, step: &Step<'_>, conn: ConnId) {
        let Some(session) = self.sessions.get(&conn) else { return };
        if let Role::Person { .. } = session.peer.identity.role {
            let grace = self.limits.offline_grace.as_secs();
            let until = UnixTime(session.peer.not_after.0.saturating_add(grace));
            self.expiry.set(conn, step.clock.instant(step.now, until));
        }
    }

    /// Ends what is too old.
    pub(super) fn expire(&mut self, step: &mut Step<'_>) {
        while let Some(conn) = self.expiry.pop_due(step.now) {
            self.end(step, conn, Cause::Expired);
        }
        while let Some(pipe) = self.ages.pop_due(step.now) {
            self.end_pipe(step, pipe);
        }
    }

    /// Resets a pipe that is too old, and tells its driver so.
    fn end_pipe(&mut self, step: &mut Step<'_>, pipe: PipeId) {
        let Some(entry) = self.pipes.get_mut(pipe) else { return };
        entry.pump.close(step.quic);
        if let Some(dialling) = &mut entry.dialling {
            dialling.candidates.clear();
        }
        let target = entry.target.clone();
        if let Some(session) = self.sessions.get(&entry.pump.conn()) {
            let peer = session.peer.identity.clone();
            step.out.push_back(Event::TooOld { peer, target });
        }
        wake(step.out, pipe, Direction::Read);
        wake(step.out, pipe, Direction::Write);
    }
}
