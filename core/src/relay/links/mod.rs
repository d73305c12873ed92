//! Clients that come by TCP: their links, from the connection that is accepted to its end.
//!
//! 1. A connection is taken or refused: there are so many in all, per source, and of those that have not spoken yet.
//! 2. Its first byte tells whether it speaks TLS ([`Speaks`]); who speaks nothing that we do is reset.
//! 3. Its bytes are cut into messages, which are treated as datagrams are, but that what is sent to peers is a copy.
//! 4. What is sent to the client waits in the queue of its link. The driver takes a piece at a time; data that finds the
//!    queue full is dropped, as it would be on a slow network, and a client that does not even take replies is reset.
//! 5. A link that is bound to the connection of a peer (`tcp`) is a pipe from then on. So are the links of peers, which
//!    are here too: their bytes are nobody's messages.
//! 6. Who is silent without an allocation, or takes nothing, is reset in time. An allocation ends with its link.

mod arrival;
mod limits;
mod link;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

pub use limits::LinkLimits;

use super::Relay;
use super::counters::{ConnectionEnd, Drop, LinkEnd};
use super::quota::Way;
use super::source::{Shares, Source};
use super::table::Socket;
use super::tcp::Number;
use super::via::{FiveTuple, Path, Via};
use crate::io::{Arena, Close, Effect, LINK_PIECE, LinkId, SocketId, To, Transmit};
use crate::secure::Speaks;
use crate::secure::tls::Tls;
use crate::time::{Deadline, DeadlineQueue, Why};
use crate::turn::stream::Splitter;
pub(super) use link::Link;
use link::{Secured, Stage};

/// The longest message for a client, in bytes: sealed by TLS it still fits a piece.
const MAX_MESSAGE: usize = LINK_PIECE - 512;

/// What replies may wait beyond the limit of data, in bytes.
const REPLIES: usize = 64 * 1024;

/// All links.
#[derive(Debug)]
pub(super) struct Links {
    links: Arena<LinkId, Link>,
    shares: Shares,
    opening: usize,
    /// Links of peers.
    peers: usize,
    /// Those that have a piece to hand over.
    ready: VecDeque<LinkId>,
    /// Those that have had no room for a reply.
    overflown: Vec<LinkId>,
    /// Alerts of TLS for links that are closed behind them.
    last_words: VecDeque<(LinkId, Vec<u8>)>,
    timers: DeadlineQueue<Timer>,
    limits: LinkLimits,
    /// What came under TLS, in plaintext.
    scratch: Vec<u8>,
    /// How many bytes wait, for all of them.
    waiting: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    /// Nothing has been heard of the client.
    Silence(LinkId),
    /// The client may be taking nothing.
    Write(LinkId),
}

impl Links {
    pub(super) fn new(limits: LinkLimits) -> Self {
        Self {
            links: Arena::default(),
            shares: Shares::default(),
            opening: 0,
            peers: 0,
            ready: VecDeque::new(),
            overflown: Vec::new(),
            last_words: VecDeque::new(),
            timers: DeadlineQueue::default(),
            limits,
            scratch: Vec::new(),
            waiting: 0,
        }
    }

    /// Whether one more may come from `source`.
    ///
    /// # Errors
    /// The limit that is reached.
    fn judge(&self, source: Source) -> Result<(), LinkEnd> {
        if self.len() >= self.limits.total {
            Err(LinkEnd::TooMany)
        } else if self.opening >= self.limits.opening {
            Err(LinkEnd::TooManyOpening)
        } else if self.shares.of(source) >= self.limits.per_source {
            Err(LinkEnd::TooManyOfSource)
        } else {
            Ok(())
        }
    }

    fn insert(&mut self, now: Instant, link: Link) -> LinkId {
        self.shares.add(link.source);
        self.opening += 1;
        let id = self.links.insert(link);
        self.timers.set(Timer::Silence(id), now + self.limits.handshake);
        id
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.links.remove(id)?;
        self.waiting -= link.waiting();
        if matches!(link.pipe, Some((_, Way::ToClients))) {
            self.peers -= 1;
        } else {
            self.shares.remove(link.source);
        }
        self.opening -= usize::from(link.is_opening);
        self.timers.cancel(Timer::Silence(id));
        self.timers.cancel(Timer::Write(id));
        Some(link)
    }

