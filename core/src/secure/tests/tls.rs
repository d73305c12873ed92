use super::*;
use crate::secure::tls::{ClientConfig, ServerConfig, Tls, UnusableCertificate};
use crate::secure::{BadCertificate, Failure};

/// Both ends, and what each has heard.
struct Pair {
    ends: [Tls; 2],
    heard: [Vec<u8>; 2],
    /// What is on its way to each.
    wire: [Vec<u8>; 2],
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

impl Pair {
    fn new(papers: &Papers, name: &str, trust: Trust, wall: WallCell) -> Self {
        let chain = vec![papers.leaf.clone()];
        let server = ServerConfig::new(chain, papers.key.clone_key(), super::wall()).unwrap();
        let mut hello = Vec::new();
        let client = Tls::client(&ClientConfig::new(host(name), trust, wall), &mut hello).unwrap();
        assert_eq!(hello[0], 22, "what Speaks goes by");
        let ends = [client, Tls::server(&server).unwrap()];
        Self { ends, heard: [Vec::new(), Vec::new()], wire: [Vec::new(), hello] }
    }

    /// Carries bytes in pieces until nothing is on its way; the first failure ends that.
    fn run(&mut self, piece: usize) -> Result<(), (usize, Failure)> {
        while self.wire.iter().any(|wire| !wire.is_empty()) {
            for end in [CLIENT, SERVER] {
                let mut out = Vec::new();
                for bytes in std::mem::take(&mut self.wire[end]).chunks(piece) {
                    let received = self.ends[end].receive(bytes, &mut self.heard[end], &mut out);
                    if let Err(failure) = received {
                        self.wire[1 - end].extend(out);
                        return Err((end, failure));
                    }
                }
                self.wire[1 - end].extend(out);
            }
        }
        Ok(())
    }

    fn say(&mut self, end: usize, words: &[u8]) {
        let mut out = Vec::new();
        assert!(self.ends[end].seal(words, &mut out));
        self.wire[1 - end].extend(out);
    }
}

fn pair(trust: impl Fn(&Papers) -> Trust) -> Pair {
    let papers = papers(KeyKind::EcdsaP256);
    Pair::new(&papers, "relay.example", trust(&papers), wall())
}

#[test]
fn words_pass_both_ways_however_the_stream_is_cut() {
    for (piece, trust) in
        [(1, Papers::anchored as fn(&Papers) -> Trust), (7, Papers::pinned), (1 << 20, Papers::pinned)]
    {
        let mut pair = pair(trust);
        let mut out = Vec::new();
        assert!(!pair.ends[CLIENT].seal(b"early", &mut out) && out.is_empty(), "nothing waits in there");
        assert_eq!(pair.run(piece), Ok(()));
        assert!(pair.ends.iter().all(|end| !end.is_handshaking()));
        // More than a record holds.
        let much: Vec<u8> = (0..100_000u32).map(|n| n as u8).collect();
        pair.say(CLIENT, &much);
        pair.say(SERVER, b"answer");
        assert_eq!(pair.run(piece), Ok(()));
        assert_eq!((&pair.heard[SERVER], &pair.heard[CLIENT]), (&much, &b"answer".to_vec()));
    }
}

#[test]
fn a_goodbye_is_heard_and_nothing_behind_it() {
    let mut pair = pair(Papers::pinned);
    pair.run(1000).unwrap();
    pair.say(CLIENT, b"last");
    let mut out = Vec::new();
    pair.ends[CLIENT].close(&mut out);
    out.extend(b"whatever somebody adds");
    pair.wire[SERVER].extend(out);
    assert!(!pair.ends[SERVER].has_ended());
    assert_eq!(pair.run(1000), Ok(()));
    assert!(pair.ends[SERVER].has_ended());
    assert_eq!(pair.heard[SERVER], b"last");
}

#[test]
fn a_relay_that_is_not_the_right_one_is_not_believed() {
    let papers = papers(KeyKind::EcdsaP256);
    let other = super::papers(KeyKind::EcdsaP256);
    let late = || WallCell::new(UnixTime(NOW.0 + LIFE + 1));
    use BadCertificate as Bad;
    for (name, trust, wall, bad) in [
        ("relay.example", other.pinned(), wall(), Bad::OtherKey),
        ("relay.example", other.anchored(), wall(), Bad::UnknownIssuer),
        ("other.example", papers.anchored(), wall(), Bad::OtherName),
        ("192.0.2.2", papers.anchored(), wall(), Bad::OtherName),
        ("relay.example", papers.anchored(), late(), Bad::Expired),
        ("relay.example", papers.anchored(), WallCell::new(UnixTime(NOW.0 - 1000)), Bad::NotYet),
    ] {
        let mut pair = Pair::new(&papers, name, trust, wall);
        assert_eq!(pair.run(1000), Err((CLIENT, Failure::Certificate(bad))), "{bad:?}");
        // The relay hears why.
        assert!(matches!(pair.run(1000), Err((SERVER, Failure::Alert(_)))));
    }
    // A pinned key needs neither name nor date.
    let mut pair = Pair::new(&papers, "other.example", papers.pinned(), late());
    assert_eq!(pair.run(1000), Ok(()));
    let mut pair = Pair::new(&papers, "192.0.2.1", papers.anchored(), wall());
    assert_eq!(pair.run(1000), Ok(()));
}

#[test]
fn what_is_not_tls_fails_at_once_and_what_is_spoilt_later() {
    let mut stranger = pair(Papers::pinned);
    let (mut heard, mut out) = (Vec::new(), Vec::new());
    let nonsense = stranger.ends[SERVER].receive(b"GET / HTTP/1.1\r\n\r\n", &mut heard, &mut out);
    assert_eq!(nonsense, Err(Failure::NotTls));

    let mut pair = pair(Papers::pinned);
    pair.run(1000).unwrap();
    pair.say(CLIENT, b"first");
    pair.say(CLIENT, b"second");
    *pair.wire[SERVER].last_mut().unwrap() ^= 1;
    assert_eq!(pair.run(1 << 20), Err((SERVER, Failure::Broken)));
    assert_eq!(pair.heard[SERVER], b"first", "what was sound was said");
}

#[test]
fn an_older_client_is_served_and_a_client_without_anything_in_common_is_told() {
    let papers = papers(KeyKind::Ed25519);
    let server = ServerConfig::new(vec![papers.leaf.clone()], papers.key.clone_key(), wall()).unwrap();
    let mut session = Tls::server(&server).unwrap();
    // A ClientHello of TLS 1.2 with one suite that is not served, RSA with RC4.
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0, 5, 1, 0]].concat();
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    let record = [&[22, 3, 1, 0, message.len() as u8][..], &message].concat();
    let (mut heard, mut out) = (Vec::new(), Vec::new());
    assert_eq!(session.receive(&record, &mut heard, &mut out), Err(Failure::Incompatible));
    assert_eq!(out.first(), Some(&21), "an alert");
}

#[test]
fn a_key_that_is_not_the_certificates_is_refused() {
    let (papers, other) = (papers(KeyKind::EcdsaP256), papers(KeyKind::EcdsaP256));
    let made = ServerConfig::new(vec![papers.leaf], other.key, wall());
    assert_eq!(made.map(drop), Err(UnusableCertificate));
    assert_eq!(ServerConfig::new(vec![], papers.key, wall()).map(drop), Err(UnusableCertificate));
}
