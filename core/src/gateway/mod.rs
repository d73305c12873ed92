//! The gateway.
mod policy;
pub use policy::{RuleError, TargetPolicy, TargetRule};