    /// A message has come.
    fn spoke(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            self.opening -= usize::from(std::mem::take(&mut link.is_opening));
        }
    }

    /// From now on, silence ends the link.
    fn await_message(&mut self, now: Instant, id: LinkId) {
        if self.links.get(id).is_some_and(|link| !link.is_opening && link.pipe.is_none()) {
            self.timers.set(Timer::Silence(id), now + self.limits.idle);
        }
    }

    pub(super) fn path(&self, id: LinkId) -> Option<Path> {
        let link = self.links.get(id)?;
        Some(Path { via: Via::Link(id), client: link.client, local: Some(link.local) })
    }

    /// Lets `write` add data of at most `len` bytes to what waits for a client.
    ///
    /// # Errors
    /// [`Drop`], when there is no room or no link.
    pub(super) fn data(
        &mut self,
        id: LinkId,
        len: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Drop> {
        if len > MAX_MESSAGE {
            return Err(Drop::TooLong);
        }
        let most = self.limits.queue;
        self.change(id, |link| link.push(len, most, write)).ok_or(Drop::Away)?.map_err(|_| Drop::LinkFull)?;
        self.note_ready(id);
        Ok(())
    }

    /// Adds a reply to what waits for a client. Whether there was room.
    fn reply(&mut self, id: LinkId, bytes: &[u8]) -> bool {
        let most = self.limits.queue + REPLIES;
        let pushed =
            self.change(id, |link| link.push(bytes.len(), most, |queue| queue.extend_from_slice(bytes)));
        self.note_ready(id);
        pushed.is_none_or(|pushed| pushed.is_ok())
    }

    /// Adds what TLS has to say to a client. Whether there was room.
    fn push_sealed(&mut self, id: LinkId, bytes: &[u8]) -> bool {
        self.change(id, |link| link.push_sealed(bytes)).unwrap_or(true)
    }

    /// Changes what waits for a client, and keeps count of it.
    fn change<T>(&mut self, id: LinkId, change: impl FnOnce(&mut Link) -> T) -> Option<T> {
        let link = self.links.get_mut(id)?;
        self.waiting -= link.waiting();
        let done = change(link);
        self.waiting += link.waiting();
        Some(done)
    }

    fn note_ready(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id)
            && link.has_piece()
            && !std::mem::replace(&mut link.is_queued, true)
        {
            self.ready.push_back(id);
        }
    }

    /// A link to a peer that is an end of connection `number`. It is the driver's to open, or it has come already.
    pub(super) fn insert_peer(&mut self, peer: SocketAddr, local: IpAddr, number: Number) -> LinkId {
        self.peers += 1;
        self.links.insert(Link::to_peer(peer, local, number))
    }

    /// Makes the link of a client an end of connection `number`. Whether it is there.
    pub(super) fn make_pipe(&mut self, id: LinkId, number: Number) -> bool {
        self.timers.cancel(Timer::Silence(id));
        self.links.get_mut(id).map(|link| link.make_pipe(number)).is_some()
    }

    /// The connection that a link is an end of, and which way its bytes go.
    pub(super) fn end_of(&self, id: LinkId) -> Option<(Number, Way)> {
        self.links.get(id)?.pipe
    }

    /// Adds what a pipe carries to what waits. `false` when more than `most` would wait then.
    pub(super) fn pipe(&mut self, id: LinkId, most: usize, bytes: &[u8]) -> bool {
        let pushed =
            self.change(id, |link| link.push(bytes.len(), most, |queue| queue.extend_from_slice(bytes)));
        self.note_ready(id);
        pushed.is_none_or(|pushed| pushed.is_ok())
    }

    /// How many bytes wait for a link.
    pub(super) fn queued(&self, id: LinkId) -> usize {
        self.links.get(id).map_or(0, Link::queued)
    }

    /// Nothing more is said by a pipe. Whether everything was handed over.
    pub(super) fn end_pipe(&mut self, id: LinkId) -> bool {
        let spent = self.links.get_mut(id).is_none_or(Link::end);
        self.note_ready(id);
        spent
    }

    /// Forgets an end of a connection. Whether it was there.
    pub(super) fn forget_end(&mut self, id: LinkId) -> bool {
        self.remove(id).is_some()
    }

    /// The next piece for a client, appended to `out`.
    pub(super) fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        if let Some((id, words)) = self.last_words.pop_front() {
            out.extend_from_slice(&words);
            return Some(piece(id, out.len()));
        }
        while let Some(id) = self.ready.pop_front() {
            let Some(link) = self.links.get_mut(id) else { continue };
            link.is_queued = false;
            if !link.has_piece() {
                continue;
            }
            // What a pipe does not take holds its other end back.
            let watch = link.pipe.is_none() && !std::mem::replace(&mut link.is_watched, true);
            self.change(id, |link| link.take_piece(now, out));
            if watch {
                self.timers.set(Timer::Write(id), now + self.limits.write);
            }
            return Some(piece(id, out.len()));
        }
        None
    }

    /// The driver can take the next piece.
    pub(super) fn writable(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            link.handed_over = None;
            self.note_ready(id);
        }
    }

    /// Whether the client has not taken a piece for too long. Where it has, but has another one, the timer is set again.
    fn is_stuck(&mut self, now: Instant, id: LinkId) -> bool {
        let Some(link) = self.links.get_mut(id) else { return false };
        let Some(since) = link.handed_over.filter(|_| link.pipe.is_none()) else {
            link.is_watched = false;
            return false;
        };
        let end = since + self.limits.write;
        if end > now {
            self.timers.set(Timer::Write(id), end);
        }
        end <= now
    }

    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        self.timers.next().map(|at| Deadline { at, why: Why::Link })
    }

    /// Whether a link speaks TLS: then its bytes have an end of their own, and FIN alone may have cut them off.
    pub(super) fn is_secured(&self, id: LinkId) -> bool {
        self.links.get(id).is_some_and(|link| link.is_secured)
    }

    /// How many of clients there are.
    pub(super) fn len(&self) -> usize {
        self.links.len() - self.peers
    }

    /// How many deadlines they have.
    pub(super) fn timers(&self) -> usize {
        self.timers.len()
    }

    /// How many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Panics unless everything that is counted is there.
    #[cfg(any(test, feature = "check"))]
    pub(super) fn check(&self) {
        let all = || self.links.iter();
        assert_eq!(self.opening, all().filter(|(_, link)| link.is_opening).count());
        assert_eq!(self.shares.total(), self.len());
        assert_eq!(
            self.peers,
            all().filter(|(_, link)| matches!(link.pipe, Some((_, Way::ToClients)))).count()
        );
        assert_eq!(self.waiting, all().map(|(_, link)| link.waiting()).sum());
        for (id, link) in all() {
            assert!(!link.has_piece() || link.is_queued, "it has a piece that nobody fetches");
            assert_eq!(self.timers.get(Timer::Write(id)).is_some(), link.is_watched);
            assert_eq!(self.timers.get(Timer::Silence(id)).is_some(), link.pipe.is_none());
        }
        let live = self.ready.iter().filter(|&&id| self.links.get(id).is_some()).count();
        assert_eq!(live, all().filter(|(_, link)| link.is_queued).count());
        assert!(self.len() <= self.limits.total && self.opening <= self.limits.opening);
    }
}

