//! A relay on two threads: what one of them gives out serves at the other, and nobody who uses it can tell.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use adit_core::stun::{Builder, Class, EvenPort, Family, Message, Method};
use adit_core::turn::credentials::Credentials;
use adit_core::turn::stream::{self, Splitter};
use adit_tests::adit::World;
use adit_tests::monitor::{metric, wait_for};
use adit_tests::process::{PATIENCE, Running, finish};
use adit_tests::turn::{Answer, Turn};
use rustix::net::sockopt::set_socket_reuseport;
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(10);

/// After so many clients the kernel has given some to each shard: 1 in 2³⁹ would not.
const MANY: usize = 40;

/// A relay with two shards, which lets ada and bob in.
struct Sharded {
    world: World,
    relay: Running,
    at: SocketAddr,
    pages: SocketAddr,
}

impl Sharded {
    fn start(more: &str) -> Self {
        Self::start_at("127.0.0.1", more)
    }

    fn start_at(host: &str, more: &str) -> Self {
        let world = World::new();
        let (at, pages) = (world.address(host), world.address("127.0.0.1"));
        let command = command(&world, at, pages, more);
        let mut relay = Running::start("adit relay", command);
        relay.expect_line(&format!("listening on {at}"));
        Self { world, relay, at, pages }
    }

    fn client(&self, name: &str, password: &str) -> Turn {
        Turn::new(self.at, name, password)
    }

    fn ada(&self) -> Turn {
        self.client("ada", "wonder")
    }

    /// How many clients and datagrams have changed the shard.
    fn handed_over(&self) -> u64 {
        let out = metric(self.pages, r#"turn_handed_over_total{direction="out"}"#);
        assert_eq!(metric(self.pages, "turn_hand_overs_lost_total"), 0);
        out
    }
}

fn command(world: &World, at: SocketAddr, pages: SocketAddr, more: &str) -> Command {
    let ports = world.ports.range(120);
    let base = format!(
        "listen = '{at}'\nmonitor-listen = '{pages}'\nrealm = 'example.org'\nusers-file = 'users'\nshards = 2\n\
         allowed-peer-ip = ['127.0.0.1', '::1']\nmin-port = {}\nmax-port = {}\n",
        ports.start(),
        ports.end()
    );
    world.place.write("users", "ada:wonder\nbob:builder\n");
    world.place.write("base.toml", &base);
    world.place.write("relay.toml", &format!("{base}{more}"));
    let mut command = world.command(&["relay", "start", "--config", "relay.toml"]);
    command.env_remove("ADIT_MONITOR_LISTEN");
    command
}

/// Somebody whom clients talk to.
struct Peer(UdpSocket, SocketAddr);

impl Peer {
    fn at(host: &str) -> Self {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let address = socket.local_addr().unwrap();
        Self(socket, address)
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut bytes = [0; 2000];
        let (len, from) = self.0.recv_from(&mut bytes).unwrap();
        (bytes[..len].to_vec(), from)
    }

