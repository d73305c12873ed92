//! A relay with its driver, its clients and a model of what it has granted them.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use adit_core::io::{Completion, Datagrams, Effect, Forwards, Onward, SocketId, SocketKind, To};
use adit_core::relay::{Config, Event, Listen, Relay, RelayAddress, ReplyBudget};
use adit_core::stun::{Builder, Class, Message, Method};
use adit_core::time::{Clock, UnixTime};
use adit_core::turn::address_policy::{Network, Policy};
use adit_core::turn::credential_policy::CredentialPolicy;
use adit_core::turn::credentials::{Authenticator, Credentials};

/// A small relay, so that limits are met.
pub(super) const TOTAL_QUOTA: u32 = 5;
const CLIENTS: u8 = 4;
const LISTENING: u16 = 3478;
const START: Duration = Duration::from_secs(1_700_000_000);
/// A permission lives five minutes (RFC 8656 §9), a channel ten (§12), and each binding renews the permission.
const PERMISSION: Duration = Duration::from_secs(300);
const CHANNEL: Duration = Duration::from_secs(600);

/// A relay at 192.0.2.1 and 2001:db8::1, and all that it talks to.
pub(super) struct Bench {
    relay: Relay,
    now: Instant,
    unix: Duration,
    bound: Vec<(SocketId, SocketAddr)>,
    held: Vec<(SocketId, SocketAddr)>,
    holding: bool,
    nonces: BTreeMap<u8, String>,
    token: [u8; 8],
    policy: Option<CredentialPolicy>,
    renewed: u64,
    transactions: u64,
    /// Whose each relayed address is.
    owners: BTreeMap<SocketAddr, SocketAddr>,
    /// Until when a client's peer may be heard and reached at the latest.
    permitted: BTreeMap<(SocketAddr, IpAddr), Instant>,
    /// Until when it may be reached through a channel: that needs no permission (RFC 8656 §12.6).
    channels: BTreeMap<(SocketAddr, IpAddr), Instant>,
}

/// The peers: some that may be reached, one behind each other address of the relay, and forbidden ones.
pub(super) fn peer(index: u8) -> SocketAddr {
    match index % 8 {
        0..=2 => SocketAddr::new([203, 0, 113, index % 8].into(), 5000),
        3 | 4 => SocketAddr::new(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 9]), u16::from(index % 8)),
        5 => SocketAddr::new([192, 0, 2, 1].into(), LISTENING),
        6 => SocketAddr::new([127, 0, 0, 1].into(), 5432),
        _ => SocketAddr::new(IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xa9fe, 0xa9fe]), 80),
    }
}

/// The relay's policy, said another way.
pub(super) fn is_reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => matches!(ip.octets(), [203, 0, 113, _] | [192, 0, 2, _]),
        IpAddr::V6(ip) => matches!(ip.segments(), [0x2001, 0xdb8, ..]),
    }
}

fn config(secret: &[u8]) -> Config {
    let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let mut config = Config::new(authenticator(secret));
    let (v4, v6) = (address("192.0.2.1"), address("2001:db8::1"));
    config.listen = [v4, v6].map(|ip| Listen::udp(SocketAddr::new(ip, LISTENING))).to_vec();
    (config.ipv4, config.ipv6) = (Some(RelayAddress::direct(v4)), Some(RelayAddress::direct(v6)));
    let networks = [("203.0.113.0", 24), ("192.0.2.0", 24), ("2001:db8::", 32)];
    config.policy = networks.iter().fold(Policy::default_deny(), |policy, (base, bits)| {
        policy.allow(Network::new(address(base), *bits))
    });
    config.ports = 50000..=50005;
    (config.max_permissions, config.max_channels) = (3, 2);
    (config.user_quota, config.total_quota) = (Some(3), Some(TOTAL_QUOTA));
    config.reply_budget = ReplyBudget { rate: 1000, burst: 100_000 };
    config
}

fn authenticator(secret: &[u8]) -> Authenticator {
    Authenticator::new("adit").with_user("alice", "wonder").with_secret(secret)
}

