//! When passwords change: every so many seconds, or by a cron expression of five fields, in UTC.

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

use crate::words::Schedule;

/// The shortest interval, in seconds.
pub const SHORTEST: u64 = 60;

/// The longest interval, in seconds: ten years.
pub const LONGEST: u64 = 10 * 366 * 24 * 3600;

/// The longest cron expression, in bytes.
const MAX_CRON: usize = 200;

/// Checks a schedule that somebody wishes for; `now` is unix seconds.
///
/// # Errors
/// What is wrong with it and how it reads.
pub fn check(schedule: &Schedule, now: u64) -> Result<(), String> {
    match schedule {
        Schedule::Every(seconds) if (SHORTEST..=LONGEST).contains(seconds) => Ok(()),
        Schedule::Every(_) => Err(format!("A schedule of every is {SHORTEST} to {LONGEST} seconds.")),
        Schedule::Cron(text) => {
            let cron = parse(text)?;
            next_of(&cron, now)
                .map(drop)
                .ok_or_else(|| format!("The cron expression {text:?} never comes true."))
        }
    }
}

/// When the turn after one at `now` is due, both in unix seconds: always later.
pub fn next(schedule: &Schedule, now: u64) -> u64 {
    let found = match schedule {
        Schedule::Every(seconds) => Some(now.saturating_add((*seconds).max(SHORTEST))),
        Schedule::Cron(text) => parse(text).ok().and_then(|cron| next_of(&cron, now)),
    };
    // One that has come true for the last time waits for somebody.
    found.unwrap_or_else(|| now.saturating_add(LONGEST))
}

/// A minute is the finest that five fields say, and so the shortest pause.
fn parse(text: &str) -> Result<Cron, String> {
    let fields = text.split_ascii_whitespace().count();
    if text.len() > MAX_CRON || fields != 5 || text.contains('@') {
        return Err(
            "A cron expression has five fields: minute, hour, day of month, month, day of week, as in 0 3 * * 1."
                .to_owned(),
        );
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|error| format!("The cron expression {text:?} does not read: {error}."))
}

fn next_of(cron: &Cron, now: u64) -> Option<u64> {
    let now = DateTime::<Utc>::from_timestamp(i64::try_from(now).ok()?, 0)?;
    let next = cron.find_next_occurrence(&now, false).ok()?;
    u64::try_from(next.timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-11-14 22:13:20 UTC, a Tuesday.
    const NOW: u64 = 1_700_000_000;

    fn cron(text: &str) -> Schedule {
        Schedule::Cron(text.to_owned())
    }

    #[test]
    fn an_interval_is_a_minute_at_least() {
        assert!(check(&Schedule::Every(59), NOW).is_err() && check(&Schedule::Every(u64::MAX), NOW).is_err());
        assert_eq!(check(&Schedule::Every(60), NOW), Ok(()));
        assert_eq!(next(&Schedule::Every(60), NOW), NOW + 60);
    }

    #[test]
    fn a_cron_expression_is_read_in_utc_and_is_never_now() {
        assert_eq!(next(&cron("15 22 * * *"), NOW), NOW + 100);
        let minute = NOW - NOW % 60;
        assert_eq!(next(&cron("* * * * *"), minute), minute + 60);
        // The next Monday at three.
        assert_eq!(next(&cron("0 3 * * MON"), NOW), 1_700_449_200);
    }

    #[test]
    fn what_is_no_cron_expression_of_five_fields_is_refused() {
        let long = format!("{} * * * *", "1,".repeat(120) + "1");
        for text in ["", "* * * *", "* * * * * *", "@daily", "61 * * * *", "x * * * *", "*/0 * * * *", &long]
        {
            let refusal = check(&cron(text), NOW).unwrap_err();
            assert!(refusal.contains("cron expression"), "{text}: {refusal}");
        }
    }

    #[test]
    fn what_never_comes_true_is_refused() {
        let refusal = check(&cron("0 0 30 2 *"), NOW).unwrap_err();
        assert!(refusal.contains("never comes true"), "{refusal}");
    }
}
