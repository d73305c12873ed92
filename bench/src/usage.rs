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
        let ticks = ticks(&stat).context("/proc/…/stat is not as proc(5) says")?;
        let cpu = Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND);
        let memory = kilobytes(&status).context("/proc/…/status is not as proc(5) says")? * 1024;
        Ok(Self { cpu, memory })
    }
}

/// utime and stime, the 14th and 15th fields; the second is the program's name, in parentheses, with anything in it.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
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
        assert!(Usage::of(u32::MAX).is_err());
    }

    #[test]
    fn a_name_may_hold_anything() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 1 0 100";
        assert_eq!(ticks(stat), Some(42));
    }
}
