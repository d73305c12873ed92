//! The TURN client on the TURN server, in virtual time and without a socket: both are machines, and the test is
//! the network between them.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use adit_core::client::{self, Client, Families, Lost, Readiness};
use adit_core::io::{Completion, Datagrams, Effect, Forwards, Onward, SocketId, To, Transmit};
use adit_core::relay::{self, Listen, Relay, RelayAddress};
use adit_core::time::{Clock, UnixTime};
use adit_core::turn::credentials::{Authenticator, Credentials};

const MINUTE: Duration = Duration::from_secs(60);
const UNIX: u64 = 1_700_000_000;
const SEGMENTS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn server() -> SocketAddr {
    addr("9.0.0.1:3478")
}

fn peer() -> SocketAddr {
    addr("8.0.0.7:4433")
}

fn credentials(secret: &[u8], id: &str) -> Credentials {
    Credentials::time_limited(secret, UnixTime(UNIX + 86_400), id)
}

fn relay_config() -> relay::Config {
    let authenticator = Authenticator::new("adit").with_secret(b"secret");
    relay::Config {
        listen: vec![Listen::udp(server())],
        ipv4: Some(RelayAddress::direct(server().ip())),
        ipv6: Some(RelayAddress::direct("2a00::1".parse().unwrap())),
        ..relay::Config::new(authenticator)
    }
}

fn client_config() -> client::Config {
    client::Config::new(server(), credentials(b"secret", "gw-1"))
}

/// A datagram on its way.
#[derive(Debug, Clone)]
struct Packet {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

struct World {
    now: Instant,
    clock: Clock,
    relay: Relay,
    relay_sockets: BTreeMap<SocketAddr, SocketId>,
    client: Client,
    client_socket: Option<(SocketAddr, SocketId)>,
    next_port: u16,
    wire: VecDeque<Packet>,
    /// One datagram out of so many is lost; 0: none.
    lose: usize,
    carried: usize,
    /// What arrived at the peer, and from where.
    at_peer: Vec<(SocketAddr, Vec<u8>)>,
    /// What the client's owner was given, and from whom.
    at_owner: Vec<(SocketAddr, Vec<u8>)>,
    events: Vec<client::Event>,
}

impl World {
    fn new(relay: relay::Config, client: client::Config) -> Self {
        #[allow(clippy::disallowed_methods, reason = "there is no other way to make an instant")]
        let now = Instant::now();
        let clock = Clock::new(now, Duration::from_secs(UNIX));
        Self {
            now,
            clock,
            relay: Relay::new(relay, clock, now, [1; 32]),
            relay_sockets: BTreeMap::new(),
            client: Client::new(client, clock, now, [2; 32]),
            client_socket: None,
            next_port: 40_000,
            wire: VecDeque::new(),
            lose: 0,
            carried: 0,
            at_peer: Vec::new(),
            at_owner: Vec::new(),
            events: Vec::new(),
        }
    }

    /// A client with an allocation and a channel to the peer.
    fn connected() -> Self {
        let mut world = Self::new(relay_config(), client_config());
        world.run();
        world.client.bind_channel(world.now, peer()).unwrap();
        world.run();
        assert_eq!(world.client.readiness(peer()), Readiness::Bound);
        world.events.clear();
        world
    }

    /// Until nobody has anything to say.
    fn run(&mut self) {
        for _ in 0..10_000 {
            self.relay_events();
            self.client_events();
            self.transmits();
            let Some(packet) = self.wire.pop_front() else { return };
            self.carried += 1;
            if self.lose == 0 || !self.carried.is_multiple_of(self.lose) {
                self.deliver(packet);
            }
        }
        panic!("the world never comes to rest");
    }

    /// From deadline to deadline.
    fn live(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.run();
        loop {
            let deadlines = [self.relay.poll_timeout(), self.client.poll_timeout()];
            let Some(next) = deadlines.into_iter().flatten().min().filter(|next| next.at <= end) else {
                break;
            };
            self.now = self.now.max(next.at);
            self.relay.handle_timeout(self.now);
            self.client.handle_timeout(self.now);
            self.run();
        }
        self.now = end;
    }

