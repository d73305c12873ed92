//! The data path: ChannelData and Send indications from clients to peers, and back (RFC 8656 §11, §12).
//!
//! What can be forwarded as it is becomes a run; nothing is allocated or copied. What all datagrams of a batch have in
//! common is looked up once. Data of a peer that has a permission but no channel is wrapped into a Data indication and
//! queued: that happens before a client has bound its channel. What comes or goes by a link is copied.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use super::Relay;
use super::allocation::{Allocation, AllocationId, Leg};
use super::config::IpVersion;
use super::counters::{Drop, Flow};
use super::dtls::SessionId;
use super::listen::Transport;
use super::outbox::Doorstep;
use super::quota::Way;
use super::via::{Path, Via};
use crate::io::{Datagrams, Ecn, Forwards, LinkId, Onward, Run, SocketId};
use crate::secure::Speaks;
use crate::stun::{self, Class, Message, Method, attribute};
use crate::turn::{channel_data, stream};

/// The largest payload of a UDP datagram over IPv4, in bytes; over IPv6 it is a little more.
const MAX_DATAGRAM: usize = 65_507;
/// The two first bits of ChannelData (RFC 8656 §12.4).
const CHANNEL_DATA: u8 = 0b01;

/// What is known about a batch of a client: nothing that a request in the same batch may change.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The client's live allocation, once it was looked for.
    allocation: Option<Option<AllocationId>>,
    /// Where the last channel led.
    channel: Option<(u16, Result<Onward, Drop>)>,
    /// What had been sent on to peers, for all clients, when it began.
    before: Flow,
}

/// Data of a client, and where it goes.
struct Data {
    onward: Onward,
    /// Where it lies in its message.
    range: Range<usize>,
}

/// Where the datagrams of a peer go.
#[derive(Debug, Clone, Copy)]
enum Inward {
    Channel(u16),
    Indication,
}

/// From clients.
impl Relay {
    pub(super) fn receive_from_client(&mut self, now: Instant, batch: &Datagrams<'_>, out: &mut Forwards) {
        let path = Path { via: Via::Udp(batch.socket), client: batch.remote, local: batch.local };
        let mut known = self.nothing_known();
        let dtls = self.config.dtls.is_some();
        let mut index = 0;
        while index < batch.len() {
            let datagram = batch.segment(index);
            let first = datagram.first().copied().unwrap_or_default();
            let mut alike = 1;
            if dtls && Speaks::of_datagram(first) == Some(Speaks::Dtls) {
                self.account(&known);
                self.receive_dtls(now, batch, datagram);
                known = self.nothing_known();
            } else {
                match self.read(now, path, datagram, &mut known) {
                    Ok(Some(Data { onward, range })) => {
                        alike = self.alike(batch, index);
                        self.counters.to_peers.add(alike, range.len());
                        let (ecn, strip, len) = (batch.ecn, range.start, range.len());
                        let segments = index..index + alike;
                        out.push(Run { onward, ecn, strip, len, prefix: None, segments });
                    }
                    Ok(None) => {}
                    Err(Drop::NoAllocation) if self.follow(now, path, datagram) => {}
                    Err(reason) => self.counters.drop(reason),
                }
            }
            index += alike;
        }
        self.account(&known);
    }

    /// How many datagrams, from that with the `index` on, go where it goes as it does: ChannelData with one header, and of
    /// one length. Where each is metered, each is looked at.
    fn alike(&self, batch: &Datagrams<'_>, index: usize) -> usize {
        let first = batch.segment(index);
        let Some(header) = first.first_chunk::<{ channel_data::HEADER_LEN }>() else { return 1 };
        if header[0] >> 6 != CHANNEL_DATA || self.config.max_rate.is_some() {
            return 1;
        }
        let same = |&index: &usize| {
            let next = batch.segment(index);
            next.len() == first.len() && next.starts_with(header)
        };
        1 + (index + 1..batch.len()).take_while(same).count()
    }

