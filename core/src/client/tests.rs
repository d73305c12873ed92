//! The client against a hand-made relay in virtual time.

use super::*;
use crate::io::Onward;
use crate::stun::{self, Builder, Class, EvenPort, Family, Message, Method};
use crate::time::start;
use crate::turn::credentials::Key;

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
            return Some(Builder::error(&request, code, "No").finish());
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

#[test]
fn an_allocation_takes_a_challenge_and_an_answer() {
    let mut world = World::new(config());
    let mut relay = Relay::default();
    world.serve(&mut relay);
    let mapped = Some(addr("203.0.113.9:4000"));
    let allocated = Event::Allocated { relayed: vec![relayed()], mapped, lifetime: 10 * MINUTE };
    assert_eq!(world.events, [allocated]);
    assert_eq!(world.client.relayed(), [relayed()]);
    assert_eq!(relay.asked, [Method::ALLOCATE]);
}

#[test]
fn both_families_are_asked_for_as_the_rfc_wants_it() {
    let mut world = World::new(Config { families: Families::Both, ..config() });
    let request = world.requests().remove(0);
    let message = Message::parse(&request).unwrap();
    assert_eq!(message.requested_family(), Ok(None));
    assert_eq!(message.additional_family(), Ok(Some(Family::V6)));
    let mut relay = Relay { relayed: vec![addr("[2001:db8::1]:50001"), relayed()], ..Relay::default() };
    let response = relay.answer(&request).unwrap();
    world.deliver(&response);
    world.serve(&mut relay);
    assert_eq!(world.client.relayed(), [relayed(), addr("[2001:db8::1]:50001")]);

    let world = World::new(Config { families: Families::V6, ..config() }).requests().remove(0);
    assert_eq!(Message::parse(&world).unwrap().requested_family(), Ok(Some(Family::V6)));
}

#[test]
fn one_family_will_do_where_the_relay_refuses_two() {
    let mut world = World::new(Config { families: Families::Both, ..config() });
    let mut relay = Relay { refuse: vec![(Method::ALLOCATE, 440)], ..Relay::default() };
    for request in world.requests() {
        let challenge = relay.answer(&request).unwrap();
        world.deliver(&challenge);
    }
    let refused = relay.answer(&world.requests().remove(0)).unwrap();
    relay.refuse.clear();
    world.deliver(&refused);
    let request = world.requests().remove(0);
    assert_eq!(Message::parse(&request).unwrap().additional_family(), Ok(None));
    let granted = relay.answer(&request).unwrap();
    world.deliver(&granted);
    assert_eq!(world.client.relayed(), [relayed()]);
}

#[test]
fn an_unanswered_request_is_sent_seven_times_and_then_given_up() {
    let mut world = World::new(config());
    let first = world.requests();
    let begin = world.now;
    let mut sent = vec![0];
    while world.lost().is_empty() {
        let at = world.client.poll_timeout().unwrap().at;
        world.pass(at - world.now);
        let again = world.requests();
        if !again.is_empty() {
            assert_eq!(again, first, "a retransmission is the same, byte for byte");
            sent.push((world.now - begin).as_millis());
        }
    }
    // RFC 8489 §6.2.1: RTO 500 ms, Rc 7, Rm 16.
    assert_eq!(sent, [0, 500, 1500, 3500, 7500, 15_500, 31_500]);
    assert_eq!((world.now - begin).as_millis(), 39_500);
    assert_eq!(world.events[0], Event::Unanswered { since: Duration::from_millis(3500) });
    assert_eq!(world.lost(), [&Lost::Unreachable]);
}

#[test]
fn attempts_come_from_new_sockets_after_growing_delays() {
    let mut world = World::new(config());
    let mut sockets = vec![world.socket.unwrap()];
    let mut delays = Vec::new();
    for _ in 0..10 {
        let socket = world.socket.unwrap();
        let kind = std::io::ErrorKind::ConnectionRefused;
        let error = Completion::TransportError { socket, peer: server(), kind, mtu: None };
        world.client.handle_completion(world.now, error);
        world.settle();
        let Some(Event::Lost { reason: Lost::Rejected { .. }, retry_in }) = world.events.pop() else {
            panic!()
        };
        delays.push(retry_in);
        assert_eq!(world.client.poll_timeout().unwrap().at, world.now + retry_in);
        world.pass(retry_in);
        sockets.push(world.socket.unwrap());
        assert_eq!(world.requests().len(), 1);
    }
    let within = |delay: Duration, base: u64| {
        let base = Duration::from_secs(base);
        base * 3 / 4 <= delay && delay <= base * 5 / 4
    };
    for (delay, base) in delays.iter().zip([1, 2, 4, 8, 16, 32, 48, 48, 48, 48]) {
        assert!(within(*delay, base), "{delay:?} is not about {base} s");
    }
    sockets.dedup();
    assert_eq!(sockets.len(), 11);
}

