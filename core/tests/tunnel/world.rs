//! Relays, a gateway and a connector, and the network between them, in virtual time and without a socket.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_core::connector::{self, Connector, GatewayConfig, GatewayKey};
use adit_core::gateway::{self, Gateway, RelayConfig, TargetPolicy};
use adit_core::io::{
    Completion, Datagrams, Direction, Effect, Forwards, Onward, PipeId, QueryId, Read, SocketId, To,
    Transmit, Write,
};
use adit_core::quic::Way;
use adit_core::relay::{self, Relay, RelayAddress};
use adit_core::time::{Clock, Deadline, UnixTime, WallCell};
use adit_core::tunnel::{self, Target};
use adit_core::turn::credentials::{Authenticator, Credentials};

use bytes::BytesMut;

use super::pki::Pki;
use super::stranger::Stranger;

pub(crate) const UNIX: UnixTime = UnixTime(1_800_000_000);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
const SEGMENTS: NonZeroUsize = NonZeroUsize::new(8).unwrap();
const DELAY: Duration = Duration::from_millis(5);

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn target(text: &str) -> Target {
    text.parse().unwrap()
}

/// Who a socket belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Node {
    Relay(usize),
    Gateway,
    Connector,
}

/// What the gateway's driver does when it is asked for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialled {
    Open,
    Fails(ErrorKind),
    /// The answer is the test's to give.
    Later,
}

struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// What a world is made of.
pub(crate) struct Setup {
    pub(crate) relays: usize,
    pub(crate) targets: Vec<&'static str>,
    /// Who the connector is.
    pub(crate) role: &'static str,
    /// The targets that the connector's certificate names.
    pub(crate) certified: Option<Vec<String>>,
    /// How long the connector's certificate lives.
    pub(crate) life: Duration,
    /// How long the gateway's certificate lives.
    pub(crate) gateway_life: Duration,
    pub(crate) gateway: fn(&mut gateway::Config),
    pub(crate) connector: fn(&mut connector::Config),
    pub(crate) relay: fn(&mut relay::Config),
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            relays: 1,
            targets: vec!["tcp://10.0.0.1:7", "tcp://echo.internal:7"],
            role: "connector/c",
            certified: None,
            life: 86_400 * SECOND,
            gateway_life: 365 * 86_400 * SECOND,
            gateway: |_| {},
            connector: |_| {},
            relay: |_| {},
        }
    }
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) gateway: Gateway,
    pub(crate) connector: Connector,
    pub(crate) key: GatewayKey,
    relays: Vec<Relay>,
    pub(crate) clock: Clock,
    /// What the connector's TLS configurations read the time from.
    wall: WallCell,
    pub(crate) pki: Pki,
    stranger: Option<Stranger>,
    strangers: u8,
    restarts: u8,
    addresses: BTreeMap<(Node, SocketId), SocketAddr>,
    next_port: u16,
    wire: VecDeque<(Instant, Packet)>,
    /// What is sent to or from these is lost.
    pub(crate) silent: BTreeSet<Node>,
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
    /// The queries that wait for the test's answer.
    pub(crate) queries: Vec<QueryId>,
    /// Whether queries are answered from `names`.
    pub(crate) resolves: bool,
    /// How many datagrams there were.
    pub(crate) carried: usize,
    pub(crate) dialling: BTreeMap<SocketAddr, Dialled>,
    pub(crate) dials: Vec<(PipeId, SocketAddr, Duration)>,
    pub(crate) at_gateway: Vec<gateway::Event>,
    pub(crate) at_connector: Vec<connector::Event>,
    pub(crate) wakes: Vec<(Node, PipeId, Direction)>,
}

