//! The machine between a QUIC stream and a byte pipe: what was offered, accepted, shut down and reset, both ways.
//!
//! It holds no bytes but the few that its owner wants sent first; everything else waits in QUIC, whose flow
//! control is the back-pressure.

use super::{Code, Frame, FrameReader, Malformed};
use crate::io::{Direction, Read, Write};
use crate::quic::{ConnId, Endpoint, StreamId};

/// One end of a tunnelled byte stream.
#[derive(Debug)]
pub(crate) struct Pump {
    conn: ConnId,
    stream: StreamId,
    /// Bytes that go out before those of the pipe: OPEN or ACCEPT.
    prologue: Vec<u8>,
    receiving: Receiving,
    sending: Sending,
    /// Whether the pipe has put in a byte, or the end.
    begun: bool,
    /// Who was told to wait for a wake-up.
    waiting_to_read: bool,
    waiting_to_write: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Open,
    Finished,
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    /// The pipe has finished; the end goes out behind the prologue.
    Finishing,
    Finished,
    Closed,
}

impl Pump {
    /// A pump for `stream` of `conn`.
    pub(crate) fn new(conn: ConnId, stream: StreamId) -> Self {
        Self {
            conn,
            stream,
            prologue: Vec::new(),
            receiving: Receiving::Open,
            sending: Sending::Open,
            begun: false,
            waiting_to_read: false,
            waiting_to_write: false,
        }
    }

    /// The QUIC connection.
    pub(crate) fn conn(&self) -> ConnId {
        self.conn
    }

    /// The QUIC stream.
    pub(crate) fn stream(&self) -> StreamId {
        self.stream
    }

    /// Whether the pipe has put in a byte, or the end. The prologue does not count.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes received bytes out.
    pub(crate) fn read(&mut self, quic: &mut Endpoint, buf: &mut [u8]) -> Read {
        let outcome = match self.receiving {
            Receiving::Open => quic.read(self.conn, self.stream, buf),
            Receiving::Finished => Read::Finished,
            Receiving::Reset => Read::Reset,
        };
        self.waiting_to_read = outcome == Read::Blocked;
        match outcome {
            Read::Finished => self.receiving = Receiving::Finished,
            Read::Reset => self.receiving = Receiving::Reset,
            Read::Bytes(_) | Read::Blocked => {}
        }
        outcome
    }

    /// Puts bytes in. Nothing to write asks whether the other end still listens: `Blocked` where it does.
    pub(crate) fn write(&mut self, quic: &mut Endpoint, bytes: &[u8]) -> Write {
        let clear = self.flush(quic);
        let outcome = match self.sending {
            Sending::Open if !clear || bytes.is_empty() => Write::Blocked,
            Sending::Open => quic.write(self.conn, self.stream, bytes),
            Sending::Finishing | Sending::Finished | Sending::Closed => Write::Closed,
        };
        if outcome == Write::Closed && self.sending == Sending::Open {
            self.sending = Sending::Closed;
        }
        self.begun |= matches!(outcome, Write::Accepted(_));
        self.waiting_to_write = outcome == Write::Blocked;
        outcome
    }

    /// No more bytes will be put in: TCP's FIN.
    pub(crate) fn finish(&mut self, quic: &mut Endpoint) {
        self.begun = true;
        if self.sending == Sending::Open {
            self.sending = Sending::Finishing;
            self.flush(quic);
        }
    }

    /// Gives the pipe up: what the other end still sends is refused, and it sees a reset unless it was told the
    /// end before.
    pub(crate) fn close(&mut self, quic: &mut Endpoint) {
        if self.receiving == Receiving::Open {
            quic.stop(self.conn, self.stream, Code::Reset as u32);
            self.receiving = Receiving::Reset;
        }
        if matches!(self.sending, Sending::Open | Sending::Finishing) {
            quic.reset(self.conn, self.stream, Code::Reset as u32);
            self.sending = Sending::Closed;
        }
    }

    /// Sends what is left of the prologue, and the end behind it; whether nothing of it is left.
    fn flush(&mut self, quic: &mut Endpoint) -> bool {
        while !self.prologue.is_empty() {
            match quic.write(self.conn, self.stream, &self.prologue) {
                Write::Accepted(taken) => drop(self.prologue.drain(..taken)),
                Write::Blocked => return false,
                Write::Closed => {
                    self.prologue.clear();
                    self.sending = Sending::Closed;
                }
            }
        }
        if self.sending == Sending::Finishing {
            quic.finish(self.conn, self.stream);
            self.sending = Sending::Finished;
        }
        true
    }

    /// Sends `bytes` first, at once where there is room.
    pub(crate) fn begin(&mut self, quic: &mut Endpoint, bytes: &[u8]) {
        self.prologue.extend_from_slice(bytes);
        self.flush(quic);
    }

    /// The stream has bytes or an end; whom to wake.
    pub(crate) fn on_readable(&mut self) -> Option<Direction> {
        std::mem::take(&mut self.waiting_to_read).then_some(Direction::Read)
    }

    /// The stream has room; whom to wake.
    pub(crate) fn on_writable(&mut self, quic: &mut Endpoint) -> Option<Direction> {
        let clear = self.flush(quic);
        (clear && std::mem::take(&mut self.waiting_to_write)).then_some(Direction::Write)
    }

    /// The other end takes no more bytes; whom to wake.
    pub(crate) fn on_stopped(&mut self) -> Option<Direction> {
        if self.sending != Sending::Finished {
            self.sending = Sending::Closed;
        }
        std::mem::take(&mut self.waiting_to_write).then_some(Direction::Write)
    }

    /// The connection was lost; both directions are to be woken.
    pub(crate) fn on_lost(&mut self) {
        if self.receiving == Receiving::Open {
            self.receiving = Receiving::Reset;
        }
        self.sending = Sending::Closed;
        self.waiting_to_read = false;
        self.waiting_to_write = false;
    }
}

/// What reading a frame from a stream came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum FrameRead {
    /// A whole frame.
    Frame(Frame),
    /// The stream has no more for now.
    Blocked,
    /// The stream has ended before.
    Ended,
    /// The stream was reset, perhaps behind the frame: a reset overtakes what was sent before it (RFC 9000 §3.2).
    Reset,
    /// What the stream holds is no frame.
    Malformed,
}

/// Reads the next frame of `stream`, and not a byte beyond it.
pub(crate) fn read_frame(
    quic: &mut Endpoint,
    (conn, stream): (ConnId, StreamId),
    reader: &mut FrameReader,
) -> FrameRead {
    let mut buf = [0; super::MAX_FRAME];
    loop {
        let wants = reader.wants();
        match quic.read(conn, stream, &mut buf[..wants]) {
            Read::Bytes(length) => match reader.feed(&buf[..length]) {
                Ok(None) => {}
                Ok(Some(frame)) => return FrameRead::Frame(frame),
                Err(Malformed) => return FrameRead::Malformed,
            },
            Read::Blocked => return FrameRead::Blocked,
            Read::Finished => return FrameRead::Ended,
            Read::Reset => return FrameRead::Reset,
        }
    }
}
