use std::collections::BTreeMap;
use std::time::Instant;

use super::*;
use crate::rand::Rng;
use crate::secure::dtls::{ClientConfig, Dtls, NotForDtls, Output, SERVER_TIMEOUT, ServerConfig};
use crate::secure::{BadCertificate, Failure, hello};

const CLIENT: usize = 0;
const SERVER: usize = 1;
const LATENCY: Duration = Duration::from_millis(10);

/// Two sessions with a network between them that loses and reorders.
struct Pair {
    ends: [Option<Dtls>; 2],
    config: ServerConfig,
    now: Instant,
    rng: Rng,
    /// Of a hundred datagrams.
    lost: u32,
    jitter: u32,
    wire: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    sent: u64,
    /// To each.
    bytes: [usize; 2],
    heard: [Vec<Vec<u8>>; 2],
    news: [Vec<Output>; 2],
}

impl Pair {
    fn new(papers: &Papers, name: &str, trust: Trust, seed: u8) -> Self {
        let now = crate::time::start();
        let client = ClientConfig::new(host(name), trust, wall()).seeded(seed.into());
        let config =
            ServerConfig::new(std::slice::from_ref(&papers.leaf), &papers.key).unwrap().seeded(seed.into());
        Self {
            ends: [Some(Dtls::client(&client, now)), None],
            config,
            now,
            rng: Rng::new([seed; 32]),
            lost: 0,
            jitter: 0,
            wire: BTreeMap::new(),
            sent: 0,
            bytes: [0; 2],
            heard: [Vec::new(), Vec::new()],
            news: [Vec::new(), Vec::new()],
        }
    }

    fn send(&mut self, to: usize, datagram: Vec<u8>) {
        self.sent += 1;
        self.bytes[to] += datagram.len();
        if self.rng.below(100) >= self.lost {
            let delay = LATENCY + Duration::from_millis(u64::from(self.rng.below(self.jitter + 1)));
            self.wire.insert((self.now + delay, self.sent), (to, datagram));
        }
    }

    fn settle(&mut self, end: usize) {
        loop {
            let mut out = Vec::new();
            let output = match self.ends[end].as_mut() {
                Some(session) => session.poll(&mut out),
                None => return,
            };
            match output {
                None => {
                    assert!(out.is_empty());
                    return;
                }
                Some(Output::Datagram) => self.send(1 - end, out),
                Some(Output::Plaintext) => self.heard[end].push(out),
                Some(news) => {
                    assert!(out.is_empty());
                    self.news[end].push(news);
                }
            }
        }
    }

    /// Lets time pass, up to `limit`, until `done`.
    fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) {
        let end = self.now + limit;
        loop {
            self.settle(CLIENT);
            self.settle(SERVER);
            if done(self) {
                return;
            }
            let timers = self.ends.iter().flatten().filter_map(Dtls::poll_timeout);
            let next = self.wire.keys().next().map(|&(at, _)| at).into_iter().chain(timers).min();
            let Some(next) = next.filter(|&next| next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            let now = self.now;
            self.ends.iter_mut().flatten().for_each(|session| session.handle_timeout(now));
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= now) {
                let (to, datagram) = entry.remove();
                self.deliver(to, &datagram);
            }
        }
    }

    fn deliver(&mut self, to: usize, datagram: &[u8]) {
        if to == SERVER && self.ends[SERVER].is_none() {
            // What a relay does with a stranger.
            if hello::check(datagram).is_err() {
                return;
            }
            self.ends[SERVER] = Some(Dtls::server(&self.config, self.now));
        }
        let now = self.now;
        if let Some(session) = &mut self.ends[to] {
            session.receive(now, datagram);
        }
        self.settle(to);
    }

    fn is_connected(&self) -> bool {
        self.ends.iter().all(|end| end.as_ref().is_some_and(Dtls::is_connected))
    }

    fn say(&mut self, end: usize, words: &[u8]) {
        let mut out = Vec::new();
        assert!(self.ends[end].as_mut().unwrap().seal(words, &mut out));
        self.send(1 - end, out);
    }
}

