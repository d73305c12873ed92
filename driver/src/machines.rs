//! The machines of `adit_core` as [`Machine`](crate::Machine)s.
