//! Clients that come by DTLS: their sessions on the listening sockets, from the first datagram to the end.
//!
//! 1. A datagram of DTLS from somebody without a session must look like a first ClientHello ([`hello`]), and its source
//!    must have replies left; then it gets a session, if there are not too many that have not got far: in all, and per
//!    source. What follows in there is a cookie: only who receives what is sent to their address makes us sign anything.
//!    Until it has come back, each datagram of theirs is a ClientHello, costs them one of their replies, and is answered at
//!    most once; nothing is repeated of itself.
//! 2. Once the handshake is done, each record holds a message, which is treated as a datagram is, but that what is sent to
//!    peers is a copy. What is sent to the client is sealed at once, and queued.
//! 3. A client that has lost its session, and is at the same port, begins another one. The old one serves until the new one's
//!    handshake is done, so that nobody ends it who can't read what is sent to the client (RFC 6347 §4.2.8).
//! 4. Who does not finish a handshake in time, or is silent without an allocation, is forgotten. An allocation ends with
//!    its session.

mod sessions;

use std::time::Instant;

use super::Relay;
use super::counters::{Drop, SessionEnd};
use super::outbox::Doorstep;
use super::source::Source;
use crate::io::{Datagrams, Ecn};
use crate::secure::Failure;
use crate::secure::dtls::Output;
use crate::secure::hello::{self, NoHello};

pub use sessions::SessionLimits;
pub(super) use sessions::{Session, SessionId, Sessions};

use sessions::{HANDSHAKE, Timer};

/// The content type of alerts (RFC 5246 §6.2.1), and the type of a ClientHello (§7.4).
const ALERT: u8 = 21;
const CLIENT_HELLO: u8 = 1;

/// The length of the headers of record and message in front of a ClientHello (RFC 6347 §4.1, §4.2.2).
const HELLO_HEADERS: usize = 13 + 12;

/// What an alert says (RFC 5246 §7.2).
const FATAL: u8 = 2;
const PROTOCOL_VERSION: u8 = 70;

/// The most that a record holds, in bytes (RFC 5246 §6.2.1).
const MAX_RECORD: usize = 1 << 14;

/// Whether the first record holds the beginning, or another part, of a ClientHello.
fn is_hello(datagram: &[u8]) -> bool {
    datagram.len() >= HELLO_HEADERS
        && datagram.first() == Some(&HANDSHAKE)
        && datagram.get(13) == Some(&CLIENT_HELLO)
}

/// Whether the first record shows that whoever sent a datagram is not the client of a session that stands: it is a
/// plaintext alert or ClientHello, which anybody can write. Repetitions of the last flight are not among them.
fn is_of_a_stranger(datagram: &[u8]) -> bool {
    let plaintext = datagram.get(3..5) == Some(&[0, 0]);
    match datagram.first() {
        Some(&ALERT) => plaintext,
        Some(&HANDSHAKE) => plaintext && datagram.get(13) == Some(&CLIENT_HELLO),
        _ => false,
    }
}

impl Relay {
    /// A datagram of DTLS on a listening socket.
    pub(super) fn receive_dtls(&mut self, now: Instant, batch: &Datagrams<'_>, datagram: &[u8]) {
        let doorstep = Doorstep { socket: batch.socket, client: batch.remote, local: batch.local };
        let session = match self.sessions.addressed(doorstep, datagram) {
            Some(id) if self.sessions.may_begin_another(id) && hello::check(datagram).is_ok() => {
                self.begin_session(now, doorstep, datagram)
            }
            Some(id) => self.judge_datagram(now, id, datagram).map(|()| id),
            None => self.begin_session(now, doorstep, datagram),
        };
        let received = session.and_then(|id| {
            self.sessions.get_mut(id).ok_or(Drop::Malformed)?.dtls.receive(now, datagram);
            Ok(id)
        });
        match received {
            Ok(id) => self.settle_session(now, id),
            Err(reason) => self.counters.drop(reason),
        }
    }

    /// Whether a datagram may be looked at that came from the address of a session. Where nobody has shown yet to be
    /// there, it may get a victim an answer; where the handshake is done, anybody else may have written it.
    ///
    /// # Errors
    /// [`Drop`] when not.
    fn judge_datagram(&mut self, now: Instant, id: SessionId, datagram: &[u8]) -> Result<(), Drop> {
        let session = self.sessions.get(id).ok_or(Drop::Malformed)?;
        let client = session.doorstep.client.ip();
        if session.dtls.is_proven() {
            let spoilt = !session.is_opening && is_of_a_stranger(datagram);
            return if spoilt { Err(Drop::Unexpected) } else { Ok(()) };
        }
        if !is_hello(datagram) {
            Err(Drop::NoHello)
        } else if !self.spend_reply(now, client) {
            Err(Drop::OverBudget)
        } else {
            Ok(())
        }
    }

    /// A session for a stranger.
    fn begin_session(&mut self, now: Instant, doorstep: Doorstep, hello: &[u8]) -> Result<SessionId, Drop> {
        let config = self.config.dtls.clone().ok_or(Drop::Malformed)?;
        if let Err(why) = hello::check(hello) {
            self.turn_away(now, doorstep, hello, why);
            return Err(Drop::NoHello);
        }
        let source = Source::of(doorstep.client.ip());
        if self.sessions.is_full(source) {
            return Err(Drop::TooManySessions);
        }
        if !self.spend_reply(now, doorstep.client.ip()) {
            return Err(Drop::OverBudget);
        }
        Ok(self.sessions.begin(now, &config, doorstep))
    }

