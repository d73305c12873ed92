//! Batches of datagrams: as the kernel coalesced them on the way in, as it can segment them on the way out.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::{Ecn, LinkId, SocketId};

/// Datagrams of one source that arrived together (GRO). A single datagram is a batch of one.
#[derive(Debug)]
pub struct Datagrams<'a> {
    /// The socket that they arrived on.
    pub socket: SocketId,
    /// Where they came from.
    pub remote: SocketAddr,
    /// The local address that they were sent to, where the kernel tells.
    pub local: Option<IpAddr>,
    /// The ECN codepoint of all of them.
    pub ecn: Option<Ecn>,
    /// The length of every datagram but the last, which may be shorter; in bytes, never 0.
    pub stride: usize,
    /// The datagrams, one behind the other. A machine may scribble on it.
    pub payload: &'a mut [u8],
}

impl<'a> Datagrams<'a> {
    /// A batch of one datagram, for who receives one at a time. It may be empty.
    pub fn single(socket: SocketId, remote: SocketAddr, payload: &'a mut [u8]) -> Self {
        Self { socket, remote, local: None, ecn: None, stride: payload.len().max(1), payload }
    }

    /// The same batch for a shorter time: machines take a batch by value, and [`Run::body`] wants it afterwards.
    pub fn reborrow(&mut self) -> Datagrams<'_> {
        Datagrams { payload: &mut *self.payload, ..*self }
    }

    /// The number of datagrams.
    pub fn len(&self) -> usize {
        self.payload.len().div_ceil(self.stride.max(1)).max(1)
    }

    /// Whether the batch is one empty datagram.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// Where the `index`th datagram lies in the payload. An empty range past the end.
    pub fn range(&self, index: usize) -> Range<usize> {
        segment(self.payload.len(), self.stride, index)
    }

    /// The `index`th datagram.
    pub fn segment(&self, index: usize) -> &[u8] {
        &self.payload[self.range(index)]
    }
}

/// Where the `index`th segment of `stride` bytes lies in `len` bytes.
fn segment(len: usize, stride: usize, index: usize) -> Range<usize> {
    let start = stride.saturating_mul(index).min(len);
    start..start.saturating_add(stride).min(len)
}

/// What a machine wants done with the datagrams of the batch that it was just given, without copying them
/// itself: runs of segments that go the same way with the same change of header.
///
/// Only plain UDP is forwarded like this; whatever must be framed or sealed goes through `poll_transmit`.
#[derive(Debug, Default)]
pub struct Forwards {
    runs: Vec<Run>,
}

/// Consecutive segments of a batch that go one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Where they go.
    pub onward: Onward,
    /// The ECN codepoint to send them with.
    pub ecn: Option<Ecn>,
    /// How many bytes at the front of each segment are left out.
    pub strip: usize,
    /// How many bytes of each segment follow the stripped ones.
    pub len: usize,
    /// Four bytes to put in front: the ChannelData header (RFC 8656 §12.4).
    pub prefix: Option<[u8; 4]>,
    /// Which segments of the batch, by index.
    pub segments: Range<usize>,
}

/// Which way a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onward {
    /// Out again, from `socket` to `to`: what a relay does.
    Send {
        /// The socket to send from.
        socket: SocketId,
        /// The receiver.
        to: SocketAddr,
        /// The local address to send from, where the socket is bound to all.
        from: Option<IpAddr>,
        /// Never in fragments: DF is set (RFC 8656 §14). Otherwise it is as for all of the socket's datagrams.
        whole: bool,
    },
    /// To the owner of the machine: what a TURN client does with a peer's data. No driver sees this.
    Owner {
        /// The peer that sent it to the relayed address.
        peer: SocketAddr,
    },
}

impl Forwards {
    /// Adds a run, by extending the last one where it goes the same way. One without segments is none.
    pub fn push(&mut self, run: Run) {
        if run.segments.is_empty() {
            return;
        }
        if let Some(last) = self.runs.last_mut() {
            let same = last.segments.end == run.segments.start
                && (last.onward, last.ecn, last.strip, last.len, last.prefix)
                    == (run.onward, run.ecn, run.strip, run.len, run.prefix);
            if same {
                last.segments.end = run.segments.end;
                return;
            }
        }
        self.runs.push(run);
    }

    /// The runs, in the order of their segments.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Takes the runs out one by one, keeping the memory for the next batch.
    pub fn drain(&mut self) -> impl Iterator<Item = Run> {
        self.runs.drain(..)
    }

    /// Forgets all runs.
    pub fn clear(&mut self) {
        self.runs.clear();
    }

    /// Whether there is no run.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

impl Run {
    /// The bytes of the `index`th segment of the batch that this run carries on.
    pub fn body<'a>(&self, batch: &'a Datagrams<'_>, index: usize) -> &'a [u8] {
        let range = self.body_range(batch, index);
        &batch.payload[range]
    }

    /// Where these bytes lie in the payload of the batch.
    pub fn body_range(&self, batch: &Datagrams<'_>, index: usize) -> Range<usize> {
        let whole = batch.range(index);
        let start = whole.start.saturating_add(self.strip).min(whole.end);
        start..start.saturating_add(self.len).min(whole.end)
    }
}

/// One or more datagrams for one receiver. The bytes are in the buffer that came with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// The receiver.
    pub to: To,
    /// The local address to send from, where the socket is bound to all.
    pub from: Option<IpAddr>,
    /// The ECN codepoint to send with.
    pub ecn: Option<Ecn>,
    /// The length of every datagram but the last, in bytes; the whole buffer when there is only one.
    pub stride: usize,
    /// Never in fragments: DF is set (RFC 8656 §14). Otherwise it is as for all of the socket's datagrams.
    pub whole: bool,
}

/// Where a transmit goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// As UDP datagrams.
    Udp {
        /// The socket to send from.
        socket: SocketId,
        /// The receiver.
        to: SocketAddr,
    },
    /// As bytes of a link.
    Link(LinkId),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Id;

    #[test]
    fn an_empty_datagram_is_a_batch_of_one() {
        let remote = "127.0.0.1:1".parse().unwrap();
        let mut batch = Datagrams::single(SocketId::new(0, 0), remote, &mut []);
        assert_eq!((batch.len(), batch.stride), (1, 1));
        assert!(batch.reborrow().is_empty());
    }

    #[test]
    fn the_last_segment_may_be_short() {
        let mut bytes = *b"aaabbbc";
        let batch = Datagrams {
            socket: SocketId::new(0, 0),
            remote: "127.0.0.1:1".parse().unwrap(),
            local: None,
            ecn: None,
            stride: 3,
            payload: &mut bytes,
        };
        assert_eq!(batch.len(), 3);
        assert_eq!(batch.segment(1), b"bbb");
        assert_eq!(batch.segment(2), b"c");
        assert_eq!(batch.segment(9), b"");
    }

    #[test]
    fn equal_neighbours_become_one_run() {
        let run = |segments, len| Run {
            onward: Onward::Send {
                socket: SocketId::new(1, 0),
                to: "127.0.0.1:2".parse().unwrap(),
                from: None,
                whole: false,
            },
            ecn: None,
            strip: 4,
            len,
            prefix: None,
            segments,
        };
        let mut forwards = Forwards::default();
        forwards.push(run(0..1, 10));
        forwards.push(run(1..3, 10));
        forwards.push(run(3..3, 9));
        forwards.push(run(3..4, 9));
        forwards.push(run(5..6, 9));
        let segments: Vec<_> = forwards.runs().iter().map(|run| run.segments.clone()).collect();
        assert_eq!(segments, [0..3, 3..4, 5..6]);
    }
}
