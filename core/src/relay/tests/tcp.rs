//! Allocations of TCP (RFC 6062): how connections with peers are made, bound and ended.

use super::links::Caller;
use super::*;
use crate::relay::ConnectionEnd;
use crate::stun::{EvenPort, Family};
use crate::turn::credential_policy::CredentialPolicy;

const OTHER: &str = "203.0.113.10:5000";

impl Bench {
    /// An allocation of TCP.
    pub(super) fn allocate_tcp(&mut self, caller: &mut Caller) -> SocketAddr {
        self.call_by_link(caller, Method::ALLOCATE, |builder| builder.requested_transport(6)).relayed()
    }

    /// A client with an allocation of TCP, and a permission for the peer.
    pub(super) fn ready(&mut self, config: Config) -> (Caller, SocketAddr) {
        *self = Bench::new(config);
        let mut caller = self.connect(CLIENT);
        let relayed = self.allocate_tcp(&mut caller);
        assert_eq!(self.permit_by_link(&mut caller, PEER), 0);
        (caller, relayed)
    }

    fn permit_by_link(&mut self, caller: &mut Caller, peer: &str) -> u16 {
        self.call_by_link(caller, Method::CREATE_PERMISSION, |it| it.peer_address(addr(peer))).code()
    }

    /// Sends a Connect that is not answered at once, and returns the link that the driver is to open.
    pub(super) fn dial(&mut self, caller: &mut Caller, peer: &str) -> LinkId {
        let request = caller.client.sign(self.builder(Method::CONNECT).peer_address(addr(peer)));
        self.asked.clear();
        assert!(self.stream(caller, &request).is_empty());
        assert_eq!(self.message(caller), None);
        let [Effect::OpenLink { link, to, .. }] = self.asked[..] else { panic!("{:?}", self.asked) };
        assert_eq!(to, addr(peer));
        link
    }

    pub(super) fn done(&mut self, done: Completion) {
        self.asked.clear();
        self.relay.handle_completion(self.now, done);
        self.settle();
        self.relay.check();
    }

    pub(super) fn opened(&mut self, link: LinkId) {
        self.done(Completion::LinkOpened { link, local: addr("192.0.2.1:1"), remote: addr(PEER) });
    }

    fn failed(&mut self, link: LinkId, kind: ErrorKind) {
        self.done(Completion::LinkClosed { link, result: Err(kind) });
    }

    /// What a Connect that was answered later is answered.
    fn reply(&mut self, caller: &mut Caller) -> Reply {
        Reply(self.message(caller).expect("a reply"))
    }

    /// A connection with a peer that the client has asked for, and its number.
    pub(super) fn connected(&mut self, caller: &mut Caller, peer: &str) -> (LinkId, u32) {
        let link = self.dial(caller, peer);
        self.opened(link);
        let reply = self.reply(caller);
        assert_eq!(reply.code(), 0);
        (link, reply.message().connection_id().unwrap().unwrap())
    }

    /// Refuses or answers a Connect at once.
    fn connect_code(&mut self, caller: &mut Caller, peer: &str) -> u16 {
        self.call_by_link(caller, Method::CONNECT, |it| it.peer_address(addr(peer))).code()
    }

    /// A peer connects to a relayed address.
    pub(super) fn knock(&mut self, relayed: SocketAddr, peer: &str) -> Option<LinkId> {
        let listener = self.bound.iter().find(|&&(_, at)| at == relayed).expect("it is bound").0;
        self.asked.clear();
        let link = self.relay.accept(self.now, listener, relayed, addr(peer));
        self.settle();
        self.relay.check();
        link
    }

    /// The number that the client is told when a peer connects.
    fn attempt(&mut self, caller: &mut Caller, peer: &str) -> u32 {
        let indication = self.message(caller).expect("an indication");
        let message = Message::parse(&indication).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Indication, Method::CONNECTION_ATTEMPT));
        assert_eq!(message.peer_address().unwrap(), Some(addr(peer)));
        message.connection_id().unwrap().unwrap()
    }

    /// A new link of the client that is bound to a connection.
    pub(super) fn bind_to(&mut self, number: u32, from: &str) -> (Caller, u16) {
        let mut data = self.connect(from);
        let bound =
            self.call_by_link(&mut data, Method::CONNECTION_BIND, |it| it.connection_id(number)).code();
        (data, bound)
    }

    pub(super) fn over(&self, reason: ConnectionEnd) -> u64 {
        self.relay.counters().connections_ended(reason)
    }

    fn tcp_holdings(&self) -> (usize, usize) {
        (self.relay.holdings().connections, self.relay.holdings().links)
    }
}

