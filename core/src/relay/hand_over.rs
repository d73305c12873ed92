//! Clients that have come to one shard of a relay with what another one has: a ticket (RFC 8016), or the token of a reserved
//! port (RFC 8656 §7.2).
//!
//! 1. Tickets and tokens say whose they are. The shard to which the client has come knows who it is, and hands it over:
//!    [`Event::HandOver`], and then the [`Guest`] itself, which is a message, or a whole link or DTLS session.
//! 2. The owner takes the guest in. Who comes by datagrams gets an ear first: a socket that is connected to the client, so
//!    that the kernel gives all that follows to the owner. Then the message is answered as if it had come here at once.
//! 3. What had been given to the other shard before there was an ear is sent after the client, for a while.
//!
//! Where there is no ear to be had the client is told that its allocation is not there (437), and makes another one.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Relay;
use super::counters::Drop;
use super::dtls::{Session, SessionId};
use super::event::Event;
use super::links::Link;
use super::outbox::Doorstep;
use super::reply::Refusal;
use super::request::Request;
use super::table::Socket;
use super::via::{FiveTuple, Path, Via};
use crate::io::{Close, Effect, LinkId, SocketId, SocketKind};
use crate::stun::{Class, Message, Method};

/// How many guests may wait for the driver, which fetches them at once.
const MOST_LEAVING: usize = 1024;

/// How long what comes to the wrong shard is sent after a client.
const FOLLOWED: Duration = Duration::from_secs(5);

/// How many clients are followed; those who have left first are forgotten first.
const MOST_FOLLOWED: usize = 1024;

/// A client is to be handed over to another shard: whoever drives the relay calls [`Relay::hand_over`], and gives what
/// that returns to [`Relay::take_in`] of the other machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandOver {
    shard: u8,
    link: Option<LinkId>,
    number: u64,
}

impl HandOver {
    /// To which shard.
    pub fn shard(&self) -> u8 {
        self.shard
    }

    /// The connection that goes with it: the machine has forgotten it.
    pub fn link(&self) -> Option<LinkId> {
        self.link
    }
}

/// A client on its way from one shard to another.
pub struct Guest {
    client: SocketAddr,
    local: Option<IpAddr>,
    carrier: Carrier,
    /// What it has said.
    message: Vec<u8>,
}

/// By what a guest comes.
enum Carrier {
    /// Datagrams on a listening address.
    Datagrams { entrance: usize },
    /// A DTLS session there, with the messages that had come already.
    Session { entrance: usize, session: Box<Session>, rest: Vec<Vec<u8>> },
    /// A connection, with the bytes that had come already.
    Link { link: Box<Link>, rest: Vec<u8> },
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").finish_non_exhaustive()
    }
}

/// Clients on their way to other shards, and from them.
#[derive(Debug, Default)]
pub(super) struct Guests {
    leaving: VecDeque<(u64, Guest)>,
    count: u64,
    /// The connection or session that leaves as soon as what it has brought is handled.
    departing: Option<Departing>,
    followed: Followed,
    /// Those who wait for their ear.
    waiting: BTreeMap<SocketId, Guest>,
}

/// A connection or session that is about to leave.
#[derive(Debug)]
struct Departing {
    shard: u8,
    message: Vec<u8>,
    /// What the connection has brought besides.
    rest: Vec<u8>,
}

/// To which shards clients have gone that came by datagrams.
#[derive(Debug, Default)]
struct Followed {
    to: BTreeMap<(SocketId, SocketAddr), (u8, Instant)>,
    order: VecDeque<(SocketId, SocketAddr)>,
}

impl Followed {
    fn add(&mut self, now: Instant, who: (SocketId, SocketAddr), shard: u8) {
        while let Some(&first) = self.order.front()
            && (self.order.len() >= MOST_FOLLOWED || self.get(now, first).is_none())
        {
            self.to.remove(&first);
            self.order.pop_front();
        }
        if self.to.insert(who, (shard, now + FOLLOWED)).is_none() {
            self.order.push_back(who);
        }
    }

