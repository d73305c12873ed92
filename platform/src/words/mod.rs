//! The words of the API: what requests and answers say, for servers and clients alike.
//!
//! JSON in both directions. Times are unix seconds, lengths of time are seconds, binary is base64 (standard, padded)
//! or, where it says so, hex. Unknown fields of a request are an error, so that a misspelt one is noticed; unknown
//! fields of an answer are ignored, so that a client outlives its server.

mod agent;
mod audit;
mod database;
mod forwarding;
mod gateway;
mod identity;
mod lease;
mod organisation;
mod platform;
mod problem;
mod project;
mod relay;
mod rotation;
mod secret;

pub use agent::*;
pub use audit::*;
pub use database::*;
pub use forwarding::*;
pub use gateway::*;
pub use identity::*;
pub use lease::*;
pub use organisation::*;
pub use platform::*;
pub use problem::*;
pub use project::*;
pub use relay::*;
pub use rotation::*;
pub use secret::*;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, in the order of their names, or of time.
    pub items: Vec<T>,
    /// Where the next page begins: the `after` of the next request. Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}
