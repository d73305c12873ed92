//! The gateways that a connector knows, and its connection to each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{ConnectError, Event, Families, GatewayConfig, GatewayKey, Step};
use crate::quic::{CloseReason, ConnId, Way};
use crate::time::DeadlineQueue;
use crate::tunnel::{Code, Control, Frame, control_stream};

#[derive(Debug)]
pub(super) struct Gateways {
    connect_timeout: Duration,
    gateways: Vec<Gateway>,
    by_conn: BTreeMap<ConnId, GatewayKey>,
    /// Connections that take no new pipes, and end with their last one.
    retired: BTreeSet<ConnId>,
    /// When an attempt is given up.
    overdue: DeadlineQueue<GatewayKey>,
    /// `None` while the sockets are not bound yet.
    families: Option<Families>,
}

#[derive(Debug)]
struct Gateway {
    config: GatewayConfig,
    /// What the gateway itself has said last about its addresses.
    paths: Vec<SocketAddr>,
    link: Link,
}

/// Where the connection to a gateway stands.
#[derive(Debug)]
enum Link {
    Idle,
    /// The sockets are not bound yet.
    Waiting,
    Connecting {
        conn: ConnId,
        address: SocketAddr,
        rest: VecDeque<SocketAddr>,
    },
    Up {
        conn: ConnId,
        address: SocketAddr,
        control: Box<Control>,
        /// Whether the gateway has named `address` as its own on this connection.
        named: bool,
        pinged: Option<([u8; 8], Instant)>,
        pings: u64,
    },
}

/// A gateway to which no connection came about.
pub(super) type Unreached = (GatewayKey, ConnectError);

impl Gateways {
    pub(super) fn new(connect_timeout: Duration) -> Self {
        Self {
            connect_timeout,
            gateways: Vec::new(),
            by_conn: BTreeMap::new(),
            retired: BTreeSet::new(),
            overdue: DeadlineQueue::default(),
            families: None,
        }
    }

    pub(super) fn add(&mut self, config: GatewayConfig) -> GatewayKey {
        self.gateways.push(Gateway { config, paths: Vec::new(), link: Link::Idle });
        GatewayKey(self.gateways.len() - 1)
    }

    pub(super) fn knows(&self, gateway: GatewayKey) -> bool {
        gateway.0 < self.gateways.len()
    }

    /// The gateway whose present connection is `conn`.
    pub(super) fn of(&self, conn: ConnId) -> Option<GatewayKey> {
        self.by_conn.get(&conn).copied().filter(|&gateway| self.current(gateway) == Some(conn))
    }

    /// The connection that takes new pipes to `gateway`.
    pub(super) fn current(&self, gateway: GatewayKey) -> Option<ConnId> {
        match self.gateways.get(gateway.0)?.link {
            Link::Up { conn, .. } => Some(conn),
            Link::Idle | Link::Waiting | Link::Connecting { .. } => None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.overdue.next()
    }

    pub(super) fn set_addresses(&mut self, gateway: GatewayKey, addresses: Vec<SocketAddr>) {
        let Some(entry) = self.gateways.get_mut(gateway.0) else { return };
        match &mut entry.link {
            Link::Up { conn, address, .. } if !addresses.contains(address) => {
                self.retired.insert(*conn);
                entry.link = Link::Idle;
            }
            // The address that is being tried may still answer; then it goes on with the new ones.
            Link::Connecting { address, rest, .. } => {
                *rest = addresses.iter().copied().filter(|other| other != address).collect();
            }
            Link::Idle | Link::Waiting | Link::Up { .. } => {}
        }
        entry.config.addresses = addresses;
        entry.paths.clear();
    }

    // --- connecting ------------------------------------------------------------------------------------------

    /// Begins to connect, unless there is a connection or an attempt.
    pub(super) fn connect(&mut self, step: &mut Step<'_>, gateway: GatewayKey) -> Result<(), ConnectError> {
        let Some(entry) = self.gateways.get_mut(gateway.0) else { return Ok(()) };
        if !matches!(entry.link, Link::Idle) {
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
        let entry = &mut self.gateways[gateway.0];
        let Some(families) = self.families else {
            entry.link = Link::Waiting;
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
                    entry.link = Link::Connecting { conn, address, rest: addresses };
                    self.by_conn.insert(conn, gateway);
                    self.overdue.set(gateway, step.now + self.connect_timeout);
                    return Ok(());
                }
                Err(_) => last = ConnectError::Unusable,
            }
        }
        entry.link = Link::Idle;
        step.out.push_back(Event::ConnectFailed { gateway, error: last.clone() });
        Err(last)
    }

    /// The sockets are bound, or will never be: those that waited for them begin to connect.
    pub(super) fn sockets_settled(&mut self, step: &mut Step<'_>, families: Families) -> Vec<Unreached> {
        self.families = Some(families);
        let mut unreached = Vec::new();
        for index in 0..self.gateways.len() {
            if matches!(self.gateways[index].link, Link::Waiting) {
                self.gateways[index].link = Link::Idle;
                let gateway = GatewayKey(index);
                unreached.extend(self.connect(step, gateway).err().map(|error| (gateway, error)));
            }
        }
        unreached
    }

