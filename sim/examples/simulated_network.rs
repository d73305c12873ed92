//! A TURN client, a relay and a peer on a simulated network: the machines are the real ones, time and packets are
//! not. Every packet that passes the relay is printed; then an hour goes by in a blink.
//!
//! `cargo run --example simulated_network`. The same seed gives the same lines, every time.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use adit_core::client::{Client, Config, Event, Readiness};
use adit_core::io::{
    Completion, Datagrams, Effect, Forwards, Id, Onward, Run, SocketId, SocketKind, Transmit,
};
use adit_core::relay::Relay;
use adit_core::stun::{Class, Message, Method};
use adit_core::time::{Deadline, UnixTime};
use adit_core::turn::channel_data;
use adit_core::turn::credentials::{Authenticator, Credentials};
use adit_sim::{Handle, Link, Machine, Nat, Packet, Percent, World, secs};

const PEER: &str = "8.0.0.7:7000";
const PRIVATE: &str = "192.168.0.2";
const PUBLIC: &str = "7.0.0.1";

fn main() {
    let (user, password) = ("user", "password");
    let mut world = World::seeded(8);
    world.set_usual_link(Link::of(Duration::from_millis(15)).losing(10.percent()));
    let relay = world.relay_with("relay", move |config| {
        config.authenticator = Authenticator::new("example.org").with_user(user, password);
    });
    world.capture(relay);
    let server = SocketAddr::new(world.addresses_of(relay)[0], 3478);

    let peer = world.host("peer", &[ip(PEER)], None);
    world.start(peer, |_, _, _| Echo::on(address(PEER)));
    let client = world.host("client", &[ip(PRIVATE)], Some((Nat::symmetric(), &[ip(PUBLIC)])));
    world.start(client, |clock, now, seed| {
        let credentials = Credentials { username: user.to_owned(), password: password.to_owned() };
        Talker::new(Client::new(Config::new(server, credentials), clock, now, seed))
    });

    let mut trace = Printer { relay, seen: 0 };
    trace.run_until(&mut world, |world| !world.machine(client).client.relayed().is_empty());
    world
        .call(client, |talker, now| talker.client.bind_channel(now, address(PEER)))
        .expect("it is allocated");
    trace.run_until(&mut world, |world| {
        world.machine(client).client.readiness(address(PEER)) == Readiness::Bound
    });
    // UDP promises nothing, so that it is said until it is heard.
    while world.machine(client).heard.is_empty() {
        world.call(client, |talker, now| talker.say(now, address(PEER), b"hello"));
        let end = world.now() + secs(1);
        trace.run_until(&mut world, |world| !world.machine(client).heard.is_empty() || world.now() >= end);
    }
    println!("the peer answered {:?}", String::from_utf8_lossy(&world.machine(client).heard[0]));

    let before = world.trace().packets();
    world.run_for(secs(3600));
    let packets = world.trace().packets() - before;
    println!("an hour later: {packets} more packets, {} allocation", world.machine(relay).allocations());
    println!("trace {:016x}", world.trace().hash());
}

/// A client with its owner: what it wants to say, and what it was told. To the world the two are one machine.
struct Talker {
    client: Client,
    says: VecDeque<(Transmit, Vec<u8>)>,
    heard: Vec<Vec<u8>>,
}

impl Talker {
    fn new(client: Client) -> Self {
        Self { client, says: VecDeque::new(), heard: Vec::new() }
    }

    fn say(&mut self, now: Instant, peer: SocketAddr, data: &[u8]) {
        let mut out = Vec::new();
        if let Some(transmit) = self.client.encapsulate(now, peer, data, data.len(), None, &mut out) {
            self.says.push_back((transmit, out));
        }
    }
}

impl Machine for Talker {
    type Event = Event;

