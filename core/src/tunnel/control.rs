//! The control stream of a connection: bidirectional stream 0, opened by the connector.

use super::codec::{FrameReader, encode};
use super::frame::Frame;
use super::pump::{FrameRead, read_frame};
use crate::io::Write;
use crate::quic::{ConnId, Endpoint, StreamId};

/// How many bytes wait for a peer that does not read; more is not read from it either.
const MAX_WAITING: usize = 16 * 1024;

/// One end of a control stream. Both ends answer PING by themselves.
#[derive(Debug)]
pub(crate) struct Control {
    conn: ConnId,
    stream: StreamId,
    reader: FrameReader,
    waiting: Vec<u8>,
}

/// The other end broke the protocol: no frame, a frame that may not stand here, or the end of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProtocolError;

impl Control {
    /// The control stream of `conn`.
    pub(crate) fn new(conn: ConnId, stream: StreamId) -> Self {
        Self { conn, stream, reader: FrameReader::default(), waiting: Vec::new() }
    }

    /// Sends `frame`, at once where there is room. Dropped when the other end has not read for long.
    pub(crate) fn send(&mut self, quic: &mut Endpoint, frame: &Frame) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.extend(encode(frame));
        }
        self.flush(quic);
    }

    /// Sends what waits.
    pub(crate) fn flush(&mut self, quic: &mut Endpoint) {
        while !self.waiting.is_empty() {
            match quic.write(self.conn, self.stream, &self.waiting) {
                Write::Accepted(taken) => drop(self.waiting.drain(..taken)),
                Write::Blocked | Write::Closed => return,
            }
        }
    }

    /// The next frame that is not PING; `None` where there is none for now.
    pub(crate) fn receive(&mut self, quic: &mut Endpoint) -> Result<Option<Frame>, ProtocolError> {
        while self.waiting.len() < MAX_WAITING {
            match read_frame(quic, (self.conn, self.stream), &mut self.reader) {
                FrameRead::Frame(Frame::Ping(bytes)) => self.send(quic, &Frame::Pong(bytes)),
                FrameRead::Frame(Frame::Open(_) | Frame::Accept(_) | Frame::Reject { .. }) => {
                    return Err(ProtocolError);
                }
                FrameRead::Frame(frame) => return Ok(Some(frame)),
                FrameRead::Blocked => return Ok(None),
                FrameRead::Ended | FrameRead::Reset | FrameRead::Malformed => {
                    return Err(ProtocolError);
                }
            }
        }
        Ok(None)
    }
}
