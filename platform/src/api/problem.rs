//! What a caller is told when something is refused or fails (RFC 9457).
//!
//! Every answer with a status of 400 or more has this form, those of the router and of a panic too.

use std::borrow::Cow;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::authority::AuthorityError;
use crate::authority::csr::BadRequest;
use crate::postgres::SqlError;
use crate::store::StoreError;
use crate::words;

/// What programs tell problems apart by: the last part of `urn:adit:problem:<code>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Something in the request is not as it should be.
    BadRequest,
    /// The body is no JSON.
    MalformedJson,
    /// The body is too long.
    TooLarge,
    /// The body is not said to be JSON.
    UnsupportedMediaType,
    /// The path exists, but not with this method.
    MethodNotAllowed,
    /// No token, or not a valid one.
    Unauthenticated,
    /// The token has run out.
    Expired,
    /// The token, or its holder, is revoked.
    Revoked,
    /// The caller is known, and may not do this.
    Forbidden,
    /// There is no such object, or it is another organisation's.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// Another process reports as this instance.
    InstanceInUse,
    /// Another process has taken over.
    SessionEnded,
    /// The enrolment token has been used.
    TokenSpent,
    /// The caller's clock is too far off.
    ClockSkew,
    /// The certificate request does not read.
    BadCsr,
    /// The certificate request names somebody else.
    NameMismatch,
    /// No link of the caller allows the target.
    UnknownTarget,
    /// The lease has ended, or is ending.
    LeaseEnded,
    /// As many leases live as may.
    TooManyLeases,
    /// The same key came with another request.
    IdempotencyConflict,
    /// The database's server, or the way to it.
    DatabaseFailed,
    /// Too many requests.
    RateLimited,
    /// Not now.
    Unavailable,
    /// A fault of the platform.
    Internal,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 25] = [
        Self::BadRequest,
        Self::MalformedJson,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::MethodNotAllowed,
        Self::Unauthenticated,
        Self::Expired,
        Self::Revoked,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::InstanceInUse,
        Self::SessionEnded,
        Self::TokenSpent,
        Self::ClockSkew,
        Self::BadCsr,
        Self::NameMismatch,
        Self::UnknownTarget,
        Self::LeaseEnded,
        Self::TooManyLeases,
        Self::IdempotencyConflict,
        Self::DatabaseFailed,
        Self::RateLimited,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The code, its HTTP status, and its title.
    fn parts(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadRequest => ("bad-request", S::BAD_REQUEST, "The request is not as it should be"),
            Self::MalformedJson => ("malformed-json", S::BAD_REQUEST, "The body is no JSON"),
            Self::TooLarge => ("too-large", S::PAYLOAD_TOO_LARGE, "The body is too long"),
            Self::UnsupportedMediaType => {
                ("unsupported-media-type", S::UNSUPPORTED_MEDIA_TYPE, "The body is of another type")
            }
            Self::MethodNotAllowed => {
                ("method-not-allowed", S::METHOD_NOT_ALLOWED, "The path does not have this method")
            }
            Self::Unauthenticated => ("unauthenticated", S::UNAUTHORIZED, "Who calls is not known"),
            Self::Expired => ("expired", S::UNAUTHORIZED, "The token has run out"),
            Self::Revoked => ("revoked", S::UNAUTHORIZED, "The token or its holder is revoked"),
            Self::Forbidden => ("forbidden", S::FORBIDDEN, "The caller may not do this"),
            Self::NotFound => ("not-found", S::NOT_FOUND, "There is no such thing"),
            Self::Conflict => ("conflict", S::CONFLICT, "It contradicts what is there"),
            Self::InstanceInUse => {
                ("instance-in-use", S::CONFLICT, "Another process reports as this instance")
            }
            Self::SessionEnded => ("session-ended", S::CONFLICT, "Another process has taken over"),
            Self::TokenSpent => ("token-spent", S::CONFLICT, "The enrolment token has been used"),
            Self::ClockSkew => ("clock-skew", S::BAD_REQUEST, "The caller's clock is too far off"),
            Self::BadCsr => ("bad-csr", S::BAD_REQUEST, "The certificate request does not read"),
            Self::NameMismatch => {
                ("name-mismatch", S::FORBIDDEN, "The certificate request names somebody else")
            }
            Self::UnknownTarget => ("unknown-target", S::FORBIDDEN, "No link allows the target"),
            Self::LeaseEnded => ("lease-ended", S::CONFLICT, "The lease has ended or is ending"),
            Self::TooManyLeases => ("too-many-leases", S::CONFLICT, "As many leases live as may"),
            Self::IdempotencyConflict => {
                ("idempotency-conflict", S::CONFLICT, "The same key came with another request")
            }
            Self::DatabaseFailed => {
                ("database-failed", S::BAD_GATEWAY, "The database's server did not do it")
            }
            Self::RateLimited => ("rate-limited", S::TOO_MANY_REQUESTS, "Too many requests"),
            Self::Unavailable => ("unavailable", S::SERVICE_UNAVAILABLE, "Not now"),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "A fault of the platform"),
        }
    }

    /// As it stands in `type`, without `urn:adit:problem:`.
    pub fn as_str(self) -> &'static str {
        self.parts().0
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.parts().1
    }

    /// The same few words every time.
    pub fn title(self) -> &'static str {
        self.parts().2
    }
}

