//! Two endpoints, and a network between them that loses, delays, doubles and renames as it is told, in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::io::{Ecn, Read, Write};
use crate::pki::tls::{client_config, server_config};
use crate::pki::{
    Anchors, Authority, Certified, Expected, Key, Name, Office, Role, Serial, Terms, TrustDomain,
};
use crate::quic::{Config, ConnId, Endpoint, Event, StreamId, Way};
use crate::time::{UnixTime, WallCell};

pub(super) const NOW: UnixTime = UnixTime(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);
const ALPN: &[&[u8]] = &[b"adit/1"];

/// The TLS configurations of a gateway and of those who dial it. Same keys, serials and dates in every run.
pub(super) struct Tls {
    pub(super) server: Arc<rustls::ServerConfig>,
    pub(super) client: Arc<rustls::ClientConfig>,
    /// A client that another organisation vouches for.
    pub(super) stranger: Arc<rustls::ClientConfig>,
}

impl Tls {
    pub(super) fn new(wall: &WallCell) -> Self {
        let (ours, theirs) = (Organisation::new(1), Organisation::new(2));
        let gateway = Role::Gateway { gateway: name("gw"), instance: Name::zero() };
        let server = ours.certified(&ours.gateways, gateway, 10);
        let client = ours.certified(&ours.connectors, Role::Connector { id: name("c") }, 11);
        let stranger = theirs.certified(&theirs.connectors, Role::Connector { id: name("c") }, 12);
        let trusts = |authority: &Authority| Anchors::new(&[authority.certificate().clone()]).unwrap();
        let expected = Expected { organisation: name("acme"), trust_domain: TrustDomain::default() };
        let dial = |own: &Certified| {
            let anchors = trusts(&ours.gateways);
            client_config(own, anchors, expected.clone(), name("gw"), ALPN, wall.clone()).unwrap()
        };
        Self {
            client: dial(&client),
            stranger: dial(&stranger),
            server: server_config(&server, trusts(&ours.connectors), expected.clone(), ALPN, wall.clone())
                .unwrap(),
        }
    }
}

struct Organisation {
    number: u8,
    gateways: Authority,
    connectors: Authority,
}

impl Organisation {
    fn new(number: u8) -> Self {
        let key = |index| Key::ed25519([number * 16 + index; 32]);
        let terms = |index| Terms::new(Serial::new(u128::from(number * 16 + index)), NOW, 365 * DAY);
        let root = Authority::root(name("acme"), TrustDomain::default(), &key(0), terms(0)).unwrap();
        let gateways = root.intermediate(Office::Gateway, &key(1), terms(1)).unwrap();
        let connectors = root.intermediate(Office::Connector, &key(2), terms(2)).unwrap();
        Self { number, gateways, connectors }
    }

    fn certified(&self, by: &Authority, role: Role, index: u8) -> Certified {
        let key = Key::ed25519([self.number * 16 + index; 32]);
        let terms = Terms::new(Serial::new(u128::from(self.number * 16 + index)), NOW, DAY);
        let leaf = by.issue(role, None, &key.public(), terms).unwrap();
        Certified::new(vec![leaf], key).unwrap()
    }
}

fn name(name: &str) -> Name {
    name.parse().unwrap()
}

/// One end: its endpoint and what it was told.
pub(super) struct End {
    pub(super) endpoint: Endpoint,
    pub(super) events: Vec<Event>,
}

impl End {
    pub(super) fn new(config: Config, wall: WallCell, seed: u8) -> Self {
        Self { endpoint: Endpoint::new(config, wall, [seed; 32]), events: Vec::new() }
    }

    fn drain(&mut self) {
        while let Some(event) = self.endpoint.poll_event() {
            self.events.push(event);
        }
    }

    /// Takes the first event that `wanted` makes something of.
    pub(super) fn take<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> Option<T> {
        let (index, found) =
            self.events.iter().enumerate().find_map(|(index, event)| Some((index, wanted(event)?)))?;
        self.events.remove(index);
        Some(found)
    }
}

/// A datagram on its way, with the way that the receiver sees it come by.
#[derive(Debug, Clone)]
pub(super) struct Flying {
    pub(super) to_server: bool,
    pub(super) way: Way,
    pub(super) ecn: Option<Ecn>,
    pub(super) bytes: Vec<u8>,
}

/// What the network does with a datagram: the datagrams that come of it, each with its delay.
type Rule = Box<dyn FnMut(Flying) -> Vec<(Duration, Flying)>>;

pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) wall: WallCell,
    pub(super) tls: Tls,
    pub(super) client: End,
    pub(super) server: End,
    /// Where the server sees the client: changes when a NAT forgets it.
    pub(super) client_seen: Way,
    pub(super) rule: Option<Rule>,
    /// The length and time of all datagrams.
    pub(super) trace: Vec<(Duration, bool, usize)>,
    /// The last datagram that the server got.
    pub(super) last_to_server: Option<Flying>,
    start: Instant,
    flying: BTreeMap<(Instant, u64), Flying>,
    sent: u64,
}

pub(super) const DELAY: Duration = Duration::from_millis(10);
/// Where the client sees the server.
pub(super) fn server_way() -> Way {
    Way { via: 7, remote: "198.51.100.1:49152".parse().unwrap() }
}

impl Pair {
    pub(super) fn new() -> Self {
        Self::configured(Config::default())
    }

    pub(super) fn configured(config: Config) -> Self {
        let wall = WallCell::new(NOW);
        let tls = Tls::new(&wall);
        let start = crate::time::start();
        let mut server = End::new(config.clone(), wall.clone(), 1);
        server.endpoint.set_server(&tls.server).unwrap();
        Self {
            now: start,
            client: End::new(config, wall.clone(), 2),
            server,
            tls,
            wall,
            client_seen: client_seen(5000),
            rule: None,
            trace: Vec::new(),
            last_to_server: None,
            start,
            flying: BTreeMap::new(),
            sent: 0,
        }
    }