#[test]
fn wrong_credentials_are_told_from_an_unreachable_relay() {
    let mut world = World::new(config());
    let mut relay = Relay { password: "another".into(), ..Relay::default() };
    world.serve(&mut relay);
    assert!(matches!(world.lost()[..], [Lost::Unauthorized { code: 401, .. }]));
    assert!(world.lost()[0].to_string().contains("does not accept the credentials"));
    // New credentials are tried at once.
    let credentials = Credentials { username: "gw".into(), password: "another".into() };
    world.client.set_credentials(world.now, credentials);
    world.settle();
    world.serve(&mut relay);
    assert_eq!(world.client.relayed(), [relayed()]);
}

#[test]
fn an_allocation_is_refreshed_at_half_its_lifetime() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    world.live(60 * MINUTE, &mut relay);
    assert_eq!(relay.asked, [Method::REFRESH; 12]);
    assert!(world.events.is_empty());
}

#[test]
fn a_relay_is_never_left_alone_for_longer_than_a_nat_remembers() {
    let mut world = World::allocated(Config { keep_alive: Duration::from_secs(25), ..config() });
    let mut relay = Relay::default();
    world.live(5 * MINUTE, &mut relay);
    assert_eq!(relay.asked, [Method::REFRESH; 12]);
    relay.refuse = vec![(Method::REFRESH, 437)];
    world.live(Duration::from_secs(30), &mut relay);
    assert_eq!(world.lost()[0], &Lost::Forgotten);
}

#[test]
fn a_stale_nonce_is_replaced_once_per_nonce() {
    let mut world = World::allocated(config());
    let mut relay = Relay { nonce: "nonce-2".into(), ..Relay::default() };
    world.live(6 * MINUTE, &mut relay);
    assert_eq!((relay.count(Method::REFRESH), world.events.len()), (1, 0));
    // A relay that calls its own nonce stale gets no third attempt.
    relay.refuse = vec![(Method::REFRESH, 438)];
    world.live(5 * MINUTE, &mut relay);
    assert!(matches!(world.lost()[..], [Lost::Unauthorized { code: 438, .. }]));
}

#[test]
fn a_forgotten_allocation_is_replaced_by_a_new_one() {
    for method in [Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND] {
        let mut world = World::allocated(config());
        let mut relay = Relay { refuse: vec![(method, 437)], ..Relay::default() };
        world.client.permit(world.now, peer().ip()).unwrap();
        world.client.bind_channel(world.now, peer()).unwrap();
        world.live(5 * MINUTE, &mut relay);
        assert_eq!(world.lost()[0], &Lost::Forgotten, "{method:?}");
        relay.refuse.clear();
        world.live(2 * MINUTE, &mut relay);
        assert_eq!(world.client.relayed(), [relayed()]);
        assert!(world.client.permissions.installed(peer().ip()), "the permission is kept");
        assert_eq!(world.client.readiness(peer()), Readiness::Absent, "the channel is not");
    }
}

/// Coturn answers 400, not 437, to CreatePermission without an allocation.
#[test]
fn a_permission_that_is_refused_all_at_once_makes_the_client_ask_for_its_allocation() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    world.client.permit(world.now, peer().ip()).unwrap();
    world.serve(&mut relay);
    relay.refuse = vec![(Method::CREATE_PERMISSION, 400), (Method::REFRESH, 437)];
    world.live(4 * MINUTE, &mut relay);
    assert_eq!(world.lost(), [&Lost::Forgotten]);
    assert_eq!(world.events.len(), 1);
}

