//! The hop: what carries messages between the client and its relay.
//!
//! | over | how a message travels | what is repeated |
//! | --- | --- | --- |
//! | UDP | one datagram each | requests (RFC 8489 §6.2.1) |
//! | DTLS | one record each, in a datagram of its own | the same |
//! | TCP, TLS | one behind the other (RFC 8656 §12.5) | nothing (RFC 8489 §6.2.2) |
//!
//! A datagram socket of DTLS and a link first have to become a hop: a handshake, a connection. Only then is an
//! allocation asked for. What waits for a link is bounded; data that finds no room is dropped, as on any way.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{Client, Event, Lost, State, Timer};
use crate::io::{Close, Completion, Effect, LINK_PIECE, LinkId, SocketId, SocketKind, To, Transmit};
use crate::secure::dtls::{self, Dtls, Output};
use crate::secure::tls::{self, Tls};
use crate::turn::stream::Splitter;

/// How long a connection to the relay may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a handshake of TLS may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many bytes may wait for a link before data is dropped.
const MAX_WAITING: usize = 256 * 1024;
/// How many bytes of peers may wait for the owner.
const MAX_RECEIVED: usize = 1024 * 1024;

/// What carries TURN between a client and its relay.
#[derive(Debug, Clone, Default)]
pub enum Transport {
    /// UDP.
    #[default]
    Udp,
    /// DTLS over UDP.
    Dtls(dtls::ClientConfig),
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls(tls::ClientConfig),
}

/// The kind of a [`Transport`], from the one that costs least to the one that gets through most networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Over {
    /// UDP.
    Udp,
    /// DTLS over UDP.
    Dtls,
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// Its kind.
    pub fn over(&self) -> Over {
        match self {
            Self::Udp => Over::Udp,
            Self::Dtls(_) => Over::Dtls,
            Self::Tcp => Over::Tcp,
            Self::Tls(_) => Over::Tls,
        }
    }
}

impl std::fmt::Display for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Dtls => "DTLS",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        })
    }
}

/// What a client has of it.
#[derive(Debug)]
pub(super) enum Hop {
    Socket(Socket),
    Link(Box<Link>),
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) id: SocketId,
    pub(super) bound: bool,
    pub(super) session: Option<Box<Dtls>>,
    /// Datagrams of the session's handshake.
    flight: VecDeque<Vec<u8>>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    opened: bool,
    /// Whoever carries it has taken everything that was handed over.
    writable: bool,
    splitter: Splitter,
    session: Option<Tls>,
    /// What waits to be handed over.
    waiting: Vec<u8>,
}

impl Hop {
    pub(super) fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Socket(socket) => Some(socket),
            Self::Link(_) => None,
        }
    }

    pub(super) fn link(&mut self) -> Option<&mut Link> {
        match self {
            Self::Socket(_) => None,
            Self::Link(link) => Some(link),
        }
    }
}

impl Socket {
    /// Whether datagrams are carried as they are.
    pub(super) fn is_plain(&self) -> bool {
        self.session.is_none()
    }
}

impl Link {
    /// Lets a message wait; `false` when there is no room, or no session yet.
    fn push(&mut self, message: &[u8]) -> bool {
        if self.waiting.len() + message.len() > MAX_WAITING {
            return false;
        }
        match &mut self.session {
            Some(session) => session.seal(message, &mut self.waiting),
            None => {
                self.waiting.extend_from_slice(message);
                true
            }
        }
    }

    /// The next piece.
    fn pop(&mut self, out: &mut Vec<u8>) -> Option<Transmit> {
        if !self.opened || !self.writable || self.waiting.is_empty() {
            return None;
        }
        let piece = self.waiting.len().min(LINK_PIECE);
        out.extend(self.waiting.drain(..piece));
        self.writable = false;
        Some(Transmit { to: To::Link(self.id), from: None, ecn: None, stride: piece, whole: false })
    }
}

/// Data of peers that came in a hop other than plain UDP.
#[derive(Debug, Default)]
pub(super) struct Received {
    bytes: BytesMut,
    each: VecDeque<(SocketAddr, usize)>,
}

