//! How a gateway instance or a relay is: one pure judgement, and the change of its row when the judgement changes.
//!
//! ```text
//!  pending ──first session──▶ degraded ──PONG──▶ healthy ──no PONG, a relay lost──▶ degraded
//!                                 ▲                 │
//!                                 └──── report ── offline ◀── no reports, or stopped in good order
//! ```
//!
//! A reason never holds a number that grows: the same state has the same words, and is written once.

use crate::config::Times;
use crate::words::{Health, HealthState, RelayUse};

/// What is known of a gateway instance. Times are unix seconds; 0 is never.
#[derive(Debug, Clone)]
pub struct Signs<'a> {
    /// Since when it is revoked.
    pub revoked_at: u64,
    /// Whether a process has a session.
    pub in_session: bool,
    /// When it last reported.
    pub last_heartbeat_at: u64,
    /// When it last answered its watcher.
    pub last_pong_at: u64,
    /// What it says about its relays.
    pub relays: &'a [RelayUse],
}

/// How something is, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How it is.
    pub state: HealthState,
    /// Why, in a few words.
    pub reason: String,
}

impl Verdict {
    fn new(state: HealthState, reason: impl Into<String>) -> Self {
        Self { state, reason: reason.into() }
    }

    /// Whether `health` says the same.
    pub fn is(&self, health: &Health) -> bool {
        self.state == health.state && self.reason == health.reason
    }

    /// The verdict as it is shown at `now`, where it was `before`.
    pub fn since(&self, before: &Health, now: u64) -> Health {
        let since = if before.state == self.state { before.since } else { now };
        Health { state: self.state, since, reason: self.reason.clone() }
    }
}

/// Judges a gateway instance.
pub fn of_instance(signs: &Signs<'_>, times: &Times, now: u64) -> Verdict {
    if signs.revoked_at != 0 {
        return Verdict::new(HealthState::Revoked, "it was revoked");
    }
    if let Some(verdict) = of_reports(signs.in_session, signs.last_heartbeat_at, times, now) {
        return verdict;
    }
    let degraded = |reason: &str| Verdict::new(HealthState::Degraded, reason);
    if signs.relays.iter().all(|relay| relay.addresses.is_empty()) {
        return degraded(&without_relay(signs.relays));
    }
    if signs.last_pong_at == 0 || !is_within(signs.last_pong_at, answer_time(times), now) {
        return degraded("it reports, but does not answer through its relays");
    }
    match signs.relays.iter().find(|relay| relay.addresses.is_empty()) {
        Some(lost) => degraded(&format!("one of its relays is lost: {}", why_lost(lost))),
        None => Verdict::new(HealthState::Healthy, "it answers"),
    }
}

/// Judges a relay.
pub fn of_relay(in_session: bool, last_heartbeat_at: u64, times: &Times, now: u64) -> Verdict {
    of_reports(in_session, last_heartbeat_at, times, now)
        .unwrap_or_else(|| Verdict::new(HealthState::Healthy, "it reports"))
}

/// What its reports alone say; `None` when they come as they should.
fn of_reports(in_session: bool, last_heartbeat_at: u64, times: &Times, now: u64) -> Option<Verdict> {
    match (last_heartbeat_at, in_session) {
        (0, _) => Some(Verdict::new(HealthState::Pending, "it was never started")),
        (_, false) => Some(Verdict::new(HealthState::Offline, "it was stopped")),
        (last, true) if reports_are_late(last, times, now) => {
            Some(Verdict::new(HealthState::Offline, "nothing is heard of it"))
        }
        _ => None,
    }
}

/// Whether so many heartbeats are missing that nobody counts on the process any more.
pub fn reports_are_late(last_heartbeat_at: u64, times: &Times, now: u64) -> bool {
    !is_within(last_heartbeat_at, silence(times), now)
}

/// After how many seconds of silence an agent is offline. Times are whole seconds in the store: the one that is cut
/// off is granted.
pub fn silence(times: &Times) -> u64 {
    seconds_up(times.heartbeat * times.missed_heartbeats)
}

/// Within how many seconds a PONG counts: two intervals, and the time that the second one may take.
pub fn answer_time(times: &Times) -> u64 {
    seconds_up(times.ping * 2)
}

