//! Troubles, and for how long each may be blamed.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use crate::clock::secs;
use crate::plan::Place;

/// Something that was done to the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trouble {
    /// To whom; nothing where it was done to all.
    pub at: Option<Place>,
    /// When it began, since the beginning of the world.
    pub from: Duration,
    /// When it was over.
    pub until: Duration,
    /// What it was.
    pub kind: Kind,
}

/// What a trouble was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing, or little, got through.
    Silence,
    /// A NAT forgot its mappings.
    Rebind,
    /// Credentials and certificates had run out.
    Expiry,
    /// The machine was dead.
    Death,
}

/// How long a connection sits out: it lives 30 s from the last packet that it heard, and asks again at growing intervals;
/// after 8 s of silence the next question may come as late as 16 s, and one more may be lost.
const SAT_OUT: Duration = secs(8);
/// How long it may take until a gateway has a relayed address again that its connectors know: it misses the relay within
/// 70 s and asks again after a minute at most.
const NEW_ALLOCATION: Duration = secs(150);
/// How long an attempt may still suffer from what is over: the next try of a handshake or of an OPEN comes late.
const LATE: Duration = secs(10);
/// How long a handshake goes on whose NAT has forgotten it: no server follows a client to another address before the
/// handshake is confirmed (RFC 9000 §9), and those who ask meanwhile wait for the same attempt.
const ATTEMPT: Duration = secs(30);

impl Trouble {
    /// Whether it concerns streams of a connector through a gateway. All relays are on every way: a connection may go by
    /// any of them.
    pub(super) fn is_on_way(&self, by: usize, through: usize) -> bool {
        match self.at {
            Some(Place::Connector(at)) => at == by,
            Some(Place::Gateway(at)) => at == through,
            Some(Place::Relay(_)) | None => true,
        }
    }

    /// Whether its time and what follows from it meet the life of a stream.
    pub(super) fn meets(&self, asked: Duration, ended: Duration) -> bool {
        self.from <= ended && asked <= self.until + self.aftermath().max(self.late())
    }

    /// How long nothing got through.
    pub(super) fn silence(&self) -> Duration {
        if self.kind == Kind::Silence { self.until - self.from } else { Duration::ZERO }
    }

    /// Whether it may end a stream that is open, where there was so much silence in all.
    pub(super) fn ends(&self, silence: Duration) -> bool {
        match (self.kind, self.at) {
            (Kind::Silence, _) => silence >= SAT_OUT,
            // Its connections went with it; a dead relay took the allocation along.
            (Kind::Death, _) => true,
            // To the relay, it is another client now: the allocation was the other's.
            (Kind::Rebind, Some(Place::Gateway(_))) => true,
            // QUIC follows a client to its new address.
            (Kind::Rebind, _) => false,
            // The relay refuses to prolong what it gave.
            (Kind::Expiry, Some(Place::Relay(_))) => true,
            // A connection of machines that stands goes on.
            (Kind::Expiry, _) => false,
        }
    }

    /// Whether it may end a stream that is not open yet: handshakes have less patience than connections, and want
    /// certificates that are good now.
    pub(super) fn hinders(&self, asked: Duration, ended: Duration) -> bool {
        self.from <= ended && asked <= self.until + self.late()
    }

    /// For how long after its end attempts may still suffer.
    fn late(&self) -> Duration {
        if self.kind == Kind::Rebind { ATTEMPT } else { LATE }
    }

    /// For how long after its end streams may still suffer that begin then.
    fn aftermath(&self) -> Duration {
        match (self.kind, self.at) {
            (_, Some(Place::Connector(_))) => LATE,
            _ => NEW_ALLOCATION,
        }
    }
}

impl Display for Trouble {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (from, until) = (self.from.as_secs_f64(), self.until.as_secs_f64());
        let place = self.at.map_or("everywhere".to_owned(), |at| format!("at {at}"));
        write!(f, "{:?} {place} from {from:.3} s to {until:.3} s", self.kind)
    }
}
