//! A relay with the driver of its connections, the ends of these, and a model of what must come out of each.

mod driver;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use adit_core::io::{Completion, Datagrams, Forwards, LINK_PIECE, LinkId, SocketId};
use adit_core::relay::{Config, ConnectionLimits, LinkLimits, Listen, Relay, RelayAddress, ReplyBudget};
use adit_core::stun::{Builder, Class, Message, Method, TransactionId};
use adit_core::time::Clock;
use adit_core::turn::address_policy::{Network, Policy};
use adit_core::turn::credentials::{Authenticator, Credentials};
use adit_core::turn::stream::Splitter;

/// A small relay, so that limits are met.
const LINKS: usize = 8;
const CONNECTIONS: usize = 4;
const QUEUE: usize = 8 * 1024;
const TOTAL_QUOTA: u32 = 4;
const LISTENING: u16 = 3478;
const START: Duration = Duration::from_secs(1_700_000_000);
/// RFC 8656 §9.
const PERMISSION: Duration = Duration::from_secs(300);
/// How many bytes a second are relayed for a user, where there is a rate.
const RATE: NonZeroU64 = NonZeroU64::new(10_000).expect("not zero");
/// What may wait for an end of a connection, in bytes, if the other one says more than it is read.
const MOST_WAITING: usize = 16 * LINK_PIECE;

/// A relay at 192.0.2.1, and all that it is connected with.
pub(super) struct Bench {
    relay: Relay,
    now: Instant,
    sockets: Vec<(SocketId, SocketAddr)>,
    ends: BTreeMap<LinkId, End>,
    pipes: Vec<Pipe>,
    /// What the driver is yet to open: which link, and to whom.
    dialled: Vec<(LinkId, SocketAddr)>,
    /// Connections that the relay has told of: whose they are, and the link of the peer.
    connections: BTreeMap<u32, (User, LinkId)>,
    /// Requests whose answers have not been heard, and by which link they went.
    asked: BTreeMap<TransactionId, (LinkId, Asked)>,
    /// Peers of whom no client has heard yet: their links, whence they came, and to where.
    knocked: Vec<(LinkId, SocketAddr, SocketAddr)>,
    /// Who has each relayed address.
    owners: BTreeMap<SocketAddr, LinkId>,
    /// Until when each peer may be heard by whom.
    permitted: BTreeMap<(LinkId, IpAddr), Instant>,
    /// Whose bytes the relay has just been given.
    current: Option<LinkId>,
    transactions: u64,
    clients: u16,
}

/// The other end of a link.
struct End {
    role: Role,
    /// What the relay has sent and nobody has looked at.
    received: Vec<u8>,
    /// The second half of a request.
    rest: Vec<u8>,
    /// What a peer has said before its connection was bound.
    early: Vec<u8>,
    /// The relay wants to hear from it.
    is_read: bool,
    /// Its two ways end each by itself.
    is_pipe: bool,
    has_finished: bool,
    /// The relay has sent FIN.
    is_told_all: bool,
    takes: bool,
    /// A piece was not taken yet.
    is_full: bool,
}

enum Role {
    Client {
        user: User,
        nonce: String,
        splitter: Splitter,
    },
    /// A peer whose connection nobody has bound.
    Peer,
    /// One end of a connection: which, and which end.
    Pipe(usize, Side),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Alice,
    Bob,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Peer,
}

/// A connection that is bound: what each side has said and heard.
#[derive(Default)]
struct Pipe {
    said: [Vec<u8>; 2],
    heard: [Vec<u8>; 2],
}

enum Asked {
    Permit(IpAddr),
    /// To have a connection opened: the link that the driver was asked to open.
    Connect(Option<LinkId>),
    /// To bind a connection, and what was sent behind that.
    Bind {
        number: u32,
        tail: Vec<u8>,
    },
    Other,
}

