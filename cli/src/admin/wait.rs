//! `--wait`: until something is healthy.

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
    /// Wait until it is healthy. If it is not in time, the exit status says so.
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

/// The last answer, and whether it is what was waited for.
pub(super) async fn until_healthy<T, F: Future<Output = Result<Answer<T>, Failure>>>(
    wait: &Wait,
    what: &str,
    fetch: impl Fn() -> F,
    health: impl Fn(&T) -> Health,
) -> Result<(Answer<T>, Result<(), Failure>), Failure> {
    let end = Instant::now() + Duration::from_secs(wait.timeout);
    let progress = if wait.wait { spinner() } else { ProgressBar::hidden() };
    loop {
        let answer = match fetch().await {
            Ok(answer) => answer,
            // A platform that is away for a moment ends nobody's patience.
            Err(failure)
                if wait.wait && failure.exit == Exit::PlatformUnreachable && Instant::now() < end =>
            {
                progress.set_message(failure.what);
                sleep(LOOK).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let now = health(&answer.value);
        let healthy = now.state == HealthState::Healthy;
        if !wait.wait || healthy || Instant::now() >= end {
            progress.finish_and_clear();
            let verdict = if !wait.wait || healthy { Ok(()) } else { Err(not_healthy(what, &now)) };
            return Ok((answer, verdict));
        }
        progress.set_message(format!("{what} is {}: {}", word(&now.state), now.reason));
        sleep(LOOK).await;
    }
}

/// On a terminal only; it draws on standard error.
fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    let style =
        ProgressStyle::with_template("{spinner} {elapsed} {wide_msg}").expect("the template is right");
    spinner.set_style(style);
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}

fn not_healthy(what: &str, health: &Health) -> Failure {
    let state = word(&health.state);
    Failure::new(
        Exit::GatewayUnreachable,
        format!("{what} is not healthy in time but {state}: {}", health.reason),
    )
    .next("look at its own log; more patience: --timeout SECONDS")
}