    /// A message of a client that does not come by datagrams that can be forwarded as they are.
    pub(super) fn receive_message(&mut self, now: Instant, path: Path, message: &[u8], known: &mut Known) {
        let sent = self.read(now, path, message, known).and_then(|data| {
            let Some(Data { onward: Onward::Send { socket, to, whole, .. }, range }) = data else {
                return Ok(());
            };
            let len = range.len();
            self.outbox.peer_data(socket, to, whole, &message[range]).map_err(|_| Drop::QueueFull)?;
            self.counters.to_peers.add(1, len);
            Ok(())
        });
        if let Err(reason) = sent {
            self.counters.drop(reason);
        }
    }

    /// Handles a message, unless it is data, which is the caller's to send on. The two first bits tell STUN from
    /// ChannelData (RFC 8656 §12.4; RFC 7983).
    fn read(
        &mut self,
        now: Instant,
        path: Path,
        message: &[u8],
        known: &mut Known,
    ) -> Result<Option<Data>, Drop> {
        match message.first().map(|byte| byte >> 6) {
            Some(CHANNEL_DATA) => self.channel_data(now, path, message, known).map(Some),
            Some(0b00) => self.stun(now, path, message, known),
            _ => Err(Drop::Malformed),
        }
    }

    /// What is known of a client before its first message of a batch.
    pub(super) fn nothing_known(&self) -> Known {
        Known { before: self.counters.to_peers, ..Known::default() }
    }

    /// Notes what was sent on for the client's allocation: once for all datagrams of a batch.
    pub(super) fn account(&mut self, known: &Known) {
        let sent = self.counters.to_peers.since(known.before);
        if let Some(id) = known.allocation.flatten().filter(|_| sent.packets > 0) {
            self.table.count(id, Way::ToPeers, sent);
        }
    }

    fn channel_data(
        &mut self,
        now: Instant,
        path: Path,
        message: &[u8],
        known: &mut Known,
    ) -> Result<Data, Drop> {
        let (number, len) = channel_data::parse_within(message, &self.channels).ok_or(Drop::Malformed)?;
        let onward = match known.channel {
            Some((last, onward)) if last == number => onward,
            _ => {
                let onward = self.channel_onward(now, path, number, known);
                known.channel = Some((number, onward));
                onward
            }
        };
        let onward = self.metered(now, known, onward?, len)?;
        let start = channel_data::HEADER_LEN;
        Ok(Data { onward, range: start..start + len })
    }

    /// Where data on channel `number` goes. A binding is enough: its client need not renew the permission of the
    /// peer in order to send (RFC 8656 §12.6).
    fn channel_onward(
        &mut self,
        now: Instant,
        path: Path,
        number: u16,
        known: &mut Known,
    ) -> Result<Onward, Drop> {
        let allocation = self.client_allocation(path, known)?;
        let peer = allocation.channels.peer(now, number).ok_or(Drop::NoChannel)?;
        let leg = allocation.leg(IpVersion::of(peer.ip()));
        self.onward(leg, peer, false)
    }

