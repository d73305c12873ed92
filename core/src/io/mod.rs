//! The words that all machines share: batches that come in, datagrams that go out, effects and their answers.
//!
//! ```text
//!  Datagrams   ┌─────┬─────┬───┐  one buffer of one source; every segment but the last is `stride` bytes long
//!  (received)  └─────┴─────┴───┘
//!                 │     │    └──▶ handled by the machine itself
//!                 └──┬──┘
//!  Forwards          ▼           a run: leave `strip` bytes out, put `prefix` in front, send `len` bytes `onward`,
//!              ┌─────┬─────┐     straight out of the buffer; or, from a client, give them to its owner
//!              └─────┴─────┘
//!
//!  Transmit    ┌─────┬─────┬───┐  what `poll_transmit` has written into `out`, for one receiver
//!  (to send)   └─────┴─────┴───┘
//!
//!  Effect ──▶ the driver carries it out ──▶ Completion, under the same identifier
//! ```
//!
//! A link is one TCP connection whose bytes a machine frames itself (a pipe is what travels inside of a tunnel). The
//! machine opens it by [`Effect::OpenLink`], or is offered it by a call of `accept` after [`Effect::Listen`]. Bytes come
//! in by `handle_bytes`; they go out by `poll_transmit` as [`To::Link`], at most [`LINK_PIECE`] at once, and the next
//! piece follows only after [`Completion::Writable`]: a link holds one piece, and whatever more there is to say waits in
//! the machine, within its bounds. FIN ends a link, unless [`Effect::PipeLink`] has made its two ways end each by itself.
//!
//! Identifiers are generational ([`Id`]): each names a slot and one life of it. Pipes are the two byte streams of one
//! tunnelled connection; their ends are moved by [`Read`] and [`Write`], and wake-ups come as [`Effect::Wake`].

mod arena;
mod batch;
mod effect;
mod pipe;

pub(crate) use arena::id;
pub use arena::{Arena, ConnId, GatewayKey, Id, LinkId, PipeId, QueryId, SocketId};
pub use batch::{Datagrams, Forwards, Onward, Run, To, Transmit};
pub use effect::{Close, Completion, Direction, Effect, ListenerKind, SocketKind};
pub use pipe::{Read, Write};

/// The most bytes that a machine hands over for a link at once.
pub const LINK_PIECE: usize = 64 * 1024;

/// The ECN codepoint of an IP packet that takes part in ECN (RFC 3168 §5). "Not-ECT" is `None` where this is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Ecn {
    /// ECT(1), `0b01`.
    Ect1 = 0b01,
    /// ECT(0), `0b10`.
    Ect0 = 0b10,
    /// Congestion experienced, `0b11`.
    Ce = 0b11,
}

impl Ecn {
    /// The codepoint in the low two bits of `bits`; `None` for Not-ECT.
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits & 0b11 {
            0b01 => Some(Self::Ect1),
            0b10 => Some(Self::Ect0),
            0b11 => Some(Self::Ce),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3168 §5.
    #[test]
    fn ecn_is_in_the_two_low_bits() {
        for (bits, ecn) in [(0, None), (1, Some(Ecn::Ect1)), (2, Some(Ecn::Ect0)), (3, Some(Ecn::Ce))] {
            assert_eq!(Ecn::from_bits(bits), ecn);
            assert_eq!(Ecn::from_bits(bits | 0xB8), ecn, "DSCP is another matter");
        }
    }
}
