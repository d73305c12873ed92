//! Bytes between a client's link and its peer's (RFC 6062 §5.4, §5.5).

use std::num::NonZeroU64;

use proptest::prelude::*;

use super::links::Caller;
use super::secured::{Secret, nonce, secured};
use super::*;
use crate::relay::{ConnectionEnd, LinkEnd};

/// A connection that is bound: the link of the client's data, and that of the peer.
struct Bound {
    bench: Bench,
    caller: Caller,
    data: Caller,
    peer: LinkId,
}

fn bound_with(change: impl FnOnce(&mut Config)) -> Bound {
    let mut config = config();
    change(&mut config);
    let mut bench = Bench::new(super::config());
    let (mut caller, _) = bench.ready(config);
    let (peer, number) = bench.connected(&mut caller, PEER);
    let (data, code) = bench.bind_to(number, "198.51.100.1:4001");
    assert_eq!(code, 0);
    bench.streams.remove(&data.link);
    bench.asked.clear();
    Bound { bench, caller, data, peer }
}

fn bound() -> Bound {
    bound_with(|_| ())
}

impl Bound {
    fn client_says(&mut self, bytes: &[u8]) {
        self.bench.stream(&self.data, bytes);
    }

    fn peer_says(&mut self, bytes: &[u8]) {
        self.bench.relay.handle_bytes(self.bench.now, self.peer, bytes);
        self.bench.settle();
        self.bench.relay.check();
    }

    /// What the other end of a link has got.
    fn got(&mut self, link: LinkId) -> Vec<u8> {
        self.bench.streams.remove(&link).unwrap_or_default()
    }

    fn finished(&mut self, link: LinkId) {
        self.bench.done(Completion::LinkFinished { link });
    }

    /// The kernel takes everything again.
    fn flow(&mut self, link: LinkId) {
        self.bench.stuck = false;
        self.bench.done(Completion::Writable { link });
    }

    fn asks_to_read(&self, link: LinkId) -> Option<bool> {
        self.bench.asked.iter().rev().find_map(|asked| match asked {
            Effect::ReadLink { link: of, read } if *of == link => Some(*read),
            _ => None,
        })
    }

    fn finishes(&self, link: LinkId) -> bool {
        self.bench.asked.contains(&Effect::FinishLink { link })
    }
}

/// RFC 6062 §5.4: as they are, whatever they look like.
#[test]
fn section_5_4_bytes_go_both_ways_as_they_are() {
    let mut it = bound();
    let (data, peer) = (it.data.link, it.peer);
    it.client_says(b"\xff no message");
    it.client_says(b"\x00\x01\x00\x00");
    it.peer_says(b"\x40\x00\x00\x01");
    assert_eq!(it.got(peer), b"\xff no message\x00\x01\x00\x00");
    assert_eq!(it.got(data), b"\x40\x00\x00\x01", "without padding");
    let counters = it.bench.relay.counters();
    assert_eq!((counters.to_peers, counters.to_clients), (flow(16), flow(4)));
    // It is silent for as long as it likes.
    it.bench.advance(300);
    assert!(it.bench.closed.is_empty());
    let refresh = it.bench.call_by_link(&mut it.caller, Method::REFRESH, |it| it.lifetime(Duration::ZERO));
    assert_eq!(refresh.code(), 0);
    assert!(
        it.bench
            .news
            .iter()
            .any(|event| matches!(event, Event::Disconnected { to_peer: 16, to_client: 4, .. }))
    );
    let Some(Event::Released { usage, .. }) = it.bench.news.last() else { panic!("it was released") };
    assert_eq!((usage.to_peers, usage.to_clients), (flow(16), flow(4)));
}

fn flow(bytes: u64) -> Flow {
    Flow { packets: 0, bytes }
}

