//! A relay on its thread, over real loopback sockets.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use adit_core::relay::{Config, Relay, RelayAddress};
use adit_core::turn::credentials::Authenticator;
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
    let Err(StartError::Listen { addr, kind }) = RelayServer::spawn(config(&[&address.to_string()])) else {
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