impl World {
    pub(crate) fn made_of(setup: Setup) -> Self {
        #[allow(clippy::disallowed_methods, reason = "there is no other way to make an instant")]
        let now = Instant::now();
        let clock = Clock::new(now, Duration::from_secs(UNIX.0));
        let pki = Pki::new(UNIX);
        let relays = (0..setup.relays).map(|index| {
            let mut config = relay_config(index);
            (setup.relay)(&mut config);
            Relay::new(config, clock, now, [index as u8; 32])
        });
        let (wall, server) = pki.gateway(UNIX, setup.gateway_life);
        let mut config = gateway::Config::new(server, wall);
        config.relays = (0..setup.relays).map(gateways_relay).collect();
        config.permit = vec![connector_ip()];
        config.targets = TargetPolicy::new(setup.targets.iter().map(|rule| rule.parse().unwrap()).collect());
        (setup.gateway)(&mut config);
        let gateway = Gateway::new(config, clock, now, [21; 32]).unwrap();
        let wall = WallCell::new(UNIX);
        let mut config = connector::Config::new(wall.clone());
        (setup.connector)(&mut config);
        let mut connector = Connector::new(config, clock, now, [22; 32]);
        let tls = pki.connector(UNIX, setup.life, setup.role, setup.certified.as_deref(), wall.clone());
        let key =
            connector.add_gateway(GatewayConfig { tls, server_name: "gw".into(), addresses: Vec::new() });
        Self {
            now,
            relays: relays.collect(),
            clock,
            wall,
            pki,
            stranger: None,
            strangers: 0,
            restarts: 0,
            gateway,
            connector,
            key,
            addresses: BTreeMap::new(),
            next_port: 40_000,
            wire: VecDeque::new(),
            silent: BTreeSet::new(),
            names: BTreeMap::new(),
            queries: Vec::new(),
            resolves: true,
            carried: 0,
            dialling: BTreeMap::new(),
            dials: Vec::new(),
            at_gateway: Vec::new(),
            at_connector: Vec::new(),
            wakes: Vec::new(),
        }
    }

    /// A world where the gateway is reachable, and the connector knows how.
    pub(crate) fn ready() -> Self {
        Self::ready_with(Setup::default())
    }

    pub(crate) fn ready_with(setup: Setup) -> Self {
        let mut world = Self::made_of(setup);
        world.live(SECOND);
        let addresses = world.gateway.addresses();
        assert!(!addresses.is_empty(), "{:?}", world.at_gateway);
        world.set_addresses(addresses);
        world
    }