    fn get(&self, now: Instant, who: (SocketId, SocketAddr)) -> Option<u8> {
        self.to.get(&who).filter(|&&(_, until)| now < until).map(|&(shard, _)| shard)
    }
}

impl Guests {
    /// Whether the connection or session whose message was just handled leaves.
    pub(super) fn is_departing(&self) -> bool {
        self.departing.is_some()
    }

    /// Keeps what a connection has brought besides, if it leaves.
    pub(super) fn take_along(&mut self, rest: &[u8]) {
        if let Some(departing) = &mut self.departing {
            departing.rest = rest.to_vec();
        }
    }

    /// The connection ends here after all.
    pub(super) fn stay(&mut self) {
        self.departing = None;
    }
}

/// Whoever drives the relay carries guests.
impl Relay {
    /// Gives a client away. `None` where that was done already.
    pub fn hand_over(&mut self, handed: HandOver) -> Option<Guest> {
        let at = self.guests.leaving.iter().position(|&(number, _)| number == handed.number)?;
        self.guests.leaving.remove(at).map(|(_, guest)| guest)
    }

    /// Takes a client in that another shard has handed over. A connection that comes with it is to be delivered under the
    /// identifier that is returned; where there is none, it is to be reset.
    pub fn take_in(&mut self, now: Instant, guest: Guest) -> Option<LinkId> {
        self.counters.taken_in += 1;
        let Guest { client, local, carrier, message } = guest;
        let link = match carrier {
            Carrier::Datagrams { entrance } => {
                self.take_in_datagram(now, entrance, Guest { client, local, carrier, message });
                None
            }
            Carrier::Session { entrance, .. } => {
                self.await_ear(now, entrance, Guest { client, local, carrier, message });
                None
            }
            Carrier::Link { link, rest } => self.take_in_link(now, *link, &message, &rest),
        };
        self.end_overflown(now);
        link
    }
}

/// The shard that a client leaves.
impl Relay {
    /// Hands over a client by whose message it has shown what another shard has.
    pub(super) fn send_away(&mut self, now: Instant, path: Path, shard: u8, message: &[u8]) {
        let message = message.to_vec();
        match path.via {
            Via::Udp(socket) => {
                self.guests.followed.add(now, (socket, path.client), shard);
                self.send_after(path, shard, message);
            }
            Via::Link(_) | Via::Session(_) => {
                self.guests.departing = Some(Departing { shard, message, rest: Vec::new() });
            }
        }
    }

    /// Sends a datagram after a client, if it has gone a moment ago.
    pub(super) fn follow(&mut self, now: Instant, path: Path, datagram: &[u8]) -> bool {
        let shard = self.has_gone(now, path);
        if let Some(shard) = shard {
            self.send_after(path, shard, datagram.to_vec());
        }
        shard.is_some()
    }

    /// To which shard whoever sends a request has gone a moment ago. Who asks for a new allocation, or shows a ticket, says
    /// anew where it belongs: were it still followed, two shards that have sent it to each other would do so for ever.
    pub(super) fn gone(&mut self, now: Instant, request: &Request<'_>) -> Option<u8> {
        let path = request.addressee.path;
        let belongs_anew = match request.addressee.method {
            Method::ALLOCATE => true,
            Method::REFRESH => request.message.mobility_ticket().is_some(),
            _ => false,
        };
        if let Via::Udp(socket) = path.via
            && belongs_anew
        {
            self.guests.followed.to.remove(&(socket, path.client));
        }
        self.has_gone(now, path)
    }

    fn has_gone(&self, now: Instant, path: Path) -> Option<u8> {
        let Via::Udp(socket) = path.via else { return None };
        let shard = self.guests.followed.get(now, (socket, path.client))?;
        self.table.find(path.five_tuple()).is_none().then_some(shard)
    }

