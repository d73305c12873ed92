//! What processes have used, as Linux counts it in `/proc`; and which core this one runs on.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// More files than any measurement has open.
const MANY_FILES: u64 = 200_000;

/// Memory and time of some processes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Time of all their threads that are alive, by the scheduler's own count: in nanoseconds, not in ticks.
    pub(crate) cpu: Duration,
    /// Their resident memory that no file stands behind, in bytes.
    pub(crate) memory: u64,
}

/// What `pids` have used until now; processes that are gone count nothing.
pub(crate) fn usage(pids: &[u32]) -> Usage {
    let memory = pids.iter().filter_map(|pid| anonymous(*pid)).sum();
    Usage { cpu: cpu(pids), memory }
}

/// The time of `pids` alone, for who asks often.
pub(crate) fn cpu(pids: &[u32]) -> Duration {
    let threads = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok()).flatten();
    let nanoseconds = threads.flatten().filter_map(|thread| {
        let statistics = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        statistics.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn anonymous(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// Keeps this process on one core.
///
/// # Errors
/// When there is no such core.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}

/// Raises the number of files as far as it may be.
pub(crate) fn allow_many_files() {
    let raised = Rlimit { current: Some(MANY_FILES), maximum: Some(MANY_FILES) };
    if setrlimit(Resource::Nofile, raised).is_err() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_something() {
        let used = usage(&[std::process::id()]);
        assert!(used.memory > 0 && !used.cpu.is_zero());
        assert!(usage(&[u32::MAX]).cpu.is_zero());
    }
}
