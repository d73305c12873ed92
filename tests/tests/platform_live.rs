//! What is alive through the platform stays alive, and what is to end ends: with several instances on one PostgreSQL,
//! through renewals, and at revocations.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use adit_tests::adit::World;
use adit_tests::platform::{GATEWAY, Installation, Instance};
use adit_tests::postgres::Postgres;
use adit_tests::process::{PATIENCE, Running, finish};
use adit_tests::turn::Turn;
use rustix::process::Signal;

/// Reports and looks every second.
const SHORT: &str = "heartbeat=1,ping=1,duties=0.2,watcher-claim=2";

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

/// A connection that says something and hears it again.
struct Talk(TcpStream);

impl Talk {
    fn through(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut talk = Self(stream);
        talk.goes_on().unwrap();
        talk
    }

    fn goes_on(&mut self) -> std::io::Result<()> {
        self.0.write_all(b"hello")?;
        let mut answer = [0; 5];
        self.0.read_exact(&mut answer)?;
        assert_eq!(&answer, b"hello");
        Ok(())
    }

    /// Waits for its end, and says how long that took.
    fn ends(mut self) -> Duration {
        let began = Instant::now();
        while self.goes_on().is_ok() {
            assert!(began.elapsed() < PATIENCE, "the stream goes on");
            thread::sleep(Duration::from_millis(50));
        }
        began.elapsed()
    }
}

/// A platform instance, a relay, and a healthy gateway that leads to a service. Ends from the gateway to the platform.
struct Site<'w> {
    gateway: Running,
    relay: Running,
    platform: Instance,
    installation: Installation<'w>,
    target: String,
}

impl<'w> Site<'w> {
    fn new(world: &'w World, times: &str) -> Self {
        Self::of(Installation::new(world, None, times))
    }

    fn of(installation: Installation<'w>) -> Self {
        let platform = installation.instance(1);
        let target = echo();
        let relay = installation.relay(&platform);
        let gateway = installation.gateway(&platform, &target);
        installation.wait_until_healthy(&platform);
        installation.link(&platform, &target);
        Self { gateway, relay, platform, installation, target }
    }

    fn forward(&self, token_file: &str) -> (Running, SocketAddr) {
        self.installation.forward(&self.platform, token_file, &self.target)
    }

    /// Runs a command as the administrator. What it said.
    fn ask(&self, arguments: &[&str]) -> String {
        finish("adit", self.installation.as_admin(&self.platform, arguments), PATIENCE).success()
    }
}

#[test]
fn one_of_two_platform_instances_is_killed_and_callers_of_the_other_go_on() {
    let world = World::new();
    let postgres = Postgres::start(&world.ports);
    let installation = Installation::new(&world, Some(&postgres), SHORT);
    let (first, mut second) = (installation.instance(1), installation.instance(2));
    let target = echo();
    let _relay = installation.relay(&first);
    let _gateway = installation.gateway(&first, &target);
    installation.wait_until_healthy(&second);
    installation.link(&second, &target);
    let (_forward, entrance) = installation.forward(&first, "tokens/admin.token", &target);
    let mut talk = Talk::through(entrance);

    second.running.signal(Signal::KILL);
    let _ = second.running.wait();
    // Longer than its claims and its presence last.
    for _ in 0..10 {
        talk.goes_on().unwrap();
        thread::sleep(Duration::from_millis(500));
    }
    installation.wait_until_healthy(&first);
    let mut another = Talk::through(entrance);
    another.goes_on().unwrap();
    talk.goes_on().unwrap();
}

#[test]
fn certificates_and_credentials_are_renewed_without_an_end_of_a_stream() {
    let world = World::new();
    let lives =
        "gateway-leaf=12,connector-leaf=12,turn-credentials=12,turn-renewal=4,access-token=6,relay-leaf=12";
    let site = Site::new(&world, &format!("{SHORT},{lives}"));
    let (_forward, entrance) = site.forward("tokens/admin.token");
    let mut talk = Talk::through(entrance);
    // Every certificate and every credential of the beginning has run out by then.
    let until = Instant::now() + Duration::from_secs(30);
    while Instant::now() < until {
        talk.goes_on().unwrap();
        thread::sleep(Duration::from_millis(500));
    }
    site.installation.wait_until_healthy(&site.platform);
    Talk::through(entrance).goes_on().unwrap();
}

