//! Stream protocols inside the tunnel: what a connector and a gateway say to each other over QUIC.
//!
//! `adit/1` is one bidirectional QUIC stream per TCP connection, plus one control stream per QUIC connection:
//!
//! ```text
//! connector                                   gateway
//!   stream 0   PING, PERMIT, DRAIN ───────▶   PERMIT: from instances of the platform only
//!              ◀──────────────  PATHS, PONG, DRAIN
//!   stream 4…  OPEN, bytes… ──────────────▶   judges, resolves, dials
//!              ◀──────────────  ACCEPT, bytes…     or REJECT and the end
//! ```
//!
//! OPEN may ride in one flight with the bytes that follow it. After ACCEPT each direction is a raw byte stream
//! with TCP's half-close: a FIN is a FIN, a RST is a RESET_STREAM.

mod codec;
mod control;
mod frame;
mod pump;
mod target;

pub use codec::{FrameReader, encode};
pub(crate) use control::Control;
pub use frame::{Frame, MAX_FRAME, MAX_PATHS, MAX_SENTENCE, Malformed, Open, RejectCode};
pub(crate) use pump::{FrameRead, Pump, read_frame};
pub use target::{Host, Target, TargetError};

use crate::quic::StreamId;

/// The ALPN name of this protocol (RFC 7301).
pub const ALPN: &[u8] = b"adit/1";

/// Application error codes of QUIC connections and streams (RFC 9000 §20.2) in `adit/1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// Nothing went wrong: the end was asked for.
    Done = 0,
    /// The other end broke the protocol.
    Protocol = 1,
    /// A pipe was given up: its TCP connection was reset, or its application dropped it.
    Reset = 2,
    /// PERMIT from an identity that may not send it.
    PermitRefused = 3,
    /// The target was not opened; a REJECT frame on the stream says why.
    Rejected = 4,
    /// The certificate, or its holder, was revoked.
    Revoked = 5,
    /// The connector's address may not come here, or no longer.
    NotPermitted = 6,
    /// The certificate ran out too long ago.
    Expired = 7,
}

/// The control stream of every connection: the first bidirectional one that the connector opens.
pub(crate) fn control_stream() -> StreamId {
    StreamId::new(quinn_proto::Side::Client, quinn_proto::Dir::Bi, 0)
}