fn config(rate: Option<NonZeroU64>) -> Config {
    let authenticator = Authenticator::new("adit").with_user("alice", "wonder").with_user("bob", "builder");
    let mut config = Config::new(authenticator);
    let v4 = IpAddr::from([192, 0, 2, 1]);
    config.listen = vec![Listen::tcp(SocketAddr::new(v4, LISTENING))];
    config.ipv4 = Some(RelayAddress::direct(v4));
    config.policy = [[203, 0, 113, 0], [192, 0, 2, 0]]
        .iter()
        .fold(Policy::default_deny(), |policy, &base| policy.allow(Network::new(base.into(), 24)));
    config.ports = 50000..=50005;
    config.max_rate = rate;
    (config.max_permissions, config.max_channels) = (3, 2);
    (config.user_quota, config.total_quota) = (Some(3), Some(TOTAL_QUOTA));
    config.reply_budget = ReplyBudget { rate: 1000, burst: 100_000 };
    config.links =
        LinkLimits { total: LINKS, per_source: 5, opening: 4, queue: QUEUE, ..LinkLimits::default() };
    let all = CONNECTIONS;
    config.connections =
        ConnectionLimits { total: all, per_allocation: 3, pending: 2, ..ConnectionLimits::default() };
    config
}

impl User {
    fn credentials(self) -> Credentials {
        let (name, password) = match self {
            Self::Alice => ("alice", "wonder"),
            Self::Bob => ("bob", "builder"),
        };
        Credentials { username: name.to_owned(), password: password.to_owned() }
    }
}

impl End {
    fn new(role: Role) -> Self {
        let (received, rest, early) = Default::default();
        Self {
            role,
            received,
            rest,
            early,
            is_read: true,
            is_pipe: false,
            has_finished: false,
            is_told_all: false,
            takes: true,
            is_full: false,
        }
    }
}

/// What happens.
impl Bench {
    pub(super) fn new(has_rate: bool) -> Self {
        let now = Instant::now();
        let relay = Relay::new(config(has_rate.then_some(RATE)), Clock::new(now, START), now, [7; 32]);
        let mut bench = Self {
            relay,
            now,
            sockets: Vec::new(),
            ends: BTreeMap::new(),
            pipes: Vec::new(),
            dialled: Vec::new(),
            connections: BTreeMap::new(),
            asked: BTreeMap::new(),
            knocked: Vec::new(),
            owners: BTreeMap::new(),
            permitted: BTreeMap::new(),
            current: None,
            transactions: 0,
            clients: 0,
        };
        bench.settle();
        bench
    }

    /// A client connects, and asks for a nonce.
    pub(super) fn connect(&mut self, source: u8) {
        self.clients += 1;
        let remote = SocketAddr::new([198, 51, 100, source % 3].into(), 4000 + self.clients);
        let (listener, local) = self.sockets[0];
        let Some(link) = self.relay.accept(self.now, listener, local, remote) else { return };
        let user = if source & 4 == 0 { User::Alice } else { User::Bob };
        let role = Role::Client { user, nonce: String::new(), splitter: Splitter::default() };
        self.ends.insert(link, End::new(role));
        let question = self.builder(Method::ALLOCATE, link, Asked::Other).requested_transport(6).finish();
        self.hand_over(link, &question);
    }

    /// A client sends a signed request: to the `cut`th byte for the time being, or whole with `tail` bytes behind it.
    pub(super) fn ask(
        &mut self,
        end: u8,
        method: Method,
        (cut, tail): (Option<u8>, u8),
        fill: impl Fn(Builder) -> Builder,
    ) {
        let Some(link) = self.speaker(end) else { return };
        let Some(End { role: Role::Client { user, nonce, .. }, .. }) = self.ends.get(&link) else { return };
        let (credentials, nonce) = (user.credentials(), nonce.clone());
        let has_tail = method == Method::CONNECTION_BIND && cut.is_none();
        let tail: Vec<u8> = if has_tail { (0..tail).collect() } else { Vec::new() };
        let plain = fill(Builder::new(Class::Request, method, [0; 12])).finish();
        let message = Message::parse(&plain).expect("we have made it");
        let asked = match method {
            Method::CREATE_PERMISSION | Method::CHANNEL_BIND => {
                let peer = message.peer_address().expect("a good address").expect("there is one");
                Asked::Permit(peer.ip())
            }
            Method::CONNECT => Asked::Connect(None),
            Method::CONNECTION_BIND => {
                let number = message.connection_id().expect("a number").expect("there is one");
                Asked::Bind { number, tail: tail.clone() }
            }
            _ => Asked::Other,
        };
        let builder = fill(self.builder(method, link, asked));
        let builder = builder.username(&credentials.username).realm("adit").nonce(&nonce);
        let mut bytes = builder.finish_with_integrity(&credentials.key("adit"));
        bytes.extend_from_slice(&tail);
        let cut = cut.map_or(bytes.len(), usize::from).min(bytes.len());
        if let Some(end) = self.ends.get_mut(&link) {
            end.rest = bytes.split_off(cut);
        }
        self.hand_over(link, &bytes);
    }

