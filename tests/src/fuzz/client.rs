//! A client, and a relay that answers as it likes: well, badly, late, twice, or with something else altogether.
//!
//! The client never asks for a time that is over, never sends without end, and hears only peers that it wants to.
//! Once the relay is honest again, the client has an allocation before long.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use adit_core::client::{Client, Config, Event, Families};
use adit_core::io::{Completion, Datagrams, Effect, Forwards, Onward, SocketId, To};
use adit_core::stun::{Builder, Class, ErrorCode, Message, Method};
use adit_core::time::{Clock, UnixTime};
use adit_core::turn::channel_data;
use adit_core::turn::credentials::Credentials;
use arbitrary::{Arbitrary, Unstructured};

const MOST_STEPS: usize = 96;
/// Requests that may leave at one instant: all permissions, all channels and a refresh.
const MOST_REQUESTS: usize = 64;
const UNIX: Duration = Duration::from_secs(1_700_000_000);

/// What may happen to a client.
#[derive(Debug, Arbitrary)]
enum Step {
    /// The relay answers the oldest request that waits.
    Answer(Answer),
    /// It says what nobody asked for.
    Data {
        peer: u8,
        len: u8,
        stride: u8,
    },
    Channel {
        number: u8,
        len: u8,
    },
    Raw(Vec<u8>),
    /// The owner wants something.
    Permit(u8),
    Forbid(u8),
    Bind(u8),
    Release(u8),
    Send {
        peer: u8,
        len: u16,
        stride: u8,
    },
    Renew(bool),
    Clock(u16),
    Close,
    /// The system says something.
    Icmp(bool),
    NoSockets(bool),
    Wait(u16),
    WaitLong(u16),
}

/// How a relay answers.
#[derive(Debug, Arbitrary)]
enum Answer {
    Well,
    Never,
    Twice,
    Challenge {
        stale: bool,
        nonce: u8,
    },
    Refuse {
        code: u16,
        signed: bool,
    },
    /// A good answer with damage.
    Spoilt {
        at: u16,
        bits: u8,
    },
    /// A good answer to another transaction, from elsewhere, or unsigned.
    Odd {
        transaction: bool,
        elsewhere: bool,
        unsigned: bool,
    },
    Lifetime(u32),
    Addresses(Vec<(bool, u8)>),
}

/// Runs the steps that `bytes` stand for.
pub fn client(bytes: &[u8]) {
    let mut unstructured = Unstructured::new(bytes);
    let families = match unstructured.arbitrary::<u8>().unwrap_or_default() % 3 {
        0 => Families::V4,
        1 => Families::V6,
        _ => Families::Both,
    };
    let mut bench = Bench::new(families);
    let steps = unstructured.arbitrary_iter::<Step>().into_iter().flatten().flatten();
    for step in steps.take(MOST_STEPS) {
        bench.run(step);
    }
    bench.ends_well();
}

struct Bench {
    client: Client,
    families: Families,
    now: Instant,
    socket: Option<SocketId>,
    no_sockets: bool,
    nonce: u8,
    waiting: Vec<Vec<u8>>,
    closed: bool,
}

fn server() -> SocketAddr {
    SocketAddr::new([192, 0, 2, 1].into(), 3478)
}

fn peer(index: u8) -> SocketAddr {
    let port = 5000 + u16::from(index / 6 % 3);
    match index % 6 {
        0..=3 => SocketAddr::new([203, 0, 113, index % 6].into(), port),
        other => SocketAddr::new(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(other)]), port),
    }
}

fn credentials() -> Credentials {
    Credentials { username: "gw".to_owned(), password: "secret".to_owned() }
}

impl Bench {
    fn new(families: Families) -> Self {
        let now = Instant::now();
        let config = Config { families, ..Config::new(server(), credentials()) };
        let client = Client::new(config, Clock::new(now, UNIX), now, [9; 32]);
        let mut bench = Self {
            client,
            families,
            now,
            socket: None,
            no_sockets: false,
            nonce: 0,
            waiting: Vec::new(),
            closed: false,
        };
        bench.settle();
        bench
    }