/// RFC 6062 §5.4: the client may speak at once, and the peer may have spoken already.
#[test]
fn section_5_4_nothing_is_lost_around_the_request() {
    let mut bench = Bench::new(config());
    let (mut caller, _) = bench.ready(config());
    let (peer, number) = bench.connected(&mut caller, PEER);
    // A driver that reads although it was told not to.
    bench.relay.handle_bytes(bench.now, peer, b"early ");
    let mut data = bench.connect("198.51.100.1:4001");
    let request = data.client.sign(bench.builder(Method::CONNECTION_BIND).connection_id(number));
    bench.asked.clear();
    bench.stream(&data, &[&request[..], b"behind it"].concat());
    assert_eq!(bench.streams.remove(&peer).unwrap(), b"behind it");
    let read = bench.asked.contains(&Effect::ReadLink { link: peer, read: true });
    assert!(read && bench.asked.contains(&Effect::PipeLink { link: data.link }));
    bench.relay.handle_bytes(bench.now, peer, b"and late");
    bench.settle();
    let reply = bench.message(&mut data).unwrap();
    data.client.check(&request, &reply);
    assert!(bench.streams[&data.link].ends_with(b"early and late"));
}

/// RFC 6062 §5.4: over TLS as well, the reply in a record of its own.
#[test]
fn section_5_4_a_connection_is_bound_over_tls() {
    let (mut bench, trust) = secured(|_| ());
    let mut secret = Secret::connect(&mut bench, CLIENT, trust.clone());
    let greet = |secret: &mut Secret, bench: &mut Bench| {
        let request = bench.builder(Method::ALLOCATE).requested_transport(6).finish();
        secret.say(bench, &request);
        secret.caller.client.nonce = nonce(&secret.message());
    };
    greet(&mut secret, &mut bench);
    secret.call(&mut bench, Method::ALLOCATE, |builder| builder.requested_transport(6)).relayed();
    let request = secret.caller.client.sign(bench.builder(Method::CONNECT).peer_address(addr(PEER)));
    bench.asked.clear();
    secret.say(&mut bench, &request);
    let [Effect::OpenLink { link: peer, .. }] = bench.asked[..] else { panic!("{:?}", bench.asked) };
    bench.opened(peer);
    secret.listen(&mut bench);
    let reply = secret.message();
    let number = Message::parse(&reply).unwrap().connection_id().unwrap().unwrap();

    let mut data = Secret::connect(&mut bench, "198.51.100.1:4001", trust);
    greet(&mut data, &mut bench);
    bench.relay.handle_bytes(bench.now, peer, b"early");
    let request = data.caller.client.sign(bench.builder(Method::CONNECTION_BIND).connection_id(number));
    bench.stuck = true;
    let mut sealed = Vec::new();
    assert!(data.tls.seal(&[&request[..], b"hello"].concat(), &mut sealed));
    bench.stream(&data.caller, &sealed);
    assert_eq!(bench.streams.remove(&peer).unwrap(), b"hello");
    data.listen(&mut bench);
    let reply = data.message();
    data.caller.client.check(&request, &reply);
    bench.stuck = false;
    bench.done(Completion::Writable { link: data.caller.link });
    bench.done(Completion::Writable { link: peer });
    data.listen(&mut bench);
    assert_eq!(data.heard, b"early");
    data.heard.clear();
    // Many records, and what it says after a while.
    bench.relay.handle_bytes(bench.now, peer, &[7; 100_000]);
    bench.settle();
    data.listen(&mut bench);
    assert!(data.heard == [7; 100_000]);
    data.heard.clear();
    // The client has said everything: TLS's goodbye is the end, and the peer may go on.
    let mut goodbye = Vec::new();
    data.tls.close(&mut goodbye);
    bench.asked.clear();
    bench.stream(&data.caller, &goodbye);
    assert!(bench.asked.contains(&Effect::FinishLink { link: peer }));
    bench.done(Completion::LinkFinished { link: data.caller.link });
    bench.relay.handle_bytes(bench.now, peer, b"last words");
    bench.settle();
    bench.done(Completion::LinkFinished { link: peer });
    data.listen(&mut bench);
    assert_eq!(data.heard, b"last words");
    assert!(data.tls.has_ended(), "and so says the relay");
    assert_eq!(bench.closed, [(data.caller.link, Close::Finish), (peer, Close::Finish)]);
    assert_eq!((bench.over(ConnectionEnd::Closed), bench.relay.holdings().links), (1, 1));
}

