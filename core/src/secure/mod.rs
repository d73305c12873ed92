//! The hop to the relay, secured: TLS on a byte stream, DTLS on datagrams. No I/O, bytes in and bytes out.
//!
//! ```text
//!  datagram ─▶ first byte ─┬─▶ STUN, ChannelData                     (plain UDP)
//!                          └─▶ hello: a first flight? ─▶ Dtls ─▶ STUN, ChannelData
//!  stream ───▶ first byte ─┬─▶ turn::stream::Splitter                (plain TCP)
//!                          └─▶ Tls ─▶ turn::stream::Splitter
//! ```
//!
//! - [`Speaks`] — what the first byte tells of a datagram or a stream (RFC 7983, RFC 9443).
//! - [`hello`] — whether a datagram can be the first of a DTLS client, before anything is kept for it.
//! - [`Certificate`] — what a relay shows.
//! - [`tls`], [`dtls`] — sessions, for both ends.
//! - [`Trust`] — how a client knows that it speaks with the relay that it means.
//!
//! Inside of a secured hop QUIC has its own TLS, which ends at the gateway and the connector: what is secured here is
//! who uses the relay and with what credentials, and that the relay is the right one.

mod certificate;
pub mod dtls;
mod failure;
mod first_byte;
pub mod hello;
pub mod tls;
mod trust;

pub use certificate::{BadFiles, Certificate};
pub use failure::{BadCertificate, Failure};
pub use first_byte::Speaks;
pub use rustls_pki_types::ServerName;
pub use trust::{BadPin, Pin, Trust};

#[cfg(test)]
mod tests;