fn bench() -> (Bench, Caller, SocketAddr) {
    let mut bench = Bench::new(config());
    let (caller, relayed) = bench.ready(config());
    (bench, caller, relayed)
}

/// RFC 6062 §5.1, 2.
#[test]
fn section_5_1_an_allocation_of_tcp_is_had_by_tcp_only() {
    let mut bench = Bench::new(config());
    let client = bench.client(CLIENT);
    let reply = bench.call(&client, Method::ALLOCATE, |builder| builder.requested_transport(6));
    assert_eq!(reply.code(), 400);
    let mut caller = bench.connect(CLIENT);
    let relayed = bench.allocate_tcp(&mut caller);
    assert!(bench.bound.iter().any(|&(_, at)| at == relayed));
    assert!(matches!(bench.news.last(), Some(Event::Allocated { relays: Transport::Tcp, .. })));
}

/// RFC 6062 §5.1, 1 and 3.
#[test]
fn section_5_1_what_makes_no_sense_for_tcp_is_400_and_other_transports_are_442() {
    let mut bench = Bench::new(config());
    let mut caller = bench.connect(CLIENT);
    let mut code = |transport, fill: fn(Builder) -> Builder| {
        let fill = |builder: Builder| fill(builder.requested_transport(transport));
        bench.call_by_link(&mut caller, Method::ALLOCATE, fill).code()
    };
    assert_eq!(code(6, Builder::dont_fragment), 400);
    assert_eq!(code(6, |it| it.even_port(EvenPort { reserve: false })), 400);
    assert_eq!(code(6, |it| it.even_port(EvenPort { reserve: true })), 400);
    assert_eq!(code(6, |it| it.reservation_token([1; 8])), 400);
    assert_eq!(code(132, |it| it), 442);
    assert_eq!(bench.relay.allocations(), 0);
}

/// RFC 6062 §5.1, 5; RFC 8656 §7.2.
#[test]
fn section_5_1_both_families_can_be_had_and_no_token() {
    let mut bench = Bench::new(config());
    let mut caller = bench.connect(CLIENT);
    let reply = bench.call_by_link(&mut caller, Method::ALLOCATE, |builder| {
        builder.requested_transport(6).additional_family(Family::V6)
    });
    let all = reply.relayed_all();
    assert!(all[0].is_ipv4() && all[1].is_ipv6() && all.len() == 2);
    assert_eq!(reply.message().reservation_token(), Ok(None));
    assert_eq!(bench.permit_by_link(&mut caller, "[2001:db8::9]:1"), 0);
    assert!(bench.knock(all[1], "[2001:db8::9]:7").is_some());
    bench.attempt(&mut caller, "[2001:db8::9]:7");
    let link = bench.dial(&mut caller, PEER);
    // One family is given up, and what goes by it ends.
    let refresh = |it: Builder| it.lifetime(Duration::ZERO).requested_family(Family::V6);
    assert_eq!(bench.call_by_link(&mut caller, Method::REFRESH, refresh).code(), 0);
    assert_eq!((bench.over(ConnectionEnd::Released), bench.tcp_holdings().0), (1, 1));
    bench.opened(link);
    assert_eq!(bench.reply(&mut caller).code(), 0);
}

#[test]
fn a_relay_without_room_for_connections_relays_no_tcp() {
    let mut config = config();
    config.connections.per_allocation = 0;
    let mut bench = Bench::new(config);
    let mut caller = bench.connect(CLIENT);
    let reply = bench.call_by_link(&mut caller, Method::ALLOCATE, |builder| builder.requested_transport(6));
    assert_eq!(reply.code(), 442);
}

/// RFC 6062 §5.2.
#[test]
fn section_5_2_the_relay_connects_from_the_relayed_address_and_tells_the_number() {
    let (mut bench, mut caller, relayed) = bench();
    let link = bench.dial(&mut caller, PEER);
    let Effect::OpenLink { from, timeout, .. } = bench.asked[0] else { panic!("it was asked to connect") };
    assert_eq!((from, timeout), (Some(relayed), Duration::from_secs(30)));
    bench.opened(link);
    // What the peer says waits in the kernel.
    assert_eq!(bench.asked, [Effect::PipeLink { link }, Effect::ReadLink { link, read: false }]);
    let reply = bench.reply(&mut caller);
    assert_eq!((reply.code(), reply.message().method()), (0, Method::CONNECT));
    assert!(reply.message().verify(&caller.client.credentials.key("adit")).is_ok());
    let other = bench.connected(&mut caller, OTHER).1;
    assert_ne!(reply.message().connection_id().unwrap(), Some(other));
    assert_eq!((bench.relay.counters().connections, bench.tcp_holdings()), (2, (2, 1)));
    assert!(matches!(bench.news.last(), Some(Event::Connected { peer, .. }) if *peer == addr(OTHER)));
}