/// What a handler answers instead of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub code: Code,
    /// This very problem, and what to do about it; for people.
    pub detail: Cow<'static, str>,
    /// In how many seconds to try again.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem of the kind `code`; `detail` says what to do about it.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), retry_after: None }
    }

    /// Says when to try again.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Something in the request is not as it should be.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// There is no such `what`, as `gateway`. The name that was asked for is not repeated: what belongs to another
    /// organisation answers by the same bytes.
    pub fn not_found(what: &str) -> Self {
        Self::new(Code::NotFound, format!("There is no {what} with that name or id."))
    }

    /// It contradicts what is there.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Conflict, detail)
    }

    /// The caller may not.
    pub fn forbidden(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Forbidden, detail)
    }

    /// A fault of the platform. `cause` goes to the log, not to the caller.
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        tracing::error!(%cause, "a request failed");
        Self::new(Code::Internal, "The platform's log says why.")
    }

    /// The store or another part is away. `cause` goes to the log, not to the caller.
    pub fn unavailable(cause: impl std::fmt::Display) -> Self {
        tracing::warn!(%cause, "a request can't be served now");
        Self::new(Code::Unavailable, "A part of the platform is away; try again.").retry_after(5)
    }

    /// The words of it.
    pub fn words(&self) -> words::Problem {
        words::Problem {
            kind: format!("urn:adit:problem:{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            detail: self.detail.clone().into_owned(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict => Self::conflict("The name is taken; choose another."),
            StoreError::Referenced => {
                Self::conflict("Something that it refers to has just gone; look again.")
            }
            StoreError::Again => Self::unavailable(error).retry_after(1),
            StoreError::Unavailable(_) => Self::unavailable(error),
            StoreError::Corrupt(_) | StoreError::Unaudited | StoreError::Statement(_) => {
                Self::internal(error)
            }
        }
    }
}

/// What the server says is for the caller: it is about its own database, and passwords are never in it.
impl From<SqlError> for Problem {
    fn from(error: SqlError) -> Self {
        let mut detail = sentence(&error.to_string());
        if matches!(error, SqlError::Login { .. }) {
            detail.push_str(
                " If the admin user's password was changed there: adit databases change NAME --admin-user USER \
                 --admin-password-file FILE",
            );
        }
        let problem = Self::new(Code::DatabaseFailed, detail);
        match error {
            SqlError::Unreachable(_) | SqlError::Interrupted(_) => problem.retry_after(5),
            SqlError::Tls(_) | SqlError::Login { .. } | SqlError::Refused { .. } => problem,
        }
    }
}

/// `text` with a capital and a full stop.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    first.into_iter().chain(letters).chain(end.chars()).collect()
}

impl From<AuthorityError> for Problem {
    fn from(error: AuthorityError) -> Self {
        match error {
            AuthorityError::Store(error) => error.into(),
            AuthorityError::Request(BadRequest::Mismatch(_)) => {
                Self::new(Code::NameMismatch, error.to_string())
            }
            AuthorityError::Request(_) => Self::new(Code::BadCsr, error.to_string()),
            AuthorityError::Name(_) => Self::bad_request(error.to_string()),
            AuthorityError::None(_) | AuthorityError::Issue(_) => Self::internal(error),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.words()).expect("a problem is four fields of text and a number");
        let mut response = (self.code.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(words::PROBLEM_JSON));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if self.code.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_code_has_a_word_of_its_own_and_a_status_of_an_error() {
        let words: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| code.status().as_u16() >= 400 && !code.title().is_empty()));
    }

    #[tokio::test]
    async fn a_problem_is_sent_as_problem_json() {
        let response = Problem::not_found("gateway").retry_after(3).into_response();
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[CONTENT_TYPE], words::PROBLEM_JSON);
        assert_eq!(response.headers()[RETRY_AFTER], "3");
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        let problem: words::Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!((problem.kind.as_str(), problem.status), ("urn:adit:problem:not-found", 404));
    }
}