    /// Data flows between a client and this peer, many datagrams each way.
    fn talks_to(&self, client: &Turn, relayed: SocketAddr) {
        for number in 0..20u8 {
            client.send(0x4000, &[number; 100]);
            assert_eq!(self.receive(), (vec![number; 100], relayed));
            self.0.send_to(&[number; 200], relayed).unwrap();
            assert_eq!(client.receive(0x4000, SOON), Some(vec![number; 200]));
        }
    }
}

fn with_ticket(builder: Builder) -> Builder {
    builder.requested_transport(17).mobility_ticket(&[])
}

fn ticket(answer: &Answer) -> Vec<u8> {
    assert_eq!(answer.code(), 0);
    answer.message().mobility_ticket().expect("there is a ticket").to_vec()
}

/// RFC 8016: the kernel gives some of them to the shard that has the allocation, and the others to the other one.
fn clients_move(host: &str) {
    let sharded = Sharded::start_at(host, "");
    let peer = Peer::at(host);
    let (mut stayed, mut changed) = (0, 0);
    for _ in 0..MANY {
        let mut home = sharded.ada();
        let family = if peer.1.is_ipv4() { Family::V4 } else { Family::V6 };
        let granted = home.ask(Method::ALLOCATE, |builder| with_ticket(builder).requested_family(family));
        assert_eq!(granted.code(), 0);
        assert_eq!(home.bind_channel(0x4000, peer.1), 0);
        peer.talks_to(&home, granted.relayed());
        let before = sharded.handed_over();
        let mut away = sharded.ada();
        let moved = away.ask(Method::REFRESH, |builder| builder.mobility_ticket(&ticket(&granted)));
        assert_eq!(moved.code(), 0);
        if sharded.handed_over() > before {
            changed += 1;
        } else {
            stayed += 1;
        }
        peer.talks_to(&away, granted.relayed());
        assert_eq!(away.bind_channel(0x4001, SocketAddr::new(peer.1.ip(), 9)), 0);
        assert_eq!(metric(sharded.pages, "turn_allocations_active"), 1);
        // And on, to whichever shard, and back home.
        let mut further = sharded.ada();
        let moved = further.ask(Method::REFRESH, |builder| builder.mobility_ticket(&ticket(&moved)));
        peer.talks_to(&further, granted.relayed());
        let _ = ticket(&home.ask(Method::REFRESH, |builder| builder.mobility_ticket(&ticket(&moved))));
        peer.talks_to(&home, granted.relayed());
        assert_eq!(home.refresh(0), 0);
    }
    assert!(stayed > 0 && changed > 0, "{stayed} stayed, {changed} changed the shard");
    assert_eq!(metric(sharded.pages, "turn_allocations_active"), 0);
}

#[test]
fn an_allocation_stays_with_its_shard_when_its_client_moves() {
    clients_move("127.0.0.1");
}

#[test]
fn an_allocation_stays_with_its_shard_when_its_client_moves_over_ipv6() {
    clients_move("::1");
}

/// RFC 8656 §7.2.
#[test]
fn a_reserved_port_is_had_by_whichever_shard_its_client_comes() {
    let sharded = Sharded::start("");
    let peer = Peer::at("127.0.0.1");
    let (mut stayed, mut changed) = (0, 0);
    for _ in 0..MANY {
        let mut first = sharded.ada();
        let pair = |builder: Builder| builder.requested_transport(17).even_port(EvenPort { reserve: true });
        let granted = first.ask(Method::ALLOCATE, pair);
        let token = granted.message().reservation_token().unwrap().expect("a token");
        let before = sharded.handed_over();
        let mut second = sharded.ada();
        let claim = |builder: Builder| builder.requested_transport(17).reservation_token(token);
        let claimed = second.ask(Method::ALLOCATE, claim).relayed();
        assert_eq!(claimed.port(), granted.relayed().port() + 1);
        if sharded.handed_over() > before {
            changed += 1;
        } else {
            stayed += 1;
        }
        assert_eq!(second.bind_channel(0x4000, peer.1), 0);
        peer.talks_to(&second, claimed);
        assert_eq!((first.refresh(0), second.refresh(0)), (0, 0));
    }
    assert!(stayed > 0 && changed > 0, "{stayed} stayed, {changed} changed the shard");
}

#[test]
fn a_user_in_both_shards_has_one_quota() {
    let sharded = Sharded::start("user-quota = 3\ntotal-quota = 5\n");
    let mut clients: Vec<Turn> = (0..MANY).map(|_| sharded.ada()).collect();
    let codes: Vec<u16> = clients.iter_mut().map(|client| client.allocate().code()).collect();
    assert_eq!(codes.iter().filter(|&&code| code == 0).count(), 3);
    assert!(codes.iter().all(|&code| code == 0 || code == 486), "{codes:?}");
    let mut others: Vec<Turn> = (0..MANY).map(|_| sharded.client("bob", "builder")).collect();
    let theirs: Vec<u16> = others.iter_mut().map(|client| client.allocate().code()).collect();
    assert_eq!(theirs.iter().filter(|&&code| code == 0).count(), 2, "there may be five in all");
    assert!(theirs.iter().all(|&code| code == 0 || code == 508), "{theirs:?}");
    let has = codes.iter().position(|&code| code == 0).unwrap();
    assert_eq!(clients[has].refresh(0), 0);
    let again = clients.iter_mut().map(|client| client.allocate().code()).filter(|&code| code == 0).count();
    assert_eq!(again, 1, "what one gives up another one has");
    assert_eq!(metric(sharded.pages, "turn_allocations_active"), 5);
}

#[test]
fn what_is_told_to_a_running_relay_is_told_to_both_shards() {
    let mut sharded = Sharded::start("");
    let peer = Peer::at("127.0.0.1");
    let mut clients: Vec<(Turn, SocketAddr)> = (0..MANY)
        .map(|_| {
            let mut client = sharded.ada();
            let relayed = client.allocate().relayed();
            assert_eq!(client.bind_channel(0x4000, peer.1), 0);
            (client, relayed)
        })
        .collect();
    assert_eq!(metric(sharded.pages, "turn_channels_active"), MANY as u64);
    let base = std::fs::read_to_string(sharded.world.place.path("base.toml")).unwrap();
    sharded.world.place.write("users", "ada:other\n");
    sharded.world.place.write("relay.toml", &format!("{base}denied-peer-ip = '127.0.0.1'\n"));
    sharded.relay.signal(Signal::HUP);
    sharded.relay.expect_line("are in effect");
    assert_eq!(metric(sharded.pages, "turn_channels_active"), 0);
    for (client, _) in &mut clients {
        assert_eq!(client.refresh(600), 401);
        client.credentials.password = "other".to_owned();
        assert_eq!((client.refresh(600), client.permit(peer.1)), (0, 403));
    }
    sharded.world.place.write("relay.toml", &format!("{base}shards = 3\n").replace("shards = 2\n", ""));
    sharded.relay.signal(Signal::HUP);
    sharded.relay.expect_line("shards can't change while the relay runs");
    for (client, relayed) in &mut clients {
        assert_eq!(client.bind_channel(0x4000, peer.1), 0);
        peer.talks_to(client, *relayed);
    }
    assert_eq!(metric(sharded.pages, "turn_allocations_active"), MANY as u64);
    assert_eq!(metric(sharded.pages, "turn_shards"), 2);
}

#[test]
fn a_relay_that_is_told_to_end_waits_for_the_clients_of_both_shards() {
    let mut sharded = Sharded::start("alternate-server = '127.0.0.9:3478'\n");
    let mut clients: Vec<Turn> = (0..MANY).map(|_| sharded.ada()).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.allocate().code(), 0));
    sharded.relay.signal(Signal::TERM);
    let reasons = wait_for(sharded.pages, 503);
    assert!(reasons.contains("takes no new allocations"), "{reasons}");
    for _ in 0..MANY {
        assert_eq!(sharded.client("bob", "builder").allocate().code(), 300);
    }
    while let Some(mut client) = clients.pop() {
        assert_eq!(metric(sharded.pages, "turn_allocations_active"), clients.len() as u64 + 1);
        assert_eq!(client.refresh(0), 0);
    }
    assert_eq!(sharded.relay.wait().code(), Some(0));
    assert!(!sharded.relay.said().contains("cut off"), "{}", sharded.relay.said());
}

