//! What the relay's machine itself costs, without a socket: reading a message, finding out who sent it, an allocation
//! from the first request to the last, and forwarding both ways. `cargo bench --package adit-bench`.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use adit_core::io::{Completion, Datagrams, Effect, Forwards, SocketId, SocketKind};
use adit_core::relay::{Config, Event, Relay, RelayAddress, ReplyBudget};
use adit_core::stun::{Builder, Class, Message, Method};
use adit_core::time::{Clock, UnixTime};
use adit_core::turn::address_policy::Policy;
use adit_core::turn::channel_data;
use adit_core::turn::credentials::{Authenticator, Credentials};
use adit_core::turn::key::Key;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const UNIX: u64 = 1_700_000_000;
const REALM: &str = "bench.local";
const SECRET: &[u8] = b"bench-secret";
const RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const LISTEN: SocketAddr = SocketAddr::new(RELAY, 3478);
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), 5000);
const CHANNEL: u16 = 0x4000;
/// Datagrams that arrive at once, and the payload of each.
const BURST: usize = 16;
const SIZE: usize = 1200;

criterion_group!(benches, messages, allocations, forwarding);
criterion_main!(benches);

fn messages(c: &mut Criterion) {
    let credentials = credentials();
    let request =
        request(Method::ALLOCATE, 1, &credentials, "nonce", |builder| builder.requested_transport(17));
    c.bench_function("decode an Allocate", |b| b.iter(|| Message::parse(black_box(&request)).is_ok()));
    let authenticator = authenticator();
    let message = Message::parse(&request).expect("it is a message");
    c.bench_function("authenticate an Allocate", |b| {
        b.iter(|| authenticator.authenticate(black_box(&message), UnixTime(UNIX)).is_ok());
    });
}

fn allocations(c: &mut Criterion) {
    let mut site = Site::new();
    let mut next = 0u32;
    c.bench_function("allocate, permit, bind a channel, release", |b| {
        b.iter(|| {
            next = (next + 1) % 50_000;
            let client =
                SocketAddr::new(IpAddr::V4(Ipv4Addr::from(0xC633_6400 + (next >> 8))), 1024 + next as u16);
            site.allocate(client);
            site.release(client);
        });
    });
    assert_eq!(site.relay.allocations(), 0);
}

