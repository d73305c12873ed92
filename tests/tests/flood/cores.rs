//! Who computes where. A relay's users and strangers are elsewhere; here all share one machine, and on few cores a relay
//! that has more to do waits longer for one. That is the scheduler's share of a flood, not the relay's.

use std::process::Command;

use rustix::process::Pid;
use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};

/// Gives a process the last core, and all others to this one from now on.
pub(crate) fn give_one(process: Pid) {
    let mut last = CpuSet::new();
    let mut others = sched_getaffinity(Some(process)).unwrap();
    let core = (0..CpuSet::MAX_CPU).rfind(|&core| others.is_set(core)).unwrap();
    last.set(core);
    others.unset(core);
    assert!(others.count() > 0, "this takes two cores");
    for thread in std::fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).unwrap() {
        let thread = thread.unwrap().file_name().to_str().unwrap().parse().unwrap();
        sched_setaffinity(Pid::from_raw(thread), &last).unwrap();
    }
    sched_setaffinity(None, &others).unwrap();
}

/// Lets this thread, and none that it begins, go before all others: how long it waits for a core is not to be measured.
pub(crate) fn go_first() {
    let thread = gettid().as_raw_nonzero().to_string();
    let done = Command::new("chrt").args(["--fifo", "--reset-on-fork", "--pid", "1", &thread]).status();
    assert!(done.is_ok_and(|status| status.success()), "chrt, and root, are needed");
}
