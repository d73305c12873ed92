//! A gateway that is told to read its file again: what is allowed, its certificate and its credentials change, and a stream
//! goes on through all of it.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use adit_tests::adit::{Connector, Gateway, SECRET, World};
use adit_tests::process::{PATIENCE, Running, finish};
use rustix::process::Signal;

/// A service that sends back what it gets.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("tcp://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                let _ = std::io::copy(&mut from, &mut to);
            });
        }
    });
    target
}

fn talk(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

/// Has it read everything again, and waits for the `count`th time that it says so.
fn told(running: &mut Running, answer: &str, count: usize) {
    running.signal(Signal::HUP);
    running.expect_lines(answer, count);
}

/// Has `authority` stand in the file of the authorities that vouch for the relay.
fn trusted(world: &World, authority: &str) {
    let _ = std::fs::copy(world.place.path(authority), world.place.path("relay-ca.pem")).unwrap();
}

struct Site {
    world: World,
    relay: Running,
    gateway: Running,
    relayed: Vec<SocketAddr>,
    file: Gateway,
}

impl Site {
    fn new(target: &str) -> Self {
        let world = World::new();
        let at = world.address("127.0.0.1");
        trusted(&world, "ca/gateway-ca.pem");
        let urls = format!(r#"[{{ urls = ["turn:{at}"], trust-anchor = ["relay-ca.pem"] }}]"#);
        let file = Gateway { urls: Some(urls), ..Gateway::on(at, &[target]) };
        let relay = world.relay(&[at]);
        let (gateway, relayed) = world.gateway(&file, 1);
        Self { world, relay, gateway, relayed, file }
    }

    fn write(&self) {
        self.world.place.write("gateway.toml", &self.file.toml());
    }

    /// Whether a new connector opens `target`.
    fn opens(&self, target: &str) -> bool {
        let listen = self.world.address("127.0.0.1");
        let mut command = self.world.forward_command(&Connector::to(&self.relayed), target, listen);
        command.args(["--wait", "5"]);
        let mut forward = Running::start("adit forward", command);
        for _ in 0..600 {
            if forward.said().contains(&listen.to_string()) {
                talk(&mut TcpStream::connect(listen).unwrap());
                return true;
            }
            if forward.said().contains("denied") {
                let _ = forward.wait();
                return false;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("neither: {}", forward.said());
    }
}

#[test]
fn a_gateway_reads_everything_again_and_no_stream_ends() {
    let (one, other) = (echo(), echo());
    let mut site = Site::new(&one);
    let (_forward, entrance) = site.world.forward(&Connector::to(&site.relayed), &one, "127.0.0.1");
    let mut stream = TcpStream::connect(entrance).unwrap();
    talk(&mut stream);
    assert!(!site.opens(&other));

    // Another target in place of the first, and another certificate of the same gateway.
    let renewed = ["ca", "issue", "ca", "gateway", "gw-1", "--out", "renewed"];
    let _ = finish("adit ca", site.world.command(&renewed), PATIENCE).success();
    site.file.allow = vec![other.clone()];
    site.file.identity = "renewed";
    site.write();
    told(&mut site.gateway, "is in effect", 1);
    assert!(site.opens(&other) && !site.opens(&one));
    talk(&mut stream);

    // The relay's secret is another one now, which the gateway must know to keep its allocation.
    let secret = "another secret that only these two know";
    assert_ne!(secret, SECRET);
    site.world.place.write("secret", secret);
    told(&mut site.relay, "are in effect", 1);
    site.world.place.write("gateway-secret", secret);
    told(&mut site.gateway, "is in effect", 2);
    talk(&mut stream);
    assert!(site.opens(&other));
    assert!(!site.gateway.said().contains("no allocation"), "{}", site.gateway.said());

    // A mistake changes nothing.
    site.world.place.write("gateway.toml", "relays = []");
    told(&mut site.gateway, "nothing was changed", 1);
    talk(&mut stream);
    assert!(site.opens(&other));

    // Nor does another gateway's certificate; and relays stay what they are.
    let stranger = ["ca", "issue", "ca", "gateway", "gw-2"];
    let _ = finish("adit ca", site.world.command(&stranger), PATIENCE).success();
    site.file.identity = "ca/gw-2";
    site.write();
    told(&mut site.gateway, "nothing was changed", 2);
    site.file.identity = "renewed";
    site.write();
    let kept = "relays can't change while the gateway runs";
    trusted(&site.world, "ca/connector-ca.pem");
    told(&mut site.gateway, kept, 1);
    trusted(&site.world, "ca/gateway-ca.pem");
    site.file.urls = Some(r#"["turn:127.0.0.1:9"]"#.to_owned());
    site.write();
    told(&mut site.gateway, kept, 2);
    talk(&mut stream);
}