/// What is cut off must not look whole.
#[test]
fn tls_without_its_goodbye_breaks_the_connection() {
    let (mut bench, trust) = secured(|_| ());
    let (mut caller, _) = {
        let config = std::mem::replace(&mut bench.relay.config, config());
        bench.ready(config)
    };
    let (peer, number) = bench.connected(&mut caller, PEER);
    let mut data = Secret::connect(&mut bench, "198.51.100.1:4001", trust);
    let request = bench.builder(Method::ALLOCATE).requested_transport(6).finish();
    data.say(&mut bench, &request);
    data.caller.client.nonce = nonce(&data.message());
    let bound = data.call(&mut bench, Method::CONNECTION_BIND, |it| it.connection_id(number));
    assert_eq!(bound.code(), 0);
    bench.done(Completion::LinkFinished { link: data.caller.link });
    assert!(bench.closed.contains(&(peer, Close::Reset)));
    assert_eq!(bench.over(ConnectionEnd::Broken), 1);
}

/// The end that is slow holds the other one back, and what waits has an end.
#[test]
fn a_slow_reader_holds_the_writer_back() {
    let mut it = bound();
    let (data, peer) = (it.data.link, it.peer);
    it.bench.stuck = true;
    let mut sent = 0;
    while it.asks_to_read(data) != Some(false) {
        it.client_says(&[7; 10_000]);
        sent += 10_000;
        assert!(sent < 1_000_000, "it is never held back");
    }
    assert!(it.bench.relay.holdings().link_bytes <= 4 * crate::io::LINK_PIECE);
    // However long it takes.
    it.bench.advance(200);
    assert!(it.bench.closed.is_empty());
    // The other way flows meanwhile.
    it.bench.stuck = false;
    it.peer_says(b"I am busy");
    assert_eq!(it.got(data), b"I am busy");
    it.flow(peer);
    assert_eq!((it.asks_to_read(data), it.got(peer).len()), (Some(true), sent));
    assert_eq!(it.bench.relay.holdings().link_bytes, 0);
}

#[test]
fn a_driver_that_reads_on_all_the_same_is_stopped() {
    let mut it = bound();
    it.bench.stuck = true;
    for _ in 0..40 {
        it.peer_says(&[7; 60_000]);
    }
    assert_eq!(it.bench.over(ConnectionEnd::Overflown), 1);
    assert_eq!((it.bench.closed.len(), it.bench.relay.holdings().link_bytes), (2, 0));
    // And before anybody listens.
    let mut bench = Bench::new(config());
    let (mut caller, _) = bench.ready(config());
    let (peer, _) = bench.connected(&mut caller, PEER);
    for _ in 0..40 {
        bench.relay.handle_bytes(bench.now, peer, &[7; 60_000]);
    }
    bench.settle();
    assert_eq!((bench.over(ConnectionEnd::Overflown), bench.closed.pop()), (1, Some((peer, Close::Reset))));
}

/// RFC 6062 §5.5: what ends at one side ends at the other, behind what was said.
#[test]
fn section_5_5_each_way_ends_by_itself_and_then_the_connection() {
    for (first, second) in [(0, 1), (1, 0)] {
        let mut it = bound();
        let ends = [it.data.link, it.peer];
        let (one, two) = (ends[first], ends[second]);
        it.bench.stuck = true;
        it.bench.relay.handle_bytes(it.bench.now, one, b"first piece");
        it.bench.settle();
        it.bench.relay.handle_bytes(it.bench.now, one, b"last words");
        it.finished(one);
        assert!(!it.finishes(two), "not before the last words");
        it.flow(two);
        assert!(it.finishes(two));
        assert_eq!(it.got(two), b"first piecelast words");
        it.bench.relay.handle_bytes(it.bench.now, two, b"answer");
        it.bench.settle();
        assert_eq!(it.got(one), b"answer");
        assert!(it.bench.closed.is_empty());
        it.finished(two);
        assert_eq!(it.bench.closed, [(ends[0], Close::Finish), (ends[1], Close::Finish)]);
        assert_eq!(it.bench.over(ConnectionEnd::Closed), 1);
        assert_eq!(it.bench.ended(LinkEnd::Bound), 1);
        let holdings = it.bench.relay.holdings();
        assert_eq!((holdings.connections, holdings.links, holdings.link_bytes), (0, 1, 0));
    }
}

