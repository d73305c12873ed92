//! All QUIC connections of one machine, as a server, as a client, or as both.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::{ConnectionEvent, ConnectionHandle, ConnectionId, DatagramEvent, EndpointEvent, Incoming};
use rustls_pki_types::CertificateDer;

use super::config::{self, Config, Factory, UnusableTls};
use super::connection::{Connection, Start, codepoint};
use super::route::{Destination, FirstIds, Virtual, before_retry};
use super::{CloseReason, Event, Outgoing, Stats, StreamId, Way, cid};
use crate::io::{Arena, ConnId, Ecn, Id, Read, Write};
use crate::rand::{Rng, Seed};
use crate::time::{Deadline, DeadlineQueue, WallCell, Why};

/// How many answers that belong to no connection wait to be sent.
const MAX_RESPONSES: usize = 64;
/// The length of the connection ID that a client makes up for its first packets; at least 8 (RFC 9000 §7.2), and
/// not that of minted ones.
const FIRST_ID: usize = 16;

/// All QUIC connections of one machine. See the [module](super) for how it is driven.
///
/// Calls that name a connection which is gone do nothing, or return what a lost connection would.
pub struct Endpoint {
    config: Config,
    factory: Factory,
    quinn: quinn_proto::Endpoint,
    is_server: bool,
    rng: Rng,

    connections: Arena<ConnId, Box<Connection>>,
    /// By quinn-proto's handle.
    handles: Vec<Option<ConnId>>,
    /// How many connections are incoming and not established yet.
    incoming: usize,

    cids: cid::Reader,
    slot: cid::SlotCell,
    first_ids: FirstIds,
    addresses: Virtual,

    /// Connections that may have something to send, in turn.
    ready: VecDeque<ConnId>,
    responses: VecDeque<(Way, Vec<u8>)>,
    scratch: Vec<u8>,
    events: VecDeque<Event>,
    deadlines: DeadlineQueue<ConnId>,
    counters: Counters,
}

/// What was not served, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams too short to have a destination, with one that is too long, or with a packet that no client sends.
    pub malformed: u64,
    /// Datagrams for no connection that is known here.
    pub unknown: u64,
    /// Datagrams that quinn-proto made nothing of: wrong version, unusable first packets.
    pub ignored: u64,
    /// First packets that failed to open a connection: not authentic, or without acceptable TLS parameters.
    pub failed: u64,
    /// Clients that were told to prove their address first.
    pub retried: u64,
    /// Clients that were told that there is no room.
    pub refused: u64,
    /// Clients that were told nothing, since there was no room and their address was unproven.
    pub overloaded: u64,
    /// Answers that did not fit into their queue.
    pub responses_dropped: u64,
    /// Connections whose handshake took too long.
    pub handshakes_expired: u64,
}

/// Why a connection could not be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// There are as many connections as the configuration allows.
    #[error("too many connections")]
    Full,
    /// The server's name is neither a host name nor an address.
    #[error("the server's name is not valid")]
    InvalidServerName,
    /// The TLS configuration does not serve QUIC.
    #[error(transparent)]
    UnusableTls(#[from] UnusableTls),
}

impl Endpoint {
    /// An endpoint that can open connections, and accepts them after [`set_server`](Self::set_server). `wall` is
    /// for the age of Retry tokens.
    pub fn new(config: Config, wall: WallCell, seed: Seed) -> Self {
        let mut rng = Rng::new(seed);
        let cids = rng.fork();
        let slot = cid::SlotCell::new();
        let quinn = config::endpoint(&config, cids, &slot, &mut rng);
        Self {
            factory: Factory::new(&config, wall, &mut rng),
            config,
            quinn: quinn_proto::Endpoint::new(quinn, None, true, None),
            is_server: false,
            connections: Arena::default(),
            handles: Vec::new(),
            incoming: 0,
            cids: cid::Reader::new(cids),
            slot,
            first_ids: FirstIds::default(),
            addresses: Virtual::new(&rng.bytes()),
            rng,
            ready: VecDeque::new(),
            responses: VecDeque::new(),
            scratch: Vec::new(),
            events: VecDeque::new(),
            deadlines: DeadlineQueue::default(),
            counters: Counters::default(),
        }
    }

