//! The same client over TCP, TLS and DTLS, with the other end of each.

use std::io::ErrorKind;

use super::*;
use crate::io::{Effect, LINK_PIECE};
use crate::pki::{Anchors, KeyKind, Serial, ServerAuthority, Terms};
use crate::secure::dtls::{self, Dtls, Output};
use crate::secure::tls::{self, Tls};
use crate::secure::{BadCertificate, Pin, ServerName, Trust};
use crate::time::WallCell;
use crate::turn::channel_data;
use crate::turn::stream::{Splitter, write_channel_data};

const UNIX: Duration = Duration::from_secs(1_700_000_000);

/// A client, its relay, and what carries messages between them.
struct Stage {
    client: Client,
    relay: Relay,
    now: Instant,
    end: End,
    splitter: Splitter,
    socket: Option<SocketId>,
    link: Option<LinkId>,
    /// Whoever carries the link takes what is handed over.
    takes: bool,
    events: Vec<Event>,
    /// Data that has come to the relay.
    data: Vec<Vec<u8>>,
    /// Bytes that were handed over for the link.
    pieces: Vec<usize>,
    requests: usize,
    /// The client has said goodbye over DTLS.
    ended: bool,
}

/// The relay's end.
enum End {
    Tcp,
    Tls(Box<Tls>),
    Dtls(dtls::ServerConfig, Option<Box<Dtls>>),
    Silent,
}

fn secured(over: Over, pinned: bool) -> (Transport, End) {
    let terms = |serial| Terms::new(Serial::new(serial), UnixTime(UNIX.as_secs()), MINUTE);
    let authority =
        ServerAuthority::new("t", &crate::pki::Key::generate(KeyKind::EcdsaP256), terms(1)).unwrap();
    let key = crate::pki::Key::generate(KeyKind::EcdsaP256);
    let leaf = authority.issue(&["192.0.2.1".to_owned()], &key.public(), terms(2)).unwrap();
    let wall = WallCell::new(UnixTime(UNIX.as_secs() + 1));
    let trust = match pinned {
        true => Trust::Pinned(Pin::of_key(b"another")),
        false => Trust::Anchored(Anchors::new(&[authority.certificate().clone()]).unwrap()),
    };
    let host = ServerName::try_from("192.0.2.1").unwrap();
    match over {
        Over::Tls => {
            let server = tls::ServerConfig::new(vec![leaf], key.der().clone_key(), wall.clone()).unwrap();
            let client = tls::ClientConfig::new(host, trust, wall);
            (Transport::Tls(client), End::Tls(Box::new(Tls::server(&server).unwrap())))
        }
        Over::Dtls => {
            let server = dtls::ServerConfig::new(&[leaf], key.der()).unwrap();
            (Transport::Dtls(dtls::ClientConfig::new(host, trust, wall)), End::Dtls(server, None))
        }
        Over::Tcp => (Transport::Tcp, End::Tcp),
        Over::Udp => unreachable!("the other tests have that"),
    }
}

impl Stage {
    fn new(transport: Transport, end: End) -> Self {
        let now = start();
        let config = Config { transport, ..config() };
        let mut stage = Self {
            client: Client::new(config, Clock::new(now, UNIX), now, [9; 32]),
            relay: Relay::default(),
            now,
            end,
            splitter: Splitter::default(),
            socket: None,
            link: None,
            takes: true,
            events: Vec::new(),
            data: Vec::new(),
            pieces: Vec::new(),
            requests: 0,
            ended: false,
        };
        stage.settle();
        stage
    }

    fn allocated(over: Over) -> Self {
        let (transport, end) = secured(over, false);
        let mut stage = Self::new(transport, end);
        assert_eq!(stage.client.relayed(), [relayed()], "{over}: {:?}", stage.events);
        stage.client.permit(stage.now, peer().ip()).unwrap();
        stage.settle();
        stage
    }

    fn has_heard_goodbye(&self) -> bool {
        match &self.end {
            End::Tls(session) => session.has_ended(),
            End::Dtls(..) => self.ended,
            End::Tcp | End::Silent => false,
        }
    }

