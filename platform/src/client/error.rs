//! Why a request came to nothing, in sentences that say what to do.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use rustls::{CertificateError, Error as TlsError};

use crate::words::Problem;

/// What the codes of all [problems](Problem) begin with.
const PROBLEM: &str = "urn:adit:problem:";

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientError {
    /// There is no connection, or it broke.
    Unreachable {
        /// The platform's URL.
        domain: String,
        /// What the system says.
        why: String,
    },
    /// There was no answer in time.
    TimedOut {
        /// The platform's URL.
        domain: String,
    },
    /// Who answers can't show that it is the platform.
    Untrusted {
        /// The platform's URL.
        domain: String,
        /// What is wrong about it.
        why: Distrust,
    },
    /// The platform has refused.
    Problem {
        /// What it says.
        problem: Problem,
        /// When it may be tried again, where the platform says so.
        retry_after: Option<Duration>,
    },
    /// Something before the platform has refused.
    Status {
        /// The platform's URL.
        domain: String,
        /// The HTTP status.
        status: u16,
        /// When it may be tried again, where it says so.
        retry_after: Option<Duration>,
    },
    /// The answer is none of the API.
    Malformed {
        /// The platform's URL.
        domain: String,
        /// What is wrong about it.
        why: String,
    },
}

/// Why a certificate is not believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Distrust {
    /// It is not valid yet.
    NotYet,
    /// It has expired.
    Expired,
    /// Nobody who is trusted has issued it.
    Issuer,
    /// It names another host.
    Name,
    /// There is no TLS at this port.
    NoTls,
    /// Anything else.
    Other(String),
}

impl ClientError {
    /// What `error`, which came of a request to `domain`, means.
    pub(super) fn of(domain: String, error: &reqwest::Error) -> Self {
        if let Some(tls) = tls_error(error) {
            return Self::Untrusted { domain, why: Distrust::of(tls) };
        }
        if error.is_timeout() {
            return Self::TimedOut { domain };
        }
        Self::Unreachable { domain, why: innermost(error) }
    }

    /// The last part of a problem's type, such as `not-found`.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem { problem, .. } => problem.kind.strip_prefix(PROBLEM),
            _ => None,
        }
    }

    /// Whether the same request may succeed later without anybody doing something about it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } => true,
            Self::Untrusted { .. } | Self::Malformed { .. } => false,
            Self::Problem { problem: Problem { status, .. }, .. } | Self::Status { status, .. } => {
                matches!(status, 408 | 429 | 500..)
            }
        }
    }

    /// How long the other side wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem { retry_after, .. } | Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What went wrong, without what to do.
    pub fn what(&self) -> String {
        match self {
            Self::Unreachable { domain, why } => format!("the platform {domain} can't be reached: {why}"),
            Self::TimedOut { domain } => format!("the platform {domain} did not answer in time"),
            Self::Untrusted { domain, why } => why.what(domain),
            Self::Problem { problem, .. } => problem.title.clone(),
            Self::Status { domain, status, .. } => format!("{domain} answered with the HTTP status {status}"),
            Self::Malformed { domain, why } => {
                format!("the answer of {domain} is none of Adit's platform: {why}")
            }
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> String {
        match self {
            Self::Unreachable { .. } => "check the URL, and that this machine may open HTTPS to it".into(),
            Self::TimedOut { .. } => "try again; if it stays so, look at the platform's log".into(),
            Self::Untrusted { why, .. } => why.advice().into(),
            Self::Problem { problem, .. } => problem.detail.clone(),
            Self::Status { status: 300..400, .. } => "use the URL that it redirects to".into(),
            Self::Status { status: 500.., .. } => {
                "a proxy before the platform may be in trouble: look at it, and at the platform's log".into()
            }
            Self::Status { .. } => "is this the platform's URL? a proxy before it may refuse".into(),
            Self::Malformed { .. } => "is this the platform's URL, and are both of one version?".into(),
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what(), self.advice())
    }
}

impl std::error::Error for ClientError {}

impl Distrust {
    fn of(error: &TlsError) -> Self {
        match error {
            TlsError::InvalidCertificate(certificate) => match certificate {
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYet,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
                // A bad signature is that of an authority of the same name: of a platform that was set up anew.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Issuer,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::Name
                }
                other => Self::Other(other.to_string()),
            },
            TlsError::InvalidMessage(_) => Self::NoTls,
            other => Self::Other(other.to_string()),
        }
    }

    fn what(&self, domain: &str) -> String {
        match self {
            Self::NotYet => format!("the certificate of {domain} is not valid yet"),
            Self::Expired => format!("the certificate of {domain} has expired"),
            Self::Issuer => {
                format!("the certificate of {domain} is of an authority that is not trusted here")
            }
            Self::Name => format!("the certificate of {domain} is for another name"),
            Self::NoTls => format!("{domain} does not speak HTTPS"),
            Self::Other(why) => format!("the certificate of {domain} is not accepted: {why}"),
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::NotYet => "check this machine's clock",
            Self::Expired => {
                "check this machine's clock; if it is right, the platform needs a new certificate"
            }
            Self::Issuer => {
                "check the URL, and that the token is of this platform; for a certificate of an authority of your \
                 own use --ca-file"
            }
            Self::Name => "use the URL that the platform was set up with (its --public-url)",
            Self::NoTls => "check the port",
            Self::Other(_) => "check the URL, and the platform's certificate",
        }
    }
}

/// The error of TLS behind `error`. It lies within an [`io::Error`], which does not count as a source of its own.
fn tls_error(error: &reqwest::Error) -> Option<&TlsError> {
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(tls) = source.downcast_ref::<TlsError>() {
            return Some(tls);
        }
        let inner = source.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => source.source(),
        };
    }
    None
}

/// The sentence at the bottom: above it stand only the library's own.
fn innermost(error: &reqwest::Error) -> String {
    let mut deepest = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        deepest = source.to_string();
        next = source.source();
    }
    deepest
}
