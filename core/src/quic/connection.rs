//! One connection: quinn-proto's, the way that it travels, and what its owner was told about it.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use quinn_proto::{
    ConnectionError, ConnectionEvent, ConnectionHandle, ConnectionId, Dir, EcnCodepoint, EndpointEvent,
    FrameStats, ReadError, StreamEvent, StreamId, Transmit, VarInt, WriteError,
};
use rustls_pki_types::CertificateDer;

use super::{CloseReason, Event, Outgoing, Stats, Way, crypto};
use crate::io::{ConnId, Ecn, Read, Write};

/// After a change of way, how long stragglers from the old one don't change it back, at least.
const STRAGGLERS: Duration = Duration::from_millis(50);

pub(super) struct Connection {
    pub(super) id: ConnId,
    pub(super) handle: ConnectionHandle,
    quinn: quinn_proto::Connection,
    /// The address that quinn-proto takes the other end to be at.
    pub(super) address: SocketAddr,
    way: Way,
    /// The way before, and until when it is not gone back to.
    left: Option<(Way, Instant)>,
    phase: Phase,
    /// The connection ID that the client made up, on the server's side.
    pub(super) first: Option<ConnectionId>,
    /// When the handshake is given up.
    handshake_ends: Instant,
    /// For when it has a timer; never later than its next deadline.
    pub(super) armed: Option<Instant>,
    /// Whether it waits in the list of those that may have something to send.
    pub(super) queued: bool,
    held: bool,
    /// Streams whose end was met behind bytes that were read: the next read tells.
    ended: BTreeSet<StreamId>,
    stream_bytes_sent: u64,
    stream_bytes_received: u64,
}

/// How far the owner was told that the connection has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Handshake,
    /// TLS is done on the client's side; whether the server is content is not known yet.
    Unconfirmed,
    Established,
    Closed,
}

/// What a new connection is made of.
pub(super) struct Start {
    pub(super) handle: ConnectionHandle,
    pub(super) quinn: quinn_proto::Connection,
    pub(super) address: SocketAddr,
    pub(super) way: Way,
    pub(super) first: Option<ConnectionId>,
    pub(super) handshake_ends: Instant,
}

impl Connection {
    pub(super) fn new(id: ConnId, start: Start) -> Self {
        Self {
            id,
            handle: start.handle,
            quinn: start.quinn,
            address: start.address,
            way: start.way,
            left: None,
            phase: Phase::Handshake,
            first: start.first,
            handshake_ends: start.handshake_ends,
            armed: None,
            queued: false,
            held: false,
            ended: BTreeSet::new(),
            stream_bytes_sent: 0,
            stream_bytes_received: 0,
        }
    }

    /// Handles what quinn-proto's endpoint has for this connection, which came by `way`.
    pub(super) fn receive(&mut self, now: Instant, way: Way, event: ConnectionEvent) {
        if !self.may_move(now, way) {
            self.quinn.handle_event(event);
            return;
        }
        // Bytes are counted before they are decrypted, frames after.
        let before = frames(&self.quinn.stats().frame_rx);
        self.quinn.handle_event(event);
        if frames(&self.quinn.stats().frame_rx) > before {
            self.left = Some((self.way, now + self.quinn.rtt().max(STRAGGLERS)));
            self.reroute(now, way);
        }
    }

    /// Handles what quinn-proto's endpoint has for this connection of its own accord.
    pub(super) fn answer(&mut self, event: ConnectionEvent) {
        self.quinn.handle_event(event);
    }

    /// Whether an authentic datagram that comes by `way` means that the other end is there now. A client does not
    /// follow its server, and nobody moves before the handshake is done (RFC 9000 §9): the keys of the first
    /// packets are no secret.
    fn may_move(&self, now: Instant, way: Way) -> bool {
        way != self.way
            && self.first.is_some()
            && self.phase == Phase::Established
            && self.left.is_none_or(|(left, until)| left != way || now >= until)
    }

    /// Sends by `way` from now on.
    ///
    /// Where only the port is another, a NAT has forgotten its mapping and the path is the same: what is known of it
    /// is kept, as RFC 9000 §9.4 allows. To forget it would be harmful. The packets that were lost meanwhile still
    /// count as in flight and would fill the new, small window, and the probes that free it would wait for the new,
    /// large estimate of the round trip times all the doublings so far: longer than a connection lives.
    pub(super) fn reroute(&mut self, now: Instant, way: Way) {
        let same_path = way.via == self.way.via && way.remote.ip() == self.way.remote.ip();
        self.way = way;
        if !same_path {
            self.quinn.path_changed(now);
        }
    }

    pub(super) fn poll_endpoint_events(&mut self) -> Option<EndpointEvent> {
        self.quinn.poll_endpoint_events()
    }

    /// Moves what quinn-proto has to tell to `events`.
    pub(super) fn drain_events(&mut self, events: &mut VecDeque<Event>) {
        while let Some(event) = self.quinn.poll() {
            match event {
                quinn_proto::Event::Connected => {
                    self.phase = Phase::Unconfirmed;
                    self.confirm(events);
                }
                quinn_proto::Event::ConnectionLost { reason } => self.lose(reason, events),
                quinn_proto::Event::Stream(event) if self.phase == Phase::Established => {
                    self.stream_event(event, events);
                }
                _ => {}
            }
        }
        self.confirm(events);
    }

