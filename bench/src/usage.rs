//! What another process has used, as Linux counts it in `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Ticks a second in `/proc`: 100 on every architecture that Rust's Linux targets have (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// Memory and CPU time of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// User and system time of all its threads since it began.
    pub(crate) cpu: Duration,
    /// Its resident memory in bytes.
    pub(crate) memory: u64,
}

impl Usage {
    /// Reads the usage of the process `pid`.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process has ended")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process has ended")?;
        let ticks = ticks(&stat, Whose::Own).context("/proc/…/stat is not as proc(5) says")?;
        let memory = kilobytes(&status).context("/proc/…/status is not as proc(5) says")? * 1024;
        Ok(Self { cpu: time(ticks), memory })
    }

    /// Reads the usage of the process `pid` and of its children, those that it has waited for included. Memory is its
    /// own.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn of_family(pid: u32) -> Result<Self> {
        let own = Self::of(pid)?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("the process has ended")?;
        let mut waited_for = ticks(&stat, Whose::Children).unwrap_or_default();
        for other in fs::read_dir("/proc")?.flatten() {
            // Many names there are no numbers, and a process may end meanwhile.
            let stat = fs::read_to_string(other.path().join("stat")).unwrap_or_default();
            if parent(&stat) == Some(pid) {
                waited_for += ticks(&stat, Whose::Own).unwrap_or_default();
            }
        }
        Ok(Self { cpu: own.cpu + time(waited_for), ..own })
    }
}

fn time(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND)
}

/// Whose time is read.
#[derive(Debug, Clone, Copy)]
enum Whose {
    /// That of the process.
    Own,
    /// That of its children that have ended.
    Children,
}

/// utime and stime, the 14th and 15th fields, or the two after them.
fn ticks(stat: &str, whose: Whose) -> Option<u64> {
    let skipped = match whose {
        Whose::Own => 11,
        Whose::Children => 13,
    };
    let mut fields = fields(stat)?.skip(skipped);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn parent(stat: &str) -> Option<u32> {
    fields(stat)?.nth(1)?.parse().ok()
}

/// The fields after the second, which is the program's name, in parentheses, with anything in it.
fn fields(stat: &str) -> Option<impl Iterator<Item = &str>> {
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace())
}

fn kilobytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_can_be_read_about() {
        assert!(Usage::of(std::process::id()).is_ok_and(|usage| usage.memory > 0));
        assert!(Usage::of_family(std::process::id()).is_ok());
        assert!(Usage::of(u32::MAX).is_err());
    }

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 30 12 5 1 20 0 1 0 100";
        assert_eq!(ticks(stat, Whose::Own), Some(42));
        assert_eq!(ticks(stat, Whose::Children), Some(6));
        assert_eq!(parent(stat), Some(1));
    }
}