    pub(super) fn dial(&mut self) -> ConnId {
        let tls = self.tls.client.clone();
        self.client.endpoint.connect(self.now, server_way(), "gateway", tls).unwrap()
    }

    /// Connects, and returns both ends' names for the connection.
    pub(super) fn connected() -> (Self, ConnId, ConnId) {
        let mut pair = Self::new();
        let (here, there) = pair.connect();
        (pair, here, there)
    }

    pub(super) fn connect(&mut self) -> (ConnId, ConnId) {
        let here = self.dial();
        self.run(Duration::from_secs(5));
        let there = self.server.take(connected).expect("the server has a connection");
        assert_eq!(self.client.take(connected), Some(here));
        (here, there)
    }

    /// Opens a stream from the client that the server knows of.
    pub(super) fn stream(&mut self, here: ConnId) -> StreamId {
        let stream = self.client.endpoint.open(here).expect("there is credit");
        assert_eq!(self.client.endpoint.write(here, stream, b"x"), Write::Accepted(1));
        self.run(Duration::from_millis(50));
        let opened = self.server.take(|event| match event {
            Event::StreamOpened { stream, .. } => Some(*stream),
            _ => None,
        });
        assert_eq!(opened, Some(stream));
        stream
    }

    /// Lets `duration` pass.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.flush();
            let Some(next) = self.next_instant().filter(|&at| at <= end) else { break };
            self.now = self.now.max(next);
            self.wall.set(UnixTime(NOW.0 + (self.now - self.start).as_secs()));
            self.arrive();
            self.client.endpoint.handle_timeout(self.now);
            self.server.endpoint.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// Sends what both ends have to send, and collects their events.
    pub(super) fn flush(&mut self) {
        for to_server in [true, false] {
            let now = self.now;
            for (_, bytes, ecn) in transmits(self.end(!to_server), now, 8) {
                let way = if to_server { self.client_seen } else { server_way() };
                self.send(Flying { to_server, way, ecn, bytes });
            }
            self.end(!to_server).drain();
        }
    }

    fn end(&mut self, server: bool) -> &mut End {
        if server { &mut self.server } else { &mut self.client }
    }

    fn send(&mut self, datagram: Flying) {
        self.trace.push((self.now - self.start, datagram.to_server, datagram.bytes.len()));
        let result = match &mut self.rule {
            Some(rule) => rule(datagram),
            None => vec![(DELAY, datagram)],
        };
        for (delay, datagram) in result {
            self.sent += 1;
            self.flying.insert((self.now + delay, self.sent), datagram);
        }
    }

    fn arrive(&mut self) {
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let datagram = entry.remove();
            self.inject(datagram);
        }
    }

    pub(super) fn inject(&mut self, datagram: Flying) {
        let now = self.now;
        if datagram.to_server {
            self.last_to_server = Some(datagram.clone());
        }
        let end = self.end(datagram.to_server);
        end.endpoint.handle(now, datagram.way, datagram.ecn, datagram.bytes[..].into());
    }

    fn next_instant(&self) -> Option<Instant> {
        let deadlines = [self.client.endpoint.poll_timeout(), self.server.endpoint.poll_timeout()];
        let deadlines = deadlines.into_iter().flatten().map(|deadline| deadline.at);
        deadlines.chain(self.flying.keys().next().map(|key| key.0)).min()
    }
}

/// Moves `bytes` from one end to the other over `stream`, and returns what arrived.
pub(super) fn transfer(
    pair: &mut Pair,
    stream: StreamId,
    from: (bool, ConnId),
    to: ConnId,
    bytes: &[u8],
) -> Vec<u8> {
    let (mut rest, mut got, mut finished) = (bytes, Vec::new(), false);
    let mut buf = vec![0; 65_536];
    for _ in 0..100_000 {
        let sender = &mut pair.end(from.0).endpoint;
        while let Write::Accepted(count @ 1..) = sender.write(from.1, stream, rest) {
            rest = &rest[count..];
        }
        if rest.is_empty() && !finished {
            sender.finish(from.1, stream);
            finished = true;
        }
        pair.run(Duration::from_millis(5));
        loop {
            match pair.end(!from.0).endpoint.read(to, stream, &mut buf) {
                Read::Bytes(count) => got.extend_from_slice(&buf[..count]),
                Read::Blocked => break,
                Read::Finished => return got,
                Read::Reset => panic!("the stream was reset after {} bytes", got.len()),
            }
        }
    }
    panic!("stuck after {} bytes", got.len());
}

/// All datagrams that an end has to send now, at most `segments` at a time.
pub(super) fn transmits(
    end: &mut End,
    now: Instant,
    segments: usize,
) -> VecDeque<(Option<ConnId>, Vec<u8>, Option<Ecn>)> {
    let mut all = VecDeque::new();
    let mut out = Vec::new();
    while let Some(outgoing) = end.endpoint.poll_transmit(now, NonZeroUsize::new(segments).unwrap(), &mut out)
    {
        for datagram in out.chunks(outgoing.stride) {
            all.push_back((outgoing.conn, datagram.to_vec(), outgoing.ecn));
        }
        out.clear();
    }
    all
}

pub(super) fn client_seen(port: u16) -> Way {
    Way { via: 3, remote: SocketAddr::new([203, 0, 113, 9].into(), port) }
}

pub(super) fn connected(event: &Event) -> Option<ConnId> {
    match event {
        Event::Connected { conn } => Some(*conn),
        _ => None,
    }
}
