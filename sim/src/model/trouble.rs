//! Troubles, and for how long each may be blamed.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use super::Fate;
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
    /// A firewall forgot whose answers may come in.
    Forgetting,
    /// Credentials and certificates had run out.
    Expiry,
    /// The machine was dead.
    Death,
}

/// How long a connection sits out: it lives 30 s from the last packet that it heard, and asks again at growing intervals;
/// after 8 s of silence the next question may come as late as 16 s, and one more may be lost.
const SAT_OUT: Duration = secs(8);
/// The same of a handshake, which gives up after 30 s, too, and has asked at 0, 1, 3, 7 and 15 s by then.
const SAT_OUT_SHAKING_HANDS: Duration = secs(2);
/// How long it may take until a gateway has a relayed address again that its connectors know: it misses the relay within
/// 70 s and asks again after a minute at most.
const NEW_ALLOCATION: Duration = secs(150);
/// How long after a relay has fallen silent streams are still opened over a connection that goes by it: it lives 30 s from
/// when its connector has heard something, or has sent something again for the first time since then, which it does
/// within 5 s; and what it hears last was under way, or came late from a sleep. After that a connection is made by another
/// relay, if there is one.
const UNKNOWN: Duration = secs(40);
/// How long nothing gets through a firewall that has forgotten a connection: until either end asks for a sign of life.
const SIGN_OF_LIFE: Duration = secs(5);
/// How long a gateway can't be reached whose firewall has forgotten its relay: until it refreshes its allocation.
const REFRESH: Duration = secs(25);
/// How long an attempt may still suffer from what is over: the next try of a handshake or of an OPEN comes late.
const LATE: Duration = secs(10);
/// How long a handshake goes on that was silenced so often that both ends ask again at long intervals only, or whose NAT has
/// forgotten it: no server follows a client to another address before the handshake is confirmed (RFC 9000 §9). Those who
/// ask meanwhile wait for the same attempt.
const ATTEMPT: Duration = secs(30);

impl Trouble {
    /// Whether it is on the way of a stream.
    pub(super) fn is_on_way(&self, fate: &Fate) -> bool {
        match self.at {
            Some(Place::Connector(at)) => at == fate.by,
            Some(Place::Gateway(at)) => at == fate.through,
            Some(Place::Relay(at)) => fate.ways.contains(&at),
            None => true,
        }
    }

    /// Whether its time and what follows from it meet the life of a stream that it is on the way of.
    pub(super) fn meets(&self, asked: Duration, ended: Duration) -> bool {
        match (self.at, self.kind) {
            // What is made after its connections have gone is made by a relay that answers.
            (Some(Place::Relay(_)), Kind::Death) => self.from <= ended && asked <= self.from + UNKNOWN,
            (Some(Place::Relay(_)), _) => self.from <= ended && asked <= self.until + UNKNOWN,
            _ => self.bars(asked, ended),
        }
    }

    /// Whether its time and what follows from it meet the life of a stream that has no other way.
    pub(super) fn bars(&self, asked: Duration, ended: Duration) -> bool {
        self.from <= ended && asked <= self.until + self.aftermath().max(self.late())
    }

    /// How long nothing got through.
    pub(super) fn silence(&self) -> Duration {
        match self.kind {
            Kind::Silence => self.until - self.from,
            Kind::Forgetting => SIGN_OF_LIFE,
            Kind::Rebind | Kind::Expiry | Kind::Death => Duration::ZERO,
        }
    }

    /// Whether it may end a stream that is open, where there was so much silence in all.
    pub(super) fn ends(&self, silence: Duration) -> bool {
        match (self.kind, self.at) {
            (Kind::Silence | Kind::Forgetting, _) => silence >= SAT_OUT,
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
    pub(super) fn hinders(&self, asked: Duration, ended: Duration, silence: Duration) -> bool {
        let harmless = match self.kind {
            Kind::Silence => silence < SAT_OUT_SHAKING_HANDS,
            // Whoever asks from behind a firewall is answered.
            Kind::Forgetting => !matches!(self.at, Some(Place::Gateway(_))),
            Kind::Rebind | Kind::Expiry | Kind::Death => false,
        };
        !harmless && self.from <= ended && asked <= self.until + self.late()
    }

    /// For how long after its end attempts may still suffer.
    fn late(&self) -> Duration {
        match self.kind {
            Kind::Rebind | Kind::Silence => ATTEMPT,
            Kind::Forgetting => REFRESH + LATE,
            Kind::Expiry | Kind::Death => LATE,
        }
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