    fn send_after(&mut self, path: Path, shard: u8, message: Vec<u8>) {
        let Via::Udp(socket) = path.via else { return };
        let Some(Socket::Listening(entrance, _)) = self.table.socket(socket) else { return };
        let Path { client, local, .. } = path;
        let carrier = Carrier::Datagrams { entrance };
        self.let_go(shard, None, Guest { client, local, carrier, message });
    }

    /// Lets a connection go, if it is to.
    pub(super) fn let_link_go(&mut self, id: LinkId) {
        let Some(Departing { shard, message, rest }) = self.guests.departing.take() else { return };
        let Some(link) = self.links.remove(id) else { return };
        let (client, local) = (link.client, Some(link.local));
        let carrier = Carrier::Link { link: Box::new(link), rest };
        self.let_go(shard, Some(id), Guest { client, local, carrier, message });
    }

    /// Lets a session go, if it is to, with the messages that it has brought besides. Whether it has gone.
    pub(super) fn let_session_go(&mut self, id: SessionId, rest: Vec<Vec<u8>>) -> bool {
        let Some(Departing { shard, message, .. }) = self.guests.departing.take() else { return false };
        let Some(session) = self.sessions.remove(id) else { return true };
        let Doorstep { socket, client, local } = session.doorstep;
        if let Some(Socket::Listening(entrance, _)) = self.table.socket(socket) {
            let carrier = Carrier::Session { entrance, session: Box::new(session), rest };
            self.let_go(shard, None, Guest { client, local, carrier, message });
        }
        if !self.sessions.has(socket, client) {
            self.table.close_ear(socket, client);
        }
        true
    }

    fn let_go(&mut self, shard: u8, link: Option<LinkId>, guest: Guest) {
        if self.guests.leaving.len() >= MOST_LEAVING {
            self.counters.drop(Drop::QueueFull);
            if let Some(link) = link {
                self.effect(Effect::CloseLink { link, how: Close::Reset });
            }
            return;
        }
        let number = self.guests.count;
        self.guests.count += 1;
        self.guests.leaving.push_back((number, guest));
        self.counters.handed_over += 1;
        self.events.push_back(Event::HandOver(HandOver { shard, link, number }));
    }
}

/// The shard to which a client comes.
impl Relay {
    fn take_in_datagram(&mut self, now: Instant, entrance: usize, guest: Guest) {
        let Some((socket, _)) = self.entrance(entrance) else { return self.counters.drop(Drop::Misdirected) };
        let path = Path { via: Via::Udp(socket), client: guest.client, local: guest.local };
        if self.table.find(path.five_tuple()).is_some() {
            return self.receive_one(now, path, &guest.message);
        }
        if is_beginning(&guest.message) {
            self.await_ear(now, entrance, guest);
        } else {
            self.counters.drop(Drop::Misdirected);
        }
    }

    /// Lets a guest wait until the kernel gives us what it sends.
    fn await_ear(&mut self, now: Instant, entrance: usize, guest: Guest) {
        let Some((listening, addr)) = self.entrance(entrance) else {
            return self.counters.drop(Drop::Misdirected);
        };
        let to = guest.client;
        if self.table.has_ear(listening, to) {
            // It has had its ear, or will have it in a moment: then it says this again.
            return match self.guests.waiting.values().any(|other| other.client == to) {
                true => self.counters.drop(Drop::Misdirected),
                false => self.welcome(now, listening, guest),
            };
        }
        match self.table.open_ear(listening, to) {
            Some(socket) => {
                self.guests.waiting.insert(socket, guest);
                self.effect(Effect::Bind { socket, addr, kind: SocketKind::Connected { to } });
            }
            None => self.turn_down(now, listening, guest),
        }
    }

