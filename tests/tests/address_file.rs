//! The file in which a gateway writes its relayed addresses, and that connectors follow.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use adit_tests::adit::{Connector, Gateway, World};
use adit_tests::process::{PATIENCE, Running};
use rustix::process::Signal;

#[test]
fn the_file_is_readable_by_all_and_names_the_addresses_while_they_last() {
    let world = World::new();
    let relay_address = world.address("127.0.0.1");
    let _relay = world.relay(&[relay_address]);
    let (mut gateway, relayed) = world.gateway(&Gateway::on(relay_address, &[]), 1);
    let file = world.place.path("gateway.addr");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(relayed[0].ip(), relay_address.ip());
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().success(), "{}", gateway.said());
    assert_eq!(world.addresses(), []);
}

#[test]
fn forward_follows_the_file_to_a_gateway_that_was_started_again() {
    let world = World::new();
    let echo = echo();
    let target = format!("tcp://{echo}");
    let relay_address = world.address("127.0.0.1");
    let _relay = world.relay(&[relay_address]);
    let config = Gateway::on(relay_address, &[&target]);
    let (gateway, before) = world.gateway(&config, 1);
    let (_forward, entrance) = world.forward(&Connector::to(&[]), &target, "127.0.0.1");
    assert!(echoes(entrance));

    drop(gateway);
    let (_gateway, after) = world.gateway(&config, 1);
    assert_ne!(before, after);
    let until = Instant::now() + PATIENCE;
    while !echoes(entrance) {
        assert!(Instant::now() < until, "forward stays with {before:?} and not {after:?}");
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_gateway_outlives_the_place_of_its_file() {
    let world = World::new();
    let relays = [world.address("127.0.0.1"), world.address("127.0.0.1")];
    let mut relay = world.relay(&relays[..1]);
    let config = Gateway { relays: relays.to_vec(), ..Gateway::on(relays[0], &[]) };
    let command = world.gateway_command(&config);
    world.place.write("gateway.toml", &config.toml().replace("gateway.addr", "spool/gateway.addr"));
    let (spool, file) = (world.place.path("spool"), world.place.path("spool/gateway.addr"));
    fs::create_dir(&spool).unwrap();
    let mut gateway = Running::start("adit gateway", command);
    gateway.expect_line("is reached at");

    fs::remove_dir_all(&spool).unwrap();
    let _other = world.relay(&relays[1..]);
    gateway.expect_line("can't be written");
    fs::create_dir(&spool).unwrap();
    let until = Instant::now() + PATIENCE;
    while !fs::read_to_string(&file).is_ok_and(|text| text.lines().count() == 3) {
        assert!(Instant::now() < until, "the file is not written again");
        thread::sleep(Duration::from_millis(100));
    }

    fs::remove_dir_all(&spool).unwrap();
    gateway.signal(Signal::TERM);
    assert!(gateway.wait().success(), "{}", gateway.said());
    relay.expect_line("its client closed it");
}

#[test]
fn a_change_while_forward_starts_is_not_missed() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp://{}", listener.local_addr().unwrap());
    let relay_address = world.address("127.0.0.1");
    let _relay = world.relay(&[relay_address]);
    let (_gateway, relayed) = world.gateway(&Gateway::on(relay_address, &[&target]), 1);
    let command = world.forward_command(&Connector::to(&[]), &target, world.address("127.0.0.1"));
    let mut forward = Running::start("adit forward", command);
    // While this is open, the start is not over.
    let _probe = listener.accept().unwrap();
    world.place.write("gateway.addr", &format!("{}\n{}\n", relayed[0], world.address("127.0.0.1")));
    forward.expect_line("addresses have changed");
}

/// A service that sends back what it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut back = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut stream, &mut back);
            });
        }
    });
    address
}

fn echoes(entrance: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(entrance) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    let mut answer = [0; 5];
    stream.write_all(b"hello").is_ok() && stream.read_exact(&mut answer).is_ok() && answer == *b"hello"
}