    /// Tells a client that speaks an older version, or none of our cipher suites, that it need not go on trying. The alert
    /// is smaller than any ClientHello.
    fn turn_away(&mut self, now: Instant, doorstep: Doorstep, hello: &[u8], why: NoHello) {
        let Some(&[_, major, minor, ..]) = hello.first_chunk::<3>() else { return };
        if why == NoHello::Incompatible && self.spend_reply(now, doorstep.client.ip()) {
            let alert = [ALERT, major, minor, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, FATAL, PROTOCOL_VERSION];
            if self.outbox.reply(doorstep, alert.into()).is_err() {
                self.counters.drop(Drop::QueueFull);
            }
        }
    }

    /// Does what a session wants done after something has come, or time has passed.
    fn settle_session(&mut self, now: Instant, id: SessionId) {
        let (mut out, mut messages) = (Vec::new(), Vec::new());
        loop {
            out.clear();
            let Some(session) = self.sessions.get_mut(id) else { return };
            match session.dtls.poll(&mut out) {
                None => break,
                Some(Output::Datagram) => {
                    let doorstep = session.doorstep;
                    if self.outbox.reply(doorstep, out.as_slice().into()).is_err() {
                        self.counters.drop(Drop::QueueFull);
                    }
                }
                // No answer can be sealed before all was polled: so messages wait for that.
                Some(Output::Plaintext) => messages.push(std::mem::take(&mut out)),
                Some(Output::Connected) => {
                    self.counters.sessions += 1;
                    if let Some(before) = self.sessions.connected(now, id) {
                        self.end_session(now, before, SessionEnd::Replaced);
                    }
                }
                Some(Output::Ended) => return self.end_session(now, id, SessionEnd::Closed),
                Some(Output::Failed(Failure::TimedOut)) => {
                    return self.end_session(now, id, SessionEnd::TooSlow);
                }
                Some(Output::Failed(_)) => return self.end_session(now, id, SessionEnd::Failed),
            }
        }
        self.receive_in_session(now, id, messages);
        self.sessions.schedule(id);
    }

    /// Handles the messages of a session, unless one of them shows that it is another shard's: then the rest goes there.
    pub(super) fn receive_in_session(&mut self, now: Instant, id: SessionId, messages: Vec<Vec<u8>>) {
        let Some(path) = self.sessions.path(id).filter(|_| !messages.is_empty()) else { return };
        let (mut known, mut messages) = (self.nothing_known(), messages.into_iter());
        for message in messages.by_ref() {
            self.receive_message(now, path, &message, &mut known);
            if self.guests.is_departing() {
                break;
            }
        }
        self.account(&known);
        if !self.let_session_go(id, messages.collect()) && self.table.find(path.five_tuple()).is_none() {
            self.sessions.await_message(now, id);
        }
    }

    fn end_session(&mut self, now: Instant, id: SessionId, reason: SessionEnd) {
        let Some(path) = self.sessions.path(id) else { return };
        if let Some(Session { doorstep: Doorstep { socket, client, .. }, .. }) = self.sessions.remove(id)
            && !self.sessions.has(socket, client)
        {
            self.table.close_ear(socket, client);
        }
        self.counters.end_session(reason);
        self.lose(now, path.five_tuple());
    }

    /// Ends a session from here, and says so.
    pub(super) fn close_session(&mut self, now: Instant, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.dtls.close();
        }
        self.settle_session(now, id);
        self.end_session(now, id, SessionEnd::Closed);
    }

    /// Queues a message for the client of a session.
    ///
    /// # Errors
    /// [`Drop`] where it is lost.
    pub(super) fn send_in_session(
        &mut self,
        id: SessionId,
        ecn: Option<Ecn>,
        message: &[u8],
    ) -> Result<(), Drop> {
        if message.len() > MAX_RECORD {
            return Err(Drop::TooLong);
        }
        let (doorstep, sealed) = self.sessions.seal(id, message).ok_or(Drop::Away)?;
        self.outbox.data(doorstep, ecn, sealed).map_err(|_| Drop::QueueFull)
    }

    /// Does what is due.
    pub(super) fn expire_sessions(&mut self, now: Instant) {
        while let Some(timer) = self.sessions.pop_due(now) {
            match timer {
                Timer::Retransmit(id) => {
                    if let Some(session) = self.sessions.get_mut(id) {
                        session.dtls.handle_timeout(now);
                        self.settle_session(now, id);
                    }
                }
                Timer::Silence(id) => self.expire_session(now, id),
            }
        }
    }

    fn expire_session(&mut self, now: Instant, id: SessionId) {
        let Some(path) = self.sessions.path(id) else { return };
        let is_opening = self.sessions.get(id).is_some_and(|session| session.is_opening);
        if !is_opening && self.table.find(path.five_tuple()).is_some() {
            return self.sessions.await_message(now, id);
        }
        if let Some(session) = self.sessions.get_mut(id) {
            session.dtls.close();
        }
        self.settle_session(now, id);
        self.end_session(now, id, if is_opening { SessionEnd::TooSlow } else { SessionEnd::Idle });
    }
}