    /// There is an ear for a guest, or there can be none.
    pub(super) fn ear_bound(
        &mut self,
        now: Instant,
        ear: SocketId,
        listening: SocketId,
        result: Result<SocketAddr, ErrorKind>,
    ) {
        let Some(guest) = self.guests.waiting.remove(&ear) else { return };
        let client = guest.client;
        // Where the relay listens on all addresses, the kernel has chosen the one that it would send from.
        let hears =
            |local: SocketAddr| guest.local.is_none_or(|ip| ip == local.ip() || local.ip().is_unspecified());
        if result.is_ok_and(hears) {
            self.welcome(now, listening, guest);
        } else {
            self.table.close_ear(listening, client);
            self.turn_down(now, listening, guest);
        }
        let tuple = FiveTuple { client, via: Via::Udp(listening) };
        if self.table.find(tuple).is_none() && !self.sessions.has(listening, client) {
            self.table.close_ear(listening, client);
        }
    }

    /// Answers a guest, which is heard from now on.
    fn welcome(&mut self, now: Instant, listening: SocketId, guest: Guest) {
        let Guest { client, local, carrier, message } = guest;
        match carrier {
            Carrier::Datagrams { .. } => {
                self.receive_one(now, Path { via: Via::Udp(listening), client, local }, &message);
            }
            Carrier::Session { session, rest, .. } => {
                let doorstep = Doorstep { socket: listening, client, local };
                match self.sessions.adopt(now, session.at(doorstep)) {
                    Some(id) => {
                        let messages = std::iter::once(message).chain(rest).collect();
                        self.receive_in_session(now, id, messages);
                    }
                    None => self.counters.drop(Drop::TooManySessions),
                }
            }
            Carrier::Link { .. } => debug_assert!(false, "a connection needs no ear"),
        }
    }

    /// Tells a guest that what it asks for is not to be had here: its client makes another allocation.
    fn turn_down(&mut self, now: Instant, listening: SocketId, guest: Guest) {
        let Guest { client, local, carrier, message } = guest;
        let path = match carrier {
            Carrier::Datagrams { .. } => Path { via: Via::Udp(listening), client, local },
            Carrier::Session { session, .. } => {
                let doorstep = Doorstep { socket: listening, client, local };
                let Some(id) = self.sessions.adopt(now, session.at(doorstep)) else { return };
                self.refuse_guest(now, Path { via: Via::Session(id), client, local }, &message);
                return self.close_session(now, id);
            }
            Carrier::Link { .. } => return,
        };
        self.refuse_guest(now, path, &message);
    }

    fn refuse_guest(&mut self, now: Instant, path: Path, message: &[u8]) {
        let Ok(message) = Message::parse(message) else { return };
        if let Ok(request) = self.authenticate(now, path, message) {
            let refusal = request.addressee.refuse(&Refusal::AllocationMismatch);
            self.reply(path, refusal.into_boxed_slice());
        }
    }

    fn take_in_link(&mut self, now: Instant, link: Link, message: &[u8], rest: &[u8]) -> Option<LinkId> {
        let id = match self.links.adopt(now, link) {
            Ok(id) => id,
            Err(reason) => {
                self.counters.end_link(reason);
                return None;
            }
        };
        let path = self.links.path(id)?;
        self.receive_one(now, path, message);
        self.resume(now, id, rest);
        Some(id)
    }

    fn receive_one(&mut self, now: Instant, path: Path, message: &[u8]) {
        let mut known = self.nothing_known();
        self.receive_message(now, path, message, &mut known);
        self.account(&known);
    }
}

/// For tests.
#[cfg(any(test, feature = "check"))]
impl Relay {
    /// Panics when somebody is listened to of whom nothing is expected.
    pub(super) fn check_ears(&self) {
        for (listening, client, ear) in self.table.ears.iter() {
            let tuple = FiveTuple { client, via: Via::Udp(listening) };
            let known = self.table.find(tuple).is_some() || self.sessions.has(listening, client);
            assert!(known || self.guests.waiting.contains_key(&ear));
        }
    }
}

/// Whether a message is one with which a client comes.
fn is_beginning(message: &[u8]) -> bool {
    let Ok(message) = Message::parse(message) else { return false };
    match (message.class(), message.method()) {
        (Class::Request, Method::REFRESH) => message.mobility_ticket().is_some(),
        (Class::Request, Method::ALLOCATE) => matches!(message.reservation_token(), Ok(Some(_))),
        _ => false,
    }
}
