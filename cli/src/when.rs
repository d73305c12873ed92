//! Dates for people.

use adit_core::time::UnixTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The present time.
pub(crate) fn now() -> UnixTime {
    UnixTime(adit_driver::unix().as_secs())
}

/// The present time for programs: a date with milliseconds, in UTC.
pub(crate) fn timestamp() -> String {
    let date = i128::try_from(adit_driver::unix().as_nanos()).ok();
    let date =
        date.and_then(|nanos| OffsetDateTime::from_unix_timestamp_nanos(nanos - nanos % 1_000_000).ok());
    date.and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_default()
}

/// `unix` as a date with time, in UTC.
pub(crate) fn date(unix: UnixTime) -> String {
    i64::try_from(unix.0)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|date| date.format(&Rfc3339).ok())
        .unwrap_or_else(|| format!("unix time {}", unix.0))
}

/// How far `then` lies ahead of `now`, or how long ago it was.
pub(crate) fn distance(now: UnixTime, then: UnixTime) -> String {
    if then <= now { format!("{} ago", span(now.0 - then.0)) } else { format!("in {}", span(then.0 - now.0)) }
}

/// A length of time, in seconds, as people say it.
pub(crate) fn span(seconds: u64) -> String {
    let rounded = |unit: u64| (seconds + unit / 2) / unit;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} minutes", rounded(60)),
        7_200..172_800 => format!("{} hours", rounded(3_600)),
        _ => format!("{} days", rounded(86_400)),
    }
}

/// A length of time as people write it, in seconds: `90s`, `30m`, `12h`, `7d`; a bare number is seconds.
pub(crate) fn parse_span(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => 0,
    };
    let seconds = number.parse().ok().and_then(|number: u64| number.checked_mul(unit));
    seconds
        .filter(|&seconds| seconds > 0)
        .ok_or_else(|| format!("`{text}` is no length of time such as 30m, 12h or 90d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_distances_read_well() {
        assert_eq!(date(UnixTime(1_800_000_000)), "2027-01-15T08:00:00Z");
        assert_eq!(distance(UnixTime(0), UnixTime(86_400 * 30 - 1)), "in 30 days");
        assert_eq!(distance(UnixTime(90), UnixTime(0)), "90 s ago");
    }

    #[test]
    fn lengths_of_time_are_read() {
        for (text, seconds) in [("90", 90), ("30m", 1_800), ("12h", 43_200), ("7d", 604_800)] {
            assert_eq!(parse_span(text), Ok(seconds));
        }
        for text in ["", "h", "0d", "-1h", "1w", "1 h", "99999999999999999999d"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
    }
}
