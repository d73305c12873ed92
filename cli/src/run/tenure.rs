//! The lease of a command: renewed while it runs, and revoked when it has ended.

use std::convert::Infallible;
use std::time::Duration;

use adit_core::time::UnixTime;
use adit_platform::client::{Backoff, Client, ClientError};
use adit_platform::words::{Lease, LeaseState, RenewLease};
use tokio::time::{Instant, sleep};

use super::child::Signals;
use crate::{admin, when};

/// How often the clock is looked at: it may be set, and the machine may sleep.
const LOOK: Duration = Duration::from_secs(5);
/// The pauses before a renewal or a revocation is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// For how long the end of a command may wait for the platform.
const PATIENCE: Duration = Duration::from_secs(20);

/// A lease and what is known of its life.
pub(super) struct Tenure {
    client: Client,
    lease: Lease,
    ttl: Option<u64>,
    life: Life,
    /// By how many seconds the platform's clock is ahead of ours.
    ahead: i64,
}

/// The life of a lease, by the clock of the platform.
#[derive(Debug, Clone, Copy)]
struct Life {
    /// When it was last lengthened.
    since: u64,
    until: u64,
    /// Until when it can be lengthened.
    longest: u64,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// Nothing before this many seconds.
    In(u64),
    Renewal,
    /// It can't be renewed any further.
    Last,
}

impl Life {
    fn of(lease: &Lease, since: u64) -> Self {
        Self { since, until: lease.expires_at, longest: lease.max_expires_at }
    }

    fn due(self, now: u64) -> Due {
        if self.until >= self.longest {
            return Due::Last;
        }
        let half = self.since + self.until.saturating_sub(self.since) / 2;
        match half.saturating_sub(now) {
            0 => Due::Renewal,
            seconds => Due::In(seconds),
        }
    }
}

impl Tenure {
    /// Of a lease that was made just now, which is to live for `ttl` seconds after each renewal.
    pub(super) fn new(client: Client, lease: Lease, ttl: Option<u64>) -> Self {
        let life = Life::of(&lease, lease.created_at);
        let ahead = lease.created_at.cast_signed().saturating_sub(when::now().0.cast_signed());
        let tenure = Self { client, lease, ttl, life, ahead };
        tracing::info!(
            secret = tenure.lease.secret,
            lease = tenure.lease.id,
            until = tenure.until(),
            "leased"
        );
        tenure
    }

    /// Renews it for as long as that is possible, and says when it is not any more.
    pub(super) async fn keep(&mut self) -> Infallible {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        let mut failing = false;
        loop {
            let now = self.now();
            match self.life.due(now) {
                Due::In(seconds) => sleep(LOOK.min(Duration::from_secs(seconds))).await,
                Due::Last => return self.last().await,
                Due::Renewal => match self.renew(now).await {
                    Ok(()) => {
                        backoff.reset();
                        if std::mem::take(&mut failing) {
                            tracing::info!("the lease is renewed again");
                        }
                    }
                    Err(error) if error.is_retryable() => {
                        if !std::mem::replace(&mut failing, true) {
                            tracing::warn!("the lease can't be renewed now, which is tried again: {error}");
                        }
                        sleep(backoff.pause()).await;
                    }
                    Err(error) => {
                        self.warn_of_end(&error.to_string());
                        return std::future::pending().await;
                    }
                },
            }
        }
    }

    async fn renew(&mut self, now: u64) -> Result<(), ClientError> {
        let path = format!("{}/renew", self.path());
        self.lease = self.client.post(&path, &RenewLease { ttl: self.ttl }).await?;
        self.life = Life::of(&self.lease, now);
        tracing::debug!(until = self.until(), "the lease was renewed");
        Ok(())
    }

    /// The lease lives for its longest life: nothing is left but to tell.
    async fn last(&self) -> Infallible {
        self.warn_of_end("it has reached the longest life that its secret allows");
        while self.now() < self.life.until {
            sleep(LOOK).await;
        }
        tracing::warn!("the lease has ended, and the command goes on without a user");
        std::future::pending().await
    }

    fn warn_of_end(&self, why: &str) {
        tracing::warn!(
            lease = self.lease.id,
            until = self.until(),
            "the lease can't be renewed any more: {why}; the command goes on, and from then on its user can't log in \
             and has no sessions"
        );
    }

    /// Revokes it, unless somebody insists on leaving at once.
    pub(super) async fn end(self, signals: &mut Signals) {
        let revoked = tokio::select! {
            revoked = self.revoke() => revoked,
            () = insisted(signals) => Err("it was not waited for".to_owned()),
        };
        match revoked {
            Ok(LeaseState::Revoking) => tracing::warn!(
                lease = self.lease.id,
                "the lease's user is not removed yet, and the platform goes on trying: adit leases show {}",
                self.lease.id
            ),
            Ok(_) => tracing::info!(lease = self.lease.id, "the lease is revoked"),
            Err(why) => tracing::warn!(
                lease = self.lease.id,
                until = self.until(),
                "the lease could not be revoked and expires by itself: {why}; to revoke it: adit leases revoke {}",
                self.lease.id
            ),
        }
    }

    async fn revoke(&self) -> Result<LeaseState, String> {
        let end = Instant::now() + PATIENCE;
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            match self.client.remove::<Lease>(&self.path()).await {
                Ok(lease) => return Ok(lease.state),
                // It was over before.
                Err(error) if matches!(error.code(), Some("lease-ended" | "not-found")) => {
                    return Ok(LeaseState::Revoked);
                }
                Err(error) if error.is_retryable() && Instant::now() < end => sleep(backoff.pause()).await,
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// The present time, as the platform has it: the lease's times are the platform's.
    fn now(&self) -> u64 {
        when::now().0.saturating_add_signed(self.ahead)
    }

    /// When it ends, by this machine's clock.
    fn until(&self) -> String {
        when::date(UnixTime(self.life.until.saturating_add_signed(-self.ahead)))
    }

    fn path(&self) -> String {
        admin::path("leases", &self.lease.id)
    }
}

/// Whether two signals came. One may be left of those that have ended the command.
async fn insisted(signals: &mut Signals) {
    let _ = signals.next().await;
    tracing::info!("revoking the lease; once more to leave it to expire");
    let _ = signals.next().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_renewed_at_half_of_its_life_until_its_longest() {
        let life = Life { since: 1000, until: 1060, longest: 1100 };
        assert_eq!(life.due(1000), Due::In(30));
        assert_eq!(life.due(1029), Due::In(1));
        assert_eq!(life.due(1030), Due::Renewal);
        // Also after a sleep.
        assert_eq!(life.due(5000), Due::Renewal);
        assert_eq!(Life { since: 1050, until: 1100, ..life }.due(1050), Due::Last);
    }
}