    fn run(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Answer(answer) => self.answer(answer),
            Step::Data { peer: index, len, stride } => self.data(peer(index), len.into(), stride.into()),
            Step::Channel { number, len } => {
                let mut datagram = channel_data::header(0x4000 + u16::from(number % 8), len.into()).to_vec();
                datagram.resize(4 + usize::from(len), 7);
                self.deliver(server(), datagram, usize::MAX);
            }
            Step::Raw(bytes) => self.deliver(server(), bytes, usize::MAX),
            Step::Permit(index) => drop(self.client.permit(now, peer(index).ip())),
            Step::Forbid(index) => self.client.forbid(peer(index).ip()),
            Step::Bind(index) => drop(self.client.bind_channel(now, peer(index))),
            Step::Release(index) => self.client.release_channel(peer(index)),
            Step::Send { peer: index, len, stride } => self.send(peer(index), len.into(), stride.into()),
            Step::Renew(good) => {
                let password = if good { credentials().password } else { "wrong".to_owned() };
                self.client.set_credentials(now, Credentials { password, ..credentials() });
            }
            Step::Clock(seconds) => {
                self.client.handle_clock(now, UnixTime(UNIX.as_secs() + u64::from(seconds)));
            }
            Step::Close => {
                self.client.close(now);
                self.closed = true;
            }
            Step::Icmp(refused) => self.icmp(refused),
            Step::NoSockets(none) => self.no_sockets = none,
            Step::Wait(milliseconds) => self.pass(Duration::from_millis(milliseconds.into())),
            Step::WaitLong(seconds) => self.pass(Duration::from_secs(seconds.into())),
        }
        self.settle();
    }

    /// The relay is honest from now on.
    fn ends_well(mut self) {
        self.no_sockets = false;
        self.client.set_credentials(self.now, credentials());
        self.settle();
        let end = self.now + Duration::from_secs(300);
        while self.now < end {
            while !self.waiting.is_empty() {
                self.answer(Answer::Well);
                self.settle();
            }
            let next = self.client.poll_timeout().map_or(end, |deadline| deadline.at.min(end));
            self.pass(next - self.now);
            self.settle();
        }
        assert_eq!(self.client.relayed().is_empty(), self.closed, "an honest relay is found within minutes");
    }

    /// Lets time pass in one leap, so that everything is late.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.client.handle_timeout(self.now);
        let next = self.client.poll_timeout();
        assert!(next.is_none_or(|next| next.at > self.now), "it asks for what is over: {next:?}");
    }

    fn settle(&mut self) {
        let mut sent = 0;
        loop {
            let mut out = Vec::new();
            while let Some(transmit) = self.client.poll_transmit(self.now, NonZeroUsize::MIN, &mut out) {
                sent += 1;
                assert!(sent <= MOST_REQUESTS, "it sends without end");
                assert_eq!(transmit.stride, out.len());
                assert!(
                    matches!(transmit.to, To::Udp { socket, to } if Some(socket) == self.socket && to == server())
                );
                assert_eq!(Message::parse(&out).map(|message| message.class()), Ok(Class::Request));
                self.waiting.push(std::mem::take(&mut out));
            }
            // What a slow relay never answers is not kept for ever.
            let old = self.waiting.len().saturating_sub(MOST_REQUESTS);
            self.waiting.drain(..old);
            let Some(event) = self.client.poll_event() else { return };
            self.handle(event);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Effect(Effect::Bind { socket, .. }) => {
                assert!(self.socket.is_none(), "one socket at a time");
                let result = match self.no_sockets {
                    true => Err(ErrorKind::AddrInUse),
                    false => Ok(SocketAddr::new([10, 0, 0, 2].into(), 40_000)),
                };
                self.socket = result.is_ok().then_some(socket);
                self.client.handle_completion(self.now, Completion::Bound { socket, result });
            }
            Event::Effect(Effect::Unbind { socket }) => {
                assert!(self.socket.is_none_or(|bound| bound == socket));
                self.socket = None;
                self.waiting.clear();
            }
            Event::Effect(other) => panic!("a client never asks for {other:?}"),
            Event::Lost { retry_in, .. } => assert!(retry_in <= Duration::from_secs(60)),
            Event::Allocated { relayed, .. } => assert!((1..=2).contains(&relayed.len())),
            _ => {}
        }
    }

    fn icmp(&mut self, refused: bool) {
        let kind = if refused { ErrorKind::ConnectionRefused } else { ErrorKind::HostUnreachable };
        if let Some(socket) = self.socket {
            let error = Completion::TransportError { socket, peer: server(), kind, mtu: None };
            self.client.handle_completion(self.now, error);
        }
    }

    fn send(&mut self, to: SocketAddr, len: usize, stride: usize) {
        let (payload, mut out) = (vec![3; len], Vec::new());
        let transmit = self.client.encapsulate(self.now, to, &payload, stride, None, &mut out);
        match transmit {
            None => assert!(out.is_empty()),
            Some(transmit) => {
                let datagrams: Vec<&[u8]> = out.chunks(transmit.stride).collect();
                assert_eq!(datagrams.len(), len.div_ceil(stride.max(1)));
                let data: Vec<u8> =
                    datagrams.iter().flat_map(|datagram| data_of(datagram, to)).copied().collect();
                assert_eq!(data, payload, "what is framed is what was given");
            }
        }
    }

    fn data(&mut self, from: SocketAddr, len: usize, stride: usize) {
        let builder = Builder::new(Class::Indication, Method::DATA, [5; 12]);
        let datagram = builder.peer_address(from).data(&vec![8; len]).finish();
        self.deliver(server(), datagram.repeat(1 + stride % 3), datagram.len());
    }

    fn deliver(&mut self, remote: SocketAddr, mut payload: Vec<u8>, stride: usize) {
        let Some(socket) = self.socket else { return };
        let stride = stride.min(payload.len()).max(1);
        let mut batch = Datagrams { socket, remote, local: None, ecn: None, stride, payload: &mut payload };
        let mut forwards = Forwards::default();
        self.client.handle_datagrams(self.now, batch.reborrow(), &mut forwards);
        for run in forwards.drain() {
            assert!(matches!(run.onward, Onward::Owner { .. }), "a client forwards nothing");
            assert!(!run.segments.is_empty() && run.segments.end <= batch.len());
            assert_eq!(run.body(&batch, run.segments.start).len(), run.len);
        }
    }

    fn answer(&mut self, answer: Answer) {
        if self.waiting.is_empty() {
            return;
        }
        let bytes = self.waiting.remove(0);
        let request = Message::parse(&bytes).expect("a client sends messages");
        let key = credentials().key("adit");
        let signed = |builder: Builder| builder.finish_with_integrity(&key);
        let well = self.honest(&request);
        let granted = self.grant(&request, 600);
        match answer {
            Answer::Never => {}
            Answer::Well => self.deliver(server(), well, usize::MAX),
            Answer::Twice => {
                self.deliver(server(), well.clone(), usize::MAX);
                self.deliver(server(), well, usize::MAX);
            }
            Answer::Challenge { stale, nonce } => {
                self.nonce = nonce;
                let challenge = self.challenge(&request, if stale { 438 } else { 401 });
                self.deliver(server(), challenge, usize::MAX);
            }
            Answer::Refuse { code, signed: sign } => {
                let code = ErrorCode { code: 300 + code % 300, reason: "no".to_owned() };
                let refusal =
                    Builder::new(Class::Error, request.method(), request.transaction()).error_code(&code);
                self.deliver(server(), if sign { signed(refusal) } else { refusal.finish() }, usize::MAX);
            }
            Answer::Spoilt { at, bits } => {
                let (mut spoilt, at) = (well, usize::from(at));
                let at = at % spoilt.len();
                spoilt[at] ^= bits;
                self.deliver(server(), spoilt, usize::MAX);
            }
            Answer::Odd { transaction, elsewhere, unsigned } => {
                let mut odd = if unsigned { granted.finish() } else { well };
                odd[8] ^= u8::from(transaction);
                let from = if elsewhere { peer(0) } else { server() };
                self.deliver(from, odd, usize::MAX);
            }
            Answer::Lifetime(seconds) => {
                let builder = Builder::success(&request).relayed_address(relayed(false, 0));
                let builder = builder.lifetime(Duration::from_secs(seconds.into()));
                self.deliver(server(), signed(builder), usize::MAX);
            }
            Answer::Addresses(addresses) => {
                let builder = Builder::success(&request).lifetime(Duration::from_secs(600));
                let addresses = addresses.into_iter().take(9).map(|(v6, last)| relayed(v6, last));
                let builder = addresses.fold(builder, Builder::relayed_address);
                self.deliver(server(), signed(builder), usize::MAX);
            }
        }
    }

    /// What a good relay says.
    fn honest(&self, request: &Message<'_>) -> Vec<u8> {
        let key = credentials().key("adit");
        if !request.has_integrity() || request.verify(&key).is_err() {
            return self.challenge(request, 401);
        }
        if request.nonce() != Ok(Some(&self.nonce.to_string())) {
            return self.challenge(request, 438);
        }
        let lifetime = request.lifetime().ok().flatten().map_or(600, |lifetime| lifetime.as_secs());
        self.grant(request, lifetime).finish_with_integrity(&key)
    }

    fn grant(&self, request: &Message<'_>, lifetime: u64) -> Builder {
        let builder = Builder::success(request).lifetime(Duration::from_secs(lifetime));
        match request.method() {
            Method::ALLOCATE => match self.families {
                Families::V4 => builder.relayed_address(relayed(false, 0)),
                Families::V6 => builder.relayed_address(relayed(true, 0)),
                Families::Both => {
                    builder.relayed_address(relayed(false, 0)).relayed_address(relayed(true, 0))
                }
            },
            _ => builder,
        }
    }

    fn challenge(&self, request: &Message<'_>, code: u16) -> Vec<u8> {
        Builder::error(request, code, "again").realm("adit").nonce(&self.nonce.to_string()).finish()
    }
}

fn relayed(v6: bool, last: u8) -> SocketAddr {
    match v6 {
        false => SocketAddr::new([192, 0, 2, last].into(), 50_000),
        true => SocketAddr::new(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)]), 50_000),
    }
}

/// The data in a datagram of the client for `to`.
fn data_of(datagram: &[u8], to: SocketAddr) -> &[u8] {
    if let Some((_, len)) = channel_data::parse(datagram) {
        return &datagram[4..4 + len];
    }
    let message = Message::parse(datagram).expect("it is a Send indication");
    assert_eq!(message.peer_address(), Ok(Some(to)));
    message.data().expect("it has data")
}