/// The contract of all machines, as far as links go.
impl Relay {
    /// A connection of a client, or of a peer to a relayed address. `None` refuses it.
    pub fn accept(
        &mut self,
        now: Instant,
        listener: SocketId,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Option<LinkId> {
        if let Some(Socket::Relayed(id)) = self.table.socket(listener) {
            let link = self.accept_peer(now, id, local, remote);
            self.end_overflown(now);
            return link;
        }
        match self.links.judge(Source::of(remote.ip())) {
            Ok(()) => {
                self.counters.links += 1;
                Some(self.links.insert(now, Link::new(remote, local.ip())))
            }
            Err(reason) => {
                self.counters.end_link(reason);
                None
            }
        }
    }

    /// Bytes of a client's link, or of a peer's.
    pub fn handle_bytes(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
        if let Some((number, Way::ToClients)) = self.links.end_of(link) {
            return self.relay_bytes(now, number, Way::ToClients, bytes);
        }
        let Some(&first) = bytes.first() else { return };
        let Some(path) = self.links.path(link) else { return self.counters.drop(Drop::UnknownLink) };
        let Some(mut stage) = self.take_stage(link, first) else {
            return self.end_link(now, link, Close::Reset, LinkEnd::Garbage);
        };
        let end = match &mut stage {
            Stage::New => None,
            Stage::Plain(splitter) => {
                let whole = self.split(now, path, link, splitter, bytes);
                (!whole).then_some((Close::Reset, LinkEnd::Garbage))
            }
            Stage::Secured(secured) => self.unseal(now, path, link, secured, bytes),
        };
        let said_goodbye = matches!(&stage, Stage::Secured(secured) if secured.tls.has_ended());
        let ended = end.is_some();
        self.put_back(now, link, stage, end);
        if let Some((number, way)) = self.links.end_of(link).filter(|_| said_goodbye && !ended) {
            self.stream_ended(now, number, way);
        }
        self.end_overflown(now);
    }
}

impl Relay {
    /// What becomes of a link after its bytes were handled.
    fn put_back(&mut self, now: Instant, link: LinkId, stage: Stage, end: Option<(Close, LinkEnd)>) {
        if let Some(entry) = self.links.links.get_mut(link) {
            entry.stage = stage;
            self.links.note_ready(link);
        }
        match end {
            Some((how, reason)) => {
                self.guests.stay();
                self.end_link(now, link, how, reason);
            }
            None => self.let_link_go(link),
        }
    }

