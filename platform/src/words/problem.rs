//! What went wrong (RFC 9457).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The media type of a [`Problem`] (RFC 9457 §3).
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error, as the body of every answer with a status of 400 or more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `urn:adit:problem:<code>`: what programs tell problems apart by.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, in a few words that are the same every time.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This very problem, and what to do about it.
    pub detail: String,
}
