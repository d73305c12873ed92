//! Clients that come by TCP.

use super::shards::{AWAY, Pair};
use super::*;
use crate::io::Id as _;
use crate::turn::stream::{self, Splitter};

/// A client that has connected.
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) link: LinkId,
    splitter: Splitter,
    read: usize,
}

impl Caller {
    /// One that has said nothing yet.
    pub(super) fn silent(link: LinkId, address: SocketAddr) -> Self {
        let credentials = Credentials { username: "alice".to_owned(), password: "wonder".to_owned() };
        let client = Client { address, credentials, nonce: String::new() };
        Self { client, link, splitter: Splitter::default(), read: 0 }
    }
}

impl Bench {
    pub(super) fn accept(&mut self, from: &str) -> Option<LinkId> {
        let link = self.relay.accept(self.now, SocketId::new(0, 0), addr("192.0.2.1:3478"), addr(from));
        self.relay.check();
        link
    }

    pub(super) fn connect(&mut self, from: &str) -> Caller {
        let link = self.accept(from).expect("it is let in");
        let mut caller = Caller::silent(link, addr(from));
        let request = self.builder(Method::ALLOCATE).requested_transport(17).finish();
        let reply = self.ask_by_link(&mut caller, &request);
        caller.client.nonce = Message::parse(&reply).unwrap().nonce().unwrap().unwrap().to_owned();
        caller
    }

    /// Sends bytes by a link, and returns the datagrams that the relay then sends.
    pub(super) fn stream(&mut self, caller: &Caller, bytes: &[u8]) -> Vec<Sent> {
        self.relay.handle_bytes(self.now, caller.link, bytes);
        let sent = self.settle();
        self.relay.check();
        sent
    }

    /// The next message that has come by the link.
    pub(super) fn message(&mut self, caller: &mut Caller) -> Option<Vec<u8>> {
        let stream = self.streams.get(&caller.link)?;
        let mut rest = &stream[caller.read..];
        let message = caller.splitter.next(&mut rest).unwrap().map(<[u8]>::to_vec);
        caller.read = stream.len() - rest.len();
        message
    }

    fn ask_by_link(&mut self, caller: &mut Caller, request: &[u8]) -> Vec<u8> {
        assert!(self.stream(caller, request).is_empty());
        let reply = self.message(caller).expect("a reply");
        assert_eq!(self.message(caller), None, "one reply");
        reply
    }

    pub(super) fn call_by_link(
        &mut self,
        caller: &mut Caller,
        method: Method,
        fill: impl FnOnce(Builder) -> Builder,
    ) -> Reply {
        let request = caller.client.sign(fill(self.builder(method)));
        let reply = self.ask_by_link(caller, &request);
        caller.client.check(&request, &reply);
        Reply(reply)
    }

    /// An allocation, with a channel to the peer.
    fn established(&mut self, caller: &mut Caller) -> SocketAddr {
        let relayed =
            self.call_by_link(caller, Method::ALLOCATE, |builder| builder.requested_transport(17)).relayed();
        let bound = self.call_by_link(caller, Method::CHANNEL_BIND, |builder| {
            builder.channel_number(0x4000).peer_address(addr(PEER))
        });
        assert_eq!(bound.code(), 0);
        relayed
    }

    pub(super) fn ended(&self, reason: LinkEnd) -> u64 {
        self.relay.counters().links_ended(reason)
    }
}

fn channel_data(data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream::write_channel_data(&mut bytes, 0x4000, data);
    bytes
}

