//! What an agent asks of the platform next, and when. A state machine: no I/O, no clock.
//!
//! ```text
//!  access ──▶ session ──▶ certificate ──▶ heartbeat, again and again
//!    ▲ at half its life      ▲ at half its life        │ session-ended: back to session
//!    └──────── refused: back to access ────────────────┘
//! ```
//! Each step has a time of its own, so that one that fails again and again does not keep the others from going on.

use std::time::{Duration, Instant};

use adit_platform::client::{Backoff, ClientError};

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest one.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How long changes are gathered before they are reported.
const GATHER: Duration = Duration::from_millis(50);

/// A request to the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Prove the key, for a token that lives shortly.
    Access,
    /// Begin as the one process of this instance.
    Session,
    /// Have a certificate issued.
    Certificate,
    /// Report, and hear what is wanted.
    Heartbeat,
}

/// What became of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is tried again, in time.
    Again,
    /// The same, and meanwhile another process is the one of this instance.
    Occupied,
    /// Never again: the instance was revoked.
    Over,
}

/// What is to be done, and when.
#[derive(Debug)]
pub(super) struct Agenda {
    /// There is a token for the other steps.
    access: bool,
    session: bool,
    /// When each step is due.
    times: [Instant; 4],
    interval: Duration,
    /// Heartbeats fail: a change is no reason to hurry.
    failing: bool,
    /// Something has changed since the last heartbeat was written.
    changed: bool,
    backoff: Backoff,
}

impl Agenda {
    /// Everything is to be done.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            access: false,
            session: false,
            times: [now; 4],
            interval: Duration::from_secs(15),
            failing: false,
            changed: false,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        }
    }

    /// The next step, and when it is due.
    pub(super) fn next(&self) -> (Step, Instant) {
        let steps: &[Step] = match (self.access, self.session) {
            (false, _) => &[Step::Access],
            (true, false) => &[Step::Access, Step::Session],
            (true, true) => &[Step::Access, Step::Certificate, Step::Heartbeat],
        };
        let due = steps.iter().map(|&step| (self.times[step as usize], step)).min();
        due.map(|(at, step)| (step, at)).expect("there is always a step")
    }

    /// There is a token that lives for `life` from `now` on.
    pub(super) fn granted(&mut self, now: Instant, life: Duration) {
        self.access = true;
        self.times[Step::Access as usize] = now + life / 2;
    }

    /// The session has begun; heartbeats are wanted each `interval`.
    pub(super) fn began(&mut self, now: Instant, interval: Duration) {
        self.session = true;
        self.interval = interval;
        self.times[Step::Heartbeat as usize] = now;
        self.backoff.reset();
    }

    /// There is a certificate, to be renewed at `renewal`.
    pub(super) fn certified(&mut self, renewal: Instant) {
        self.times[Step::Certificate as usize] = renewal;
    }

    /// `step` is on its way: what changes from now on, a heartbeat does not say.
    pub(super) fn asked(&mut self, step: Step) {
        if step == Step::Heartbeat {
            self.changed = false;
        }
    }

    /// A heartbeat was answered.
    pub(super) fn reported(&mut self, now: Instant, interval: Duration) {
        self.interval = interval;
        self.failing = false;
        self.backoff.reset();
        self.times[Step::Heartbeat as usize] = now + if self.changed { GATHER } else { interval };
    }

    /// Something has changed that the platform must know at once.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.changed = true;
        if !self.failing {
            let at = &mut self.times[Step::Heartbeat as usize];
            *at = (*at).min(now + GATHER);
        }
    }

    /// `step` came to nothing.
    pub(super) fn failed(&mut self, now: Instant, step: Step, error: &ClientError) -> Verdict {
        let pause = self.backoff.pause().max(error.retry_after().unwrap_or_default());
        self.times[step as usize] = now + pause.min(LONGEST_PAUSE);
        self.failing |= step == Step::Heartbeat;
        match error.code() {
            Some("revoked") => return Verdict::Over,
            Some("instance-in-use") => {
                self.session = false;
                self.times[Step::Session as usize] = now + self.interval;
                return Verdict::Occupied;
            }
            // Its life is over before its time: the platform was restored, or our clock stood still.
            Some("unauthenticated" | "expired") if step != Step::Access => {
                self.access = false;
                self.times[Step::Access as usize] = now + pause;
                self.times[step as usize] = now;
            }
            Some("session-ended") => {
                self.session = false;
                self.times[Step::Session as usize] = now;
            }
            _ => {}
        }
        Verdict::Again
    }
}

#[cfg(test)]
mod tests {
    use adit_platform::words::Problem;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const INTERVAL: Duration = Duration::from_secs(15);

    fn problem(code: &str, status: u16) -> ClientError {
        let problem = Problem {
            kind: format!("urn:adit:problem:{code}"),
            title: String::new(),
            status,
            detail: String::new(),
        };
        ClientError::Problem { problem, retry_after: None }
    }

    fn away() -> ClientError {
        ClientError::TimedOut { domain: String::new() }
    }

    /// An agenda in whose life everything has gone well so far.
    fn running(now: Instant) -> Agenda {
        let mut agenda = Agenda::new(now);
        agenda.granted(now, 60 * MINUTE);
        agenda.began(now, INTERVAL);
        agenda.certified(now + 720 * MINUTE);
        agenda.reported(now, INTERVAL);
        agenda
    }

