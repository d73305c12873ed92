//! Clients that come by TLS and by DTLS.

use super::links::Caller;
use super::shards::{AWAY, Pair};
use super::*;
use crate::pki::{Key, KeyKind, Serial, ServerAuthority, Terms};
use crate::secure::dtls::{self, Dtls, Output};
use crate::secure::tls::{self, Tls};
use crate::secure::{Certificate, Pin, Trust};
use crate::time::WallCell;
use crate::turn::stream::{self, Splitter};

const HOST: &str = "192.0.2.1";

/// A relay with a certificate of its own, and whom its clients believe.
pub(super) fn secured(change: impl FnOnce(&mut Config)) -> (Bench, Trust) {
    let (config, trust) = certified(change);
    (Bench::new(config), trust)
}

fn certified(change: impl FnOnce(&mut Config)) -> (Config, Trust) {
    let now = UnixTime(UNIX.as_secs());
    let terms = |serial| Terms::new(Serial::new(serial), now, Duration::from_secs(1000));
    let authority = ServerAuthority::new("test", &Key::generate(KeyKind::EcdsaP256), terms(1)).unwrap();
    let key = Key::generate(KeyKind::EcdsaP256);
    let leaf = authority.issue(&[HOST.to_owned()], &key.public(), terms(2)).unwrap();
    let trust = Trust::Pinned(Pin::of(&leaf).unwrap());
    let pem = crate::pki::pem::encode_certificates([&leaf]);
    let certificate = Certificate::from_pem(pem.as_bytes(), key.to_pem().as_bytes()).unwrap();
    let mut config = config();
    config.tls = Some(certificate.tls().unwrap());
    config.dtls = Some(certificate.dtls().unwrap());
    change(&mut config);
    (config, trust)
}

fn host() -> crate::secure::ServerName<'static> {
    HOST.to_owned().try_into().unwrap()
}

fn wall() -> WallCell {
    WallCell::new(UnixTime(UNIX.as_secs() + 1))
}

/// A client that speaks TLS over a link.
pub(super) struct Secret {
    pub(super) caller: Caller,
    pub(super) tls: Tls,
    pub(super) heard: Vec<u8>,
}

impl Secret {
    pub(super) fn connect(bench: &mut Bench, from: &str, trust: Trust) -> Self {
        let caller = Caller::silent(bench.accept(from).unwrap(), addr(from));
        let mut hello = Vec::new();
        let tls = Tls::client(&tls::ClientConfig::new(host(), trust, wall()), &mut hello).unwrap();
        let mut secret = Self { caller, tls, heard: Vec::new() };
        // However it is cut.
        for byte in hello.chunks(100) {
            bench.stream(&secret.caller, byte);
        }
        secret.listen(bench);
        assert!(!secret.tls.is_handshaking());
        secret
    }

    /// Takes what has come, and answers what TLS answers.
    pub(super) fn listen(&mut self, bench: &mut Bench) {
        loop {
            let got = bench.streams.remove(&self.caller.link).unwrap_or_default();
            if got.is_empty() {
                return;
            }
            let mut out = Vec::new();
            self.tls.receive(&got, &mut self.heard, &mut out).unwrap();
            if !out.is_empty() {
                bench.stream(&self.caller, &out);
            }
        }
    }

    pub(super) fn say(&mut self, bench: &mut Bench, words: &[u8]) -> Vec<Sent> {
        let mut out = Vec::new();
        assert!(self.tls.seal(words, &mut out));
        let sent = bench.stream(&self.caller, &out);
        self.listen(bench);
        sent
    }

    /// The one message that has come.
    pub(super) fn message(&mut self) -> Vec<u8> {
        let heard = std::mem::take(&mut self.heard);
        let (mut splitter, mut rest) = (Splitter::default(), &heard[..]);
        let message = splitter.next(&mut rest).unwrap().expect("a message").to_vec();
        assert!(rest.is_empty(), "one message");
        message
    }

    pub(super) fn call(
        &mut self,
        bench: &mut Bench,
        method: Method,
        fill: impl FnOnce(Builder) -> Builder,
    ) -> Reply {
        let request = self.caller.client.sign(fill(bench.builder(method)));
        self.say(bench, &request);
        let reply = self.message();
        self.caller.client.check(&request, &reply);
        Reply(reply)
    }

