//! How a connection to a gateway comes about, is replaced and ends.
//!
//! 1. `connect`, when there is none, or `begin` beside the one that stands: our own certificate is a new one, or the
//!    gateway's runs out.
//! 2. The addresses are tried one after the other, best first. The first that answers wins.
//! 3. Who answers must not have been revoked. Then the connection takes the new pipes, and the one before retires.
//! 4. Where no address answers, those that wait hear of it, unless the connection before still stands: then it is tried
//!    again later.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::gateways::{Conn, Farewell, Gateways, Timer, Unreached};
use super::link::Link;
use super::{ConnectError, Event, Families, GatewayKey, Step};
use crate::pki::PeerInfo;
use crate::quic::{CloseReason, ConnId, Way};
use crate::tunnel::{Code, Control, control_stream};

/// How long after a failed attempt to replace a connection it is tried again, at least; at most twice as long, so that
/// not everybody comes at once.
const RETRY: Duration = Duration::from_secs(15);

/// Where the making of a connection stands.
#[derive(Debug, Default)]
pub(super) enum Attempt {
    #[default]
    None,
    /// The sockets are not bound yet.
    Waiting,
    Connecting {
        conn: ConnId,
        address: SocketAddr,
        rest: VecDeque<SocketAddr>,
    },
}

impl Gateways {
    /// Begins to connect, unless there is a connection or an attempt.
    pub(super) fn connect(&mut self, step: &mut Step<'_>, gateway: GatewayKey) -> Result<(), ConnectError> {
        match self.gateways.get(gateway) {
            Some(entry) if entry.up.is_none() => self.begin(step, gateway),
            Some(_) => Ok(()),
            None => Err(ConnectError::GivenUp),
        }
    }

    /// Begins to connect, unless there is an attempt.
    pub(super) fn begin(&mut self, step: &mut Step<'_>, gateway: GatewayKey) -> Result<(), ConnectError> {
        let Some(entry) = self.gateways.get(gateway) else { return Ok(()) };
        if !matches!(entry.attempt, Attempt::None) {
            return Ok(());
        }
        // What the gateway says is newer; but it may not know how it is seen from here.
        let told = entry.config.addresses.iter().filter(|address| !entry.paths.contains(address));
        let addresses = entry.paths.iter().chain(told).copied().collect();
        self.attempt(step, gateway, addresses, ConnectError::NoAddress)
    }

    /// Tries the first of `addresses` that has a socket; `last` is how the attempt before ended.
    fn attempt(
        &mut self,
        step: &mut Step<'_>,
        gateway: GatewayKey,
        mut addresses: VecDeque<SocketAddr>,
        mut last: ConnectError,
    ) -> Result<(), ConnectError> {
        let Some(entry) = self.gateways.get_mut(gateway) else { return Ok(()) };
        let Some(families) = self.families else {
            entry.attempt = Attempt::Waiting;
            return Ok(());
        };
        while let Some(address) = addresses.pop_front() {
            let via = match families.via(address) {
                Ok(via) => via,
                Err(kind) => {
                    last = ConnectError::Socket(kind);
                    continue;
                }
            };
            let way = Way { via, remote: address };
            match step.quic.connect(step.now, way, &entry.config.server_name, entry.config.tls.clone()) {
                Ok(conn) => {
                    entry.attempt = Attempt::Connecting { conn, address, rest: addresses };
                    self.conns.insert(conn, Conn { gateway, peer: None });
                    self.timers.set(Timer::Attempt(gateway), step.now + self.connect_timeout);
                    return Ok(());
                }
                Err(_) => last = ConnectError::Unusable,
            }
        }
        self.give_up(step, gateway, last)
    }

    /// No address has led to a connection.
    fn give_up(
        &mut self,
        step: &mut Step<'_>,
        gateway: GatewayKey,
        error: ConnectError,
    ) -> Result<(), ConnectError> {
        let Some(entry) = self.gateways.get_mut(gateway) else { return Ok(()) };
        entry.attempt = Attempt::None;
        if entry.up.is_none() {
            step.out.push_back(Event::ConnectFailed { gateway, error: error.clone() });
            return Err(error);
        }
        let jitter = Duration::from_millis(self.rng.below(RETRY.as_millis() as u32).into());
        self.timers.set(Timer::Renew(gateway), step.now + RETRY + jitter);
        step.out.push_back(Event::RenewFailed { gateway, error });
        Ok(())
    }

    /// The sockets are bound, or will never be: those that waited for them begin to connect.
    pub(super) fn sockets_settled(&mut self, step: &mut Step<'_>, families: Families) -> Vec<Unreached> {
        self.families = Some(families);
        let mut unreached = Vec::new();
        for gateway in self.keys() {
            let Some(entry) = self.gateways.get_mut(gateway) else { continue };
            if matches!(entry.attempt, Attempt::Waiting) {
                entry.attempt = Attempt::None;
                unreached.extend(self.begin(step, gateway).err().map(|error| (gateway, error)));
            }
        }
        unreached
    }

