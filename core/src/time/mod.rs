//! Time as the machines see it: instants come in with every call, unix time only where something expires.
//!
//! 1. The owner says once, by a [`Clock`], which unix time an instant stands for, and again through `handle_clock`
//!    when the two have parted: the wall clock was set, or the computer slept.
//! 2. Every input brings `now`. Timers are instants, in a [`DeadlineQueue`]; the earliest is what `poll_timeout` tells
//!    as a [`Deadline`], together with the reason ([`Why`]).
//! 3. Credentials, nonces and certificates expire by [`UnixTime`]. rustls and quinn-proto ask for it on their own, so
//!    that they are given a [`WallCell`], which the machine sets before it calls them.

mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use queue::DeadlineQueue;

/// Seconds since 1970-01-01T00:00:00Z, without leap seconds. Used for the expiry of credentials, nonces and
/// certificates, and for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub u64);

/// An instant together with the unix time that it stands for; converts one into the other.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    instant: Instant,
    unix: Duration,
}

impl Clock {
    /// The clock by which it was `unix` (time since the epoch) at `instant`.
    pub fn new(instant: Instant, unix: Duration) -> Self {
        Self { instant, unix }
    }

    /// The unix time at `now`, which may also lie before the instant that the clock was set at.
    pub fn unix(&self, now: Instant) -> UnixTime {
        let passed = now.saturating_duration_since(self.instant);
        let ahead = self.instant.saturating_duration_since(now);
        UnixTime((self.unix + passed).saturating_sub(ahead).as_secs())
    }

    /// The instant at which it will be `unix`; `now` when that has passed already.
    pub fn instant(&self, now: Instant, unix: UnixTime) -> Instant {
        now + Duration::from_secs(unix.0.saturating_sub(self.unix(now).0))
    }
}

/// The present unix time for the libraries that insist on asking for it (rustls, quinn-proto). The owner of a
/// machine sets it from its [`Clock`] before each input; nobody else does.
#[derive(Debug, Clone, Default)]
pub struct WallCell(Arc<AtomicU64>);

impl WallCell {
    /// A cell that says `unix`.
    pub fn new(unix: UnixTime) -> Self {
        Self(Arc::new(AtomicU64::new(unix.0)))
    }

    /// Sets the cell.
    pub fn set(&self, unix: UnixTime) {
        self.0.store(unix.0, Ordering::Relaxed);
    }

    /// What the cell says.
    pub fn get(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::Relaxed))
    }
}

/// When a machine wants `handle_timeout`, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// When.
    pub at: Instant,
    /// Why; for people who wonder what keeps a machine awake.
    pub why: Why,
}

impl Deadline {
    /// The earlier of two deadlines that may both be missing.
    pub fn earlier(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

/// The reasons to wake up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// A request is to be sent again (RFC 8489 §6.2.1).
    Retransmit,
    /// An allocation is to be refreshed.
    Refresh,
    /// An allocation runs out, at the relay.
    Expiry,
    /// A permission is to be refreshed, or runs out.
    Permission,
    /// A channel is to be refreshed, or runs out.
    Channel,
    /// Something that failed is tried again.
    Retry,
    /// One of QUIC's own timers.
    Quic,
    /// An entry of the table of handshakes runs out.
    Handshake,
    /// A certificate is to be renewed, or has run out.
    Certificate,
    /// A link has been silent, or takes nothing.
    Link,
    /// An opened stream waits for its answer, or a dialled target for its connection.
    Open,
}

/// Some instant for a test to begin with.
#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "there is no other way to make an instant")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_converts_both_ways() {
        let start = start();
        let clock = Clock::new(start, Duration::from_millis(1_000_900));
        let second = Duration::from_secs(1);
        assert_eq!(clock.unix(start), UnixTime(1000));
        assert_eq!(clock.unix(start + second), UnixTime(1001));
        assert_eq!(clock.unix(start - second), UnixTime(999));
        assert_eq!(clock.instant(start, UnixTime(1005)), start + 5 * second);
        assert_eq!(clock.instant(start, UnixTime(1)), start);
    }
}