    fn establish(&mut self, bench: &mut Bench) -> SocketAddr {
        let request = bench.builder(Method::ALLOCATE).requested_transport(17).finish();
        self.say(bench, &request);
        self.caller.client.nonce = nonce(&self.message());
        let relayed = self.call(bench, Method::ALLOCATE, |builder| builder.requested_transport(17)).relayed();
        let bound = self.call(bench, Method::CHANNEL_BIND, |builder| {
            builder.channel_number(0x4000).peer_address(addr(PEER))
        });
        assert_eq!(bound.code(), 0);
        relayed
    }
}

impl Bench {
    /// Over what clients came, as events of their allocations have it.
    fn hops(&self) -> Vec<Hop> {
        let hop = |event: &Event| match event {
            Event::Allocated { hop, .. } | Event::Released { hop, .. } => Some(*hop),
            _ => None,
        };
        self.news.iter().filter_map(hop).collect()
    }
}

pub(super) fn nonce(reply: &[u8]) -> String {
    Message::parse(reply).unwrap().nonce().unwrap().unwrap().to_owned()
}

#[test]
fn data_flows_both_ways_over_tls() {
    let (mut bench, trust) = secured(|_| ());
    let mut secret = Secret::connect(&mut bench, CLIENT, trust);
    let relayed = secret.establish(&mut bench);
    let mut words = Vec::new();
    stream::write_channel_data(&mut words, 0x4000, b"hello");
    let sent = secret.say(&mut bench, &words);
    assert_eq!((sent[0].1, &sent[0].2[..]), (addr(PEER), &b"hello"[..]));
    // More than one record, and more than one piece.
    for number in 0..200u8 {
        bench.send_to_relayed(PEER, relayed, &[number; 1000]);
    }
    secret.listen(&mut bench);
    assert_eq!(secret.heard.len(), 200 * 1004);
    assert_eq!(secret.heard[199 * 1004 + 4..], [199; 1000]);
    assert_eq!((bench.relay.counters().tls, bench.dropped(Drop::LinkFull)), (1, 0));
}

#[test]
fn data_waits_for_a_slow_client_and_is_sealed_in_pieces() {
    let (mut bench, trust) = secured(|_| ());
    let mut secret = Secret::connect(&mut bench, CLIENT, trust);
    let relayed = secret.establish(&mut bench);
    bench.stuck = true;
    for number in 0..200u8 {
        bench.send_to_relayed(PEER, relayed, &[number; 996]);
    }
    bench.stuck = false;
    bench.relay.handle_completion(bench.now, Completion::Writable { link: secret.caller.link });
    bench.settle();
    secret.listen(&mut bench);
    assert_eq!((secret.heard.len(), bench.dropped(Drop::LinkFull)), (200 * 1000, 0));
}

#[test]
fn a_goodbye_over_tls_ends_the_allocation_and_is_answered() {
    let (mut bench, trust) = secured(|_| ());
    let mut secret = Secret::connect(&mut bench, CLIENT, trust);
    secret.establish(&mut bench);
    let mut goodbye = Vec::new();
    secret.tls.close(&mut goodbye);
    bench.stream(&secret.caller, &goodbye);
    assert_eq!(bench.closed, [(secret.caller.link, Close::Finish)]);
    assert_eq!((bench.relay.allocations(), bench.ended(LinkEnd::Closed)), (0, 1));
    assert_eq!(bench.hops(), [Hop::Tls; 2]);
    let answer = bench.streams.remove(&secret.caller.link).unwrap();
    secret.tls.receive(&answer, &mut Vec::new(), &mut Vec::new()).unwrap();
    assert!(secret.tls.has_ended());
}

#[test]
fn who_breaks_tls_is_told_and_closed() {
    let (mut bench, trust) = secured(|_| ());
    let caller = Caller::silent(bench.accept(CLIENT).unwrap(), addr(CLIENT));
    // No client begins with a ServerHello.
    bench.stream(&caller, b"\x16\x03\x01\x00\x04\x02\x00\x00\x00");
    assert_eq!(bench.closed.pop(), Some((caller.link, Close::Finish)));
    assert_eq!(bench.streams[&caller.link][0], 21, "an alert");
    let mut secret = Secret::connect(&mut bench, CLIENT, trust);
    secret.establish(&mut bench);
    bench.stream(
        &secret.caller,
        &[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20],
    );
    assert_eq!((bench.ended(LinkEnd::Tls), bench.relay.allocations()), (2, 0));
}

