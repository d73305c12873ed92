//! The gateways that a connector knows, and its connections to each. How one comes about is in `connecting`.
//!
//! At most one connection to a gateway takes new pipes, and at most one more is being made to replace it. Others have
//! retired: they take no new pipes, and end with their last.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::connecting::Attempt;
use super::link::{Heard, Link, Permits};
use super::{Config, ConnectError, Event, Families, GatewayConfig, GatewayKey, PermitError, Step};
use crate::io::Arena;
use crate::pki::{PeerInfo, Revoked};
use crate::quic::ConnId;
use crate::rand::Rng;
use crate::time::DeadlineQueue;
use crate::tunnel::Code;

#[derive(Debug)]
pub(super) struct Gateways {
    pub(super) connect_timeout: Duration,
    idle_timeout: Option<Duration>,
    pub(super) gateways: Arena<GatewayKey, Gateway>,
    /// All connections and attempts.
    pub(super) conns: BTreeMap<ConnId, Conn>,
    /// Connections that take no new pipes.
    pub(super) retired: BTreeMap<ConnId, Farewell>,
    pub(super) timers: DeadlineQueue<Timer>,
    pub(super) revoked: Revoked,
    /// `None` while the sockets are not bound yet.
    pub(super) families: Option<Families>,
    pub(super) rng: Rng,
}

#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) config: GatewayConfig,
    /// What the gateway itself has said last about its addresses.
    pub(super) paths: Vec<SocketAddr>,
    /// The connection that takes new pipes.
    pub(super) up: Option<Box<Link>>,
    /// The one that is being made.
    pub(super) attempt: Attempt,
    /// Whether the connection stays although nobody uses it.
    kept: bool,
    pub(super) permits: Permits,
}

/// What is known of a connection for as long as it lives.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) gateway: GatewayKey,
    pub(super) peer: Option<PeerInfo>,
}

/// Why a connection has retired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    /// It is as good as ever, but there is a newer one.
    Superseded,
    /// The gateway is no longer where it leads to.
    Deserted,
}

/// What a gateway waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    /// An attempt is given up.
    Attempt(GatewayKey),
    /// A connection is made to replace the present one.
    Renew(GatewayKey),
    /// The gateway's certificate runs out.
    Expire(GatewayKey),
    /// Nobody has used the connection for long.
    Idle(GatewayKey),
}

/// A gateway to which no connection came about.
pub(super) type Unreached = (GatewayKey, ConnectError);

impl Gateways {
    pub(super) fn new(config: &Config, rng: Rng) -> Self {
        Self {
            connect_timeout: config.connect_timeout,
            idle_timeout: config.idle_timeout,
            gateways: Arena::default(),
            conns: BTreeMap::new(),
            retired: BTreeMap::new(),
            timers: DeadlineQueue::default(),
            revoked: Revoked::default(),
            families: None,
            rng,
        }
    }

    // --- what is known of a gateway ----------------------------------------------------------------------------

    pub(super) fn add(&mut self, config: GatewayConfig) -> GatewayKey {
        self.gateways.insert(Gateway {
            config,
            paths: Vec::new(),
            up: None,
            attempt: Attempt::None,
            kept: false,
            permits: Permits::default(),
        })
    }

    /// Forgets a gateway. Its connections end with their last pipes.
    pub(super) fn remove(&mut self, step: &mut Step<'_>, gateway: GatewayKey) {
        self.retire(gateway, Farewell::Superseded);
        let Some(entry) = self.gateways.remove(gateway) else { return };
        if let Attempt::Connecting { conn, .. } = entry.attempt {
            step.quic.close(step.now, conn, Code::Done as u32, b"");
            self.timers.cancel(Timer::Attempt(gateway));
        }
    }

    pub(super) fn knows(&self, gateway: GatewayKey) -> bool {
        self.gateways.get(gateway).is_some()
    }