fn connected(seed: u8) -> Pair {
    let papers = papers(KeyKind::EcdsaP256);
    let mut pair = Pair::new(&papers, "relay.example", papers.pinned(), seed);
    pair.run(Duration::from_secs(5), Pair::is_connected);
    assert!(pair.is_connected());
    pair
}

#[test]
fn words_pass_both_ways_each_as_it_was_sealed() {
    let papers = papers(KeyKind::EcdsaP256);
    for trust in [papers.anchored(), papers.pinned()] {
        let mut pair = Pair::new(&papers, "relay.example", trust, 1);
        let mut out = Vec::new();
        assert!(!pair.ends[CLIENT].as_mut().unwrap().seal(b"early", &mut out), "nothing waits in there");
        pair.run(Duration::from_secs(5), Pair::is_connected);
        assert_eq!(pair.news, [vec![Output::Connected], vec![Output::Connected]]);
        let said = [vec![1; 1], vec![2; 1300], vec![3; 9000], vec![4; 1300]];
        said.iter().for_each(|words| pair.say(CLIENT, words));
        said.iter().for_each(|words| pair.say(SERVER, words));
        pair.run(Duration::from_secs(1), |_| false);
        assert_eq!(pair.heard, [said.to_vec(), said.to_vec()]);
    }
}

/// As many bytes longer for each: what lets a kernel segment.
#[test]
fn records_of_equal_words_are_equally_long() {
    let mut pair = connected(2);
    let mut lengths = Vec::new();
    for len in [1usize, 1200, 1200, 1300] {
        let mut out = Vec::new();
        assert!(pair.ends[CLIENT].as_mut().unwrap().seal(&vec![7; len], &mut out));
        lengths.push(out.len() - len);
    }
    assert!(lengths.iter().all(|len| *len == lengths[0] && *len <= 37), "{lengths:?}");
}

#[test]
fn a_handshake_survives_loss_and_reordering() {
    let papers = papers(KeyKind::EcdsaP256);
    for seed in 0..30 {
        let mut pair = Pair::new(&papers, "relay.example", papers.pinned(), seed);
        (pair.lost, pair.jitter) = (15, 40);
        // A relay gives up after five seconds; the client that comes back begins anew, as `client` does.
        for _ in 0..5 {
            pair.run(Duration::from_secs(12), Pair::is_connected);
            if pair.is_connected() {
                break;
            }
            let client = ClientConfig::new(host("relay.example"), papers.pinned(), wall());
            pair.ends = [Some(Dtls::client(&client, pair.now)), None];
            pair.wire.clear();
        }
        assert!(pair.is_connected(), "seed {seed}");
        (pair.lost, pair.jitter) = (0, 40);
        pair.wire.clear();
        for n in 0..50 {
            pair.say(CLIENT, &[n; 100]);
        }
        pair.run(Duration::from_secs(1), |_| false);
        let mut heard: Vec<u8> = pair.heard[SERVER].iter().map(|words| words[0]).collect();
        heard.sort_unstable();
        assert_eq!(heard, (0..50).collect::<Vec<_>>(), "reordered, but once each");
    }
}

#[test]
fn a_relay_that_is_not_the_right_one_is_not_believed() {
    let papers = papers(KeyKind::EcdsaP256);
    let other = super::papers(KeyKind::EcdsaP256);
    use BadCertificate as Bad;
    for (name, trust, bad) in [
        ("relay.example", other.pinned(), Bad::OtherKey),
        ("relay.example", other.anchored(), Bad::UnknownIssuer),
        ("other.example", papers.anchored(), Bad::OtherName),
    ] {
        let mut pair = Pair::new(&papers, name, trust, 3);
        pair.run(Duration::from_secs(1), |_| false);
        assert_eq!(pair.news[CLIENT], [Output::Failed(Failure::Certificate(bad))]);
        assert!(!pair.is_connected() && pair.ends[CLIENT].as_ref().unwrap().poll_timeout().is_none());
        // It says nothing more, whatever comes.
        let sent = pair.sent;
        pair.run(Duration::from_secs(60), |_| false);
        assert_eq!(pair.news[SERVER], [Output::Failed(Failure::TimedOut)]);
        assert!(pair.sent > sent, "the relay tries for a while");
    }
}