    /// What a link speaks, which its first byte decides; to be put back. `None` when it speaks nothing that we do.
    fn take_stage(&mut self, link: LinkId, first: u8) -> Option<Stage> {
        let entry = self.links.links.get_mut(link)?;
        match (std::mem::replace(&mut entry.stage, Stage::New), Speaks::of_stream(first)) {
            // ChannelData is nobody's first message: there is no channel yet.
            (Stage::New, Some(Speaks::Stun)) => Some(Stage::Plain(Splitter::default())),
            (Stage::New, Some(Speaks::Tls)) => {
                let tls = Tls::server(self.config.tls.as_ref()?).ok()?;
                entry.is_secured = true;
                Some(Stage::Secured(Box::new(Secured { tls, splitter: Splitter::default() })))
            }
            (Stage::New, _) => None,
            (stage, _) => Some(stage),
        }
    }

    /// Handles the messages of a stream under TLS. How and why the link ends, if it does.
    fn unseal(
        &mut self,
        now: Instant,
        path: Path,
        link: LinkId,
        secured: &mut Secured,
        bytes: &[u8],
    ) -> Option<(Close, LinkEnd)> {
        let (mut plaintext, mut out) = (std::mem::take(&mut self.links.scratch), Vec::new());
        let before = secured.tls.is_handshaking();
        let received = secured.tls.receive(bytes, &mut plaintext, &mut out);
        self.counters.tls += u64::from(before && !secured.tls.is_handshaking());
        let whole = self.split(now, path, link, &mut secured.splitter, &plaintext);
        plaintext.clear();
        self.links.scratch = plaintext;
        let is_pipe = self.links.end_of(link).is_some();
        if secured.tls.has_ended() && !is_pipe {
            secured.tls.close(&mut out);
        }
        let room = self.links.push_sealed(link, &out);
        match received {
            Err(_) => Some((Close::Finish, LinkEnd::Tls)),
            Ok(()) if !whole => Some((Close::Reset, LinkEnd::Garbage)),
            Ok(()) if secured.tls.has_ended() && !is_pipe => Some((Close::Finish, LinkEnd::Closed)),
            Ok(()) => (!room).then_some((Close::Reset, LinkEnd::TakesNothing)),
        }
    }