    fn relay_events(&mut self) {
        while let Some(event) = self.relay.poll_event() {
            let relay::Event::Effect(effect) = event else { continue };
            match effect {
                Effect::Bind { socket, addr, .. } => {
                    self.relay_sockets.insert(addr, socket);
                    self.relay.handle_completion(self.now, Completion::Bound { socket, result: Ok(addr) });
                }
                Effect::Unbind { socket } => self.relay_sockets.retain(|_, id| *id != socket),
                effect => panic!("{effect:?}"),
            }
        }
    }

    fn client_events(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                client::Event::Effect(Effect::Bind { socket, .. }) => {
                    let local = SocketAddr::new(IpAddr::from([7, 0, 0, 1]), self.next_port);
                    self.next_port += 1;
                    self.client_socket = Some((local, socket));
                    self.client.handle_completion(self.now, Completion::Bound { socket, result: Ok(local) });
                }
                client::Event::Effect(Effect::Unbind { .. }) => self.client_socket = None,
                event => self.events.push(event),
            }
        }
    }

    fn transmits(&mut self) {
        let mut out = Vec::new();
        while let Some(transmit) = self.client.poll_transmit(self.now, SEGMENTS, &mut out) {
            self.send_from_client(&transmit, &out);
            out.clear();
        }
        while let Some(transmit) = self.relay.poll_transmit(self.now, SEGMENTS, &mut out) {
            let To::Udp { socket, to } = transmit.to else { panic!() };
            let from = self.relay_address(socket);
            for bytes in out.chunks(transmit.stride) {
                self.wire.push_back(Packet { from, to, bytes: bytes.to_vec() });
            }
            out.clear();
        }
    }

    fn send_from_client(&mut self, transmit: &Transmit, out: &[u8]) {
        let To::Udp { to, .. } = transmit.to else { panic!() };
        let from = self.client_socket.unwrap().0;
        for bytes in out.chunks(transmit.stride) {
            self.wire.push_back(Packet { from, to, bytes: bytes.to_vec() });
        }
    }

    fn relay_address(&self, socket: SocketId) -> SocketAddr {
        *self.relay_sockets.iter().find(|(_, id)| **id == socket).unwrap().0
    }

    fn deliver(&mut self, Packet { from, to, mut bytes }: Packet) {
        let mut forwards = Forwards::default();
        if let Some(&socket) = self.relay_sockets.get(&to) {
            let mut batch = Datagrams::single(socket, from, &mut bytes);
            self.relay.handle_datagrams(self.now, batch.reborrow(), &mut forwards);
            for run in forwards.drain() {
                let Onward::Send { socket: out, to, .. } = run.onward else { panic!() };
                let mut sent = run.prefix.map_or(Vec::new(), |prefix| prefix.to_vec());
                sent.extend_from_slice(run.body(&batch, 0));
                let from = self.relay_address(out);
                self.wire.push_back(Packet { from, to, bytes: sent });
            }
        } else if let Some((_, socket)) = self.client_socket.filter(|(local, _)| *local == to) {
            let mut batch = Datagrams::single(socket, from, &mut bytes);
            self.client.handle_datagrams(self.now, batch.reborrow(), &mut forwards);
            for run in forwards.drain() {
                let Onward::Owner { peer } = run.onward else { panic!() };
                self.at_owner.push((peer, run.body(&batch, 0).to_vec()));
            }
        } else if to == peer() {
            self.at_peer.push((from, bytes));
        }
    }

    fn send_to_peer(&mut self, payload: &[u8], stride: usize) {
        let mut out = Vec::new();
        let transmit = self.client.encapsulate(self.now, peer(), payload, stride, None, &mut out).unwrap();
        self.send_from_client(&transmit, &out);
        self.run();
    }

    fn send_from_peer(&mut self, payload: &[u8]) {
        let to = self.client.relayed()[0];
        self.wire.push_back(Packet { from: peer(), to, bytes: payload.to_vec() });
        self.run();
    }

    /// Data goes both ways, right now.
    fn assert_connected(&mut self) {
        self.at_peer.clear();
        self.at_owner.clear();
        let relayed = self.client.relayed()[0];
        self.send_to_peer(b"there", 5);
        self.send_from_peer(b"and back");
        assert_eq!(self.at_peer, [(relayed, b"there".to_vec())]);
        assert_eq!(self.at_owner, [(peer(), b"and back".to_vec())]);
    }

    fn lost(&self) -> Vec<Lost> {
        let reasons = self.events.iter().map(|event| match event {
            client::Event::Lost { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        reasons.flatten().collect()
    }
}

#[test]
fn data_flows_by_indication_and_by_channel() {
    let mut world = World::new(relay_config(), client_config());
    world.client.permit(world.now, peer().ip()).unwrap();
    world.run();
    assert_eq!(world.client.readiness(peer()), Readiness::Absent);
    world.assert_connected();
    world.client.bind_channel(world.now, peer()).unwrap();
    world.run();
    assert_eq!(world.client.readiness(peer()), Readiness::Bound);
    world.assert_connected();
    world.at_peer.clear();
    world.send_to_peer(b"aaabbbc", 3);
    let bytes: Vec<_> = world.at_peer.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    assert_eq!(bytes, [&b"aaa"[..], b"bbb", b"c"]);
}

/// Two hours: a dozen stale nonces, allocation, permission and channel refreshed over and over.
#[test]
fn nothing_runs_out_while_the_client_lives() {
    let mut world = World::connected();
    for _ in 0..24 {
        world.live(5 * MINUTE);
        world.assert_connected();
    }
    assert_eq!(world.events, []);
    assert_eq!(world.relay.allocations(), 1);
}

#[test]
fn nothing_runs_out_on_a_lossy_way() {
    let mut world = World::connected();
    world.lose = 3;
    world.live(60 * MINUTE);
    assert_eq!(world.lost(), []);
    world.lose = 0;
    world.assert_connected();
    assert!(world.client.counters().retransmitted > 10);
}

#[test]
fn a_restarted_relay_costs_one_new_allocation() {
    let mut world = World::connected();
    world.client.permit(world.now, peer().ip()).unwrap();
    world.relay = Relay::new(relay_config(), world.clock, world.now, [3; 32]);
    world.relay_sockets.clear();
    world.live(5 * MINUTE);
    assert_eq!(world.lost(), [Lost::Forgotten]);
    assert_eq!(world.relay.allocations(), 1);
    world.assert_connected();
}

#[test]
fn an_outage_of_the_relay_is_survived() {
    let mut world = World::connected();
    world.lose = 1;
    world.live(30 * MINUTE);
    assert!(world.lost().iter().all(|reason| *reason == Lost::Unreachable) && !world.lost().is_empty());
    assert_eq!(world.relay.allocations(), 0, "the relay forgets it as well");
    world.lose = 0;
    world.live(3 * MINUTE);
    assert_eq!(world.client.relayed().len(), 1);
}

#[test]
fn a_wrong_secret_is_told_from_an_unreachable_relay() {
    let wrong = client::Config::new(server(), credentials(b"wrong", "gw-1"));
    let mut world = World::new(relay_config(), wrong);
    world.run();
    assert!(matches!(world.lost()[..], [Lost::Unauthorized { code: 401, .. }]));
    let nowhere = client::Config::new(addr("9.0.0.2:3478"), credentials(b"secret", "gw-1"));
    let mut world = World::new(relay_config(), nowhere);
    world.live(MINUTE);
    assert_eq!(world.lost()[0], Lost::Unreachable);
}

#[test]
fn renewed_credentials_of_the_same_id_keep_the_allocation() {
    let mut world = World::connected();
    let renewed = Credentials::time_limited(b"secret", UnixTime(UNIX + 999_999), "gw-1");
    world.client.set_credentials(world.now, renewed);
    world.live(30 * MINUTE);
    assert_eq!(world.events, []);
    world.assert_connected();
    world.client.set_credentials(world.now, credentials(b"secret", "gw-2"));
    world.live(2 * MINUTE);
    assert!(matches!(world.lost()[..], [Lost::Unauthorized { code: 441, .. }]));
    assert_eq!(world.client.relayed().len(), 1, "another id gets another allocation");
}

#[test]
fn a_dual_client_gets_what_the_relay_has() {
    let dual = || client::Config { families: Families::Both, ..client_config() };
    let mut world = World::new(relay_config(), dual());
    world.run();
    let families: Vec<_> = world.client.relayed().iter().map(SocketAddr::is_ipv6).collect();
    assert_eq!(families, [false, true]);
    let mut world = World::new(relay::Config { ipv6: None, ..relay_config() }, dual());
    world.run();
    assert_eq!(world.client.relayed().len(), 1);
    assert_eq!(world.lost(), []);
    let six = client::Config { families: Families::V6, ..client_config() };
    let mut world = World::new(relay_config(), six);
    world.run();
    assert!(world.client.relayed()[0].is_ipv6());
}

#[test]
fn a_peer_that_the_policy_denies_is_reported() {
    let mut world = World::new(relay_config(), client_config());
    let forbidden: IpAddr = "127.0.0.1".parse().unwrap();
    world.client.permit(world.now, forbidden).unwrap();
    world.client.permit(world.now, peer().ip()).unwrap();
    world.run();
    let denied = world.events.iter().any(
        |event| matches!(event, client::Event::PermissionDenied { peer, code: 403, .. } if *peer == forbidden),
    );
    assert!(denied, "{:?}", world.events);
    world.assert_connected();
}

#[test]
fn closing_frees_the_allocation_at_once() {
    let mut world = World::connected();
    world.client.close(world.now);
    world.run();
    assert_eq!(world.events, [client::Event::Closed]);
    assert_eq!(world.relay.allocations(), 0);
    assert!(world.client_socket.is_none());
}

/// The client is heard from another port, as after the restart of a NAT: its next Refresh finds that out, and brings the
/// allocation over (RFC 8016).
#[test]
fn a_nat_that_forgets_costs_no_allocation() {
    let mut world = World::connected();
    let relayed = world.client.relayed().to_vec();
    for port in [41_000, 42_000, 43_000] {
        let (_, socket) = world.client_socket.unwrap();
        world.client_socket = Some((SocketAddr::new(IpAddr::from([7, 0, 0, 9]), port), socket));
        world.live(MINUTE);
        assert_eq!((world.client.relayed(), world.relay.allocations()), (&relayed[..], 1));
        world.assert_connected();
        world.live(20 * MINUTE);
        world.assert_connected();
    }
    assert_eq!(world.events, []);
    // The owner knows better, and does not wait for that.
    world.client.rebind(world.now);
    world.run();
    assert_eq!((world.client.relayed(), world.events.len()), (&relayed[..], 0));
    world.assert_connected();
    world.client.close(world.now);
    world.run();
    assert_eq!(world.relay.allocations(), 0);
}

#[test]
fn without_mobility_a_nat_that_forgets_costs_the_allocation() {
    let still = client::Config { mobility: false, ..client_config() };
    let fixed = relay::Config { mobility: false, ..relay_config() };
    for (relay, client) in [(relay_config(), still), (fixed, client_config())] {
        let mut world = World::new(relay, client);
        world.run();
        world.events.clear();
        let (_, socket) = world.client_socket.unwrap();
        world.client_socket = Some((addr("7.0.0.9:41000"), socket));
        world.live(2 * MINUTE);
        assert_eq!(world.lost(), [Lost::Forgotten]);
        assert_eq!(world.client.relayed().len(), 1, "there is another");
    }
}

#[test]
fn a_relay_that_is_drained_names_another_and_a_revoked_client_is_told() {
    let mut world = World::connected();
    let other = addr("9.0.0.2:3478");
    world.relay.drain(relay::Alternates::at(other));
    world.live(30 * MINUTE);
    assert_eq!(world.events, []);
    world.assert_connected();
    assert_eq!(world.relay.revoke(world.now, "gw-1"), 1);
    world.live(5 * MINUTE);
    assert!(world.lost().iter().all(|lost| matches!(lost, Lost::Unauthorized { code: 403, .. })));
    world.relay.reinstate("gw-1");
    world.live(2 * MINUTE);
    assert_eq!(world.lost().last(), Some(&Lost::Elsewhere { server: Some(other) }));
}