    pub(super) fn raw(&mut self, end: u8, bytes: &[u8]) {
        let Some(link) = self.speaker(end) else { return };
        self.hand_over(link, bytes);
    }

    /// An end of a connection says so many bytes more, or a peer that nobody has bound does; where it is not read, only if
    /// the driver had read them before it was told so.
    pub(super) fn carry(&mut self, end: u8, len: usize, late: bool) {
        let Some(link) = self.nth(end, |it| !matches!(it.role, Role::Client { .. }) && !it.has_finished)
        else {
            return;
        };
        let Some(end) = self.ends.get_mut(&link) else { return };
        if !end.is_read && !late {
            return;
        }
        let said = match end.role {
            Role::Pipe(pipe, side) => &mut self.pipes[pipe].said[side as usize],
            _ => &mut end.early,
        };
        let from = said.len();
        // A prime, so that nothing lies where it might as well.
        said.extend((from..from + len).map(|at| (at % 251) as u8));
        let bytes = said[from..].to_vec();
        self.hand_over(link, &bytes);
    }

    /// FIN of an end, behind all that it has said.
    pub(super) fn finish(&mut self, end: u8) {
        let Some(link) = self.nth(end, |it| it.is_read && !it.has_finished) else { return };
        let Some(end) = self.ends.get_mut(&link) else { return };
        if end.is_pipe {
            end.has_finished = true;
            self.relay.handle_completion(self.now, Completion::LinkFinished { link });
            self.settle();
        } else {
            self.lose(link, Ok(()));
        }
    }

    pub(super) fn break_off(&mut self, end: u8) {
        let Some(link) = self.nth(end, |_| true) else { return };
        self.lose(link, Err(ErrorKind::ConnectionReset));
    }

    pub(super) fn stick(&mut self, end: u8, stuck: bool) {
        let Some(link) = self.nth(end, |_| true) else { return };
        self.set_taking(link, !stuck);
    }

    /// All take what is for them.
    pub(super) fn unstick(&mut self) {
        let links: Vec<LinkId> = self.ends.keys().copied().collect();
        links.into_iter().for_each(|link| self.set_taking(link, true));
    }

    fn set_taking(&mut self, link: LinkId, takes: bool) {
        let Some(end) = self.ends.get_mut(&link) else { return };
        end.takes = takes;
        if takes && std::mem::take(&mut end.is_full) {
            self.relay.handle_completion(self.now, Completion::Writable { link });
        }
        self.settle();
    }

    /// A peer connects to a relayed address of TCP, if there is one.
    pub(super) fn knock(&mut self, socket: u8, peer: SocketAddr) {
        let (listener, local) = self.sockets[usize::from(socket) % self.sockets.len()];
        if local.port() == LISTENING {
            return;
        }
        let Some(link) = self.relay.accept(self.now, listener, local, peer) else { return };
        let owner = self.owners.get(&local).copied();
        assert!(self.may_be_heard(owner, peer.ip()), "{peer} has no permission");
        self.ends.insert(link, End::new(Role::Peer));
        self.knocked.push((link, peer, local));
        self.settle();
    }

    pub(super) fn opened(&mut self, which: u8, succeeds: bool) {
        if self.dialled.is_empty() {
            return;
        }
        let (link, remote) = self.dialled.remove(usize::from(which) % self.dialled.len());
        let done = if succeeds {
            self.ends.insert(link, End::new(Role::Peer));
            let local = SocketAddr::new([192, 0, 2, 1].into(), 50000);
            Completion::LinkOpened { link, local, remote }
        } else {
            Completion::LinkClosed { link, result: Err(ErrorKind::ConnectionRefused) }
        };
        self.relay.handle_completion(self.now, done);
        self.settle();
    }

