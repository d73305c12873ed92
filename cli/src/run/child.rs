//! The command: started with its environment, told of signals, and waited for.

use std::ffi::OsString;
use std::io::{ErrorKind, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus};

use rustix::process::{Pid, Signal as Number, getpgrp, kill_process};
use rustix::termios::tcgetpgrp;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::environment::Environment;
use crate::exit::{Exit, Failure};

/// What the shell says of a command that is there and can't be run, and of one that is not there.
const CANT_RUN: u8 = 126;
const NOT_THERE: u8 = 127;

/// The signals that go on to the command, from the moment that this is made.
pub(super) struct Signals {
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: caught(SignalKind::interrupt())?,
            quit: caught(SignalKind::quit())?,
            terminate: caught(SignalKind::terminate())?,
            hang_up: caught(SignalKind::hangup())?,
        })
    }

    /// Waits for one of them.
    pub(super) async fn next(&mut self) -> Number {
        tokio::select! {
            _ = self.interrupt.recv() => Number::INT,
            _ = self.quit.recv() => Number::QUIT,
            _ = self.terminate.recv() => Number::TERM,
            _ = self.hang_up.recv() => Number::HUP,
        }
    }
}

fn caught(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(Exit::Other, format!("signals can't be handled: {error}")))
}

/// The command, while it runs.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    /// SIGCHLD.
    changed: Signal,
}

impl Child {
    /// Starts it. Where that is the command's own fault, the shell's status for it comes with the failure.
    pub(super) fn start(
        command: &[OsString],
        environment: &Environment,
    ) -> Result<Result<Self, (Failure, u8)>, Failure> {
        let (program, arguments) = command.split_first().expect("clap wants at least one word");
        let changed = caught(SignalKind::child())?;
        let mut command = Command::new(program);
        command.args(arguments);
        environment.put(&mut command);
        Ok(command.spawn().map(|process| Self { process, changed }).map_err(|error| {
            let status = if error.kind() == ErrorKind::NotFound { NOT_THERE } else { CANT_RUN };
            (Failure::new(Exit::Other, format!("{} can't be run: {error}", program.display())), status)
        }))
    }

    /// Waits for its end, and hands on what comes of `signals`.
    pub(super) async fn wait(&mut self, signals: &mut Signals) -> Result<ExitStatus, Failure> {
        loop {
            let ended = self.process.try_wait();
            let ended = ended.map_err(|error| {
                Failure::new(Exit::Other, format!("the command can't be waited for: {error}"))
            })?;
            if let Some(status) = ended {
                return Ok(status);
            }
            tokio::select! {
                _ = self.changed.recv() => {}
                signal = signals.next() => self.hand_on(signal),
            }
        }
    }

    /// A terminal sends Ctrl-C to the command too: twice would be once too often.
    fn hand_on(&self, signal: Number) {
        let from_keys = signal == Number::INT || signal == Number::QUIT;
        if from_keys && is_in_foreground() {
            return;
        }
        // It was not waited for yet, so its id is still its own.
        let _ = kill_process(Pid::from_child(&self.process), signal);
    }
}

/// Whether the keys of a terminal reach this process, and with it the command.
fn is_in_foreground() -> bool {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let of = |terminal: bool, group: rustix::io::Result<Pid>| terminal && group.ok() == Some(getpgrp());
    of(stdin.is_terminal(), tcgetpgrp(stdin.as_fd()))
        || of(stdout.is_terminal(), tcgetpgrp(stdout.as_fd()))
        || of(stderr.is_terminal(), tcgetpgrp(stderr.as_fd()))
}

/// The status that a command has ended with; the number of the signal that has ended it otherwise.
pub(super) fn code(status: ExitStatus) -> Result<u8, i32> {
    match status.code() {
        Some(code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        None => Err(status.signal().unwrap_or_default()),
    }
}
