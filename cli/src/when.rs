//! Dates for people.

use adit_core::time::UnixTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The present time.
pub(crate) fn now() -> UnixTime {
    UnixTime(adit_driver::unix().as_secs())
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
    if then < now { format!("{} ago", span(now.0 - then.0)) } else { format!("in {}", span(then.0 - now.0)) }
}

fn span(seconds: u64) -> String {
    let rounded = |unit: u64| (seconds + unit / 2) / unit;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} minutes", rounded(60)),
        7_200..172_800 => format!("{} hours", rounded(3_600)),
        _ => format!("{} days", rounded(86_400)),
    }
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
}