#[test]
fn codes_are_reported_by_what_to_do_about_them() {
    for (code, expected) in
        [(486, "no room"), (508, "no room"), (442, "refuses"), (403, "does not accept"), (300, "drained")]
    {
        let mut world = World::new(config());
        let mut relay = Relay { refuse: vec![(Method::ALLOCATE, code)], ..Relay::default() };
        world.serve(&mut relay);
        let sentence = world.lost()[0].to_string();
        assert!(sentence.contains(expected) && sentence.contains(&code.to_string()), "{sentence}");
        relay.refuse.clear();
        world.live(MINUTE, &mut relay);
        assert_eq!(world.client.relayed(), [relayed()]);
    }
}

#[test]
fn renewed_credentials_are_shown_at_once_and_441_costs_the_allocation() {
    let mut world = World::allocated(config());
    let renewed = Credentials { username: "gw2".into(), password: "new".into() };
    world.client.set_credentials(world.now, renewed);
    let mut relay = Relay { username: "gw2".into(), password: "new".into(), ..Relay::default() };
    world.serve(&mut relay);
    assert_eq!((relay.asked.as_slice(), world.events.len()), (&[Method::REFRESH][..], 0));
    relay.refuse = vec![(Method::REFRESH, 441)];
    world.live(6 * MINUTE, &mut relay);
    assert!(matches!(world.lost()[..], [Lost::Unauthorized { code: 441, .. }]));
    assert_eq!(world.client.relayed(), [relayed()], "there is a new allocation");
}

#[test]
fn permissions_and_channels_are_kept_alive() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    world.client.permit(world.now, peer().ip()).unwrap();
    world.client.bind_channel(world.now, peer()).unwrap();
    assert_eq!(world.client.readiness(peer()), Readiness::Pending);
    world.serve(&mut relay);
    assert_eq!(world.client.readiness(peer()), Readiness::Bound);
    assert_eq!(world.events, [Event::ChannelBound { peer: peer() }]);
    world.live(41 * MINUTE, &mut relay);
    assert_eq!(relay.count(Method::CREATE_PERMISSION), 11);
    assert_eq!(relay.count(Method::CHANNEL_BIND), 6);
    assert_eq!(world.events.len(), 1);
}

#[test]
fn permissions_asked_for_early_are_installed_with_the_allocation() {
    let mut world = World::new(config());
    world.client.permit(world.now, peer().ip()).unwrap();
    let v6 = addr("[2001:db8::7]:1").ip();
    world.client.permit(world.now, v6).unwrap();
    world.serve(&mut Relay::default());
    assert!(world.client.permissions.installed(peer().ip()));
    assert!(matches!(world.events[1], Event::PermissionDenied { peer, code: 443, .. } if peer == v6));
    assert_eq!(world.client.peers().count(), 2);
}

#[test]
fn a_forbidden_peer_does_not_cost_the_others_theirs() {
    let mut world = World::allocated(config());
    let mut relay = Relay { refuse: vec![(Method::CREATE_PERMISSION, 403)], ..Relay::default() };
    world.client.permit(world.now, peer().ip()).unwrap();
    world.serve(&mut relay);
    let denied = Event::PermissionDenied { peer: peer().ip(), code: 403, reason: "No".into() };
    assert_eq!(world.events, [denied]);
    relay.refuse.clear();
    world.client.permit(world.now, addr("198.51.100.8:1").ip()).unwrap();
    world.serve(&mut relay);
    assert!(world.client.permissions.installed(addr("198.51.100.8:1").ip()));
    relay.refuse = vec![(Method::CHANNEL_BIND, 403)];
    world.client.bind_channel(world.now, addr("198.51.100.8:1")).unwrap();
    world.serve(&mut relay);
    assert!(matches!(world.events[1], Event::ChannelRefused { code: 403, .. }));
    assert_eq!(world.client.readiness(addr("198.51.100.8:1")), Readiness::Absent);
}