/// RFC 8656 §3, §12.5: padded on the stream in both directions, and not towards the peer.
/// As for a client that comes by UDP (RFC 8656 §15).
#[test]
fn what_comes_by_tcp_may_forbid_fragments() {
    let mut bench = Bench::new(config());
    let mut caller = bench.connect(CLIENT);
    let ask = |builder: Builder| {
        builder.requested_transport(17).additional_family(crate::stun::Family::V6).dont_fragment()
    };
    assert_eq!(bench.call_by_link(&mut caller, Method::ALLOCATE, ask).code(), 0);
    let v6 = "[2001:db8::9]:5000";
    for peer in [PEER, v6] {
        let permitted = |builder: Builder| builder.peer_address(addr(peer));
        assert_eq!(bench.call_by_link(&mut caller, Method::CREATE_PERMISSION, permitted).code(), 0);
    }
    let send = |peer: &str, df: bool| {
        let builder = Builder::new(Class::Indication, Method::SEND, [5; 12]).peer_address(addr(peer));
        let builder = if df { builder.dont_fragment() } else { builder };
        builder.data(b"data").finish()
    };
    for (peer, df, whole) in [(PEER, true, true), (PEER, false, false), (v6, true, false)] {
        let sent = bench.stream(&caller, &send(peer, df));
        assert_eq!((sent.len(), sent[0].1, bench.whole), (1, addr(peer), whole));
    }
    // Equal ones that may be cut, and must not be, are no transmit together.
    let sent = bench.stream(&caller, &[send(PEER, true), send(PEER, false), send(PEER, true)].concat());
    assert_eq!(sent.len(), 3);
}

#[test]
fn data_flows_both_ways_over_tcp() {
    let mut bench = Bench::new(config());
    let mut caller = bench.connect(CLIENT);
    let relayed = bench.established(&mut caller);
    let sent = bench.stream(&caller, &channel_data(b"hello"));
    let socket = bench.bound.iter().find(|(_, at)| *at == relayed).unwrap().0;
    assert_eq!(sent, [(socket, addr(PEER), b"hello".to_vec())]);

    assert!(bench.send_to_relayed(PEER, relayed, b"howdy").is_empty());
    assert_eq!(bench.message(&mut caller).unwrap(), b"\x40\x00\x00\x05howdy");
    assert_eq!(bench.streams[&caller.link].len() % 4, 0, "with padding");
    assert_eq!(bench.relay.counters().to_peers, Flow { packets: 1, bytes: 5 });
    assert_eq!(bench.relay.counters().to_clients, Flow { packets: 1, bytes: 5 });
}

#[test]
fn indications_flow_both_ways_over_tcp() {
    let mut bench = Bench::new(config());
    let mut caller = bench.connect(CLIENT);
    let relayed = bench
        .call_by_link(&mut caller, Method::ALLOCATE, |builder| builder.requested_transport(17))
        .relayed();
    let permitted =
        bench.call_by_link(&mut caller, Method::CREATE_PERMISSION, |it| it.peer_address(addr(PEER)));
    assert_eq!(permitted.code(), 0);
    let send = Builder::new(Class::Indication, Method::SEND, [9; 12]).peer_address(addr(PEER)).data(b"ping");
    let sent = bench.stream(&caller, &send.finish());
    assert_eq!((sent[0].1, &sent[0].2[..]), (addr(PEER), &b"ping"[..]));
    bench.send_to_relayed(PEER, relayed, b"pong");
    let got = bench.message(&mut caller).unwrap();
    assert_eq!(Message::parse(&got).unwrap().data(), Some(&b"pong"[..]));
}

/// However the stream is cut.
#[test]
fn messages_are_found_byte_by_byte_and_many_at_once() {
    let mut bench = Bench::new(config());
    let mut caller = bench.connect(CLIENT);
    bench.established(&mut caller);
    let all: Vec<u8> = [&b"one"[..], b"", b"three"].iter().flat_map(|data| channel_data(data)).collect();
    let at_once: Vec<_> = bench.stream(&caller, &all).into_iter().map(|sent| sent.2).collect();
    assert_eq!(at_once, [b"one".to_vec(), vec![], b"three".to_vec()]);
    let mut by_byte = Vec::new();
    for byte in &all {
        by_byte.extend(bench.stream(&caller, &[*byte]).into_iter().map(|sent| sent.2));
    }
    assert_eq!(by_byte, at_once);
}