#[test]
fn garbage_under_tls_is_garbage() {
    let (mut bench, trust) = secured(|_| ());
    let mut secret = Secret::connect(&mut bench, CLIENT, trust);
    secret.say(&mut bench, b"\xff\xff\xff\xff");
    assert_eq!(bench.ended(LinkEnd::Garbage), 1);
}

#[test]
fn a_handshake_that_is_not_done_in_time_ends() {
    let (mut bench, _) = secured(|_| ());
    let caller = Caller::silent(bench.accept(CLIENT).unwrap(), addr(CLIENT));
    bench.stream(&caller, b"\x16\x03\x01");
    bench.advance(5);
    assert_eq!(bench.ended(LinkEnd::NeverSpoke), 1);
}

/// A client that speaks DTLS.
pub(super) struct Datagrammer {
    client: Client,
    dtls: Dtls,
    heard: Vec<Vec<u8>>,
    connected: bool,
}

impl Datagrammer {
    pub(super) fn new(bench: &Bench, from: &str, trust: Trust) -> Self {
        let credentials = Credentials { username: "alice".to_owned(), password: "wonder".to_owned() };
        let client = Client { address: addr(from), credentials, nonce: String::new() };
        let dtls = Dtls::client(&dtls::ClientConfig::new(host(), trust, wall()), bench.now);
        Self { client, dtls, heard: Vec::new(), connected: false }
    }

    fn connect(bench: &mut Bench, from: &str, trust: Trust) -> Self {
        let mut this = Self::new(bench, from, trust);
        assert!(this.exchange(bench).is_empty());
        assert!(this.connected);
        this
    }

    /// Carries datagrams to and fro until there is none; returns what went to others.
    fn exchange(&mut self, bench: &mut Bench) -> Vec<Sent> {
        let mut others = Vec::new();
        while let Some(datagram) = self.next() {
            let sent = bench.send(self.client.address, &datagram);
            self.take(bench, sent, &mut others);
        }
        others
    }

    fn take(&mut self, bench: &Bench, sent: Vec<Sent>, others: &mut Vec<Sent>) {
        for (socket, to, bytes) in sent {
            if to == self.client.address {
                self.dtls.receive(bench.now, &bytes);
            } else {
                others.push((socket, to, bytes));
            }
        }
    }

    /// The next datagram to send.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let mut out = Vec::new();
            match self.dtls.poll(&mut out)? {
                Output::Datagram => return Some(out),
                Output::Plaintext => self.heard.push(out),
                Output::Connected => self.connected = true,
                other => panic!("{other:?}"),
            }
        }
    }

    fn say(&mut self, bench: &mut Bench, words: &[u8]) -> Vec<Sent> {
        let mut out = Vec::new();
        assert!(self.dtls.seal(words, &mut out));
        let sent = bench.send(self.client.address, &out);
        let mut others = Vec::new();
        self.take(bench, sent, &mut others);
        others.extend(self.exchange(bench));
        others
    }

    fn call(&mut self, bench: &mut Bench, method: Method, fill: impl FnOnce(Builder) -> Builder) -> Reply {
        let request = self.client.sign(fill(bench.builder(method)));
        self.say(bench, &request);
        let reply = self.heard.pop().expect("a reply");
        self.client.check(&request, &reply);
        Reply(reply)
    }

    fn establish(&mut self, bench: &mut Bench) -> SocketAddr {
        let request = bench.builder(Method::ALLOCATE).requested_transport(17).finish();
        self.say(bench, &request);
        self.client.nonce = nonce(&self.heard.pop().unwrap());
        let relayed = self.call(bench, Method::ALLOCATE, |builder| builder.requested_transport(17)).relayed();
        let bound = self.call(bench, Method::CHANNEL_BIND, |builder| {
            builder.channel_number(0x4000).peer_address(addr(PEER))
        });
        assert_eq!(bound.code(), 0);
        relayed
    }
}