/// RFC 6062 §5.5.
#[test]
fn section_5_5_a_break_at_one_side_is_a_break_at_the_other() {
    for side in 0..2 {
        let mut it = bound();
        let ends = [it.data.link, it.peer];
        let result = Err(ErrorKind::ConnectionReset);
        it.bench.done(Completion::LinkClosed { link: ends[side], result });
        assert_eq!(it.bench.closed, [(ends[1 - side], Close::Reset)]);
        assert_eq!(it.bench.over(ConnectionEnd::Broken), 1);
        assert_eq!(it.bench.relay.allocations(), 1, "the allocation is another matter");
    }
}

#[test]
fn what_is_half_closed_and_silent_ends_in_time() {
    let mut it = bound();
    let (data, peer) = (it.data.link, it.peer);
    it.finished(data);
    it.bench.advance(299);
    it.peer_says(b"I was thinking");
    it.bench.advance(299);
    assert!(it.bench.closed.is_empty());
    let refreshed = it.bench.call_by_link(&mut it.caller, Method::REFRESH, |it| it);
    assert_eq!(refreshed.code(), 0);
    it.bench.advance(1);
    assert_eq!(it.bench.closed, [(data, Close::Reset), (peer, Close::Reset)]);
    assert_eq!(it.bench.over(ConnectionEnd::HalfClosed), 1);
}

/// `max_rate`: held back, not dropped.
#[test]
fn a_stream_is_no_faster_than_its_user_may_be() {
    let mut it = bound_with(|config| config.max_rate = NonZeroU64::new(100_000));
    let data = it.data.link;
    it.client_says(&[1; 100_000]);
    assert_eq!(it.asks_to_read(data), None);
    it.client_says(&[1; 50_000]);
    assert_eq!(it.asks_to_read(data), Some(false));
    assert_eq!(it.got(it.peer).len(), 150_000, "what was taken is sent on");
    it.bench.asked.clear();
    let due = it.bench.relay.poll_timeout().unwrap();
    assert_eq!((due.at - it.bench.now, due.why), (Duration::from_millis(500), crate::time::Why::Link));
    it.bench.now = due.at;
    it.bench.advance(0);
    assert_eq!(it.asks_to_read(data), Some(true));
    // Without a limit nobody waits.
    it.client_says(&[1; 400_000]);
    assert_eq!(it.asks_to_read(data), Some(false));
    it.bench.relay.set_max_rate(it.bench.now, None);
    it.bench.settle();
    it.bench.relay.check();
    assert_eq!(it.asks_to_read(data), Some(true));
}

#[derive(Debug, Clone)]
enum Step {
    Connect(u8),
    Answer(bool),
    Knock(u8),
    Bind(u8),
    Client(u8, u16),
    Peer(u8, u16),
    Finish(u8),
    Break(u8),
    Stick(bool),
    Wait(u8),
    Policy(bool),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u8).prop_map(Step::Connect),
        any::<bool>().prop_map(Step::Answer),
        (0..4u8).prop_map(Step::Knock),
        any::<u8>().prop_map(Step::Bind),
        (any::<u8>(), 0..40_000u16).prop_map(|(which, len)| Step::Client(which, len)),
        (any::<u8>(), 0..40_000u16).prop_map(|(which, len)| Step::Peer(which, len)),
        any::<u8>().prop_map(Step::Finish),
        any::<u8>().prop_map(Step::Break),
        any::<bool>().prop_map(Step::Stick),
        (0..40u8).prop_map(Step::Wait),
        any::<bool>().prop_map(Step::Policy),
        Just(Step::Close),
    ]
}

fn peer(index: u8) -> String {
    format!("203.0.113.9:{}", 5000 + u16::from(index))
}

