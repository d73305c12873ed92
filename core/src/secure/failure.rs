//! Why a secured hop could not be made, or has ended, in few words.

use std::fmt;

use rustls::{CertificateError, Error, PeerIncompatible};

/// Why a session is over. `Display` says what to do about it, for those at the client's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// What came is neither TLS nor DTLS.
    NotTls,
    /// No version, cipher suite or key exchange in common.
    Incompatible,
    /// The relay is not believed.
    Certificate(BadCertificate),
    /// The other end has said why: the number of its alert (RFC 8446 §6).
    Alert(u8),
    /// The handshake has taken too long.
    TimedOut,
    /// The other end broke the protocol, or somebody in between spoilt what it sent.
    Broken,
}

/// Why a relay's certificate is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadCertificate {
    /// It has another key than the one that is pinned.
    OtherKey,
    /// Nobody who is trusted has issued it; over DTLS, nobody who is trusted has issued it directly.
    UnknownIssuer,
    /// It names other hosts.
    OtherName,
    /// It has run out.
    Expired,
    /// It is not valid yet.
    NotYet,
    /// It is malformed, is none of a server, or its holder does not have its key.
    Unusable,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidMessage(_) => Self::NotTls,
            Error::PeerIncompatible(PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon)
            | Error::NoCertificatesPresented => Self::Certificate(BadCertificate::Unusable),
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            Error::InvalidCertificate(error) => Self::Certificate((&error).into()),
            Error::AlertReceived(alert) => Self::Alert(alert.into()),
            _ => Self::Broken,
        }
    }
}

impl From<&CertificateError> for BadCertificate {
    fn from(error: &CertificateError) -> Self {
        match error {
            CertificateError::ApplicationVerificationFailure => Self::OtherKey,
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::OtherName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYet,
            _ => Self::Unusable,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls => f.write_str("what answers there does not speak TLS: check the port"),
            Self::Incompatible => f.write_str(
                "no version or cipher suite of TLS in common: over DTLS a relay needs an ECDSA key",
            ),
            Self::Certificate(bad) => write!(f, "its certificate is not believed: {bad}"),
            Self::Alert(40 | 71) => f.write_str(
                "it finds no version or cipher suite of TLS in common: over DTLS a relay needs an ECDSA key",
            ),
            Self::Alert(alert) => write!(f, "it has ended the handshake with alert {alert}"),
            Self::TimedOut => f.write_str("the handshake has taken too long"),
            Self::Broken => f.write_str("what came does not fit the protocol, or was spoilt on the way"),
        }
    }
}

impl fmt::Display for BadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherKey => "it has another key than the pin names",
            Self::UnknownIssuer => {
                "nobody who is trusted here has issued it (over DTLS: directly); name its authority, or pin its key"
            }
            Self::OtherName => "it names other hosts than the one that was asked for",
            Self::Expired => "it has run out, or this machine's clock is wrong",
            Self::NotYet => "it is not valid yet, or this machine's clock is wrong",
            Self::Unusable => "it is malformed, or not that of a server",
        })
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;

    use super::*;

    #[test]
    fn every_error_of_the_library_becomes_one_that_people_can_act_on() {
        use BadCertificate as Bad;
        for (error, failure) in [
            (CertificateError::ApplicationVerificationFailure.into(), Failure::Certificate(Bad::OtherKey)),
            (CertificateError::UnknownIssuer.into(), Failure::Certificate(Bad::UnknownIssuer)),
            (CertificateError::NotValidForName.into(), Failure::Certificate(Bad::OtherName)),
            (CertificateError::Expired.into(), Failure::Certificate(Bad::Expired)),
            (CertificateError::NotValidYet.into(), Failure::Certificate(Bad::NotYet)),
            (CertificateError::BadEncoding.into(), Failure::Certificate(Bad::Unusable)),
            (Error::NoCertificatesPresented, Failure::Certificate(Bad::Unusable)),
            (Error::AlertReceived(AlertDescription::HandshakeFailure), Failure::Alert(40)),
            (Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon), Failure::Incompatible),
            (Error::DecryptError, Failure::Broken),
        ] {
            assert_eq!(Failure::from(error), failure);
            assert!(failure.to_string().len() > 20, "a sentence");
        }
    }
}
