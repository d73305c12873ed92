//! Our TURN client on coturn's server, over real sockets.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant, SystemTime};

use adit_core::client::{Client, Config, Event, Families, Lost, Readiness};
use adit_core::io::{Completion, Datagrams, Effect, Forwards, Onward, SocketId};
use adit_core::time::{Clock, UnixTime};
use adit_core::turn::credentials::Credentials;
use adit_tests::coturn::Coturn;
use adit_tests::ports::Ports;
use adit_tests::process::PATIENCE;

const SECRET: &str = "a-secret";

fn unix() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap()
}

fn config(server: SocketAddr, secret: &str) -> Config {
    let expiry = UnixTime(unix().as_secs() + 3600);
    Config::new(server, Credentials::time_limited(secret.as_bytes(), expiry, "gw-1"))
}

/// The client with its socket.
struct Driven {
    client: Client,
    socket: Option<(SocketId, UdpSocket)>,
    events: Vec<Event>,
    /// What peers sent.
    received: Vec<(SocketAddr, Vec<u8>)>,
}

impl Driven {
    fn new(config: Config) -> Self {
        let now = Instant::now();
        let client = Client::new(config, Clock::new(now, unix()), now, [7; 32]);
        Self { client, socket: None, events: Vec::new(), received: Vec::new() }
    }

    /// Turns until `done` says so.
    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "still waiting; so far: {:?}", self.events);
            self.turn();
        }
    }

    fn turn(&mut self) {
        let now = Instant::now();
        self.client.handle_timeout(now);
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Effect(Effect::Bind { socket, addr, .. }) => {
                    let bound = UdpSocket::bind(addr).unwrap();
                    bound.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
                    let result = Ok(bound.local_addr().unwrap());
                    self.socket = Some((socket, bound));
                    self.client.handle_completion(now, Completion::Bound { socket, result });
                }
                Event::Effect(_) => self.socket = None,
                event => self.events.push(event),
            }
        }
        let mut out = Vec::new();
        while self.client.poll_transmit(now, NonZeroUsize::MIN, &mut out).is_some() {
            self.send(&out);
            out.clear();
        }
        self.receive(now);
    }

    fn send(&self, bytes: &[u8]) {
        self.socket.as_ref().unwrap().1.send_to(bytes, self.client.server()).unwrap();
    }

    fn receive(&mut self, now: Instant) {
        let Some((socket, udp)) = &self.socket else { return };
        let mut buffer = [0; 2048];
        let (len, remote) = match udp.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
                return;
            }
        };
        let mut forwards = Forwards::default();
        let batch = Datagrams::single(*socket, remote, &mut buffer[..len]);
        self.client.handle_datagrams(now, batch, &mut forwards);
        for run in forwards.drain() {
            let Onward::Owner { peer } = run.onward else { panic!("a client forwards nothing") };
            self.received.push((peer, buffer[run.strip..run.strip + run.len].to_vec()));
        }
    }

    /// Data goes to `peer` and back.
    fn assert_connected(&mut self, peer: &UdpSocket) {
        let address = peer.local_addr().unwrap();
        let mut out = Vec::new();
        let now = Instant::now();
        self.client.encapsulate(now, address, b"there", 5, None, &mut out).unwrap();
        self.send(&out);
        let mut buffer = [0; 64];
        let (len, relayed) = peer.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"there");
        assert!(self.client.relayed().contains(&relayed));
        peer.send_to(b"and back", relayed).unwrap();
        self.received.clear();
        self.until(|driven| !driven.received.is_empty());
        assert_eq!(self.received, [(address, b"and back".to_vec())]);
    }

    fn lost(&self) -> Option<&Lost> {
        self.events.iter().find_map(|event| match event {
            Event::Lost { reason, .. } => Some(reason),
            _ => None,
        })
    }
}

fn peer_on(ip: &str) -> UdpSocket {
    let peer = UdpSocket::bind((ip, 0)).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

#[test]
fn data_goes_both_ways_in_both_families() {
    let ports = Ports::claim();
    let coturn = Coturn::start(&ports, SECRET);
    for ip in ["127.0.0.1", "::1"] {
        let server = SocketAddr::new(ip.parse().unwrap(), coturn.port());
        let mut driven = Driven::new(Config { families: Families::Both, ..config(server, SECRET) });
        driven.until(|driven| driven.client.relayed().len() == 2);
        for peer in [peer_on("127.0.0.1"), peer_on("::1")] {
            let address = peer.local_addr().unwrap();
            driven.client.bind_channel(Instant::now(), address).unwrap();
            driven.until(|driven| driven.client.readiness(address) == Readiness::Bound);
            driven.assert_connected(&peer);
        }
        // Everything is refreshed at once, and goes on.
        driven.client.handle_clock(Instant::now(), UnixTime(unix().as_secs()));
        let peer = peer_on("127.0.0.1");
        driven.client.permit(Instant::now(), peer.local_addr().unwrap().ip()).unwrap();
        driven.client.bind_channel(Instant::now(), peer.local_addr().unwrap()).unwrap();
        driven.until(|driven| driven.client.readiness(peer.local_addr().unwrap()) == Readiness::Bound);
        driven.assert_connected(&peer);
        assert_eq!(driven.lost(), None);
        driven.client.close(Instant::now());
        driven.until(|driven| driven.events.last() == Some(&Event::Closed));
    }
}

#[test]
fn a_wrong_secret_and_an_empty_port_are_told_apart() {
    let ports = Ports::claim();
    let coturn = Coturn::start(&ports, SECRET);
    let server = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), coturn.port());
    let mut driven = Driven::new(config(server, "another"));
    driven.until(|driven| driven.lost().is_some());
    assert!(matches!(driven.lost(), Some(Lost::Unauthorized { code: 401, .. })));
    let nobody = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), ports.one());
    let mut driven = Driven::new(config(nobody, SECRET));
    driven.until(|driven| matches!(driven.events.first(), Some(Event::Unanswered { .. })));
}

#[test]
fn a_restarted_coturn_costs_one_new_allocation() {
    let ports = Ports::claim();
    let coturn = Coturn::start(&ports, SECRET);
    let server = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), coturn.port());
    let mut driven = Driven::new(config(server, SECRET));
    let peer = peer_on("127.0.0.1");
    driven.client.permit(Instant::now(), peer.local_addr().unwrap().ip()).unwrap();
    driven.until(|driven| !driven.client.relayed().is_empty());
    drop(coturn);
    let _again = Coturn::start_on(&ports, server.port(), SECRET);
    driven.client.handle_clock(Instant::now(), UnixTime(unix().as_secs()));
    driven.until(|driven| driven.lost().is_some());
    assert_eq!(driven.lost(), Some(&Lost::Forgotten));
    driven.until(|driven| !driven.client.relayed().is_empty());
    driven.client.bind_channel(Instant::now(), peer.local_addr().unwrap()).unwrap();
    driven.until(|driven| driven.client.readiness(peer.local_addr().unwrap()) == Readiness::Bound);
    driven.assert_connected(&peer);
}