#[test]
fn data_goes_by_indication_first_and_by_channel_then() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    let send = |world: &mut World, payload: &[u8], stride| {
        let mut out = Vec::new();
        let transmit = world.client.encapsulate(world.now, peer(), payload, stride, None, &mut out);
        transmit.map(|transmit| out.chunks(transmit.stride).map(<[u8]>::to_vec).collect::<Vec<_>>())
    };
    assert_eq!(send(&mut world, b"abc", 3), None);
    assert_eq!(world.client.counters().not_ready, 1);
    world.client.permit(world.now, peer().ip()).unwrap();
    world.serve(&mut relay);

    let sent = send(&mut world, b"aaabbbc", 3).unwrap();
    let data: Vec<_> = sent.iter().map(|bytes| Message::parse(bytes).unwrap().data().unwrap()).collect();
    assert_eq!(data, [&b"aaa"[..], b"bbb", b"c"]);
    let first = Message::parse(&sent[0]).unwrap();
    assert_eq!((first.method(), first.peer_address()), (Method::SEND, Ok(Some(peer()))));

    world.client.bind_channel(world.now, peer()).unwrap();
    world.serve(&mut relay);
    let sent = send(&mut world, b"aaabbbc", 3).unwrap();
    assert_eq!(sent, [&b"\x40\0\0\x03aaa"[..], b"\x40\0\0\x03bbb", b"\x40\0\0\x01c"]);
    assert_eq!(send(&mut world, b"", 3), None);
}

#[test]
fn what_peers_send_comes_out_of_its_frame() {
    let mut world = World::allocated(config());
    let mut indication = Vec::new();
    stun::write_indication(&mut indication, Method::DATA, &[1; 12], peer(), b"hello");
    assert_eq!(world.deliver(&indication), []);
    assert_eq!(world.client.counters().unpermitted, 1);
    world.client.bind_channel(world.now, peer()).unwrap();
    world.serve(&mut Relay::default());
    assert_eq!(world.deliver(&indication), [(peer(), b"hello".to_vec())]);

    let batch = b"\x40\0\0\x03aaa\x40\0\0\x03bbb\x40\0\0\x01c";
    let received = world.deliver_from(server(), batch, 7);
    assert_eq!(received, [(peer(), b"aaa".to_vec()), (peer(), b"bbb".to_vec()), (peer(), b"c".to_vec())]);
    assert_eq!(world.deliver(b"\x40\x01\0\x01x"), []);
    assert_eq!(world.deliver(b"\x50\0\0\x01x"), []);
    assert_eq!(world.deliver_from(addr("192.0.2.1:3479"), batch, 7), []);
    let counters = world.client.counters();
    assert_eq!((counters.unknown_channel, counters.malformed, counters.foreign), (1, 1, 3));
}

#[test]
fn a_released_channel_rests_before_its_number_serves_another_peer() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    world.client.bind_channel(world.now, peer()).unwrap();
    world.serve(&mut relay);
    world.client.release_channel(peer());
    assert_eq!(world.client.readiness(peer()), Readiness::Absent);
    assert_eq!(world.deliver(b"\x40\0\0\x01x"), [(peer(), b"x".to_vec())], "the relay may still use it");
    let other = addr("198.51.100.8:1");
    world.client.bind_channel(world.now, other).unwrap();
    world.client.bind_channel(world.now, peer()).unwrap();
    world.serve(&mut relay);
    assert_eq!(world.client.channels.bound(other), Some(0x4001));
    assert_eq!(world.client.channels.bound(peer()), Some(0x4000), "the same peer gets it back");
}

#[test]
fn peers_and_channels_are_limited() {
    let mut world = World::new(config());
    let ip = |n: u32| IpAddr::from(Ipv4Addr::from(0x0800_0000 + n));
    for n in 0..1024 {
        world.client.permit(world.now, ip(n)).unwrap();
    }
    assert_eq!(world.client.permit(world.now, ip(1024)), Err(TooManyPeers(1024)));
    assert_eq!(world.client.permit(world.now, ip(3)), Ok(()));
    assert_eq!(world.client.bind_channel(world.now, peer()), Err(BindError::NoAllocation));
    world.client.forbid(ip(0));
    world.serve(&mut Relay::default());
    for port in 1..=1024 {
        world.client.bind_channel(world.now, SocketAddr::new(ip(1), port)).unwrap();
    }
    assert_eq!(world.client.bind_channel(world.now, SocketAddr::new(ip(1), 1025)), Err(BindError::NoNumber));
}