/// RFC 6062 §5.2: being opened, waiting, and bound.
#[test]
fn section_5_2_a_second_connection_with_a_peer_is_446() {
    let (mut bench, mut caller, relayed) = bench();
    let link = bench.dial(&mut caller, PEER);
    assert_eq!(bench.connect_code(&mut caller, PEER), 446);
    bench.opened(link);
    let number = bench.reply(&mut caller).message().connection_id().unwrap().unwrap();
    assert_eq!(bench.connect_code(&mut caller, PEER), 446);
    assert_eq!(bench.bind_to(number, "198.51.100.1:4001").1, 0);
    assert_eq!(bench.connect_code(&mut caller, PEER), 446);
    assert_eq!(bench.knock(relayed, PEER), None, "nor from its side");
    assert_eq!(bench.over(ConnectionEnd::Exists), 1);
    // When it is over, the peer can be reached again.
    bench.failed(link, ErrorKind::ConnectionReset);
    bench.connected(&mut caller, PEER);
}

/// RFC 6062 §5.2.
#[test]
fn section_5_2_who_may_not_connect_is_told_why() {
    let mut bench = Bench::new(config());
    let mut nobody = bench.connect("198.51.100.1:1");
    assert_eq!(bench.connect_code(&mut nobody, PEER), 437);
    let mut udp = bench.connect("198.51.100.1:2");
    bench.call_by_link(&mut udp, Method::ALLOCATE, |builder| builder.requested_transport(17)).relayed();
    assert_eq!(bench.connect_code(&mut udp, PEER), 403, "an allocation of UDP has no connections");
    let mut caller = bench.connect(CLIENT);
    let relayed = bench.allocate_tcp(&mut caller);
    assert_eq!(bench.call_by_link(&mut caller, Method::CONNECT, |it| it).code(), 400);
    let malformed = |it: Builder| it.raw(crate::stun::attribute::XOR_PEER_ADDRESS, &[0; 5]);
    assert_eq!(bench.call_by_link(&mut caller, Method::CONNECT, malformed).code(), 400);
    for (peer, code) in [
        ("203.0.113.9:0", 400),
        ("[2001:db8::9]:5", 443),
        ("10.0.0.1:80", 403),
        ("127.0.0.1:22", 403),
        // The relay itself.
        ("192.0.2.1:3478", 403),
        (&relayed.to_string(), 403),
    ] {
        assert_eq!(bench.connect_code(&mut caller, peer), code, "{peer}");
    }
    caller.client.credentials = Credentials { username: "bob".to_owned(), password: "builder".to_owned() };
    assert_eq!(bench.connect_code(&mut caller, PEER), 441);
    assert_eq!(bench.tcp_holdings().0, 0);
    assert!(!bench.asked.iter().any(|asked| matches!(asked, Effect::OpenLink { .. })));
}

#[test]
fn a_relayed_address_connects_to_others_where_that_is_allowed_and_never_to_itself() {
    let mut config = config();
    config.allow_relayed_peers = true;
    let mut bench = Bench::new(config);
    let mut caller = bench.connect(CLIENT);
    let mut other = bench.connect("198.51.100.2:1");
    let (mine, yours) = (bench.allocate_tcp(&mut caller), bench.allocate_tcp(&mut other));
    assert_eq!(bench.connect_code(&mut caller, &mine.to_string()), 403);
    bench.dial(&mut caller, &yours.to_string());
}