/// RFC 8656 §3: the five-tuple is gone with the connection, and so is what hangs on it.
#[test]
fn an_allocation_ends_with_its_link() {
    let mut bench = Bench::new(config());
    let mut caller = bench.connect(CLIENT);
    bench.established(&mut caller);
    let done = Completion::LinkClosed { link: caller.link, result: Ok(()) };
    bench.relay.handle_completion(bench.now, done.clone());
    bench.settle();
    assert_eq!(bench.relay.allocations(), 0);
    assert!(matches!(
        bench.news.last(),
        Some(Event::Released { reason: Released::Disconnected, hop: Hop::Tcp, .. })
    ));
    assert_eq!(bench.ended(LinkEnd::Closed), 1);
    bench.relay.handle_completion(bench.now, done);
    assert_eq!(bench.ended(LinkEnd::Closed), 1, "a late word says nothing");
    bench.stream(&caller, &channel_data(b"late"));
    assert_eq!(bench.dropped(Drop::UnknownLink), 1);
    assert_eq!(bench.relay.holdings(), Bench::new(config()).relay.holdings());
}

/// RFC 8016: it waits for its client to come back by another link.
#[test]
fn an_allocation_with_a_ticket_outlives_its_link() {
    let mut bench = Bench::new(config());
    let mut caller = bench.connect(CLIENT);
    let allocated = bench.call_by_link(&mut caller, Method::ALLOCATE, |builder| {
        builder.requested_transport(17).mobility_ticket(&[])
    });
    let ticket = allocated.message().mobility_ticket().unwrap().to_vec();
    bench.call_by_link(&mut caller, Method::CHANNEL_BIND, |builder| {
        builder.channel_number(0x4000).peer_address(addr(PEER))
    });
    let broken = Err(ErrorKind::ConnectionReset);
    bench.relay.handle_completion(bench.now, Completion::LinkClosed { link: caller.link, result: broken });
    bench.settle();
    assert_eq!((bench.relay.allocations(), bench.ended(LinkEnd::Broken)), (1, 1));
    bench.send_to_relayed(PEER, allocated.relayed(), b"nobody there");
    assert_eq!(bench.dropped(Drop::Away), 1);

    let mut again = bench.connect("198.51.100.7:7");
    let moved = bench.call_by_link(&mut again, Method::REFRESH, |builder| builder.mobility_ticket(&ticket));
    assert_eq!(moved.code(), 0);
    bench.send_to_relayed(PEER, allocated.relayed(), b"welcome");
    assert_eq!(bench.message(&mut again).unwrap(), b"\x40\x00\x00\x07welcome");
}

#[test]
fn two_links_of_one_host_are_two_clients() {
    let mut bench = Bench::new(config());
    let mut first = bench.connect("198.51.100.1:1");
    let mut second = bench.connect("198.51.100.1:2");
    let (one, two) = (bench.established(&mut first), bench.established(&mut second));
    assert_ne!(one, two);
    bench.send_to_relayed(PEER, two, b"second");
    assert_eq!(bench.message(&mut first), None);
    assert!(bench.message(&mut second).is_some());
}

/// The same address and port by UDP is another five-tuple (RFC 8656 §3).
#[test]
fn tcp_and_udp_are_two_five_tuples() {
    let mut bench = Bench::new(config());
    let mut caller = bench.connect(CLIENT);
    bench.established(&mut caller);
    let client = bench.client(CLIENT);
    assert_eq!(bench.refresh(&client, 600).code(), 437);
    bench.allocate(&client);
    assert_eq!(bench.relay.allocations(), 2);
}

#[test]
fn who_speaks_nothing_of_turn_is_reset() {
    let mut bench = Bench::new(config());
    for first in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\x00", b"\xff\xff", b"\x00\x01\x00\x07----"] {
        let link = bench.accept("198.51.100.9:9").unwrap();
        bench.relay.handle_bytes(bench.now, link, first);
        bench.settle();
        assert_eq!(bench.closed.pop(), Some((link, Close::Reset)), "{first:?}");
    }
    let mut caller = bench.connect(CLIENT);
    bench.established(&mut caller);
    bench.stream(&caller, b"\xff");
    assert_eq!(bench.ended(LinkEnd::Garbage), 5);
    assert_eq!((bench.relay.allocations(), bench.relay.holdings().links), (0, 0));
}