impl Received {
    /// `false` when the owner has not taken what came before.
    fn push(&mut self, peer: SocketAddr, data: &[u8]) -> bool {
        if self.bytes.len() + data.len() > MAX_RECEIVED {
            return false;
        }
        self.bytes.extend_from_slice(data);
        self.each.push_back((peer, data.len()));
        true
    }

    pub(super) fn pop(&mut self) -> Option<(SocketAddr, BytesMut)> {
        let (peer, len) = self.each.pop_front()?;
        Some((peer, self.bytes.split_to(len)))
    }
}

impl Client {
    /// Asks for a socket or a link; the rest follows when it is there.
    pub(super) fn begin_hop(&mut self) {
        let (hop, effect) = match self.config.transport {
            Transport::Udp | Transport::Dtls(_) => {
                let id = self.sockets.insert(());
                let (addr, kind) = (self.config.bind, SocketKind::Client);
                let socket = Socket { id, bound: false, session: None, flight: VecDeque::new() };
                (Hop::Socket(socket), Effect::Bind { socket: id, addr, kind })
            }
            Transport::Tcp | Transport::Tls(_) => {
                let id = self.links.insert(());
                let (to, timeout) = (self.config.server, OPEN_TIMEOUT);
                let link = Link {
                    id,
                    opened: false,
                    writable: false,
                    splitter: Splitter::default(),
                    session: None,
                    waiting: Vec::new(),
                };
                (Hop::Link(Box::new(link)), Effect::OpenLink { link: id, to, from: None, timeout })
            }
        };
        self.hop = Some(hop);
        self.events.push_back(Event::Effect(effect));
    }

    /// Gives it up. Who leaves says so, where TLS or DTLS has a word for it; that is to be sent before the effect is carried
    /// out.
    pub(super) fn forget_hop(&mut self, how: Close) {
        if how == Close::Finish {
            self.goodbye = self.farewell();
        }
        let effect = match self.hop.take() {
            None => return,
            Some(Hop::Socket(Socket { id, .. })) => {
                self.sockets.remove(id);
                Effect::Unbind { socket: id }
            }
            Some(Hop::Link(link)) => {
                self.links.remove(link.id);
                Effect::CloseLink { link: link.id, how }
            }
        };
        self.events.push_back(Event::Effect(effect));
    }

    /// What is still to be said, if it can be said at once.
    fn farewell(&mut self) -> Option<(Transmit, Vec<u8>)> {
        let to = self.to_server(0, None);
        let mut out = Vec::new();
        match self.hop.as_mut()? {
            Hop::Socket(socket) => {
                let session = socket.session.as_mut()?;
                session.close();
                while session.poll(&mut out)? != Output::Datagram {
                    out.clear();
                }
                Some((Transmit { stride: out.len(), ..to? }, out))
            }
            Hop::Link(link) => {
                link.session.as_mut()?.close(&mut link.waiting);
                let transmit = link.pop(&mut out)?;
                Some((transmit, out))
            }
        }
    }

    /// What is said to a relay whose hop was given up: an owner that gives the hop up as soon as it hears of that asks before.
    pub(crate) fn poll_goodbye(&mut self, out: &mut Vec<u8>) -> Option<Transmit> {
        let (transmit, bytes) = self.goodbye.take()?;
        out.extend_from_slice(&bytes);
        Some(transmit)
    }

    /// Requests are not repeated: what carries them does that.
    pub(super) fn is_reliable(&self) -> bool {
        matches!(self.hop, Some(Hop::Link(_)))
    }

    // --- news of it ------------------------------------------------------------------------------------------

    pub(super) fn on_completion(&mut self, now: Instant, done: Completion) {
        match (done, &mut self.hop) {
            (Completion::Bound { socket, result }, Some(Hop::Socket(own))) if own.id == socket => {
                match result {
                    Ok(_) if !own.bound => {
                        own.bound = true;
                        self.bound(now);
                    }
                    Ok(_) => {}
                    Err(kind) => {
                        self.hop = None;
                        self.sockets.remove(socket);
                        self.lose(now, Lost::NoSocket { kind });
                    }
                }
            }
            (Completion::TransportError { socket, kind, .. }, Some(Hop::Socket(own))) if own.id == socket => {
                self.transport_error(now, kind);
            }
            (Completion::LinkOpened { link, .. }, Some(Hop::Link(own))) if own.id == link && !own.opened => {
                (own.opened, own.writable) = (true, true);
                self.opened(now);
            }
            (Completion::Writable { link }, Some(Hop::Link(own))) if own.id == link => {
                own.writable = own.opened;
            }
            (Completion::LinkClosed { link, result }, Some(Hop::Link(own))) if own.id == link => {
                let opened = own.opened;
                self.hop = None;
                self.links.remove(link);
                self.link_closed(now, opened, result);
            }
            _ => {}
        }
    }

