//! What both ends of a TURN hop share (RFC 8656).
//!
//! ```text
//!  client                                relay                                      peer
//!    │ Allocate ───────────────────────▶ │ credentials, nonce: who is it?
//!    │ CreatePermission, ChannelBind ──▶ │ address_policy: may that peer be reached?
//!    │ channel_data ◀──────────────────▶ │ ◀── datagrams on the relayed address ────▶ │
//! ```
//!
//! - [`uri`] — where a relay is, as people write it (RFC 7065).
//! - [`credentials`] — long-term and time-limited ones, shown by clients and judged by relays.
//! - [`credential_policy`] — what a time-limited credential permits, carried in its username.
//! - [`nonce`] — what keeps a request from being replayed, without memory at the relay.
//! - [`address_policy`] — which peers a relay may be made to reach: few, by default.
//! - [`channel_data`] — the four bytes in front of data.
//! - [`stream`] — messages one behind the other, over TCP and TLS.

pub mod address_policy;
pub mod channel_data;
pub mod credential_policy;
pub mod credentials;
pub mod key;
pub mod nonce;
pub mod stream;
pub mod uri;

/// The IP protocol number of UDP, by which datagrams are relayed (RFC 8656 §18.8).
pub const UDP: u8 = 17;

/// The IP protocol number of TCP, by which connections are relayed (RFC 6062 §4.1).
pub const TCP: u8 = 6;

#[cfg(test)]
mod tests;
