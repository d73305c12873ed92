//! Relays, a gateway and a connector, and the network between them, in virtual time and without a socket.

mod passing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use adit_core::connector::{self, Connector, GatewayConfig, GatewayKey};
use adit_core::gateway::{self, Gateway, RelayConfig, RelayWay, TargetPolicy};
use adit_core::io::{Completion, Direction, PipeId, QueryId, Read, SocketId, Write};
use adit_core::relay::{self, Listen, Relay, RelayAddress};
use adit_core::time::{Clock, UnixTime, WallCell};
use adit_core::tunnel::{self, Target};
use adit_core::turn::credentials::{Authenticator, Credentials};

use super::pki::Pki;
use super::stranger::Stranger;

pub(crate) const UNIX: UnixTime = UnixTime(1_800_000_000);
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// From one end of a wire to the other.
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
        listen: vec![Listen::udp(SocketAddr::new(relay_ip(index), 3478))],
        ipv4: Some(RelayAddress::direct(relay_ip(index))),
        ..relay::Config::new(authenticator)
    }
}

pub(crate) fn gateways_relay(index: usize) -> RelayConfig {
    RelayConfig {
        ways: vec![RelayWay::udp(relay_ip(index).to_string(), 3478)],
        credentials: Credentials::time_limited(b"secret", UnixTime(UNIX.0 + 8_640_000), "gw-1"),
        families: adit_core::client::Families::V4,
    }
}

/// Bytes that differ from place to place.
pub(crate) fn noise(len: usize) -> Arc<[u8]> {
    (0..len).map(|index| (index * 31 + index / 251) as u8).collect()
}