proptest! {
    /// Whatever happens in whatever order, the indexes say the same, and in the end there is nothing left.
    #[test]
    fn any_order_of_events_keeps_the_connections_in_step(steps in prop::collection::vec(step(), 0..60)) {
        let mut bench = Bench::new(config());
        let mut small = config();
        small.connections.pending = 3;
        let (mut caller, relayed) = bench.ready(small);
        let (mut opening, mut links, mut numbers, mut port) = (Vec::new(), Vec::new(), Vec::new(), 5000u16);
        let pick = |links: &[LinkId], which: u8| links.get(usize::from(which) % links.len().max(1)).copied();
        for step in steps {
            bench.transactions %= 100;
            match step {
                Step::Connect(index) => {
                    let request = bench.builder(Method::CONNECT).peer_address(addr(&peer(index)));
                    let request = caller.client.sign(request);
                    bench.asked.clear();
                    bench.stream(&caller, &request);
                    opening.extend(bench.asked.iter().filter_map(|asked| match asked {
                        Effect::OpenLink { link, .. } => Some(*link),
                        _ => None,
                    }));
                }
                Step::Answer(true) => if let Some(link) = opening.pop() {
                    bench.opened(link);
                    links.push(link);
                },
                Step::Answer(false) => if let Some(link) = opening.pop() {
                    let result = Err(ErrorKind::ConnectionRefused);
                    bench.done(Completion::LinkClosed { link, result });
                },
                Step::Knock(index) => if bench.bound.iter().any(|&(_, at)| at == relayed) {
                    links.extend(bench.knock(relayed, &peer(index)));
                },
                Step::Bind(which) => {
                    while let Some(message) = bench.message(&mut caller) {
                        numbers.extend(Message::parse(&message).unwrap().connection_id().unwrap());
                    }
                    if !numbers.is_empty() && !bench.stuck {
                        port += 1;
                        let number = numbers[usize::from(which) % numbers.len()];
                        let data = bench.connect(&format!("198.51.100.1:{port}"));
                        let request = bench.builder(Method::CONNECTION_BIND).connection_id(number);
                        bench.stream(&data, &data.client.sign(request));
                        links.push(data.link);
                    }
                }
                Step::Client(which, len) | Step::Peer(which, len) => {
                    if let Some(link) = pick(&links, which) {
                        bench.relay.handle_bytes(bench.now, link, &vec![0xFF; len.into()]);
                        bench.settle();
                    }
                }
                Step::Finish(which) => if let Some(link) = pick(&links, which) {
                    bench.done(Completion::LinkFinished { link });
                },
                Step::Break(which) => if let Some(link) = pick(&links, which) {
                    bench.done(Completion::LinkClosed { link, result: Ok(()) });
                },
                Step::Stick(stuck) => {
                    bench.stuck = stuck;
                    for link in links.iter().copied().chain([caller.link]).filter(|_| !stuck) {
                        bench.relay.handle_completion(bench.now, Completion::Writable { link });
                    }
                    bench.settle();
                }
                Step::Wait(seconds) => drop(bench.advance(seconds.into())),
                Step::Policy(allow) => {
                    let policy = config().policy;
                    let denied = crate::turn::address_policy::Network::new(ip("203.0.113.0"), 24);
                    let policy = if allow { policy } else { policy.deny(denied) };
                    bench.relay.set_policy(bench.now, policy, false);
                    bench.settle();
                }
                Step::Close => {
                    let refresh = bench.builder(Method::REFRESH).lifetime(Duration::ZERO);
                    let refresh = caller.client.sign(refresh);
                    bench.stream(&caller, &refresh);
                }
            }
            bench.relay.check();
        }
        bench.stuck = false;
        bench.done(Completion::LinkClosed { link: caller.link, result: Ok(()) });
        for link in links {
            bench.done(Completion::LinkClosed { link, result: Ok(()) });
        }
        bench.advance(20);
        prop_assert_eq!(bench.relay.holdings(), Bench::new(config()).relay.holdings());
        prop_assert_eq!(bench.relay.poll_timeout(), None);
    }
}