#[test]
fn an_address_that_somebody_else_has_is_said_whoever_that_is() {
    let sharded = Sharded::start("");
    let refused = |at: SocketAddr| {
        let world = World::new();
        let pages = world.address("127.0.0.1");
        let said = finish("adit relay", command(&world, at, pages, ""), PATIENCE);
        assert!(said.status.code() != Some(0) && said.said.contains("the port is taken"), "{}", said.said);
    };
    refused(sharded.at);
    // Somebody who would share it with anybody of this user.
    let world = World::new();
    let at = world.address("127.0.0.1");
    let open =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).unwrap();
    set_socket_reuseport(&open, true).unwrap();
    rustix::net::bind(&open, &at).unwrap();
    refused(at);
    // And who joins later is given nobody.
    let late =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None).unwrap();
    set_socket_reuseport(&late, true).unwrap();
    rustix::net::bind(&late, &sharded.at).unwrap();
    for _ in 0..MANY {
        assert_eq!(sharded.ada().allocate().code(), 0);
    }
    let late = UdpSocket::from(late);
    late.set_nonblocking(true).unwrap();
    assert!(late.recv(&mut [0; 9]).is_err());
}

/// A client that comes by TCP.
struct Caller {
    stream: TcpStream,
    splitter: Splitter,
    waiting: Vec<u8>,
    credentials: Credentials,
    nonce: String,
    transactions: u8,
}