    /// All gateways.
    pub(super) fn keys(&self) -> Vec<GatewayKey> {
        self.gateways.iter().map(|(key, _)| key).collect()
    }

    /// The gateway whose present connection is `conn`.
    pub(super) fn of(&self, conn: ConnId) -> Option<GatewayKey> {
        self.conns.get(&conn).map(|conn| conn.gateway).filter(|&gateway| self.current(gateway) == Some(conn))
    }

    /// The connection that takes new pipes to `gateway`.
    pub(super) fn current(&self, gateway: GatewayKey) -> Option<ConnId> {
        Some(self.gateways.get(gateway)?.up.as_ref()?.conn)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    pub(super) fn set_addresses(&mut self, gateway: GatewayKey, addresses: Vec<SocketAddr>) {
        let Some(entry) = self.gateways.get_mut(gateway) else { return };
        // The address that is being tried may still answer; then it goes on with the new ones.
        if let Attempt::Connecting { address, rest, .. } = &mut entry.attempt {
            *rest = addresses.iter().copied().filter(|other| other != address).collect();
        }
        let deserted = entry.up.as_ref().is_some_and(|link| !addresses.contains(&link.address));
        entry.config.addresses = addresses;
        entry.paths.clear();
        if deserted {
            self.retire(gateway, Farewell::Deserted);
        }
    }

    /// Uses `tls` for all connections from now on, and replaces the one that stands. No attempt under the old one
    /// goes on.
    pub(super) fn set_tls(
        &mut self,
        step: &mut Step<'_>,
        gateway: GatewayKey,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<(), ConnectError> {
        let Some(entry) = self.gateways.get_mut(gateway) else { return Ok(()) };
        entry.config.tls = tls;
        match std::mem::take(&mut entry.attempt) {
            Attempt::Connecting { conn, .. } => {
                step.quic.close(step.now, conn, Code::Done as u32, b"");
                self.begin(step, gateway)
            }
            Attempt::None if entry.up.is_some() => self.begin(step, gateway),
            other => {
                entry.attempt = other;
                Ok(())
            }
        }
    }

    /// From now on the connection ends when nobody uses it, or does not; `in_use` finds whether anybody does.
    pub(super) fn keep(
        &mut self,
        now: Instant,
        gateway: GatewayKey,
        kept: bool,
        in_use: impl Fn(ConnId) -> bool,
    ) {
        let Some(entry) = self.gateways.get_mut(gateway) else { return };
        entry.kept = kept;
        self.timers.cancel(Timer::Idle(gateway));
        if let Some(conn) = self.current(gateway).filter(|&conn| !in_use(conn)) {
            self.unused(now, conn);
        }
    }

    /// Asks for `peers` to be let in, here and on every connection that follows, until `lifetime` is over.
    pub(super) fn permit(
        &mut self,
        step: &mut Step<'_>,
        gateway: GatewayKey,
        peers: Vec<IpAddr>,
        lifetime: Duration,
    ) -> Result<(), PermitError> {
        let entry = self.gateways.get_mut(gateway).ok_or(PermitError::UnknownGateway)?;
        entry.permits.add(step.now, &peers, lifetime)?;
        if let Some(link) = &mut entry.up {
            link.permit(step, peers, lifetime);
        }
        Ok(())
    }

    /// Whom to believe no more. Connections to them end.
    pub(super) fn set_revoked(&mut self, step: &mut Step<'_>, revoked: Revoked) {
        for (&conn, Conn { peer, .. }) in &self.conns {
            if peer.as_ref().is_some_and(|peer| revoked.covers(peer)) {
                step.quic.close(step.now, conn, Code::Revoked as u32, b"revoked");
            }
        }
        self.revoked = revoked;
    }

    // --- how connections are left ------------------------------------------------------------------------------

    /// The present connection takes no new pipes from now on.
    pub(super) fn retire(&mut self, gateway: GatewayKey, farewell: Farewell) {
        let Some(entry) = self.gateways.get_mut(gateway) else { return };
        if let Some(link) = entry.up.take() {
            self.retired.insert(link.conn, farewell);
            self.cancel_timers(gateway);
        }
    }

    /// Cancels the timers of the present connection.
    pub(super) fn cancel_timers(&mut self, gateway: GatewayKey) {
        for timer in [Timer::Renew(gateway), Timer::Expire(gateway), Timer::Idle(gateway)] {
            self.timers.cancel(timer);
        }
    }

    /// The connections that lead nowhere any more: what is asked for over them had better be asked for elsewhere.
    pub(super) fn deserted(&self) -> Vec<ConnId> {
        let deserted = self.retired.iter().filter(|(_, farewell)| **farewell == Farewell::Deserted);
        deserted.map(|(&conn, _)| conn).collect()
    }

    /// Ends the retired connections on which `in_use` finds no pipe.
    pub(super) fn close_unused(&mut self, step: &mut Step<'_>, in_use: impl Fn(ConnId) -> bool) {
        self.retired.retain(|&conn, _| {
            let keep = in_use(conn);
            if !keep {
                step.quic.close(step.now, conn, Code::Done as u32, b"");
            }
            keep
        });
    }

    /// A pipe has begun on the present connection.
    pub(super) fn used(&mut self, gateway: GatewayKey) {
        self.timers.cancel(Timer::Idle(gateway));
    }

    /// No pipe is on `conn` any more.
    pub(super) fn unused(&mut self, now: Instant, conn: ConnId) {
        let Some(gateway) = self.of(conn) else { return };
        let kept = self.gateways.get(gateway).is_some_and(|entry| entry.kept);
        if let Some(timeout) = self.idle_timeout.filter(|_| !kept) {
            self.timers.set(Timer::Idle(gateway), now + timeout);
        }
    }

    /// Ends all connections and attempts of a gateway.
    pub(super) fn disconnect(&mut self, step: &mut Step<'_>, gateway: GatewayKey) {
        let Some(entry) = self.gateways.get_mut(gateway) else { return };
        match &mut entry.attempt {
            Attempt::None => {}
            Attempt::Waiting => {
                entry.attempt = Attempt::None;
                step.out.push_back(Event::ConnectFailed { gateway, error: ConnectError::GivenUp });
            }
            Attempt::Connecting { rest, .. } => rest.clear(),
        }
        // The present one first: an attempt that fails is not repeated then.
        let present = entry.up.as_ref().map(|link| link.conn);
        let others = self.conns.iter().filter(|(_, conn)| conn.gateway == gateway).map(|(&conn, _)| conn);
        for conn in present.into_iter().chain(others.filter(|&conn| Some(conn) != present)) {
            step.quic.close(step.now, conn, Code::Done as u32, b"");
        }
    }

    // --- the control stream ----------------------------------------------------------------------------------

    /// Asks for a sign of life, and connects first where need be: every connection begins with one.
    pub(super) fn ping(&mut self, step: &mut Step<'_>, gateway: GatewayKey) -> Result<(), ConnectError> {
        match self.gateways.get_mut(gateway).and_then(|entry| entry.up.as_mut()) {
            Some(link) => {
                link.ping(step);
                Ok(())
            }
            None => self.connect(step, gateway),
        }
    }

    /// The control stream of `conn` has bytes, or room.
    pub(super) fn control_ready(&mut self, step: &mut Step<'_>, conn: ConnId) {
        let Some(gateway) = self.of(conn) else { return };
        let Some(Gateway { up: Some(link), paths, .. }) = self.gateways.get_mut(gateway) else { return };
        match link.control_ready(step, gateway, paths) {
            Heard::Nothing => {}
            // Nothing reaches it there any more; what it sent came by a new way.
            Heard::Moved => self.retire(gateway, Farewell::Deserted),
            Heard::Broken => step.quic.close(step.now, conn, Code::Protocol as u32, b"protocol error"),
        }
    }
}
