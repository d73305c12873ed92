//! The examples of the crates without an asynchronous runtime, run as their readers would run them.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;

use adit_core::relay::{Config, RelayAddress};
use adit_core::turn::address_policy::Policy;
use adit_core::turn::credentials::Authenticator;
use adit_mio::RelayServer;
use adit_tests::build;
use adit_tests::ports::Ports;
use adit_tests::process::{PATIENCE, Running, finish};
use rustix::process::Signal;

fn example(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(build::executable(name));
    command.args(arguments);
    command
}

/// A relay that lets 127.0.0.1 be reached.
fn relay(ports: &Ports) -> RelayServer {
    let loopback: IpAddr = "127.0.0.1".parse().unwrap();
    RelayServer::spawn(Config {
        listen: vec![SocketAddr::new(loopback, 0).into()],
        ipv4: Some(RelayAddress::direct(loopback)),
        ports: ports.range(20),
        policy: Policy::default_deny().allow(loopback),
        ..Config::new(Authenticator::new("test").with_user("user", "password"))
    })
    .unwrap()
}

/// Waits for the client's relayed address, and has what is sent there come back.
fn assert_echoes(client: &mut Running) {
    let line = client.expect_line("relayed address: ");
    let relayed: SocketAddr = line.rsplit(' ').next().unwrap().parse().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    // The permission is asked for when the address is known, and nothing tells when it stands.
    let mut buffer = [0; 64];
    peer.set_read_timeout(Some(PATIENCE / 100)).unwrap();
    let answer = (0..100).find_map(|_| {
        peer.send_to(b"there and back", relayed).unwrap();
        peer.recv_from(&mut buffer).ok()
    });
    assert_eq!(answer, Some((14, relayed)), "{}", client.said());
    assert_eq!(&buffer[..14], b"there and back");
    client.expect_line(&format!("{} sent 14 bytes", peer.local_addr().unwrap()));
}

#[test]
fn a_turn_client_over_std_echoes_and_releases_its_allocation_in_time() {
    let ports = Ports::claim();
    let relay = relay(&ports);
    let server = relay.addresses()[0].to_string();
    let arguments = [&*server, "user", "password", "127.0.0.1", "3"];
    let mut client = Running::start("turn_client_std", example("turn_client_std", &arguments));
    assert_echoes(&mut client);
    assert_eq!(relay.allocations(), 1);
    assert!(client.wait().success());
    assert_eq!(client.said().lines().last(), Some("released"));
    assert_eq!(relay.allocations(), 0);
}

#[test]
fn a_turn_client_over_mio_echoes_and_releases_its_allocation_when_interrupted() {
    let ports = Ports::claim();
    let relay = relay(&ports);
    let server = relay.addresses()[0].to_string();
    let arguments = [&*server, "user", "password", "127.0.0.1"];
    let mut client = Running::start("turn_client_mio", example("turn_client_mio", &arguments));
    assert_echoes(&mut client);
    assert_eq!(relay.allocations(), 1);
    client.signal(Signal::INT);
    assert!(client.wait().success());
    assert_eq!(client.said().lines().last(), Some("released"));
    assert_eq!(relay.allocations(), 0);
}

#[test]
fn an_embedded_relay_reaches_whom_its_rules_name_and_nobody_else() {
    let ports = Ports::claim();
    let listen = format!("127.0.0.1:{}", ports.one());
    let rules = [&*listen, "user", "password", "127.0.0.0/8", "-127.0.0.2"];
    let mut relay = Running::start("relay_policy", example("relay_policy", &rules));
    relay.expect_line(&format!("listening on {listen}"));
    for (peer, denied) in [("127.0.0.1", false), ("127.0.0.2", true), ("8.8.8.8", true)] {
        let arguments = [&*listen, "user", "password", peer, "60"];
        let mut client = Running::start("turn_client_std", example("turn_client_std", &arguments));
        match denied {
            true => drop(client.expect_line(&format!("PermissionDenied {{ peer: {peer}, code: 403"))),
            false => assert_echoes(&mut client),
        }
    }
    relay.expect_lines("user is reached at 127.0.0.1:", 3);
    relay.signal(Signal::TERM);
    assert!(relay.wait().success());
    relay.expect_line("stopped with 3 allocations left");
}

#[test]
fn a_simulated_network_tells_the_same_story_twice() {
    let tell = || finish("simulated_network", example("simulated_network", &[]), PATIENCE).success();
    let story = tell();
    for line in
        ["Allocate success", "ChannelData 0x4000, 5 bytes", "the peer answered \"hello\"", "1 allocation"]
    {
        assert!(story.contains(line), "{line} is missing:\n{story}");
    }
    assert_eq!(story, tell());
}