#[test]
fn data_flows_both_ways_over_dtls() {
    let (mut bench, trust) = secured(|_| ());
    let mut client = Datagrammer::connect(&mut bench, CLIENT, trust);
    let relayed = client.establish(&mut bench);
    let sent = client.say(&mut bench, b"\x40\x00\x00\x05hello");
    assert_eq!((sent[0].1, &sent[0].2[..]), (addr(PEER), &b"hello"[..]));
    let sent = bench.send_to_relayed(PEER, relayed, b"howdy");
    client.take(&bench, sent, &mut Vec::new());
    client.exchange(&mut bench);
    assert_eq!(client.heard.pop().unwrap(), b"\x40\x00\x00\x05howdy");
    assert_eq!((bench.relay.counters().sessions, bench.relay.holdings().sessions), (1, 1));
    // More than a record holds.
    bench.send_to_relayed(PEER, relayed, &[7; 20_000]);
    assert_eq!(bench.dropped(Drop::TooLong), 1);
}

/// The same address and port without DTLS is another five-tuple.
#[test]
fn plain_datagrams_from_the_address_of_a_session_are_not_its_clients() {
    let (mut bench, trust) = secured(|_| ());
    let mut session = Datagrammer::connect(&mut bench, CLIENT, trust);
    session.establish(&mut bench);
    assert!(bench.send(addr(CLIENT), b"\x40\x00\x00\x05hello").is_empty());
    assert_eq!(bench.dropped(Drop::NoAllocation), 1);
    let plain = bench.client(CLIENT);
    assert_eq!(bench.refresh(&plain, 0).code(), 437);
}

/// Whoever can write the client's address on a datagram, but can't read what is sent there.
#[test]
fn what_a_stranger_sends_in_a_clients_name_ends_no_session() {
    let (mut bench, trust) = secured(|_| ());
    let mut client = Datagrammer::connect(&mut bench, CLIENT, trust.clone());
    client.establish(&mut bench);
    let hello = Datagrammer::new(&bench, CLIENT, trust).next().unwrap();
    let record = |kind: u8, epoch: u8, body: &[u8]| {
        let head = [kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 9, 0, body.len() as u8];
        [&head[..], body].concat()
    };
    let mut forged = vec![hello];
    for kind in 20..=26 {
        for epoch in [0, 1, 2] {
            forged.push(record(kind, epoch, &[2, 40]));
            forged.push(record(kind, epoch, &[16; 60]));
            forged.push(record(kind, epoch, &[20; 60]));
        }
        forged.push(vec![kind]);
        forged.push(record(kind, 0, &[1; 10])[..9].to_vec());
    }
    for datagram in forged {
        let shown = format!("{datagram:02x?}");
        bench.send(addr(CLIENT), &datagram);
        assert_eq!(bench.relay.allocations(), 1, "{shown}");
    }
    assert_eq!(bench.relay.holdings().sessions, 2, "the ClientHello has begun another one");
    bench.advance(5);
    assert_eq!(bench.relay.holdings().sessions, 1);
    let sent = client.say(&mut bench, b"\x40\x00\x00\x05hello");
    assert_eq!(sent.len(), 1, "it goes on");
}

#[test]
fn a_goodbye_over_dtls_ends_the_allocation() {
    let (mut bench, trust) = secured(|_| ());
    let mut client = Datagrammer::connect(&mut bench, CLIENT, trust);
    client.establish(&mut bench);
    client.dtls.close();
    let mut out = Vec::new();
    assert_eq!(client.dtls.poll(&mut out), Some(Output::Datagram));
    bench.send(addr(CLIENT), &out);
    assert_eq!((bench.relay.allocations(), bench.relay.holdings().sessions), (0, 0));
    assert_eq!(bench.relay.counters().sessions_ended(SessionEnd::Closed), 1);
    assert_eq!(bench.hops(), [Hop::Dtls; 2]);
}