fn forwarding(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward a burst");
    group.throughput(Throughput::Elements(BURST as u64));
    for count in [1u16, 1_000, 20_000] {
        let mut site = Site::new();
        let clients: Vec<_> =
            (0..count).map(|index| SocketAddr::new([198, 51, 100, 7].into(), 1024 + index)).collect();
        let relayed: Vec<_> = clients.iter().map(|client| site.allocate(*client)).collect();
        let up: Vec<u8> = (0..BURST)
            .flat_map(|_| channel_data::header(CHANNEL, SIZE).into_iter().chain([7; SIZE]))
            .collect();
        let down = vec![7; BURST * SIZE];
        let mut turn = (0..clients.len()).cycle();
        group.bench_function(format!("to the peer, {count} allocations"), |b| {
            b.iter_batched_ref(
                || (clients[turn.next().expect("it never ends")], up.clone()),
                |(client, bytes)| {
                    site.deliver(site.listening, *client, bytes, SIZE + channel_data::HEADER_LEN);
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("to the client, {count} allocations"), |b| {
            b.iter_batched_ref(
                || (relayed[turn.next().expect("it never ends")], down.clone()),
                |(socket, bytes)| site.deliver(*socket, PEER, bytes, SIZE),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A relay with the part of its driver.
struct Site {
    relay: Relay,
    now: Instant,
    listening: SocketId,
    forwards: Forwards,
    out: Vec<u8>,
    requests: u64,
    /// The relayed socket that was bound last.
    bound: Option<SocketId>,
}

impl Site {
    fn new() -> Self {
        let now = Instant::now();
        let config = Config {
            listen: vec![LISTEN.into()],
            ipv4: Some(RelayAddress::direct(RELAY)),
            ports: 1024..=u16::MAX,
            policy: Policy::deny_all().allow(PEER.ip()),
            reply_budget: ReplyBudget { rate: 1_000_000_000, burst: 1_000_000_000 },
            ..Config::new(authenticator())
        };
        let relay = Relay::new(config, Clock::new(now, Duration::from_secs(UNIX)), now, [7; 32]);
        let mut site = Self {
            relay,
            now,
            listening: adit_core::io::Id::new(0, 0),
            forwards: Forwards::default(),
            out: Vec::new(),
            requests: 0,
            bound: None,
        };
        site.settle();
        site
    }

    /// All that a client does, until data flows. Returns its relayed socket.
    fn allocate(&mut self, client: SocketAddr) -> SocketId {
        let credentials = credentials();
        let question =
            Builder::new(Class::Request, Method::ALLOCATE, self.transaction()).requested_transport(17);
        let challenge = self.ask(client, question.finish());
        let challenge = Message::parse(&challenge).expect("a relay sends messages");
        let nonce = challenge.nonce().expect("it is a good one").expect("a challenge has one").to_owned();
        let mut ask = |method, fill: &dyn Fn(Builder) -> Builder| {
            self.requests += 1;
            let request = request(method, self.requests, &credentials, &nonce, fill);
            let reply = self.ask(client, request);
            let reply = Message::parse(&reply).expect("a relay sends messages");
            assert_eq!(reply.class(), Class::Success, "{method:?}");
        };
        ask(Method::ALLOCATE, &|builder| builder.requested_transport(17));
        ask(Method::CREATE_PERMISSION, &|builder| builder.peer_address(PEER));
        ask(Method::CHANNEL_BIND, &|builder| builder.channel_number(CHANNEL).peer_address(PEER));
        ask(Method::REFRESH, &|builder| builder.lifetime(Duration::from_secs(3600)));
        self.bound.expect("it was bound")
    }

    fn release(&mut self, client: SocketAddr) {
        let challenge = Builder::new(Class::Request, Method::REFRESH, self.transaction()).finish();
        let challenge = self.ask(client, challenge);
        let challenge = Message::parse(&challenge).expect("a relay sends messages");
        let nonce = challenge.nonce().expect("it is a good one").expect("a challenge has one").to_owned();
        self.requests += 1;
        let end = |builder: Builder| builder.lifetime(Duration::ZERO);
        let request = request(Method::REFRESH, self.requests, &credentials(), &nonce, end);
        self.ask(client, request);
    }

    fn transaction(&mut self) -> [u8; 12] {
        self.requests += 1;
        transaction(self.requests)
    }

    /// The reply to a request.
    fn ask(&mut self, client: SocketAddr, mut request: Vec<u8>) -> Vec<u8> {
        self.relay.handle_datagrams(
            self.now,
            Datagrams::single(self.listening, client, &mut request),
            &mut self.forwards,
        );
        self.settle();
        std::mem::take(&mut self.out)
    }

    /// A burst, and nothing of it is to be lost.
    fn deliver(&mut self, socket: SocketId, remote: SocketAddr, payload: &mut [u8], stride: usize) {
        let batch = Datagrams { socket, remote, local: None, ecn: None, stride, payload };
        self.relay.handle_datagrams(self.now, batch, &mut self.forwards);
        let run = self.forwards.drain().next().expect("it is forwarded");
        assert_eq!(black_box(run).segments.len(), BURST);
    }

    /// The driver's part, until nothing is left to do. The last reply is kept.
    fn settle(&mut self) {
        self.out.clear();
        loop {
            let mut reply = Vec::new();
            if self.relay.poll_transmit(self.now, NonZeroUsize::MIN, &mut reply).is_some() {
                self.out = reply;
                continue;
            }
            let Some(event) = self.relay.poll_event() else { return };
            let Event::Effect(Effect::Bind { socket, addr, kind }) = event else { continue };
            match kind {
                SocketKind::Relayed => self.bound = Some(socket),
                _ => self.listening = socket,
            }
            self.relay.handle_completion(self.now, Completion::Bound { socket, result: Ok(addr) });
        }
    }
}

fn request(
    method: Method,
    number: u64,
    credentials: &Credentials,
    nonce: &str,
    fill: impl Fn(Builder) -> Builder,
) -> Vec<u8> {
    let builder = fill(Builder::new(Class::Request, method, transaction(number)));
    let key: Key = credentials.key(REALM);
    builder.username(&credentials.username).realm(REALM).nonce(nonce).finish_with_integrity(&key)
}

fn transaction(number: u64) -> [u8; 12] {
    let mut transaction = [0; 12];
    transaction[..8].copy_from_slice(&number.to_be_bytes());
    transaction
}

fn credentials() -> Credentials {
    Credentials::time_limited(SECRET, UnixTime(UNIX + 86_400), "bench")
}

fn authenticator() -> Authenticator {
    Authenticator::new(REALM).with_secret(SECRET)
}
