//! Allocations of TCP (RFC 6062) of `adit relay start`, by plain sockets on both ends.

#![allow(clippy::unwrap_used, reason = "this file is a test, its helpers too")]

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use adit_core::stun::{Family, Method};
use adit_tests::adit::World;
use adit_tests::monitor::metric;
use adit_tests::process::{PATIENCE, Running};
use adit_tests::turn_tcp::TurnTcp;

const MIB: usize = 1 << 20;

struct Scene {
    world: World,
    relay: SocketAddr,
    watch: SocketAddr,
    running: Running,
    client: TurnTcp,
    relayed: SocketAddr,
}

impl Scene {
    fn new(flags: &[&str]) -> Self {
        Self::at("127.0.0.1", flags)
    }

    /// A relay at `host`, and an allocation of its family.
    fn at(host: &str, flags: &[&str]) -> Self {
        let world = World::new();
        let (relay, watch) = (world.address(host), world.address("127.0.0.1"));
        let watched = watch.to_string();
        // A link on which a client binds a connection comes to either of two shards.
        let flags =
            [&["--user", "ada:wonder", "--monitor-listen", &watched, "--shards", "2"], flags].concat();
        let running = world.relay_with(&[relay], &flags);
        let mut client = TurnTcp::connect(relay, "ada", "wonder");
        let relayed = client.allocate(Family::of(relay.ip()));
        Self { world, relay, watch, running, client, relayed }
    }

    fn bind(&self, number: u32, words: &[u8]) -> (TcpStream, Vec<u8>) {
        TurnTcp::connect(self.relay, "ada", "wonder").bind(number, words).unwrap()
    }

    /// A connection that the client has asked for: its end, and the peer's.
    fn connected(&mut self) -> (TcpStream, TcpStream) {
        let peer = TcpListener::bind((self.relay.ip(), 0)).unwrap();
        let number = self.client.dial(peer.local_addr().unwrap()).unwrap();
        let (far, from) = peer.accept().unwrap();
        assert_eq!(from, self.relayed, "the peer sees the relayed address (RFC 6062 §5.2)");
        let (near, early) = self.bind(number, b"");
        assert!(early.is_empty());
        for end in [&near, &far] {
            end.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        (near, far)
    }

    fn wait_for(&self, name: &str, value: u64) {
        let until = Instant::now() + PATIENCE;
        while metric(self.watch, name) != value {
            assert!(Instant::now() < until, "{name} is {}, not {value}", metric(self.watch, name));
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the relay's process occupies, in bytes.
    fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.running.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    }
}

/// Bytes in which a lost, repeated or misplaced one shows.
fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8 ^ salt).collect()
}

/// Says all of `words` and then the end, in a thread of its own.
fn say(mut end: TcpStream, words: Vec<u8>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        end.write_all(&words).unwrap();
        end.shutdown(Shutdown::Write).unwrap();
    })
}

fn hear(mut end: &TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    end.read_to_end(&mut heard).unwrap();
    heard
}

/// RFC 6062 §4.3, §5.2, §5.4: out to a peer; much, both ways at once, over both versions of IP.
#[test]
fn a_client_connects_out_and_much_flows_both_ways() {
    for host in ["127.0.0.1", "::1"] {
        let mut scene = Scene::at(host, &[]);
        let (near, far) = scene.connected();
        let (up, down) = (pattern(24 * MIB, 1), pattern(24 * MIB, 2));
        let talking =
            [say(near.try_clone().unwrap(), up.clone()), say(far.try_clone().unwrap(), down.clone())];
        let listening = thread::spawn(move || hear(&far));
        assert!(hear(&near) == down, "the peer's bytes differ");
        assert!(listening.join().unwrap() == up, "the client's bytes differ");
        talking.into_iter().for_each(|talk| talk.join().unwrap());
        scene.wait_for("turn_connections_active", 0);
        assert_eq!(metric(scene.watch, "turn_connections_ended_total{reason=\"closed\"}"), 1);
        assert_eq!(metric(scene.watch, "turn_relayed_bytes_total{direction=\"to_peers\"}"), 24 * MIB as u64);
    }
}

/// RFC 6062 §4.4, §5.3, §5.4: in from a peer; what is said before anybody listens is not lost.
#[test]
fn a_peer_connects_in_and_nothing_is_lost_around_the_bind() {
    let mut scene = Scene::new(&[]);
    // Without a permission nobody comes in.
    let mut stranger = TcpStream::connect(scene.relayed).unwrap();
    stranger.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(matches!(stranger.read(&mut [0]), Ok(0) | Err(_)));
    assert_eq!(scene.client.permit("127.0.0.1:1".parse().unwrap()), 0);
    let mut peer = TcpStream::connect(scene.relayed).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(b"early").unwrap();
    let (from, number) = scene.client.attempt();
    assert_eq!(from, peer.local_addr().unwrap());
    // Somebody else's hands are empty.
    let other = TurnTcp::connect(scene.relay, "ada", "wonder");
    assert_eq!(other.bind(number ^ 1, b"").unwrap_err(), 400);
    let (mut near, mut heard) = scene.bind(number, b"at once");
    let mut words = [0; 7];
    peer.read_exact(&mut words).unwrap();
    assert_eq!(&words, b"at once");
    peer.write_all(b" and late").unwrap();
    while heard.len() < 14 {
        let mut piece = [0; 64];
        let count = near.read(&mut piece).unwrap();
        heard.extend_from_slice(&piece[..count]);
    }
    assert_eq!(heard, b"early and late");
    assert_eq!(metric(scene.watch, "turn_connections_ended_total{reason=\"no_permission\"}"), 1);
}