impl Bench {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let relay = Relay::new(config(b"north"), Clock::new(now, START), now, [7; 32]);
        let mut bench = Self {
            relay,
            now,
            unix: START,
            bound: Vec::new(),
            held: Vec::new(),
            holding: false,
            nonces: BTreeMap::new(),
            token: [0; 8],
            policy: None,
            renewed: 0,
            transactions: 0,
            owners: BTreeMap::new(),
            permitted: BTreeMap::new(),
            channels: BTreeMap::new(),
        };
        bench.settle();
        bench
    }

    /// Signs a request with what `fill` adds, sends it, and notes what the reply grants.
    pub(super) fn request(&mut self, client: u8, method: Method, fill: impl Fn(Builder) -> Builder) {
        let request = self.signed(client, method, &fill);
        self.send_from_client(client, &request, request.len());
    }

    /// A signed request with damage.
    pub(super) fn spoilt(&mut self, client: u8, method: Method, at: u16, bits: u8) {
        let fill =
            |builder: Builder| builder.requested_transport(17).peer_address(peer(0)).channel_number(0x4000);
        let mut request = self.signed(client, method, &fill);
        let at = usize::from(at) % request.len();
        request[at] ^= bits;
        self.send_from_client(client, &request, request.len());
    }

    fn signed(&mut self, client: u8, method: Method, fill: &dyn Fn(Builder) -> Builder) -> Vec<u8> {
        if !self.nonces.contains_key(&(client % CLIENTS)) {
            let question = self.builder(Class::Request, Method::ALLOCATE).requested_transport(17).finish();
            self.send_from_client(client, &question, question.len());
        }
        let nonce = self.nonces.get(&(client % CLIENTS)).cloned().unwrap_or_default();
        let credentials = self.credentials(client);
        let builder = fill(self.builder(Class::Request, method));
        let builder = builder.username(&credentials.username).realm("adit").nonce(&nonce);
        builder.finish_with_integrity(&credentials.key("adit"))
    }

    pub(super) fn indicate(&mut self, client: u8, peer: SocketAddr, data: &[u8]) {
        let indication = self.builder(Class::Indication, Method::SEND).peer_address(peer).data(data).finish();
        self.send_from_client(client, &indication, indication.len());
    }

    fn builder(&mut self, class: Class, method: Method) -> Builder {
        self.transactions += 1;
        let mut transaction = [0; 12];
        transaction[..8].copy_from_slice(&self.transactions.to_be_bytes());
        Builder::new(class, method, transaction)
    }

    fn credentials(&self, client: u8) -> Credentials {
        if client.is_multiple_of(2) {
            return Credentials { username: "alice".to_owned(), password: "wonder".to_owned() };
        }
        let expiry = UnixTime(1_800_000_000 + self.renewed);
        Credentials::limited(b"north", expiry, "gw", self.policy.as_ref()).expect("a short policy")
    }

    /// Datagrams of `stride` bytes from a client. Even clients come over IPv4, and two of four over IPv6.
    pub(super) fn send_from_client(&mut self, client: u8, bytes: &[u8], stride: usize) {
        let from = address_of(client);
        let listening =
            self.bound.iter().find(|(_, at)| at.port() == LISTENING && at.is_ipv4() == from.is_ipv4());
        let (socket, _) = *listening.expect("the relay listens");
        self.deliver(socket, from, bytes, stride);
    }

    /// Datagrams from a peer to a relayed address, or to a listening one.
    pub(super) fn send_from_peer(&mut self, peer: SocketAddr, socket: u8, bytes: &[u8], stride: usize) {
        let (socket, _) = self.bound[usize::from(socket) % self.bound.len()];
        self.deliver(socket, peer, bytes, stride);
    }

    fn deliver(&mut self, socket: SocketId, remote: SocketAddr, bytes: &[u8], stride: usize) {
        let mut payload = bytes.to_vec();
        let stride = stride.max(1);
        let mut batch = Datagrams { socket, remote, local: None, ecn: None, stride, payload: &mut payload };
        let mut forwards = Forwards::default();
        self.relay.handle_datagrams(self.now, batch.reborrow(), &mut forwards);
        for run in forwards.runs() {
            let Onward::Send { socket: from, to, .. } = run.onward else { panic!("a relay owns nothing") };
            assert!(run.segments.end <= batch.len());
            match self.relayed(from) {
                Some(owner) => self.reaches(owner, to.ip()),
                None => self.hears(to, remote.ip()),
            }
        }
        let received = bytes.to_vec();
        self.settle_after(remote, &received);
    }

    /// A peer is reached only by a permission or a channel that holds, and never against the relay's policy.
    fn reaches(&self, client: SocketAddr, peer: IpAddr) {
        let holds = |until: Option<&Instant>| until.is_some_and(|until| self.now < *until);
        let (permission, channel) = (self.permitted.get(&(client, peer)), self.channels.get(&(client, peer)));
        assert!(holds(permission) || holds(channel), "{peer} has no permission of {client}");
        assert!(is_reachable(peer), "{peer} is forbidden");
    }

    /// A peer is heard only by a permission that holds.
    fn hears(&self, client: SocketAddr, peer: IpAddr) {
        let until = self.permitted.get(&(client, peer));
        assert!(until.is_some_and(|until| self.now < *until), "{peer} has no permission of {client}");
    }

    /// Who owns a relayed socket; `None` for a listening one.
    fn relayed(&self, socket: SocketId) -> Option<SocketAddr> {
        let (_, at) = self.bound.iter().find(|(other, _)| *other == socket).expect("it is bound");
        (at.port() != LISTENING).then(|| *self.owners.get(at).expect("its client was told"))
    }

    fn settle(&mut self) {
        self.settle_after(SocketAddr::new([0; 4].into(), 0), &[]);
    }

    /// The driver's part, until nothing is left to do. `request` is what came last.
    fn settle_after(&mut self, remote: SocketAddr, request: &[u8]) {
        loop {
            let mut out = Vec::new();
            while let Some(transmit) = self.relay.poll_transmit(self.now, NonZeroUsize::MIN, &mut out) {
                let To::Udp { socket, to } = transmit.to else { panic!("there are no links") };
                assert_eq!(transmit.stride, out.len());
                assert!(self.relayed(socket).is_none(), "replies leave from listening sockets");
                self.hear(to, (remote, request), &std::mem::take(&mut out));
            }
            let Some(event) = self.relay.poll_event() else { return };
            self.handle(event);
        }
    }

    /// What a client learns from a message of the relay.
    fn hear(&mut self, client: SocketAddr, (from, request): (SocketAddr, &[u8]), bytes: &[u8]) {
        let message = Message::parse(bytes).expect("a relay sends messages");
        if message.class() == Class::Indication {
            let peer = message.peer_address().expect("a good address").expect("data has a peer");
            assert_eq!(peer, from);
            return self.hears(client, peer.ip());
        }
        if let (Ok(Some(nonce)), Some(index)) = (message.nonce(), index_of(client)) {
            self.nonces.insert(index, nonce.to_owned());
        }
        if let Ok(Some(token)) = message.reservation_token() {
            self.token = token;
        }
        if message.class() != Class::Success {
            return;
        }
        match message.method() {
            Method::ALLOCATE => {
                let relayed = message.relayed_addresses().map(|address| address.expect("a good address"));
                self.owners.extend(relayed.map(|address| (address, client)));
            }
            method @ (Method::CREATE_PERMISSION | Method::CHANNEL_BIND) => {
                assert!(message.has_integrity(), "grants are signed");
                let request = Message::parse(request).expect("it was answered");
                for peer in request.peer_addresses().map(|peer| peer.expect("it was granted").ip()) {
                    self.permitted.insert((client, peer), self.now + PERMISSION);
                    if method == Method::CHANNEL_BIND {
                        self.channels.insert((client, peer), self.now + CHANNEL);
                    }
                }
            }
            _ => {}
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Effect(Effect::Bind { socket, addr, kind }) => {
                assert!(self.bound.iter().all(|(_, at)| *at != addr), "{addr} is bound already");
                match self.holding && kind == SocketKind::Relayed {
                    true => self.held.push((socket, addr)),
                    false => self.complete(socket, addr, true),
                }
            }
            Event::Effect(Effect::Unbind { socket }) => {
                self.bound.retain(|(other, _)| *other != socket);
                self.held.retain(|(other, _)| *other != socket);
            }
            Event::Effect(other) => panic!("a relay never asks for {other:?}"),
            Event::Released { client, .. } => {
                self.permitted.retain(|(of, _), _| *of != client);
                self.channels.retain(|(of, _), _| *of != client);
            }
            Event::Listening { .. }
            | Event::ListenFailed { .. }
            | Event::Allocated { .. }
            | Event::Refused { .. }
            | Event::Drained => {}
            Event::HandOver(_) => panic!("it is the only shard"),
            Event::Moved { .. } => panic!("nobody has a ticket"),
            Event::Connected { .. } | Event::Disconnected { .. } => panic!("nobody comes by TCP"),
        }
    }

    fn complete(&mut self, socket: SocketId, addr: SocketAddr, succeeds: bool) {
        if succeeds {
            self.bound.push((socket, addr));
        }
        let result = if succeeds { Ok(addr) } else { Err(ErrorKind::AddrInUse) };
        self.relay.handle_completion(self.now, Completion::Bound { socket, result });
    }

    /// Answers what was held.
    pub(super) fn answer(&mut self, succeeds: bool) {
        for (socket, addr) in std::mem::take(&mut self.held) {
            self.complete(socket, addr, succeeds);
        }
        self.settle();
    }

    pub(super) fn set_holding(&mut self, holding: bool) {
        self.holding = holding;
    }

    pub(super) fn renew(&mut self, policy: Option<CredentialPolicy>, later: u64) {
        (self.policy, self.renewed) = (policy, later);
    }

    pub(super) fn replace_secret(&mut self, old: bool) {
        let secret: &[u8] = if old { b"north" } else { b"south" };
        self.relay.set_authenticator(self.now, authenticator(secret));
        self.settle();
    }

    pub(super) fn set_clock(&mut self, forward: bool, by: Duration) {
        self.unix = if forward { self.unix + by } else { self.unix.saturating_sub(by) };
        self.relay.handle_clock(self.now, UnixTime(self.unix.as_secs()));
        self.settle();
    }

    /// Lets time pass in one leap, so that everything is late.
    pub(super) fn pass(&mut self, time: Duration) {
        (self.now, self.unix) = (self.now + time, self.unix + time);
        self.relay.handle_timeout(self.now);
        self.settle();
        assert!(self.next_deadline().is_none_or(|next| next > self.now), "it asks for what is over");
    }

    /// The token of the port that was reserved last.
    pub(super) fn token(&self) -> [u8; 8] {
        self.token
    }

    pub(super) fn allocations(&self) -> usize {
        self.relay.allocations()
    }

    pub(super) fn bound(&self) -> usize {
        self.bound.len()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.relay.poll_timeout().map(|deadline| deadline.at)
    }

    pub(super) fn check(&self) {
        self.relay.check();
        assert!(self.bound.len() + self.held.len() <= 2 + 12, "there are twelve relayed ports");
        let counters = self.relay.counters();
        assert_eq!(self.relay.status().dropped, counters.dropped_in_all());
    }
}

fn address_of(client: u8) -> SocketAddr {
    let client = client % CLIENTS;
    let ip = match client {
        0 | 1 => [198, 51, 100, 1].into(),
        _ => IpAddr::from([0x2001, 0xdb8, 1, 0, 0, 0, 0, 1]),
    };
    SocketAddr::new(ip, 4000 + u16::from(client))
}

fn index_of(client: SocketAddr) -> Option<u8> {
    (0..CLIENTS).find(|index| address_of(*index) == client)
}
