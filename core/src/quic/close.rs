//! Why connections end.

use std::fmt;

use quinn_proto::{ConnectionError, TransportErrorCode};

use crate::pki::{explain, explain_alert, refuses_certificate};

/// TLS alerts travel as QUIC errors 0x0100 to 0x01ff (RFC 9001 §4.8).
const CRYPTO_ERRORS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;
/// How much of a peer's own words is kept, in bytes.
const MAX_REASON: usize = 256;
/// `internal_error` (RFC 8446 §6.2), where the TLS library named no alert.
const INTERNAL_ERROR: u8 = 80;

/// Why a connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// Nothing was heard for too long, or the handshake took too long.
    TimedOut,
    /// This end closed it.
    LocallyClosed,
    /// The other end does not know the connection any more.
    Reset,
    /// The other end speaks no version of QUIC that this one does.
    VersionMismatch,
    /// The other end's application closed it.
    PeerClosed {
        /// Its error code.
        code: u64,
        /// Its words, at most 256 bytes.
        reason: String,
    },
    /// The other end takes no more connections for now (CONNECTION_REFUSED).
    Refused,
    /// The other end did not accept this one's certificate or TLS parameters; [`explain_alert`] says why.
    TlsRefusedByPeer {
        /// The TLS alert (RFC 8446 §6.2).
        alert: u8,
    },
    /// This end did not accept the other's certificate or TLS parameters.
    TlsRefusedByUs {
        /// The TLS alert that the other end was told (RFC 8446 §6.2).
        alert: u8,
        /// [`explain`]'s sentence, which the other end was not told.
        detail: String,
    },
    /// The other end says that this one broke QUIC's rules.
    BlamedByPeer {
        /// The transport error code (RFC 9000 §20.1).
        code: u64,
        /// Its words, at most 256 bytes.
        reason: String,
    },
    /// The other end broke QUIC's rules.
    PeerBroke {
        /// The transport error code (RFC 9000 §20.1).
        code: u64,
        /// What it did.
        reason: String,
    },
}

impl CloseReason {
    /// The reason that stands behind `error`; `failure` is TLS's own, if that was it.
    pub(super) fn new(error: ConnectionError, failure: Option<rustls::Error>) -> Self {
        match error {
            ConnectionError::TimedOut => Self::TimedOut,
            // Connection IDs of twelve bytes don't run out.
            ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => Self::LocallyClosed,
            ConnectionError::Reset => Self::Reset,
            ConnectionError::VersionMismatch => Self::VersionMismatch,
            ConnectionError::ApplicationClosed(close) => {
                Self::PeerClosed { code: close.error_code.into(), reason: words(&close.reason) }
            }
            ConnectionError::ConnectionClosed(close) => Self::by_peer(close.error_code, &close.reason),
            ConnectionError::TransportError(error) => Self::by_us(error.code.into(), error.reason, failure),
        }
    }

    /// Whether another connection may fare better without anybody changing a certificate, a version or a mind.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::TimedOut | Self::Reset | Self::PeerClosed { .. } | Self::Refused => true,
            Self::LocallyClosed
            | Self::VersionMismatch
            | Self::TlsRefusedByPeer { .. }
            | Self::TlsRefusedByUs { .. }
            | Self::BlamedByPeer { .. }
            | Self::PeerBroke { .. } => false,
        }
    }

    fn by_peer(code: TransportErrorCode, reason: &[u8]) -> Self {
        let number = u64::from(code);
        match alert(number) {
            Some(alert) => Self::TlsRefusedByPeer { alert },
            None if code == TransportErrorCode::CONNECTION_REFUSED => Self::Refused,
            None => Self::BlamedByPeer { code: number, reason: words(reason) },
        }
    }

    fn by_us(code: u64, reason: String, failure: Option<rustls::Error>) -> Self {
        match (alert(code), failure) {
            (alert, Some(error)) => {
                Self::TlsRefusedByUs { alert: alert.unwrap_or(INTERNAL_ERROR), detail: explain(&error) }
            }
            // quinn-proto's own complaints, such as missing transport parameters.
            (Some(alert), None) => Self::TlsRefusedByUs { alert, detail: reason },
            (None, None) => Self::PeerBroke { code, reason },
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("nothing was heard for too long"),
            Self::LocallyClosed => f.write_str("closed by this end"),
            Self::Reset => f.write_str("the other end has forgotten the connection"),
            Self::VersionMismatch => f.write_str("the other end does not speak QUIC version 1"),
            Self::PeerClosed { code: 0, reason } if reason.is_empty() => {
                f.write_str("closed by the other end")
            }
            Self::PeerClosed { code, reason } => {
                write!(f, "closed by the other end: {reason:?} (code {code})")
            }
            Self::Refused => f.write_str("the other end takes no more connections for now"),
            Self::TlsRefusedByPeer { alert } => {
                let what = if refuses_certificate(*alert) { "certificate here" } else { "handshake" };
                write!(f, "the other end refused the {what}: {}", explain_alert(*alert))
            }
            Self::TlsRefusedByUs { alert, detail } => {
                let what = if refuses_certificate(*alert) { "certificate" } else { "handshake" };
                write!(f, "the other end's {what} was refused: {detail}")
            }
            Self::BlamedByPeer { code, reason } => {
                write!(f, "the other end reports an error of this one: {reason:?} (code {code:#x})")
            }
            Self::PeerBroke { code, reason } => {
                write!(f, "the other end broke the rules of QUIC: {reason} (code {code:#x})")
            }
        }
    }
}

fn alert(code: u64) -> Option<u8> {
    CRYPTO_ERRORS.contains(&code).then(|| code.to_be_bytes()[7])
}

fn words(reason: &[u8]) -> String {
    String::from_utf8_lossy(&reason[..reason.len().min(MAX_REASON)]).into_owned()
}
