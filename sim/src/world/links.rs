//! TCP between hosts: links, whose bytes the machines frame themselves (pipes to targets are another matter).
//!
//! A link loses nothing and reorders nothing; what the way between the hosts does to single packets costs it time. It
//! ends when an end closes it, when the machine at an end is killed, or when nothing has got through for half a minute.

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adit_core::io::{Close, Completion, LinkId, SocketId};

use super::World;
use crate::network::HostIndex;

/// How many bytes a host takes from its machine before they have arrived.
const BUFFER: usize = 256 * 1024;
/// When bytes that did not get through are sent again.
const AGAIN: Duration = Duration::from_millis(500);
/// After how long that is given up.
const GIVE_UP: Duration = Duration::from_secs(30);

/// All links of a world, those included that are over.
#[derive(Debug, Default)]
pub(super) struct Links {
    all: Vec<[End; 2]>,
    by_end: BTreeMap<(HostIndex, LinkId), Side>,
    listeners: BTreeMap<(HostIndex, SocketAddr), SocketId>,
    ports: u16,
}

/// One end of a link, by the number of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Side {
    number: usize,
    end: usize,
}

impl Side {
    fn other(self) -> Self {
        Self { end: 1 - self.end, ..self }
    }
}

#[derive(Debug)]
struct End {
    host: HostIndex,
    life: u32,
    /// Nothing before the other end has accepted, and after this end is over.
    link: Option<LinkId>,
    addr: SocketAddr,
    /// What did not get out yet, and since when nothing does.
    outbox: VecDeque<Vec<u8>>,
    stuck: Option<Instant>,
    /// When the last byte that got out arrives.
    arrives: Instant,
    /// How many bytes were taken and not read at the other end.
    on_the_way: usize,
    /// The machine waits to hear that more is taken.
    waits: bool,
    /// It has said everything.
    finished: bool,
    /// Its two ways end each by itself.
    is_pipe: bool,
    /// The other end has said everything, and this one has heard of it.
    has_heard_all: bool,
    reads: bool,
    unread: VecDeque<Vec<u8>>,
}

impl End {
    fn new(host: HostIndex, life: u32, addr: SocketAddr, now: Instant) -> Self {
        Self {
            host,
            life,
            link: None,
            addr,
            outbox: VecDeque::new(),
            stuck: None,
            arrives: now,
            on_the_way: 0,
            waits: false,
            finished: false,
            is_pipe: false,
            has_heard_all: false,
            reads: true,
            unread: VecDeque::new(),
        }
    }
}

/// What machines ask for.
impl World {
    pub(super) fn listen(&mut self, host: HostIndex, listener: SocketId, addr: SocketAddr) {
        let here = &self.hosts[host];
        let result = match (addr.port(), self.links.listeners.contains_key(&(host, addr))) {
            (0, _) => Err(ErrorKind::Unsupported),
            (_, true) => Err(ErrorKind::AddrInUse),
            _ if !addr.ip().is_unspecified() && !here.addresses.contains(&addr.ip()) => {
                Err(ErrorKind::AddrNotAvailable)
            }
            _ => Ok(addr),
        };
        if result.is_ok() {
            self.links.listeners.insert((host, addr), listener);
        }
        self.complete(host, Self::SYSTEM_CALL, Completion::Bound { socket: listener, result });
    }

    pub(super) fn unlisten(&mut self, host: HostIndex, listener: SocketId) {
        self.links.listeners.retain(|&(of, _), id| of != host || *id != listener);
    }

    pub(super) fn open_link(
        &mut self,
        host: HostIndex,
        link: LinkId,
        (to, from): (SocketAddr, Option<SocketAddr>),
        timeout: Duration,
    ) {
        let now = self.now();
        let from = from.or_else(|| {
            self.links.ports = self.links.ports.wrapping_add(1) % 16_384;
            let port = 49_152 + self.links.ports;
            let public = self.network.addresses_of(host).iter().find(|ip| ip.is_ipv4() == to.is_ipv4());
            public.map(|&ip| SocketAddr::new(ip, port))
        });
        let crossing = from.ok_or(crate::network::Drop::NoHost);
        let crossing = crossing.and_then(|_| self.network.stream_to(now, host, to, 40));
        let (Some(from), Ok((there, arrives))) = (from, crossing) else {
            let done = Completion::LinkClosed { link, result: Err(ErrorKind::TimedOut) };
            return self.complete(host, timeout, done);
        };
        let number = self.links.all.len();
        let mut near = End::new(host, self.hosts[host].life, from, now);
        near.link = Some(link);
        let far = End::new(there, self.hosts[there].life, to, now);
        self.links.all.push([near, far]);
        self.links.by_end.insert((host, link), Side { number, end: 0 });
        self.after(arrives - now, move |world| world.knock(number));
    }