#[test]
fn links_are_limited_in_all_by_source_and_while_they_open() {
    let mut config = config();
    config.links = LinkLimits { total: 6, per_source: 3, opening: 4, ..LinkLimits::default() };
    let mut bench = Bench::new(config);
    for port in 1..=3 {
        assert!(bench.accept(&format!("[2001:db8:0:1::{port}]:{port}")).is_some());
    }
    assert_eq!(bench.accept("[2001:db8:0:1:ffff::1]:9"), None, "a /64 is one source");
    assert_eq!(bench.ended(LinkEnd::TooManyOfSource), 1);
    bench.connect("198.51.100.1:1");
    let fourth = bench.accept("198.51.100.1:2").unwrap();
    assert_eq!(bench.accept("198.51.100.1:3"), None);
    assert_eq!(bench.ended(LinkEnd::TooManyOpening), 1);
    bench.relay.handle_completion(bench.now, Completion::LinkClosed { link: fourth, result: Ok(()) });
    bench.connect("198.51.100.1:4");
    bench.connect("198.51.100.2:5");
    assert_eq!(bench.accept("198.51.100.3:6"), None);
    assert_eq!(bench.ended(LinkEnd::TooMany), 1);
    assert_eq!(bench.relay.holdings().links, 6);
}

#[test]
fn who_never_speaks_is_reset_in_time() {
    let mut bench = Bench::new(config());
    let link = bench.accept(CLIENT).unwrap();
    // Half a message is none.
    bench.relay.handle_bytes(bench.now, link, &[0, 1, 0]);
    bench.advance(4);
    assert!(bench.closed.is_empty());
    bench.advance(1);
    assert_eq!((bench.closed.pop(), bench.ended(LinkEnd::NeverSpoke)), (Some((link, Close::Reset)), 1));
    assert_eq!(bench.relay.poll_timeout(), None);
}

#[test]
fn who_is_silent_without_an_allocation_is_reset_in_time() {
    let mut bench = Bench::new(config());
    let mut caller = bench.connect(CLIENT);
    bench.advance(14);
    bench.established(&mut caller);
    // An allocation lives for ten minutes, and whoever has one may be silent.
    bench.advance(590);
    assert!(bench.closed.is_empty());
    bench.advance(11);
    assert_eq!(bench.relay.allocations(), 0, "it has run out");
    bench.advance(16);
    assert_eq!(bench.closed, [(caller.link, Close::Reset)]);
    assert_eq!(bench.ended(LinkEnd::Idle), 1);
    assert_eq!(bench.relay.poll_timeout(), None);
}

/// Data is lost as on a slow network, replies are not.
#[test]
fn a_slow_client_loses_data_and_no_reply() {
    let mut bench = Bench::new(config());
    let mut caller = bench.connect(CLIENT);
    let relayed = bench.established(&mut caller);
    bench.stuck = true;
    let sent = 600;
    for _ in 0..sent {
        bench.send_to_relayed(PEER, relayed, &[7; 996]);
    }
    let dropped = bench.dropped(Drop::LinkFull);
    assert!((300..400).contains(&dropped), "{dropped}");
    let request = caller.client.sign(bench.builder(Method::REFRESH));
    bench.stream(&caller, &request);
    bench.stuck = false;
    bench.relay.handle_completion(bench.now, Completion::Writable { link: caller.link });
    bench.settle();
    let mut messages = Vec::new();
    while let Some(message) = bench.message(&mut caller) {
        messages.push(message);
    }
    assert_eq!(messages.len() as u64, sent - dropped + 1);
    caller.client.check(&request, messages.last().unwrap());
    assert_eq!(bench.relay.counters().to_clients.packets, sent - dropped);
    assert_eq!(bench.relay.holdings().link_bytes, 0);
}

