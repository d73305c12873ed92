//! One process of the demo: its output goes to a file, and it ends when it is dropped.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::stop::Stop;
use crate::files;

/// How long a part may take for its farewell before it is killed.
const FAREWELL: Duration = Duration::from_secs(5);
/// Lines of a part's output that an error shows.
const TAIL: usize = 12;

/// A running process.
#[derive(Debug)]
pub(crate) struct Part {
    name: &'static str,
    child: Child,
    log: PathBuf,
    farewell: Signal,
}

impl Part {
    /// Starts `command`, in a process group of its own: Ctrl-C in the terminal reaches the demo alone, which then
    /// ends the parts in order.
    pub(crate) fn start(
        name: &'static str,
        mut command: Command,
        log: PathBuf,
        farewell: Signal,
    ) -> Result<Self> {
        // What a command says may hold a password.
        let output =
            OpenOptions::new().write(true).create(true).truncate(true).mode(files::SECRET).open(&log);
        let output = output.with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child, log, farewell })
    }

    /// Runs `command` to its end and returns what it wrote.
    ///
    /// # Errors
    /// When it fails, with the end of what it said, takes longer than `patience`, or is interrupted.
    pub(crate) fn finish(
        name: &'static str,
        command: Command,
        log: PathBuf,
        patience: Duration,
        stop: &Stop,
    ) -> Result<String> {
        let mut part = Self::start(name, command, log, Signal::TERM)?;
        let status = stop.wait(name, patience, || Ok(part.child.try_wait()?))?;
        if !status.success() {
            bail!("{name} failed ({status}):\n{}", part.tail());
        }
        Ok(part.said())
    }

    /// # Errors
    /// When it has ended, with the end of what it said.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} has ended ({status}):\n{}", self.name, self.tail()),
            None => Ok(()),
        }
    }

    /// Waits until `ready` yields something, while the process runs.
    pub(crate) fn wait<T>(&mut self, stop: &Stop, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
        let name = self.name;
        let waited = stop.wait(name, Duration::from_secs(30), || self.check().map(|()| ready()));
        waited.with_context(|| format!("{name} does not come up"))
    }

    fn said(&self) -> String {
        // It may have written anything; what cannot be read is not shown.
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn tail(&self) -> String {
        let said = self.said();
        let lines: Vec<_> = said.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].iter().map(|line| format!("    {line}\n")).collect()
    }

    fn end_within(&mut self, patience: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + patience;
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(Duration::from_millis(10)),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
        None
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.end_within(Duration::from_millis(1)).is_some() {
            return;
        }
        let _ = kill_process(Pid::from_child(&self.child), self.farewell);
        if self.end_within(FAREWELL).is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
