//! The client against a hand-made relay in virtual time.

mod allocations;
mod claims;
mod data;
mod hops;
mod mobility;
mod peers;
mod property;
mod security;
mod transactions;
mod trust;

use super::*;
use crate::io::{Effect, Onward, SocketKind};
use crate::stun::{self, Builder, Class, EvenPort, Family, Message, Method};
use crate::time::start;
use crate::turn::key::Key;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const ONE: NonZeroUsize = NonZeroUsize::MIN;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn server() -> SocketAddr {
    addr("192.0.2.1:3478")
}

fn relayed() -> SocketAddr {
    addr("192.0.2.1:50000")
}

fn peer() -> SocketAddr {
    addr("198.51.100.7:4433")
}

fn config() -> Config {
    let credentials = Credentials { username: "gw".into(), password: "secret".into() };
    // Only the test of it keeps alive: the others count requests.
    Config { keep_alive: Duration::MAX, ..Config::new(server(), credentials) }
}

/// A client, the time, and what it has said so far.
struct World {
    client: Client,
    now: Instant,
    socket: Option<SocketId>,
    events: Vec<Event>,
}

impl World {
    fn new(config: Config) -> Self {
        let now = start();
        let clock = Clock::new(now, Duration::from_secs(1_700_000_000));
        let client = Client::new(config, clock, now, [9; 32]);
        let mut world = Self { client, now, socket: None, events: Vec::new() };
        world.settle();
        world
    }

    /// A client that has its allocation.
    fn allocated(config: Config) -> Self {
        let mut world = Self::new(config);
        world.serve(&mut Relay::default());
        assert!(!world.client.relayed().is_empty());
        world.events.clear();
        world
    }

    /// Binds what is to be bound, and collects events.
    fn settle(&mut self) {
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Effect(Effect::Bind { socket, kind, .. }) => {
                    assert_eq!(kind, SocketKind::Client);
                    self.socket = Some(socket);
                    let result = Ok(addr("10.0.0.2:40000"));
                    self.client.handle_completion(self.now, Completion::Bound { socket, result });
                }
                Event::Effect(_) => {}
                event => self.events.push(event),
            }
        }
    }

    fn requests(&mut self) -> Vec<Vec<u8>> {
        let mut requests = Vec::new();
        loop {
            let mut out = Vec::new();
            let Some(transmit) = self.client.poll_transmit(self.now, ONE, &mut out) else { return requests };
            assert_eq!(transmit.to, To::Udp { socket: self.socket.unwrap(), to: server() });
            assert_eq!(transmit.stride, out.len());
            requests.push(out);
        }
    }

    fn deliver_from(
        &mut self,
        remote: SocketAddr,
        bytes: &[u8],
        stride: usize,
    ) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut payload = bytes.to_vec();
        let mut forwards = Forwards::default();
        let socket = self.socket.unwrap();
        let batch = Datagrams { socket, remote, local: None, ecn: None, stride, payload: &mut payload };
        self.client.handle_datagrams(self.now, batch, &mut forwards);
        self.settle();
        let batch = Datagrams { socket, remote, local: None, ecn: None, stride, payload: &mut payload };
        let mut received = Vec::new();
        for run in forwards.drain() {
            let Onward::Owner { peer } = run.onward else { panic!("a client forwards nothing") };
            received.extend(run.segments.clone().map(|index| (peer, run.body(&batch, index).to_vec())));
        }
        received
    }

    fn deliver(&mut self, bytes: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        self.deliver_from(server(), bytes, bytes.len().max(1))
    }

    /// Lets `relay` answer until the client has nothing more to say.
    fn serve(&mut self, relay: &mut Relay) {
        for _ in 0..1000 {
            let requests = self.requests();
            if requests.is_empty() {
                return;
            }
            for request in requests {
                if let Some(response) = relay.answer(&request) {
                    self.deliver(&response);
                }
            }
        }
        panic!("the client never comes to rest");
    }

    fn pass(&mut self, duration: Duration) {
        self.now += duration;
        self.client.handle_timeout(self.now);
        self.settle();
    }

    /// From deadline to deadline for `duration`, with `relay` there.
    fn live(&mut self, duration: Duration, relay: &mut Relay) {
        let end = self.now + duration;
        while let Some(deadline) = self.client.poll_timeout().filter(|deadline| deadline.at <= end) {
            self.pass(deadline.at - self.now);
            self.serve(relay);
        }
        self.pass(end - self.now);
    }

    fn lost(&self) -> Vec<&Lost> {
        let reasons = self.events.iter().map(|event| match event {
            Event::Lost { reason, .. } => Some(reason),
            _ => None,
        });
        reasons.flatten().collect()
    }
}

/// A relay that does what it is told, and remembers what it was asked.
struct Relay {
    nonce: String,
    relayed: Vec<SocketAddr>,
    lifetime: Duration,
    /// What to answer to signed requests of a method instead.
    refuse: Vec<(Method, u16)>,
    /// Whether it signs its refusals; coturn does not.
    signs: bool,
    asked: Vec<Method>,
    username: String,
    password: String,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            nonce: "nonce-1".into(),
            relayed: vec![relayed()],
            lifetime: 10 * MINUTE,
            refuse: Vec::new(),
            signs: true,
            asked: Vec::new(),
            username: "gw".into(),
            password: "secret".into(),
        }
    }
}

impl Relay {
    fn key(&self) -> Key {
        crate::turn::credentials::long_term_key(&self.username, "adit", &self.password)
    }

    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let request = Message::parse(request).unwrap();
        assert_eq!(request.class(), Class::Request);
        let challenge =
            |code, reason| Builder::error(&request, code, reason).realm("adit").nonce(&self.nonce).finish();
        if !request.has_integrity() {
            return Some(challenge(401, "Unauthenticated"));
        }
        if request.nonce().unwrap() != Some(self.nonce.as_str()) {
            return Some(challenge(438, "Stale Nonce"));
        }
        if request.verify(&self.key()).is_err() {
            return Some(challenge(401, "Unauthenticated"));
        }
        let method = request.method();
        self.asked.push(method);
        if let Some(&(_, code)) = self.refuse.iter().find(|(refused, _)| *refused == method) {
            let refusal = Builder::error(&request, code, "No");
            return Some(if self.signs {
                refusal.finish_with_integrity(&self.key())
            } else {
                refusal.finish()
            });
        }
        Some(self.grant(&request).finish_with_integrity(&self.key()))
    }

    fn grant(&self, request: &Message<'_>) -> Builder {
        let mut response = Builder::success(request);
        match request.method() {
            Method::ALLOCATE => {
                assert_eq!(request.requested_transport(), Ok(Some(17)));
                for &address in &self.relayed {
                    response = response.relayed_address(address);
                }
                response.mapped_address(addr("203.0.113.9:4000")).lifetime(self.lifetime)
            }
            Method::REFRESH => response.lifetime(request.lifetime().unwrap().unwrap_or(self.lifetime)),
            _ => response,
        }
    }

    fn count(&self, method: Method) -> usize {
        self.asked.iter().filter(|asked| **asked == method).count()
    }
}
