//! What a long-running part tells those who started it: a line on standard output, and systemd; and how it is
//! told to end.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::io::Write as _;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Failure};

/// Runs `part` on a runtime of this thread.
pub(crate) fn block_on<T>(part: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Other, format!("the runtime can't be started: {error}")))?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = part => result,
            never = watchdog() => match never {},
        }
    });
    // Dropping it would wait for the system's resolver, which may ponder over a name for half a minute.
    runtime.shutdown_background();
    result
}

/// Tells systemd from the thread that everything runs on that it still does, where the unit has `WatchdogSec=`.
async fn watchdog() -> Infallible {
    let Some(patience) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut ticks = tokio::time::interval((patience / 3).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        let _ = sd_notify::notify(&[NotifyState::Watchdog]);
    }
}

/// Takes as many descriptors as this process may have. Each allocation and each connection is one, and the usual limit of
/// 1,024 is meant for programs that call select, of which this is none.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Who may not raise it runs with what there is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Ctrl-C and SIGTERM, from the moment that this is made.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self, Failure> {
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Waits for one of them.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// SIGHUP, from the moment that this is made.
pub(crate) struct Reloads(Signal);

impl Reloads {
    pub(crate) fn new() -> Result<Self, Failure> {
        catch(SignalKind::hangup()).map(Self)
    }

    /// Waits for one.
    pub(crate) async fn next(&mut self) {
        self.0.recv().await;
    }
}

fn catch(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(Exit::Other, format!("signals can't be handled: {error}")))
}

/// Writes a line to standard output at once, also into a pipe.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    // Who has closed our output does not want to read it.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Tells systemd that the part serves; nothing happens under anything else.
pub(crate) fn ready() {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// Tells systemd that the part reads its files again; [`ready`] says when it has.
pub(crate) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        let _ = sd_notify::notify(&[NotifyState::Reloading, now]);
    }
}

/// Tells systemd in a few words how the part is.
pub(crate) fn status(text: &str) {
    let _ = sd_notify::notify(&[NotifyState::Status(text)]);
}

/// Tells systemd that the part ends.
pub(crate) fn stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_name_that_is_still_looked_up_holds_nobody_back() {
        let began = Instant::now();
        let result = block_on(async {
            let (started, has_started) = tokio::sync::oneshot::channel();
            drop(tokio::task::spawn_blocking(move || {
                let _ = started.send(());
                std::thread::sleep(Duration::from_secs(20));
            }));
            let _ = has_started.await;
            Ok(())
        });
        assert_eq!(result, Ok(()));
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