    pub(super) fn datagram(&mut self, socket: u8, remote: SocketAddr, len: usize) {
        let (socket, at) = self.sockets[usize::from(socket) % self.sockets.len()];
        if at.port() == LISTENING {
            return;
        }
        let mut payload = vec![3; len];
        let stride = len.max(1);
        let batch = Datagrams { socket, remote, local: None, ecn: None, stride, payload: &mut payload };
        let mut forwards = Forwards::default();
        self.relay.handle_datagrams(self.now, batch, &mut forwards);
        assert_eq!(forwards.runs().len(), 0, "what goes to a link is copied");
        self.settle();
    }

    /// Lets time pass in one leap, so that everything is late.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.relay.handle_timeout(self.now);
        self.settle();
        let next = self.relay.poll_timeout();
        assert!(next.is_none_or(|next| next.at > self.now), "it asks for what is over");
    }

    /// One of the connections that the relay has told of.
    pub(super) fn connection(&self, which: u8) -> u32 {
        let place = usize::from(which) % (self.connections.len() + 1);
        self.connections.keys().nth(place).copied().unwrap_or(1)
    }
}

/// What must be.
impl Bench {
    pub(super) fn check(&self) {
        self.relay.check();
        let held = self.relay.holdings();
        assert!(held.links <= LINKS && held.connections <= CONNECTIONS, "{held:?}");
        assert!(held.allocations <= TOTAL_QUOTA as usize);
        let clients = LINKS * (QUEUE + 64 * 1024);
        assert!(held.link_bytes <= clients + 2 * CONNECTIONS * (MOST_WAITING + LINK_PIECE), "{held:?}");
        let is_peers = |end: &&End| matches!(end.role, Role::Peer | Role::Pipe(_, Side::Peer));
        let peers = self.ends.values().filter(is_peers).count();
        assert_eq!(held.links, self.ends.len() - peers, "links of clients, and what is open");
        assert_eq!(held.connections, peers + self.dialled.len(), "connections, and what is open");
    }

    /// Everything that was said on the connections that stand has been heard.
    pub(super) fn has_arrived(&self) {
        for end in self.ends.values() {
            match end.role {
                Role::Pipe(pipe, _) if self.stands(pipe) => self.pipes[pipe].is_complete(),
                Role::Peer => assert!(end.received.is_empty(), "nobody has said anything to it"),
                _ => {}
            }
        }
    }

    /// Whether a peer has a permission, as far as its client may know: the answer may not have been taken yet.
    fn may_be_heard(&self, client: Option<LinkId>, peer: IpAddr) -> bool {
        let until = client.and_then(|client| self.permitted.get(&(client, peer)));
        let is_asked = |(_, asked): &(LinkId, Asked)| matches!(asked, Asked::Permit(ip) if *ip == peer);
        until.is_some_and(|until| self.now < *until) || self.asked.values().any(is_asked)
    }

    /// Both ends of a connection are there.
    fn stands(&self, pipe: usize) -> bool {
        self.ends.values().filter(|end| matches!(end.role, Role::Pipe(other, _) if other == pipe)).count()
            == 2
    }

    /// Nothing is left.
    pub(super) fn is_empty(&self) {
        let held = self.relay.holdings();
        assert_eq!((held.allocations, held.links, held.connections, held.link_bytes), (0, 0, 0, 0));
        assert!(self.ends.is_empty(), "the relay has forgotten them, and not closed them");
        assert_eq!(self.sockets.len(), 1, "all relayed sockets were given back");
        assert_eq!(self.relay.poll_timeout(), None, "nothing is left to wait for");
    }
}

impl Pipe {
    /// What was heard is the beginning of what was said.
    fn check(&self) {
        for (said, heard) in [(0, 1), (1, 0)] {
            assert!(self.said[said].starts_with(&self.heard[heard]), "something else was said");
        }
    }

    fn is_complete(&self) {
        assert_eq!(self.said[0].len(), self.heard[1].len(), "of what the client has said");
        assert_eq!(self.said[1].len(), self.heard[0].len(), "of what the peer has said");
    }
}