    /// Handles the messages of a stream. `false` when it is no stream of messages.
    fn split(
        &mut self,
        now: Instant,
        path: Path,
        link: LinkId,
        splitter: &mut Splitter,
        mut piece: &[u8],
    ) -> bool {
        let mut known = self.nothing_known();
        let mut whole = true;
        while let Some(entry) = self.links.links.get(link) {
            if let Some((number, way)) = entry.pipe {
                // The rest is no message, but the first that the client has to say to its peer.
                self.relay_bytes(now, number, way, piece);
                break;
            }
            if !self.links.overflown.is_empty() || self.guests.is_departing() {
                break;
            }
            match splitter.next(&mut piece) {
                Ok(Some(message)) => {
                    self.links.spoke(link);
                    self.receive_message(now, path, message, &mut known);
                }
                Ok(None) => break,
                Err(_) => {
                    whole = false;
                    break;
                }
            }
        }
        self.guests.take_along(piece);
        self.account(&known);
        if self.table.find(path.five_tuple()).is_none() {
            self.links.await_message(now, link);
        }
        whole
    }

    /// Queues a reply on a link. A client that lets so much pile up is reset.
    pub(super) fn reply_on_link(&mut self, link: LinkId, bytes: &[u8]) {
        if !self.links.reply(link, bytes) {
            self.links.overflown.push(link);
        }
    }

    /// Ends the links whose clients have let too many replies pile up.
    pub(super) fn end_overflown(&mut self, now: Instant) {
        while let Some(link) = self.links.overflown.pop() {
            self.end_link(now, link, Close::Reset, LinkEnd::TakesNothing);
        }
    }

    /// Ends a link from here.
    fn end_link(&mut self, now: Instant, link: LinkId, how: Close, reason: LinkEnd) {
        if let Some(words) = self.links.change(link, Link::last_words) {
            if let Some(words) = words.filter(|_| how == Close::Finish) {
                self.links.last_words.push_back((link, words));
            }
            self.effect(Effect::CloseLink { link, how });
            self.forget_link(now, link, reason);
        }
    }

    /// The driver says that a link has ended.
    pub(super) fn link_closed(&mut self, now: Instant, link: LinkId, result: Result<(), ErrorKind>) {
        if let Some((number, Way::ToClients)) = self.links.end_of(link) {
            self.links.forget_end(link);
            return self.peer_link_closed(number, result);
        }
        self.forget_link(now, link, if result.is_ok() { LinkEnd::Closed } else { LinkEnd::Broken });
    }

    fn forget_link(&mut self, now: Instant, id: LinkId, reason: LinkEnd) {
        let Some(link) = self.links.remove(id) else { return };
        self.counters.end_link(reason);
        match link.pipe {
            Some((number, _)) => self.end_connection(number, ConnectionEnd::Broken),
            None => self.lose(now, FiveTuple { client: link.client, via: Via::Link(id) }),
        }
    }

    /// Resets the links whose time has come.
    pub(super) fn expire_links(&mut self, now: Instant) {
        while let Some(timer) = self.links.timers.pop_due(now) {
            match timer {
                Timer::Silence(link) => self.expire_silence(now, link),
                Timer::Write(link) => {
                    if self.links.is_stuck(now, link) {
                        self.end_link(now, link, Close::Reset, LinkEnd::TakesNothing);
                    }
                }
            }
        }
    }

    fn expire_silence(&mut self, now: Instant, link: LinkId) {
        let Some(path) = self.links.path(link) else { return };
        let is_opening = self.links.links.get(link).is_some_and(|link| link.is_opening);
        if is_opening {
            self.end_link(now, link, Close::Reset, LinkEnd::NeverSpoke);
        } else if self.table.find(path.five_tuple()).is_none() {
            self.end_link(now, link, Close::Reset, LinkEnd::Idle);
        } else {
            // It may lose its allocation; its client then has some time, but not for ever.
            self.links.await_message(now, link);
        }
    }
}

const _: () = assert!(REPLIES >= LINK_PIECE);

/// So many bytes for a link.
fn piece(link: LinkId, len: usize) -> Transmit {
    Transmit { to: To::Link(link), from: None, ecn: None, stride: len, whole: false }
}