#[test]
fn half_a_handshake_is_given_up_after_five_seconds() {
    let papers = papers(KeyKind::EcdsaP256);
    let mut pair = Pair::new(&papers, "relay.example", papers.pinned(), 4);
    pair.run(Duration::from_secs(1), |pair| pair.ends[SERVER].is_some());
    let begun = pair.now;
    pair.ends[CLIENT] = None;
    let client = |pair: &Pair| pair.news[SERVER].contains(&Output::Failed(Failure::TimedOut));
    pair.run(Duration::from_secs(60), client);
    assert_eq!(pair.now - begun, SERVER_TIMEOUT);
    // Nobody is flooded by who pretends to be somebody else.
    assert!(pair.bytes[CLIENT] <= 3 * pair.bytes[SERVER], "{:?}", pair.bytes);
}

#[test]
fn a_client_whose_relay_is_silent_gives_up() {
    let papers = papers(KeyKind::EcdsaP256);
    let mut pair = Pair::new(&papers, "relay.example", papers.pinned(), 5);
    pair.lost = 100;
    pair.run(Duration::from_secs(60), |pair| !pair.news[CLIENT].is_empty());
    assert_eq!(pair.news[CLIENT], [Output::Failed(Failure::TimedOut)]);
}

#[test]
fn a_goodbye_is_heard() {
    let mut pair = connected(6);
    pair.ends[CLIENT].as_mut().unwrap().close();
    pair.run(Duration::from_secs(1), |_| false);
    assert_eq!(pair.news[SERVER].last(), Some(&Output::Ended));
    let mut out = Vec::new();
    assert!(!pair.ends[SERVER].as_mut().unwrap().seal(b"more", &mut out));
    assert!(!pair.ends[CLIENT].as_mut().unwrap().seal(b"more", &mut out));
}

/// What a stranger sends in the other end's name ends no connection.
#[test]
fn forged_and_repeated_datagrams_do_no_harm() {
    let mut pair = connected(7);
    let mut out = Vec::new();
    assert!(pair.ends[CLIENT].as_mut().unwrap().seal(b"once", &mut out));
    let record = |kind: u8, epoch: u8, body: &[u8]| {
        let header = [kind, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 99, 0, body.len() as u8];
        [&header[..], body].concat()
    };
    let mut spoilt = out.clone();
    *spoilt.last_mut().unwrap() ^= 1;
    for datagram in [
        record(21, 0, &[2, 40]),
        record(21, 0, &[1, 0]),
        record(21, 1, &[1, 0]),
        record(20, 0, &[1]),
        record(23, 0, b"plain words"),
        record(23, 1, &[0; 40]),
        record(22, 0, &[1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 7, 7]),
        record(22, 0, &[20, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0, 1, 7]),
        vec![22],
        vec![0; 1500],
        spoilt,
        out.clone(),
        out.clone(),
        out,
    ] {
        for _ in 0..40 {
            pair.deliver(SERVER, &datagram);
        }
    }
    assert!(pair.is_connected());
    assert_eq!(pair.heard[SERVER], [b"once".to_vec()]);
    pair.say(CLIENT, b"still here");
    pair.run(Duration::from_secs(1), |_| false);
    assert_eq!(pair.heard[SERVER].last().unwrap(), b"still here");
}

#[test]
fn only_ecdsa_keys_serve_dtls() {
    let made = |papers: &Papers, key: &PrivateKeyDer<'static>| {
        ServerConfig::new(std::slice::from_ref(&papers.leaf), key).map(drop)
    };
    let (ecdsa, other, ed25519) =
        (papers(KeyKind::EcdsaP256), papers(KeyKind::EcdsaP256), papers(KeyKind::Ed25519));
    assert_eq!(made(&ecdsa, &ecdsa.key), Ok(()));
    assert_eq!(made(&ecdsa, &other.key), Err(NotForDtls::Mismatch));
    assert_eq!(made(&ed25519, &ed25519.key), Err(NotForDtls::Kind));
    assert_eq!(ServerConfig::new(&[], &ecdsa.key).map(drop), Err(NotForDtls::Certificate));
    let nonsense = CertificateDer::from(vec![0x30, 0]);
    assert_eq!(ServerConfig::new(&[nonsense], &ecdsa.key).map(drop), Err(NotForDtls::Certificate));
}