    pub(super) fn close_link(&mut self, host: HostIndex, link: LinkId, how: Close) {
        let Some(side) = self.links.by_end.remove(&(host, link)) else { return };
        let now = self.now();
        let end = self.end(side);
        end.link = None;
        let had_finished = std::mem::replace(&mut end.finished, true);
        if how == Close::Reset {
            end.outbox.clear();
            return self.tell_end(side.other(), now, Err(ErrorKind::ConnectionReset));
        }
        if end.outbox.is_empty() && !had_finished {
            let arrives = end.arrives;
            self.tell_end(side.other(), arrives, Ok(()));
        }
    }

    pub(super) fn pipe_link(&mut self, host: HostIndex, link: LinkId) {
        if let Some(&side) = self.links.by_end.get(&(host, link)) {
            self.end(side).is_pipe = true;
        }
    }

    pub(super) fn finish_link(&mut self, host: HostIndex, link: LinkId) {
        let Some(&side) = self.links.by_end.get(&(host, link)) else { return };
        let end = self.end(side);
        if std::mem::replace(&mut end.finished, true) || !end.outbox.is_empty() {
            return;
        }
        let arrives = end.arrives;
        self.tell_end(side.other(), arrives, Ok(()));
    }

    pub(super) fn read_link(&mut self, host: HostIndex, link: LinkId, read: bool) {
        let Some(&side) = self.links.by_end.get(&(host, link)) else { return };
        self.end(side).reads = read;
        if read {
            self.after(Self::SYSTEM_CALL, move |world| world.deliver(side));
        }
    }

    /// Takes bytes of a machine.
    pub(super) fn transmit_link(&mut self, host: HostIndex, link: LinkId, bytes: &[u8]) {
        let Some(&side) = self.links.by_end.get(&(host, link)) else { return };
        let end = self.end(side);
        assert!(!end.waits, "bytes for a link before it was writable");
        end.on_the_way += bytes.len();
        end.outbox.push_back(bytes.to_vec());
        end.waits = true;
        self.push(side);
        self.tell_writable(side);
    }

    /// The machine of a host is no more: whoever is at the other ends finds out.
    pub(super) fn cut_links(&mut self, host: HostIndex) {
        let now = self.now();
        self.links.listeners.retain(|&(of, _), _| of != host);
        let gone: Vec<Side> =
            self.links.by_end.iter().filter(|((of, _), _)| *of == host).map(|(_, &side)| side).collect();
        self.links.by_end.retain(|&(of, _), _| of != host);
        for side in gone {
            self.end(side).link = None;
            self.end(side).outbox.clear();
            self.tell_end(side.other(), now, Err(ErrorKind::ConnectionReset));
        }
    }
}

/// What happens to links.
impl World {
    fn end(&mut self, side: Side) -> &mut End {
        &mut self.links.all[side.number][side.end]
    }

    /// A connection comes to a host.
    fn knock(&mut self, number: usize) {
        let (near, far) = (Side { number, end: 0 }, Side { number, end: 1 });
        let (host, to) = (self.end(far).host, self.end(far).addr);
        let remote = self.end(near).addr;
        self.end(far).life = self.hosts[host].life;
        let any = self.links.listeners.iter().find(|((of, addr), _)| {
            *of == host && addr.port() == to.port() && (addr.ip() == to.ip() || addr.ip().is_unspecified())
        });
        let listener = any.map(|(_, &listener)| listener).filter(|_| self.hosts[host].asleep.is_none());
        let now = self.now();
        let machine = self.hosts[host].machine.as_mut();
        let link =
            listener.zip(machine).and_then(|(listener, machine)| machine.accept(now, listener, to, remote));
        match link {
            Some(link) => {
                self.end(far).link = Some(link);
                self.links.by_end.insert((host, link), far);
                let opened = move |world: &mut Self| {
                    let (local, remote) = (world.end(near).addr, world.end(far).addr);
                    let tell = |link| Completion::LinkOpened { link, local, remote };
                    world.tell(near, tell);
                };
                let back = self.way_back(far).unwrap_or(Self::SYSTEM_CALL);
                self.after(back, opened);
                self.settle(host);
            }
            None => self.tell_end(near, now, Err(ErrorKind::ConnectionRefused)),
        }
    }