    #[test]
    fn one_step_follows_the_other() {
        let now = Instant::now();
        let mut agenda = Agenda::new(now);
        assert_eq!(agenda.next(), (Step::Access, now));
        agenda.granted(now, 60 * MINUTE);
        assert_eq!(agenda.next(), (Step::Session, now));
        agenda.began(now, INTERVAL);
        assert_eq!(agenda.next(), (Step::Certificate, now));
        agenda.certified(now + 720 * MINUTE);
        assert_eq!(agenda.next(), (Step::Heartbeat, now));
        agenda.reported(now, INTERVAL);
        assert_eq!(agenda.next(), (Step::Heartbeat, now + INTERVAL));
        agenda.reported(now + 31 * MINUTE, INTERVAL);
        assert_eq!(agenda.next(), (Step::Access, now + 30 * MINUTE));
    }

    #[test]
    fn a_certificate_from_before_is_kept_until_half_its_life() {
        let now = Instant::now();
        let mut agenda = Agenda::new(now);
        agenda.certified(now + MINUTE);
        agenda.granted(now, 60 * MINUTE);
        agenda.began(now, INTERVAL);
        assert_eq!(agenda.next(), (Step::Heartbeat, now));
        agenda.reported(now + MINUTE, INTERVAL);
        assert_eq!(agenda.next(), (Step::Certificate, now + MINUTE));
    }

    #[test]
    fn a_change_is_reported_at_once_and_several_together() {
        let now = Instant::now();
        let mut agenda = running(now);
        agenda.hurry(now);
        agenda.hurry(now + GATHER / 2);
        assert_eq!(agenda.next(), (Step::Heartbeat, now + GATHER));
        agenda.failed(now, Step::Heartbeat, &away());
        agenda.hurry(now);
        assert!(agenda.next().1 >= now + FIRST_PAUSE / 2, "who is away is not pestered");
    }

    #[test]
    fn what_changes_while_a_heartbeat_is_on_its_way_has_one_of_its_own() {
        let now = Instant::now();
        let mut agenda = running(now);
        agenda.asked(Step::Heartbeat);
        agenda.hurry(now);
        agenda.reported(now, INTERVAL);
        assert_eq!(agenda.next(), (Step::Heartbeat, now + GATHER));
        agenda.asked(Step::Heartbeat);
        agenda.reported(now, INTERVAL);
        assert_eq!(agenda.next(), (Step::Heartbeat, now + INTERVAL));
    }

    #[test]
    fn pauses_grow_to_a_minute_and_begin_anew() {
        let now = Instant::now();
        let mut agenda = running(now);
        for _ in 0..20 {
            assert_eq!(agenda.failed(now, Step::Heartbeat, &away()), Verdict::Again);
        }
        let (step, at) = agenda.next();
        assert_eq!(step, Step::Heartbeat);
        assert!((LONGEST_PAUSE / 2..=LONGEST_PAUSE).contains(&(at - now)));
        agenda.reported(now, INTERVAL);
        agenda.failed(now, Step::Heartbeat, &away());
        assert!(agenda.next().1 <= now + FIRST_PAUSE);
    }

    #[test]
    fn a_step_that_fails_does_not_keep_the_others() {
        let now = Instant::now();
        let mut agenda = running(now);
        agenda.certified(now);
        for _ in 0..20 {
            agenda.failed(now, Step::Certificate, &problem("internal", 500));
        }
        assert_eq!(agenda.next(), (Step::Heartbeat, now + INTERVAL));
    }

    #[test]
    fn a_token_that_counts_no_more_is_replaced() {
        let now = Instant::now();
        let mut agenda = running(now);
        assert_eq!(agenda.failed(now, Step::Heartbeat, &problem("expired", 401)), Verdict::Again);
        assert_eq!(agenda.next().0, Step::Access);
        assert!(agenda.next().1 > now, "not in a tight circle");
        agenda.granted(now, 60 * MINUTE);
        assert_eq!(agenda.next(), (Step::Heartbeat, now), "the session is still there");
    }

    #[test]
    fn a_session_that_has_ended_begins_anew() {
        let now = Instant::now();
        let mut agenda = running(now);
        agenda.failed(now, Step::Heartbeat, &problem("session-ended", 409));
        assert_eq!(agenda.next(), (Step::Session, now));
        assert_eq!(agenda.failed(now, Step::Session, &problem("instance-in-use", 409)), Verdict::Occupied);
        assert_eq!(agenda.next(), (Step::Session, now + INTERVAL));
    }

    #[test]
    fn only_a_revocation_is_the_end() {
        let now = Instant::now();
        let mut agenda = running(now);
        for code in ["forbidden", "not-found", "unauthenticated", "internal", "clock-skew", "bad-csr"] {
            assert_eq!(agenda.failed(now, Step::Access, &problem(code, 403)), Verdict::Again, "{code}");
        }
        assert_eq!(agenda.failed(now, Step::Access, &problem("revoked", 401)), Verdict::Over);
    }

    #[test]
    fn who_wants_to_be_left_alone_is() {
        let now = Instant::now();
        let mut agenda = running(now);
        let problem = ClientError::Status {
            domain: String::new(),
            status: 503,
            retry_after: Some(Duration::from_secs(40)),
        };
        agenda.failed(now, Step::Heartbeat, &problem);
        assert_eq!(agenda.next(), (Step::Heartbeat, now + Duration::from_secs(40)));
    }
}