/// RFC 6062 §5.2; RFC 8489 §14.8 for what is the relay's own failure.
#[test]
fn section_5_2_a_connection_that_fails_is_447() {
    let (mut bench, mut caller, _) = bench();
    for (kind, code) in [
        (ErrorKind::ConnectionRefused, 447),
        (ErrorKind::TimedOut, 447),
        (ErrorKind::HostUnreachable, 447),
        (ErrorKind::OutOfMemory, 500),
    ] {
        let link = bench.dial(&mut caller, PEER);
        bench.failed(link, kind);
        assert_eq!(bench.reply(&mut caller).code(), code, "{kind}");
    }
    assert_eq!((bench.over(ConnectionEnd::Failed), bench.tcp_holdings().0), (4, 0));
    assert_eq!(bench.relay.counters().connections, 0);
    // A driver that never answers holds nothing for ever.
    let link = bench.dial(&mut caller, PEER);
    bench.advance(34);
    assert_eq!(bench.message(&mut caller), None);
    bench.advance(1);
    assert_eq!((bench.reply(&mut caller).code(), bench.closed.pop()), (447, Some((link, Close::Reset))));
}

/// RFC 6062 §5.2, §5.3.
#[test]
fn section_5_2_what_nobody_binds_is_closed_after_thirty_seconds() {
    let (mut bench, mut caller, relayed) = bench();
    let (link, number) = bench.connected(&mut caller, PEER);
    bench.advance(1);
    let knocked = bench.knock(relayed, "203.0.113.9:6").unwrap();
    bench.attempt(&mut caller, "203.0.113.9:6");
    bench.advance(28);
    assert!(bench.closed.is_empty());
    bench.advance(1);
    assert_eq!(bench.closed, [(link, Close::Reset)]);
    bench.advance(1);
    assert_eq!(bench.closed[1], (knocked, Close::Reset));
    assert_eq!((bench.over(ConnectionEnd::NeverBound), bench.tcp_holdings().0), (2, 0));
    assert_eq!(bench.bind_to(number, "198.51.100.1:4001").1, 400);
}

/// RFC 6062 §5.3.
#[test]
fn section_5_3_a_peer_with_a_permission_is_announced() {
    let (mut bench, mut caller, relayed) = bench();
    let link = bench.knock(relayed, "203.0.113.9:1234").unwrap();
    let number = bench.attempt(&mut caller, "203.0.113.9:1234");
    assert_eq!(bench.asked, [Effect::PipeLink { link }, Effect::ReadLink { link, read: false }]);
    assert_eq!(bench.bind_to(number, "198.51.100.1:4001").1, 0);
    assert!(bench.asked.contains(&Effect::ReadLink { link, read: true }));
}

/// RFC 6062 §5.3.
#[test]
fn section_5_3_a_peer_without_a_permission_is_closed_and_nobody_is_told() {
    let (mut bench, mut caller, relayed) = bench();
    assert_eq!(bench.knock(relayed, OTHER), None);
    bench.advance(299);
    assert!(bench.knock(relayed, PEER).is_some());
    bench.attempt(&mut caller, PEER);
    bench.advance(1);
    assert_eq!(bench.knock(relayed, "203.0.113.9:5001"), None, "it has run out");
    assert_eq!((bench.message(&mut caller), bench.over(ConnectionEnd::NoPermission)), (None, 2));
    assert_eq!(bench.tcp_holdings(), (1, 1), "nor is a connection of a client counted");
}

/// RFC 6062 §5.4.
#[test]
fn section_5_4_only_a_number_that_waits_can_be_bound_and_only_by_its_user() {
    let (mut bench, mut caller, _) = bench();
    let (_, number) = bench.connected(&mut caller, PEER);
    let client = bench.client("198.51.100.1:5");
    let by_udp = bench.call(&client, Method::CONNECTION_BIND, |it| it.connection_id(number));
    assert_eq!(by_udp.code(), 400);
    let mut code = |from: &str, username: &str, password: &str, fill: &dyn Fn(Builder) -> Builder| {
        let mut data = bench.connect(from);
        let (username, password) = (username.to_owned(), password.to_owned());
        data.client.credentials = Credentials { username, password };
        bench.call_by_link(&mut data, Method::CONNECTION_BIND, fill).code()
    };
    assert_eq!(code("198.51.100.1:6", "alice", "wonder", &|it| it), 400);
    let short = |it: Builder| it.raw(crate::stun::attribute::CONNECTION_ID, &[1, 2]);
    assert_eq!(code("198.51.100.1:7", "alice", "wonder", &short), 400);
    assert_eq!(code("198.51.100.1:8", "alice", "wonder", &|it| it.connection_id(number ^ 1)), 400);
    assert_eq!(code("198.51.100.1:9", "bob", "builder", &|it| it.connection_id(number)), 400);
    assert_eq!(code("198.51.100.1:10", "alice", "wonder", &|it| it.connection_id(number)), 0);
    assert_eq!(code("198.51.100.1:11", "alice", "wonder", &|it| it.connection_id(number)), 400, "once only");
    // A link with an allocation of its own is needed for that.
    let (_, number) = bench.connected(&mut caller, OTHER);
    let bound = bench.call_by_link(&mut caller, Method::CONNECTION_BIND, |it| it.connection_id(number));
    assert_eq!(bound.code(), 400);
    assert_eq!(bench.relay.allocations(), 1);
}