/// RFC 6347 §4.2.8: the old session stands until whoever begins another one has shown to be the client.
#[test]
fn a_client_that_has_lost_its_session_begins_another_one_on_the_same_port() {
    let (mut bench, trust) = secured(|_| ());
    let mut before = Datagrammer::connect(&mut bench, CLIENT, trust.clone());
    before.establish(&mut bench);
    let mut after = Datagrammer::new(&bench, CLIENT, trust);
    let hello = after.next().unwrap();
    let cookie = bench.send(addr(CLIENT), &hello);
    assert_eq!((cookie.len(), cookie[0].2[13]), (1, 3), "HelloVerifyRequest");
    assert_eq!(before.say(&mut bench, b"\x40\x00\x00\x05hello").len(), 1, "the old one still serves");
    after.take(&bench, cookie, &mut Vec::new());
    assert!(after.exchange(&mut bench).is_empty() && after.connected);
    assert_eq!((bench.relay.holdings().sessions, bench.relay.allocations()), (1, 0));
    assert_eq!(bench.relay.counters().sessions_ended(SessionEnd::Replaced), 1);
    let released = |event: &Event| matches!(event, Event::Released { reason: Released::Disconnected, .. });
    assert!(bench.news.iter().any(released));
    after.establish(&mut bench);
    assert_eq!(after.say(&mut bench, b"\x40\x00\x00\x05again").len(), 1);
    // Its last flight again, which is nobody's beginning.
    assert!(before.say(&mut bench, b"\x40\x00\x00\x05never").is_empty());
    assert_eq!((bench.relay.holdings().sessions, bench.relay.allocations()), (1, 1));
}

#[test]
fn sessions_that_are_not_finished_are_few_and_end_in_time() {
    let (mut bench, trust) = secured(|config| {
        config.sessions = SessionLimits { opening: 3, opening_per_source: 2, ..config.sessions };
    });
    for (number, from) in ["[2001:db8::1]:1", "[2001:db8::2]:2", "[2001:db8::3]:3"].into_iter().enumerate() {
        let hello = Datagrammer::new(&bench, from, trust.clone()).next().unwrap();
        let sent = bench.send(addr(from), &hello);
        assert_eq!(sent.len(), usize::from(number < 2), "a /64 is one source");
        assert!(sent.iter().all(|(_, _, reply)| reply.len() <= hello.len()), "no more than was sent");
    }
    assert_eq!(bench.dropped(Drop::TooManySessions), 1);
    for from in ["198.51.100.1:1", "198.51.100.2:1"] {
        let hello = Datagrammer::new(&bench, from, trust.clone()).next().unwrap();
        bench.send(addr(from), &hello);
    }
    assert_eq!(bench.dropped(Drop::TooManySessions), 2);
    bench.advance(5);
    assert_eq!(bench.relay.holdings().sessions, 0);
    assert_eq!(bench.relay.counters().sessions_ended(SessionEnd::TooSlow), 3);
    assert_eq!(bench.relay.poll_timeout(), None);
}

#[test]
fn a_session_without_an_allocation_ends_in_time() {
    let (mut bench, trust) = secured(|_| ());
    let mut client = Datagrammer::connect(&mut bench, CLIENT, trust.clone());
    bench.advance(14);
    client.establish(&mut bench);
    bench.advance(60);
    assert_eq!(bench.relay.holdings().sessions, 1);
    Datagrammer::connect(&mut bench, "198.51.100.2:2", trust);
    bench.advance(15);
    assert_eq!(bench.relay.holdings().sessions, 1);
    assert_eq!(bench.relay.counters().sessions_ended(SessionEnd::Idle), 1);
}

/// DTLS 1.0, or no cipher suite in common.
#[test]
fn who_cannot_be_served_is_told_in_few_bytes() {
    let (mut bench, trust) = secured(|_| ());
    let mut hello = Datagrammer::new(&bench, CLIENT, trust).next().unwrap();
    // The version that it speaks at the most, behind the headers of record and message.
    hello[25..27].copy_from_slice(&[0xFE, 0xFF]);
    let sent = bench.send(addr(CLIENT), &hello);
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].2, [&[21], &hello[1..3], &[0; 9], &[2, 2, 70][..]].concat());
    assert_eq!((bench.dropped(Drop::NoHello), bench.relay.holdings().sessions), (1, 0));
}

