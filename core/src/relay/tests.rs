//! What the relay claims, section by section, told by a client that speaks STUN and a driver that binds sockets.

mod allocations;
mod amplification;
mod change;
mod claims;
mod data;
mod ending;
mod links;
mod listening;
mod mobility;
mod peers;
mod property;
mod rights;
mod secured;
mod security;
mod shards;
mod strangers;
mod tcp;
mod tcp_pipe;

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::*;
use crate::io::{Close, LinkId, Onward, SocketKind, To};
use crate::stun::{Builder, Class, Message, Method, TransactionId};
use crate::turn::credentials::{Authenticator, Credentials};

const SECRET: &[u8] = b"north";
const UNIX: Duration = Duration::from_secs(1_700_000_000);
const CLIENT: &str = "198.51.100.1:4000";
/// The address at which clients reach the relay.
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 99));
const PEER: &str = "203.0.113.9:5000";

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A relay at 192.0.2.1 and 2001:db8::1 that lets its clients reach the documentation networks.
fn config() -> Config {
    let authenticator = Authenticator::new("adit")
        .with_user("alice", "wonder")
        .with_user("bob", "builder")
        .with_secret(SECRET);
    let mut config = Config::new(authenticator);
    config.listen = ["192.0.2.1:3478", "[2001:db8::1]:3478"].map(|text| Listen::udp(addr(text))).to_vec();
    config.ipv4 = Some(RelayAddress::direct(ip("192.0.2.1")));
    config.ipv6 = Some(RelayAddress::direct(ip("2001:db8::1")));
    for (network, prefix) in [("203.0.113.0", 24), ("192.0.2.0", 24), ("2001:db8::", 32)] {
        config.policy =
            config.policy.clone().allow(crate::turn::address_policy::Network::new(ip(network), prefix));
    }
    config
}

/// A relay, and the part of the world that it needs.
struct Bench {
    relay: Relay,
    now: Instant,
    /// What was asked to be bound and is not released.
    bound: Vec<(SocketId, SocketAddr)>,
    /// Sockets that are connected to a client each.
    ears: Vec<(SocketId, SocketAddr)>,
    /// None can be.
    deaf: bool,
    /// What is not yet answered, where `hold` is set.
    held: Vec<(SocketId, SocketAddr)>,
    hold: bool,
    /// Whether the last datagram that was sent must not be fragmented.
    whole: bool,
    news: Vec<Event>,
    /// What was sent to links.
    streams: BTreeMap<LinkId, Vec<u8>>,
    /// No link takes a second piece.
    stuck: bool,
    /// Links that were closed.
    closed: Vec<(LinkId, Close)>,
    /// What else was asked for links.
    asked: Vec<Effect>,
    transactions: u8,
}

/// Somebody who sends to the listening socket of their family.
#[derive(Debug, Clone)]
struct Client {
    address: SocketAddr,
    credentials: Credentials,
    nonce: String,
}

type Sent = (SocketId, SocketAddr, Vec<u8>);

impl Bench {
    fn new(config: Config) -> Self {
        Self::seeded(config, [7; 32])
    }

    fn seeded(config: Config, seed: Seed) -> Self {
        let now = crate::time::start();
        let relay = Relay::new(config, Clock::new(now, UNIX), now, seed);
        let (bound, ears, held, news, streams, closed, asked) = Default::default();
        let (deaf, hold, whole, stuck, transactions) = (false, false, false, false, 0);
        let mut bench = Self {
            relay,
            now,
            bound,
            ears,
            deaf,
            held,
            hold,
            whole,
            news,
            streams,
            stuck,
            closed,
            asked,
            transactions,
        };
        bench.settle();
        bench
    }

    fn client(&mut self, address: &str) -> Client {
        let credentials = Credentials { username: "alice".to_owned(), password: "wonder".to_owned() };
        self.client_as(address, credentials)
    }

    /// A client that has asked for a nonce already.
    fn client_as(&mut self, address: &str, credentials: Credentials) -> Client {
        let mut client = Client { address: addr(address), credentials, nonce: String::new() };
        self.renew_nonce(&mut client);
        client
    }

    fn renew_nonce(&mut self, client: &mut Client) {
        let request = self.builder(Method::ALLOCATE).requested_transport(17).finish();
        let reply = self.ask(client.address, &request);
        client.nonce = Message::parse(&reply).unwrap().nonce().unwrap().unwrap().to_owned();
    }

    fn transaction(&mut self) -> TransactionId {
        self.transactions = self.transactions.wrapping_add(1);
        [self.transactions; 12]
    }

