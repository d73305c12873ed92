//! Dynamic secrets: what they are defined as.

pub(crate) mod definition;