    fn bound(&mut self, now: Instant) {
        let (Transport::Dtls(config), Some(Hop::Socket(socket))) = (&self.config.transport, &mut self.hop)
        else {
            return self.carried(now);
        };
        socket.session = Some(Box::new(Dtls::client(config, now)));
        self.pump_session(now);
    }

    fn opened(&mut self, now: Instant) {
        let (Transport::Tls(config), Some(Hop::Link(link))) = (&self.config.transport, &mut self.hop) else {
            return self.carried(now);
        };
        match Tls::client(config, &mut link.waiting) {
            Ok(session) => {
                link.session = Some(session);
                self.timers.set(Timer::Handshake, now + HANDSHAKE_TIMEOUT);
            }
            Err(failure) => self.lose(now, Lost::Insecure(failure)),
        }
    }

    /// There is a hop: for the first request, or for the next one of an allocation that has lost another.
    fn carried(&mut self, now: Instant) {
        match self.state {
            State::Allocating => self.allocate(now),
            State::Allocated(_) => self.resume(now),
            State::Waiting | State::Closing | State::Closed => {}
        }
    }

    fn link_closed(&mut self, now: Instant, opened: bool, result: Result<(), ErrorKind>) {
        let reason = match result {
            Err(kind) if !opened => Lost::Rejected { kind },
            Err(kind) => Lost::Disconnected { kind: Some(kind) },
            Ok(()) => Lost::Disconnected { kind: None },
        };
        self.lose(now, reason);
    }

    // --- what comes in ---------------------------------------------------------------------------------------

    /// A datagram of DTLS.
    pub(super) fn receive_sealed(&mut self, now: Instant, datagram: &[u8]) {
        if let Some(Hop::Socket(Socket { session: Some(session), .. })) = &mut self.hop {
            session.receive(now, datagram);
            self.pump_session(now);
        }
    }

    /// A session of DTLS has its own repetitions.
    pub(super) fn session_timeout(&mut self, now: Instant) {
        if let Some(Hop::Socket(Socket { session: Some(session), .. })) = &mut self.hop {
            session.handle_timeout(now);
            self.pump_session(now);
        }
    }

    /// Acts on all that a session of DTLS has to tell.
    fn pump_session(&mut self, now: Instant) {
        let mut out = std::mem::take(&mut self.scratch);
        loop {
            out.clear();
            let Some(Hop::Socket(Socket { session: Some(session), flight, .. })) = &mut self.hop else {
                break;
            };
            match session.poll(&mut out) {
                None => break,
                Some(Output::Datagram) => flight.push_back(out.clone()),
                Some(Output::Plaintext) => self.take_message(now, &out),
                Some(Output::Connected) => self.carried(now),
                Some(Output::Ended) => self.lose(now, Lost::Disconnected { kind: None }),
                Some(Output::Failed(failure)) => self.lose(now, Lost::Insecure(failure)),
            }
        }
        self.scratch = out;
    }

    /// When the session of DTLS wants to be called.
    pub(super) fn session_deadline(&self) -> Option<Instant> {
        self.hop.as_ref()?.socket()?.session.as_ref()?.poll_timeout()
    }

