//! STUN messages (RFC 8489): a guarded, borrowed view of what arrives and a builder for what is sent.
//!
//! A datagram becomes a [`Message`] only after the guard has walked it: header, magic cookie, lengths, padding,
//! FINGERPRINT, and where MESSAGE-INTEGRITY cuts it off. Everything behind that works on bytes that are known to
//! be well formed. Typed values of control messages go through `stun_codec`'s decoders and encoders; the data path
//! (Send and Data indications) reads and writes the bytes directly.
//!
//! ```text
//! datagram ─▶ Message::parse ─▶ Message ─▶ verify(key) ─▶ username, nonce, lifetime, peer_address …
//!             the guard         a view     in constant     readers: absent is None, malformed is an error
//!                │                         time
//!                └─▶ Malformed: dropped and counted, never answered
//!
//! Builder::new ─▶ realm, nonce, lifetime … ─▶ finish, finish_with_integrity, finish_with_fingerprint ─▶ bytes
//! ```
//!
//! ```
//! use adit_core::stun::{Builder, Class, Message, Method};
//!
//! let request = Builder::new(Class::Request, Method::BINDING, [7; 12]).finish();
//! let request = Message::parse(&request)?;
//! let response = Builder::success(&request).mapped_address("192.0.2.1:5000".parse().unwrap()).finish();
//! let response = Message::parse(&response)?;
//! assert_eq!(response.transaction(), request.transaction());
//! assert_eq!(response.mapped_address(), Ok(Some("192.0.2.1:5000".parse().unwrap())));
//! # Ok::<(), adit_core::stun::Malformed>(())
//! ```

mod builder;
mod integrity;
mod message;
mod read;
mod xor;

pub use builder::{Builder, write_indication};
pub use integrity::{Integrity, Mismatch};
pub use message::{Attributes, Malformed, Message};
pub use read::{AddressError, BadAttribute, ErrorCode, EvenPort, Family, Icmp, PasswordAlgorithm};

/// The length of a message header in bytes (RFC 8489 §5).
pub const HEADER_LEN: usize = 20;

/// The fixed word behind type and length (RFC 8489 §5).
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// The number that ties a response to its request (RFC 8489 §5).
pub type TransactionId = [u8; 12];

/// What a message is about (RFC 8489 §18.2, RFC 8656 §17, RFC 6062 §6.1). At most 12 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(u16);

impl Method {
    /// Asks for the address that the server sees.
    pub const BINDING: Self = Self(0x001);
    /// Asks for a relayed address.
    pub const ALLOCATE: Self = Self(0x003);
    /// Prolongs or ends an allocation.
    pub const REFRESH: Self = Self(0x004);
    /// Indication: data from the client to a peer.
    pub const SEND: Self = Self(0x006);
    /// Indication: data from a peer to the client.
    pub const DATA: Self = Self(0x007);
    /// Installs or refreshes permissions.
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// Binds a channel number to a peer.
    pub const CHANNEL_BIND: Self = Self(0x009);
    /// Asks for a TCP connection to a peer (RFC 6062 §6.1).
    pub const CONNECT: Self = Self(0x00A);
    /// Makes the client's TCP connection that of a peer.
    pub const CONNECTION_BIND: Self = Self(0x00B);
    /// Indication: a peer has connected to the relayed address.
    pub const CONNECTION_ATTEMPT: Self = Self(0x00C);

    /// The method of a number on the wire; only the low 12 bits count.
    pub const fn new(codepoint: u16) -> Self {
        Self(codepoint & 0x0FFF)
    }

    /// The number on the wire.
    pub const fn codepoint(self) -> u16 {
        self.0
    }
}

/// The role of a message in a transaction (RFC 8489 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// Wants a response.
    Request = 0b00,
    /// Wants none.
    Indication = 0b01,
    /// The request was carried out.
    Success = 0b10,
    /// The request was refused; ERROR-CODE says why.
    Error = 0b11,
}

/// Attribute types (RFC 8489 §18.3, RFC 8656 §18, RFC 6062 §6.2). Below 0x8000 the receiver must understand them.
pub mod attribute {
    #![allow(missing_docs, reason = "the names are those of the RFC")]

    pub const MAPPED_ADDRESS: u16 = 0x0001;
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    pub const CHANNEL_NUMBER: u16 = 0x000C;
    pub const LIFETIME: u16 = 0x000D;
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub const DATA: u16 = 0x0013;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub const EVEN_PORT: u16 = 0x0018;
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub const DONT_FRAGMENT: u16 = 0x001A;
    pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
    pub const PASSWORD_ALGORITHM: u16 = 0x001D;
    pub const USERHASH: u16 = 0x001E;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const RESERVATION_TOKEN: u16 = 0x0022;
    pub const CONNECTION_ID: u16 = 0x002A;
    pub const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
    pub const ADDRESS_ERROR_CODE: u16 = 0x8001;
    pub const PASSWORD_ALGORITHMS: u16 = 0x8002;
    pub const ICMP: u16 = 0x8004;
    pub const MOBILITY_TICKET: u16 = 0x8030;
    pub const SOFTWARE: u16 = 0x8022;
    pub const ALTERNATE_SERVER: u16 = 0x8023;
    pub const FINGERPRINT: u16 = 0x8028;
}

#[cfg(test)]
mod tests;