#[test]
fn strangers_are_challenged_for_connections_as_for_everything_else() {
    let mut bench = Bench::new(config());
    let link = bench.accept(CLIENT).unwrap();
    let mut caller = Caller::silent(link, addr(CLIENT));
    for method in [Method::CONNECT, Method::CONNECTION_BIND] {
        let request = bench.builder(method).connection_id(1).finish();
        bench.stream(&caller, &request);
        let reply = bench.reply(&mut caller);
        assert_eq!((reply.code(), reply.message().method()), (401, method));
    }
}

/// RFC 6062 §5.5.
#[test]
fn section_5_5_connections_end_with_their_allocation() {
    for ending in 0..4 {
        let (mut bench, mut caller, relayed) = bench();
        let (peer, number) = bench.connected(&mut caller, PEER);
        let (data, bound) = bench.bind_to(number, "198.51.100.1:4001");
        assert_eq!(bound, 0);
        let waiting = bench.knock(relayed, "203.0.113.9:9").unwrap();
        bench.attempt(&mut caller, "203.0.113.9:9");
        let opening = bench.dial(&mut caller, OTHER);
        match ending {
            0 => {
                let refresh = caller.client.sign(bench.builder(Method::REFRESH).lifetime(Duration::ZERO));
                bench.stream(&caller, &refresh);
            }
            1 => {
                bench.advance(600);
            }
            2 => {
                bench.relay.revoke(bench.now, "alice");
            }
            _ => bench.done(Completion::LinkClosed { link: caller.link, result: Ok(()) }),
        }
        bench.settle();
        bench.relay.check();
        for link in [peer, data.link, waiting, opening] {
            assert_eq!(bench.closed.iter().filter(|&&(closed, _)| closed == link).count(), 1, "{ending}");
        }
        assert_eq!((bench.relay.allocations(), bench.tcp_holdings().0), (0, 0));
        let told = |event: &&Event| matches!(event, Event::Disconnected { .. });
        assert_eq!(bench.news.iter().filter(told).count(), 2);
        // What comes late finds nothing.
        bench.opened(opening);
        bench.relay.handle_bytes(bench.now, peer, b"late");
        bench.done(Completion::LinkFinished { link: peer });
        bench.done(Completion::LinkClosed { link: waiting, result: Ok(()) });
        if ending == 3 {
            assert_eq!(bench.relay.holdings(), Bench::new(config()).relay.holdings());
            assert_eq!(bench.relay.poll_timeout(), None);
        }
    }
}

#[test]
fn peers_that_are_denied_lose_their_connections() {
    let (mut bench, mut caller, _) = bench();
    let (link, _) = bench.connected(&mut caller, PEER);
    let (kept, _) = bench.connected(&mut caller, OTHER);
    let opening = bench.dial(&mut caller, "203.0.113.9:7");
    let policy = bench.relay.config.policy.clone();
    let denied = crate::turn::address_policy::Network::new(ip("203.0.113.9"), 32);
    bench.relay.set_policy(bench.now, policy.deny(denied), false);
    bench.settle();
    bench.relay.check();
    bench.closed.sort_unstable_by_key(|&(link, _)| link);
    assert_eq!(bench.closed, [(link, Close::Reset), (opening, Close::Reset)]);
    assert_eq!(bench.reply(&mut caller).code(), 403);
    assert_eq!((bench.over(ConnectionEnd::Denied), bench.tcp_holdings().0), (2, 1));
    assert!(!bench.closed.iter().any(|&(link, _)| link == kept));
}