    /// The time from one end to the other for a bare segment; nothing where none gets through.
    fn way_back(&mut self, from: Side) -> Option<Duration> {
        let (now, host, to) = (self.now(), self.end(from).host, self.end(from.other()).host);
        let arrives =
            self.network.stream_between(now, host, to, self.links.all[from.number][1].addr.port(), 40);
        arrives.ok().map(|arrives| arrives - now)
    }

    /// Sends what waits at an end, as far as it gets through.
    fn push(&mut self, side: Side) {
        let (now, elapsed) = (self.now(), self.elapsed());
        let port = self.links.all[side.number][1].addr.port();
        let (from, to) = (self.end(side).addr, self.end(side.other()).addr);
        let (host, there) = (self.end(side).host, self.end(side.other()).host);
        while let Some(bytes) = self.end(side).outbox.pop_front() {
            match self.network.stream_between(now, host, there, port, bytes.len()) {
                Ok(arrives) => {
                    self.network.trace.record(elapsed, from, to, bytes.len());
                    let end = self.end(side);
                    end.stuck = None;
                    end.arrives = end.arrives.max(arrives);
                    let after = end.arrives - now;
                    self.after(after, move |world| {
                        let other = world.end(side.other());
                        other.unread.push_back(bytes);
                        world.deliver(side.other());
                    });
                }
                Err(_) => {
                    let end = self.end(side);
                    end.outbox.push_front(bytes);
                    let since = *end.stuck.get_or_insert(now);
                    if now - since >= GIVE_UP {
                        self.tell_end(side, now, Err(ErrorKind::TimedOut));
                        return self.tell_end(side.other(), now, Err(ErrorKind::TimedOut));
                    }
                    return self.after(AGAIN, move |world| world.push(side));
                }
            }
        }
        let end = self.end(side);
        if end.finished {
            let arrives = end.arrives;
            self.tell_end(side.other(), arrives, Ok(()));
        }
    }

    /// Gives an end what has arrived.
    fn deliver(&mut self, side: Side) {
        loop {
            let end = self.end(side);
            let (host, life, Some(link), true) = (end.host, end.life, end.link, end.reads) else { return };
            if self.hosts[host].life != life || self.hosts[host].asleep.is_some() {
                return;
            }
            let end = self.end(side);
            let Some(bytes) = end.unread.pop_front() else {
                if std::mem::take(&mut end.has_heard_all) {
                    self.tell(side, |link| Completion::LinkFinished { link });
                }
                return;
            };
            self.end(side.other()).on_the_way -= bytes.len();
            self.input(host, |machine, now| machine.handle_bytes(now, link, &bytes));
            self.tell_writable(side.other());
        }
    }

    fn tell_writable(&mut self, side: Side) {
        let end = self.end(side);
        if end.waits && end.on_the_way <= BUFFER {
            end.waits = false;
            self.after(Self::SYSTEM_CALL, move |world| {
                world.tell(side, |link| Completion::Writable { link });
            });
        }
    }

    /// An end hears at `at` that it is over.
    fn tell_end(&mut self, side: Side, at: Instant, result: Result<(), ErrorKind>) {
        let latency = self.way_back(side.other()).unwrap_or(GIVE_UP);
        let after = at.saturating_duration_since(self.now()).max(latency);
        self.after(after, move |world| {
            let end = world.end(side);
            if result.is_ok() && end.is_pipe && end.link.is_some() {
                end.has_heard_all = true;
                return world.deliver(side);
            }
            world.tell(side, |link| Completion::LinkClosed { link, result });
            let end = world.end(side);
            if let Some(link) = end.link.take() {
                let host = end.host;
                world.links.by_end.remove(&(host, link));
            }
        });
    }

    fn tell(&mut self, side: Side, completion: impl FnOnce(LinkId) -> Completion) {
        let end = self.end(side);
        let (host, life, Some(link)) = (end.host, end.life, end.link) else { return };
        if self.hosts[host].life == life {
            self.input(host, |machine, now| machine.handle_completion(now, completion(link)));
        }
    }
}
