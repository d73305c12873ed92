//! How gateway instances and relays are, as their rows have it.

use super::json::to_word;
use super::{Change, StoreError, to_row};
use crate::fleet::health::Verdict;
use crate::words::Health;

/// Whose row it is.
#[derive(Debug, Clone, Copy)]
pub enum Of {
    /// A gateway instance's.
    Instance,
    /// A relay's.
    Relay,
}

impl Of {
    fn update(self) -> &'static str {
        match self {
            Self::Instance => {
                "UPDATE instances SET health = $3, health_since = $4, health_reason = $5 \
                 WHERE organisation = $1 AND id = $2 AND health = $6 AND health_reason = $7"
            }
            Self::Relay => {
                "UPDATE relays SET health = $3, health_since = $4, health_reason = $5 \
                 WHERE organisation = $1 AND id = $2 AND health = $6 AND health_reason = $7"
            }
        }
    }
}

/// Writes another verdict, unless somebody else has written one meanwhile: `before` is what was read. The time since
/// when it is so stays where only the reason is another. `false` where nothing was written.
///
/// # Errors
/// Those of the database.
pub async fn set(
    change: &mut Change,
    of: Of,
    id: &str,
    before: &Health,
    verdict: &Verdict,
) -> Result<bool, StoreError> {
    let (organisation, now) = (change.organisation().to_owned(), change.now());
    let since = if before.state == verdict.state { to_row(before.since) } else { now };
    let update =
        sqlx::query(of.update()).bind(organisation).bind(id).bind(to_word(verdict.state)).bind(since);
    let update = update.bind(&verdict.reason).bind(to_word(before.state)).bind(&before.reason);
    Ok(update.execute(change.connection()).await?.rows_affected() == 1)
}
