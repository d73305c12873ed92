//! What holds in every world at every moment, whatever is done to it.
//!
//! | law | what it says | where |
//! | --- | --- | --- |
//! | [`Order`](Law::Order) | every stream delivers its own bytes, once and in order | `streams` |
//! | [`Ending`](Law::Ending) | a stream that was not delivered wholly has an excuse of the model's | `streams` |
//! | [`Hang`](Law::Hang) | every stream ends | `play` |
//! | [`Access`](Law::Access) | nobody reaches a target or a peer that is not allowed | `access` |
//! | [`Secrecy`](Law::Secrecy) | no relay sends, receives or holds plaintext | `secrecy` |
//! | [`Conservation`](Law::Conservation) | a relay counts as relayed what it has sent on, and nothing else | `relaying` |
//! | [`Bounds`](Law::Bounds) | queues stay within their bounds, and empty ones empty | `holdings` |
//! | [`Fault`](Law::Fault) | no counter rises that only a bug can raise | `holdings` |
//! | [`Leak`](Law::Leak) | nothing is left when everybody has left | `holdings` |
//! | [`Spin`](Law::Spin) | a machine at rest wakes for its duties only | `idle` |
//! | [`Recovery`](Law::Recovery) | when all is well again, all targets can be reached again | `play` |
//! | [`Panic`](Law::Panic) | nothing panics | `play` |
//! | [`Own`](Law::Own) | what a caller has added | |
//!
//! Secrecy goes as far as this: every packet that a relay sends or receives is searched, and so is all that its machine
//! holds, as its `Debug` form tells all of its fields. What an allocator has freed is not looked at.

mod access;
mod holdings;
mod idle;
mod relaying;
mod secrecy;
mod streams;

use std::fmt::{Display, Formatter};
use std::time::Duration;

use crate::plan::Stage;

pub(crate) use idle::Rest;

/// What was broken; the table above says what each means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the table of the module says what each means")]
pub enum Law {
    Order,
    Ending,
    Hang,
    Access,
    Secrecy,
    Conservation,
    Bounds,
    Fault,
    Leak,
    Spin,
    Recovery,
    Panic,
    Own,
}

/// A law was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub law: Law,
    /// When, since the beginning of the world.
    pub at: Duration,
    /// How.
    pub how: String,
}

impl Display for Broken {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} at {:.3} s: {}", self.law, self.at.as_secs_f64(), self.how)
    }
}

impl std::error::Error for Broken {}

/// What is broken, before it is known when.
pub(crate) type Finding = Result<(), (Law, String)>;

/// Everything that is watched from the first moment to the last.
#[derive(Debug, Default)]
pub(crate) struct Laws {
    streams: streams::Streams,
    access: access::Access,
    relaying: relaying::Relaying,
}

impl Laws {
    /// Looks at what has happened since it looked last.
    pub(crate) fn look(&mut self, stage: &mut Stage) -> Result<(), Broken> {
        stage.read_news();
        let finding = self.find(stage);
        finding.map_err(|(law, how)| Broken { law, at: stage.world.elapsed(), how })
    }

    fn find(&mut self, stage: &mut Stage) -> Finding {
        for relay in 0..stage.relays.len() {
            let packets = stage.take_passed(relay);
            secrecy::packets(relay, &packets)?;
            access::packets(stage, relay, &packets)?;
            self.relaying.note(stage, relay, &packets)?;
        }
        self.access.check(stage)?;
        self.streams.check(stage)?;
        holdings::bounds(stage)?;
        holdings::faults(stage)
    }

    /// The relay begins a new life, and its counters with it.
    pub(crate) fn relay_died(&mut self, relay: usize) {
        self.relaying.forget(relay);
    }

    /// How many streams ended as they should, and how many were excused.
    pub(crate) fn tally(&self) -> (usize, usize) {
        self.streams.tally()
    }

    /// Looks into the memory of all relays; dear, and so not done all the time.
    pub(crate) fn look_into_relays(stage: &Stage) -> Result<(), Broken> {
        secrecy::memory(stage).map_err(|(law, how)| Broken { law, at: stage.world.elapsed(), how })
    }

    /// Everybody has left.
    pub(crate) fn look_for_leaks(stage: &Stage) -> Result<(), Broken> {
        holdings::leaks(stage).map_err(|(law, how)| Broken { law, at: stage.world.elapsed(), how })
    }
}