    fn settle(&mut self) {
        loop {
            let mut out = Vec::new();
            if let Some(transmit) = self.client.poll_transmit(self.now, ONE, &mut out) {
                self.carry(transmit, &out);
                continue;
            }
            match self.client.poll_event() {
                None => return,
                Some(Event::Effect(effect)) => self.carry_out(effect),
                Some(event) => self.events.push(event),
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let done = match effect {
            Effect::Bind { socket, .. } => {
                self.socket = Some(socket);
                Completion::Bound { socket, result: Ok(addr("10.0.0.2:40000")) }
            }
            Effect::OpenLink { link, to, .. } => {
                assert_eq!(to, server());
                self.link = Some(link);
                let local = addr("10.0.0.2:40000");
                Completion::LinkOpened { link, local, remote: to }
            }
            Effect::Unbind { .. } => return self.socket = None,
            Effect::CloseLink { .. } => return self.link = None,
            other => panic!("a client never asks for {other:?}"),
        };
        if !matches!(self.end, End::Silent) {
            self.client.handle_completion(self.now, done);
        }
    }

    fn carry(&mut self, transmit: Transmit, bytes: &[u8]) {
        match transmit.to {
            To::Udp { socket, to } => {
                assert_eq!((Some(socket), to), (self.socket, server()));
                bytes.chunks(transmit.stride).for_each(|datagram| self.datagram_at_relay(datagram));
            }
            To::Link(link) => {
                assert_eq!(Some(link), self.link);
                assert!(bytes.len() <= LINK_PIECE && transmit.stride == bytes.len());
                self.pieces.push(bytes.len());
                if self.takes {
                    self.client.handle_completion(self.now, Completion::Writable { link });
                }
                self.bytes_at_relay(bytes);
            }
        }
    }

    fn bytes_at_relay(&mut self, bytes: &[u8]) {
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        match &mut self.end {
            End::Tls(session) => {
                let _ = session.receive(bytes, &mut plain, &mut out);
            }
            _ => plain.extend_from_slice(bytes),
        }
        self.bytes_at_client(&out);
        let (mut rest, mut messages) = (&plain[..], Vec::new());
        while let Some(message) = self.splitter.next(&mut rest).unwrap() {
            messages.push(message.to_vec());
        }
        messages.iter().for_each(|message| self.message_at_relay(message));
    }

    fn datagram_at_relay(&mut self, datagram: &[u8]) {
        let now = self.now;
        let End::Dtls(config, session) = &mut self.end else { return };
        session.get_or_insert_with(|| Box::new(Dtls::server(config, now))).receive(now, datagram);
        self.pump();
    }

    fn pump(&mut self) {
        loop {
            let mut out = Vec::new();
            let End::Dtls(_, Some(session)) = &mut self.end else { return };
            match session.poll(&mut out) {
                None => return,
                Some(Output::Datagram) => self.bytes_at_client(&out),
                Some(Output::Plaintext) => self.message_at_relay(&out),
                Some(Output::Ended) => self.ended = true,
                Some(_) => {}
            }
        }
    }

    fn message_at_relay(&mut self, message: &[u8]) {
        if let Some((_, len)) = channel_data::parse(message) {
            return self.data.push(message[4..4 + len].to_vec());
        }
        let parsed = Message::parse(message).unwrap();
        if let Some(data) = parsed.data() {
            return self.data.push(data.to_vec());
        }
        self.requests += 1;
        if let Some(answer) = self.relay.answer(message) {
            self.say(&answer);
        }
    }

    /// The relay says something.
    fn say(&mut self, message: &[u8]) {
        let mut out = Vec::new();
        match &mut self.end {
            End::Tcp => out.extend_from_slice(message),
            End::Tls(session) => assert!(session.seal(message, &mut out)),
            End::Dtls(_, session) => assert!(session.as_mut().unwrap().seal(message, &mut out)),
            End::Silent => return,
        }
        self.bytes_at_client(&out);
    }

    fn bytes_at_client(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(link) = self.link {
            // In whatever pieces.
            bytes.chunks(100).for_each(|piece| self.client.handle_bytes(self.now, link, piece));
        } else if let Some(socket) = self.socket {
            let mut payload = bytes.to_vec();
            let batch = Datagrams::single(socket, server(), &mut payload);
            let mut forwards = Forwards::default();
            self.client.handle_datagrams(self.now, batch, &mut forwards);
            assert!(forwards.is_empty(), "what is sealed is not in the batch");
        }
    }

    fn send(&mut self, payload: &[u8], stride: usize) {
        let mut out = Vec::new();
        if let Some(transmit) = self.client.encapsulate(self.now, peer(), payload, stride, None, &mut out) {
            self.carry(transmit, &out);
        }
        self.settle();
    }

    fn received(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.client.poll_received())
            .map(|(from, data)| {
                assert_eq!(from, peer());
                data.to_vec()
            })
            .collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.client.handle_timeout(self.now);
        self.settle();
    }

    fn lost(&self) -> Vec<&Lost> {
        let reasons = self.events.iter().map(|event| match event {
            Event::Lost { reason, .. } => Some(reason),
            _ => None,
        });
        reasons.flatten().collect()
    }
}

const ALL: [Over; 3] = [Over::Tcp, Over::Tls, Over::Dtls];

/// RFC 8489 §6.2.2, §6.2.3; RFC 8656 §12.5.
#[test]
fn requests_and_data_go_over_tcp_tls_and_dtls_alike() {
    for over in ALL {
        let mut stage = Stage::allocated(over);
        // By Send indication, then by channel; of lengths that a stream pads.
        stage.send(b"hello", 5);
        stage.client.bind_channel(stage.now, peer()).unwrap();
        stage.settle();
        assert_eq!(stage.client.readiness(peer()), Readiness::Bound, "{over}");
        let batch: Vec<u8> = (0..3002u32).map(|n| n as u8).collect();
        stage.send(&batch, 1001);
        let expected: Vec<Vec<u8>> =
            [b"hello".to_vec()].into_iter().chain(batch.chunks(1001).map(<[u8]>::to_vec)).collect();
        assert_eq!(stage.data, expected, "{over}");

        let mut message = Vec::new();
        write_channel_data(&mut message, 0x4000, b"from the peer");
        stage.say(&message);
        let indication = Builder::new(Class::Indication, Method::DATA, [1; 12]);
        stage.say(&indication.peer_address(peer()).data(b"and again").finish());
        assert_eq!(stage.received(), [b"from the peer".to_vec(), b"and again".to_vec()], "{over}");

        stage.client.close(stage.now);
        stage.settle();
        assert_eq!(stage.events.last(), Some(&Event::Closed), "{over}");
        assert_eq!((stage.socket, stage.link), (None, None), "{over}");
    }
}

/// RFC 8489 §6.2.2: a link repeats by itself; after 39.5 s there is no answer.
#[test]
fn nothing_is_repeated_over_a_link() {
    let mut stage = Stage::allocated(Over::Tcp);
    let asked = stage.requests;
    stage.relay.refuse.clear();
    stage.end = End::Silent;
    stage.client.set_credentials(stage.now, config().credentials);
    stage.settle();
    stage.pieces.clear();
    for _ in 0..39 {
        stage.pass(SECOND);
    }
    assert!(stage.pieces.is_empty() && stage.lost().is_empty());
    assert_eq!(stage.client.counters().retransmitted, 0);
    stage.pass(SECOND);
    assert_eq!(stage.lost(), [&Lost::Unreachable]);
    assert_eq!(stage.requests, asked + 1, "the one that was not answered");
}

#[test]
fn a_relay_that_is_another_one_gets_no_request() {
    for over in [Over::Tls, Over::Dtls] {
        let (transport, end) = secured(over, true);
        let stage = Stage::new(transport, end);
        let bad = Failure::Certificate(BadCertificate::OtherKey);
        assert_eq!(stage.lost(), [&Lost::Insecure(bad)], "{over}");
        assert!(bad.to_string().contains("pin"));
        assert_eq!(stage.requests, 0, "{over}");
    }
}

#[test]
fn a_link_that_ends_costs_the_allocation_and_a_new_one_is_asked_for() {
    for result in [Ok(()), Err(ErrorKind::ConnectionReset)] {
        let mut stage = Stage::allocated(Over::Tcp);
        let link = stage.link.unwrap();
        stage.client.handle_completion(stage.now, Completion::LinkClosed { link, result });
        stage.settle();
        assert_eq!(stage.lost(), [&Lost::Disconnected { kind: result.err() }]);
        assert!(stage.client.relayed().is_empty());
        // Late news of it count for nothing.
        stage.client.handle_completion(stage.now, Completion::Writable { link });
        stage.client.handle_bytes(stage.now, link, b"late");
        stage.splitter = Splitter::default();
        stage.pass(2 * SECOND);
        assert_eq!(stage.client.relayed(), [relayed()]);
        assert_ne!(stage.link, Some(link));
    }
}

#[test]
fn who_can_not_be_connected_to_is_tried_again() {
    let mut stage = Stage::new(Transport::Tcp, End::Silent);
    let link = stage.link.unwrap();
    let refused = Completion::LinkClosed { link, result: Err(ErrorKind::ConnectionRefused) };
    stage.client.handle_completion(stage.now, refused);
    stage.settle();
    assert_eq!(stage.lost(), [&Lost::Rejected { kind: ErrorKind::ConnectionRefused }]);
    stage.end = End::Tcp;
    stage.pass(2 * SECOND);
    assert_eq!(stage.client.relayed(), [relayed()]);
}

#[test]
fn a_silent_handshake_is_given_up() {
    for over in [Over::Tls, Over::Dtls] {
        let (transport, mut end) = secured(over, false);
        if over == Over::Tls {
            end = End::Tcp;
        }
        let mut stage = Stage::new(transport, End::Silent);
        if let Some(socket) = stage.socket {
            stage.client.handle_completion(
                stage.now,
                Completion::Bound { socket, result: Ok(addr("10.0.0.2:40000")) },
            );
        }
        if let Some(link) = stage.link {
            let (local, remote) = (addr("10.0.0.2:40000"), server());
            stage.client.handle_completion(stage.now, Completion::LinkOpened { link, local, remote });
        }
        drop(end);
        let mut out = Vec::new();
        assert!(stage.client.poll_transmit(stage.now, ONE, &mut out).is_some(), "a ClientHello");
        for _ in 0..40 {
            let Some(at) = stage.client.poll_timeout().map(|deadline| deadline.at) else { break };
            if !stage.lost().is_empty() {
                break;
            }
            stage.pass(at - stage.now);
        }
        assert_eq!(stage.lost(), [&Lost::Insecure(Failure::TimedOut)], "{over}");
    }
}

#[test]
fn what_waits_for_a_link_is_bounded_and_data_gives_way() {
    let mut stage = Stage::allocated(Over::Tcp);
    stage.client.bind_channel(stage.now, peer()).unwrap();
    stage.settle();
    stage.takes = false;
    let sent = 400;
    for _ in 0..sent {
        stage.send(&[7; 1000], 1000);
    }
    assert_eq!(stage.pieces.last(), Some(&1004), "one piece, and no more before it was taken");
    let dropped = stage.client.counters().no_room;
    assert!((100..200).contains(&dropped), "256 KiB wait: {dropped}");
    // It is taken at last, in pieces.
    stage.takes = true;
    let link = stage.link.unwrap();
    stage.client.handle_completion(stage.now, Completion::Writable { link });
    stage.settle();
    assert_eq!(stage.data.len() as u64, sent - dropped);
    assert!(stage.pieces.contains(&LINK_PIECE));
}

#[test]
fn garbage_on_a_stream_costs_the_connection() {
    let mut stage = Stage::allocated(Over::Tcp);
    let link = stage.link.unwrap();
    stage.client.handle_bytes(stage.now, link, b"\x80 or whatever else");
    stage.settle();
    assert_eq!((stage.lost(), stage.client.counters().malformed), (vec![&Lost::Nonsense], 1));
}

/// Whoever leaves says so: a relay need not wait until it misses them.
#[test]
fn a_client_that_leaves_says_goodbye_over_tls_and_dtls() {
    for over in [Over::Tls, Over::Dtls] {
        let mut stage = Stage::allocated(over);
        stage.client.close(stage.now);
        stage.settle();
        assert_eq!(stage.events.last(), Some(&Event::Closed), "{over}");
        assert!(stage.has_heard_goodbye(), "{over}");
        assert_eq!((stage.link, stage.socket), (None, None));
    }
}