    /// A handshake is complete; the gateway that has a new connection now. The control stream is opened before any
    /// other.
    ///
    /// # Errors
    /// When who answered is revoked, and there is no other address.
    pub(super) fn connected(
        &mut self,
        step: &mut Step<'_>,
        conn: ConnId,
    ) -> Result<Option<GatewayKey>, Unreached> {
        let Some(known) = self.conns.get_mut(&conn) else { return Ok(None) };
        let gateway = known.gateway;
        let Some(entry) = self.gateways.get_mut(gateway) else { return Ok(None) };
        let Attempt::Connecting { conn: expected, address, .. } = entry.attempt else { return Ok(None) };
        if conn != expected {
            return Ok(None);
        }
        self.timers.cancel(Timer::Attempt(gateway));
        known.peer = peer(step, conn);
        if known.peer.as_ref().is_some_and(|peer| self.revoked.covers(peer)) {
            step.quic.close(step.now, conn, Code::Revoked as u32, b"revoked");
            return self.next(step, gateway, ConnectError::Revoked { address }).map(|()| None);
        }
        let stream = step.quic.open(conn).filter(|&stream| stream == control_stream());
        let Some(stream) = stream else {
            // A gateway that gives no credit for its first stream is of no use.
            step.quic.close(step.now, conn, Code::Protocol as u32, b"no control stream");
            return Ok(None);
        };
        let since = step.clock.unix(step.now);
        let peer = known.peer.clone().map(|peer| (peer, since));
        let link = Link::new(conn, address, Control::new(conn, stream), peer);
        self.replace(step, gateway, link);
        Ok(Some(gateway))
    }

    /// New pipes go to `link` from now on.
    fn replace(&mut self, step: &mut Step<'_>, gateway: GatewayKey, link: Link) {
        self.retire(gateway, Farewell::Superseded);
        let Some(entry) = self.gateways.get_mut(gateway) else { return };
        entry.attempt = Attempt::None;
        step.out.push_back(Event::Connected { gateway, address: link.address });
        let link = entry.up.insert(Box::new(link));
        // Nothing else tells the gateway that the stream is there.
        link.ping(step);
        for (peers, lifetime) in entry.permits.left(step.now) {
            link.permit(step, peers, lifetime);
        }
        self.set_timers(step, gateway);
    }

    /// When the present connection is to be replaced, and to retire, by the gateway's certificate.
    fn set_timers(&mut self, step: &Step<'_>, gateway: GatewayKey) {
        let Some(link) = self.gateways.get(gateway).and_then(|entry| entry.up.as_ref()) else { return };
        if let Some(renewal) = link.renewal() {
            let at = step.clock.instant(step.now, renewal);
            // What failed is tried again before.
            let planned = self.timers.get(Timer::Renew(gateway)).unwrap_or(at);
            self.timers.set(Timer::Renew(gateway), at.min(planned));
        }
        if let Some(expiry) = link.expiry() {
            self.timers.set(Timer::Expire(gateway), step.clock.instant(step.now, expiry));
        }
    }

    /// The wall clock was set.
    pub(super) fn handle_clock(&mut self, step: &Step<'_>) {
        for gateway in self.keys() {
            self.set_timers(step, gateway);
        }
    }

    /// What is due. `in_use` tells whether any pipe is on a connection.
    pub(super) fn handle_timeout(
        &mut self,
        step: &mut Step<'_>,
        in_use: impl Fn(ConnId) -> bool,
    ) -> Vec<Unreached> {
        let mut unreached = Vec::new();
        while let Some(timer) = self.timers.pop_due(step.now) {
            match timer {
                Timer::Attempt(gateway) => unreached.extend(self.overdue(step, gateway).err()),
                Timer::Renew(gateway) => {
                    unreached.extend(self.begin(step, gateway).err().map(|error| (gateway, error)));
                }
                Timer::Expire(gateway) => self.retire(gateway, Farewell::Superseded),
                Timer::Idle(gateway) => {
                    if let Some(conn) = self.current(gateway).filter(|&conn| !in_use(conn)) {
                        step.quic.close(step.now, conn, Code::Done as u32, b"");
                    }
                }
            }
        }
        unreached
    }

    /// Gives up an address that took too long, and tries the next.
    fn overdue(&mut self, step: &mut Step<'_>, gateway: GatewayKey) -> Result<(), Unreached> {
        let Some(entry) = self.gateways.get(gateway) else { return Ok(()) };
        let Attempt::Connecting { conn, address, .. } = entry.attempt else { return Ok(()) };
        step.quic.close(step.now, conn, Code::Done as u32, b"");
        self.next(step, gateway, ConnectError::Closed { address, reason: CloseReason::TimedOut })
    }

    /// Tries the next address.
    fn next(
        &mut self,
        step: &mut Step<'_>,
        gateway: GatewayKey,
        last: ConnectError,
    ) -> Result<(), Unreached> {
        let Some(entry) = self.gateways.get_mut(gateway) else { return Ok(()) };
        let Attempt::Connecting { rest, .. } = std::mem::take(&mut entry.attempt) else { return Ok(()) };
        self.timers.cancel(Timer::Attempt(gateway));
        self.attempt(step, gateway, rest, last).map_err(|error| (gateway, error))
    }

    /// A connection has ended, or an attempt has.
    pub(super) fn closed(
        &mut self,
        step: &mut Step<'_>,
        conn: ConnId,
        reason: CloseReason,
    ) -> Result<(), Unreached> {
        let Some(Conn { gateway, .. }) = self.conns.remove(&conn) else { return Ok(()) };
        self.retired.remove(&conn);
        let Some(entry) = self.gateways.get_mut(gateway) else { return Ok(()) };
        match entry.attempt {
            Attempt::Connecting { conn: present, address, .. } if present == conn => {
                return self.next(step, gateway, ConnectError::Closed { address, reason });
            }
            _ => {}
        }
        if entry.up.take_if(|link| link.conn == conn).is_some() {
            self.cancel_timers(gateway);
            step.out.push_back(Event::Disconnected { gateway, reason });
        }
        Ok(())
    }
}

/// Who is at the other end, if its certificate says so.
fn peer(step: &Step<'_>, conn: ConnId) -> Option<PeerInfo> {
    PeerInfo::from_leaf(step.quic.peer_certificates(conn)?.first()?).ok()
}