    /// Accepts connections with `tls` from now on; those that stand are not touched. Session tickets are turned
    /// off, whatever `tls` says: a resumed handshake would not check the client's certificate again.
    ///
    /// # Errors
    /// [`UnusableTls`]; everything is as before then.
    pub fn set_server(&mut self, tls: &rustls::ServerConfig) -> Result<(), UnusableTls> {
        self.quinn.set_server_config(Some(self.factory.server(tls)?));
        self.is_server = true;
        Ok(())
    }

    /// Opens a connection to the server at the other end of `way`. [`Event::Connected`] or [`Event::Closed`]
    /// follows.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(
        &mut self,
        now: Instant,
        way: Way,
        server_name: &str,
        tls: Arc<rustls::ClientConfig>,
    ) -> Result<ConnId, ConnectError> {
        if self.connections.len() >= self.config.max_connections {
            return Err(ConnectError::Full);
        }
        let first = ConnectionId::new(&self.rng.bytes::<FIRST_ID>());
        let client = self.factory.client(tls, first)?;
        let address = self.addresses.address(way);
        let (quinn, slot) = (&mut self.quinn, &self.slot);
        let handshake_ends = now + self.config.handshake_timeout;
        let id = self.connections.try_insert_with(|id: ConnId| {
            let (handle, quinn) = slot
                .during(id.index(), || quinn.connect(now, client, address, server_name))
                .map_err(|_| ConnectError::InvalidServerName)?;
            let start = Start { handle, quinn, address, way, first: None, handshake_ends };
            Ok::<_, ConnectError>(Box::new(Connection::new(id, start)))
        })?;
        self.begin(id);
        Ok(id)
    }

    /// Handles a datagram that came by `way`. Whether it named a connection, or has begun one; who sent it is not
    /// certain then.
    pub fn handle(&mut self, now: Instant, way: Way, ecn: Option<Ecn>, mut datagram: BytesMut) -> bool {
        if self.is_server
            && let Some(len) = before_retry(&datagram)
        {
            self.counters.malformed += 1;
            datagram.truncate(len);
        }
        let Some(destination) = Destination::of(&datagram) else {
            self.counters.malformed += 1;
            return false;
        };
        let known = self.find(&destination);
        let address = match (known, destination) {
            (Some((_, address)), _) => address,
            (None, Destination::Long(_)) if self.is_server => self.addresses.address(way),
            (None, Destination::Long(_)) => {
                self.counters.unknown += 1;
                return false;
            }
            // A stateless reset looks like this, and what deserves one (RFC 9000 §10.3).
            (None, Destination::Short(_)) => {
                self.counters.unknown += 1;
                self.addresses.address(way)
            }
        };
        self.scratch.clear();
        let ecn = ecn.map(codepoint);
        match self.quinn.handle(now, address, None, ecn, datagram, &mut self.scratch) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                self.deliver(now, way, handle, event);
                return true;
            }
            Some(DatagramEvent::NewConnection(incoming)) if known.is_none() => {
                return self.welcome(now, way, destination, incoming);
            }
            None => self.counters.ignored += 1,
            Some(DatagramEvent::Response(_)) if self.is_server => self.respond(way),
            Some(DatagramEvent::Response(_)) => self.counters.ignored += 1,
            // The address must be that of its own way, or a Retry token of another way would be believed.
            Some(DatagramEvent::NewConnection(incoming)) => {
                self.quinn.ignore(incoming);
                self.counters.unknown += 1;
            }
        }
        false
    }

    /// Handles what is due. Early and repeated calls are legal.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<_> = std::iter::from_fn(|| self.deadlines.pop_due(now)).collect();
        for id in due {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.armed = None;
            if connection.is_overdue(now) {
                self.abandon(id);
                continue;
            }
            connection.handle_timeout(now);
            self.settle(id);
            self.touch(id);
        }
    }

    /// Writes the next datagrams into `out`, which must be empty: up to `max_segments` of one connection, all but
    /// the last of the same length. Connections take turns.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: NonZeroUsize,
        out: &mut Vec<u8>,
    ) -> Option<Outgoing> {
        if let Some((way, datagram)) = self.responses.pop_front() {
            out.extend_from_slice(&datagram);
            return Some(Outgoing { conn: None, way, ecn: None, stride: datagram.len() });
        }
        while let Some(id) = self.ready.pop_front() {
            let Some(connection) = self.connections.get_mut(id) else { continue };
            connection.queued = false;
            if connection.is_held() {
                continue;
            }
            let sent = connection.poll_transmit(now, max_segments, out);
            if sent.is_some() {
                self.touch(id);
                return sent;
            }
            self.settle(id);
        }
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) next. It may turn out that nothing was due.
    pub fn poll_timeout(&self) -> Option<Deadline> {
        self.deadlines.next().map(|at| Deadline { at, why: Why::Quic })
    }

    /// Lets `conn` send nothing while `held`: its TURN channel is not bound yet.
    pub fn hold(&mut self, conn: ConnId, held: bool) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.hold(held);
            self.touch(conn);
        }
    }

    /// Sends by another way from now on.
    pub fn reroute(&mut self, now: Instant, conn: ConnId, way: Way) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.reroute(now, way);
            self.touch(conn);
        }
    }

    /// Sends something that must be acknowledged.
    pub fn ping(&mut self, conn: ConnId) {
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.ping();
            self.touch(conn);
        }
    }

    /// Closes `conn`, telling the other end `code` and `reason`. What was not acknowledged yet may be lost.
    pub fn close(&mut self, now: Instant, conn: ConnId, code: u32, reason: &'static [u8]) {
        if let Some(connection) = self.connections.get_mut(conn) {
            let was_incoming = connection.is_incoming();
            connection.close(now, code, reason);
            connection.end(CloseReason::LocallyClosed, &mut self.events);
            self.incoming -= usize::from(was_incoming);
            self.settle(conn);
            self.touch(conn);
        }
    }

    /// Forgets all connections, also those that have ended and would be kept for a moment to answer what is late. Nothing
    /// more is sent; [`Event::Closed`] follows for those that stood.
    pub fn abandon_all(&mut self) {
        let all: Vec<ConnId> = self.connections.iter().map(|(id, _)| id).collect();
        for id in all {
            let incoming = self.connections.get(id).is_some_and(|connection| connection.is_incoming());
            self.incoming -= usize::from(incoming);
            self.forget(id, EndpointEvent::drained());
        }
        self.ready.clear();
        self.responses.clear();
    }

    /// The other end's certificates, its own first.
    pub fn peer_certificates(&self, conn: ConnId) -> Option<Vec<CertificateDer<'static>>> {
        self.connections.get(conn)?.peer_certificates()
    }

    /// The application protocol that was agreed on.
    pub fn alpn(&self, conn: ConnId) -> Option<Vec<u8>> {
        self.connections.get(conn)?.alpn()
    }

    /// Fills `out` with keying material of the TLS session, the same at both ends (RFC 8446 §7.5). `false` when
    /// there is none, or not that much.
    pub fn export(&self, conn: ConnId, label: &[u8], context: &[u8], out: &mut [u8]) -> bool {
        self.connections.get(conn).is_some_and(|connection| connection.export(label, context, out))
    }

    /// What `conn` has done so far.
    pub fn stats(&self, conn: ConnId) -> Option<Stats> {
        Some(self.connections.get(conn)?.stats())
    }

    /// How the datagrams of `conn` travel now.
    pub fn way(&self, conn: ConnId) -> Option<Way> {
        Some(self.connections.get(conn)?.way())
    }

    /// Whether the datagrams of any connection travel this way. Looks at all of them.
    pub fn uses(&self, way: Way) -> bool {
        self.connections.iter().any(|(_, connection)| connection.way() == way)
    }

    /// Whether the datagrams of any connection travel through `via`. Looks at all of them.
    pub fn uses_via(&self, via: u32) -> bool {
        self.connections.iter().any(|(_, connection)| connection.way().via == via)
    }

    /// The number of connections, including those that have ended a moment ago.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// What was not served, by reason.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Opens a bidirectional stream. `None` before [`Event::Connected`], after [`Event::Closed`], and while the
    /// other end allows no more: [`Event::StreamsAvailable`] follows then.
    pub fn open(&mut self, conn: ConnId) -> Option<StreamId> {
        self.connections.get_mut(conn)?.open()
    }

    /// Reads from a stream. After `Blocked`, [`Event::Readable`] or [`Event::Closed`] follows. `Finished` and
    /// `Reset` are told once; what is read behind them is `Reset`.
    pub fn read(&mut self, conn: ConnId, stream: StreamId, buf: &mut [u8]) -> Read {
        let Some(connection) = self.connections.get_mut(conn) else { return Read::Reset };
        let (read, credit) = connection.read(stream, buf);
        if credit {
            self.touch(conn);
        }
        read
    }

    /// Writes to a stream. After `Blocked`, [`Event::Writable`], [`Event::Stopped`] or [`Event::Closed`] follows.
    pub fn write(&mut self, conn: ConnId, stream: StreamId, bytes: &[u8]) -> Write {
        let Some(connection) = self.connections.get_mut(conn) else { return Write::Closed };
        let write = connection.write(stream, bytes);
        self.touch(conn);
        write
    }

    /// No more bytes will be written to the stream. [`Event::Finished`] follows once all have arrived.
    pub fn finish(&mut self, conn: ConnId, stream: StreamId) {
        self.on_stream(conn, |connection| connection.finish(stream));
    }

    /// Gives up sending: what was not acknowledged yet may be lost (RESET_STREAM).
    pub fn reset(&mut self, conn: ConnId, stream: StreamId, code: u32) {
        self.on_stream(conn, |connection| connection.reset(stream, code));
    }

    /// Gives up receiving: what was not read is lost (STOP_SENDING).
    pub fn stop(&mut self, conn: ConnId, stream: StreamId, code: u32) {
        self.on_stream(conn, |connection| connection.stop(stream, code));
    }

    fn on_stream(&mut self, conn: ConnId, act: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.connections.get_mut(conn) {
            act(connection);
            self.touch(conn);
        }
    }

    /// The connection that a datagram is for, and its virtual address.
    fn find(&mut self, destination: &Destination) -> Option<(ConnId, SocketAddr)> {
        let by_first = match destination {
            Destination::Long(cid) => self.first_ids.get(cid),
            Destination::Short(_) => None,
        };
        let id = match by_first {
            Some(id) => id,
            None => self.connections.at(self.cids.slot(destination.minted()?))?,
        };
        Some((id, self.connections.get(id)?.address))
    }

    fn deliver(&mut self, now: Instant, way: Way, handle: ConnectionHandle, event: ConnectionEvent) {
        let id = self.handles.get(handle.0).copied().flatten();
        let Some(id) = id else { return };
        if let Some(connection) = self.connections.get_mut(id) {
            connection.receive(now, way, event);
            self.settle(id);
            self.touch(id);
        }
    }

    /// Decides about somebody who wants to connect; whether there is a connection now.
    fn welcome(&mut self, now: Instant, way: Way, destination: Destination, incoming: Incoming) -> bool {
        let validated = incoming.remote_address_validated();
        let full = self.connections.len() >= self.config.max_connections
            || self.incoming >= self.config.max_handshakes;
        if full && validated {
            let _in_scratch = self.quinn.refuse(incoming, &mut self.scratch);
            self.counters.refused += 1;
            self.respond(way);
        } else if full {
            self.quinn.ignore(incoming);
            self.counters.overloaded += 1;
        } else if self.incoming >= self.config.retry_threshold && !validated {
            self.retry(way, incoming);
        } else {
            return self.accept(now, way, destination, incoming);
        }
        false
    }

    /// Lets the client prove its address.
    fn retry(&mut self, way: Way, incoming: Incoming) {
        // One that is not validated may always be retried.
        if let Err(error) = self.quinn.retry(incoming, &mut self.scratch) {
            self.quinn.ignore(error.into_incoming());
            return;
        }
        self.counters.retried += 1;
        self.respond(way);
    }

    fn accept(&mut self, now: Instant, way: Way, destination: Destination, incoming: Incoming) -> bool {
        let Destination::Long(first) = destination else {
            self.quinn.ignore(incoming);
            return false;
        };
        let address = incoming.remote_address();
        let handshake_ends = now + self.config.handshake_timeout;
        let (quinn, slot, scratch) = (&mut self.quinn, &self.slot, &mut self.scratch);
        let accepted = self.connections.try_insert_with(|id: ConnId| {
            let (handle, quinn) = slot.during(id.index(), || {
                quinn.accept(incoming, now, scratch, None).map_err(|error| error.response.is_some())
            })?;
            let start = Start { handle, quinn, address, way, first: Some(first), handshake_ends };
            Ok::<_, bool>(Box::new(Connection::new(id, start)))
        });
        match accepted {
            Ok(id) => {
                self.first_ids.insert(first, id);
                self.incoming += 1;
                self.begin(id);
                true
            }
            Err(has_response) => {
                self.counters.failed += 1;
                if has_response {
                    self.respond(way);
                }
                false
            }
        }
    }

    /// Queues what quinn-proto wrote into the scratch buffer as an answer.
    fn respond(&mut self, way: Way) {
        if self.responses.len() < MAX_RESPONSES {
            self.responses.push_back((way, self.scratch.clone()));
        } else {
            self.counters.responses_dropped += 1;
        }
    }

    /// Makes a new connection known.
    fn begin(&mut self, id: ConnId) {
        let connection = self.connections.get(id).expect("it was just made");
        let handle = connection.handle.0;
        if self.handles.len() <= handle {
            self.handles.resize(handle + 1, None);
        }
        self.handles[handle] = Some(id);
        self.settle(id);
        self.touch(id);
    }

    /// Exchanges events between a connection, quinn-proto's endpoint and the owner, and forgets the connection when
    /// it is drained.
    fn settle(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let was_incoming = connection.is_incoming();
        while let Some(event) = connection.poll_endpoint_events() {
            if event.is_drained() {
                connection.drain_events(&mut self.events);
                self.incoming -= usize::from(was_incoming);
                self.forget(id, event);
                return;
            }
            let answer = self.slot.during(id.index(), || self.quinn.handle_event(connection.handle, event));
            if let Some(answer) = answer {
                connection.answer(answer);
            }
        }
        connection.drain_events(&mut self.events);
        self.incoming -= usize::from(was_incoming && !connection.is_incoming());
        self.arm(id);
    }

    /// Ends a handshake that takes too long, without a word.
    fn abandon(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        self.incoming -= usize::from(connection.is_incoming());
        connection.end(CloseReason::TimedOut, &mut self.events);
        self.counters.handshakes_expired += 1;
        self.forget(id, EndpointEvent::drained());
    }

    fn forget(&mut self, id: ConnId, drained: EndpointEvent) {
        let Some(mut connection) = self.connections.remove(id) else { return };
        // Drained without an event before: the state was given up on both sides.
        connection.end(CloseReason::TimedOut, &mut self.events);
        self.quinn.handle_event(connection.handle, drained);
        self.handles[connection.handle.0] = None;
        if let Some(first) = connection.first {
            self.first_ids.remove(&first, id);
        }
        self.deadlines.cancel(id);
    }

    /// Notes that `id` may have something to send, and that its deadline may have changed.
    fn touch(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        if !connection.queued && !connection.is_held() {
            connection.queued = true;
            self.ready.push_back(id);
        }
        self.arm(id);
    }

    /// Sees that the timer of `id` goes off in time. One that goes off early is cheaper than one that is moved with
    /// every datagram.
    fn arm(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(deadline) = connection.deadline() else { return };
        if connection.armed.is_none_or(|armed| deadline < armed) {
            connection.armed = Some(deadline);
            self.deadlines.set(id, deadline);
        }
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint")
            .field("connections", &self.connections.len())
            .field("incoming", &self.incoming)
            .field("first_ids", &self.first_ids.len())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
