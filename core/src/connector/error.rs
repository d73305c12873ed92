//! Why what was asked of a connector did not come about: one type for each thing that can be asked.

use std::io::ErrorKind;
use std::net::SocketAddr;

use crate::quic::CloseReason;
use crate::tunnel::{Code, RejectCode};

/// Why a pipe can't even be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The connector does not know such a gateway.
    #[error("the connector does not know this gateway")]
    UnknownGateway,
    /// There are [`Config::max_pipes`](super::Config::max_pipes) already.
    #[error("too many pipes are open; try again later")]
    TooMany,
}

impl OpenError {
    /// Whether the same wish may be granted later: when other pipes have ended.
    pub fn is_retryable(self) -> bool {
        self == Self::TooMany
    }
}

/// Why no connection to a gateway came about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The connector has no address of the gateway.
    #[error("no address of the gateway is known: is it running?")]
    NoAddress,
    /// A socket could not be bound.
    #[error("no UDP socket could be bound ({0})")]
    Socket(ErrorKind),
    /// The last address that was tried ended like this.
    #[error("{reason} ({address})")]
    Closed {
        /// The relayed address.
        address: SocketAddr,
        /// Why the handshake ended.
        reason: CloseReason,
    },
    /// The TLS configuration can't be used for QUIC.
    #[error("the TLS configuration can't be used for QUIC")]
    Unusable,
    /// Who answered was the gateway once, and counts no more.
    #[error("the certificate that was shown at {address} is revoked")]
    Revoked {
        /// The relayed address.
        address: SocketAddr,
    },
    /// The application has ended the attempt.
    #[error("it was given up here")]
    GivenUp,
}

impl ConnectError {
    /// Whether the same attempt may succeed later without anybody changing a certificate or a configuration.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NoAddress => true,
            Self::Closed { reason, .. } => another_may_do(reason),
            Self::Socket(_) | Self::Unusable | Self::Revoked { .. } | Self::GivenUp => false,
        }
    }
}

/// Why a pipe was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The gateway refused it.
    #[error("{sentence} ({code})")]
    Rejected {
        /// Why, for programs.
        code: RejectCode,
        /// Why, for people; the gateway's own words.
        sentence: String,
    },
    /// There is no connection to the gateway.
    #[error("the gateway can't be reached: {0}")]
    NotConnected(ConnectError),
    /// The connection was lost before the answer came.
    #[error("the connection to the gateway was lost: {0}")]
    ConnectionLost(CloseReason),
    /// The stream was reset before the answer came, or right behind it: the target has hung up at once.
    #[error("the target ended the connection at once")]
    Reset,
    /// No answer came in time.
    #[error("the gateway did not answer in time")]
    TimedOut,
    /// The gateway's answer made no sense.
    #[error("the gateway broke the protocol")]
    Protocol,
}

impl Failure {
    /// Whether the same wish may be granted later without anybody changing a policy, a certificate or a
    /// configuration.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Rejected { code, .. } => code.is_retryable(),
            Self::NotConnected(error) => error.is_retryable(),
            Self::ConnectionLost(reason) => another_may_do(reason),
            Self::Reset | Self::TimedOut => true,
            Self::Protocol => false,
        }
    }
}

/// Whether another connection may fare better. QUIC does not know what the gateway's codes mean.
fn another_may_do(reason: &CloseReason) -> bool {
    let sent_away =
        |code: u64| [Code::Revoked, Code::Expired, Code::PermitRefused].iter().any(|&of| of as u64 == code);
    reason.is_retryable() && !matches!(reason, CloseReason::PeerClosed { code, .. } if sent_away(*code))
}

/// Why peers can't be permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    /// The connector does not know such a gateway.
    #[error("the connector does not know this gateway")]
    UnknownGateway,
    /// There are [`MAX_PATHS`](crate::tunnel::MAX_PATHS) permitted peers already.
    #[error("too many peers are permitted at this gateway; wait until some run out")]
    TooMany,
}

/// Why a relay did not tell our own address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DiscoverError {
    /// There is no socket of the relay's family.
    #[error("no UDP socket could be bound ({0})")]
    Socket(ErrorKind),
    /// No answer came in time.
    #[error("the relay did not answer")]
    NoAnswer,
    /// The relay answered with an error.
    #[error("the relay refused to tell (STUN error {code})")]
    Refused {
        /// The STUN error code, from 300 to 699 (RFC 8489 §14.8).
        code: u16,
    },
    /// The relay's answer made no sense.
    #[error("the relay's answer made no sense")]
    Nonsense,
    /// Too many relays are being asked.
    #[error("too many relays are being asked; try again later")]
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What nobody has to change anything for is tried again; what a gateway has decided is not.
    #[test]
    fn what_may_come_about_later_is_told_from_what_may_not() {
        let closed = |reason| ConnectError::Closed { address: ([192, 0, 2, 1], 1).into(), reason };
        let sent_away = |code: Code| CloseReason::PeerClosed { code: code as u64, reason: String::new() };
        let rejected = |code| Failure::Rejected { code, sentence: "no".into() };
        for (failure, again) in [
            (Failure::NotConnected(ConnectError::NoAddress), true),
            (Failure::NotConnected(ConnectError::Socket(ErrorKind::AddrInUse)), false),
            (Failure::NotConnected(ConnectError::Unusable), false),
            (Failure::NotConnected(ConnectError::GivenUp), false),
            (Failure::NotConnected(ConnectError::Revoked { address: ([192, 0, 2, 1], 1).into() }), false),
            (Failure::NotConnected(closed(CloseReason::TimedOut)), true),
            (Failure::NotConnected(closed(CloseReason::VersionMismatch)), false),
            (Failure::ConnectionLost(CloseReason::Reset), true),
            (Failure::ConnectionLost(sent_away(Code::Done)), true),
            (Failure::ConnectionLost(sent_away(Code::NotPermitted)), true),
            (Failure::ConnectionLost(sent_away(Code::Revoked)), false),
            (Failure::ConnectionLost(sent_away(Code::Expired)), false),
            (Failure::ConnectionLost(sent_away(Code::PermitRefused)), false),
            (rejected(RejectCode::Busy), true),
            (rejected(RejectCode::Denied), false),
            (rejected(RejectCode::BadRequest), false),
            (Failure::Reset, true),
            (Failure::TimedOut, true),
            (Failure::Protocol, false),
        ] {
            assert_eq!(failure.is_retryable(), again, "{failure}");
        }
        assert!(OpenError::TooMany.is_retryable() && !OpenError::UnknownGateway.is_retryable());
    }
}