fn seconds_up(length: std::time::Duration) -> u64 {
    length.as_secs() + 1
}

fn is_within(at: u64, length: u64, now: u64) -> bool {
    now <= at.saturating_add(length)
}

fn without_relay(relays: &[RelayUse]) -> String {
    match relays.first() {
        None => "it has no allocation on any relay".to_owned(),
        Some(lost) => format!("it has no allocation on any relay: {}", why_lost(lost)),
    }
}

/// The agent's own words, bounded; it need not be honest, and people read it.
fn why_lost(relay: &RelayUse) -> String {
    let said = relay.lost.as_deref().unwrap_or("no reason is known");
    let clean = said.chars().filter(|char| !char.is_control()).take(200);
    clean.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn relay(addresses: &[&str], lost: Option<&str>) -> RelayUse {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        RelayUse { relay: "r".to_owned(), addresses, lost: lost.map(str::to_owned) }
    }

    fn state(change: impl FnOnce(&mut Signs<'_>)) -> (HealthState, String) {
        state_on(&[relay(&["192.0.2.1:5000"], None)], change)
    }

    fn state_on(relays: &[RelayUse], change: impl FnOnce(&mut Signs<'_>)) -> (HealthState, String) {
        let mut signs = Signs {
            revoked_at: 0,
            in_session: true,
            last_heartbeat_at: NOW - 1,
            last_pong_at: NOW - 1,
            relays,
        };
        change(&mut signs);
        let verdict = of_instance(&signs, &Times::default(), NOW);
        (verdict.state, verdict.reason)
    }

    #[test]
    fn an_instance_that_reports_and_answers_is_healthy() {
        assert_eq!(state(|_| ()).0, HealthState::Healthy);
        assert_eq!(state(|signs| signs.last_pong_at = NOW - 31).0, HealthState::Healthy);
        assert_eq!(state(|signs| signs.last_heartbeat_at = NOW - 46).0, HealthState::Healthy);
    }

    #[test]
    fn one_that_reports_but_does_not_answer_is_degraded() {
        assert_eq!(state(|signs| signs.last_pong_at = 0).0, HealthState::Degraded);
        assert_eq!(state(|signs| signs.last_pong_at = NOW - 32).0, HealthState::Degraded);
    }

    #[test]
    fn one_that_has_lost_a_relay_is_degraded_and_says_why() {
        let one = [relay(&["192.0.2.1:5000"], None), relay(&[], Some("401\u{7} unauthorized"))];
        let (state_of, reason) = state_on(&one, |_| ());
        assert_eq!(state_of, HealthState::Degraded);
        assert_eq!(reason, "one of its relays is lost: 401 unauthorized");
        let none = [relay(&[], None)];
        assert!(state_on(&none, |_| ()).1.contains("no allocation on any relay"));
        assert!(state_on(&[], |_| ()).1.contains("no allocation on any relay"));
    }

    #[test]
    fn one_that_is_silent_or_stopped_is_offline_and_one_that_never_came_is_pending() {
        assert_eq!(state(|signs| signs.last_heartbeat_at = NOW - 47).0, HealthState::Offline);
        assert_eq!(state(|signs| signs.in_session = false).0, HealthState::Offline);
        assert_eq!(state(|signs| signs.last_heartbeat_at = 0).0, HealthState::Pending);
        assert_eq!(state(|signs| signs.revoked_at = 1).0, HealthState::Revoked);
    }

    #[test]
    fn the_reason_does_not_change_while_the_state_lasts() {
        let early = state(|signs| signs.last_pong_at = NOW - 40);
        assert_eq!(state(|signs| signs.last_pong_at = NOW - 400), early);
    }

    #[test]
    fn a_relay_is_healthy_while_it_reports() {
        let times = Times::default();
        assert_eq!(of_relay(true, NOW - 46, &times, NOW).state, HealthState::Healthy);
        assert_eq!(of_relay(true, NOW - 47, &times, NOW).state, HealthState::Offline);
        assert_eq!(of_relay(false, 0, &times, NOW).state, HealthState::Pending);
    }
}
