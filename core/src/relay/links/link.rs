//! One link of a client: what it speaks, and what waits to be sent to it.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::super::quota::Way;
use super::super::source::Source;
use super::super::tcp::Number;
use crate::io::LINK_PIECE;
use crate::secure::tls::Tls;
use crate::turn::stream::{self, Splitter};

/// The most that a record of TLS holds, in bytes (RFC 8446 §5.1), and the most that it adds: more than it does with any
/// cipher suite that is spoken.
const RECORD: usize = 1 << 14;
const RECORD_OVERHEAD: usize = 64;

/// How many bytes of a pipe are sealed at once: with their records, and TLS's goodbye behind them, they fit a piece.
const PIPED: usize = LINK_PIECE - 8 * RECORD_OVERHEAD;

/// One link.
#[derive(Debug)]
pub(in super::super) struct Link {
    pub(in super::super) client: SocketAddr,
    pub(in super::super) local: IpAddr,
    pub(super) source: Source,
    pub(super) stage: Stage,
    /// It speaks TLS.
    pub(super) is_secured: bool,
    /// The connection with a peer that it is an end of, and which way the bytes go that come by it (RFC 6062).
    pub(super) pipe: Option<(Number, Way)>,
    outgoing: Outgoing,
    /// No message has come yet.
    pub(super) is_opening: bool,
    /// Whole messages, and the rest of one whose front was handed over.
    queue: Vec<u8>,
    /// How many bytes of the queue of a pipe are messages that were there before.
    messages: usize,
    /// What TLS itself has to say.
    sealed: Vec<u8>,
    /// When the piece that the driver has was handed over.
    pub(super) handed_over: Option<Instant>,
    /// It stands in the queue of links that have something to send.
    pub(super) is_queued: bool,
    /// A timer looks after pieces that are not taken.
    pub(super) is_watched: bool,
}

/// What a client's bytes are.
#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing has come yet.
    New,
    /// Messages, one behind the other (RFC 8656 §12.5).
    Plain(Splitter),
    /// The same under TLS.
    Secured(Box<Secured>),
}

/// How far what is said to the other end of a pipe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outgoing {
    Open,
    /// Nothing more is added to the queue.
    Ending,
    /// TLS has said goodbye behind it.
    Goodbye,
}

#[derive(Debug)]
pub(super) struct Secured {
    pub(super) tls: Tls,
    pub(super) splitter: Splitter,
}

/// The queue has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Link {
    pub(super) fn new(client: SocketAddr, local: IpAddr) -> Self {
        Self {
            client,
            local,
            source: Source::of(client.ip()),
            stage: Stage::New,
            is_secured: false,
            pipe: None,
            outgoing: Outgoing::Open,
            is_opening: true,
            queue: Vec::new(),
            messages: 0,
            sealed: Vec::new(),
            handed_over: None,
            is_queued: false,
            is_watched: false,
        }
    }

    /// One to a peer, which is an end of connection `number`.
    pub(super) fn to_peer(peer: SocketAddr, local: IpAddr, number: Number) -> Self {
        Self { pipe: Some((number, Way::ToClients)), is_opening: false, ..Self::new(peer, local) }
    }

    /// Lets `write` add a message of at most `len` bytes to what waits, if not more than `most` bytes wait then.
    pub(super) fn push(
        &mut self,
        len: usize,
        most: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Full> {
        if self.queue.len() + len > most {
            return Err(Full);
        }
        write(&mut self.queue);
        Ok(())
    }

    /// Whether a piece can be handed over.
    pub(super) fn has_piece(&self) -> bool {
        self.handed_over.is_none()
            && !(self.queue.is_empty() && self.sealed.is_empty() && !self.owes_goodbye())
    }

    fn owes_goodbye(&self) -> bool {
        self.is_secured && self.outgoing == Outgoing::Ending
    }

    /// What comes and goes by it is no message any more, but what waits already.
    pub(super) fn make_pipe(&mut self, number: Number) {
        self.pipe = Some((number, Way::ToPeers));
        self.messages = self.queue.len();
    }

    /// Nothing more is said by it. Whether everything was handed over.
    pub(super) fn end(&mut self) -> bool {
        if self.outgoing == Outgoing::Open {
            self.outgoing = Outgoing::Ending;
        }
        self.queue.is_empty() && self.sealed.is_empty() && !self.owes_goodbye()
    }

    /// How many bytes of the queue may go out together: messages, or what a pipe carries.
    fn front(&self) -> usize {
        if self.messages > 0 { self.messages } else { self.queue.len() }
    }

    /// Appends the next piece to `out`.
    pub(super) fn take_piece(&mut self, now: Instant, out: &mut Vec<u8>) {
        self.handed_over = Some(now);
        if !self.sealed.is_empty() {
            return take(&mut self.sealed, LINK_PIECE, |piece| out.extend_from_slice(piece));
        }
        let (front, raw) = (self.front(), self.pipe.is_some() && self.messages == 0);
        let count = match &mut self.stage {
            Stage::Secured(secured) if raw => {
                let count = front.min(PIPED);
                let sealed = secured.tls.seal(&self.queue[..count], out);
                debug_assert!(sealed, "nobody is bound before the handshake is done");
                count
            }
            Stage::Secured(secured) => seal(&mut secured.tls, &self.queue[..front], out),
            Stage::New | Stage::Plain(_) => {
                let count = front.min(LINK_PIECE);
                out.extend_from_slice(&self.queue[..count]);
                count
            }
        };
        take(&mut self.queue, count, |_| ());
        self.messages = self.messages.saturating_sub(count);
        if self.queue.is_empty() && self.owes_goodbye() {
            if let Stage::Secured(secured) = &mut self.stage {
                secured.tls.close(out);
            }
            self.outgoing = Outgoing::Goodbye;
        }
    }

    /// Adds what TLS has to say. Whether there was room.
    pub(super) fn push_sealed(&mut self, bytes: &[u8]) -> bool {
        self.sealed.extend_from_slice(bytes);
        self.sealed.len() <= LINK_PIECE
    }

    /// What TLS has still to say, if it can be said at once.
    pub(super) fn last_words(&mut self) -> Option<Vec<u8>> {
        let words = std::mem::take(&mut self.sealed);
        (self.handed_over.is_none() && !words.is_empty()).then_some(words)
    }

    /// How many bytes of data and messages wait.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// How many bytes wait.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len() + self.sealed.len()
    }
}

/// Seals whole messages from the front of `queue`, each in a record of its own: there are clients that take a record for a
/// message, coturn's `turnutils_uclient` among them. How many bytes were sealed.
fn seal(tls: &mut Tls, queue: &[u8], out: &mut Vec<u8>) -> usize {
    let mut count = 0;
    while let Some(len) = stream::whole_len(&queue[count..]) {
        let message = &queue[count..count + len];
        if count > 0 && out.len() + len + len.div_ceil(RECORD) * RECORD_OVERHEAD > LINK_PIECE {
            break;
        }
        let sealed = tls.seal(message, out);
        debug_assert!(sealed, "nothing is said to somebody whose handshake is not done");
        count += len;
    }
    count
}

/// Gives at most `most` bytes from the front of `queue` to `give`.
fn take(queue: &mut Vec<u8>, most: usize, give: impl FnOnce(&[u8])) {
    let count = queue.len().min(most);
    give(&queue[..count]);
    queue.drain(..count);
    // One that was slow once must not keep the memory of that.
    queue.shrink_to(queue.len().max(LINK_PIECE / 16));
}