impl Caller {
    fn connect(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let credentials = Credentials { username: "ada".to_owned(), password: "wonder".to_owned() };
        let (splitter, waiting, nonce) = Default::default();
        let mut caller = Self { stream, splitter, waiting, credentials, nonce, transactions: 0 };
        let first = Builder::new(Class::Request, Method::ALLOCATE, [200; 12]).requested_transport(17);
        caller.stream.write_all(&first.finish()).unwrap();
        let challenge = caller.next();
        caller.nonce = Message::parse(&challenge).unwrap().nonce().unwrap().unwrap().to_owned();
        caller
    }

    fn request(&mut self, method: Method, fill: impl FnOnce(Builder) -> Builder) -> Vec<u8> {
        self.transactions += 1;
        fill(Builder::new(Class::Request, method, [self.transactions; 12]))
            .username(&self.credentials.username)
            .realm("example.org")
            .nonce(&self.nonce)
            .finish_with_integrity(&self.credentials.key("example.org"))
    }

    /// The code of the answer to a request, 0 for success, and its ticket.
    fn ask(&mut self, method: Method, fill: impl FnOnce(Builder) -> Builder) -> (u16, Option<Vec<u8>>) {
        let request = self.request(method, fill);
        self.stream.write_all(&request).unwrap();
        self.answer()
    }

    fn answer(&mut self) -> (u16, Option<Vec<u8>>) {
        let answer = self.next();
        let message = Message::parse(&answer).unwrap();
        let code = message.error_code().unwrap().map_or(0, |error| error.code);
        (code, message.mobility_ticket().map(<[u8]>::to_vec))
    }

    fn next(&mut self) -> Vec<u8> {
        loop {
            let mut piece = &self.waiting[..];
            let message = self.splitter.next(&mut piece).unwrap().map(<[u8]>::to_vec);
            self.waiting = piece.to_vec();
            if let Some(message) = message {
                return message;
            }
            let mut bytes = [0; 4096];
            let len = self.stream.read(&mut bytes).unwrap();
            assert_ne!(len, 0, "the relay has closed the connection");
            self.waiting.extend_from_slice(&bytes[..len]);
        }
    }
}

/// RFC 8016, where connections come to either shard: the connection goes to where the allocation is.
#[test]
fn a_connection_goes_to_the_shard_that_has_what_its_client_asks_for() {
    let sharded = Sharded::start("");
    let peer = Peer::at("127.0.0.1");
    let (mut stayed, mut changed) = (0, 0);
    let data = |text: &[u8]| {
        let mut bytes = Vec::new();
        stream::write_channel_data(&mut bytes, 0x4000, text);
        bytes
    };
    for _ in 0..MANY {
        let mut home = sharded.ada();
        let granted = home.ask(Method::ALLOCATE, with_ticket);
        assert_eq!(home.bind_channel(0x4000, peer.1), 0);
        let before = sharded.handed_over();
        let mut caller = Caller::connect(sharded.at);
        // With data behind it that is not whole yet.
        let refresh = caller.request(Method::REFRESH, |builder| builder.mobility_ticket(&ticket(&granted)));
        let (first, second) = (data(b"first"), data(b"and second"));
        caller.stream.write_all(&[&refresh[..], &first, &second[..9]].concat()).unwrap();
        let (code, next_ticket) = caller.answer();
        assert_eq!(code, 0);
        assert_eq!(peer.receive().0, b"first");
        caller.stream.write_all(&second[9..]).unwrap();
        assert_eq!(peer.receive().0, b"and second");
        if sharded.handed_over() > before {
            changed += 1;
        } else {
            stayed += 1;
        }
        for number in 0..20u8 {
            peer.0.send_to(&[number; 100], granted.relayed()).unwrap();
            assert_eq!(caller.next()[4..], [number; 100]);
        }
        // By another connection, and back to datagrams.
        let mut other = Caller::connect(sharded.at);
        let moved = other.ask(Method::REFRESH, |builder| builder.mobility_ticket(&next_ticket.unwrap()));
        other.stream.write_all(&data(b"again")).unwrap();
        assert_eq!((moved.0, peer.receive().0), (0, b"again".to_vec()));
        let back = home.ask(Method::REFRESH, |builder| builder.mobility_ticket(moved.1.as_ref().unwrap()));
        assert_eq!(back.code(), 0);
        peer.talks_to(&home, granted.relayed());
        assert_eq!(home.refresh(0), 0);
    }
    assert!(stayed > 0 && changed > 0, "{stayed} stayed, {changed} changed the shard");
}
