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
        /// Its error code; 0 while the handshake lasts, when it does not travel.
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
            // How an application says goodbye while the handshake lasts: its code and its words are for nobody who is
            // not verified yet (RFC 9000 §10.2.3).
            None if code == TransportErrorCode::APPLICATION_ERROR => {
                Self::PeerClosed { code: 0, reason: String::new() }
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quinn_s_errors_become_reasons() {
        for (error, reason) in [
            (ConnectionError::TimedOut, CloseReason::TimedOut),
            (ConnectionError::LocallyClosed, CloseReason::LocallyClosed),
            (ConnectionError::CidsExhausted, CloseReason::LocallyClosed),
            (ConnectionError::Reset, CloseReason::Reset),
            (ConnectionError::VersionMismatch, CloseReason::VersionMismatch),
        ] {
            assert_eq!(CloseReason::new(error, None), reason);
        }
    }

    #[test]
    fn what_the_peer_says_is_told_apart_by_its_code() {
        let by_peer = CloseReason::by_peer;
        assert_eq!(
            by_peer(TransportErrorCode::crypto(48), b"x"),
            CloseReason::TlsRefusedByPeer { alert: 48 }
        );
        assert_eq!(by_peer(TransportErrorCode::CONNECTION_REFUSED, b""), CloseReason::Refused);
        let blamed = by_peer(TransportErrorCode::PROTOCOL_VIOLATION, b"you did\xFF");
        let reason = "you did\u{FFFD}".to_owned();
        assert_eq!(blamed, CloseReason::BlamedByPeer { code: 0xA, reason });
        let CloseReason::BlamedByPeer { reason, .. } =
            by_peer(TransportErrorCode::INTERNAL_ERROR, &[b'x'; 1000])
        else {
            panic!("it is an error like any other")
        };
        assert_eq!(reason.len(), MAX_REASON, "a peer's words are not kept at any length");
    }

    #[test]
    fn what_this_end_found_is_told_with_tls_s_own_reason_where_there_is_one() {
        let refused = |alert, detail: &str| CloseReason::TlsRefusedByUs { alert, detail: detail.into() };
        let failure = || Some(rustls::Error::NoCertificatesPresented);
        assert_eq!(CloseReason::by_us(0x174, "tls".into(), failure()), refused(116, "it showed none"));
        assert_eq!(
            CloseReason::by_us(0x1, "tls".into(), failure()),
            refused(INTERNAL_ERROR, "it showed none")
        );
        assert_eq!(CloseReason::by_us(0x16D, "missing".into(), None), refused(109, "missing"));
        let broke = CloseReason::PeerBroke { code: 0xA, reason: "a frame".into() };
        assert_eq!(CloseReason::by_us(0xA, "a frame".into(), None), broke);
    }

    /// Each reason has its sentence, and says whether to try again.
    #[test]
    fn every_reason_says_what_it_is() {
        let reason = || "why".to_owned();
        for (close, part, again) in [
            (CloseReason::TimedOut, "too long", true),
            (CloseReason::LocallyClosed, "by this end", false),
            (CloseReason::Reset, "forgotten", true),
            (CloseReason::VersionMismatch, "version 1", false),
            (CloseReason::PeerClosed { code: 0, reason: String::new() }, "closed by the other end", true),
            (CloseReason::PeerClosed { code: 5, reason: reason() }, "\"why\" (code 5)", true),
            (CloseReason::Refused, "no more connections", true),
            (CloseReason::TlsRefusedByPeer { alert: 45 }, "certificate here: it has expired", false),
            (CloseReason::TlsRefusedByPeer { alert: 70 }, "handshake: the other side does not", false),
            (
                CloseReason::TlsRefusedByUs { alert: 42, detail: reason() },
                "certificate was refused: why",
                false,
            ),
            (
                CloseReason::TlsRefusedByUs { alert: 80, detail: reason() },
                "handshake was refused: why",
                false,
            ),
            (CloseReason::BlamedByPeer { code: 10, reason: reason() }, "\"why\" (code 0xa)", false),
            (CloseReason::PeerBroke { code: 10, reason: reason() }, "why (code 0xa)", false),
        ] {
            assert!(close.to_string().contains(part), "{close}");
            assert_eq!(close.is_retryable(), again, "{close}");
        }
    }
}