    /// Tells that the connection stands, once it does. What happened to streams before is made up for.
    fn confirm(&mut self, events: &mut VecDeque<Event>) {
        if self.phase != Phase::Unconfirmed {
            return;
        }
        // A client has HANDSHAKE_DONE only from a server that has accepted its certificate (RFC 9001 §4.1.2).
        if self.quinn.side().is_server() || self.quinn.stats().frame_rx.handshake_done > 0 {
            self.phase = Phase::Established;
            events.push_back(Event::Connected { conn: self.id });
            self.accept(events);
        }
    }

    fn lose(&mut self, error: ConnectionError, events: &mut VecDeque<Event>) {
        let failure = self.handshake().and_then(|handshake| handshake.failure);
        self.end(CloseReason::new(error, failure), events);
    }

    /// Tells that the connection has ended, once.
    pub(super) fn end(&mut self, reason: CloseReason, events: &mut VecDeque<Event>) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Closed;
            events.push_back(Event::Closed { conn: self.id, reason });
        }
    }

    fn stream_event(&mut self, event: StreamEvent, events: &mut VecDeque<Event>) {
        let conn = self.id;
        events.push_back(match event {
            StreamEvent::Opened { .. } => return self.accept(events),
            StreamEvent::Readable { id } => Event::Readable { conn, stream: id },
            StreamEvent::Writable { id } => Event::Writable { conn, stream: id },
            StreamEvent::Finished { id } => Event::Finished { conn, stream: id },
            StreamEvent::Stopped { id, error_code } => {
                // The answer that is due (RFC 9000 §3.5). Without it the stream never ends, and its credit never
                // comes back. An error means that it has ended already.
                let _ = self.quinn.send_stream(id).reset(error_code);
                Event::Stopped { conn, stream: id, code: error_code.into_inner() }
            }
            StreamEvent::Available { .. } => Event::StreamsAvailable { conn },
        });
    }

    fn accept(&mut self, events: &mut VecDeque<Event>) {
        while let Some(stream) = self.quinn.streams().accept(Dir::Bi) {
            events.push_back(Event::StreamOpened { conn: self.id, stream });
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.quinn.handle_timeout(now);
    }

    /// Its next deadline.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        let handshake = self.is_handshaking().then_some(self.handshake_ends);
        self.quinn.poll_timeout().into_iter().chain(handshake).min()
    }

    /// Whether the handshake was not done in time.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.is_handshaking() && now >= self.handshake_ends
    }

    pub(super) fn is_handshaking(&self) -> bool {
        matches!(self.phase, Phase::Handshake | Phase::Unconfirmed)
    }

    /// Whether it is one that a client opened and that is not established yet.
    pub(super) fn is_incoming(&self) -> bool {
        self.first.is_some() && self.is_handshaking()
    }

    pub(super) fn poll_transmit(
        &mut self,
        now: Instant,
        max_segments: NonZeroUsize,
        out: &mut Vec<u8>,
    ) -> Option<Outgoing> {
        let Transmit { ecn, segment_size, size, .. } =
            self.quinn.poll_transmit(now, max_segments.get(), out)?;
        let ecn = ecn.and_then(|ecn| Ecn::from_bits(ecn as u8));
        Some(Outgoing { conn: Some(self.id), way: self.way, ecn, stride: segment_size.unwrap_or(size) })
    }

    pub(super) fn is_held(&self) -> bool {
        self.held
    }

    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    pub(super) fn close(&mut self, now: Instant, code: u32, reason: &'static [u8]) {
        self.quinn.close(now, code.into(), bytes::Bytes::from_static(reason));
    }

    pub(super) fn ping(&mut self) {
        self.quinn.ping();
    }

    pub(super) fn way(&self) -> Way {
        self.way
    }

    pub(super) fn peer_certificates(&self) -> Option<Vec<CertificateDer<'static>>> {
        self.quinn.crypto_session().peer_identity()?.downcast().ok().map(|certificates| *certificates)
    }

    pub(super) fn alpn(&self) -> Option<Vec<u8>> {
        self.handshake()?.alpn
    }

    fn handshake(&self) -> Option<crypto::Handshake> {
        self.quinn.crypto_session().handshake_data()?.downcast().ok().map(|handshake| *handshake)
    }

    /// Keying material of the TLS session (RFC 8446 §7.5); `false` when there is none yet.
    pub(super) fn export(&self, label: &[u8], context: &[u8], out: &mut [u8]) -> bool {
        self.quinn.crypto_session().export_keying_material(out, label, context).is_ok()
    }

    pub(super) fn stats(&self) -> Stats {
        let stats = self.quinn.stats();
        Stats {
            rtt: stats.path.rtt,
            stream_bytes_sent: self.stream_bytes_sent,
            stream_bytes_received: self.stream_bytes_received,
            udp_bytes_sent: stats.udp_tx.bytes,
            udp_bytes_received: stats.udp_rx.bytes,
            packets_sent: stats.path.sent_packets,
            packets_lost: stats.path.lost_packets,
            congestion_window: stats.path.cwnd,
            mtu: stats.path.current_mtu,
        }
    }

    pub(super) fn open(&mut self) -> Option<StreamId> {
        if self.phase != Phase::Established {
            return None;
        }
        self.quinn.streams().open(Dir::Bi)
    }

    /// Reads from `stream`, and tells whether the peer must be sent new credit.
    pub(super) fn read(&mut self, stream: StreamId, buf: &mut [u8]) -> (Read, bool) {
        if !self.can_receive(stream) {
            return (Read::Reset, false);
        }
        if buf.is_empty() {
            return (Read::Bytes(0), false);
        }
        if self.ended.remove(&stream) {
            return (Read::Finished, false);
        }
        let mut receiver = self.quinn.recv_stream(stream);
        let Ok(mut chunks) = receiver.read(true) else { return (Read::Reset, false) };
        let mut filled = 0;
        let end = loop {
            if filled == buf.len() {
                break None;
            }
            match chunks.next(buf.len() - filled) {
                Ok(Some(chunk)) => {
                    buf[filled..filled + chunk.bytes.len()].copy_from_slice(&chunk.bytes);
                    filled += chunk.bytes.len();
                }
                Ok(None) => break Some(Read::Finished),
                Err(ReadError::Blocked) => break Some(Read::Blocked),
                Err(ReadError::Reset(_)) => break Some(Read::Reset),
            }
        };
        let credit = chunks.finalize().should_transmit();
        (self.read_outcome(stream, filled, end), credit)
    }

    fn read_outcome(&mut self, stream: StreamId, filled: usize, end: Option<Read>) -> Read {
        self.stream_bytes_received += filled as u64;
        match end {
            Some(Read::Blocked) if filled == 0 && self.phase == Phase::Closed => Read::Reset,
            Some(end) if filled == 0 => end,
            end => {
                // quinn-proto forgets a stream as soon as it has told its end.
                if end == Some(Read::Finished) {
                    self.ended.insert(stream);
                }
                Read::Bytes(filled)
            }
        }
    }

    pub(super) fn write(&mut self, stream: StreamId, bytes: &[u8]) -> Write {
        if !self.can_send(stream) || self.phase == Phase::Closed {
            return Write::Closed;
        }
        if bytes.is_empty() {
            return Write::Accepted(0);
        }
        match self.quinn.send_stream(stream).write(bytes) {
            Ok(written) => {
                self.stream_bytes_sent += written as u64;
                Write::Accepted(written)
            }
            Err(WriteError::Blocked) => Write::Blocked,
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => Write::Closed,
        }
    }

    // An error of the next three means that the stream is past the point where they do something.

    pub(super) fn finish(&mut self, stream: StreamId) {
        if self.can_send(stream) {
            let _ = self.quinn.send_stream(stream).finish();
        }
    }

    pub(super) fn reset(&mut self, stream: StreamId, code: u32) {
        if self.can_send(stream) {
            let _ = self.quinn.send_stream(stream).reset(VarInt::from_u32(code));
        }
    }

    pub(super) fn stop(&mut self, stream: StreamId, code: u32) {
        self.ended.remove(&stream);
        if self.can_receive(stream) {
            let _ = self.quinn.recv_stream(stream).stop(VarInt::from_u32(code));
        }
    }

    /// quinn-proto panics at the wrong end of a unidirectional stream. There are none here, but a caller may make up
    /// an identifier.
    fn can_send(&self, stream: StreamId) -> bool {
        stream.dir() == Dir::Bi || stream.initiator() == self.quinn.side()
    }

    fn can_receive(&self, stream: StreamId) -> bool {
        stream.dir() == Dir::Bi || stream.initiator() != self.quinn.side()
    }
}

/// quinn-proto's word for an ECN codepoint.
pub(super) fn codepoint(ecn: Ecn) -> EcnCodepoint {
    match ecn {
        Ecn::Ect0 => EcnCodepoint::Ect0,
        Ecn::Ect1 => EcnCodepoint::Ect1,
        Ecn::Ce => EcnCodepoint::Ce,
    }
}

/// How many frames were received, padding aside.
fn frames(rx: &FrameStats) -> u64 {
    let control = [
        rx.acks,
        rx.ack_frequency,
        rx.connection_close,
        rx.data_blocked,
        rx.handshake_done.into(),
        rx.immediate_ack,
        rx.max_data,
        rx.max_stream_data,
        rx.max_streams_bidi,
        rx.max_streams_uni,
        rx.new_connection_id,
        rx.new_token,
        rx.path_challenge,
        rx.path_response,
        rx.ping,
        rx.reset_stream,
        rx.retire_connection_id,
        rx.stream_data_blocked,
        rx.streams_blocked_bidi,
        rx.streams_blocked_uni,
        rx.stop_sending,
    ];
    control.iter().sum::<u64>() + rx.stream + rx.crypto + rx.datagram
}