    fn effect(event: Event) -> Result<Effect, Event> {
        if let Event::Effect(effect) = event { Ok(effect) } else { Err(event) }
    }
    fn handle_datagrams(&mut self, now: Instant, mut batch: Datagrams<'_>, out: &mut Forwards) {
        self.client.handle_datagrams(now, batch.reborrow(), out);
        // What is for the owner of a client never gets as far as the world.
        for run in out.drain() {
            self.heard.extend(run.segments.clone().map(|index| run.body(&batch, index).to_vec()));
        }
    }
    fn handle_completion(&mut self, now: Instant, done: Completion) {
        self.client.handle_completion(now, done);
    }
    fn handle_clock(&mut self, now: Instant, unix: UnixTime) {
        self.client.handle_clock(now, unix);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.client.handle_timeout(now);
    }
    fn poll_transmit(&mut self, now: Instant, max: NonZeroUsize, out: &mut Vec<u8>) -> Option<Transmit> {
        let Some((transmit, bytes)) = self.says.pop_front() else {
            return self.client.poll_transmit(now, max, out);
        };
        out.extend_from_slice(&bytes);
        Some(transmit)
    }
    fn poll_event(&mut self) -> Option<Event> {
        self.client.poll_event()
    }
    fn poll_timeout(&self) -> Option<Deadline> {
        self.client.poll_timeout()
    }
}

/// The smallest machine: it sends back what it gets, out of the buffer that it came in.
struct Echo {
    wants: Option<Effect>,
}

impl Echo {
    fn on(addr: SocketAddr) -> Self {
        let socket = SocketId::new(0, 0);
        Self { wants: Some(Effect::Bind { socket, addr, kind: SocketKind::Listening }) }
    }
}

impl Machine for Echo {
    type Event = Effect;

    fn effect(event: Effect) -> Result<Effect, Effect> {
        Ok(event)
    }
    fn handle_datagrams(&mut self, _: Instant, batch: Datagrams<'_>, out: &mut Forwards) {
        let onward = Onward::Send { socket: batch.socket, to: batch.remote, from: None, whole: false };
        for index in 0..batch.len() {
            let (len, segments) = (batch.segment(index).len(), index..index + 1);
            out.push(Run { onward, ecn: None, strip: 0, len, prefix: None, segments });
        }
    }
    fn handle_completion(&mut self, _: Instant, _: Completion) {}
    fn handle_clock(&mut self, _: Instant, _: UnixTime) {}
    fn handle_timeout(&mut self, _: Instant) {}
    fn poll_transmit(&mut self, _: Instant, _: NonZeroUsize, _: &mut Vec<u8>) -> Option<Transmit> {
        None
    }
    fn poll_event(&mut self) -> Option<Effect> {
        self.wants.take()
    }
    fn poll_timeout(&self) -> Option<Deadline> {
        None
    }
}

/// Prints what passes the relay, as it passes.
struct Printer {
    relay: Handle<Relay>,
    seen: usize,
}

impl Printer {
    fn run_until(&mut self, world: &mut World, done: impl Fn(&World) -> bool) {
        while !done(world) && world.step() {
            let captured = world.captured(self.relay);
            for packet in &captured[self.seen..] {
                let Packet { from, to, payload, .. } = packet;
                println!("{:>9.3?}  {from:>16} → {to:<16}  {}", world.elapsed(), describe(payload));
            }
            self.seen = captured.len();
        }
    }
}

fn describe(payload: &[u8]) -> String {
    if let Some((number, len)) = channel_data::parse(payload) {
        return format!("ChannelData 0x{number:04X}, {len} bytes");
    }
    let Ok(message) = Message::parse(payload) else { return format!("{} bytes", payload.len()) };
    let method = match message.method() {
        Method::ALLOCATE => "Allocate",
        Method::CREATE_PERMISSION => "CreatePermission",
        Method::CHANNEL_BIND => "ChannelBind",
        Method::REFRESH => "Refresh",
        _ => "another method",
    };
    match (message.class(), message.error_code()) {
        (Class::Error, Ok(Some(error))) => format!("{method} error {} {}", error.code, error.reason),
        (class, _) => format!("{method} {}", format!("{class:?}").to_lowercase()),
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("a constant of this file")
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| address(text).ip())
}