#[test]
fn who_takes_no_reply_is_reset() {
    let mut bench = Bench::new(config());
    bench.stuck = true;
    let link = bench.accept(CLIENT).unwrap();
    // Binding requests, of which each answer is longer than nothing.
    for _ in 0..12_000 {
        let request = bench.builder(Method::BINDING);
        let request = request.finish();
        bench.transactions = 0;
        bench.relay.handle_bytes(bench.now, link, &request);
        bench.settle();
        if !bench.closed.is_empty() {
            break;
        }
    }
    assert_eq!((bench.closed.pop(), bench.ended(LinkEnd::TakesNothing)), (Some((link, Close::Reset)), 1));
    assert_eq!(bench.relay.holdings().link_bytes, 0);
}

#[test]
fn who_takes_nothing_for_ten_seconds_is_reset() {
    let mut bench = Bench::new(config());
    let mut caller = bench.connect(CLIENT);
    let relayed = bench.established(&mut caller);
    bench.advance(30);
    bench.stuck = true;
    bench.send_to_relayed(PEER, relayed, b"piece");
    bench.advance(9);
    // It has taken that piece, and gets another one, which is its own.
    bench.relay.handle_completion(bench.now, Completion::Writable { link: caller.link });
    bench.send_to_relayed(PEER, relayed, b"another");
    bench.advance(9);
    assert!(bench.closed.is_empty());
    bench.advance(1);
    assert_eq!(bench.closed, [(caller.link, Close::Reset)]);
    assert_eq!((bench.ended(LinkEnd::TakesNothing), bench.relay.allocations()), (1, 0));
}

/// Nobody can have forged the address at the other end of a connection: no budget is spent, and no victim's either.
#[test]
fn replies_over_tcp_are_of_no_budget() {
    let mut config = config();
    config.reply_budget = ReplyBudget { rate: 1, burst: 1 };
    let mut bench = Bench::new(config);
    let mut caller = bench.connect(CLIENT);
    for _ in 0..50 {
        let request = bench.builder(Method::BINDING).finish();
        let reply = bench.ask_by_link(&mut caller, &request);
        assert_eq!(Message::parse(&reply).unwrap().mapped_address().unwrap().unwrap(), addr(CLIENT));
    }
    assert_eq!(bench.dropped(Drop::OverBudget), 0);
}

/// RFC 8016, where the link came to another shard; with what came behind the request, which is not whole yet.
#[test]
fn a_link_goes_to_the_shard_that_has_the_allocation() {
    let mut pair = Pair::new(config);
    let (_, relayed, ticket) = pair.at_home();
    let mut caller = pair.shards[1].connect(AWAY);
    let refresh = caller.client.sign(pair.shards[1].builder(Method::REFRESH).mobility_ticket(&ticket));
    let (whole, half) = (channel_data(b"one"), channel_data(b"number two"));
    let bytes = [&refresh[..], &whole, &half[..7]].concat();
    assert!(pair.shards[1].stream(&caller, &bytes).is_empty());
    let sent = pair.exchange();
    assert_eq!((sent.len(), sent[0].1, &sent[0].2[..]), (1, addr(PEER), &b"one"[..]));
    let held = pair.shards.each_ref().map(|shard| shard.relay.holdings().links);
    assert_eq!((held, pair.moved.len(), pair.moved[0].0), ([1, 0], 1, caller.link));
    (caller.link, caller.read) = (pair.moved[0].1, 0);
    let reply = pair.shards[0].message(&mut caller).expect("a reply");
    caller.client.check(&refresh, &reply);
    assert_eq!(Reply(reply).code(), 0);
    let sent = pair.shards[0].stream(&caller, &half[7..]);
    assert_eq!(sent[0].2, b"number two");
    pair.shards[0].send_to_relayed(PEER, relayed, b"howdy");
    assert_eq!(pair.shards[0].message(&mut caller).unwrap(), b"\x40\x00\x00\x05howdy");
    assert!(pair.shards.iter().all(|shard| shard.closed.is_empty()), "nothing was closed");
    // It lasts as any other does.
    pair.shards[0].advance(600);
    pair.shards[0].advance(20);
    assert_eq!((pair.shards[0].relay.holdings().links, pair.shards[0].ended(LinkEnd::Idle)), (0, 1));
}

