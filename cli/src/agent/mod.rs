//! The agents of the platform: a gateway instance and a relay that the platform tells what to do.
//!
//! 1. [`state`]: what an agent keeps on disk, for one process at a time.
//! 2. [`enrol`]: once, a token becomes an identity with a key that never leaves this machine.
//! 3. [`agenda`]: what is to be asked of the platform next, and when. No I/O.
//! 4. [`mod@line`]: the agent's side of the conversation: access, what an error means, what is told to people.
//! 5. [`gateway`] and [`relay`]: what the answers change here.

mod agenda;
mod enrol;
mod fingerprint;
pub(crate) mod flags;
pub(crate) mod gateway;
mod line;
pub(crate) mod relay;
mod state;