    fn builder(&mut self, method: Method) -> Builder {
        Builder::new(Class::Request, method, self.transaction())
    }

    /// Sends a signed request with what `fill` adds, and checks that the reply is signed and that of the request.
    fn call(&mut self, client: &Client, method: Method, fill: impl FnOnce(Builder) -> Builder) -> Reply {
        let request = client.sign(fill(self.builder(method)));
        let reply = self.ask(client.address, &request);
        client.check(&request, &reply);
        Reply(reply)
    }

    fn allocate(&mut self, client: &Client) -> SocketAddr {
        self.call(client, Method::ALLOCATE, |builder| builder.requested_transport(17)).relayed()
    }

    fn permit(&mut self, client: &Client, peer: &str) -> Reply {
        self.call(client, Method::CREATE_PERMISSION, |builder| builder.peer_address(addr(peer)))
    }

    fn bind_channel(&mut self, client: &Client, number: u16, peer: &str) -> Reply {
        self.call(client, Method::CHANNEL_BIND, |builder| {
            builder.channel_number(number).peer_address(addr(peer))
        })
    }

    fn refresh(&mut self, client: &Client, seconds: u64) -> Reply {
        self.call(client, Method::REFRESH, |builder| builder.lifetime(Duration::from_secs(seconds)))
    }

    /// Sends a datagram from a client and returns the one reply.
    fn ask(&mut self, from: SocketAddr, datagram: &[u8]) -> Vec<u8> {
        let mut sent = self.send(from, datagram);
        assert_eq!(sent.len(), 1, "one reply");
        let (socket, to, bytes) = sent.remove(0);
        assert_eq!((socket, to), (self.listening(from), from));
        bytes
    }

    /// Sends a datagram from a client, and returns all that the relay then sends.
    fn send(&mut self, from: SocketAddr, datagram: &[u8]) -> Vec<Sent> {
        let socket = self.listening(from);
        self.deliver(socket, from, datagram, datagram.len())
    }

    /// Sends a datagram from a peer to a relayed address, and returns all that the relay then sends.
    fn send_to_relayed(&mut self, from: &str, relayed: SocketAddr, datagram: &[u8]) -> Vec<Sent> {
        let socket = self.bound.iter().find(|&&(_, at)| at == relayed).expect("it is bound").0;
        self.deliver(socket, addr(from), datagram, datagram.len())
    }

    fn deliver(&mut self, socket: SocketId, remote: SocketAddr, payload: &[u8], stride: usize) -> Vec<Sent> {
        let mut copy = payload.to_vec();
        let mut again = payload.to_vec();
        let ecn = Some(crate::io::Ecn::Ect0);
        let stride = stride.max(1);
        let local = Some(HERE);
        let batch = Datagrams { socket, remote, local, ecn, stride, payload: &mut copy };
        let mut forwards = Forwards::default();
        self.relay.handle_datagrams(self.now, batch, &mut forwards);
        let batch = Datagrams { socket, remote, local, ecn, stride, payload: &mut again };
        let mut sent = Vec::new();
        for run in forwards.runs() {
            assert_eq!(run.ecn, ecn, "ECN is copied (RFC 8656 §14)");
            let Onward::Send { socket, to, from, whole } = run.onward else { panic!("a relay owns nothing") };
            self.whole = whole;
            let client = run.prefix.is_some();
            assert_eq!(from, local.filter(|_| client), "clients hear from the address that they talk to");
            for index in run.segments.clone() {
                let mut bytes = run.prefix.map(Vec::from).unwrap_or_default();
                bytes.extend_from_slice(run.body(&batch, index));
                sent.push((socket, to, bytes));
            }
        }
        sent.extend(self.settle());
        self.relay.check();
        sent
    }

