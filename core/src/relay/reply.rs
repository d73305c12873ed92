//! What the relay answers.

use std::net::SocketAddr;

use super::via::Path;
use crate::stun::{BadAttribute, Builder, Class, Method, TransactionId};
use crate::turn::key::Key;

/// Who waits for the reply to an authenticated request, and what ties it to that.
#[derive(Debug, Clone)]
pub(super) struct Addressee {
    pub(super) path: Path,
    pub(super) method: Method,
    pub(super) transaction: TransactionId,
    /// The key that the request was signed with; the reply is signed with it too (RFC 8489 §9.2.4).
    pub(super) key: Key,
}

impl Addressee {
    pub(super) fn success(&self) -> Builder {
        Builder::new(Class::Success, self.method, self.transaction)
    }

    /// The signed error reply.
    pub(super) fn refuse(&self, refusal: &Refusal) -> Vec<u8> {
        self.key.sign(refusal.write(Builder::new(Class::Error, self.method, self.transaction)))
    }
}

/// What a request that was carried out is answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// This, signed.
    Success(Builder),
    /// What the same request was answered before.
    Again(Box<[u8]>),
    /// This shard has what the request is about.
    Elsewhere(u8),
    /// The answer follows when the sockets are bound; or it was given long ago.
    Silence,
}

/// Why an authenticated request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Another relay is to be asked.
    TryAlternate(SocketAddr),
    BadRequest,
    Forbidden,
    MobilityForbidden,
    UnknownAttributes(Vec<u16>),
    AllocationMismatch,
    FamilyNotSupported,
    WrongCredentials,
    UnsupportedTransport,
    PeerFamilyMismatch,
    ConnectionExists,
    ConnectionFailed,
    QuotaReached,
    ServerError,
    InsufficientCapacity,
}

impl Refusal {
    /// The number and the phrase (RFC 8489 §14.8, RFC 8656 §19, RFC 6062 §6.3).
    pub(super) fn code(&self) -> (u16, &'static str) {
        match self {
            Self::TryAlternate(_) => (300, "Try Alternate"),
            Self::BadRequest => (400, "Bad Request"),
            Self::Forbidden => (403, "Forbidden"),
            Self::MobilityForbidden => (405, "Mobility Forbidden"),
            Self::UnknownAttributes(_) => (420, "Unknown Attribute"),
            Self::AllocationMismatch => (437, "Allocation Mismatch"),
            Self::FamilyNotSupported => (440, "Address Family not Supported"),
            Self::WrongCredentials => (441, "Wrong Credentials"),
            Self::UnsupportedTransport => (442, "Unsupported Transport Protocol"),
            Self::PeerFamilyMismatch => (443, "Peer Address Family Mismatch"),
            Self::ConnectionExists => (446, "Connection Already Exists"),
            Self::ConnectionFailed => (447, "Connection Timeout or Failure"),
            Self::QuotaReached => (486, "Allocation Quota Reached"),
            Self::ServerError => (500, "Server Error"),
            Self::InsufficientCapacity => (508, "Insufficient Capacity"),
        }
    }

    /// All of them, for tests.
    #[cfg(test)]
    pub(super) fn all() -> [Self; 15] {
        [
            Self::TryAlternate(([192, 0, 2, 1], 3478).into()),
            Self::BadRequest,
            Self::Forbidden,
            Self::MobilityForbidden,
            Self::UnknownAttributes(vec![0x7F00]),
            Self::AllocationMismatch,
            Self::FamilyNotSupported,
            Self::WrongCredentials,
            Self::UnsupportedTransport,
            Self::PeerFamilyMismatch,
            Self::ConnectionExists,
            Self::ConnectionFailed,
            Self::QuotaReached,
            Self::ServerError,
            Self::InsufficientCapacity,
        ]
    }

    fn write(&self, builder: Builder) -> Builder {
        let (code, reason) = self.code();
        let builder = builder.error_code(&crate::stun::ErrorCode { code, reason: reason.to_owned() });
        match self {
            Self::UnknownAttributes(kinds) => builder.unknown_attributes(kinds),
            Self::TryAlternate(server) => builder.alternate_server(*server),
            _ => builder,
        }
    }
}

impl From<BadAttribute> for Refusal {
    fn from(_: BadAttribute) -> Self {
        Self::BadRequest
    }
}
