//! A hand-made connector: QUIC without our own manners, to say to a gateway what a connector would not.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use adit_core::io::{Read, Write};
use adit_core::quic::{CloseReason, Config, ConnId, Endpoint, Event, StreamId, Way};
use adit_core::time::WallCell;
use adit_core::tunnel::{Frame, FrameReader};

pub(crate) struct Stranger {
    pub(crate) quic: Endpoint,
    pub(crate) address: SocketAddr,
    conn: Option<ConnId>,
    /// Reads what comes on the control stream.
    reader: FrameReader,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) stopped: Vec<StreamId>,
}

impl Stranger {
    pub(crate) fn new(config: Config, wall: WallCell, address: SocketAddr, seed: u8) -> Self {
        let quic = Endpoint::new(config, wall, [seed; 32]);
        Self { quic, address, conn: None, reader: FrameReader::default(), closed: None, stopped: Vec::new() }
    }

    pub(crate) fn connect(&mut self, now: Instant, to: SocketAddr, tls: Arc<rustls::ClientConfig>) {
        self.quic.connect(now, Way { via: 0, remote: to }, "gw", tls).unwrap();
    }

    pub(crate) fn events(&mut self) {
        while let Some(event) = self.quic.poll_event() {
            match event {
                Event::Connected { conn } => self.conn = Some(conn),
                Event::Closed { reason, .. } => self.closed = Some(reason),
                Event::Stopped { stream, .. } => self.stopped.push(stream),
                _ => {}
            }
        }
    }

    /// The next datagrams, and where they go.
    pub(crate) fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<(SocketAddr, usize)> {
        let sent = self.quic.poll_transmit(now, NonZeroUsize::MIN, out)?;
        Some((sent.way.remote, sent.stride))
    }

    pub(crate) fn conn(&self) -> ConnId {
        self.conn.unwrap()
    }

    /// Opens a stream that begins with `bytes`.
    pub(crate) fn open(&mut self, bytes: &[u8]) -> StreamId {
        let stream = self.quic.open(self.conn.unwrap()).unwrap();
        self.write(stream, bytes);
        stream
    }

    pub(crate) fn write(&mut self, stream: StreamId, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let written = self.quic.write(self.conn.unwrap(), stream, bytes);
        assert_eq!(written, Write::Accepted(bytes.len()));
    }

    pub(crate) fn finish(&mut self, stream: StreamId) {
        self.quic.finish(self.conn.unwrap(), stream);
    }

    pub(crate) fn stop(&mut self, stream: StreamId) {
        self.quic.stop(self.conn.unwrap(), stream, 9);
    }

    /// All frames that have arrived on a stream, and what stopped reading.
    pub(crate) fn frames(&mut self, stream: StreamId) -> (Vec<Frame>, Read) {
        let (mut frames, mut byte) = (Vec::new(), [0]);
        loop {
            match self.quic.read(self.conn.unwrap(), stream, &mut byte) {
                Read::Bytes(_) => frames.extend(self.reader.feed(&byte).unwrap()),
                end => return (frames, end),
            }
        }
    }

    pub(crate) fn leave(&mut self, now: Instant) {
        self.quic.close(now, self.conn.unwrap(), 0, b"");
    }
}