    /// Gives up attempts that took too long, and tries the next address.
    pub(super) fn handle_timeout(&mut self, step: &mut Step<'_>) -> Vec<Unreached> {
        let mut unreached = Vec::new();
        while let Some(gateway) = self.overdue.pop_due(step.now) {
            let Link::Connecting { conn, .. } = self.gateways[gateway.0].link else { continue };
            step.quic.close(step.now, conn, Code::Done as u32, b"");
            unreached.extend(self.closed(step, conn, CloseReason::TimedOut));
        }
        unreached
    }

    /// A handshake is complete. The control stream is opened before any other.
    pub(super) fn connected(&mut self, step: &mut Step<'_>, conn: ConnId) -> Option<GatewayKey> {
        let gateway = *self.by_conn.get(&conn)?;
        let entry = &mut self.gateways[gateway.0];
        let Link::Connecting { conn: expected, address, .. } = entry.link else { return None };
        if conn != expected {
            return None;
        }
        self.overdue.cancel(gateway);
        let stream = step.quic.open(conn).filter(|&stream| stream == control_stream());
        let Some(stream) = stream else {
            // A gateway that gives no credit for its first stream is of no use.
            step.quic.close(step.now, conn, Code::Protocol as u32, b"no control stream");
            return None;
        };
        let control = Box::new(Control::new(conn, stream));
        entry.link = Link::Up { conn, address, control, named: false, pinged: None, pings: 0 };
        step.out.push_back(Event::Connected { gateway, address });
        // Nothing else tells the gateway that the stream is there.
        self.ping(step, gateway);
        Some(gateway)
    }

    /// A connection has ended, or an attempt has.
    pub(super) fn closed(
        &mut self,
        step: &mut Step<'_>,
        conn: ConnId,
        reason: CloseReason,
    ) -> Option<Unreached> {
        let gateway = self.by_conn.remove(&conn)?;
        self.retired.remove(&conn);
        let entry = &mut self.gateways[gateway.0];
        match std::mem::replace(&mut entry.link, Link::Idle) {
            Link::Connecting { conn: present, address, rest } if present == conn => {
                self.overdue.cancel(gateway);
                let last = ConnectError::Closed { address, reason };
                self.attempt(step, gateway, rest, last).err().map(|error| (gateway, error))
            }
            Link::Up { conn: present, .. } if present == conn => {
                step.out.push_back(Event::Disconnected { gateway, reason });
                None
            }
            other => {
                entry.link = other;
                None
            }
        }
    }

    /// The connections that take no new pipes.
    pub(super) fn retired(&self) -> Vec<ConnId> {
        self.retired.iter().copied().collect()
    }

    /// Ends the retired connections on which `in_use` finds no pipe.
    pub(super) fn close_unused(&mut self, step: &mut Step<'_>, in_use: impl Fn(ConnId) -> bool) {
        self.retired.retain(|&conn| {
            let keep = in_use(conn);
            if !keep {
                step.quic.close(step.now, conn, Code::Done as u32, b"");
            }
            keep
        });
    }

    /// Ends all connections and attempts.
    pub(super) fn close(&mut self, step: &mut Step<'_>) {
        for entry in &mut self.gateways {
            match &mut entry.link {
                Link::Waiting => entry.link = Link::Idle,
                Link::Connecting { rest, .. } => rest.clear(),
                Link::Idle | Link::Up { .. } => {}
            }
        }
        for &conn in self.by_conn.keys() {
            step.quic.close(step.now, conn, Code::Done as u32, b"");
        }
    }

    // --- the control stream ----------------------------------------------------------------------------------

    pub(super) fn ping(&mut self, step: &mut Step<'_>, gateway: GatewayKey) {
        let Some(Link::Up { control, pinged, pings, .. }) =
            self.gateways.get_mut(gateway.0).map(|entry| &mut entry.link)
        else {
            return;
        };
        *pings += 1;
        let bytes = pings.to_be_bytes();
        *pinged = Some((bytes, step.now));
        control.send(step.quic, &Frame::Ping(bytes));
    }

    /// The control stream of `conn` has bytes, or room.
    pub(super) fn control_ready(&mut self, step: &mut Step<'_>, conn: ConnId) {
        let Some(gateway) = self.of(conn) else { return };
        let entry = &mut self.gateways[gateway.0];
        let Link::Up { control, address, named, pinged, .. } = &mut entry.link else { return };
        control.flush(step.quic);
        loop {
            match control.receive(step.quic) {
                Ok(None) => return,
                Ok(Some(Frame::Pong(bytes))) => {
                    if let Some((_, at)) = pinged.take_if(|(sent, _)| *sent == bytes) {
                        step.out.push_back(Event::Pong { gateway, rtt: step.now - at });
                    }
                }
                Ok(Some(Frame::Paths(addresses))) => {
                    let (before, now) = (*named, addresses.contains(address));
                    *named = now || (before && addresses.is_empty());
                    if !addresses.is_empty() {
                        entry.paths.clone_from(&addresses);
                    }
                    step.out.push_back(Event::Paths { gateway, addresses });
                    if before && !*named {
                        // Nothing reaches it there any more; what it sent came by a new way.
                        self.retired.insert(conn);
                        entry.link = Link::Idle;
                        return;
                    }
                }
                Ok(Some(Frame::Drain)) => step.out.push_back(Event::Draining { gateway }),
                Ok(Some(_)) | Err(_) => {
                    step.quic.close(step.now, conn, Code::Protocol as u32, b"protocol error");
                    return;
                }
            }
        }
    }
}
