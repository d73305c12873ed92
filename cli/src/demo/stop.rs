//! The wish to end: SIGINT, SIGTERM or SIGHUP sets a mark, and whoever waits looks at it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The demo was told to end before it had shown anything.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

/// Whether a signal has asked the demo to end.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
}

impl Stop {
    /// Takes the signals over, so that everything is cleaned up after one of them.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&asked))?;
        }
        Ok(Self { asked })
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Asks `ready` again and again until it yields something.
    ///
    /// # Errors
    /// [`Interrupted`], whatever `ready` fails with, or that `patience` has run out.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        patience: Duration,
        mut ready: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let until = Instant::now() + patience;
        loop {
            if self.is_asked() {
                return Err(Interrupted.into());
            }
            if let Some(value) = ready()? {
                return Ok(value);
            }
            if Instant::now() >= until {
                bail!("{what} took longer than {} s", patience.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