    fn stun(
        &mut self,
        now: Instant,
        path: Path,
        bytes: &[u8],
        known: &mut Known,
    ) -> Result<Option<Data>, Drop> {
        let message = Message::parse(bytes).map_err(|_| Drop::Malformed)?;
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => {
                let onward = self.send_onward(now, path, &message, known)?;
                let range = message.data_range().unwrap_or_default();
                let onward = self.metered(now, known, onward, range.len())?;
                return Ok(Some(Data { onward, range }));
            }
            (Class::Request, Method::BINDING) => self.binding(now, path, &message),
            (
                Class::Request,
                Method::ALLOCATE
                | Method::REFRESH
                | Method::CREATE_PERMISSION
                | Method::CHANNEL_BIND
                | Method::CONNECT
                | Method::CONNECTION_BIND,
            ) => {
                self.account(known);
                *known = self.nothing_known();
                self.request(now, path, message);
            }
            // Binding indications keep NATs open and want nothing (RFC 8489 §12); the rest is not for a server.
            _ => return Err(Drop::Unexpected),
        }
        Ok(None)
    }

    /// Where the data of a Send indication goes (RFC 8656 §11.2), and whether in one piece. Between two versions of IP
    /// DONT-FRAGMENT is passed over (§13).
    fn send_onward(
        &mut self,
        now: Instant,
        path: Path,
        message: &Message<'_>,
        known: &mut Known,
    ) -> Result<Onward, Drop> {
        const KNOWN: [u16; 3] = [attribute::XOR_PEER_ADDRESS, attribute::DATA, attribute::DONT_FRAGMENT];
        let understood = |kind| KNOWN.contains(&kind) || kind >= 0x8000;
        if !message.attributes().all(|(kind, _)| understood(kind)) {
            return Err(Drop::UnknownAttribute);
        }
        let (Ok(Some(peer)), Some(_)) = (message.peer_address(), message.data()) else {
            return Err(Drop::Malformed);
        };
        let allocation = self.client_allocation(path, known)?;
        if allocation.relays == Transport::Tcp {
            return Err(Drop::NotUdp);
        }
        if !allocation.permissions.allow(now, peer.ip()) {
            return Err(Drop::NoPermission);
        }
        let leg = allocation.leg(IpVersion::of(peer.ip()));
        let dont_fragment = message.dont_fragment().map_err(|_| Drop::Malformed)?;
        let whole = dont_fragment && peer.is_ipv4() == path.client.is_ipv4();
        self.onward(leg, peer, whole)
    }

    fn client_allocation(&mut self, path: Path, known: &mut Known) -> Result<&Allocation, Drop> {
        let find = || {
            let (id, _) = self.table.live(path.five_tuple())?;
            self.table.arrive(id, path.five_tuple());
            Some(id)
        };
        let id = known.allocation.get_or_insert_with(find).ok_or(Drop::NoAllocation)?;
        self.table.get(id).ok_or(Drop::NoAllocation)
    }

    fn onward(&self, leg: Option<Leg>, peer: SocketAddr, whole: bool) -> Result<Onward, Drop> {
        let leg = leg.ok_or(Drop::NoFamily)?;
        // Nothing can be sent to port 0.
        if peer.port() == 0
            || self.reach.port(peer, |version, port| self.table.is_relayed(version, port)).is_err()
        {
            return Err(Drop::OwnPort);
        }
        Ok(Onward::Send { socket: leg.socket, to: peer, from: None, whole })
    }

    /// `onward`, unless the owner of the allocation has had too many bytes relayed.
    fn metered(&mut self, now: Instant, known: &Known, onward: Onward, len: usize) -> Result<Onward, Drop> {
        let id = known.allocation.flatten();
        let within = id.is_none_or(|id| self.is_within_rate(now, id, Way::ToPeers, len));
        if within { Ok(onward) } else { Err(Drop::OverRate) }
    }

    /// Whether the owner of an allocation may have so many more bytes relayed now. Where there is no limit, nothing is
    /// looked up.
    fn is_within_rate(&mut self, now: Instant, id: AllocationId, way: Way, len: usize) -> bool {
        self.config.max_rate.is_none() || self.table.spend(now, id, way, len)
    }
}

/// From peers.
impl Relay {
    pub(super) fn receive_from_peer(
        &mut self,
        now: Instant,
        id: AllocationId,
        batch: &Datagrams<'_>,
        out: &mut Forwards,
    ) {
        let Some(allocation) = self.table.get(id).filter(|allocation| allocation.is_live()) else {
            return (0..batch.len()).for_each(|_| self.counters.drop(Drop::NoAllocation));
        };
        let path = allocation.path();
        let Some(inward) = inward(now, allocation, batch.remote) else {
            return (0..batch.len()).for_each(|_| self.counters.drop(Drop::NoPermission));
        };
        let before = self.counters.to_clients;
        match (inward, path.via) {
            // The usual case: nothing need be done for each datagram.
            (Inward::Channel(number), Via::Udp(socket)) if self.config.max_rate.is_none() => {
                let count = batch.len();
                let alike =
                    if batch.range(count - 1).len() == batch.range(0).len() { count } else { count - 1 };
                self.send_to_channel(socket, path, number, batch, 0..alike, out);
                self.send_to_channel(socket, path, number, batch, alike..count, out);
            }
            _ => self.receive_one_by_one(now, (id, path), inward, batch, out),
        }
        self.table.count(id, Way::ToClients, self.counters.to_clients.since(before));
    }

