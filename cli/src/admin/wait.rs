//! `--wait`: until something is as it is to be.

use std::future::Future;
use std::time::Duration;

use adit_platform::words::{Health, HealthState};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep};

use super::{Answer, word};
use crate::exit::{Exit, Failure};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The longest time that may be waited for, in seconds: a day.
const LONGEST: u64 = 86_400;

/// Whether to wait, and for how long.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Wait {
    /// Wait until it is healthy, or, where it is to end, gone. If it is not in time, the exit status says so.
    #[arg(long)]
    wait: bool,
    /// For how many seconds to wait.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 120,
        requires = "wait",
        value_parser = clap::value_parser!(u64).range(1..=LONGEST)
    )]
    timeout: u64,
}

/// How far something is that is waited for.
pub(super) enum Stage {
    /// Waiting has come to its end.
    Reached,
    /// It goes on: how it is.
    NotYet(String),
}

impl Wait {
    /// The last answer, and how far that is.
    ///
    /// # Errors
    /// Those of `fetch`, except that a platform that is away for a moment ends nobody's patience.
    pub(super) async fn until<T, F: Future<Output = Result<Answer<T>, Failure>>>(
        &self,
        fetch: impl Fn() -> F,
        stage: impl Fn(&T) -> Stage,
    ) -> Result<(Answer<T>, Stage), Failure> {
        let end = Instant::now() + Duration::from_secs(self.timeout);
        let progress = if self.wait { spinner() } else { ProgressBar::hidden() };
        loop {
            match fetch().await {
                Ok(answer) => match stage(&answer.value) {
                    Stage::NotYet(how) if self.wait && Instant::now() < end => progress.set_message(how),
                    stage => {
                        progress.finish_and_clear();
                        return Ok((answer, stage));
                    }
                },
                Err(failure)
                    if self.wait && failure.exit == Exit::PlatformUnreachable && Instant::now() < end =>
                {
                    progress.set_message(failure.what);
                }
                Err(failure) => return Err(failure),
            }
            sleep(LOOK).await;
        }
    }

    /// What it means that the end was not reached: nothing to whoever has not waited for it.
    pub(super) fn verdict(
        &self,
        stage: Stage,
        failed: impl FnOnce(String) -> Failure,
    ) -> Result<(), Failure> {
        match stage {
            Stage::NotYet(how) if self.wait => Err(failed(how)),
            _ => Ok(()),
        }
    }
}

/// Waits for `what` to be healthy. The last answer, and whether it is what was waited for.
pub(super) async fn until_healthy<T, F: Future<Output = Result<Answer<T>, Failure>>>(
    wait: &Wait,
    what: &str,
    fetch: impl Fn() -> F,
    health: impl Fn(&T) -> Health,
) -> Result<(Answer<T>, Result<(), Failure>), Failure> {
    let stage = |value: &T| {
        let Health { state, reason, .. } = health(value);
        match state {
            HealthState::Healthy => Stage::Reached,
            state => Stage::NotYet(format!("{what} is {}: {reason}", word(&state))),
        }
    };
    let (answer, stage) = wait.until(fetch, stage).await?;
    let late = |how| {
        Failure::new(Exit::GatewayUnreachable, format!("not healthy in time: {how}"))
            .next("look at its own log; more patience: --timeout SECONDS")
    };
    Ok((answer, wait.verdict(stage, late)))
}

/// Something that turns, on a terminal only; it draws on standard error.
pub(crate) fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    let style =
        ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}").expect("the template is right");
    spinner.set_style(style);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