/// RFC 6062 §5.4: the link on which a client binds a connection may come to another shard than the allocation.
#[test]
fn a_link_goes_to_the_shard_that_has_the_connection_of_its_client() {
    let mut pair = Pair::new(config);
    let mut control = pair.shards[0].connect(CLIENT);
    pair.shards[0].allocate_tcp(&mut control);
    let permitted = |it: Builder| it.peer_address(addr(PEER));
    assert_eq!(pair.shards[0].call_by_link(&mut control, Method::CREATE_PERMISSION, permitted).code(), 0);
    let (to_peer, number) = pair.shards[0].connected(&mut control, PEER);
    let mut data = pair.shards[1].connect(AWAY);
    let bind = data.client.sign(pair.shards[1].builder(Method::CONNECTION_BIND).connection_id(number));
    // Nothing is a message behind it any more.
    assert!(pair.shards[1].stream(&data, &[&bind[..], b"first words"].concat()).is_empty());
    assert!(pair.exchange().is_empty());
    assert_eq!((pair.moved.len(), pair.moved[0].0), (1, data.link));
    (data.link, data.read) = (pair.moved[0].1, 0);
    let reply = pair.shards[0].message(&mut data).expect("a reply");
    data.client.check(&bind, &reply);
    assert_eq!(Reply(reply).code(), 0);
    assert_eq!(pair.shards[0].streams[&to_peer], b"first words");
    let before = pair.shards[0].streams[&data.link].len();
    pair.shards[0].relay.handle_bytes(pair.shards[0].now, to_peer, b"howdy");
    pair.shards[0].settle();
    assert_eq!(&pair.shards[0].streams[&data.link][before..], b"howdy");
    // Somebody else's is nobody's, wherever it leads.
    let mut bob = pair.shards[1].connect("198.51.100.7:7");
    let bind = bob.client.sign(pair.shards[1].builder(Method::CONNECTION_BIND).connection_id(number));
    pair.shards[1].stream(&bob, &bind);
    pair.exchange();
    (bob.link, bob.read) = (pair.moved[1].1, 0);
    assert_eq!(Reply(pair.shards[0].message(&mut bob).unwrap()).code(), 400, "it is bound already");
    pair.shards.iter().for_each(|shard| shard.relay.check());
}

/// With what waits to be sent by it, and behind the piece that the driver has not got rid of yet.
#[test]
fn a_link_takes_along_what_waits_for_its_client() {
    let mut pair = Pair::new(config);
    let (_, _, ticket) = pair.at_home();
    let mut caller = pair.shards[1].connect(AWAY);
    pair.shards[1].stuck = true;
    let binding = Builder::new(Class::Request, Method::BINDING, [200; 12]).finish();
    pair.shards[1].stream(&caller, &binding);
    pair.shards[1].stream(&caller, &binding);
    let refresh = caller.client.sign(pair.shards[1].builder(Method::REFRESH).mobility_ticket(&ticket));
    let waiting = pair.shards[1].relay.holdings().link_bytes;
    pair.shards[1].stream(&caller, &refresh);
    pair.exchange();
    assert!(waiting > 0 && pair.shards[1].relay.holdings().link_bytes == 0);
    let (link, now) = (pair.moved[0].1, pair.shards[0].now);
    assert!(!pair.shards[0].streams.contains_key(&link), "the driver has a piece already");
    pair.shards[0].relay.handle_completion(now, Completion::Writable { link });
    pair.shards[0].settle();
    (caller.link, caller.read) = (link, 0);
    let second = pair.shards[0].message(&mut caller).expect("what had waited");
    assert_eq!(Message::parse(&second).unwrap().transaction(), [200; 12]);
    let reply = pair.shards[0].message(&mut caller).expect("a reply");
    caller.client.check(&refresh, &reply);
    pair.shards.iter().for_each(|shard| shard.relay.check());
}