#[test]
fn renewed_credentials_that_permit_less_end_connections() {
    let mut bench = Bench::new(config());
    let limited = |expiry: u64, peers: &[&str]| {
        let peers = peers.iter().map(|peer| ip(peer).into()).collect();
        let policy = CredentialPolicy { peers, max_allocations: None, any_public: false };
        Credentials::limited(SECRET, UnixTime(1_800_000_000 + expiry), "gw", Some(&policy)).unwrap()
    };
    let mut caller = bench.connect(CLIENT);
    caller.client.credentials = limited(0, &["203.0.113.9", "203.0.113.10"]);
    bench.allocate_tcp(&mut caller);
    let (link, _) = bench.connected(&mut caller, PEER);
    bench.connected(&mut caller, OTHER);
    caller.client.credentials = limited(1, &["203.0.113.10"]);
    assert_eq!(bench.call_by_link(&mut caller, Method::REFRESH, |it| it).code(), 0);
    assert_eq!((bench.closed.clone(), bench.over(ConnectionEnd::Denied)), (vec![(link, Close::Reset)], 1));
    assert_eq!(bench.connect_code(&mut caller, PEER), 403);
}

#[test]
fn connections_are_limited_in_all_by_allocation_and_while_they_wait() {
    let mut small = config();
    (small.connections.total, small.connections.per_allocation, small.connections.pending) = (4, 3, 2);
    let mut bench = Bench::new(config());
    let (mut caller, relayed) = bench.ready(small);
    let (_, first) = bench.connected(&mut caller, PEER);
    bench.dial(&mut caller, OTHER);
    assert_eq!(bench.connect_code(&mut caller, "203.0.113.11:1"), 508, "two wait");
    assert_eq!((bench.knock(relayed, "203.0.113.9:1"), bench.over(ConnectionEnd::TooMany)), (None, 1));
    assert_eq!(bench.bind_to(first, "198.51.100.1:4001").1, 0);
    bench.connected(&mut caller, "203.0.113.11:1");
    assert_eq!(bench.connect_code(&mut caller, "203.0.113.11:2"), 508, "three of one allocation");
    let mut other = bench.connect("198.51.100.2:1");
    bench.allocate_tcp(&mut other);
    bench.connected(&mut other, PEER);
    assert_eq!(bench.connect_code(&mut other, OTHER), 508, "four in all");
    let limits = ConnectionLimits { total: 5, ..bench.relay.config.connections };
    bench.relay.set_connection_limits(bench.now, limits);
    bench.connected(&mut other, OTHER);
}

/// Its data goes by connections.
#[test]
fn send_and_channels_are_not_for_allocations_of_tcp() {
    let (mut bench, mut caller, _) = bench();
    let bound = bench.call_by_link(&mut caller, Method::CHANNEL_BIND, |builder| {
        builder.channel_number(0x4000).peer_address(addr(PEER))
    });
    assert_eq!(bound.code(), 403);
    let send = Builder::new(Class::Indication, Method::SEND, [9; 12]).peer_address(addr(PEER)).data(b"ping");
    assert!(bench.stream(&caller, &send.finish()).is_empty());
    assert!(bench.stream(&caller, b"\x40\x00\x00\x04ping").is_empty());
    assert_eq!((bench.dropped(Drop::NotUdp), bench.dropped(Drop::NoChannel)), (1, 1));
}

/// RFC 8016: the client is told of peers where it is now; and it must be where it can be told.
#[test]
fn an_allocation_of_tcp_moves_to_another_link_and_not_to_udp() {
    let mut bench = Bench::new(config());
    let mut caller = bench.connect(CLIENT);
    let allocated = bench.call_by_link(&mut caller, Method::ALLOCATE, |builder| {
        builder.requested_transport(6).mobility_ticket(&[])
    });
    let ticket = allocated.message().mobility_ticket().unwrap().to_vec();
    assert_eq!(bench.permit_by_link(&mut caller, PEER), 0);
    let (_, number) = bench.connected(&mut caller, PEER);
    let (data, _) = bench.bind_to(number, "198.51.100.1:4001");
    bench.done(Completion::LinkClosed { link: caller.link, result: Err(ErrorKind::ConnectionReset) });
    assert!(bench.closed.is_empty(), "its connections live on with it");
    let client = bench.client(CLIENT);
    let moved = bench.call(&client, Method::REFRESH, |builder| builder.mobility_ticket(&ticket));
    assert_eq!(moved.code(), 400);
    let mut again = bench.connect("198.51.100.7:7");
    let moved = bench.call_by_link(&mut again, Method::REFRESH, |builder| builder.mobility_ticket(&ticket));
    assert_eq!(moved.code(), 0);
    bench.knock(allocated.relayed(), "203.0.113.9:77").unwrap();
    bench.attempt(&mut again, "203.0.113.9:77");
    bench.stream(&data, b"still there");
    assert_eq!(bench.relay.counters().to_peers.bytes, 11);
}