#[test]
fn what_begins_no_session_costs_nothing() {
    let (mut bench, _) = secured(|_| ());
    for datagram in [&[22u8; 100][..], &[20], &[63; 13], &[22, 0xFE, 0xFD, 0, 0]] {
        assert!(bench.send(addr(CLIENT), datagram).is_empty());
    }
    assert_eq!((bench.dropped(Drop::NoHello), bench.relay.holdings().sessions), (4, 0));
    let mut plain = Bench::new(config());
    plain.send(addr(CLIENT), &[22; 100]);
    assert_eq!(plain.dropped(Drop::Malformed), 1);
}

/// RFC 8016, where what the client comes by is another shard's.
#[test]
fn a_session_goes_to_the_shard_that_has_the_allocation() {
    let (config, trust) = certified(|_| ());
    let mut pair = Pair::new(|| config.clone());
    let (_, relayed, ticket) = pair.at_home();
    let mut client = Datagrammer::connect(&mut pair.shards[1], AWAY, trust);
    let request = pair.shards[1].builder(Method::ALLOCATE).requested_transport(17).finish();
    client.say(&mut pair.shards[1], &request);
    client.client.nonce = nonce(&client.heard.pop().unwrap());
    // With data in the same datagram behind it.
    let refresh = client.client.sign(pair.shards[1].builder(Method::REFRESH).mobility_ticket(&ticket));
    let mut both = Vec::new();
    assert!(client.dtls.seal(&refresh, &mut both) && client.dtls.seal(b"\x40\0\0\x02hi", &mut both));
    assert!(pair.shards[1].send(addr(AWAY), &both).is_empty());
    let mut others = Vec::new();
    let sent = pair.exchange();
    client.take(&pair.shards[0], sent, &mut others);
    others.extend(client.exchange(&mut pair.shards[0]));
    let reply = client.heard.pop().expect("a reply");
    client.client.check(&refresh, &reply);
    assert_eq!((Reply(reply).code(), others.len(), &others[0].2[..]), (0, 1, &b"hi"[..]));
    let held = pair.shards.each_ref().map(|shard| (shard.relay.holdings().sessions, shard.ears.len()));
    assert_eq!(held, [(1, 1), (0, 0)]);

    let back = pair.shards[0].send_to_relayed(PEER, relayed, b"howdy");
    client.take(&pair.shards[0], back, &mut Vec::new());
    client.exchange(&mut pair.shards[0]);
    assert_eq!(client.heard.pop().unwrap(), b"\x40\x00\x00\x05howdy");
    let sent = client.say(&mut pair.shards[0], b"\x40\x00\x00\x05hello");
    assert_eq!((sent[0].1, &sent[0].2[..]), (addr(PEER), &b"hello"[..]));
    pair.shards[0].advance(600);
    pair.shards[0].advance(20);
    assert_eq!((pair.shards[0].relay.holdings().sessions, pair.shards[0].ears.len()), (0, 0));
}

#[test]
fn a_link_under_tls_goes_to_the_shard_that_has_the_allocation() {
    let (config, trust) = certified(|_| ());
    let mut pair = Pair::new(|| config.clone());
    let (_, relayed, ticket) = pair.at_home();
    let mut secret = Secret::connect(&mut pair.shards[1], AWAY, trust);
    let request = pair.shards[1].builder(Method::ALLOCATE).requested_transport(17).finish();
    secret.say(&mut pair.shards[1], &request);
    secret.caller.client.nonce = nonce(&secret.message());
    let refresh = secret.caller.client.sign(pair.shards[1].builder(Method::REFRESH).mobility_ticket(&ticket));
    secret.say(&mut pair.shards[1], &refresh);
    assert!(pair.exchange().is_empty());
    assert_eq!(pair.moved.len(), 1);
    secret.caller.link = pair.moved[0].1;
    secret.listen(&mut pair.shards[0]);
    let reply = secret.message();
    secret.caller.client.check(&refresh, &reply);
    assert_eq!(Reply(reply).code(), 0);
    pair.shards[0].send_to_relayed(PEER, relayed, b"howdy");
    secret.listen(&mut pair.shards[0]);
    assert_eq!(secret.message(), b"\x40\x00\x00\x05howdy");
    let mut words = Vec::new();
    stream::write_channel_data(&mut words, 0x4000, b"hello");
    let sent = secret.say(&mut pair.shards[0], &words);
    assert_eq!((sent[0].1, &sent[0].2[..]), (addr(PEER), &b"hello"[..]));
}