    /// Lets the driver do its part until nothing is left to do.
    fn settle(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        loop {
            let mut out = Vec::new();
            while let Some(transmit) = self.relay.poll_transmit(self.now, NonZeroUsize::MIN, &mut out) {
                assert_eq!(transmit.stride, out.len());
                match transmit.to {
                    To::Udp { socket, to } => {
                        self.whole = transmit.whole;
                        sent.push((socket, to, std::mem::take(&mut out)));
                    }
                    To::Link(link) => self.take(link, &std::mem::take(&mut out)),
                }
            }
            let Some(event) = self.relay.poll_event() else { return sent };
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Effect(Effect::Bind { socket, addr: at, kind: SocketKind::Connected { to } }) => {
                let result = if self.deaf { Err(ErrorKind::AddrNotAvailable) } else { Ok(HERE) };
                self.ears.extend(result.is_ok().then_some((socket, to)));
                assert_eq!(at.port(), 3478);
                let result = result.map(|here| SocketAddr::new(here, at.port()));
                self.relay.handle_completion(self.now, Completion::Bound { socket, result });
            }
            Event::Effect(Effect::Bind { socket, addr, kind }) => {
                if self.hold && kind == SocketKind::Relayed {
                    self.held.push((socket, addr));
                } else {
                    self.complete(socket, addr, None);
                }
            }
            Event::Effect(Effect::Unbind { socket }) => {
                self.bound.retain(|&(other, _)| other != socket);
                self.held.retain(|&(other, _)| other != socket);
                self.ears.retain(|&(other, _)| other != socket);
            }
            Event::Effect(Effect::Listen { listener, addr, .. }) => self.complete(listener, addr, None),
            Event::Effect(Effect::CloseLink { link, how }) => self.closed.push((link, how)),
            Event::Effect(
                asked @ (Effect::OpenLink { .. }
                | Effect::PipeLink { .. }
                | Effect::FinishLink { .. }
                | Effect::ReadLink { .. }),
            ) => self.asked.push(asked),
            Event::Effect(other) => panic!("a relay never asks for {other:?}"),
            news => self.news.push(news),
        }
    }

    /// What a driver does with a piece.
    fn take(&mut self, link: LinkId, piece: &[u8]) {
        assert!(!piece.is_empty() && piece.len() <= crate::io::LINK_PIECE);
        self.streams.entry(link).or_default().extend_from_slice(piece);
        if !self.stuck {
            self.relay.handle_completion(self.now, Completion::Writable { link });
        }
    }

    fn complete(&mut self, socket: SocketId, addr: SocketAddr, error: Option<ErrorKind>) {
        if error.is_none() {
            self.bound.push((socket, addr));
        }
        let result = error.map_or(Ok(addr), Err);
        self.relay.handle_completion(self.now, Completion::Bound { socket, result });
    }

    /// Answers what was held: all of it alike. Returns what the relay then sends.
    fn release(&mut self, error: Option<ErrorKind>) -> Vec<Sent> {
        for (socket, addr) in std::mem::take(&mut self.held) {
            self.complete(socket, addr, error);
        }
        self.settle()
    }

    fn listening(&self, from: SocketAddr) -> SocketId {
        let at = self.bound.iter().find(|&&(_, at)| at.port() == 3478 && at.is_ipv4() == from.is_ipv4());
        at.expect("the relay listens").0
    }

    fn advance(&mut self, seconds: u64) -> Vec<Sent> {
        self.advance_by(Duration::from_secs(seconds))
    }

    fn advance_by(&mut self, time: Duration) -> Vec<Sent> {
        self.now += time;
        self.relay.handle_timeout(self.now);
        self.relay.check();
        self.settle()
    }

    fn dropped(&self, reason: Drop) -> u64 {
        self.relay.counters().dropped(reason)
    }
}

impl Client {
    fn sign(&self, builder: Builder) -> Vec<u8> {
        builder
            .username(&self.credentials.username)
            .realm("adit")
            .nonce(&self.nonce)
            .finish_with_integrity(&self.credentials.key("adit"))
    }

    fn check(&self, request: &[u8], reply: &[u8]) {
        let (request, reply) = (Message::parse(request).unwrap(), Message::parse(reply).unwrap());
        assert_eq!((reply.transaction(), reply.method()), (request.transaction(), request.method()));
        reply.verify(&self.credentials.key("adit")).expect("the reply is signed (RFC 8489 §9.2.4)");
    }
}

/// A reply, with what tests ask of it.
#[derive(Debug, PartialEq)]
struct Reply(Vec<u8>);

impl Reply {
    fn message(&self) -> Message<'_> {
        Message::parse(&self.0).unwrap()
    }

    /// 0 for success.
    fn code(&self) -> u16 {
        match self.message().class() {
            Class::Success => 0,
            _ => self.message().error_code().unwrap().expect("an error has a code").code,
        }
    }

    fn relayed_all(&self) -> Vec<SocketAddr> {
        self.message().relayed_addresses().map(Result::unwrap).collect()
    }

    fn relayed(&self) -> SocketAddr {
        assert_eq!(self.code(), 0);
        self.relayed_all()[0]
    }

    fn lifetime(&self) -> u64 {
        self.message().lifetime().unwrap().unwrap().as_secs()
    }
}