#[test]
fn a_forged_success_is_not_believed() {
    let mut world = World::new(config());
    let mut relay = Relay::default();
    let challenge = relay.answer(&world.requests().remove(0)).unwrap();
    world.deliver(&challenge);
    let request = world.requests().remove(0);
    let message = Message::parse(&request).unwrap();
    let grant = || relay.grant(&message);
    world.deliver(&grant().finish());
    world.deliver(&grant().finish_with_integrity(b"another key"));
    assert_eq!(world.client.counters().unsigned, 2);
    // Another transaction, another method.
    world.deliver(&Builder::new(Class::Success, Method::ALLOCATE, [0; 12]).finish());
    world.deliver(&Builder::new(Class::Success, Method::REFRESH, message.transaction()).finish());
    world.deliver(&request);
    assert_eq!(world.client.counters().unexpected, 3);
    assert!(world.client.relayed().is_empty() && world.events.is_empty());
    world.deliver(&relay.grant(&message).finish_with_integrity(&relay.key()));
    assert_eq!(world.client.relayed(), [relayed()]);
}

#[test]
fn an_answer_that_makes_no_sense_ends_the_attempt() {
    let mut world = World::new(config());
    let relay = Relay { relayed: vec![], ..Relay::default() };
    let mut relay = relay;
    world.serve(&mut relay);
    assert_eq!(world.lost(), [&Lost::Nonsense]);
}

#[test]
fn after_a_sleep_everything_is_refreshed_at_once() {
    let mut world = World::allocated(config());
    let mut relay = Relay::default();
    world.client.bind_channel(world.now, peer()).unwrap();
    world.serve(&mut relay);
    relay.asked.clear();
    world.client.handle_clock(world.now, UnixTime(1_800_000_000));
    world.client.handle_clock(world.now, UnixTime(1_800_000_001));
    world.serve(&mut relay);
    relay.asked.sort();
    assert_eq!(relay.asked, [Method::REFRESH, Method::CREATE_PERMISSION, Method::CHANNEL_BIND]);
    // While waiting, the next attempt begins at once.
    let mut world = World::new(config());
    world.serve(&mut Relay { password: "x".into(), ..Relay::default() });
    world.client.handle_clock(world.now, UnixTime(1_800_000_000));
    world.settle();
    assert_eq!(world.requests().len(), 1);
}

#[test]
fn closing_gives_the_allocation_back() {
    let mut world = World::allocated(config());
    world.client.close(world.now);
    let requests = world.requests();
    assert_eq!(Message::parse(&requests[0]).unwrap().lifetime(), Ok(Some(Duration::ZERO)));
    let released = Relay::default().answer(&requests[0]).unwrap();
    world.deliver(&released);
    assert_eq!(world.events, [Event::Closed]);
    assert_eq!(world.client.poll_timeout(), None);
    world.client.close(world.now);
    assert_eq!(world.events.len(), 1);
    // Without an allocation there is nothing to wait for.
    let mut world = World::new(config());
    world.client.close(world.now);
    world.settle();
    assert_eq!(world.events, [Event::Closed]);
}

#[test]
fn a_socket_that_cannot_be_bound_is_reported() {
    let now = start();
    let mut client = Client::new(config(), Clock::new(now, SECOND), now, [1; 32]);
    let Some(Event::Effect(Effect::Bind { socket, .. })) = client.poll_event() else { panic!() };
    let kind = std::io::ErrorKind::PermissionDenied;
    client.handle_completion(now, Completion::Bound { socket, result: Err(kind) });
    assert!(matches!(client.poll_event(), Some(Event::Lost { reason: Lost::NoSocket { .. }, .. })));
    // A late answer of the old socket changes nothing.
    client.handle_completion(now, Completion::Bound { socket, result: Ok(addr("10.0.0.1:1")) });
    assert_eq!(client.poll_event(), None);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(1000))]

    #[test]
    fn nothing_from_the_network_panics(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120),
        stride in 1usize..150,
    ) {
        let mut world = World::allocated(config());
        world.client.bind_channel(world.now, peer()).unwrap();
        world.deliver_from(server(), &bytes, stride);
        // The same as the body of a response to a request that waits.
        for request in world.requests() {
            let request = Message::parse(&request).unwrap();
            for class in [Class::Success, Class::Error] {
                let mut response =
                    Builder::new(class, request.method(), request.transaction()).even_port(EvenPort { reserve: true }).finish();
                response.extend_from_slice(&bytes[..bytes.len() / 4 * 4]);
                let length = (response.len() - stun::HEADER_LEN) as u16;
                response[2..4].copy_from_slice(&length.to_be_bytes());
                world.deliver(&response);
            }
        }
        world.pass(100 * SECOND);
    }
}
