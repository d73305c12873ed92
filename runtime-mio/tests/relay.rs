//! A relay on its thread, over real loopback sockets.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use adit_core::relay::{Config, Relay, RelayAddress};
use adit_core::stun::{Builder, Class, Message, Method};
use adit_core::time::UnixTime;
use adit_core::turn::credentials::{Authenticator, Credentials};
use adit_mio::{RelayServer, StartError, Worker};

fn config(listen: &[&str]) -> Config {
    let mut config = Config::new(Authenticator::new("test").with_user("user", "password"));
    config.listen = listen.iter().map(|addr| addr.parse().unwrap()).collect();
    config.ipv4 = Some(RelayAddress::direct("127.0.0.1".parse().unwrap()));
    config
}

/// A Binding request (RFC 8489 §5) and what comes back.
fn bind(relay: SocketAddr) -> Vec<u8> {
    let any = if relay.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend(*b"twelve bytes");
    socket.send_to(&request, relay).unwrap();
    let mut answer = vec![0; 1500];
    let length = socket.recv(&mut answer).unwrap();
    answer.truncate(length);
    answer
}

#[test]
fn it_answers_on_each_address_in_the_order_of_the_configuration() {
    let relay = RelayServer::spawn(config(&["127.0.0.1:0", "[::1]:0"])).unwrap();
    let [v4, v6] = relay.addresses() else { panic!("two addresses") };
    assert!(v4.is_ipv4() && v6.is_ipv6());
    for &address in relay.addresses() {
        let answer = bind(address);
        assert_eq!(answer[..2], [1, 1]);
        assert_eq!(answer[8..20], *b"twelve bytes");
    }
    assert_eq!(relay.socket_counters().sent, 2);
    assert_eq!(relay.allocations(), 0);
}

#[test]
fn a_taken_port_is_told() {
    let relay = RelayServer::spawn(config(&["127.0.0.1:0"])).unwrap();
    let address = relay.addresses()[0];
    let Err(StartError::Listen { addr, kind, .. }) = RelayServer::spawn(config(&[&address.to_string()]))
    else {
        panic!("it runs");
    };
    assert_eq!((addr, kind), (address, ErrorKind::AddrInUse));
}

#[test]
fn stopping_gives_the_ports_back() {
    let relay = RelayServer::spawn(config(&["127.0.0.1:0"])).unwrap();
    let address = relay.addresses()[0];
    assert!(!relay.has_failed());
    relay.stop();
    assert!(UdpSocket::bind(address).is_ok());
}

#[test]
fn waiting_for_an_event_ends_in_time() {
    let relay = RelayServer::spawn(config(&["127.0.0.1:0"])).unwrap();
    assert!(relay.wait_event(Duration::from_millis(20)).is_none());
}

#[test]
fn waiting_for_ever_ends_with_the_relay() {
    let (clock, now) = adit_driver::clock();
    let machine = Relay::new(config(&["127.0.0.1:0"]), clock, now, adit_driver::random_seed());
    let worker = Worker::spawn("relay", machine, now).unwrap();
    worker.shared().close();
    while worker.wait_event(Duration::MAX).is_some() {}
}

/// A client that sends one request after the other.
struct Client {
    socket: UdpSocket,
    nonce: String,
    transactions: u8,
}

impl Client {
    fn new(relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket.connect(relay).unwrap();
        let mut client = Self { socket, nonce: String::new(), transactions: 0 };
        let challenge = client.exchange(&client.builder(Method::ALLOCATE).finish());
        client.nonce = Message::parse(&challenge).unwrap().nonce().unwrap().unwrap().to_owned();
        client
    }

    fn builder(&self, method: Method) -> Builder {
        Builder::new(Class::Request, method, [self.transactions; 12])
    }

    fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        self.transactions += 1;
        self.socket.send(request).unwrap();
        self.receive()
    }

    fn receive(&self) -> Vec<u8> {
        let mut answer = vec![0; 1500];
        let length = self.socket.recv(&mut answer).unwrap();
        answer.truncate(length);
        answer
    }

    fn call(&mut self, secret: &[u8], method: Method, fill: impl FnOnce(Builder) -> Builder) -> Vec<u8> {
        let credentials = Credentials::limited(secret, UnixTime(4_000_000_000), "gw-1", None).unwrap();
        let request = fill(self.builder(method))
            .username(&credentials.username)
            .realm("test")
            .nonce(&self.nonce)
            .finish_with_integrity(&credentials.key("test"));
        self.exchange(&request)
    }
}

/// 0 for success.
fn code(reply: &[u8]) -> u16 {
    Message::parse(reply).unwrap().error_code().unwrap().map_or(0, |error| error.code)
}

#[test]
fn a_secret_is_replaced_while_the_relay_runs() {
    let mut config = config(&["127.0.0.1:0"]);
    config.authenticator = Authenticator::new("test").with_secret(b"old");
    config.policy = config.policy.allow(IpAddr::from([127, 0, 0, 1]));
    let relay = RelayServer::spawn(config).unwrap();
    let mut client = Client::new(relay.addresses()[0]);
    let allocated = client.call(b"old", Method::ALLOCATE, |builder| builder.requested_transport(17));
    let relayed = Message::parse(&allocated).unwrap().relayed_addresses().next().unwrap().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = peer.local_addr().unwrap();
    let bound = client.call(b"old", Method::CHANNEL_BIND, |it| it.channel_number(0x4000).peer_address(at));
    assert_eq!(code(&bound), 0);

    relay.set_authenticator(&Authenticator::new("test").with_secret(b"new"));
    peer.send_to(b"hello", relayed).unwrap();
    assert_eq!(client.receive(), b"\x40\x00\x00\x05hello", "the allocation goes on");
    assert_eq!(code(&client.call(b"old", Method::REFRESH, |builder| builder)), 401);
    assert_eq!(code(&client.call(b"new", Method::REFRESH, |builder| builder)), 0);

    let status = relay.status();
    assert_eq!((status.allocations, status.auth_failures, status.to_clients.bytes), (1, 1, 5));
    assert!(status.since > UnixTime(1_700_000_000));
}