/// What a thief finds in a gateway's state directory reaches those who connect to that gateway, and nobody else, whatever
/// the relay allows.
#[test]
fn credentials_taken_from_a_gateway_reach_connectors_only() {
    let world = World::new();
    // Reports are so far apart that a person's address can't come by one of those.
    let times = "heartbeat=20,ping=1,duties=0.2,watcher-claim=2";
    let connector = "127.0.0.5";
    let site = Site::of(Installation::new(&world, None, times).connecting_from(connector));
    let elsewhere = ["8.8.8.8:53", "9.9.9.9:443", "127.0.0.9:9"];
    let person = "127.0.0.1:9";
    let mut thief = thief(&world, &site);
    assert_eq!(thief.permit(address(&format!("{connector}:9"))), 0);
    for other in elsewhere.into_iter().chain([person]) {
        assert_eq!(thief.permit(address(other)), 403, "{other}");
        assert_eq!(thief.bind_channel(0x4000, address(other)), 403, "{other}");
    }
    let began = Instant::now();
    let (_forward, entrance) = site.forward("tokens/admin.token");
    Talk::through(entrance).goes_on().unwrap();
    assert!(began.elapsed() < Duration::from_secs(10), "a person was let in after {:?}", began.elapsed());
    // Newer credentials know that person, and still nobody else; older ones do not.
    assert_eq!(thief.permit(address(person)), 403);
    let mut thief = self::thief(&world, &site);
    assert_eq!(thief.permit(address(person)), 0);
    for other in elsewhere {
        assert_eq!(thief.permit(address(other)), 403, "{other}");
    }
}

/// Somebody with an allocation of the gateway's credentials.
fn thief(world: &World, site: &Site<'_>) -> Turn {
    let text = fs::read(world.place.path("gateway-state/instructions.json")).unwrap();
    let instructions: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let relay = &instructions["relays"][0];
    let (username, password) = (relay["username"].as_str().unwrap(), relay["password"].as_str().unwrap());
    let mut thief = Turn::new(site.installation.relay_address(), username, password);
    let _ = thief.allocate().relayed();
    thief
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_revoked_person_loses_what_is_open() {
    let world = World::new();
    let site = Site::new(&world, SHORT);
    site.ask(&["identities", "add", "ada", "--out", "ada.token"]);
    site.ask(&["projects", "members", "set", "shop", "ada"]);
    let (_forward, entrance) = site.forward("ada.token");
    let talk = Talk::through(entrance);
    site.ask(&["identities", "revoke", "ada"]);
    println!("ended after {:?}, with a report every second", talk.ends());
}

#[test]
fn a_revoked_gateway_instance_loses_what_is_open() {
    let world = World::new();
    let mut site = Site::new(&world, SHORT);
    let (_forward, entrance) = site.forward("tokens/admin.token");
    let talk = Talk::through(entrance);
    let shown = site.ask(&["gateways", "show", GATEWAY, "--json"]);
    let shown: serde_json::Value = serde_json::from_str(shown.trim()).unwrap();
    let instance = shown["instances"][0]["id"].as_str().unwrap();
    site.ask(&["gateways", "revoke", GATEWAY, instance]);
    talk.ends();
    assert_eq!(site.gateway.wait().code(), Some(12), "{}", site.gateway.said());
}

#[test]
fn what_is_open_outlives_the_platform() {
    let world = World::new();
    let mut site = Site::new(&world, SHORT);
    let (_forward, entrance) = site.forward("tokens/admin.token");
    let mut talk = Talk::through(entrance);
    site.platform.running.signal(Signal::KILL);
    let _ = site.platform.running.wait();
    for _ in 0..10 {
        talk.goes_on().unwrap();
        thread::sleep(Duration::from_millis(500));
    }
    Talk::through(entrance).goes_on().unwrap();
}

#[test]
fn no_secret_stands_in_the_list_of_processes_or_in_what_they_say() {
    let world = World::new();
    let site = Site::new(&world, SHORT);
    let (forward, entrance) = site.forward("tokens/admin.token");
    Talk::through(entrance).goes_on().unwrap();
    let secrets: Vec<String> = ["operator", "admin", "relay", "gateway"]
        .iter()
        .map(|name| fs::read_to_string(world.place.path(&format!("tokens/{name}.token"))).unwrap())
        .map(|token| token.trim().splitn(4, '_').nth(3).unwrap().to_owned())
        .collect();
    for part in [&site.platform.running, &site.relay, &site.gateway, &forward] {
        let arguments = fs::read(format!("/proc/{}/cmdline", part.pid().as_raw_nonzero())).unwrap();
        let seen = String::from_utf8_lossy(&arguments).into_owned() + &part.said();
        for secret in &secrets {
            assert!(secret.len() > 40 && !seen.contains(secret), "a token shows:\n{seen}");
        }
        assert!(!seen.contains("PRIVATE KEY"), "a key shows:\n{seen}");
    }
}
