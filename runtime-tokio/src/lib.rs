//! Adit's gateway and connector under tokio.

mod connector;
mod drive;
mod forward;
mod gateway;
mod join;
mod reactor;
mod serve;

pub use adit_driver::{Counters, Notice, OpenError};
pub use connector::{Connector, Stream};
pub use forward::{Forwarded, forward};
pub use gateway::Gateway;
pub use join::Moved;
pub use reactor::{TokioReactor, TokioSocket};