    /// Bytes of the link.
    pub(super) fn receive_bytes(&mut self, now: Instant, link: LinkId, bytes: &[u8]) {
        let Some(own) = self.hop.as_mut().and_then(Hop::link).filter(|own| own.id == link) else {
            self.counters.foreign += 1;
            return;
        };
        let Some(session) = &mut own.session else { return self.split(now, link, bytes) };
        let (mut plaintext, was_handshaking) = (std::mem::take(&mut self.scratch), session.is_handshaking());
        plaintext.clear();
        let received = session.receive(bytes, &mut plaintext, &mut own.waiting);
        let (connected, ended) = (was_handshaking && !session.is_handshaking(), session.has_ended());
        if connected {
            self.timers.cancel(Timer::Handshake);
            self.carried(now);
        }
        self.split(now, link, &plaintext);
        self.scratch = plaintext;
        if self.hop.as_mut().and_then(Hop::link).is_none_or(|own| own.id != link) {
            return;
        }
        match received {
            Err(failure) => self.lose(now, Lost::Insecure(failure)),
            Ok(()) if ended => self.lose(now, Lost::Disconnected { kind: None }),
            Ok(()) => {}
        }
    }

    /// Takes the messages out of a stream.
    fn split(&mut self, now: Instant, link: LinkId, mut bytes: &[u8]) {
        let Some(own) = self.hop.as_mut().and_then(Hop::link) else { return };
        let mut splitter = std::mem::take(&mut own.splitter);
        let garbage = loop {
            match splitter.next(&mut bytes) {
                Ok(Some(message)) => self.take_message(now, message),
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        // A message may have ended it.
        let Some(own) = self.hop.as_mut().and_then(Hop::link).filter(|own| own.id == link) else { return };
        own.splitter = splitter;
        if garbage {
            self.counters.malformed += 1;
            self.lose(now, Lost::Nonsense);
        }
    }

    /// One message, wherever it came from; data of peers waits for the owner.
    fn take_message(&mut self, now: Instant, message: &[u8]) {
        let Some(data) = self.sort(now, message, &mut None) else { return };
        if !self.received.push(data.peer, &message[data.strip..][..data.len]) {
            self.counters.not_taken += 1;
        }
    }

    // --- what goes out ---------------------------------------------------------------------------------------

    /// What the hop itself has to send, then requests.
    pub(super) fn next_transmit(&mut self, out: &mut Vec<u8>) -> Option<Transmit> {
        if let Some(transmit) = self.poll_goodbye(out) {
            return Some(transmit);
        }
        loop {
            let to = self.to_server(0, None);
            match self.hop.as_mut()? {
                Hop::Socket(socket) => {
                    let to = to?;
                    if let Some(datagram) = socket.flight.pop_front() {
                        out.extend_from_slice(&datagram);
                    } else {
                        let request = self.transactions.next_to_send()?;
                        let sealed = match &mut socket.session {
                            None => {
                                out.extend_from_slice(request);
                                true
                            }
                            Some(session) => session.seal(request, out),
                        };
                        if !sealed {
                            self.counters.no_room += 1;
                            continue;
                        }
                    }
                    return Some(Transmit { stride: out.len(), ..to });
                }
                Hop::Link(link) => {
                    if let Some(piece) = link.pop(out) {
                        return Some(piece);
                    }
                    // A request that finds no room is as good as unanswered.
                    let request = self.transactions.next_to_send()?;
                    if !link.push(request) {
                        self.counters.no_room += 1;
                    }
                }
            }
        }
    }

    /// Sends framed messages of `stride` bytes each (the last may be shorter), which are in `out` behind `before`.
    pub(super) fn carry(
        &mut self,
        before: usize,
        stride: usize,
        ecn: Option<crate::io::Ecn>,
        out: &mut Vec<u8>,
    ) -> Option<Transmit> {
        let to = self.to_server(stride, ecn);
        match self.hop.as_mut()? {
            Hop::Socket(Socket { session: None, .. }) => to,
            Hop::Socket(Socket { session: Some(session), .. }) => {
                let mut plain = std::mem::take(&mut self.scratch);
                plain.clear();
                plain.extend(out.drain(before..));
                let mut sealed = 0;
                for message in plain.chunks(stride) {
                    let start = out.len();
                    if session.seal(message, out) {
                        sealed = sealed.max(out.len() - start);
                    } else {
                        self.counters.no_room += 1;
                    }
                }
                self.scratch = plain;
                (sealed > 0).then_some(Transmit { stride: sealed, ..to? })
            }
            Hop::Link(link) => {
                if !link.push(&out[before..]) {
                    self.counters.no_room += out[before..].len().div_ceil(stride) as u64;
                }
                out.truncate(before);
                link.pop(out)
            }
        }
    }
}