    fn receive_one_by_one(
        &mut self,
        now: Instant,
        (id, path): (AllocationId, Path),
        inward: Inward,
        batch: &Datagrams<'_>,
        out: &mut Forwards,
    ) {
        for index in 0..batch.len() {
            if !self.is_within_rate(now, id, Way::ToClients, batch.range(index).len()) {
                self.counters.drop(Drop::OverRate);
                continue;
            }
            match (inward, path.via) {
                (Inward::Channel(number), Via::Udp(socket)) => {
                    self.send_to_channel(socket, path, number, batch, index..index + 1, out);
                }
                (Inward::Channel(number), Via::Link(link)) => {
                    self.stream_to_channel(link, number, batch.segment(index));
                }
                (Inward::Channel(number), Via::Session(session)) => {
                    self.seal_to_channel(session, number, batch.ecn, batch.segment(index));
                }
                (Inward::Indication, _) => self.indicate(path, batch, index),
            }
        }
    }

    /// Sends on datagrams of one length.
    fn send_to_channel(
        &mut self,
        socket: SocketId,
        path: Path,
        number: u16,
        batch: &Datagrams<'_>,
        segments: Range<usize>,
        out: &mut Forwards,
    ) {
        let (count, len) = (segments.len(), batch.range(segments.start).len());
        if len + channel_data::HEADER_LEN > MAX_DATAGRAM {
            return (0..count).for_each(|_| self.counters.drop(Drop::TooLong));
        }
        self.counters.to_clients.add(count, len);
        out.push(Run {
            onward: Onward::Send { socket, to: path.client, from: path.local, whole: false },
            ecn: batch.ecn,
            strip: 0,
            len,
            prefix: Some(channel_data::header(number, len)),
            segments,
        });
    }

    fn indicate(&mut self, path: Path, batch: &Datagrams<'_>, index: usize) {
        let payload = batch.segment(index);
        let mut bytes = Vec::with_capacity(payload.len() + 64);
        let transaction = self.rng.bytes();
        let len = stun::write_indication(&mut bytes, Method::DATA, &transaction, batch.remote, payload);
        if len == 0 || len > MAX_DATAGRAM {
            return self.counters.drop(Drop::TooLong);
        }
        match self.send_to_client(path, batch.ecn, bytes) {
            Ok(()) => self.counters.to_clients.add(1, payload.len()),
            Err(reason) => self.counters.drop(reason),
        }
    }

    /// Queues a message for a client that may be lost.
    ///
    /// # Errors
    /// [`Drop`] where it is.
    pub(super) fn send_to_client(
        &mut self,
        path: Path,
        ecn: Option<Ecn>,
        bytes: Vec<u8>,
    ) -> Result<(), Drop> {
        match path.via {
            Via::Udp(socket) => {
                let doorstep = Doorstep { socket, client: path.client, local: path.local };
                self.outbox.data(doorstep, ecn, bytes.into_boxed_slice()).map_err(|_| Drop::QueueFull)
            }
            Via::Link(link) => self.links.data(link, bytes.len(), |queue| queue.extend_from_slice(&bytes)),
            Via::Session(session) => self.send_in_session(session, ecn, &bytes),
        }
    }

    fn seal_to_channel(&mut self, session: SessionId, number: u16, ecn: Option<Ecn>, payload: &[u8]) {
        let Ok(len) = u16::try_from(payload.len()) else { return self.counters.drop(Drop::TooLong) };
        let message = [&channel_data::header(number, len.into())[..], payload].concat();
        match self.send_in_session(session, ecn, &message) {
            Ok(()) => self.counters.to_clients.add(1, payload.len()),
            Err(reason) => self.counters.drop(reason),
        }
    }

    fn stream_to_channel(&mut self, link: LinkId, number: u16, payload: &[u8]) {
        let whole = channel_data::HEADER_LEN + payload.len() + stream::padding(payload.len());
        let write = |queue: &mut Vec<u8>| stream::write_channel_data(queue, number, payload);
        match self.links.data(link, whole, write) {
            Ok(()) => self.counters.to_clients.add(1, payload.len()),
            Err(reason) => self.counters.drop(reason),
        }
    }
}

/// How data of `peer` reaches the client; `None` when it has no permission (RFC 8656 §11.3, §12.7).
fn inward(now: Instant, allocation: &Allocation, peer: SocketAddr) -> Option<Inward> {
    if !allocation.permissions.allow(now, peer.ip()) {
        return None;
    }
    Some(allocation.channels.number(now, peer).map_or(Inward::Indication, Inward::Channel))
}