    pub(crate) fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.connector.set_addresses(self.now, self.key, addresses);
    }

    /// The connector gets a new certificate, which lives for `life`.
    pub(crate) fn renew(&mut self, life: Duration) {
        let now = self.clock.unix(self.now);
        let tls = self.pki.connector(now, life, "connector/c", None, self.wall.clone());
        self.connector.set_tls(self.now, self.key, tls);
    }

    /// How many connections to the gateway were reported.
    pub(crate) fn connected(&self) -> usize {
        let connected = |event: &&connector::Event| matches!(event, connector::Event::Connected { .. });
        self.at_connector.iter().filter(connected).count()
    }

    /// A stranger with a certificate begins to connect, from the connector's address.
    pub(crate) fn meet_stranger(&mut self) {
        self.meet_stranger_as("connector/c", connector_ip());
    }

    /// The same in another role and from another address.
    pub(crate) fn meet_stranger_as(&mut self, role: &str, from: IpAddr) {
        let wall = WallCell::new(UNIX);
        let tls = self.pki.connector(UNIX, 86_400 * SECOND, role, None, wall.clone());
        let address = SocketAddr::new(from, 50_000);
        self.strangers += 1;
        let config = adit_core::quic::Config::default();
        let mut stranger = Stranger::new(config, wall, address, 32 + self.strangers);
        stranger.connect(self.now, self.gateway.addresses()[0], tls);
        self.stranger = Some(stranger);
    }

    pub(crate) fn stranger(&mut self) -> &mut Stranger {
        self.stranger.as_mut().unwrap()
    }

    /// A relay that has lost its memory.
    pub(crate) fn restart_relay(&mut self, index: usize) {
        self.addresses.retain(|(node, _), _| *node != Node::Relay(index));
        self.restarts += 1;
        self.relays[index] = Relay::new(relay_config(index), self.clock, self.now, [100 + self.restarts; 32]);
    }

    /// A datagram out of nowhere.
    pub(crate) fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.wire.push_back((self.now + DELAY, Packet { from, to, bytes: bytes.to_vec() }));
    }

    pub(crate) fn allocations(&self) -> usize {
        self.relays.iter().map(Relay::allocations).sum()
    }

    // --- pipes -----------------------------------------------------------------------------------------------

    /// Opens a pipe; what comes of it is seen later.
    pub(crate) fn try_open(&mut self, to: &str) -> PipeId {
        self.connector.open(self.now, self.key, &target(to)).unwrap()
    }

    /// Opens a pipe, and returns both ends.
    pub(crate) fn open(&mut self, to: &str) -> (PipeId, PipeId) {
        let pipe = self.try_open(to);
        self.live(SECOND);
        assert!(self.is_open(pipe), "{:?}", self.at_connector);
        (pipe, self.dials.last().unwrap().0)
    }

    pub(crate) fn is_open(&self, pipe: PipeId) -> bool {
        let opened = |event: &connector::Event| matches!(event, connector::Event::Opened { pipe: of, .. } if *of == pipe);
        self.at_connector.iter().any(opened)
    }

    /// Why a pipe was not opened.
    pub(crate) fn failure(&self, pipe: PipeId) -> Option<connector::Failure> {
        self.at_connector.iter().find_map(|event| match event {
            connector::Event::Failed { pipe: of, failure } if *of == pipe => Some(failure.clone()),
            _ => None,
        })
    }

    /// The code with which the gateway refused a target.
    pub(crate) fn refusal(&mut self, to: &str) -> tunnel::RejectCode {
        let pipe = self.try_open(to);
        self.live(31 * SECOND);
        match self.failure(pipe) {
            Some(connector::Failure::Rejected { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn read(&mut self, node: Node, pipe: PipeId, buf: &mut [u8]) -> Read {
        match node {
            Node::Gateway => self.gateway.pipe_read(self.now, pipe, buf),
            _ => self.connector.pipe_read(self.now, pipe, buf),
        }
    }

    pub(crate) fn write(&mut self, node: Node, pipe: PipeId, bytes: &[u8]) -> Write {
        match node {
            Node::Gateway => self.gateway.pipe_write(self.now, pipe, bytes),
            _ => self.connector.pipe_write(self.now, pipe, bytes),
        }
    }

    pub(crate) fn finish(&mut self, node: Node, pipe: PipeId) {
        match node {
            Node::Gateway => self.gateway.pipe_finish(self.now, pipe),
            _ => self.connector.pipe_finish(self.now, pipe),
        }
    }

    pub(crate) fn close(&mut self, node: Node, pipe: PipeId) {
        match node {
            Node::Gateway => self.gateway.pipe_close(self.now, pipe),
            _ => self.connector.pipe_close(self.now, pipe),
        }
    }

    /// Everything that can be read now, and what stopped it.
    pub(crate) fn read_all(&mut self, node: Node, pipe: PipeId) -> (Vec<u8>, Read) {
        let (mut all, mut buf) = (Vec::new(), [0; 4096]);
        loop {
            match self.read(node, pipe, &mut buf) {
                Read::Bytes(len) => all.extend_from_slice(&buf[..len]),
                end => return (all, end),
            }
        }
    }

    /// Sends bytes and sees them arrive.
    pub(crate) fn transfer(
        &mut self,
        (from, out): (Node, PipeId),
        (to, into): (Node, PipeId),
        mut bytes: &[u8],
    ) {
        let sent = bytes;
        let mut received = Vec::new();
        for _ in 0..100_000 {
            if let Write::Accepted(taken) = self.write(from, out, bytes) {
                bytes = &bytes[taken..];
            }
            self.live(DELAY);
            received.extend(self.read_all(to, into).0);
            if received.len() >= sent.len() {
                break;
            }
        }
        assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    }

    /// Whether the pipe was told to try again since this was last asked.
    pub(crate) fn was_woken(&mut self, node: Node, pipe: PipeId, direction: Direction) -> bool {
        let before = self.wakes.len();
        self.wakes.retain(|wake| *wake != (node, pipe, direction));
        self.wakes.len() < before
    }

    pub(crate) fn complete(&mut self, done: Completion) {
        self.gateway.handle_completion(self.now, done);
    }

    // --- time ------------------------------------------------------------------------------------------------

    /// From deadline to deadline.
    pub(crate) fn live(&mut self, duration: Duration) {
        let end = self.now + duration;
        for _ in 0..1_000_000 {
            self.settle();
            let arrival = self.wire.front().map(|(at, _)| *at);
            let Some(next) = self.deadlines().map(|deadline| deadline.at).chain(arrival).min() else { break };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            while self.wire.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, packet) = self.wire.pop_front().unwrap();
                self.carried += 1;
                self.deliver(packet);
            }
            self.wake_all();
        }
        assert!(self.deadlines().all(|deadline| deadline.at > end), "the world never comes to rest");
        self.now = end;
    }

    fn deadlines(&self) -> impl Iterator<Item = Deadline> {
        let relays = self.relays.iter().map(Relay::poll_timeout);
        let both = [self.gateway.poll_timeout(), self.connector.poll_timeout()];
        let stranger = self.stranger.as_ref().map(|stranger| stranger.quic.poll_timeout());
        relays.chain(both).chain(stranger).flatten()
    }

    /// Until nothing is due. A deadline may turn out to have passed when it is looked at again, but one that never
    /// moves would keep a driver spinning.
    fn wake_all(&mut self) {
        for _ in 0..3 {
            self.wake_up();
            self.settle();
            if self.deadlines().all(|deadline| deadline.at > self.now) {
                return;
            }
        }
        let late: Vec<_> = self.deadlines().filter(|deadline| deadline.at <= self.now).collect();
        panic!("{late:?} at {:?}", self.now);
    }

    /// Calls `handle_timeout` where it is due.
    fn wake_up(&mut self) {
        let now = self.now;
        let due = |deadline: Option<Deadline>| deadline.is_some_and(|deadline| deadline.at <= now);
        for relay in &mut self.relays {
            if due(relay.poll_timeout()) {
                relay.handle_timeout(now);
            }
        }
        if due(self.gateway.poll_timeout()) {
            self.gateway.handle_timeout(now);
        }
        if due(self.connector.poll_timeout()) {
            self.connector.handle_timeout(now);
        }
        if let Some(stranger) = &mut self.stranger {
            stranger.quic.handle_timeout(now);
        }
    }

    // --- effects and events ----------------------------------------------------------------------------------

    /// Transmits, then events, until there is neither.
    fn settle(&mut self) {
        while self.transmits() | self.events() {}
    }

    fn events(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.relays.len() {
            while let Some(event) = self.relays[index].poll_event() {
                any = true;
                if let relay::Event::Effect(effect) = event {
                    self.carry_out(Node::Relay(index), effect);
                }
            }
        }
        while let Some(event) = self.gateway.poll_event() {
            any = true;
            match event {
                gateway::Event::Effect(effect) => self.carry_out(Node::Gateway, effect),
                event => self.at_gateway.push(event),
            }
        }
        while let Some(event) = self.connector.poll_event() {
            any = true;
            match event {
                connector::Event::Effect(effect) => self.carry_out(Node::Connector, effect),
                event => self.at_connector.push(event),
            }
        }
        if let Some(stranger) = &mut self.stranger {
            stranger.events();
        }
        any
    }

    fn carry_out(&mut self, node: Node, effect: Effect) {
        match effect {
            Effect::Bind { socket, addr, .. } => {
                let local = self.bind(node, addr);
                self.addresses.insert((node, socket), local);
                let done = Completion::Bound { socket, result: Ok(local) };
                match node {
                    Node::Relay(index) => self.relays[index].handle_completion(self.now, done),
                    Node::Gateway => self.gateway.handle_completion(self.now, done),
                    Node::Connector => self.connector.handle_completion(self.now, done),
                }
            }
            Effect::Unbind { socket } => drop(self.addresses.remove(&(node, socket))),
            Effect::Resolve { query, .. } if !self.resolves => self.queries.push(query),
            Effect::Resolve { query, host } => {
                let result = self.names.get(&host).cloned().ok_or(ErrorKind::NotFound);
                self.complete(Completion::Resolved { query, result });
            }
            Effect::Dial { pipe, to, timeout } => {
                self.dials.push((pipe, to, timeout));
                match self.dialling.get(&to).copied().unwrap_or(Dialled::Open) {
                    Dialled::Open => self.complete(Completion::Dialled { pipe, result: Ok(to) }),
                    Dialled::Fails(kind) => self.complete(Completion::Dialled { pipe, result: Err(kind) }),
                    Dialled::Later => {}
                }
            }
            Effect::Wake { pipe, direction } => self.wakes.push((node, pipe, direction)),
        }
    }

    fn bind(&mut self, node: Node, wanted: SocketAddr) -> SocketAddr {
        if let Node::Relay(_) = node {
            return wanted;
        }
        self.next_port += 1;
        let ip = match node {
            Node::Connector if wanted.is_ipv6() => "2a00::7".parse().unwrap(),
            Node::Connector => connector_ip(),
            _ => IpAddr::from([7, 0, 0, 1]),
        };
        SocketAddr::new(ip, self.next_port)
    }

    // --- the network -----------------------------------------------------------------------------------------

    fn transmits(&mut self) -> bool {
        let before = self.wire.len();
        let mut out = Vec::new();
        for index in 0..self.relays.len() {
            while let Some(sent) = self.relays[index].poll_transmit(self.now, SEGMENTS, &mut out) {
                self.send(Node::Relay(index), &sent, &mut out);
            }
        }
        while let Some(sent) = self.gateway.poll_transmit(self.now, SEGMENTS, &mut out) {
            self.send(Node::Gateway, &sent, &mut out);
        }
        assert!(out.is_empty(), "bytes without a transmit");
        while let Some(sent) = self.connector.poll_transmit(self.now, SEGMENTS, &mut out) {
            self.send(Node::Connector, &sent, &mut out);
        }
        assert!(out.is_empty(), "bytes without a transmit");
        let wire = &mut self.wire;
        if let Some(stranger) = &mut self.stranger {
            while let Some((to, stride)) = stranger.poll_transmit(self.now, &mut out) {
                for bytes in out.chunks(stride) {
                    let packet = Packet { from: stranger.address, to, bytes: bytes.to_vec() };
                    wire.push_back((self.now + DELAY, packet));
                }
                out.clear();
            }
        }
        self.wire.len() > before
    }

    fn send(&mut self, node: Node, sent: &Transmit, out: &mut Vec<u8>) {
        let To::Udp { socket, to } = sent.to else { panic!("{sent:?}") };
        let from = self.addresses.get(&(node, socket)).copied();
        for bytes in out.chunks(sent.stride) {
            if let Some(from) = from.filter(|_| !self.silent.contains(&node)) {
                self.wire.push_back((self.now + DELAY, Packet { from, to, bytes: bytes.to_vec() }));
            }
        }
        out.clear();
    }

    fn deliver(&mut self, Packet { from, to, mut bytes }: Packet) {
        if let Some(stranger) = self.stranger.as_mut().filter(|stranger| stranger.address == to) {
            let way = Way { via: 0, remote: from };
            stranger.quic.handle(self.now, way, None, BytesMut::from(&bytes[..]));
            return;
        }
        let found = self.addresses.iter().find(|(_, address)| **address == to);
        let Some((&(node, socket), _)) = found else { return };
        if self.silent.contains(&node) {
            return;
        }
        let mut forwards = Forwards::default();
        let batch = single(socket, from, &mut bytes);
        match node {
            Node::Relay(index) => self.relays[index].handle_datagrams(self.now, batch, &mut forwards),
            Node::Gateway => self.gateway.handle_datagrams(self.now, batch, &mut forwards),
            Node::Connector => self.connector.handle_datagrams(self.now, batch, &mut forwards),
        }
        for run in forwards.drain() {
            let Onward::Send { socket: out, to, .. } = run.onward else { panic!("{run:?}") };
            let mut sent = run.prefix.map_or(Vec::new(), |prefix| prefix.to_vec());
            sent.extend_from_slice(run.body(&single(socket, from, &mut bytes), 0));
            let from = self.addresses[&(node, out)];
            self.wire.push_back((self.now + DELAY, Packet { from, to, bytes: sent }));
        }
    }
}

pub(crate) fn connector_ip() -> IpAddr {
    IpAddr::from([8, 0, 0, 7])
}

fn relay_ip(index: usize) -> IpAddr {
    IpAddr::from([9, 0, 0, 1 + index as u8])
}

fn relay_config(index: usize) -> relay::Config {
    let authenticator = Authenticator::new("adit").with_secret(b"secret");
    relay::Config {
        listen: vec![SocketAddr::new(relay_ip(index), 3478)],
        ipv4: Some(RelayAddress::direct(relay_ip(index))),
        ..relay::Config::new(authenticator)
    }
}

pub(crate) fn gateways_relay(index: usize) -> RelayConfig {
    RelayConfig {
        host: relay_ip(index).to_string(),
        port: 3478,
        credentials: Credentials::time_limited(b"secret", UnixTime(UNIX.0 + 8_640_000), "gw-1"),
        families: adit_core::client::Families::V4,
    }
}

/// A batch of one.
fn single(socket: SocketId, remote: SocketAddr, payload: &mut [u8]) -> Datagrams<'_> {
    Datagrams { socket, remote, local: None, ecn: None, stride: payload.len().max(1), payload }
}

/// Bytes that differ from place to place.
pub(crate) fn noise(len: usize) -> Arc<[u8]> {
    (0..len).map(|index| (index * 31 + index / 251) as u8).collect()
}