/// RFC 6062 §5.5, with TCP's half-close: a question, its end, and a long answer to it.
#[test]
fn each_way_ends_by_itself() {
    let mut scene = Scene::new(&[]);
    for asks_first in [true, false] {
        let (near, far) = scene.connected();
        let (asks, answers) = if asks_first { (near, far) } else { (far, near) };
        say(asks.try_clone().unwrap(), b"what is it?".to_vec()).join().unwrap();
        assert_eq!(hear(&answers), b"what is it?");
        let answer = pattern(4 * MIB, 3);
        let talking = say(answers, answer.clone());
        assert!(hear(&asks) == answer, "the bytes differ");
        talking.join().unwrap();
    }
    scene.wait_for("turn_connections_active", 0);
    scene.wait_for("turn_links_active", 1);
}

#[test]
fn a_reset_at_one_end_is_a_reset_at_the_other() {
    let mut scene = Scene::new(&[]);
    let (near, mut far) = scene.connected();
    rustix::net::sockopt::set_socket_linger(&near, Some(Duration::ZERO)).unwrap();
    drop(near);
    assert_eq!(far.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// RFC 6062 §5.4: who reads slowly holds the other end back, and the relay keeps little.
#[test]
fn a_slow_reader_is_waited_for_and_costs_little() {
    let mut scene = Scene::new(&[]);
    let (near, far) = scene.connected();
    let before = scene.memory();
    far.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let all = pattern(64 * MIB, 4);
    let mut taken = 0;
    // The kernel's own buffers take some.
    while taken < all.len() {
        match (&far).write(&all[taken..(taken + MIB).min(all.len())]) {
            Ok(count) => taken += count,
            Err(_) => break,
        }
    }
    assert!(taken < all.len(), "nobody was held back");
    let grown = scene.memory().saturating_sub(before);
    assert!(grown < 4 * MIB, "{grown} bytes more are kept");
    // Others are served meanwhile.
    let (mut ahead, mut behind) = scene.connected();
    ahead.write_all(b"and I?").unwrap();
    behind.read_exact(&mut [0; 6]).unwrap();
    far.set_write_timeout(None).unwrap();
    let talking = say(far, all[taken..].to_vec());
    assert!(hear(&near) == all, "the bytes differ");
    talking.join().unwrap();
}

/// RFC 6062 §5.2.
#[test]
fn who_does_not_answer_is_447_and_who_is_forbidden_403() {
    let mut scene = Scene::new(&["--max-connections", "1"]);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(scene.client.dial(gone), Err(447));
    assert_eq!(scene.client.dial(scene.relay), Err(403));
    assert_eq!(scene.client.dial("10.0.0.1:80".parse().unwrap()), Err(403));
    let (_near, _far) = scene.connected();
    assert_eq!(scene.client.dial(gone), Err(508), "there is room for one");
}

/// RFC 6062 §5.5.
#[test]
fn connections_end_with_their_allocation_and_are_written_down() {
    let mut scene = Scene::new(&["--event-log", "events", "--log-users"]);
    let (near, mut far) = scene.connected();
    (&near).write_all(b"four").unwrap();
    far.read_exact(&mut [0; 4]).unwrap();
    let ended = scene.client.ask(Method::REFRESH, |builder| builder.lifetime(Duration::ZERO));
    assert_eq!(ended.code(), 0);
    for mut end in [&near, &far] {
        assert!(
            end.read(&mut [0]).map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| false)
        );
    }
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(scene.relayed).is_ok() {
        assert!(Instant::now() < until, "somebody still listens there");
    }
    let said = loop {
        let said = fs::read_to_string(scene.world.place.path("events")).unwrap_or_default();
        if said.contains("\"released\"") {
            break said;
        }
        assert!(Instant::now() < until, "{said}");
        thread::sleep(Duration::from_millis(20));
    };
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["allocated", "connected", "disconnected", "released"]);
    assert_eq!((&lines[0]["relays"], &lines[2]["reason"]), (&"tcp".into(), &"released".into()));
    assert_eq!(lines[2]["to_peer_bytes"], 4);
    assert_eq!((&lines[3]["to_peers_bytes"], &lines[3]["user"]), (&4.into(), &"ada".into()));
}

/// `--max-bps`: held back, and whole.
#[test]
fn a_connection_is_no_faster_than_its_user_may_be() {
    let mut scene = Scene::new(&["--max-bps", "1000000"]);
    let (near, far) = scene.connected();
    let begun = Instant::now();
    let words = pattern(2_500_000, 5);
    let talking = say(near, words.clone());
    assert!(hear(&far) == words, "the bytes differ");
    talking.join().unwrap();
    // A second's worth passes at once.
    assert!(begun.elapsed() >= Duration::from_millis(1300), "{:?}", begun.elapsed());
}
